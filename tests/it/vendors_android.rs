//! The Huawei, Xiaomi and OPPO adapters against golden files: requests field by field, replies
//! code by code. Each file names the document it follows; this module walks them all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use offpush::model::certificate::{Environment, Options};
use offpush::model::id::Token;
use offpush::model::message::Priority;
use offpush::model::push_info::OfflinePushInfo;
use offpush::model::time::UnixMs;
use offpush::transport::{Reply, Request};
use offpush::vendor::{
    AccessToken, Answer, Badge, Call, Credential, CredentialError, Endpoints, Kind, Notification,
    SendingCertificate, SignIn, Target, ThrottleScope, Upload, Vendor, Verdict, named,
};
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use uuid::Uuid;

const NOW: UnixMs = UnixMs(1_760_000_000_000);
const MESSAGE_ID: &str = "01K74ZC800M0000000000000AB";
const VENDORS: [&str; 3] = ["huawei", "xiaomi", "oppo"];

/// Result codes by vendor, from the documents the golden files name.
const DOCUMENTED: [(&str, &[&str]); 3] = [
    (
        "huawei",
        &[
            "80000000", "80100000", "80100001", "80100002", "80100003", "80100004", "80100013",
            "80100016", "80100017", "80100018", "80100022", "80200001", "80200003", "80200005",
            "80300002", "80300007", "80300008", "80300010", "80300011", "80300013", "80300029",
            "80300030", "80300036", "80300037", "80600003", "81000001",
        ],
    ),
    (
        "xiaomi",
        &[
            "0",
            "-1",
            "1",
            "10001",
            "10003",
            "20607",
            "26003",
            "65029",
            "10002",
            "10008",
            "10012",
            "10016",
            "10017",
            "21305",
            "10027",
            "26004",
            "10029",
            "65003",
            "10031",
            "10034",
            "10036",
            "10037",
            "20301",
            "21301",
            "21302",
            "21303",
            "22000",
            "22006",
            "22007",
            "22022",
            "22102",
            "26006",
            "27001",
            "65009",
            "65014",
            "65015",
            "65036",
            "65037",
            "65038",
            "200001",
            "200002",
            "channel_exceed_quota",
        ],
    ),
    (
        "oppo",
        &[
            "0", "-2", "-1", "11", "29", "12", "20", "21", "22", "23", "24", "25", "40", "41",
            "13", "55", "14", "15", "16", "17", "18", "19", "26", "27", "30", "28", "31", "32",
            "33", "34", "51", "54", "59", "67", "10000", "15000", "20000",
        ],
    ),
];

/// Codes whose verdict depends on more than the code: the words, or one target's part.
const BY_CONTEXT: [&str; 2] = ["80100000", "80300007"];

struct Golden {
    name: String,
    json: Value,
}

impl Golden {
    fn list(&self, field: &str) -> Vec<Value> {
        self.json.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
    }
}

fn vendor(name: &str) -> &'static dyn Vendor {
    named(name).expect("a vendor of the list")
}

