//! OPPO Push.

use std::time::Duration;

use http::{Method, StatusCode};
use offpush::model::time::UnixMs;
use offpush::sim::oppo::{AUTH_TOKEN_SECONDS, Oppo, OppoAccount, OppoRegion};
use offpush::sim::phones::Phones;
use offpush::sim::{SimRequest, Simulator};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::sim_android::*;

const AUTH: &str = "/server/v1/auth";
const UNICAST: &str = "/server/v1/message/notification/unicast";
const BATCH: &str = "/server/v1/message/notification/unicast_batch";
const KEY: &str = "oppo-app-key";
const MILLIS: &str = "1700000000000";
/// The reference's vector for the usual account at [`NOW`].
const SIGN: &str = "2f18250b52b8174b67a1025542a0ad743dbca47d2bc7dadbd1f9362a0978c372";

fn auth(key: &str, timestamp: &str, sign: &str) -> SimRequest {
    let fields = [("app_key", key), ("timestamp", timestamp), ("sign", sign)];
    let fields: Vec<_> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    post_form(AUTH, &fields)
}

fn sign(timestamp: &str, secret: &str) -> String {
    hex::encode(digest(&SHA256, format!("{KEY}{timestamp}{secret}").as_bytes()))
}

fn answer(sim: &Oppo, request: &SimRequest, phones: &Phones) -> Value {
    let reply = sim.answer(request, phones);
    assert_eq!(reply.status, StatusCode::OK);
    body(&reply)
}

fn code(sim: &Oppo, request: &SimRequest) -> u64 {
    answer(sim, request, &Phones::default())["code"].as_u64().unwrap()
}

fn refused(sim: &Oppo, request: &SimRequest) -> u64 {
    let (status, body) = assert_refused(sim, request);
    assert_eq!(status, StatusCode::OK);
    assert!(body["message"].is_string());
    body["code"].as_u64().unwrap()
}

fn token(sim: &Oppo) -> String {
    let answer = answer(sim, &auth(KEY, MILLIS, SIGN), &Phones::default());
    assert_eq!(answer["code"], 0);
    assert_eq!(answer["data"]["create_time"], NOW.0);
    answer["data"]["auth_token"].as_str().unwrap().to_owned()
}

fn good() -> Value {
    json!({
        "target_type": 2, "target_value": "CN_phone0", "verify_registration_id": false,
        "notification": {
            "app_message_id": "m-1", "style": 1, "title": "A", "sub_title": "", "content": "你好",
            "click_action_type": 5, "click_action_activity": "", "click_action_url": "intent://x",
            "action_parameters": "{\"k\":1}", "off_line": true, "off_line_ttl": 3600,
            "channel_id": "im_msg", "category": "IM", "notify_level": 2, "notify_id": 4242,
            "badge_operation_type": 1, "badge_message_count": 1,
            "call_back_url": "https://example.com/r", "call_back_parameter": "m-1",
        },
    })
}

fn changed(path: &str, value: Value) -> Value {
    let mut message = good();
    put(&mut message, path, value);
    message
}

fn unicast(token: &str, message: &Value) -> SimRequest {
    post_form(UNICAST, &[("auth_token", token), ("message", &message.to_string())])
}

fn batch(token: &str, messages: &[Value]) -> SimRequest {
    let messages = json!(messages).to_string();
    post_form(BATCH, &[("auth_token", token), ("messages", &messages)])
}

#[test]
fn every_mistake_of_the_auth_call_has_its_code() {
    let sim = Oppo::new();
    assert_eq!(code(&sim, &auth(KEY, MILLIS, SIGN)), 0);
    assert_eq!(code(&sim, &auth("stranger", MILLIS, SIGN)), 14);
    assert_eq!(code(&sim, &auth("", MILLIS, SIGN)), 15);
    assert_eq!(code(&sim, &auth(KEY, MILLIS, &sign(MILLIS, "oppo-app-secret"))), 16);
    assert_eq!(code(&sim, &auth(KEY, MILLIS, &SIGN.to_uppercase())), 16);
    assert_eq!(code(&sim, &auth(KEY, MILLIS, "")), 17);
    assert_eq!(code(&sim, &auth(KEY, "", SIGN)), 18);
    for timestamp in ["1700000000", "17000000000000", "+700000000000", "1699999399999"] {
        let request = auth(KEY, timestamp, &sign(timestamp, "oppo-master-secret"));
        assert_eq!(code(&sim, &request), 19, "{timestamp}");
    }
    for timestamp in ["1699999400000", "1700000600000"] {
        let request = auth(KEY, timestamp, &sign(timestamp, "oppo-master-secret"));
        assert_eq!(code(&sim, &request), 0, "{timestamp}");
    }
    let mut get = auth(KEY, MILLIS, SIGN);
    get.method = Method::GET;
    assert_eq!(code(&sim, &get), 12);
    let mut json = auth(KEY, MILLIS, SIGN);
    json.headers.clear();
    assert_eq!(code(&sim, &with_header(json, "content-type", JSON)), 25);
}

