//! Huawei Push Kit.

use std::time::Duration;

use http::{Method, StatusCode};
use offpush::sim::huawei::{ACCESS_TOKEN_SECONDS, Huawei, HuaweiAccount};
use offpush::sim::phones::Phones;
use offpush::sim::{SimRequest, Simulator};
use serde_json::{Value, json};

use crate::sim_android::*;

const TOKEN: &str = "/oauth2/v3/token";
const CLIENT: &str = "100000001";
const SEND: &str = "/v1/100000001/messages:send";

fn secret(sim: &Huawei) -> String {
    sim.credentials()[0].credential["client_secret"].as_str().unwrap().to_owned()
}

fn token_request(secret: &str) -> SimRequest {
    let fields =
        [("grant_type", "client_credentials"), ("client_id", CLIENT), ("client_secret", secret)];
    post_form(TOKEN, &fields)
}

fn bearer(sim: &Huawei) -> String {
    let reply = sim.answer(&token_request(&secret(sim)), &Phones::default());
    assert_eq!(reply.status, StatusCode::OK);
    let body = body(&reply);
    assert_eq!(body["expires_in"], 3_600);
    assert_eq!(body["token_type"], "Bearer");
    body["access_token"].as_str().unwrap().to_owned()
}

fn good() -> Value {
    json!({
        "validate_only": false,
        "message": {
            "data": "{\"k\":1}",
            "android": {
                "category": "IM", "urgency": "HIGH", "ttl": "3600s", "collapse_key": -1,
                "bi_tag": "trace-1", "target_user_type": 0,
                "notification": {
                    "title": "A", "body": "你好",
                    "click_action": {"type": 1, "intent": "intent://x#Intent;end"},
                    "channel_id": "im", "importance": "NORMAL", "notify_id": 4242, "tag": "conv",
                    "badge": {"add_num": 1, "class": "com.app.Main"},
                    "sound": "/raw/msg", "default_sound": false, "foreground_show": false,
                },
            },
            "token": ["phone0"],
        },
    })
}

fn send(bearer: &str, body: &Value) -> SimRequest {
    let request = with_header(post(SEND, body.to_string()), "content-type", JSON);
    with_header(request, "authorization", &format!("Bearer {bearer}"))
}

/// The good message with one change.
fn changed(path: &str, value: Value) -> Value {
    let mut message = good();
    put(&mut message, path, value);
    message
}

#[test]
fn the_secret_with_slash_and_plus_must_be_percent_encoded() {
    let sim = Huawei::new();
    let secret = secret(&sim);
    assert!(secret.contains('/') && secret.contains('+'));
    bearer(&sim);
    let raw = format!("grant_type=client_credentials&client_id={CLIENT}&client_secret={secret}");
    let request = with_header(post(TOKEN, raw), "content-type", FORM);
    let reply = sim.answer(&request, &Phones::default());
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(body(&reply)["error"], 1203);
    let slash_only = secret.replace('+', "%2B");
    let raw =
        format!("grant_type=client_credentials&client_id={CLIENT}&client_secret={slash_only}");
    let request = with_header(post("/oauth2/v2/token", raw), "content-type", FORM);
    assert_eq!(sim.answer(&request, &Phones::default()).status, StatusCode::OK);
}

#[test]
fn an_access_token_is_escaped_as_json_allows() {
    let sim = Huawei::new();
    let request = token_request(&secret(&sim));
    for _ in 0..50 {
        let reply = sim.answer(&request, &Phones::default());
        let token = body(&reply)["access_token"].as_str().unwrap().to_owned();
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        assert!(text.contains(&token.replace('/', "\\/")));
    }
}

#[test]
fn the_token_service_refuses_what_is_not_a_client_credentials_form() {
    let sim = Huawei::new();
    let secret = secret(&sim);
    let status = |request: &SimRequest| {
        let reply = sim.answer(request, &Phones::default());
        assert!(body(&reply)["error"].is_u64());
        reply.status
    };
    let mut get = token_request(&secret);
    get.method = Method::GET;
    assert_eq!(status(&get), StatusCode::METHOD_NOT_ALLOWED);
    let mut json = token_request(&secret);
    json.headers.clear();
    assert_eq!(status(&with_header(json, "content-type", JSON)), StatusCode::BAD_REQUEST);
    let fields = [("grant_type", "password"), ("client_id", CLIENT), ("client_secret", &*secret)];
    assert_eq!(status(&post_form(TOKEN, &fields)), StatusCode::BAD_REQUEST);
    assert_eq!(status(&token_request("")), StatusCode::BAD_REQUEST);
    assert_eq!(status(&token_request("wrong")), StatusCode::UNAUTHORIZED);
}

