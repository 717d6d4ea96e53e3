//! Meizu Flyme Push. The sign is taken from the reference's vector where a request fits it, and
//! otherwise made here with the simulators' MD5, which has its own vectors.

use http::StatusCode;
use offpush::sim::md5::md5_hex;
use offpush::sim::meizu::{Meizu, MeizuAccount};
use offpush::sim::phones::Phones;
use offpush::sim::{SimRequest, Simulator};
use serde_json::{Value, json};

use crate::sim_android::*;

const PUSH: &str = "/garcia/api/server/push/varnished/pushByPushId";
const TASK_ID: &str = "/garcia/api/server/push/pushTask/getTaskId";
const TASK_PUSH: &str = "/garcia/api/server/push/task/varnished/pushByPushId";

/// A request signed by the usual account, or by the one whose secret is given.
fn signed_with(path: &str, fields: &[(&str, &str)], secret: &str) -> SimRequest {
    let mut sorted = fields.to_vec();
    sorted.sort_unstable();
    let text: String = sorted.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let sign = md5_hex(format!("{text}{secret}").as_bytes());
    let mut fields = fields.to_vec();
    fields.push(("sign", &sign));
    post_form(path, &fields)
}

fn signed(path: &str, fields: &[(&str, &str)]) -> SimRequest {
    signed_with(path, fields, "meizu-app-secret")
}

fn good() -> Value {
    json!({
        "noticeBarInfo": {"noticeMsgType": 1, "title": "A", "content": "你好"},
        "clickTypeInfo": {"clickType": 2, "url": "app://x", "parameters": {"k": "v"}},
        "pushTimeInfo": {"offLine": 1, "validTime": 24},
        "advanceInfo": {"notifyKey": "abcd1234"},
        "extra": {"callback.param": "m-1"},
    })
}

fn push(ids: &str, message: &Value) -> SimRequest {
    signed(PUSH, &[("appId", "10000"), ("pushIds", ids), ("messageJson", &message.to_string())])
}

fn answer(sim: &Meizu, request: &SimRequest, phones: &Phones) -> Value {
    let reply = sim.answer(request, phones);
    assert_eq!(reply.status, StatusCode::OK);
    body(&reply)
}

fn refused(sim: &Meizu, request: &SimRequest) -> String {
    let (status, body) = assert_refused(sim, request);
    assert_eq!((status, &body["value"]), (StatusCode::OK, &json!("")), "an empty string");
    body["code"].as_str().unwrap().to_owned()
}

#[test]
fn a_good_message_rings_the_phone_with_everything_it_carries() {
    let (sim, phones) = (Meizu::new(), Phones::default());
    let reply = answer(&sim, &push("phone0,phone0", &good()), &phones);
    assert_eq!((&reply["code"], &reply["value"]), (&json!("200"), &json!({})));
    let shown = phones.shown(Some("meizu"), None);
    assert_eq!(shown.len(), 1);
    assert_eq!((shown[0].title.as_str(), shown[0].body.as_str()), ("A", "你好"));
    assert_eq!(shown[0].ext.as_deref(), Some("{\"k\":\"v\"}"));
    assert_eq!(shown[0].push_id.as_deref(), Some("m-1"));
    assert_eq!(shown[0].replaces.as_deref(), Some("abcd1234"));
}

#[test]
fn the_sign_of_the_reference_is_accepted_and_another_is_not() {
    let sim = Meizu::new();
    let message = r#"{"noticeBarInfo":{"noticeMsgType":1,"title":"A","content":"你好"}}"#;
    let request = |app_id, sign| {
        let ids = ("pushIds", "PUSHID_A,PUSHID_B");
        post_form(PUSH, &[("appId", app_id), ids, ("messageJson", message), ("sign", sign)])
    };
    let phones = Phones::default();
    let good = request("10000", "cac2d48da901e175748a8c6752d8ad49");
    assert_eq!(answer(&sim, &good, &phones)["code"], "200");
    assert_eq!(phones.rung("meizu"), 2);
    assert_eq!(refused(&sim, &request("10000", "CAC2D48DA901E175748A8C6752D8AD49")), "1006");
    assert_eq!(refused(&sim, &request("1", "cac2d48da901e175748a8c6752d8ad49")), "110000");
}

