//! Certificates uploaded as the files vendors give out.

use serde_json::Value;

use crate::api::{Bench, path, refusal};
use crate::harness::Answer;

const BOUNDARY: &str = "----boundary-of-the-tests";

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");
    std::fs::read(format!("{folder}{name}")).expect("a fixture")
}

async fn post(
    bench: &Bench,
    (method, path): (&str, &str),
    file: Option<(&str, &[u8])>,
    fields: &[(&str, &str)],
) -> Answer {
    let mut body = Vec::new();
    for (name, value) in fields {
        let head =
            format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend(head.as_bytes());
        body.extend(value.as_bytes());
        body.extend(b"\r\n");
    }
    if let Some((name, bytes)) = file {
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        );
        body.extend(head.as_bytes());
        body.extend(bytes);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    bench.admin.raw(method, path, &kind, body).await
}

const APPLE: [(&str, &str); 3] =
    [("vendor", "apns"), ("team_id", "TEAM123456"), ("bundle_id", "com.example.chat")];

#[tokio::test]
async fn each_vendors_file_becomes_a_certificate() {
    let bench = Bench::start().await;
    let at = path("/certificates");
    let p8 = fixture("apns_key.p8");
    let made = post(&bench, ("POST", &at), Some(("AuthKey_KEY1234567.p8", &p8)), &APPLE).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["identity"]["key_id"], "KEY1234567");
    for file in ["apns_both.p12", "apns_legacy.p12"] {
        let fields = [("vendor", "apns"), ("password", "fixture"), ("name", file)];
        let bytes = fixture(file);
        let made = post(&bench, ("POST", &at), Some((file, &bytes)), &fields).await;
        assert_eq!((made.status, &made.body["name"]), (201, &Value::from(file)), "{}", made.body);
        assert_eq!(made.body["expires_at"], "2126-01-01T00:00:00.000Z");
    }
    let account = fixture("fcm_service_account.json");
    let fields = [("vendor", "fcm"), ("cert_id", "77"), ("options", r#"{"channel_id":"chat"}"#)];
    let made = post(&bench, ("POST", &at), Some(("account.json", &account)), &fields).await;
    assert_eq!((made.status, &made.body["cert_id"]), (201, &Value::from(77)), "{}", made.body);
    assert_eq!(made.body["options"]["channel_id"], "chat");
}

#[tokio::test]
async fn a_file_rotates_a_certificate_and_a_form_without_file_changes_the_rest() {
    let bench = Bench::start().await;
    let at = path("/certificates");
    let legacy = fixture("apns_legacy.p12");
    let fields = [("vendor", "apns"), ("password", "fixture")];
    let made = post(&bench, ("POST", &at), Some(("push.p12", &legacy)), &fields).await.body;
    let at = path(&format!("/certificates/{}", made["cert_id"]));
    let both = fixture("apns_both.p12");
    let password = [("password", "fixture")];
    let rotated = post(&bench, ("PUT", &at), Some(("push.p12", &both)), &password).await;
    assert_eq!((rotated.status, &rotated.body["revision"]), (200, &Value::from(2)));
    let off = post(&bench, ("PUT", &at), None, &[("enabled", "false")]).await;
    assert_eq!((off.status, &off.body["status"]), (200, &Value::from("disabled")), "{}", off.body);
    assert_eq!(off.body["revision"], 2);
}

#[tokio::test]
async fn a_bad_form_names_its_field_and_leaves_no_trace() {
    let bench = Bench::start().await;
    let at = path("/certificates");
    let at = ("POST", at.as_str());
    let both = fixture("apns_both.p12");
    let file = Some(("push.p12", both.as_slice()));
    let before = bench.rows().await;
    let p12 = |name: &'static str, value: &'static str| {
        [("vendor", "apns"), ("password", "fixture"), (name, value)]
    };
    for (file, fields, code, field) in [
        (None, p12("name", "x"), "missing_field", "file"),
        (file, p12("environment", "moon"), "field_malformed", "environment"),
        (file, p12("cert_id", "x"), "cert_id_malformed", "cert_id"),
        (file, p12("enabled", "perhaps"), "field_malformed", "enabled"),
        (file, p12("options", "{"), "field_malformed", "options"),
        (file, p12("options", r#"{"chanel":1}"#), "field_malformed", "options"),
        (file, p12("vendor", "windows"), "vendor_unknown", "vendor"),
        (file, p12("password", "wrong"), "wrong_password", "credential.password"),
        (
            Some(("push.p12", b"PK".as_slice())),
            p12("name", "x"),
            "credential_malformed",
            "credential.data",
        ),
    ] {
        let answer = post(&bench, at, file, &fields).await;
        refusal(&format!("{fields:?}"), &answer, 400, code, Some(field));
    }
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    for body in ["", "nonsense", "------boundary-of-the-tests\r\n"] {
        let answer = bench.admin.raw(at.0, at.1, &kind, body.as_bytes().to_vec()).await;
        refusal(body, &answer, 400, "form_malformed", None);
    }
    let answer = bench.admin.raw(at.0, at.1, "multipart/form-data", Vec::new()).await;
    refusal("no boundary", &answer, 400, "form_malformed", None);
    assert_eq!(bench.rows().await, before);
}
