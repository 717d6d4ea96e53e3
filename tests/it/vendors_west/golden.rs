//! Each file of `tests/golden/{apns,fcm}` is one request shape or one reply, with the document it
//! follows in `source`. `UPDATE_GOLDEN=1` rewrites the expected half; read the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use offpush::model::certificate::{Environment, Options};
use offpush::model::id::Token;
use offpush::model::push_info::OfflinePushInfo;
use offpush::model::time::UnixMs;
use offpush::transport::{Reply, Request};
use offpush::vendor::{Answer, Badge, Call, Kind, Target, ThrottleScope, Vendor, Verdict};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::vendors_west::{NOW, access, certificate, notification, vendor};

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    source: String,
    /// What a call is made of, for a request.
    #[serde(default)]
    call: Option<Input>,
    #[serde(default)]
    request: Option<Value>,
    /// What arrives, for a reply.
    #[serde(default)]
    reply: Option<WireReply>,
    #[serde(default)]
    answer: Option<Value>,
}

/// A message's own fields, the certificate's options, and what rendering made of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Input {
    kind: String,
    sandbox: bool,
    info: OfflinePushInfo,
    options: Options,
    rendered: Rendered,
    replaces: Option<String>,
    badge_set: Option<u32>,
    badge_add: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rendered {
    title: Option<String>,
    body: Option<String>,
    subtitle: Option<String>,
    ext: Option<String>,
    image: Option<String>,
    sound: Option<String>,
    conversation: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireReply {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Value,
}

pub fn wire_reply(status: u16, headers: &BTreeMap<String, String>, body: &Value) -> Reply {
    let headers = headers.iter().map(|(name, value)| {
        (
            HeaderName::try_from(name).expect("a header name"),
            HeaderValue::try_from(value).expect("a header value"),
        )
    });
    let body = match body {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    Reply {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: HeaderMap::from_iter(headers),
        body: Bytes::from(body),
    }
}

fn files(name: &str) -> Vec<(PathBuf, Golden)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&directory)
        .expect("the directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a file");
        let golden = serde_json::from_str(&text);
        let golden = golden.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, golden)
    };
    paths.into_iter().map(read).collect()
}

fn target(badge: Option<Badge>) -> Target {
    Target { token: Token(TOKEN.into()), push_id: uuid::Uuid::from_u128(0x0ff9), badge }
}

fn show_request(request: &Request) -> Value {
    let headers: BTreeMap<&str, &str> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
        .collect();
    let body: Value = serde_json::from_slice(&request.body).expect("a JSON body");
    json!({"method": request.method.as_str(), "uri": request.uri.to_string(),
        "headers": headers, "body": body})
}

fn show_answer(answer: &Answer) -> Value {
    let scope = |scope| match scope {
        ThrottleScope::Device => "device",
        ThrottleScope::Certificate => "certificate",
    };
    let seconds = |wait: Option<std::time::Duration>| wait.map(|wait| wait.as_secs());
    let mut shown = json!({"verdict": answer.verdict.as_str(), "code": answer.code,
        "vendor_id": answer.vendor_id});
    let more = match answer.verdict {
        Verdict::TokenDead { since, suspect } => {
            json!({"since": since.map(|UnixMs(since)| since), "suspect": suspect})
        }
        Verdict::Throttled { retry_after, scope: of } => {
            json!({"retry_after_s": seconds(retry_after), "scope": scope(of)})
        }
        Verdict::Unavailable { retry_after } => json!({"retry_after_s": seconds(retry_after)}),
        Verdict::AuthRejected { renew } => json!({"renew": renew}),
        Verdict::Accepted | Verdict::Refused | Verdict::Unknown => json!({}),
    };
    let shown_map = shown.as_object_mut().expect("an object");
    shown_map.extend(more.as_object().expect("an object").clone());
    shown
}

fn encode(vendor: &dyn Vendor, input: &Input) -> Value {
    let environment = if input.sandbox { Environment::Sandbox } else { Environment::Production };
    let mut certificate = certificate(vendor, environment);
    certificate.options = Arc::new(input.options.clone());
    let mut notification = notification();
    notification.kind = match input.kind.as_str() {
        "" => Kind::Alert,
        "silent" => Kind::Silent,
        "voip" => Kind::Voip,
        "live_activity" => Kind::LiveActivity,
        other => panic!("no kind {other}"),
    };
    let Rendered { title, body, subtitle, ext, image, sound, conversation } = &input.rendered;
    notification.title = title.clone().unwrap_or(notification.title);
    notification.body = body.clone().unwrap_or(notification.body);
    notification.conversation = conversation.clone().unwrap_or(notification.conversation);
    notification.subtitle = subtitle.clone();
    notification.ext = ext.clone();
    notification.image = image.clone();
    notification.sound = sound.clone();
    notification.replaces = input.replaces.clone();
    notification.info = Arc::new(input.info.clone());
    let badge = input.badge_set.map(Badge::Set).or(input.badge_add.map(Badge::Add));
    let access = access();
    let call = Call {
        certificate: &certificate,
        access: Some(&access),
        notification: &notification,
        targets: &[target(badge)],
        now: NOW,
    };
    let pushes = vendor.encode(&call);
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0].targets, 0..1);
    let largest = vendor.payload_bytes(&certificate, &notification);
    let overhead = json!({"message": {"token": TOKEN}}).to_string().len();
    assert!(pushes[0].request.body.len() <= largest + overhead, "payload_bytes is too small");
    show_request(&pushes[0].request)
}

