//! One wrong request for every check, one good request for every kind.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

use super::*;
use crate::sim::fcm::oauth::{CLIENT_EMAIL, GOOGLE_TOKEN_URI};

const NOW: u64 = 1_790_000_000;
const TOKEN: &str = "cAbc-123_x:APA91bEkUv";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

struct Bench {
    fcm: Fcm,
    phones: Phones,
}

fn request(path: &str, kind: &'static str, body: String) -> SimRequest {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(kind));
    headers.insert("host", HeaderValue::from_static("127.0.0.1:4433"));
    SimRequest {
        method: Method::POST,
        path: path.to_owned(),
        query: String::new(),
        headers,
        body: Bytes::from(body),
        connection: 1,
        client_certificate: None,
        now: UnixMs::from_secs(NOW),
    }
}

fn claims() -> Value {
    json!({"iss": CLIENT_EMAIL, "scope": SCOPE, "aud": GOOGLE_TOKEN_URI, "iat": NOW,
        "exp": NOW + 3_600})
}

fn json_of(reply: &SimReply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

impl Bench {
    fn new() -> Self {
        Bench { fcm: Fcm::new(), phones: Phones::default() }
    }

    fn sign(&self, head: &Value, claims: &Value) -> String {
        let account = self.fcm.service_account();
        let pem = account["private_key"].as_str().unwrap().as_bytes().to_vec();
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).unwrap();
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(head), encode(claims));
        let mut signature = vec![0; pair.public().modulus_len()];
        let random = SystemRandom::new();
        pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    fn exchange(&self, assertion: &str) -> SimReply {
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", grant)
            .append_pair("assertion", assertion)
            .finish();
        let kind = "application/x-www-form-urlencoded";
        self.fcm.answer(&request(TOKEN_PATH, kind, body), &self.phones)
    }

    fn access(&self) -> String {
        let reply = self.exchange(&self.sign(&json!({"alg": "RS256", "typ": "JWT"}), &claims()));
        assert_eq!(reply.status, 200);
        json_of(&reply)["access_token"].as_str().unwrap().to_owned()
    }

    fn sending(&self, body: &Value) -> SimRequest {
        let path = format!("/v1/projects/{PROJECT_ID}/messages:send");
        let mut request = request(&path, "application/json", body.to_string());
        let bearer = format!("Bearer {}", self.access());
        request.headers.insert("authorization", bearer.parse().unwrap());
        request
    }

    fn ask(&self, request: &SimRequest) -> (u16, Value) {
        let reply = self.fcm.answer(request, &self.phones);
        (reply.status.as_u16(), json_of(&reply))
    }

    fn send(&self, message: Value) -> (u16, Value) {
        self.ask(&self.sending(&json!({ "message": message })))
    }

    #[track_caller]
    fn refuses(&self, message: Value, field: &str) {
        let (status, body) = self.send(message);
        assert_eq!((status, &body["error"]["status"]), (400, &json!("INVALID_ARGUMENT")));
        let details = body["error"]["details"].as_array().expect("details");
        let violations = details.iter().find_map(|detail| detail["fieldViolations"].as_array());
        assert_eq!(violations.expect("a violation")[0]["field"], field);
        assert_eq!(self.phones.rung(VENDOR), 0, "no phone rings");
    }
}

#[test]
fn an_assertion_buys_a_token_for_either_audience() {
    let bench = Bench::new();
    let head = json!({"alg": "RS256"});
    for audience in [GOOGLE_TOKEN_URI, "https://127.0.0.1:4433/token"] {
        let mut claims = claims();
        claims["aud"] = json!(audience);
        let reply = bench.exchange(&bench.sign(&head, &claims));
        assert_eq!(reply.status, 200);
        let body = json_of(&reply);
        assert_eq!((&body["expires_in"], &body["token_type"]), (&json!(3_599), &json!("Bearer")));
    }
}

