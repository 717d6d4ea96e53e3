//! vivo Push.

use std::time::Duration;

use http::StatusCode;
use offpush::model::time::UnixMs;
use offpush::sim::md5::md5_hex;
use offpush::sim::phones::Phones;
use offpush::sim::vivo::{AUTH_TOKEN_SECONDS, Vivo, VivoAccount, VivoClass};
use offpush::sim::{SimRequest, Simulator};
use serde_json::{Value, json};

use crate::sim_android::*;

const AUTH: &str = "/message/auth";
const SEND: &str = "/message/send";
const SAVE: &str = "/message/saveListPayload";
const LIST: &str = "/message/pushToList";
const SIGN: &str = "aeedc66452f375beb3cba096d197d74b";

fn json_post(path: &str, body: &Value) -> SimRequest {
    with_header(post(path, body.to_string()), "content-type", JSON)
}

fn auth_body() -> Value {
    json!({"appId": 10004, "appKey": "vivo-app-key", "timestamp": NOW.0, "sign": SIGN})
}

fn auth(path: &str, value: Value) -> SimRequest {
    let mut body = auth_body();
    put(&mut body, path, value);
    json_post(AUTH, &body)
}

fn answer(sim: &Vivo, request: &SimRequest, phones: &Phones) -> Value {
    let reply = sim.answer(request, phones);
    assert_eq!(reply.status, StatusCode::OK);
    body(&reply)
}

fn result(sim: &Vivo, request: &SimRequest) -> u64 {
    answer(sim, request, &Phones::default())["result"].as_u64().unwrap()
}

fn token(sim: &Vivo) -> String {
    let answer = answer(sim, &json_post(AUTH, &auth_body()), &Phones::default());
    answer["authToken"].as_str().unwrap().to_owned()
}

fn good() -> Value {
    json!({
        "appId": 10004, "regId": "phone0", "notifyType": 4, "title": "A", "content": "你好",
        "timeToLive": 3600, "skipType": 4, "skipContent": "intent:#Intent;end",
        "classification": 1, "category": "IM", "clientCustomMap": {"k": "v"}, "requestId": "r-1",
        "pushMode": 0, "notifyId": 4242,
    })
}

fn changed(path: &str, value: Value) -> Value {
    let mut message = good();
    put(&mut message, path, value);
    message
}

fn call(path: &str, token: &str, body: &Value) -> SimRequest {
    with_header(json_post(path, body), "authtoken", token)
}

fn refused(sim: &Vivo, request: &SimRequest) -> u64 {
    let (status, body) = assert_refused(sim, request);
    assert_eq!(status, StatusCode::OK);
    assert!(body["desc"].is_string());
    body["result"].as_u64().unwrap()
}

#[test]
fn every_mistake_of_the_auth_call_has_its_code() {
    let sim = Vivo::new();
    let cases = [
        ("appId", json!("10004"), 0),
        ("appId", Value::Null, 10_200),
        ("appKey", Value::Null, 10_201),
        ("appKey", json!("other"), 10_202),
        ("timestamp", Value::Null, 10_203),
        ("sign", json!(""), 10_204),
        ("appId", json!(1), 10_205),
        ("sign", json!(SIGN.to_uppercase()), 10_206),
        ("timestamp", json!(NOW.0 - 600_001), 10_207),
        ("timestamp", json!(NOW.0 / 1_000), 10_207),
    ];
    for (path, value, code) in cases {
        assert_eq!(result(&sim, &auth(path, value.clone())), code, "{path} = {value}");
    }
}

#[test]
fn the_eleventh_auth_call_in_a_second_is_too_many() {
    let sim = Vivo::new();
    let mut request = json_post(AUTH, &auth_body());
    for _ in 0..10 {
        assert_eq!(result(&sim, &request), 0);
    }
    assert_eq!(result(&sim, &request), 10_072);
    request.now = NOW.after(Duration::from_secs(1));
    assert_eq!(result(&sim, &request), 0);
}

#[test]
fn a_good_message_rings_the_phone_with_everything_it_carries() {
    let (sim, phones) = (Vivo::new(), Phones::default());
    let reply = answer(&sim, &call(SEND, &token(&sim), &good()), &phones);
    assert_eq!(reply["result"], 0);
    assert!(reply["taskId"].is_string());
    let shown = phones.shown(Some("vivo"), Some("phone0"));
    assert_eq!((shown[0].title.as_str(), shown[0].body.as_str()), ("A", "你好"));
    assert_eq!(shown[0].ext.as_deref(), Some("{\"k\":\"v\"}"));
    assert_eq!(shown[0].push_id.as_deref(), Some("r-1"));
    assert_eq!(shown[0].replaces.as_deref(), Some("4242"));
}

#[test]
fn tokens_live_for_a_day_and_belong_to_one_app() {
    let other =
        VivoAccount { app_id: "2".to_owned(), app_key: "k".to_owned(), app_secret: "s".to_owned() };
    let sim = Vivo::new().with_account(other);
    let own = token(&sim);
    let mut request = call(SEND, &own, &good());
    request.now = NOW.after(Duration::from_secs(AUTH_TOKEN_SECONDS));
    assert_eq!(refused(&sim, &request), 10_000);
    assert_eq!(refused(&sim, &call(SEND, "stranger", &good())), 10_000);
    assert_eq!(refused(&sim, &call(SEND, &own, &changed("appId", json!(2)))), 10_094);
    let sign = md5_hex(format!("2k{}s", NOW.0).as_bytes());
    let body = json!({"appId": "2", "appKey": "k", "timestamp": NOW.0, "sign": sign});
    assert_eq!(result(&sim, &json_post(AUTH, &body)), 0);
    sim.revoke_tokens();
    assert_eq!(refused(&sim, &call(SEND, &own, &good())), 10_000);
}