#[test]
fn a_good_message_rings_the_phone_with_everything_it_carries() {
    let (sim, phones) = (Huawei::new(), Phones::default());
    let reply = sim.answer(&send(&bearer(&sim), &good()), &phones);
    let answer = body(&reply);
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!((&answer["code"], &answer["msg"]), (&json!("80000000"), &json!("Success")));
    assert!(answer["requestId"].is_string());
    let shown = phones.shown(Some("huawei"), Some("phone0"));
    assert_eq!(shown.len(), 1);
    assert_eq!((shown[0].title.as_str(), shown[0].body.as_str()), ("A", "你好"));
    assert_eq!(shown[0].ext.as_deref(), Some("{\"k\":1}"));
    assert_eq!(shown[0].push_id.as_deref(), Some("trace-1"));
    assert_eq!(shown[0].replaces.as_deref(), Some("4242"));
    assert_eq!((phones.requests("huawei"), phones.rejected("huawei")), (1, 0));
}

#[test]
fn the_project_path_and_the_common_notification_work_too() {
    let (sim, phones) = (Huawei::new(), Phones::default());
    let mut message = changed("message.notification", json!({"title": "T", "body": "common"}));
    put(&mut message, "message.android.notification.body", Value::Null);
    let mut request = send(&bearer(&sim), &message);
    request.path = "/v2/990000000000000001/messages:send".to_owned();
    assert_eq!(body(&sim.answer(&request, &phones))["code"], "80000000");
    let shown = phones.shown(None, None);
    assert_eq!((shown[0].title.as_str(), shown[0].body.as_str()), ("A", "common"));
}

#[test]
fn a_data_message_needs_no_notification() {
    let (sim, phones) = (Huawei::new(), Phones::default());
    let message = json!({"message": {"data": "x", "token": ["phone0"]}});
    assert_eq!(body(&sim.answer(&send(&bearer(&sim), &message), &phones))["code"], "80000000");
    assert_eq!(phones.shown(None, None)[0].ext.as_deref(), Some("x"));
}

#[test]
fn bearers_expire_and_strangers_are_told_apart() {
    let sim = Huawei::new();
    let token = bearer(&sim);
    let refused = |request: &SimRequest| {
        let (status, body) = assert_refused(&sim, request);
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        body["code"].as_str().unwrap().to_owned()
    };
    let mut late = send(&token, &good());
    late.now = NOW.after(Duration::from_secs(ACCESS_TOKEN_SECONDS));
    assert_eq!(refused(&late), "80200003");
    late.now = NOW.after(Duration::from_secs(ACCESS_TOKEN_SECONDS - 1));
    assert_eq!(body(&sim.answer(&late, &Phones::default()))["code"], "80000000");
    assert_eq!(refused(&send("stranger", &good())), "80200001");
    let mut bare = send(&token, &good());
    bare.headers.remove("authorization");
    assert_eq!(refused(&bare), "80200001");
    assert_eq!(refused(&with_header(bare, "authorization", &token)), "80200001");
    sim.revoke_tokens();
    assert_eq!(refused(&send(&token, &good())), "80200001");
}

#[test]
fn the_path_must_be_of_the_bearer_s_app() {
    let sim = Huawei::new().with_account(HuaweiAccount {
        client_id: "2".to_owned(),
        client_secret: "other".to_owned(),
        project_id: "22".to_owned(),
        high_importance: true,
    });
    let mut request = send(&bearer(&sim), &good());
    request.path = "/v1/2/messages:send".to_owned();
    let (status, answer) = assert_refused(&sim, &request);
    assert_eq!((status, &answer["code"]), (StatusCode::UNAUTHORIZED, &json!("80200001")));
    request.path = "/v1/3/messages:send".to_owned();
    let (status, answer) = assert_refused(&sim, &request);
    assert_eq!((status, &answer["code"]), (StatusCode::OK, &json!("80300002")));
    assert!(!sim.owns("/v1/projects/p/messages:send"), "that path is FCM's");
    assert_eq!(sim.answer(&post("/v9", ""), &Phones::default()).status, StatusCode::NOT_FOUND);
}

#[test]
fn the_envelope_must_be_a_json_post() {
    let sim = Huawei::new();
    let token = bearer(&sim);
    let mut request = send(&token, &good());
    request.method = Method::GET;
    assert_eq!(assert_refused(&sim, &request).0, StatusCode::METHOD_NOT_ALLOWED);
    let mut request = send(&token, &good());
    request.headers.remove("content-type");
    for request in [request, send(&token, &json!([])), {
        let mut request = send(&token, &good());
        request.body = "{".into();
        request
    }] {
        let (status, answer) = assert_refused(&sim, &request);
        assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &json!("80100003")));
    }
}