#[test]
fn a_wrong_assertion_buys_nothing() {
    let bench = Bench::new();
    let head = json!({"alg": "RS256"});
    let changed = |field: &str, value: Value| {
        let mut claims = claims();
        claims[field] = value;
        bench.sign(&head, &claims)
    };
    let good = bench.sign(&head, &claims());
    let (signed, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode([7; 256]));
    for (what, assertion, error) in [
        ("no JWT", "abc".to_owned(), "invalid_grant"),
        ("forged", forged, "invalid_grant"),
        ("padded", format!("{good}=="), "invalid_grant"),
        ("other algorithm", bench.sign(&json!({"alg": "PS256"}), &claims()), "invalid_grant"),
        ("other key", bench.sign(&json!({"alg": "RS256", "kid": "x"}), &claims()), "invalid_grant"),
        ("other account", changed("iss", json!("x@example.com")), "invalid_grant"),
        ("other audience", changed("aud", json!("https://example.com/token")), "invalid_grant"),
        ("future", changed("iat", json!(NOW + 60)), "invalid_grant"),
        ("too long", changed("exp", json!(NOW + 3_601)), "invalid_grant"),
        ("over", changed("exp", json!(NOW)), "invalid_grant"),
        ("no scope", changed("scope", json!("https://example.com")), "invalid_scope"),
    ] {
        let reply = bench.exchange(&assertion);
        assert_eq!(reply.status, 400, "{what}");
        assert_eq!(json_of(&reply)["error"], error, "{what}");
    }
}