#[test]
fn the_second_credential_carries_the_app_secret_where_the_master_secret_belongs() {
    let credentials = Oppo::new().credentials();
    assert_eq!(credentials[0].credential["master_secret"], "oppo-master-secret");
    assert_eq!(credentials[1].name, "app_secret_by_mistake");
    assert_eq!(credentials[1].credential["master_secret"], "oppo-app-secret");
}

#[test]
fn a_good_message_rings_the_phone_with_everything_it_carries() {
    let (sim, phones) = (Oppo::new(), Phones::default());
    let answer = answer(&sim, &unicast(&token(&sim), &good()), &phones);
    assert_eq!(answer["code"], 0);
    assert!(answer["data"]["messageId"].is_string());
    let shown = phones.shown(Some("oppo"), Some("CN_phone0"));
    assert_eq!(shown.len(), 1);
    assert_eq!((shown[0].title.as_str(), shown[0].body.as_str()), ("A", "你好"));
    assert_eq!(shown[0].ext.as_deref(), Some("{\"k\":1}"));
    assert_eq!(shown[0].push_id.as_deref(), Some("m-1"));
    assert_eq!(shown[0].replaces.as_deref(), Some("4242"));
    assert_eq!((phones.requests("oppo"), phones.rejected("oppo")), (1, 0));
}

#[test]
fn a_token_in_the_header_and_camel_case_fields_are_understood() {
    let (sim, phones) = (Oppo::new(), Phones::default());
    let message = json!({
        "target_type": 2, "target_value": "p",
        "notification": {"title": "A", "content": "B", "appMessageId": "m", "clickActionType": 0},
    });
    let request = post_form(UNICAST, &[("message", &message.to_string())]);
    let request = with_header(request, "auth_token", &token(&sim));
    assert_eq!(answer(&sim, &request, &phones)["code"], 0);
    assert_eq!(phones.shown(None, None)[0].push_id.as_deref(), Some("m"));
    let wrong = json!({
        "target_type": 2, "target_value": "p",
        "notification": {"title": "A", "content": "B", "clickActionType": 1},
    });
    assert_eq!(refused(&sim, &unicast(&token(&sim), &wrong)), 40);
}

#[test]
fn tokens_live_for_a_day() {
    let sim = Oppo::new();
    let token = token(&sim);
    let mut request = unicast(&token, &good());
    request.now = NOW.after(Duration::from_secs(AUTH_TOKEN_SECONDS - 1));
    assert_eq!(code(&sim, &request), 0);
    request.now = NOW.after(Duration::from_secs(AUTH_TOKEN_SECONDS));
    assert_eq!(refused(&sim, &request), 11);
    assert_eq!(refused(&sim, &unicast("stranger", &good())), 11);
    assert_eq!(refused(&sim, &unicast("", &good())), 29);
    sim.revoke_tokens();
    assert_eq!(refused(&sim, &unicast(&token, &good())), 11);
}

#[test]
fn who_signs_in_again_gets_the_token_that_is_valid() {
    let sim = Oppo::new();
    let first = token(&sim);
    let signed_in = |now: UnixMs| {
        let millis = now.0.to_string();
        let mut request = auth(KEY, &millis, &sign(&millis, "oppo-master-secret"));
        request.now = now;
        answer(&sim, &request, &Phones::default())["data"].clone()
    };
    let later = NOW.after(Duration::from_secs(AUTH_TOKEN_SECONDS - 1));
    assert_eq!(signed_in(later), json!({"auth_token": first, "create_time": NOW.0}));
    let ended = NOW.after(Duration::from_secs(AUTH_TOKEN_SECONDS));
    let next = signed_in(ended);
    assert_ne!(next["auth_token"], json!(first));
    assert_eq!(next["create_time"], ended.0);
}

