//! Signing in, many targets in one call, probes, and replies that no document promises.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use offpush::model::certificate::{Environment, Options, PushMode};
use offpush::model::id::Token;
use offpush::model::time::UnixMs;
use offpush::transport::Reply;
use offpush::vendor::sign::{Es256Key, Rs256Key};
use offpush::vendor::{AccessToken, Answer, Badge, Call, SignIn, Target, Verdict};
use proptest::prelude::*;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::vendors_west::golden::wire_reply;
use crate::vendors_west::{NOW, P8, access, certificate, notification, service_account, vendor};

fn claims(token: &str) -> (Value, Value, String, Vec<u8>) {
    let (input, signature) = token.rsplit_once('.').expect("three parts");
    let (header, claims) = input.split_once('.').expect("three parts");
    let raw = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
    let json = |part| serde_json::from_slice(&raw(part)).expect("JSON");
    (json(header), json(claims), input.to_owned(), raw(signature))
}

fn targets(count: u128, badge: impl Fn(u128) -> Option<Badge>) -> Vec<Target> {
    let target = |n: u128| Target {
        token: Token(format!("{n:064x}").into()),
        push_id: uuid::Uuid::from_u128(n),
        badge: badge(n),
    };
    (0..count).map(target).collect()
}

#[test]
fn a_provider_token_is_signed_and_renewed_in_time() {
    let vendor = vendor("apns");
    let certificate = certificate(vendor, Environment::Production);
    let SignIn::Minted(token) = vendor.sign_in(&certificate, NOW) else { panic!("not minted") };
    let (header, claims, input, signature) = claims(token.value.expose_secret());
    assert_eq!(header, json!({"alg": "ES256", "kid": "KEY1234567"}));
    assert_eq!(claims, json!({"iss": "TEAM123456", "iat": NOW.secs()}));
    let key = Es256Key::from_pem(P8).expect("the fixture");
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key())
        .verify(input.as_bytes(), &signature)
        .expect("a valid signature");
    assert_eq!(token.issued_at, NOW);
    assert_eq!(token.renew_at.since(NOW), Duration::from_secs(45 * 60));
    assert_eq!(token.expires_at.since(NOW), Duration::from_secs(60 * 60));
}

#[test]
fn fcm_asks_the_configured_endpoint_for_a_token() {
    let vendor = vendor("fcm");
    let local = "http://127.0.0.1:9/token";
    let mut certificate = certificate(vendor, Environment::Production);
    for endpoint in ["https://oauth2.googleapis.com/token", local] {
        let mut endpoints = (*certificate.endpoints).clone();
        endpoints.0.insert("token_endpoint".into(), endpoint.into());
        certificate.endpoints = Arc::new(endpoints);
        let SignIn::Exchange(request) = vendor.sign_in(&certificate, NOW) else {
            panic!("no exchange")
        };
        assert_eq!(request.uri, endpoint);
        assert_eq!(
            request.headers["content-type"],
            "application/x-www-form-urlencoded;charset=UTF-8"
        );
        let form: BTreeMap<String, String> =
            form_urlencoded::parse(&request.body).into_owned().collect();
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        let (header, claims, input, signature) = claims(&form["assertion"]);
        let kid = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": kid}));
        let expected = json!({
            "iss": "push@offpush-test.iam.gserviceaccount.com",
            "scope": "https://www.googleapis.com/auth/firebase.messaging",
            "aud": endpoint,
            "iat": NOW.secs(),
            "exp": NOW.secs() + 3_600,
        });
        assert_eq!(claims, expected);
        let account = service_account();
        let pem = account["json"]["private_key"].as_str().expect("a key");
        let key = Rs256Key::from_pem(pem).expect("the fixture");
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key())
            .verify(input.as_bytes(), &signature)
            .expect("a valid signature");
    }
}

fn sign_in_reply(
    status: u16,
    headers: &[(&str, &str)],
    body: Value,
) -> Result<AccessToken, Answer> {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    vendor("fcm").read_sign_in(&wire_reply(status, &headers, &body), NOW)
}