#[test]
fn a_wrong_token_request_is_named() {
    let bench = Bench::new();
    let ask = |kind, body: &str| {
        let request = request(TOKEN_PATH, kind, body.to_owned());
        let reply = bench.fcm.answer(&request, &bench.phones);
        (reply.status.as_u16(), json_of(&reply)["error"].as_str().unwrap().to_owned())
    };
    let form = "application/x-www-form-urlencoded";
    let invalid = (400, "invalid_request".to_owned());
    assert_eq!(ask("application/json", "{}"), invalid);
    assert_eq!(ask(form, ""), invalid);
    assert_eq!(
        ask(form, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"),
        invalid
    );
    assert_eq!(ask(form, "grant_type=password"), (400, "unsupported_grant_type".to_owned()));
}

#[test]
fn an_access_token_ends() {
    let bench = Bench { fcm: Fcm::new().with_token_life_s(30), phones: Phones::default() };
    let mut request = bench.sending(&json!({"message": {"token": TOKEN}}));
    assert_eq!(bench.ask(&request).0, 200);
    request.now = UnixMs::from_secs(NOW + 30);
    let (status, body) = bench.ask(&request);
    assert_eq!((status, &body["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
    assert!(body["error"].get("details").is_none(), "no FCM code");
    request.headers.insert("authorization", HeaderValue::from_static("Bearer nobody"));
    assert_eq!(bench.ask(&request).0, 401);
    request.headers.remove("authorization");
    assert_eq!(bench.ask(&request).0, 401);
}

#[test]
fn a_notification_is_shown_as_android_would() {
    let bench = Bench::new();
    let message = json!({
        "token": TOKEN,
        "notification": {"title": "common", "body": "hi"},
        "data": {"ext": "{\"room\":1}", "push_id": "p1"},
        "android": {"priority": "high", "ttl": "3600s", "collapse_key": "k",
            "notification": {"title": "Mina", "tag": "c2c:mina", "notification_count": 2,
                "channel_id": "chat", "notification_priority": "PRIORITY_HIGH"}},
    });
    let (status, body) = bench.send(message);
    assert_eq!(status, 200);
    assert!(body["name"].as_str().unwrap().starts_with("projects/sim-project/messages/0:"));
    let shown = bench.phones.shown(Some(VENDOR), Some(TOKEN)).remove(0);
    assert_eq!((shown.title.as_str(), shown.body.as_str()), ("Mina", "hi"));
    assert_eq!(shown.ext.as_deref(), Some(r#"{"room":1}"#));
    assert_eq!(shown.replaces.as_deref(), Some("c2c:mina"));
    assert_eq!(shown.push_id.as_deref(), Some("p1"));
}

#[test]
fn names_may_be_camel_case_and_null_means_absent() {
    let bench = Bench::new();
    let message = json!({
        "token": TOKEN, "topic": null,
        "android": {"collapseKey": "k", "restrictedPackageName": "p",
            "notification": {"channelId": "chat", "titleLocArgs": ["a"], "color": "#00ff00",
                "eventTime": "2026-11-22T12:00:00Z", "vibrateTimings": ["0.5s"]}},
        "fcmOptions": {"analyticsLabel": "l"},
    });
    let (status, body) =
        bench.ask(&bench.sending(&json!({"validateOnly": true, "message": message})));
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["name"], "projects/sim-project/messages/fake_message_id");
    assert_eq!(bench.phones.rung(VENDOR), 0, "validation rings nowhere");
}

#[test]
fn data_messages_and_other_platforms_are_taken() {
    let bench = Bench::new();
    for message in [
        json!({"token": TOKEN, "data": {"title": "t", "body": "b"}}),
        json!({"fid": "cAbc", "notification": {"title": "t"}}),
        json!({"topic": "news", "notification": {"title": "t"}}),
        json!({"condition": "'a' in topics", "notification": {"title": "t"}}),
        json!({"token": TOKEN, "apns": {"headers": {"apns-priority": "5"},
            "payload": {"aps": {"alert": "x"}}}}),
        json!({"token": TOKEN, "webpush": {"headers": {"TTL": "1"}, "notification": {"a": 1}}}),
        json!({"token": TOKEN, "android_v2": {"ttl": "0s", "remote_notification":
            {"notification": {"title": "t"}, "mutable_content": true}}}),
    ] {
        let (status, body) = bench.send(message);
        assert_eq!(status, 200, "{body}");
    }
    let shown = bench.phones.shown(Some(VENDOR), Some(TOKEN)).remove(0);
    assert_eq!((shown.title.as_str(), shown.body.as_str()), ("t", "b"));
}

#[test]
fn wrong_fields_are_named_with_their_path() {
    let bench = Bench::new();
    let android = |android: Value| json!({"token": TOKEN, "android": android});
    let notification = |fields: Value| android(json!({ "notification": fields }));
    for (message, field) in [
        (json!({}), "message"),
        (json!({"notification": {"title": "t"}}), "message"),
        (json!({"token": TOKEN, "topic": "x"}), "message"),
        (json!({"token": ""}), "message.token"),
        (json!({"token": "has space"}), "message.token"),
        (json!({"fid": "has space"}), "message.fid"),
        (json!({"token": 7}), "message.token"),
        (json!({"token": TOKEN, "colour": "x"}), "message"),
        (json!({"token": TOKEN, "data": {"n": 1}}), "message.data[n]"),
        (json!({"token": TOKEN, "data": {"from": "x"}}), "message.data[from]"),
        (json!({"token": TOKEN, "data": {"message_type": "x"}}), "message.data[message_type]"),
        (json!({"token": TOKEN, "data": {"google.x": "x"}}), "message.data[google.x]"),
        (json!({"token": TOKEN, "data": {"gcmx": "x"}}), "message.data[gcmx]"),
        (android(json!({"data": {"from": "x"}})), "message.android.data[from]"),
        (android(json!({"ttl": 3600})), "message.android.ttl"),
        (android(json!({"ttl": "3600"})), "message.android.ttl"),
        (android(json!({"ttl": "-1s"})), "message.android.ttl"),
        (android(json!({"ttl": "2419201s"})), "message.android.ttl"),
        (android(json!({"priority": "LOUD"})), "message.android.priority"),
        (android(json!({"notifications": {}})), "message.android"),
        (android(json!({"collapse_key": "a", "collapseKey": "b"})), "message.android.collapse_key"),
        (notification(json!({"color": "red"})), "message.android.notification.color"),
        (notification(json!({"sticky": "yes"})), "message.android.notification.sticky"),
        (
            notification(json!({"title_loc_args": ["a", 1]})),
            "message.android.notification.title_loc_args[1]",
        ),
        (notification(json!({"visibility": "X"})), "message.android.notification.visibility"),
        (json!({"token": TOKEN, "android": {}, "android_v2": {}}), "message.android_v2"),
    ] {
        bench.refuses(message, field);
    }
    let (status, body) = bench.ask(&bench.sending(&json!({"message": {"token": TOKEN}, "x": 1})));
    assert_eq!(status, 400);
    assert!(body["error"]["message"].as_str().unwrap().contains("Unknown name \"x\""));
    assert_eq!(bench.ask(&bench.sending(&json!({}))).0, 400);
}

#[test]
fn unreadable_and_large_messages_are_bare_errors() {
    let bench = Bench::new();
    let mut request = bench.sending(&json!({"message": {"token": TOKEN}}));
    request.body = Bytes::from_static(b"{");
    assert_eq!(bench.ask(&request).0, 400);
    let sized = |size: usize| json!({"token": TOKEN, "data": {"k": "x".repeat(size - 1)}});
    assert_eq!(bench.send(sized(4_096)).0, 200);
    let (status, body) = bench.send(sized(4_097));
    assert_eq!((status, &body["error"]["status"]), (400, &json!("INVALID_ARGUMENT")));
    assert!(body["error"].get("details").is_none());
    let topic = |size: usize| json!({"topic": "t", "data": {"k": "x".repeat(size - 1)}});
    assert_eq!(bench.send(topic(2_048)).0, 200);
    assert_eq!(bench.send(topic(2_049)).0, 400);
}

#[test]
fn dead_and_foreign_tokens_carry_fcms_own_code() {
    let bench = Bench::new();
    bench.phones.set_life(VENDOR, "dead", TokenLife::Dead { since: UnixMs(1) });
    bench.fcm.bind("foreign", OTHER_PROJECT_ID);
    for (token, status, code) in
        [("dead", 404, "UNREGISTERED"), ("foreign", 403, "SENDER_ID_MISMATCH")]
    {
        let (got, body) = bench.send(json!({ "token": token }));
        assert_eq!((got, &body["error"]["details"][0]["errorCode"]), (status, &json!(code)));
    }
    let (_, body) = bench.send(json!({"token": "bad token"}));
    assert_eq!(body["error"]["details"][0]["errorCode"], "INVALID_ARGUMENT");
    assert_eq!((bench.phones.requests(VENDOR), bench.phones.rejected(VENDOR)), (3, 3));
}

#[test]
fn another_project_is_denied_and_an_unknown_one_not_found() {
    let bench = Bench::new();
    let mut request = bench.sending(&json!({"message": {"token": TOKEN}}));
    let mut to = |project: &str| {
        request.path = format!("/v1/projects/{project}/messages:send");
        bench.ask(&request)
    };
    assert_eq!(to(PROJECT_NUMBER).0, 200);
    let (status, body) = to(OTHER_PROJECT_ID);
    assert_eq!((status, &body["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
    assert!(body["error"].get("details").is_none());
    let (status, body) = to("nobody");
    assert_eq!((status, &body["error"]["status"]), (404, &json!("NOT_FOUND")));
    assert!(body["error"].get("details").is_none());
}

#[test]
fn other_paths_and_methods_get_googles_page() {
    let bench = Bench::new();
    let mut request = bench.sending(&json!({}));
    request.path = "/fcm/send".into();
    let reply = bench.fcm.answer(&request, &bench.phones);
    assert_eq!((reply.status.as_u16(), &reply.body[..9]), (404, &b"<!DOCTYPE"[..]));
    assert!(!bench.fcm.owns("/fcm/send") && bench.fcm.owns(TOKEN_PATH));
}

#[test]
fn a_device_gets_240_messages_a_minute_when_limited() {
    let bench = Bench { fcm: Fcm::new().limiting_devices(), phones: Phones::default() };
    let mut request = bench.sending(&json!({"message": {"token": TOKEN}}));
    for _ in 0..DEVICE_MINUTE_MAX {
        assert_eq!(bench.ask(&request).0, 200);
    }
    let (status, body) = bench.ask(&request);
    assert_eq!((status, &body["error"]["status"]), (429, &json!("RESOURCE_EXHAUSTED")));
    assert_eq!(body["error"]["details"][0]["errorCode"], "QUOTA_EXCEEDED");
    request.now = UnixMs::from_secs(NOW + 60);
    assert_eq!(bench.ask(&request).0, 200);
}
