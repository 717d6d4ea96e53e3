//! Tencent's webhooks: the query and the body of a callback, read as the front door reads them,
//! and the message made of it. The first line is the query, the rest the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offpush::api::tencent::fields::{Fields, MessageJson, ids_in};
use offpush::api::tencent::groups::seqs;
use offpush::api::tencent::webhook_auth::WebhookQuery;
use offpush::model::message::Message;

const COPIED: [&str; 6] =
    ["MsgKey", "MsgBody", "CloudCustomData", "GroupAtInfo", "OfflinePushInfo", "FromNick"];

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (query, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let _ = WebhookQuery::read(&String::from_utf8_lossy(query));
    let Ok(given) = Fields::parse(body) else { return };
    for list in ["KickedDevice", "MemberList", "NewMemberList", "ExitMemberList", "To_Account"] {
        for key in ["Member_Account", "Platform"] {
            let _ = ids_in(&given, list, key, 1);
        }
    }
    let _ = (seqs(&given), given.number("EventTime"), given.id("Report_Account", 1));
    let custom: Option<String> = given.optional("CloudCustomData", 1).unwrap_or_default();
    let custom = custom.unwrap_or_default();
    let mut message = MessageJson::begin()
        .value("From_Account", &"mina".into())
        .value("To_Account", &"joon".into())
        .value("MsgRandom", &1.into())
        .copy(&given, &COPIED);
    if let Ok(custom) = Fields::parse(custom.as_bytes())
        && let Some(own) = custom.raw("offpush")
        && let Ok(own) = Fields::parse(own.get().as_bytes())
    {
        message = message.copy(&own, &["GroupName"]);
    }
    let message = message.finish();
    // Made of parts that are JSON, so it is JSON; whether it is a message is another question.
    serde_json::from_slice::<serde::de::IgnoredAny>(&message).expect("what is made is JSON");
    if let Ok(posted) = Message::parse_posted(&message) {
        assert!(Message::parse_stored(&posted.content).is_ok(), "what was accepted is read back");
    }
});
