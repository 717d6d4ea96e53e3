//! Honor Push.

use std::time::Duration;

use http::{Method, StatusCode};
use offpush::sim::honor::{ACCESS_TOKEN_SECONDS, Honor};
use offpush::sim::phones::Phones;
use offpush::sim::{SimRequest, Simulator};
use serde_json::{Value, json};

use crate::sim_android::*;

const TOKEN: &str = "/auth/token";
const SEND: &str = "/api/v1/104000001/sendMessage";

fn token_request(id: &str, secret: &str) -> SimRequest {
    let fields =
        [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
    post_form(TOKEN, &fields)
}

fn bearer(sim: &Honor) -> String {
    let request = token_request("honor-client-id", "honor/client+secret==");
    let reply = sim.answer(&request, &Phones::default());
    body(&reply)["access_token"].as_str().unwrap().to_owned()
}

fn good() -> Value {
    json!({
        "data": "{\"k\":1}",
        "android": {
            "ttl": "3600s", "biTag": "trace-1", "targetUserType": 0,
            "notification": {
                "title": "A", "body": "你好", "importance": "NORMAL",
                "clickAction": {"type": 3}, "notifyId": 4242,
                "badge": {"addNum": 1, "badgeClass": "com.app.Main"},
            },
        },
        "token": ["phone0"],
    })
}

fn send_at(bearer: &str, body: &Value, timestamp: &str) -> SimRequest {
    let request = with_header(post(SEND, body.to_string()), "content-type", JSON);
    let request = with_header(request, "authorization", &format!("Bearer {bearer}"));
    with_header(request, "timestamp", timestamp)
}

fn send(bearer: &str, body: &Value) -> SimRequest {
    send_at(bearer, body, &NOW.0.to_string())
}

#[test]
fn a_good_message_rings_the_phone_with_everything_it_carries() {
    let (sim, phones) = (Honor::new(), Phones::default());
    let answer = body(&sim.answer(&send(&bearer(&sim), &good()), &phones));
    assert_eq!((&answer["code"], &answer["data"]["sendResult"]), (&json!(200), &json!(true)));
    assert_eq!(answer["data"]["expireTokens"], json!([]));
    let shown = phones.shown(Some("honor"), Some("phone0"));
    assert_eq!((shown[0].title.as_str(), shown[0].body.as_str()), ("A", "你好"));
    assert_eq!(shown[0].ext.as_deref(), Some("{\"k\":1}"));
    assert_eq!(shown[0].push_id.as_deref(), Some("trace-1"));
    assert_eq!(shown[0].replaces.as_deref(), Some("4242"));
}

#[test]
fn the_client_id_is_not_the_app_id() {
    let sim = Honor::new();
    let reply = |request: &SimRequest| sim.answer(request, &Phones::default()).status;
    let secret = "honor/client+secret==";
    assert_eq!(reply(&token_request("honor-client-id", secret)), StatusCode::OK);
    assert_eq!(reply(&token_request("104000001", secret)), StatusCode::UNAUTHORIZED);
    let mut get = token_request("honor-client-id", secret);
    get.method = Method::GET;
    assert_eq!(reply(&get), StatusCode::METHOD_NOT_ALLOWED);
    let mut request = send(&bearer(&sim), &good());
    request.path = "/api/v1/honor-client-id/sendMessage".to_owned();
    assert_eq!(assert_refused(&sim, &request).1["code"], 80_300_002);
}

#[test]
fn the_bearer_and_the_timestamp_must_be_fresh() {
    let sim = Honor::new();
    let token = bearer(&sim);
    for timestamp in ["1700000000", "1699999399999", "1700000600001", "now"] {
        let (status, answer) = assert_refused(&sim, &send_at(&token, &good(), timestamp));
        assert_eq!((status, &answer["code"]), (StatusCode::UNAUTHORIZED, &json!(80_200_001)));
    }
    let later = NOW.after(Duration::from_secs(ACCESS_TOKEN_SECONDS));
    let mut request = send_at(&token, &good(), &later.0.to_string());
    request.now = later;
    assert_eq!(assert_refused(&sim, &request).1["code"], 80_200_003);
    assert_eq!(assert_refused(&sim, &send("stranger", &good())).1["code"], 80_200_001);
    sim.revoke_tokens();
    assert_eq!(assert_refused(&sim, &send(&token, &good())).1["code"], 80_200_001);
}

#[test]
fn the_spelling_of_huawei_is_refused() {
    let sim = Honor::new();
    let token = bearer(&sim);
    let wrapped = json!({"message": good()});
    assert_eq!(assert_refused(&sim, &send(&token, &wrapped)).1["code"], 80_100_003);
    let mut snake = good();
    put(&mut snake, "android.notification.click_action", json!({"type": 3}));
    assert_eq!(assert_refused(&sim, &send(&token, &snake)).1["code"], 80_100_003);
}

#[test]
fn every_field_rule_has_its_code() {
    let sim = Honor::new();
    let token = bearer(&sim);
    let cases = [
        ("token", Value::Null, 80_300_010),
        ("token", json!(tokens(1_001)), 80_300_010),
        ("data", json!("x".repeat(4_096)), 80_300_008),
        ("android.ttl", json!("3600"), 80_100_004),
        ("android.ttl", json!("1296001s"), 80_100_004),
        ("android.targetUserType", json!(2), 80_100_001),
        ("android.notification.title", Value::Null, 80_100_003),
        ("android.notification.importance", json!("HIGH"), 80_100_001),
        ("android.notification.clickAction", Value::Null, 80_100_003),
        ("android.notification.clickAction", json!({"type": 1}), 80_100_003),
        ("android.notification.clickAction", json!({"type": 2}), 80_100_003),
        ("android.notification.clickAction", json!({"type": 4}), 80_100_001),
        ("android.notification.badge.addNum", json!(100), 80_100_001),
        ("android.notification.notifyId", json!("1"), 80_100_003),
    ];
    for (path, value, code) in cases {
        let mut message = good();
        put(&mut message, path, value.clone());
        let (_, answer) = assert_refused(&sim, &send(&token, &message));
        assert_eq!(answer["code"], code, "{path} = {value}");
    }
    let mut thousand = good();
    put(&mut thousand, "token", json!(tokens(1_000)));
    let phones = Phones::default();
    assert_eq!(body(&sim.answer(&send(&token, &thousand), &phones))["code"], 200);
    assert_eq!(phones.rung("honor"), 1_000);
}

#[test]
fn expired_and_failing_phones_are_told_apart() {
    let (sim, phones) = (Honor::new(), Phones::default());
    let token = bearer(&sim);
    kill(&phones, "honor", "phone1");
    sim.set_failing("phone2", true);
    let mut message = good();
    put(&mut message, "token", json!(["phone0", "phone1", "phone2"]));
    let data = body(&sim.answer(&send(&token, &message), &phones))["data"].clone();
    assert_eq!(data["expireTokens"], json!(["phone1"]));
    assert_eq!(data["failTokens"], json!(["phone2"]));
    assert_eq!(data["sendResult"], true);
    sim.set_failing("phone2", false);
    let data = body(&sim.answer(&send(&token, &message), &phones))["data"].clone();
    assert_eq!(data["failTokens"], json!([]));
    assert_eq!(phones.rung("honor"), 3);
}
