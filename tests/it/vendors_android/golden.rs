//! Reading golden files: what they give becomes inputs of the adapters, what they expect is
//! compared field by field.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use offpush::model::certificate::{Environment, Options};
use offpush::model::id::Token;
use offpush::model::message::Priority;
use offpush::model::push_info::OfflinePushInfo;
use offpush::model::time::UnixMs;
use offpush::transport::{Reply, Request};
use offpush::vendor::profile::Endpoints;
use offpush::vendor::upload::{Credential, CredentialError, Upload};
use offpush::vendor::{
    AccessToken, Answer, Badge, Kind, Notification, SendingCertificate, Target, ThrottleScope,
    Vendor, Verdict, named,
};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The instant of every test.
pub const NOW: UnixMs = UnixMs(1_760_000_000_000);
/// The message of every test.
pub const MESSAGE_ID: &str = "01K74ZC800M0000000000000AB";
/// The vendors this module covers.
pub const VENDORS: [&str; 3] = ["huawei", "xiaomi", "oppo"];

/// One golden file.
pub struct Golden {
    /// Where it lies.
    pub name: String,
    /// What it says.
    pub json: Value,
}

impl Golden {
    /// A list in it; empty when absent.
    pub fn list(&self, field: &str) -> Vec<Value> {
        self.json.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
    }
}

/// The vendor of that name.
pub fn vendor(name: &str) -> &'static dyn Vendor {
    named(name).expect("a vendor of the list")
}

/// Every golden file of a vendor, by name.
pub fn golden(vendor: &str) -> Vec<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(vendor);
    let mut files: Vec<Golden> = std::fs::read_dir(&folder)
        .expect("the golden folder")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a golden file");
            let json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            Golden { name: path.display().to_string(), json }
        })
        .collect();
    files.sort_by(|one, other| one.name.cmp(&other.name));
    files
}

/// Reads a credential with the vendor's own endpoints in force.
pub fn read_credential(name: &str, credential: &Value) -> Result<Credential, CredentialError> {
    let endpoints = Endpoints::defaults(vendor(name).profile());
    let environment = Environment::Production;
    vendor(name).read_credential(&Upload {
        credential,
        environment,
        endpoints: &endpoints,
        now: NOW,
    })
}

/// A certificate made of a good credential.
pub fn certificate(name: &str, credential: &Value, options: &Value) -> SendingCertificate {
    let credential = read_credential(name, credential).expect("a good credential");
    SendingCertificate {
        cert_id: 7,
        environment: credential.environment,
        options: Arc::new(serde_json::from_value::<Options>(options.clone()).expect("options")),
        material: credential.material,
        endpoints: Arc::new(Endpoints::defaults(vendor(name).profile())),
    }
}

/// A credential the vendor takes.
pub fn good_credential(name: &str) -> Value {
    match name {
        "huawei" => json!({"type": "oauth", "client_id": "1047", "client_secret": "s3cr/et+="}),
        "xiaomi" => json!({"type": "secret", "package_name": "com.a.b", "app_secret": "x="}),
        "oppo" => json!({"type": "master_secret", "app_key": "k", "master_secret": "m"}),
        other => panic!("no credential of {other}"),
    }
}

/// An access token.
pub fn access() -> AccessToken {
    AccessToken {
        value: Arc::new(SecretString::from("access-1")),
        issued_at: NOW,
        renew_at: NOW.after(Duration::from_secs(1)),
        expires_at: NOW.after(Duration::from_secs(2)),
        header: Arc::default(),
    }
}

/// A notification with the usual values where the file says nothing.
pub fn notification(given: &Value, info: &Value) -> Notification {
    let text = |name: &str| given.get(name).and_then(Value::as_str).map(str::to_owned);
    let lives_s = given.get("lives_s").and_then(Value::as_u64).unwrap_or(3_600);
    Notification {
        kind: Kind::Alert,
        title: text("title").unwrap_or_else(|| "Mina".into()),
        body: text("body").unwrap_or_else(|| "See you at nine".into()),
        subtitle: None,
        ext: text("ext"),
        image: text("image"),
        sound: text("sound"),
        message_id: MESSAGE_ID.into(),
        conversation: "c2c:mina".into(),
        notify_id: 4_242,
        replaces: None,
        expires_at: NOW.after(Duration::from_secs(lives_s)),
        priority: Priority::Normal,
        info: Arc::new(serde_json::from_value::<OfflinePushInfo>(info.clone()).expect("info")),
    }
}

/// A target whose push id counts from one.
pub fn target(at: usize, token: &str, badge: Option<Badge>) -> Target {
    Target { token: Token(token.into()), push_id: Uuid::from_u128(at as u128 + 1), badge }
}

