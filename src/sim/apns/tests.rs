//! One wrong request for every check, one good request for every kind.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::{HeaderName, Method};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm};

use super::*;
use crate::sim::apns::accounts::{BUNDLE_ID, KEY_ID, Key, SANDBOX_KEY_ID, TEAM_ID};

mod sign_in;

const NOW: u64 = 1_790_000_000;
const TOKEN: &str = "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff";
const PAYLOAD: &[u8] = br#"{"aps":{"alert":{"title":"Mina","subtitle":"s","body":"hi"},"badge":3},
    "ext":"{\"room\":1}"}"#;

fn sign(key: &Key, head: &str, claims: &str, algorithm: &'static EcdsaSigningAlgorithm) -> String {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode(head), encode(claims));
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, &key.pkcs8(), &random).unwrap();
    let signature = pair.sign(&random, signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

struct Bench {
    apns: Apns,
    phones: Phones,
    /// One provider token for all good requests: a second would come too soon.
    bearer: String,
}

impl Bench {
    fn new() -> Self {
        Bench::of(Apns::production())
    }

    fn of(apns: Apns) -> Self {
        let mut bench = Bench { apns, phones: Phones::default(), bearer: String::new() };
        bench.bearer = format!("bearer {}", bench.jwt(KEY_ID, TEAM_ID, NOW));
        bench
    }

    fn jwt(&self, key_id: &str, team_id: &str, iat: u64) -> String {
        let head = format!(r#"{{"alg":"ES256","kid":"{key_id}"}}"#);
        let claims = format!(r#"{{"iss":"{team_id}","iat":{iat}}}"#);
        let key = self.apns.accounts().key(key_id).unwrap();
        sign(key, &head, &claims, &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    fn good(&self) -> SimRequest {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", self.bearer.parse().unwrap());
        headers.insert("apns-topic", HeaderValue::from_static(BUNDLE_ID));
        SimRequest {
            method: Method::POST,
            path: format!("{DEVICE_PATH}{TOKEN}"),
            query: String::new(),
            headers,
            body: Bytes::from_static(PAYLOAD),
            connection: 1,
            client_certificate: None,
            now: UnixMs::from_secs(NOW),
        }
    }

    fn with(&self, headers: &[(&'static str, &str)]) -> SimRequest {
        let mut request = self.good();
        for (name, value) in headers {
            request.headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        request
    }

    fn ask(&self, request: &SimRequest) -> (u16, String) {
        let reply = self.apns.answer(request, &self.phones);
        assert!(reply.headers.contains_key("apns-id"));
        if reply.body.is_empty() {
            return (reply.status.as_u16(), String::new());
        }
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        (reply.status.as_u16(), body["reason"].as_str().unwrap().to_owned())
    }

    #[track_caller]
    fn refuses(&self, request: &SimRequest, status: u16, reason: &str) {
        assert_eq!(self.ask(request), (status, reason.to_owned()));
        assert_eq!(self.phones.rung(VENDOR), 0, "no phone rings");
    }

    #[track_caller]
    fn accepts(&self, request: &SimRequest) {
        assert_eq!(self.ask(request), (200, String::new()));
    }
}

#[test]
fn a_good_push_rings_and_shows_what_was_sent() {
    let bench = Bench::new();
    let id = "0a0a0a0a-1111-2222-3333-444444444444";
    let request = bench.with(&[("apns-id", id), ("apns-collapse-id", "c1")]);
    let reply = bench.apns.answer(&request, &bench.phones);
    assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0));
    assert_eq!(reply.headers["apns-id"], id);
    assert!(!reply.headers.contains_key("apns-unique-id"));
    let shown = bench.phones.shown(Some(VENDOR), Some(TOKEN)).remove(0);
    assert_eq!((shown.title.as_str(), shown.body.as_str()), ("Mina", "hi"));
    assert_eq!(shown.ext.as_deref(), Some(r#"{"room":1}"#));
    assert_eq!(shown.push_id.as_deref(), Some(id));
    assert_eq!(shown.replaces.as_deref(), Some("c1"));
    assert_eq!((&shown.raw["badge"], &shown.raw["subtitle"]), (&json!(3), &json!("s")));
    assert!(shown.raw["headers"].get("authorization").is_none(), "no secrets");
    assert_eq!((bench.phones.requests(VENDOR), bench.phones.rejected(VENDOR)), (1, 0));
}

#[test]
fn every_push_type_has_its_topic() {
    let bench = Bench::new();
    let kinds = [
        ("alert", "", "10", r#"{"aps":{"alert":"x"}}"#),
        ("background", "", "5", r#"{"aps":{"content-available":1}}"#),
        ("voip", ".voip", "10", r#"{"aps":{}}"#),
        ("complication", ".complication", "10", r#"{"aps":{}}"#),
        ("fileprovider", ".pushkit.fileprovider", "10", r#"{"container-identifier":"a"}"#),
        ("location", ".location-query", "10", r#"{"aps":{}}"#),
        (
            "liveactivity",
            ".push-type.liveactivity",
            "10",
            r#"{"aps":{"event":"update","timestamp":1,"content-state":{}}}"#,
        ),
        ("pushtotalk", ".voip-ptt", "10", r#"{"aps":{}}"#),
        ("widgets", ".push-type.widgets", "5", r#"{"aps":{"content-changed":true}}"#),
        ("controls", ".push-type.controls", "5", r#"{"aps":{"content-changed":true}}"#),
        ("mdm", "", "10", r#"{"mdm":"magic"}"#),
    ];
    for (push_type, suffix, priority, payload) in kinds {
        let topic = format!("{BUNDLE_ID}{suffix}");
        let mut request = bench.with(&[
            ("apns-push-type", push_type),
            ("apns-topic", &topic),
            ("apns-priority", priority),
        ]);
        request.body = Bytes::copy_from_slice(payload.as_bytes());
        bench.accepts(&request);
        let wrong = if suffix.is_empty() { format!("{topic}.voip") } else { BUNDLE_ID.to_owned() };
        request.headers.insert("apns-topic", wrong.parse().unwrap());
        assert_eq!(bench.ask(&request), (400, "BadTopic".to_owned()), "{push_type}");
    }
}

#[test]
fn malformed_headers_are_refused_with_apples_reasons() {
    let bench = Bench::new();
    let long = "x".repeat(65);
    for (name, value, reason) in [
        ("apns-id", "not-a-uuid", "BadMessageId"),
        ("apns-topic", "", "MissingTopic"),
        ("apns-topic", "no topic", "BadTopic"),
        ("apns-collapse-id", long.as_str(), "BadCollapseId"),
        ("apns-priority", "7", "BadPriority"),
        ("apns-expiration", "soon", "BadExpirationDate"),
        ("apns-expiration", "1.5", "BadExpirationDate"),
        ("apns-expiration", "-1", "BadExpirationDate"),
        // Relative, in milliseconds, of the day before yesterday, in two years.
        ("apns-expiration", "300", "BadExpirationDate"),
        ("apns-expiration", "1790000300000", "BadExpirationDate"),
        ("apns-expiration", "1789913599", "BadExpirationDate"),
        ("apns-expiration", "1821622401", "BadExpirationDate"),
        ("apns-push-type", "loud", "InvalidPushType"),
    ] {
        bench.refuses(&bench.with(&[(name, value)]), 400, reason);
    }
    bench.refuses(&bench.with(&[("apns-push-type", "background")]), 400, "BadPriority");
    let urgent = bench.with(&[("apns-push-type", "background"), ("apns-priority", "10")]);
    bench.refuses(&urgent, 400, "BadPriority");
    let mut twice = bench.with(&[("apns-priority", "5")]);
    twice.headers.append("apns-priority", HeaderValue::from_static("5"));
    bench.refuses(&twice, 400, "DuplicateHeaders");
    let mut topicless = bench.good();
    topicless.headers.remove("apns-topic");
    bench.refuses(&topicless, 400, "MissingTopic");
    for expiration in ["0", "1789913600", "1790000300", "1821622400"] {
        let headers = [("apns-expiration", expiration), ("apns-collapse-id", &long[..64])];
        bench.accepts(&bench.with(&headers));
    }
}

#[test]
fn wrong_methods_and_paths_are_refused() {
    let bench = Bench::new();
    let get = SimRequest { method: Method::GET, ..bench.good() };
    bench.refuses(&get, 405, "MethodNotAllowed");
    for (path, status, reason) in [
        ("/3/devices/00", 404, "BadPath"),
        ("/3/device/", 400, "MissingDeviceToken"),
        ("/3/device/00f", 400, "BadDeviceToken"),
        ("/3/device/00zz", 400, "BadDeviceToken"),
    ] {
        bench.refuses(&SimRequest { path: path.into(), ..bench.good() }, status, reason);
    }
    let long = format!("{DEVICE_PATH}{}", "a1".repeat(80));
    bench.accepts(&SimRequest { path: long, ..bench.good() });
}

#[test]
fn a_dead_token_answers_410_with_its_time() {
    let bench = Bench::new();
    bench.phones.set_life(VENDOR, TOKEN, TokenLife::Dead { since: UnixMs(1_234) });
    let reply = bench.apns.answer(&bench.good(), &bench.phones);
    assert_eq!(reply.status, 410);
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body, json!({"reason": "Unregistered", "timestamp": 1_234}));
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(bench.phones.rejected(VENDOR), 1);
}

#[test]
fn a_token_of_another_topic_is_refused() {
    let bench = Bench::new();
    bench.apns.bind(TOKEN, "com.example.else");
    bench.refuses(&bench.good(), 400, "DeviceTokenNotForTopic");
}

#[test]
fn a_token_belongs_to_the_environment_that_first_accepted_it() {
    let bench = Bench::new();
    let sandbox = bench.apns.sandbox();
    let claims = format!(r#"{{"iss":"{TEAM_ID}","iat":{NOW}}}"#);
    let head = format!(r#"{{"alg":"ES256","kid":"{SANDBOX_KEY_ID}"}}"#);
    let key = sandbox.accounts().key(SANDBOX_KEY_ID).unwrap();
    let jwt = sign(key, &head, &claims, &ECDSA_P256_SHA256_FIXED_SIGNING);
    let ask = |path: &str| {
        let bearer = format!("bearer {jwt}");
        let request = SimRequest { path: path.into(), ..bench.with(&[("authorization", &bearer)]) };
        let reply = sandbox.answer(&request, &bench.phones);
        (reply.status.as_u16(), String::from_utf8(reply.body.to_vec()).unwrap())
    };
    bench.accepts(&bench.good());
    let refused = (400, r#"{"reason":"BadDeviceToken"}"#.to_owned());
    assert_eq!(ask(&format!("{DEVICE_PATH}{TOKEN}")), refused);
    let other = format!("{DEVICE_PATH}{}", "a1".repeat(32));
    assert_eq!(ask(&other), (200, String::new()));
    let request = SimRequest { path: other, ..bench.good() };
    assert_eq!(bench.ask(&request), (400, "BadDeviceToken".to_owned()));
    bench.accepts(&bench.good());
}

#[test]
fn payloads_are_measured_and_read() {
    let bench = Bench::new();
    let with = |body: &str| {
        let body = Bytes::copy_from_slice(body.as_bytes());
        SimRequest { body, ..bench.good() }
    };
    let sized = |size: usize| {
        let frame = r#"{"aps":{"alert":""}}"#;
        frame.replace(r#""""#, &format!("\"{}\"", "x".repeat(size - frame.len())))
    };
    bench.refuses(&with(""), 400, "PayloadEmpty");
    bench.refuses(&with(&sized(4_097)), 413, "PayloadTooLarge");
    for payload in [
        "not json",
        "[]",
        r#"{"a":1}"#,
        r#"{"aps":[]}"#,
        r#"{"aps":{}}"#,
        r#"{"aps":{"badge":"3"}}"#,
        r#"{"aps":{"alert":7}}"#,
        r#"{"aps":{"alert":{"title":7}}}"#,
        r#"{"aps":{"alert":"x","interruption-level":"loud"}}"#,
        r#"{"aps":{"sound":{"critical":1}}}"#,
        r#"{"aps":{"sound":{"name":"default","critical":2}}}"#,
        r#"{"aps":{"sound":{"name":"default","critical":true}}}"#,
        r#"{"aps":{"sound":{"name":"default","volume":1.5}}}"#,
        r#"{"aps":{"sound":{"name":"default","volume":"1"}}}"#,
    ] {
        bench.refuses(&with(payload), 400, "SimulatorBadPayload");
    }
    for sound in [r#"{"name":"a","critical":1,"volume":0.5}"#, r#"{"name":"a","critical":0}"#] {
        bench.accepts(&with(&format!(r#"{{"aps":{{"sound":{sound}}}}}"#)));
    }
    bench.accepts(&with(&sized(4_096)));
    let mut call = with(&sized(5_120));
    call.headers.insert("apns-push-type", HeaderValue::from_static("voip"));
    call.headers.insert("apns-topic", format!("{BUNDLE_ID}.voip").parse().unwrap());
    bench.accepts(&call);
    call.body = Bytes::from(sized(5_121));
    assert_eq!(bench.ask(&call), (413, "PayloadTooLarge".to_owned()));
}

#[test]
fn the_credentials_handed_out_are_complete() {
    let bench = Bench::new();
    let listed = bench.apns.credentials();
    let names: Vec<&str> = listed.iter().map(|credential| credential.name).collect();
    assert_eq!(names, ["p8", "p12"]);
    let p8 = &listed[0].credential;
    assert_eq!((&p8["key_id"], &p8["team_id"]), (&json!(KEY_ID), &json!(TEAM_ID)));
    assert!(p8["key"].as_str().unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(BASE64_STANDARD.decode(listed[1].credential["data"].as_str().unwrap()).is_ok());
    assert_eq!(bench.apns.sandbox().credentials()[0].credential["key_id"], SANDBOX_KEY_ID);
}

#[test]
fn without_recording_phones_only_count() {
    let bench = Bench::new();
    bench.phones.set_recording(false);
    bench.accepts(&bench.good());
    assert_eq!(bench.phones.rung(VENDOR), 1);
    assert!(bench.phones.shown(None, None).is_empty());
}