#[test]
fn the_envelope_must_be_a_form_of_one_to_a_hundred_ids() {
    let (sim, phones) = (Meizu::new(), Phones::default());
    let mut json = push("phone0", &good());
    json.headers.clear();
    assert_eq!(refused(&sim, &with_header(json, "content-type", JSON)), "1005");
    assert_eq!(refused(&sim, &push("", &good())), "1005");
    assert_eq!(refused(&sim, &push("a,,b", &good())), "1005");
    assert_eq!(refused(&sim, &push(&tokens(101).join(","), &good())), "1005");
    assert_eq!(answer(&sim, &push(&tokens(100).join(","), &good()), &phones)["code"], "200");
    assert_eq!(phones.rung("meizu"), 100);
}

#[test]
fn every_field_rule_is_a_message_error() {
    let sim = Meizu::new();
    let cases = [
        ("noticeBarInfo.title", Value::Null),
        ("noticeBarInfo.title", json!("好".repeat(33))),
        ("noticeBarInfo.content", json!(" ")),
        ("noticeBarInfo.content", json!("好".repeat(101))),
        ("noticeBarInfo.noticeMsgType", json!(2)),
        ("clickTypeInfo.clickType", json!(4)),
        ("clickTypeInfo.clickType", json!(1)),
        ("clickTypeInfo.url", Value::Null),
        ("clickTypeInfo.customAttribute", json!("x".repeat(1_001))),
        ("clickTypeInfo.parameters", json!("{}")),
        ("pushTimeInfo.validTime", json!(0)),
        ("pushTimeInfo.validTime", json!(73)),
        ("advanceInfo.notifyKey", json!("abcd12345")),
        ("advanceInfo.notifyKey", json!("a.b")),
        ("extra", json!({"callback": "https://example.com/r"})),
        ("extra", json!({"callback.param": "x".repeat(65)})),
        ("extra", json!({"callback.type": 4})),
    ];
    for (path, value) in cases {
        let mut message = good();
        put(&mut message, path, value.clone());
        assert_eq!(refused(&sim, &push("phone0", &message)), "110004", "{path} = {value}");
    }
}

#[test]
fn a_registered_callback_is_allowed() {
    let sim = Meizu::new().with_account(MeizuAccount {
        app_id: "2".to_owned(),
        app_secret: "s2".to_owned(),
        callbacks: vec!["https://example.com/r".to_owned()],
    });
    let mut message = good();
    put(&mut message, "extra", json!({"callback": "https://example.com/r"}));
    let message = message.to_string();
    let fields = [("appId", "2"), ("pushIds", "phone0"), ("messageJson", &*message)];
    let phones = Phones::default();
    assert_eq!(answer(&sim, &signed_with(PUSH, &fields, "s2"), &phones)["code"], "200");
}

#[test]
fn only_bad_targets_are_listed_and_110010_has_two_meanings() {
    let (sim, phones) = (Meizu::new(), Phones::default());
    kill(&phones, "meizu", "dead");
    sim.set_message_switch("off", false);
    let reply = answer(&sim, &push("phone0,dead,off", &good()), &phones);
    assert_eq!(reply["code"], "200");
    assert_eq!(reply["value"], json!({"110002": ["dead"], "110010": ["off"]}));
    assert_eq!(phones.rung("meizu"), 1);
    sim.set_message_switch("off", true);
    assert_eq!(answer(&sim, &push("off", &good()), &phones)["value"], json!({}));
    sim.set_rate_exceeded(true);
    assert_eq!(refused(&sim, &push("phone0", &good())), "110010");
}

#[test]
fn a_task_is_made_once_and_pushed_to_many() {
    let (sim, phones) = (Meizu::new(), Phones::default());
    let message = good().to_string();
    let make = |kind| [("appId", "10000"), ("pushType", kind), ("messageJson", &*message)];
    let reply = answer(&sim, &signed(TASK_ID, &make("0")), &phones);
    let task = reply["value"]["taskId"].as_str().unwrap();
    assert_eq!(answer(&sim, &signed(TASK_ID, &make("1")), &phones)["code"], "1005");
    let push =
        |task| signed(TASK_PUSH, &[("appId", "10000"), ("pushIds", "phone0"), ("taskId", task)]);
    assert_eq!(answer(&sim, &push(task), &phones)["code"], "200");
    assert_eq!(phones.rung("meizu"), 1);
    assert_eq!(refused(&sim, &push("unknown")), "110032");
}