#[test]
fn every_field_rule_has_its_code() {
    let sim = Vivo::new();
    let token = token(&sim);
    let chars = |count: usize| json!("好".repeat(count));
    let cases = [
        ("regId", Value::Null, 10_050),
        ("title", Value::Null, 10_055),
        ("title", chars(41), 10_056),
        ("content", json!(" "), 10_058),
        ("content", chars(101), 10_059),
        ("notifyType", Value::Null, 10_000),
        ("notifyType", json!(5), 10_000),
        ("timeToLive", json!(59), 10_000),
        ("timeToLive", json!(86_401), 10_000),
        ("skipType", json!(0), 10_000),
        ("skipContent", Value::Null, 10_000),
        ("skipContent", chars(1_025), 10_000),
        ("clientCustomMap", json!({"k": 1}), 10_000),
        ("clientCustomMap", json!({"k": "x".repeat(1_024)}), 10_000),
        ("category", json!("im"), 10_096),
        ("category", json!("NEWS"), 10_097),
        ("classification", json!(0), 10_097),
        ("requestId", Value::Null, 10_000),
        ("requestId", json!("x".repeat(65)), 10_000),
        ("notifyId", json!(0), 10_000),
        ("pushMode", json!(2), 10_000),
        ("extra", json!({"callback": "x".repeat(129)}), 10_000),
        ("extra", json!({"callback.param": "x".repeat(65)}), 10_000),
    ];
    for (path, value, code) in cases {
        let request = call(SEND, &token, &changed(path, value.clone()));
        assert_eq!(refused(&sim, &request), code, "{path} = {value}");
    }
    let mut form = call(SEND, &token, &good());
    form.headers.remove("content-type");
    assert_eq!(refused(&sim, &with_header(form, "content-type", FORM)), 10_000);
}

#[test]
fn a_request_id_is_used_once() {
    let sim = Vivo::new();
    let token = token(&sim);
    assert_eq!(result(&sim, &call(SEND, &token, &good())), 0);
    assert_eq!(refused(&sim, &call(SEND, &token, &good())), 10_303);
}

#[test]
fn a_dead_phone_is_an_invalid_user() {
    let (sim, phones) = (Vivo::new(), Phones::default());
    kill(&phones, "vivo", "phone0");
    let reply = answer(&sim, &call(SEND, &token(&sim), &good()), &phones);
    assert_eq!(reply["result"], 10_302);
    assert_eq!(reply["invalidUser"], json!({"status": 2, "userid": "phone0"}));
    assert_eq!((phones.rung("vivo"), phones.rejected("vivo")), (0, 1));
}

#[test]
fn a_saved_message_goes_to_a_list_of_two_or_more() {
    let (sim, phones) = (Vivo::new(), Phones::default());
    let token = token(&sim);
    let saved = answer(&sim, &call(SAVE, &token, &changed("regId", Value::Null)), &phones);
    let task = saved["taskId"].as_str().unwrap();
    kill(&phones, "vivo", "phone1");
    let list = |ids: Vec<String>, task: &str, id: &str| {
        let body = json!({"appId": 10004, "regIds": ids, "taskId": task, "requestId": id});
        call(LIST, &token, &body)
    };
    let reply = answer(&sim, &list(tokens(3), task, "r-2"), &phones);
    assert_eq!(reply["result"], 0);
    assert_eq!(reply["invalidUsers"], json!([{"status": 2, "userid": "phone1"}]));
    assert_eq!((phones.rung("vivo"), phones.requests("vivo")), (2, 1));
    assert_eq!(phones.shown(None, None)[0].push_id.as_deref(), Some("r-2"));
    assert_eq!(answer(&sim, &list(tokens(1_000), task, "r-3"), &phones)["result"], 0);
    assert_eq!(refused(&sim, &list(tokens(1), task, "r-4")), 10_000);
    assert_eq!(refused(&sim, &list(tokens(1_001), task, "r-5")), 10_000);
    assert_eq!(refused(&sim, &list(tokens(2), "unknown", "r-6")), 10_000);
}

#[test]
fn operational_messages_sleep_at_night_and_each_class_has_its_quota() {
    let (sim, phones) = (Vivo::new(), Phones::default());
    let token = token(&sim);
    let operational = |id: &str, now: UnixMs| {
        let mut message = changed("category", json!("NEWS"));
        put(&mut message, "classification", json!(0));
        put(&mut message, "requestId", json!(id));
        let mut request = call(SEND, &token, &message);
        request.now = now;
        request
    };
    // NOW is 06:13:20 in China.
    let seven = NOW.after(Duration::from_secs(46 * 60 + 40));
    assert_eq!(refused(&sim, &operational("o-1", NOW)), 10_071);
    assert_eq!(refused(&sim, &operational("o-2", UnixMs(seven.0 - 1))), 10_071);
    assert_eq!(answer(&sim, &operational("o-3", seven), &phones)["result"], 0);
    let eleven = seven.after(Duration::from_secs(16 * 3_600));
    assert_eq!(refused(&sim, &operational("o-4", eleven)), 10_071);
    sim.set_daily_quota(VivoClass::Operational, Some(1));
    assert_eq!(refused(&sim, &operational("o-5", seven)), 10_070);
    sim.set_daily_quota(VivoClass::System, Some(0));
    assert_eq!(refused(&sim, &call(SEND, &token, &good())), 10_073);
}