#[test]
fn the_envelope_must_be_a_form_post_with_json_inside() {
    let sim = Oppo::new();
    let token = token(&sim);
    let mut get = unicast(&token, &good());
    get.method = Method::GET;
    assert_eq!(refused(&sim, &get), 12);
    let mut json = unicast(&token, &good());
    json.headers.clear();
    assert_eq!(refused(&sim, &with_header(json, "content-type", JSON)), 25);
    let field = |path, name, text: &str| post_form(path, &[("auth_token", &*token), (name, text)]);
    assert_eq!(refused(&sim, &field(UNICAST, "messages", "{}")), 40);
    assert_eq!(refused(&sim, &field(UNICAST, "message", "{")), 41);
    assert_eq!(refused(&sim, &field(UNICAST, "message", "[]")), 41);
    assert_eq!(refused(&sim, &field(BATCH, "message", "[]")), 40);
    assert_eq!(refused(&sim, &field(BATCH, "messages", "{}")), 41);
    let reply = sim.answer(&post("/server/v1/other", ""), &Phones::default());
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}

#[test]
fn every_field_rule_has_its_code() {
    let sim = Oppo::new();
    let token = token(&sim);
    let chars = |count: usize| json!("好".repeat(count));
    let cases = [
        ("target_type", Value::Null, 40),
        ("target_type", json!(5), 41),
        ("target_value", Value::Null, 40),
        ("target_value", json!("a;b"), 41),
        ("verify_registration_id", json!("no"), 41),
        ("notification", Value::Null, 40),
        ("notification.title", json!(" "), 40),
        ("notification.title", chars(51), 41),
        ("notification.title", json!(1), 41),
        ("notification.sub_title", chars(11), 41),
        ("notification.content", Value::Null, 40),
        ("notification.content", chars(51), 41),
        ("notification.style", json!(4), 41),
        ("notification.click_action_type", json!(3), 41),
        ("notification.click_action_type", json!(1), 40),
        ("notification.click_action_type", json!(4), 40),
        ("notification.click_action_url", Value::Null, 40),
        ("notification.click_action_url", json!("x".repeat(2_001)), 41),
        ("notification.click_action_activity", json!("x".repeat(501)), 41),
        ("notification.action_parameters", json!({"k": 1}), 41),
        ("notification.action_parameters", json!("[1]"), 41),
        (
            "notification.action_parameters",
            json!(format!("{{\"k\":\"{}\"}}", "x".repeat(4_000))),
            41,
        ),
        ("notification.off_line", json!("true"), 41),
        ("notification.off_line_ttl", json!(-1), 41),
        ("notification.show_ttl", json!(172_801), 41),
        ("notification.network_type", json!(2), 41),
        ("notification.notify_id", json!("4242"), 41),
        ("notification.category", json!("im"), 67),
        ("notification.category", Value::Null, 67),
        ("notification.notify_level", json!(3), 67),
        ("notification.notify_level", json!(16), 67),
        ("notification.private_title_parameters", json!("x"), 41),
        ("notification.badge_operation_type", json!(2), 41),
        ("notification.badge_operation_type", Value::Null, 40),
        ("notification.badge_message_count", Value::Null, 40),
        ("notification.call_back_url", json!("ftp://x"), 41),
        ("notification.call_back_url", json!(format!("https://{}", "x".repeat(200))), 41),
        ("notification.call_back_parameter", json!("x".repeat(101)), 41),
    ];
    for (path, value, code) in cases {
        let request = unicast(&token, &changed(path, value.clone()));
        assert_eq!(refused(&sim, &request), code, "{path} = {value}");
    }
}

#[test]
fn the_edges_of_the_ranges_are_allowed() {
    let sim = Oppo::new();
    let token = token(&sim);
    let chars = |count: usize| json!("好".repeat(count));
    let mut long = changed("notification.content", chars(128));
    put(&mut long, "notification.style", json!(2));
    for message in [
        long,
        changed("notification.title", chars(50)),
        // A family of four is one emoji of seven scalar values.
        changed("notification.title", json!("👨‍👩‍👧‍👦".repeat(50))),
        changed("notification.content", chars(50)),
        changed("notification.off_line_ttl", json!(864_001)),
        changed("notification.channel_id", Value::Null),
        changed("notification.action_parameters", json!("")),
    ] {
        assert_eq!(code(&sim, &unicast(&token, &message)), 0, "{message}");
    }
}

#[test]
fn an_approved_app_may_be_loud() {
    let account = OppoAccount {
        app_key: "loud-key".to_owned(),
        app_secret: "a".to_owned(),
        master_secret: "m".to_owned(),
        loud: true,
    };
    let sim = Oppo::new().with_account(account);
    let sign = hex::encode(digest(&SHA256, format!("loud-key{MILLIS}m").as_bytes()));
    let answer = answer(&sim, &auth("loud-key", MILLIS, &sign), &Phones::default());
    let loud = answer["data"]["auth_token"].as_str().unwrap();
    let message = changed("notification.notify_level", json!(16));
    assert_eq!(code(&sim, &unicast(loud, &message)), 0);
    assert_eq!(refused(&sim, &unicast(&token(&sim), &message)), 67);
}

