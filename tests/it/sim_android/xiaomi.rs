//! Xiaomi MiPush.

use std::collections::HashMap;
use std::time::Duration;

use http::{Method, StatusCode};
use offpush::sim::phones::Phones;
use offpush::sim::xiaomi::{ChannelClass, Xiaomi, XiaomiAccount};
use offpush::sim::{SimRequest, Simulator};
use serde_json::{Value, json};

use crate::sim_android::*;

const SEND: &str = "/v3/message/regid";
const SECRET: &str = "xiaomi/app+secret==";
const DAY: Duration = Duration::from_secs(86_400);

const GOOD: [(&str, &str); 13] = [
    ("registration_id", "phone0"),
    ("restricted_package_name", "com.example.chat"),
    ("title", "A"),
    ("description", "你好"),
    ("payload", "{\"k\":1}"),
    ("pass_through", "0"),
    ("notify_type", "-1"),
    ("notify_id", "4242"),
    ("time_to_live", "86400000"),
    ("extra.channel_id", "130001"),
    ("extra.notify_effect", "1"),
    ("extra.notify_foreground", "1"),
    ("extra.jobkey", "m-1_A"),
];

fn send(fields: &[(&str, &str)]) -> SimRequest {
    with_header(post_form(SEND, fields), "authorization", &format!("key={SECRET}"))
}

/// The good form with one field changed; an empty value removes it.
fn changed<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields: Vec<_> = GOOD.into_iter().filter(|(key, _)| *key != name).collect();
    if !value.is_empty() {
        fields.push((name, value));
    }
    fields
}

fn code(sim: &Xiaomi, request: &SimRequest, phones: &Phones) -> Value {
    let reply = sim.answer(request, phones);
    assert_eq!(reply.status, StatusCode::OK);
    body(&reply)["code"].clone()
}

fn refused(sim: &Xiaomi, request: &SimRequest) -> u64 {
    let (status, body) = assert_refused(sim, request);
    assert_eq!((status, &body["result"]), (StatusCode::OK, &json!("error")));
    assert!(body["reason"].is_string() && body["trace_id"].is_string());
    body["code"].as_u64().unwrap()
}

#[test]
fn a_good_message_rings_the_phone_with_everything_it_carries() {
    let (sim, phones) = (Xiaomi::new(), Phones::default());
    let answer = body(&sim.answer(&send(&GOOD), &phones));
    assert_eq!((&answer["result"], &answer["code"]), (&json!("ok"), &json!(0)));
    assert!(answer["data"]["id"].is_string());
    assert!(answer["data"].get("bad_regids").is_none());
    let shown = phones.shown(Some("xiaomi"), Some("phone0"));
    assert_eq!(shown.len(), 1);
    assert_eq!((shown[0].title.as_str(), shown[0].body.as_str()), ("A", "你好"));
    assert_eq!(shown[0].ext.as_deref(), Some("{\"k\":1}"));
    assert_eq!(shown[0].push_id.as_deref(), Some("m-1_A"));
    assert_eq!(shown[0].replaces.as_deref(), Some("4242"));
    assert_eq!(shown[0].raw["form"]["extra.channel_id"], "130001");
}

#[test]
fn all_three_versions_and_a_doubled_content_type_are_served() {
    let (sim, phones) = (Xiaomi::new(), Phones::default());
    for path in ["/v2/message/regid", "/v3/message/regid", "/v4/message/regid"] {
        let mut request = with_header(send(&changed("extra.jobkey", "")), "content-type", JSON);
        request.path = path.to_owned();
        assert!(sim.owns(path));
        assert_eq!(code(&sim, &request, &phones), 0, "{path}");
    }
    assert_eq!(phones.rung("xiaomi"), 3);
    let reply = sim.answer(&post("/v5/message/regid", ""), &phones);
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}

#[test]
fn the_secret_follows_exactly_key_and_an_equals_sign() {
    let sim = Xiaomi::new();
    for header in ["key=wrong", "key= xiaomi/app+secret==", "Key=xiaomi/app+secret==", SECRET] {
        let request = with_header(post_form(SEND, &GOOD), "authorization", header);
        assert_eq!(refused(&sim, &request), 21301, "{header}");
    }
    assert_eq!(refused(&sim, &post_form(SEND, &GOOD)), 21301);
}