#[test]
fn an_access_token_is_renewed_before_it_ends() {
    let granted = |expires_in: u64| {
        let body = json!({"access_token": "ya29.x", "expires_in": expires_in,
            "token_type": "Bearer"});
        sign_in_reply(200, &[], body).expect("a token")
    };
    let token = granted(3_599);
    assert_eq!(token.value.expose_secret(), "ya29.x");
    assert_eq!(token.renew_at.since(NOW), Duration::from_secs(3_299));
    assert_eq!(token.expires_at.since(NOW), Duration::from_secs(3_599));
    assert_eq!(granted(60).renew_at.since(NOW), Duration::from_secs(30));
}

#[test]
fn a_refused_exchange_tells_whether_it_may_work_later() {
    let verdict = |status, headers: &[(&str, &str)], body| {
        let answer = sign_in_reply(status, headers, body).err().expect("a refusal");
        (answer.verdict, answer.code)
    };
    let broken = Verdict::AuthRejected { renew: false };
    let later = |retry_after| Verdict::Unavailable { retry_after };
    let grant = json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."});
    assert_eq!(verdict(400, &[], grant), (broken, "invalid_grant".to_owned()));
    let client = json!({"error": "invalid_client"});
    assert_eq!(verdict(401, &[], client), (broken, "invalid_client".to_owned()));
    assert_eq!(verdict(404, &[], json!("<html>")), (broken, "404".to_owned()));
    let (slow, _) = verdict(429, &[("retry-after", "7")], json!({}));
    assert_eq!(slow.as_str(), "throttled");
    let wait = Some(Duration::from_secs(9));
    let busy = verdict(503, &[("retry-after", "9")], json!("<html>"));
    assert_eq!(busy, (later(wait), "503".to_owned()));
    for body in [json!(""), json!({}), json!({"access_token": "a\nb", "expires_in": 9})] {
        assert_eq!(verdict(200, &[], body), (later(None), "unreadable".to_owned()));
    }
}

#[test]
fn each_target_gets_its_own_request_in_order() {
    for name in ["apns", "fcm"] {
        let vendor = vendor(name);
        let certificate = certificate(vendor, Environment::Production);
        let targets = targets(100, |n| Some(Badge::Set(u32::try_from(n % 2).expect("small"))));
        let (notification, access) = (notification(), access());
        let call = Call {
            certificate: &certificate,
            access: Some(&access),
            notification: &notification,
            targets: &targets,
            now: NOW,
        };
        let pushes = vendor.encode(&call);
        assert_eq!(pushes.len(), 100);
        for (n, (push, target)) in pushes.iter().zip(&targets).enumerate() {
            assert_eq!(push.targets, n..n + 1);
            let request = &push.request;
            let whole = format!("{} {}", request.uri, String::from_utf8_lossy(&request.body));
            assert!(whole.contains(target.token.as_str()));
            let secret = &request.headers["authorization"];
            assert!(secret.is_sensitive(), "it is never printed");
            assert_eq!(secret.to_str().ok().map(|s| s.ends_with("earer access-token")), Some(true));
            if name == "apns" {
                assert_eq!(request.headers["apns-id"], target.push_id.to_string().as_str());
                assert_eq!(request.body.as_ptr(), pushes[n % 2].request.body.as_ptr());
            }
        }
    }
}

#[test]
fn a_client_certificate_needs_no_authorization_header() {
    for name in ["apns", "fcm"] {
        let certificate = certificate(vendor(name), Environment::Production);
        let call = Call {
            certificate: &certificate,
            access: None,
            notification: &notification(),
            targets: &targets(1, |_| None),
            now: NOW,
        };
        let request = vendor(name).encode(&call).remove(0).request;
        assert!(!request.headers.contains_key("authorization"));
    }
}

#[test]
fn an_expiry_is_never_later_than_the_vendor_keeps() {
    let mut notification = notification();
    notification.expires_at = UnixMs(NOW.0 * 2);
    let body = |name| {
        let certificate = certificate(vendor(name), Environment::Production);
        let call = Call {
            certificate: &certificate,
            access: None,
            notification: &notification,
            targets: &targets(1, |_| None),
            now: NOW,
        };
        vendor(name).encode(&call).remove(0).request
    };
    let month = (NOW.secs() + 30 * 86_400).to_string();
    assert_eq!(body("apns").headers["apns-expiration"], month.as_str());
    let message: Value = serde_json::from_slice(&body("fcm").body).expect("JSON");
    assert_eq!(message["message"]["android"]["ttl"], "2419200s");
}