/// A request file's targets.
pub fn targets(list: &[Value]) -> Vec<Target> {
    let number = |value: &Value| u32::try_from(value.as_u64().expect("a number")).expect("small");
    let read = |(at, given): (usize, &Value)| {
        let badge = given.get("badge").map(|badge| match (badge.get("set"), badge.get("add")) {
            (Some(set), None) => Badge::Set(number(set)),
            (None, Some(add)) => Badge::Add(number(add)),
            _ => panic!("no badge: {badge}"),
        });
        target(at, given["token"].as_str().expect("a token"), badge)
    };
    list.iter().enumerate().map(read).collect()
}

/// What a test compares of a request. Form values that hold JSON are compared as JSON where the
/// expectation is JSON.
pub fn check_request(file: &str, request: &Request, expected: &Value) {
    assert_eq!(request.method, "POST", "{file}");
    assert_eq!(request.uri.to_string(), expected["uri"].as_str().expect("a uri"), "{file}");
    let headers: Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").into()))
        .collect();
    assert_eq!(Value::Object(headers), expected["headers"], "{file}");
    if let Some(raw) = expected.get("raw") {
        assert_eq!(std::str::from_utf8(&request.body).expect("text"), raw, "{file}");
    }
    if let Some(wanted) = expected.get("json") {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(&body, wanted, "{file}");
    }
    if let Some(wanted) = expected.get("form") {
        let wanted = wanted.as_object().expect("form fields");
        let mut form = Map::new();
        for (name, value) in form_urlencoded::parse(&request.body) {
            let value = match wanted.get(name.as_ref()) {
                Some(Value::String(_)) | None => Value::from(value.as_ref()),
                Some(_) => serde_json::from_str(&value).expect("JSON in a form value"),
            };
            assert!(form.insert(name.to_string(), value).is_none(), "{file}: {name} twice");
        }
        assert_eq!(&form, wanted, "{file}");
    }
}

/// A reply as the file describes it.
pub fn reply(given: &Value) -> Reply {
    let status = u16::try_from(given["status"].as_u64().expect("a status")).expect("small");
    let mut headers = HeaderMap::new();
    for (name, value) in given.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let value = HeaderValue::from_str(value.as_str().expect("text")).expect("a header");
        headers.insert(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value);
    }
    let body = match &given["body"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Reply { status: StatusCode::from_u16(status).expect("a status"), headers, body: body.into() }
}

/// An answer as the golden files write it.
pub fn described(answer: &Answer) -> Map<String, Value> {
    let seconds = |wait: Option<Duration>| wait.map(|wait| wait.as_secs());
    let verdict = match answer.verdict {
        Verdict::TokenDead { since, suspect } => {
            json!({"since": since.map(|at| at.0), "suspect": suspect})
        }
        Verdict::Throttled { retry_after, scope: ThrottleScope::Certificate } => {
            json!({"retry_after_s": seconds(retry_after), "scope": "certificate"})
        }
        Verdict::Throttled { retry_after, scope: ThrottleScope::Device } => {
            json!({"retry_after_s": seconds(retry_after), "scope": "device"})
        }
        Verdict::Unavailable { retry_after } => json!({"retry_after_s": seconds(retry_after)}),
        Verdict::AuthRejected { renew } => json!({"renew": renew}),
        Verdict::Accepted | Verdict::Refused | Verdict::Unknown => json!({}),
    };
    let mut described = verdict.as_object().expect("an object").clone();
    described.insert("verdict".into(), answer.verdict.as_str().into());
    described.insert("code".into(), answer.code.as_str().into());
    described.insert("says".into(), answer.says.as_str().into());
    described.insert("vendor_id".into(), answer.vendor_id.clone().into());
    described
}

/// Only what the file names is compared; it names at least the verdict.
pub fn check_answer(file: &str, case: &Value, answer: &Answer, expected: &Value) {
    let described = described(answer);
    assert!(expected.get("verdict").is_some(), "{file}: no verdict expected in {case}");
    for (name, wanted) in expected.as_object().expect("an answer") {
        assert_eq!(described.get(name), Some(wanted), "{file}: {name} in {case}: {described:?}");
    }
}

/// A reply case's targets; one of the usual token when it names none.
pub fn reply_targets(vendor: &str, case: &Value) -> Vec<Target> {
    let usual = match vendor {
        "huawei" => "AQ-one",
        "xiaomi" => "xm-one",
        _ => "CN_one",
    };
    let tokens = case.get("targets").cloned().unwrap_or_else(|| json!([usual]));
    let tokens = tokens.as_array().expect("tokens").clone();
    tokens
        .iter()
        .enumerate()
        .map(|(at, token)| target(at, token.as_str().expect("a token"), None))
        .collect()
}
/// Advice is there where the file asks for it, and is one clean sentence.
pub fn check_advice(name: &str, file: &str, case: &Value, answer: &Answer) {
    let Some(advice) = vendor(name).advice(&answer.code, answer.verdict) else {
        assert_ne!(case.get("advice"), Some(&json!(true)), "{file}: no advice in {case}");
        return;
    };
    assert!(!advice.ends_with('.') && !advice.contains("  "), "{file}: {advice:?}");
}