#[test]
fn the_package_must_be_of_the_secret() {
    let sim = Xiaomi::new().with_account(XiaomiAccount {
        package_name: "com.example.other".to_owned(),
        app_secret: "other".to_owned(),
        channels: HashMap::new(),
    });
    let name = "restricted_package_name";
    assert_eq!(refused(&sim, &send(&changed(name, "com.example.other"))), 22022);
    assert_eq!(refused(&sim, &send(&changed(name, ""))), 10016);
    let two = changed(name, "com.example.other,com.example.chat");
    assert_eq!(code(&sim, &send(&two), &Phones::default()), 0);
    let mut version_2 = send(&two);
    version_2.path = "/v2/message/regid".to_owned();
    assert_eq!(refused(&sim, &version_2), 22022);
}

#[test]
fn the_envelope_must_be_a_form_post() {
    let sim = Xiaomi::new();
    let mut get = send(&GOOD);
    get.method = Method::GET;
    assert_eq!(refused(&sim, &get), 10012);
    let mut json = send(&GOOD);
    json.headers.remove("content-type");
    assert_eq!(refused(&sim, &with_header(json, "content-type", JSON)), 10012);
}

#[test]
fn every_field_rule_has_its_code() {
    let sim = Xiaomi::new();
    let too_many = tokens(1_001).join(",");
    let chars = |count| "好".repeat(count);
    let cases = [
        ("registration_id", String::new(), 10016),
        ("registration_id", "phone0,,phone1".to_owned(), 10017),
        ("registration_id", too_many, 10017),
        ("title", String::new(), 10016),
        ("title", "  ".to_owned(), 10016),
        ("title", chars(50), 65009),
        ("description", String::new(), 10016),
        ("description", chars(128), 65009),
        ("payload", "x".repeat(4_097), 65009),
        ("pass_through", "2".to_owned(), 10017),
        ("notify_type", "8".to_owned(), 10017),
        ("notify_id", "-1".to_owned(), 10017),
        ("notify_id", "2147483648".to_owned(), 10017),
        ("time_to_live", "864000001".to_owned(), 10017),
        ("time_to_live", "1d".to_owned(), 10017),
        ("time_to_send", (NOW.after(DAY * 8).0).to_string(), 10017),
        ("extra.channel_id", String::new(), 27001),
        ("extra.channel_id", "999".to_owned(), 27001),
        ("extra.jobkey", "_m1".to_owned(), 10017),
        ("extra.jobkey", "m.1".to_owned(), 10017),
        ("extra.jobkey", "x".repeat(21), 10017),
        ("extra.notify_effect", "4".to_owned(), 10017),
        ("extra.notify_effect", "2".to_owned(), 10016),
        ("extra.notify_effect", "3".to_owned(), 10016),
        ("extra.notify_foreground", "yes".to_owned(), 10017),
        ("extra.only_send_once", "2".to_owned(), 10017),
        ("extra.sound_uri", "msg.mp3".to_owned(), 10017),
        ("extra.callback", "ftp://x".to_owned(), 65038),
        ("extra.callback.param", "x".repeat(257), 65036),
        ("extra.callback.type", "4".to_owned(), 10017),
        ("extra.long", "x".repeat(1_024), 65015),
    ];
    for (name, value, code) in cases {
        assert_eq!(refused(&sim, &send(&changed(name, &value))), code, "{name} = {value}");
    }
}

#[test]
fn eleven_extras_are_too_many_and_ten_are_not() {
    let sim = Xiaomi::new();
    let names: Vec<String> = (0..7).map(|index| format!("extra.own{index}")).collect();
    let mut fields = GOOD.to_vec();
    fields.extend(names[..6].iter().map(|name| (name.as_str(), "x")));
    assert_eq!(code(&sim, &send(&fields), &Phones::default()), 0);
    fields.push((&names[6], "x"));
    assert_eq!(refused(&sim, &send(&fields)), 65014);
}

#[test]
fn the_edges_of_the_ranges_are_allowed() {
    let (sim, phones) = (Xiaomi::new(), Phones::default());
    let (title, description) = ("好".repeat(49), "好".repeat(127));
    for (name, value) in [
        ("title", title.as_str()),
        ("description", &description),
        ("pass_through", ""),
        ("notify_id", "2147483647"),
        ("time_to_live", "864000000"),
        ("notify_type", "7"),
    ] {
        let fields = changed(name, value);
        let fields: Vec<_> = fields.into_iter().filter(|(key, _)| *key != "extra.jobkey").collect();
        assert_eq!(code(&sim, &send(&fields), &phones), 0, "{name}");
    }
    assert_eq!(phones.rung("xiaomi"), 6);
    let thousand = tokens(1_000).join(",");
    assert_eq!(code(&sim, &send(&changed("registration_id", &thousand)), &phones), 0);
    assert_eq!(phones.rung("xiaomi"), 1_006);
}