#[test]
fn every_field_rule_has_its_code() {
    let sim = Huawei::new();
    let token = bearer(&sim);
    let cases = [
        ("message", Value::Null, "80300010"),
        ("message.token", Value::Null, "80300010"),
        ("message.token", json!([]), "80300010"),
        ("message.token", json!("phone0"), "80300010"),
        ("message.token", json!(tokens(1_001)), "80300010"),
        ("message.topic", json!("news"), "80100003"),
        ("message.condition", json!("'a' in topics"), "80100003"),
        ("message.data", json!({"k": 1}), "80100003"),
        ("message.data", json!("x".repeat(4_096)), "80300008"),
        ("message.android.notification.title", Value::Null, "80100003"),
        ("message.android.notification.body", json!(" "), "80100003"),
        ("message.android.notification.click_action", Value::Null, "80100003"),
        ("message.android.notification.click_action", json!({"type": 1}), "80100003"),
        ("message.android.notification.click_action", json!({"type": 2}), "80100003"),
        (
            "message.android.notification.click_action",
            json!({"type": 2, "url": "http://x"}),
            "80100001",
        ),
        ("message.android.notification.click_action", json!({"type": 9}), "80100001"),
        ("message.android.notification.importance", json!("normal"), "80100001"),
        ("message.android.notification.importance", json!("HIGH"), "80300011"),
        ("message.android.notification.badge.add_num", json!(0), "80100001"),
        ("message.android.notification.badge.add_num", json!(100), "80100001"),
        ("message.android.notification.badge.set_num", json!(100), "80100001"),
        ("message.android.notification.badge.class", Value::Null, "80100003"),
        ("message.android.notification.sound", json!("msg.mp3"), "80100001"),
        ("message.android.notification.image", json!("http://x/y.png"), "80100001"),
        ("message.android.notification.notify_id", json!("4242"), "80100003"),
        ("message.android.category", json!("im"), "80100001"),
        ("message.android.category", json!("PLAY_VOICE"), "80100001"),
        ("message.android.urgency", json!("high"), "80100001"),
        ("message.android.ttl", json!("3600"), "80100004"),
        ("message.android.ttl", json!("s"), "80100004"),
        ("message.android.ttl", json!("1296001s"), "80100004"),
        ("message.android.ttl", json!(3_600), "80100003"),
        ("message.android.collapse_key", json!(101), "80100013"),
        ("message.android.collapse_key", json!(-2), "80100013"),
        ("message.android.bi_tag", json!("x".repeat(65)), "80100001"),
        ("message.android.target_user_type", json!(2), "80100001"),
        ("validate_only", json!("no"), "80100003"),
    ];
    for (path, value, code) in cases {
        let (status, answer) = assert_refused(&sim, &send(&token, &changed(path, value.clone())));
        assert_eq!(answer["code"], code, "{path} = {value}");
        let expected = if code == "80300011" { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        assert_eq!(status, expected, "{path} = {value}");
    }
}

#[test]
fn the_edges_of_the_ranges_are_allowed() {
    let (sim, phones) = (Huawei::new(), Phones::default());
    let token = bearer(&sim);
    for (path, value) in [
        ("message.token", json!(tokens(1_000))),
        ("message.android.ttl", json!("1296000s")),
        ("message.android.collapse_key", json!(100)),
        ("message.android.notification.badge.add_num", json!(99)),
        ("message.android.notification.badge.set_num", json!(0)),
        ("message.android.notification.click_action", json!({"type": 3})),
        ("message.android.notification.unheard_of", json!(true)),
    ] {
        let request = send(&token, &changed(path, value));
        assert_eq!(body(&sim.answer(&request, &phones))["code"], "80000000", "{path}");
    }
    assert_eq!(phones.rung("huawei"), 1_006);
}

#[test]
fn checking_only_the_format_rings_nobody() {
    let (sim, phones) = (Huawei::new(), Phones::default());
    let message = changed("validate_only", json!(true));
    assert_eq!(body(&sim.answer(&send(&bearer(&sim), &message), &phones))["code"], "80000000");
    assert_eq!((phones.rung("huawei"), phones.requests("huawei")), (0, 1));
}

#[test]
fn dead_phones_are_listed_in_json_inside_the_text() {
    let (sim, phones) = (Huawei::new(), Phones::default());
    let token = bearer(&sim);
    kill(&phones, "huawei", "phone1");
    let message = changed("message.token", json!(["phone0", "phone1", "phone2"]));
    let reply = sim.answer(&send(&token, &message), &phones);
    let answer = body(&reply);
    assert_eq!((reply.status, &answer["code"]), (StatusCode::OK, &json!("80100000")));
    let counts: Value = serde_json::from_str(answer["msg"].as_str().unwrap()).unwrap();
    assert_eq!(counts, json!({"success": 2, "failure": 1, "illegal_tokens": ["phone1"]}));
    assert_eq!((phones.rung("huawei"), phones.rejected("huawei")), (2, 0));

    let message = changed("message.token", json!(["phone1"]));
    let reply = sim.answer(&send(&token, &message), &phones);
    assert_eq!((reply.status, &body(&reply)["code"]), (StatusCode::OK, &json!("80300007")));
    assert_eq!((phones.rung("huawei"), phones.rejected("huawei")), (2, 1));
}