#[test]
fn category_im_needs_a_template_only_when_asked_for() {
    let sim = Oppo::new();
    let token = token(&sim);
    assert_eq!(code(&sim, &unicast(&token, &good())), 0);
    sim.require_templates(true);
    let (_, body) = assert_refused(&sim, &unicast(&token, &good()));
    assert_eq!(body["code"], 54);
    assert_eq!(body["message"], "private_msg_template_id is null");
    let message = changed("notification.private_msg_template_id", json!("t1"));
    assert_eq!(code(&sim, &unicast(&token, &message)), 0);
}

#[test]
fn a_server_of_one_region_does_not_know_the_other_s_phones() {
    let sim = Oppo::new();
    let token = token(&sim);
    let overseas = changed("target_value", json!("OPPO_IN_phone0"));
    assert_eq!(code(&sim, &unicast(&token, &overseas)), 0);
    sim.serve_region(Some(OppoRegion::Mainland));
    assert_eq!(refused(&sim, &unicast(&token, &overseas)), 10_000);
    assert_eq!(code(&sim, &unicast(&token, &good())), 0);
    sim.serve_region(Some(OppoRegion::Overseas));
    assert_eq!(refused(&sim, &unicast(&token, &good())), 10_000);
}

#[test]
fn a_dead_phone_is_an_invalid_registration_id() {
    let (sim, phones) = (Oppo::new(), Phones::default());
    kill(&phones, "oppo", "CN_phone0");
    let answer = answer(&sim, &unicast(&token(&sim), &good()), &phones);
    assert_eq!(answer["code"], 10_000);
    assert_eq!((phones.rung("oppo"), phones.rejected("oppo")), (0, 1));
}

#[test]
fn a_repeated_app_message_id_is_delivered_once_to_each_phone() {
    let (sim, phones) = (Oppo::new(), Phones::default());
    let token = token(&sim);
    for target in ["CN_phone0", "CN_phone0", "CN_phone1"] {
        let request = unicast(&token, &changed("target_value", json!(target)));
        assert_eq!(answer(&sim, &request, &phones)["code"], 0);
    }
    assert_eq!(phones.shown(None, Some("CN_phone0")).len(), 1);
    assert_eq!(phones.shown(None, Some("CN_phone1")).len(), 1);
}

#[test]
fn a_batch_answers_each_element_in_request_order() {
    let (sim, phones) = (Oppo::new(), Phones::default());
    kill(&phones, "oppo", "dead");
    let mut too_long = changed("target_value", json!("long"));
    put(&mut too_long, "notification.title", json!("x".repeat(51)));
    let messages = [
        changed("target_value", json!("a")),
        changed("target_value", json!("dead")),
        too_long,
        changed("target_value", json!("b")),
    ];
    let answer = answer(&sim, &batch(&token(&sim), &messages), &phones);
    assert_eq!(answer["code"], 0);
    let elements = answer["data"].as_array().unwrap();
    let told: Vec<_> =
        elements.iter().map(|e| (&e["registrationId"], e["errorCode"].as_u64())).collect();
    let names = [json!("a"), json!("dead"), json!("long"), json!("b")];
    let expected = [None, Some(10_000), Some(41), None];
    assert_eq!(told, names.iter().zip(expected).collect::<Vec<_>>());
    assert_eq!(elements[1]["errorMessage"], "Invalid registrationId");
    assert!(elements[0]["messageId"].is_string());
    assert_eq!(phones.rung("oppo"), 2);
    assert_eq!((phones.requests("oppo"), phones.rejected("oppo")), (1, 0));
}

#[test]
fn a_batch_holds_at_most_a_thousand() {
    let (sim, phones) = (Oppo::new(), Phones::default());
    let token = token(&sim);
    let message = |name: &String| changed("target_value", json!(name));
    let messages: Vec<Value> = tokens(1_001).iter().map(message).collect();
    assert_eq!(refused(&sim, &batch(&token, &messages)), 41);
    assert_eq!(refused(&sim, &batch(&token, &[])), 41);
    assert_eq!(refused(&sim, &batch("stranger", &messages[..1])), 11);
    assert_eq!(answer(&sim, &batch(&token, &messages[..1_000]), &phones)["code"], 0);
    assert_eq!(phones.rung("oppo"), 1_000);
}