#[test]
fn a_public_channel_keeps_a_message_for_one_day_only() {
    let sim = Xiaomi::new();
    let public = |ttl| {
        let mut fields = changed("extra.channel_id", "130002");
        fields.retain(|(key, _)| *key != "time_to_live");
        fields.push(("time_to_live", ttl));
        send(&fields)
    };
    assert_eq!(code(&sim, &public("86400000"), &Phones::default()), 0);
    assert_eq!(refused(&sim, &public("86400001")), 10017);
}

#[test]
fn a_pass_through_message_needs_neither_title_nor_channel() {
    let (sim, phones) = (Xiaomi::new(), Phones::default());
    let fields = [
        ("registration_id", "phone0"),
        ("restricted_package_name", "com.example.chat"),
        ("description", "d"),
        ("payload", "p"),
        ("pass_through", "1"),
    ];
    assert_eq!(code(&sim, &send(&fields), &phones), 0);
    assert_eq!(phones.shown(None, None)[0].ext.as_deref(), Some("p"));
}

#[test]
fn the_effects_take_their_companions() {
    let (sim, phones) = (Xiaomi::new(), Phones::default());
    for (effect, companion, value) in [
        ("2", "extra.intent_uri", "intent:#Intent;end"),
        ("3", "extra.web_uri", "https://example.com"),
    ] {
        let mut fields = changed("extra.notify_effect", effect);
        fields.push((companion, value));
        assert_eq!(code(&sim, &send(&fields), &phones), 0, "{effect}");
    }
    let mut fields = changed("extra.notify_effect", "3");
    fields.push(("extra.web_uri", "example.com"));
    assert_eq!(refused(&sim, &send(&fields)), 10017);
}

#[test]
fn dead_phones_are_listed_and_a_request_of_only_dead_ones_fails() {
    let (sim, phones) = (Xiaomi::new(), Phones::default());
    kill(&phones, "xiaomi", "phone1");
    kill(&phones, "xiaomi", "phone2");
    let list = changed("registration_id", "phone0,phone1,phone2,phone0");
    let answer = body(&sim.answer(&send(&list), &phones));
    assert_eq!(answer["code"], 0);
    assert_eq!(answer["data"]["bad_regids"], "phone1,phone2");
    assert_eq!((phones.rung("xiaomi"), phones.rejected("xiaomi")), (1, 0));
    let dead = send(&changed("registration_id", "phone1,phone2"));
    assert_eq!(code(&sim, &dead, &phones), 20301);
    assert_eq!((phones.rung("xiaomi"), phones.rejected("xiaomi")), (1, 1));
}

#[test]
fn a_repeated_jobkey_is_shown_once_on_each_phone() {
    let (sim, phones) = (Xiaomi::new(), Phones::default());
    for list in ["phone0", "phone0,phone1"] {
        assert_eq!(code(&sim, &send(&changed("registration_id", list)), &phones), 0);
    }
    assert_eq!(phones.shown(None, Some("phone0")).len(), 1);
    assert_eq!(phones.shown(None, Some("phone1")).len(), 1);
    assert_eq!(code(&sim, &send(&changed("extra.jobkey", "m-2")), &phones), 0);
    assert_eq!(phones.shown(None, Some("phone0")).len(), 2);
}

#[test]
fn a_daily_quota_ends_at_the_vendor_s_midnight() {
    let (sim, phones) = (Xiaomi::new(), Phones::default());
    sim.set_daily_quota(ChannelClass::Private, Some(3));
    let two = changed("registration_id", "phone0,phone1");
    let answer = body(&sim.answer(&send(&two), &phones));
    assert_eq!(answer["data"]["day_quota"], "3");
    assert_eq!(answer["data"]["day_acked"], "2");
    assert_eq!(code(&sim, &send(&two), &phones), 200_001);
    let public = send(&changed("extra.channel_id", "130002"));
    assert_eq!(code(&sim, &public, &phones), 0, "each class has its own quota");
    // NOW is 06:13 in China, so that midnight there is 17 h 46 min 40 s later.
    let midnight = NOW.after(Duration::from_secs(17 * 3_600 + 46 * 60 + 40));
    let mut later = send(&two);
    later.now = midnight.after(Duration::ZERO);
    later.now.0 -= 1;
    assert_eq!(code(&sim, &later, &phones), 200_001);
    later.now = midnight;
    assert_eq!(code(&sim, &later, &phones), 0);
    assert_eq!(code(&sim, &later, &phones), 200_001);
    sim.set_daily_quota(ChannelClass::Private, None);
    assert_eq!(code(&sim, &later, &phones), 0);
}