/// Writes what happened over what was expected; the rest of the file stays as it is.
fn update(path: &Path, key: &str, value: &Value) {
    let text = std::fs::read_to_string(path).expect("a file");
    let mut golden: Value = serde_json::from_str(&text).expect("JSON");
    golden[key] = value.clone();
    let text = serde_json::to_string_pretty(&golden).expect("JSON");
    std::fs::write(path, text + "\n").expect("a writable file");
}

fn check_directory(name: &str) {
    let vendor = vendor(name);
    let updating = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let (mut requests, mut replies) = (0, 0);
    for (path, golden) in files(name) {
        assert!(!golden.source.is_empty(), "{} names no source", path.display());
        let (key, expected, happened) = match (&golden.call, &golden.reply) {
            (Some(input), None) => {
                requests += 1;
                ("request", golden.request, encode(vendor, input))
            }
            (None, Some(WireReply { status, headers, body })) => {
                replies += 1;
                let reply = wire_reply(*status, headers, body);
                let answers = vendor.decode(&reply, &[target(None)], NOW);
                assert_eq!(answers.len(), 1);
                ("answer", golden.answer, show_answer(&answers[0]))
            }
            _ => panic!("{} is neither a request nor a reply", path.display()),
        };
        if updating {
            update(&path, key, &happened);
        } else {
            assert_eq!(expected, Some(happened), "{}", path.display());
        }
    }
    assert!(requests > 0 && replies > 0);
}

#[test]
fn apns_matches_its_golden_files() {
    check_directory("apns");
}

#[test]
fn fcm_matches_its_golden_files() {
    check_directory("fcm");
}

/// Every reason of Apple's tables, with the second spelling that its servers use.
pub const APNS_REASONS: &[&str] = &[
    "BadCertificate",
    "BadCertificateEnvironment",
    "BadChannelId",
    "BadCollapseId",
    "BadDeviceToken",
    "BadEnvironmentKeyIdInToken",
    "BadEnvironmentKeyInToken",
    "BadExpirationDate",
    "BadMessageId",
    "BadPath",
    "BadPriority",
    "BadRequestParams",
    "BadRequestPayload",
    "BadTopic",
    "CannotCreateChannelConfig",
    "ChannelNotRegistered",
    "DeviceTokenNotForTopic",
    "DuplicateHeaders",
    "ExpiredProviderToken",
    "ExpiredToken",
    "FeatureNotEnabled",
    "Forbidden",
    "IdleTimeout",
    "InternalServerError",
    "InvalidProviderToken",
    "InvalidPushType",
    "MethodNotAllowed",
    "MissingChannelId",
    "MissingDeviceToken",
    "MissingProviderToken",
    "MissingPushType",
    "MissingTopic",
    "PayloadEmpty",
    "PayloadTooLarge",
    "ServiceUnavailable",
    "Shutdown",
    "TooManyProviderTokenUpdates",
    "TooManyRequests",
    "TopicDisallowed",
    "TopicMismatch",
    "Unregistered",
    "UnrelatedKeyIdInToken",
];

/// Every `errorCode` of FCM and every `status` that arrives without one.
const FCM_CODES: &[&str] = &[
    "INTERNAL",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "QUOTA_EXCEEDED",
    "RATE_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "SENDER_ID_MISMATCH",
    "SERVICE_DISABLED",
    "THIRD_PARTY_AUTH_ERROR",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
    "UNREGISTERED",
    "UNSPECIFIED_ERROR",
];

fn golden_answers(name: &str) -> Vec<Value> {
    files(name).into_iter().filter_map(|(_, golden)| golden.answer).collect()
}

#[test]
fn every_documented_code_has_a_golden_reply_and_advice() {
    for (name, codes) in [("apns", APNS_REASONS), ("fcm", FCM_CODES)] {
        let answers = golden_answers(name);
        let seen: BTreeSet<&str> =
            answers.iter().filter_map(|answer| answer["code"].as_str()).collect();
        for code in codes {
            assert!(seen.contains(code), "no golden reply of {name} has {code}");
        }
    }
    for reason in APNS_REASONS {
        assert!(vendor("apns").advice(reason, Verdict::Accepted).is_some(), "{reason}");
    }
}
