//! Bad input is refused with status, code, sentence and field, and leaves no trace.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::{Bench, path};
use crate::harness::text;

/// Largest body of this file's relay.
const BODY_BYTES_MAX: u64 = 64 * 1_024;

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");
    std::fs::read(format!("{folder}{name}")).expect("a fixture")
}

/// One bad request: method, path, body; then status, code and field.
type Case = (&'static str, String, Vec<u8>, u16, &'static str, Option<&'static str>);

/// Every case is tried before the first that went wrong is told.
async fn refuse(bench: &Bench, cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for (method, path, body, status, code, field) in cases {
        let before = bench.rows().await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        let answer = bench.admin.raw(method, &path, "application/json", body).await;
        let error = &answer.body["error"];
        let got = (answer.status, error["code"].as_str(), error["field"].as_str());
        if got != (status, Some(code), field) || !error["message"].is_string() {
            let body = &answer.body;
            wrong.push(format!("{method} {path} {shown}\n  expected {code} {field:?}: {body}"));
        }
        assert_eq!(bench.rows().await, before, "{method} {path} {shown} left a trace");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn bench() -> Bench {
    Bench::start_with(|settings| settings.http.body_bytes_max = BODY_BYTES_MAX).await
}

fn message(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut message = text("mina", "joon", 7, "hi");
    change(&mut message);
    message.to_string().into_bytes()
}

fn without(field: &str) -> Vec<u8> {
    message(|message| {
        message.as_object_mut().expect("an object").remove(field);
    })
}

fn with(field: &'static str, value: Value) -> Vec<u8> {
    message(|message| message[field] = value)
}

fn bad_messages() -> Vec<(Vec<u8>, &'static str, Option<&'static str>)> {
    let many: Vec<_> = (0..1_001).map(|number| format!("user-{number}")).collect();
    let mut invalid_utf8 = br#"{"From_Account":"mi"#.to_vec();
    invalid_utf8.push(0xFF);
    invalid_utf8.extend(br#"na","To_Account":"joon","MsgRandom":7,"MsgBody":[]}"#);
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    vec![
        (b"{".to_vec(), "90001", None),
        (b"".to_vec(), "90001", None),
        (b"[]".to_vec(), "90001", None),
        (b"null".to_vec(), "90001", None),
        (b"{\"From_Account\":\"mina\"} {}".to_vec(), "90001", None),
        (invalid_utf8, "90001", None),
        (deep(20_000), "90001", None),
        (without("MsgRandom"), "90005", Some("MsgRandom")),
        (with("Notice", json!("Recalled")), "10004", Some("Notice")),
        (with("MsgRandom", json!(-1)), "90005", Some("MsgRandom")),
        (with("MsgRandom", json!(4_294_967_296_u64)), "90005", Some("MsgRandom")),
        (with("MsgRandom", json!("7")), "90005", Some("MsgRandom")),
        (with("MsgRandom", json!(1.5)), "90005", Some("MsgRandom")),
        (without("From_Account"), "90008", Some("From_Account")),
        (with("From_Account", json!(7)), "90008", Some("From_Account")),
        (with("From_Account", json!("")), "90008", Some("From_Account")),
        (without("To_Account"), "90003", Some("To_Account")),
        (with("To_Account", json!("")), "90029", Some("To_Account")),
        (with("To_Account", json!([])), "90029", Some("To_Account")),
        (with("To_Account", json!([""])), "90029", Some("To_Account")),
        (with("To_Account", json!(7)), "90028", Some("To_Account")),
        (with("To_Account", json!(many)), "90011", Some("To_Account")),
        (without("MsgBody"), "90002", Some("MsgBody")),
        (with("MsgBody", json!({})), "90007", Some("MsgBody")),
        (with("MsgBody", json!("hi")), "90007", Some("MsgBody")),
        (with("MsgSeq", json!(-1)), "10004", Some("MsgSeq")),
        (with("MsgLifeTime", json!("long")), "90044", Some("MsgLifeTime")),
        (with("OfflinePushInfo", json!(7)), "90043", Some("OfflinePushInfo")),
    ]
}

#[tokio::test]
async fn messages() {
    let bench = bench().await;
    let mut cases = Vec::new();
    for (body, code, field) in bad_messages() {
        for rest in ["/messages", "/explain"] {
            cases.push(("POST", path(rest), body.clone(), 400, code, field));
        }
    }
    refuse(&bench, cases).await;
}

#[tokio::test]
async fn an_invalid_message_of_a_batch_does_not_harm_its_neighbours() {
    let bench = bench().await;
    let mut messages: Vec<Value> = Vec::new();
    for (random, to) in [(1, "joon"), (2, ""), (3, "joon")] {
        messages.push(text("mina", to, random, "hi"));
    }
    messages.push(json!(7));
    let batch = json!({ "messages": messages });
    let answer = bench.admin.call("POST", &path("/messages"), &batch).await;
    assert_eq!(answer.status, 202);
    let results = answer.body["results"].as_array().expect("results").clone();
    let words: Vec<_> = results.iter().map(|result| result["status"].as_str()).collect();
    assert_eq!(words, ["accepted", "invalid", "accepted", "invalid"].map(Some));
    assert_eq!(results[1]["error"]["field"], "To_Account");
    let ledger = bench.relay.ledger().await;
    assert_eq!(ledger["accepted"], 2);
}

#[tokio::test]
async fn batches() {
    let bench = bench().await;
    let post = |body: Value, code, field| {
        ("POST", path("/messages"), body.to_string().into_bytes(), 400, code, Some(field))
    };
    let many: Vec<_> = (0..501).map(|_| json!({})).collect();
    refuse(
        &bench,
        vec![
            post(json!({ "messages": [] }), "messages_empty", "messages"),
            post(json!({ "messages": {} }), "field_malformed", "messages"),
            post(json!({ "messages": 7 }), "field_malformed", "messages"),
            post(json!({ "messages": many }), "too_many_messages", "messages"),
        ],
    )
    .await;
}

#[tokio::test]
async fn oversized_bodies() {
    let bench = bench().await;
    let large = vec![b' '; BODY_BYTES_MAX as usize + 1];
    let mut cases: Vec<Case> = Vec::new();
    for (method, rest) in [
        ("POST", "/messages"),
        ("POST", "/explain"),
        ("POST", "/certificates"),
        ("PUT", "/users/joon/devices/d1"),
        ("PUT", "/users/joon/preferences"),
        ("POST", "/keys"),
        ("PUT", ""),
    ] {
        cases.push((method, path(rest), large.clone(), 413, "body_too_large", None));
    }
    refuse(&bench, cases).await;
    // The connection is of use, or closed in order: either way the next request is answered.
    let mut fits = message(|_| {});
    fits.resize(BODY_BYTES_MAX as usize, b' ');
    let answer = bench.admin.raw("POST", &path("/messages"), "application/json", fits).await;
    assert_eq!(answer.status, 202, "a body of exactly the limit is taken: {}", answer.body);
}

#[tokio::test]
async fn paths_and_queries() {
    let bench = bench().await;
    let get = |path: String, status, code, field| ("GET", path, Vec::new(), status, code, field);
    refuse(
        &bench,
        vec![
            get("/".into(), 404, "route_not_found", None),
            get("/v1".into(), 404, "route_not_found", None),
            get("/v1/apps/".into(), 404, "route_not_found", None),
            get(path("/nothing"), 404, "route_not_found", None),
            get("/v1/apps/x".into(), 400, "app_malformed", Some("app")),
            get("/v1/apps/-1".into(), 400, "app_malformed", Some("app")),
            get("/v1/apps/+1400000001".into(), 400, "app_malformed", Some("app")),
            get("/v1/apps/01400000001".into(), 400, "app_malformed", Some("app")),
            get("/v1/apps/99999999999999999999".into(), 400, "app_malformed", Some("app")),
            get("/v1/apps/7".into(), 404, "app_not_found", Some("app")),
            get("/v1/apps/%FF".into(), 400, "path_malformed", None),
            get(path("/users/%FF/devices"), 400, "path_malformed", None),
            get(path("/users/%00/devices"), 400, "user_malformed", Some("user")),
            get(
                path(&format!("/users/{}/devices", "u".repeat(129))),
                400,
                "user_malformed",
                Some("user"),
            ),
            get(path("/certificates/x"), 400, "cert_id_malformed", Some("cert_id")),
            get(path("/certificates/4294967296"), 400, "cert_id_malformed", Some("cert_id")),
            get(path("/certificates/7"), 404, "cert_not_found", Some("cert_id")),
            get(path("/certificates/7/devices"), 404, "cert_not_found", Some("cert_id")),
            get(path("/messages/x/explain"), 400, "message_id_malformed", Some("message_id")),
            get(path("/explain?limit=many"), 400, "query_malformed", None),
            get(path("/explain?msg_random=-1"), 400, "query_malformed", None),
            get(path("/explain?since=yesterday"), 400, "field_malformed", Some("since")),
            get(path("/explain?cursor=x"), 400, "field_malformed", Some("cursor")),
            get(path("/explain?reason=typo"), 400, "field_malformed", Some("reason")),
            get(path("/dead-letters?cert_id=x"), 400, "query_malformed", None),
            get(path("/dead-letters?cursor=x"), 400, "field_malformed", Some("cursor")),
            get(path("/dead-letters?cursor=4400"), 400, "field_malformed", Some("cursor")),
            get("/v1/ledger?app=x".into(), 400, "query_malformed", None),
            get("/v1/ledger?app=777".into(), 404, "app_not_found", Some("app")),
            get(
                path("/users/joon/conversations/joon/receive-option"),
                400,
                "conversation_malformed",
                Some("conversation"),
            ),
            ("PATCH", path(""), Vec::new(), 405, "method_not_allowed", None),
            ("POST", "/healthz".into(), Vec::new(), 405, "method_not_allowed", None),
            ("OPTIONS", path("/messages"), Vec::new(), 405, "method_not_allowed", None),
            (
                "POST",
                "/v1/lanes/7/pause".into(),
                Vec::new(),
                404,
                "cert_not_found",
                Some("cert_id"),
            ),
            ("POST", "/v1/lanes/%FF/pause".into(), Vec::new(), 400, "path_malformed", None),
        ],
    )
    .await;
    let other = bench.admin.call("PATCH", &path("/messages"), &Value::Null).await;
    assert_eq!(other.headers["allow"], "POST");
}

#[tokio::test]
async fn apps_and_keys() {
    let bench = bench().await;
    let put = |body: Value, code, field| {
        ("PUT", path(""), body.to_string().into_bytes(), 400, code, field)
    };
    let url =
        |url: &str| put(json!({ "callback_url": url }), "field_malformed", Some("callback_url"));
    let keys: Vec<_> = (0..9).map(|number| format!("key-{number}")).collect();
    let (secret, admins) = ("x".repeat(257), vec!["admin"; 33]);
    let locale =
        |tag: &str, code| put(json!({ "default_locale": tag }), code, Some("default_locale"));
    refuse(
        &bench,
        vec![
            ("PUT", path(""), b"{".to_vec(), 400, "json_malformed", None),
            put(json!([]), "json_malformed", None),
            put(json!({ "nmae": "x" }), "field_malformed", Some("nmae")),
            put(json!({ "nmae": null }), "field_malformed", Some("nmae")),
            put(json!({ "name": 7 }), "field_malformed", Some("name")),
            put(json!({ "name": "x".repeat(129) }), "field_too_long", Some("name")),
            put(json!({ "honour_mute": "never" }), "field_malformed", Some("honour_mute")),
            put(json!({ "usersig_keys": keys }), "too_many_keys", Some("usersig_keys")),
            put(json!({ "usersig_keys": [""] }), "field_malformed", Some("usersig_keys")),
            url("ftp://example.com/x"),
            url("/relative"),
            url("https://user:secret@example.com/x"),
            url(&format!("https://example.com/{}", "x".repeat(1_024))),
            put(json!({ "usersig_keys": [secret] }), "field_too_long", Some("usersig_keys")),
            put(json!({ "callback_key": secret }), "field_too_long", Some("callback_key")),
            put(json!({ "webhook_token": secret }), "field_too_long", Some("webhook_token")),
            put(json!({ "admins": admins }), "too_many_admins", Some("admins")),
            put(json!({ "admins": [""] }), "field_malformed", Some("admins")),
            locale("korean", "field_malformed"),
            locale("", "field_malformed"),
            locale("-en", "field_malformed"),
            locale("en-ü", "field_malformed"),
            locale(&"en-".repeat(22), "field_too_long"),
            ("POST", path("/keys"), b"[7]".to_vec(), 400, "json_malformed", None),
            ("POST", path("/keys"), b"{\"name\":1}".to_vec(), 400, "field_malformed", Some("name")),
            ("DELETE", path("/keys/none"), Vec::new(), 404, "key_not_found", Some("id")),
        ],
    )
    .await;
}

fn p12(file: &str, password: &str) -> Value {
    json!({ "type": "p12", "data": STANDARD.encode(fixture(file)), "password": password })
}

fn p8(file: &str) -> Value {
    let key = String::from_utf8(fixture(file)).expect("PEM");
    json!({ "type": "p8", "key": key, "key_id": "KEY1234567", "team_id": "TEAM123456",
            "bundle_id": "com.example.chat" })
}

#[tokio::test]
async fn certificates() {
    let bench = bench().await;
    let upload = |vendor: &str, credential: Value, code, field| {
        let body = json!({ "vendor": vendor, "credential": credential });
        ("POST", path("/certificates"), body.to_string().into_bytes(), 400, code, Some(field))
    };
    let raw = |body: &str, code, field| {
        ("POST", path("/certificates"), body.as_bytes().to_vec(), 400, code, field)
    };
    let mut account = bench.sims.upload("fcm")["credential"].clone();
    account["json"]["token_uri"] = json!("https://evil.example/token");
    refuse(
        &bench,
        vec![
            raw("{", "json_malformed", None),
            raw("{}", "missing_field", Some("vendor")),
            raw("{\"vendor\":\"apns\"}", "missing_field", Some("credential")),
            raw("{\"vendor\":7}", "field_malformed", Some("vendor")),
            raw("{\"wendor\":\"apns\"}", "field_malformed", Some("wendor")),
            raw("{\"cert_id\":-1}", "field_malformed", Some("cert_id")),
            raw("{\"options\":{\"chanel\":1}}", "field_malformed", Some("options.chanel")),
            upload("windows", json!({}), "vendor_unknown", "vendor"),
            upload("apns", json!({}), "credential_missing_field", "credential.type"),
            upload("apns", p12("apns_both.p12", "wrong"), "wrong_password", "credential.password"),
            upload(
                "apns",
                p12("apns_legacy.p12", "wrong"),
                "wrong_password",
                "credential.password",
            ),
            upload("apns", p12("apns_expired.p12", "fixture"), "cert_expired", "credential.data"),
            upload(
                "apns",
                p12("apns_sandbox.p12", "fixture"),
                "environment_mismatch",
                "environment",
            ),
            upload("apns", p8("apns_key_p384.p8"), "wrong_key_type", "credential.key"),
            upload("fcm", account, "foreign_endpoint", "credential.json.token_uri"),
            upload(
                "huawei",
                json!({ "type": "oauth" }),
                "credential_missing_field",
                "credential.client_id",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn devices() {
    let bench = bench().await;
    let cert_id = bench.relay.certificate(&bench.sims, "apns").await;
    let device = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({ "cert_id": cert_id, "token": "ab".repeat(32), "platform": "ios" });
        change(&mut body);
        body.to_string().into_bytes()
    };
    let put = |body: Vec<u8>, status, code, field| {
        ("PUT", path("/users/joon/devices/d1"), body, status, code, Some(field))
    };
    let set = |field: &'static str, value: Value| device(&|body| body[field] = value.clone());
    let state = path("/users/joon/devices/d1/state");
    refuse(
        &bench,
        vec![
            put(b"{}".to_vec(), 400, "missing_field", "cert_id"),
            put(set("token", json!("")), 400, "22003", "token"),
            put(set("token", json!(" ")), 400, "22003", "token"),
            put(set("token", json!("a".repeat(257))), 400, "22004", "token"),
            put(set("token", json!("abc")), 400, "token_malformed", "token"),
            put(set("isTPNSToken", json!(true)), 400, "token_malformed", "isTPNSToken"),
            put(set("cert_id", json!(99)), 404, "cert_not_found", "cert_id"),
            put(set("cert_id", json!("1")), 400, "field_malformed", "cert_id"),
            put(set("platform", json!("symbian")), 400, "field_malformed", "platform"),
            put(set("time_zone", json!("Mars/Olympus")), 400, "field_malformed", "time_zone"),
            put(set("brand", json!("b".repeat(65))), 400, "field_too_long", "brand"),
            (
                "PUT",
                path("/users/joon/devices/%01"),
                set("token", json!("x")),
                400,
                "device_id_malformed",
                Some("device_id"),
            ),
            (
                "DELETE",
                path("/users/joon/devices/d1"),
                Vec::new(),
                404,
                "device_not_found",
                Some("device_id"),
            ),
            (
                "POST",
                state.clone(),
                b"{\"state\":\"offline\"}".to_vec(),
                404,
                "device_not_found",
                Some("device_id"),
            ),
            (
                "POST",
                state.clone(),
                b"{\"state\":\"asleep\"}".to_vec(),
                400,
                "field_malformed",
                Some("state"),
            ),
            ("POST", state, b"{}".to_vec(), 400, "missing_field", Some("state")),
        ],
    )
    .await;
}

#[tokio::test]
async fn preferences_and_options() {
    let bench = bench().await;
    let preferences = |body: Value, field| {
        let body = body.to_string().into_bytes();
        ("PUT", path("/users/joon/preferences"), body, 400, "field_malformed", Some(field))
    };
    let option = path("/users/joon/conversations/c2c:mina/receive-option");
    let night = json!({ "daily": { "start": "22:00", "duration_s": 1 } });
    let mut two = night.clone();
    two["once"] = json!({ "start_at": 1, "duration_s": 1 });
    refuse(
        &bench,
        vec![
            preferences(json!({ "push_enabled": 1 }), "push_enabled"),
            preferences(json!({ "push_enabld": true }), "push_enabld"),
            preferences(
                json!({ "do_not_disturb": [{ "daily": { "start": "25:00", "duration_s": 1 } }] }),
                "do_not_disturb[0].daily.start",
            ),
            preferences(json!({ "do_not_disturb": [{}] }), "do_not_disturb[0]"),
            preferences(
                json!({ "do_not_disturb": [{ "daily": ["22:00", 28_800, "UTC"] }] }),
                "do_not_disturb[0].daily",
            ),
            preferences(json!({ "do_not_disturb": [night, two] }), "do_not_disturb[1]"),
            (
                "PUT",
                option.clone(),
                b"{\"option\":5}".to_vec(),
                400,
                "field_malformed",
                Some("option"),
            ),
            ("PUT", option, b"{}".to_vec(), 400, "missing_field", Some("option")),
            (
                "POST",
                path("/dead-letters/replay"),
                b"{\"life_time_s\":0}".to_vec(),
                400,
                "field_malformed",
                Some("life_time_s"),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn json_that_is_nested_without_end_is_refused_everywhere() {
    let bench = bench().await;
    let deep = format!("{{\"credential\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let body = deep.into_bytes();
    refuse(&bench, vec![("POST", path("/certificates"), body, 400, "json_malformed", None)]).await;
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let bench = bench().await;
    let long = "x".repeat(65);
    for (id, is_echoed) in [("trace-7.a:b", true), ("", false), ("a b", false), (&long, false)] {
        for path in ["/healthz", "/nowhere", "/v1/apps", "/v1/apps/%FF"] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-id: {id}\r\n\r\n"
            );
            let answer = bench.wire(&request).await;
            let answered = answer
                .lines()
                .find_map(|line| line.strip_prefix("x-request-id: "))
                .unwrap_or_else(|| panic!("{path}: {answer}"));
            assert_eq!(answered == id, is_echoed, "{path} {id:?} → {answered:?}");
            assert!(!answered.is_empty());
        }
    }
}