#[test]
fn no_data_key_of_fcm_is_a_reserved_one() {
    let vendor = vendor("fcm");
    let mut certificate = certificate(vendor, Environment::Production);
    certificate.options = Arc::new(Options { mode: PushMode::Data, ..Options::default() });
    let mut notification = notification();
    notification.ext = Some("{}".into());
    notification.image = Some("https://pictures.example/1.png".into());
    notification.sound = Some("ding".into());
    let call = Call {
        certificate: &certificate,
        access: None,
        notification: &notification,
        targets: &targets(1, |_| Some(Badge::Add(1))),
        now: NOW,
    };
    let request = vendor.encode(&call).remove(0).request;
    let message: Value = serde_json::from_slice(&request.body).expect("JSON");
    let data = message["message"]["data"].as_object().expect("an object");
    assert!(data.len() >= 9, "{data:?}");
    for (key, value) in data {
        assert!(value.is_string(), "{key}");
        let reserved = ["from", "message_type"].contains(&key.as_str())
            || key.starts_with("google")
            || key.starts_with("gcm");
        assert!(!reserved, "{key}");
    }
}

#[test]
fn probes_ring_nobody() {
    let access = access();
    let probe = |name| {
        let certificate = certificate(vendor(name), Environment::Sandbox);
        vendor(name).probe(&certificate, Some(&access), NOW).expect("a probe")
    };
    let request = probe("apns");
    let zeros = "0".repeat(64);
    let uri = format!("https://api.sandbox.push.apple.com/3/device/{zeros}");
    assert_eq!(request.uri, uri.as_str());
    assert_eq!(request.headers["apns-push-type"], "background");
    assert_eq!(request.headers["apns-topic"], "com.example.chat");
    assert_eq!(request.headers["authorization"], "bearer access-token");
    let request = probe("fcm");
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!(body["validate_only"], true);
    let token = body["message"]["token"].as_str().expect("a token");
    assert!(vendor("fcm").check_token(token).is_ok());
}

proptest! {
    #[test]
    fn any_reply_gives_one_answer_per_target(
        status in 100u16..600,
        body in prop::collection::vec(any::<u8>(), 0..64),
        count in 0u128..4,
    ) {
        for name in ["apns", "fcm"] {
            let reply = Reply {
                status: StatusCode::from_u16(status).expect("in range"),
                headers: HeaderMap::new(),
                body: Bytes::from(body.clone()),
            };
            let targets = targets(count, |_| None);
            let answers = vendor(name).decode(&reply, &targets, NOW);
            prop_assert_eq!(answers.len(), targets.len());
            let _ = vendor(name).read_sign_in(&reply, NOW);
        }
    }

    #[test]
    fn any_text_is_a_token_or_refused(text in ".{0,300}") {
        for name in ["apns", "fcm"] {
            if let Ok(token) = vendor(name).check_token(&text) {
                // What was normalised is normal.
                prop_assert_eq!(vendor(name).check_token(token.as_str()), Ok(token));
            }
        }
    }
}

#[test]
fn an_answer_never_repeats_the_token() {
    let target = targets(1, |_| None).remove(0);
    let token = target.token.as_str().to_owned();
    let bodies = [
        json!(format!("<html>404 /3/device/{token}</html>")),
        json!({"reason": format!("Bad {token}")}),
        json!({"error": {"status": token, "message": format!("no {token} here")}}),
    ];
    for (name, body) in ["apns", "fcm"].into_iter().flat_map(|n| bodies.iter().map(move |b| (n, b)))
    {
        let reply = wire_reply(400, &BTreeMap::new(), body);
        let answers = vendor(name).decode(&reply, std::slice::from_ref(&target), NOW);
        assert!(!format!("{answers:?}").contains(&token), "{name} {body}");
    }
}