fn golden(vendor: &str) -> Vec<Golden> {
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

fn read_credential(name: &str, credential: &Value) -> Result<Credential, CredentialError> {
    let endpoints = Endpoints::defaults(vendor(name).profile());
    let environment = Environment::Production;
    vendor(name).read_credential(&Upload {
        credential,
        environment,
        endpoints: &endpoints,
        now: NOW,
    })
}

fn certificate(name: &str, credential: &Value, options: &Value) -> SendingCertificate {
    let credential = read_credential(name, credential).expect("a good credential");
    SendingCertificate {
        cert_id: 7,
        environment: credential.environment,
        options: Arc::new(serde_json::from_value::<Options>(options.clone()).expect("options")),
        material: credential.material,
        endpoints: Arc::new(Endpoints::defaults(vendor(name).profile())),
    }
}

fn good_credential(name: &str) -> Value {
    match name {
        "huawei" => json!({"type": "oauth", "client_id": "1047", "client_secret": "s3cr/et+="}),
        "xiaomi" => json!({"type": "secret", "package_name": "com.a.b", "app_secret": "x="}),
        "oppo" => json!({"type": "master_secret", "app_key": "k", "master_secret": "m"}),
        other => panic!("no credential of {other}"),
    }
}

fn access() -> AccessToken {
    AccessToken {
        value: Arc::new(SecretString::from("access-1")),
        issued_at: NOW,
        renew_at: NOW.after(Duration::from_secs(1)),
        expires_at: NOW.after(Duration::from_secs(2)),
    }
}

fn notification(given: &Value, info: &Value) -> Notification {
    let text = |name: &str| given.get(name).and_then(Value::as_str).map(str::to_owned);
    let lives_s = given.get("lives_s").and_then(Value::as_u64).unwrap_or(3_600);
    Notification {
        kind: match given.get("kind").and_then(Value::as_str) {
            None => Kind::Alert,
            Some("silent") => Kind::Silent,
            Some(other) => panic!("no kind {other}"),
        },
        title: text("title").unwrap_or_else(|| "Mina".into()),
        body: text("body").unwrap_or_else(|| "See you at nine".into()),
        subtitle: None,
        ext: text("ext"),
        image: text("image"),
        sound: text("sound"),
        message_id: MESSAGE_ID.into(),
        conversation: "c2c:mina".into(),
        notify_id: 4_242,
        collapses: given.get("collapses").is_some_and(|value| value == true),
        expires_at: NOW.after(Duration::from_secs(lives_s)),
        priority: Priority::Normal,
        info: Arc::new(serde_json::from_value::<OfflinePushInfo>(info.clone()).expect("info")),
    }
}

fn target(at: usize, token: &str, badge: Option<Badge>) -> Target {
    Target { token: Token(token.into()), push_id: Uuid::from_u128(at as u128 + 1), badge }
}

fn targets(list: &[Value]) -> Vec<Target> {
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
fn check_request(file: &str, request: &Request, expected: &Value) {
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

fn reply(given: &Value) -> Reply {
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
fn described(answer: &Answer) -> Map<String, Value> {
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
fn check_answer(file: &str, case: &Value, answer: &Answer, expected: &Value) {
    let described = described(answer);
    assert!(expected.get("verdict").is_some(), "{file}: no verdict expected in {case}");
    for (name, wanted) in expected.as_object().expect("an answer") {
        assert_eq!(described.get(name), Some(wanted), "{file}: {name} in {case}: {described:?}");
    }
}

fn reply_targets(vendor: &str, case: &Value) -> Vec<Target> {
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

#[test]
fn every_golden_file_names_its_source_and_is_used() {
    let parts = ["expect", "replies", "sign_in", "sign_in_replies"];
    for file in VENDORS.into_iter().flat_map(golden) {
        let source = file.json["source"].as_str().unwrap_or_default();
        assert!(source.len() > 10, "{}: no source", file.name);
        let used = parts.into_iter().filter(|part| file.json.get(part).is_some()).count();
        assert_eq!(used, 1, "{}: one of {parts:?}", file.name);
    }
}

#[test]
fn every_golden_request_is_built() {
    for name in VENDORS {
        let mut built = 0;
        for file in golden(name).iter().filter(|file| file.json.get("expect").is_some()) {
            let json = &file.json;
            let certificate = certificate(name, &json["credential"], &json["options"]);
            let targets = targets(&file.list("targets"));
            let notification = notification(&json["notification"], &json["info"]);
            let access = access();
            let call = Call {
                certificate: &certificate,
                access: Some(&access),
                notification: &notification,
                targets: &targets,
                now: NOW,
            };
            let pushes = vendor(name).encode(&call);
            let expected = file.list("expect");
            assert_eq!(pushes.len(), expected.len(), "{}", file.name);
            for (push, expected) in pushes.iter().zip(&expected) {
                let range = json!([push.targets.start, push.targets.end]);
                assert_eq!(range, expected["targets"], "{}", file.name);
                check_request(&file.name, &push.request, expected);
            }
            built += 1;
        }
        assert!(built >= 20, "{name}: only {built} request files");
    }
}

#[test]
fn every_golden_sign_in_is_built() {
    for name in ["huawei", "oppo"] {
        let files = golden(name);
        let file = files.iter().find(|file| file.json.get("sign_in").is_some()).expect("one");
        let certificate = certificate(name, &file.json["credential"], &json!({}));
        let now = file.json.get("now_ms").and_then(Value::as_u64).map_or(NOW, UnixMs);
        let SignIn::Exchange(request) = vendor(name).sign_in(&certificate, now) else {
            panic!("{name} signs in by asking");
        };
        check_request(&file.name, &request, &file.json["sign_in"]);
    }
    let certificate = certificate("xiaomi", &good_credential("xiaomi"), &json!({}));
    assert!(matches!(vendor("xiaomi").sign_in(&certificate, NOW), SignIn::None));
}

#[test]
fn every_golden_sign_in_reply_is_read() {
    for name in ["huawei", "oppo"] {
        let mut read = 0;
        for file in golden(name) {
            for case in file.list("sign_in_replies") {
                read += 1;
                match vendor(name).read_sign_in(&reply(&case), NOW) {
                    Ok(token) => {
                        let wanted = case["token"].as_str().unwrap_or("no token");
                        assert_eq!(token.value.expose_secret(), wanted, "{}: {case}", file.name);
                        let renew_in_s = token.renew_at.since(NOW).as_secs();
                        let expires_in_s = token.expires_at.since(NOW).as_secs();
                        assert_eq!(renew_in_s, case["renew_in_s"], "{}: {case}", file.name);
                        assert_eq!(expires_in_s, case["expires_in_s"], "{}: {case}", file.name);
                    }
                    Err(answer) => {
                        check_answer(&file.name, &case, &answer, &case["answer"]);
                        check_advice(name, &file.name, &case, &answer);
                    }
                }
            }
        }
        assert!(read >= 10, "{name}: only {read} sign-in replies");
    }
}

fn check_advice(name: &str, file: &str, case: &Value, answer: &Answer) {
    let Some(advice) = vendor(name).advice(&answer.code, answer.verdict) else {
        assert_ne!(case.get("advice"), Some(&json!(true)), "{file}: no advice in {case}");
        return;
    };
    assert!(!advice.ends_with('.') && !advice.contains("  "), "{file}: {advice:?}");
}

#[test]
fn every_golden_reply_is_read() {
    for name in VENDORS {
        for file in golden(name) {
            for case in file.list("replies") {
                let targets = reply_targets(name, &case);
                let answers = vendor(name).decode(&reply(&case), &targets, NOW);
                let expected = case["answers"].as_array().expect("answers");
                assert_eq!(answers.len(), targets.len(), "{}: {case}", file.name);
                assert_eq!(answers.len(), expected.len(), "{}: {case}", file.name);
                for (answer, expected) in answers.iter().zip(expected) {
                    check_answer(&file.name, &case, answer, expected);
                    let tells = targets.iter().any(|t| answer.says.contains(t.token.as_str()));
                    assert!(!tells, "{}: a token in {:?}", file.name, answer.says);
                }
                check_advice(name, &file.name, &case, &answers[answers.len() - 1]);
            }
        }
    }
}

#[test]
fn every_documented_code_has_exactly_one_verdict() {
    for (name, codes) in DOCUMENTED {
        let mut verdicts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let cases = golden(name).into_iter().flat_map(|file| file.list("replies"));
        // From 500 on the status speaks, whatever the code; and success is none with a 4xx.
        for case in cases.filter(|case| case["status"].as_u64() < Some(500)) {
            for answer in case["answers"].as_array().expect("answers") {
                let code = answer["code"].as_str().expect("a code").to_owned();
                if code == "0" && case["status"] != 200 {
                    continue;
                }
                // Whether renewing helps is part of the verdict.
                let verdict = format!("{} {:?}", answer["verdict"], answer.get("renew"));
                verdicts.entry(code).or_default().insert(verdict);
            }
        }
        for code in codes {
            let found = verdicts.get(*code).map_or(0, BTreeSet::len);
            let most = if BY_CONTEXT.contains(code) { 2 } else { 1 };
            assert_eq!(found, most, "{name} {code}: {:?}", verdicts.get(*code));
        }
    }
}

#[test]
fn a_repeat_is_the_same_request() {
    for name in VENDORS {
        let certificate = certificate(name, &good_credential(name), &json!({}));
        let notification = notification(&json!({}), &json!({}));
        let targets = [target(0, "AAAA", None), target(1, "BBBB", None)];
        let body = |targets: &[Target]| {
            let call = Call {
                certificate: &certificate,
                access: None,
                notification: &notification,
                targets,
                now: NOW,
            };
            vendor(name).encode(&call).remove(0).request.body
        };
        assert_eq!(body(&targets), body(&targets), "{name}");
        assert!(vendor(name).profile().repeats_are_safe, "{name}");
    }
}

#[test]
fn a_full_parcel_is_one_request() {
    for name in VENDORS {
        let certificate = certificate(name, &good_credential(name), &json!({}));
        let notification = notification(&json!({}), &json!({}));
        let targets: Vec<Target> =
            (0..1_001).map(|at| target(at, &format!("token-{at:04}"), None)).collect();
        let count = |count: usize| -> Vec<_> {
            let targets = &targets[..count];
            let (certificate, notification) = (&certificate, &notification);
            let call = Call { certificate, access: None, notification, targets, now: NOW };
            vendor(name)
                .encode(&call)
                .into_iter()
                .map(|push| (push.targets.start, push.targets.end))
                .collect()
        };
        assert_eq!(count(vendor(name).profile().parcel_deliveries_max), [(0, 1_000)], "{name}");
        assert_eq!(count(1_001), [(0, 1_000), (1_000, 1_001)], "{name}");
        assert!(count(0).is_empty(), "{name}");
    }
}

#[test]
fn huaweis_payload_is_its_largest_body_without_tokens() {
    let options = json!({"badge_class": "com.app.Main", "receipt_id": "RCP1"});
    let certificate = certificate("huawei", &good_credential("huawei"), &options);
    let given = json!({"ext": "{\"k\":1}", "lives_s": 9_999_999});
    let notification = notification(&given, &json!({"AndroidInfo": {"PushStyle": 1}}));
    let targets = [target(0, "AAAA", Some(Badge::Set(99)))];
    let call = Call {
        certificate: &certificate,
        access: None,
        notification: &notification,
        targets: &targets,
        now: NOW,
    };
    let sent = vendor("huawei").encode(&call).remove(0).request.body.len();
    let counted = vendor("huawei").payload_bytes(&certificate, &notification);
    assert_eq!(sent, counted + "\"AAAA\"".len());
}

#[test]
fn xiaomi_counts_bytes_of_the_pass_through_text_and_oppo_characters() {
    let given = json!({"ext": "{\"k\":\"é\"}"});
    for (name, size) in [("xiaomi", 10), ("oppo", 9)] {
        let certificate = certificate(name, &good_credential(name), &json!({}));
        let notification = notification(&given, &json!({}));
        assert_eq!(vendor(name).payload_bytes(&certificate, &notification), size, "{name}");
    }
}

#[test]
fn a_credential_says_who_it_is_and_keeps_its_secret() {
    let read = |name| read_credential(name, &good_credential(name)).expect("a credential");
    assert_eq!(read("huawei").identity["client_id"], "1047");
    assert_eq!(read("xiaomi").identity["package_name"], "com.a.b");
    assert_eq!(read("xiaomi").identity["region"], "china");
    assert_eq!(read("oppo").identity["app_key"], "k");
    for name in VENDORS {
        let credential = read(name);
        assert_eq!((credential.warnings.len(), credential.expires_at), (0, None), "{name}");
        let values: Vec<&String> = credential.identity.values().collect();
        assert!(!values.iter().any(|value| ["s3cr/et+=", "x=", "m"].contains(&value.as_str())));
    }
}

#[test]
fn each_mistake_in_a_credential_names_its_field() {
    let cases = [
        ("huawei", json!({"type": "oauth"}), "credential_missing_field", "client_id"),
        ("huawei", json!({"type": "p8"}), "credential_malformed", "type"),
        (
            "huawei",
            json!({"type": "oauth", "client_id": "1", "client_secret": ""}),
            "credential_missing_field",
            "client_secret",
        ),
        (
            "huawei",
            json!({"type": "oauth", "client_id": "../1", "client_secret": "s"}),
            "credential_malformed",
            "client_id",
        ),
        (
            "huawei",
            json!({"type": "oauth", "client_id": "1", "token_endpoint": "https://evil.test"}),
            "foreign_endpoint",
            "token_endpoint",
        ),
        ("xiaomi", json!({"type": "secret"}), "credential_missing_field", "package_name"),
        (
            "xiaomi",
            json!({"type": "secret", "package_name": "a.b"}),
            "credential_missing_field",
            "app_secret",
        ),
        (
            "xiaomi",
            json!({"type": "secret", "package_name": "a.b", "app_secret": "s", "region": "mars"}),
            "credential_malformed",
            "region",
        ),
        (
            "xiaomi",
            json!({"type": "secret", "package_name": "a.b", "app_secret": "s",
                   "region": "https://evil.test"}),
            "foreign_endpoint",
            "region",
        ),
        ("oppo", json!({"type": "master_secret"}), "credential_missing_field", "app_key"),
        (
            "oppo",
            json!({"type": "master_secret", "app_key": "k", "app_secret": "s"}),
            "credential_missing_field",
            "master_secret",
        ),
        (
            "oppo",
            json!({"type": "master_secret", "app_key": "k", "master_secret": 1}),
            "credential_malformed",
            "master_secret",
        ),
    ];
    for (name, credential, code, field) in cases {
        let error = read_credential(name, &credential).err().expect("a refusal");
        let wanted = (code, format!("credential.{field}"));
        assert_eq!((error.code, error.field), wanted, "{name} {credential}");
    }
}

#[test]
fn the_oppo_secret_mix_up_is_explained() {
    let credential = json!({"type": "master_secret", "app_key": "k", "app_secret": "hush"});
    let error = read_credential("oppo", &credential).err().expect("a refusal");
    assert!(error.message.contains("MasterSecret"), "{error}");
    assert!(!error.message.contains("hush"), "{error}");
    let advice = vendor("oppo").advice("16", Verdict::AuthRejected { renew: false });
    assert!(advice.is_some_and(|advice| advice.contains("AppSecret")), "{advice:?}");
}

#[test]
fn no_credential_of_these_is_a_file() {
    for name in VENDORS {
        let read = vendor(name).credential_from_file("key.json", b"{}", &BTreeMap::new());
        assert_eq!(read.expect_err("a refusal").field, "credential", "{name}");
    }
}

#[test]
fn without_an_access_token_there_is_no_authorization_header() {
    let certificate = certificate("huawei", &good_credential("huawei"), &json!({}));
    let notification = notification(&json!({}), &json!({}));
    let targets = [target(0, "AAAA", None)];
    let call = Call {
        certificate: &certificate,
        access: None,
        notification: &notification,
        targets: &targets,
        now: NOW,
    };
    let request = vendor("huawei").encode(&call).remove(0).request;
    assert!(!request.headers.contains_key("authorization"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = "code|msg|data|message|illegal_tokens|bad_regids|errorCode|registrationId|x";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(0|11|80000000|80100000|80300007|20301|tok-1|tok-2,tok-1|\\{\\}|\\[|.{0,6})"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_arrives_gives_one_answer_per_target_and_no_token(
        json in any_json(),
        noise in prop::collection::vec(any::<u8>(), 0..40),
        is_json in any::<bool>(),
        status in 200_u16..600,
        count in 0_usize..4,
    ) {
        let body = if is_json { Bytes::from(json.to_string()) } else { noise.into() };
        let status = StatusCode::from_u16(status).expect("a status");
        let reply = Reply { status, headers: HeaderMap::new(), body };
        let targets: Vec<Target> =
            (0..count).map(|at| target(at, &format!("tok-{at}"), None)).collect();
        for name in VENDORS {
            let answers = vendor(name).decode(&reply, &targets, NOW);
            prop_assert_eq!(answers.len(), targets.len());
            for answer in answers {
                prop_assert!(!answer.says.contains("tok-"), "{}", answer.says);
                let accepted = answer.verdict == Verdict::Accepted;
                prop_assert!(!accepted || status.is_success(), "accepted with {}", status);
            }
            let _ = vendor(name).read_sign_in(&reply, NOW);
        }
    }
}
