//! Apps through the API: created, changed field by field, and what holds for every route.

use serde_json::{Value, json};

use crate::api::{Bench, path};

#[tokio::test]
async fn an_app_is_created_and_then_changed_field_by_field() {
    let bench = Bench::start().await;
    let at = "/v1/apps/1400000007";
    let body = json!({ "name": "chat", "callback_url": "https://chat.example.com/hook",
        "callback_key": "secret", "honour_mute": "tencent", "usersig_keys": ["a", "b"] });
    let made = bench.admin.call("PUT", at, &body).await;
    assert_eq!(made.status, 201);
    assert_eq!(
        (&made.body["usersig_keys"], &made.body["has_callback_key"]),
        (&json!(2), &json!(true))
    );
    let changed = bench.admin.call("PUT", at, &json!({ "default_locale": "ko" })).await;
    assert_eq!(changed.status, 200);
    let mut expected = made.body.clone();
    expected["default_locale"] = json!("ko");
    assert_eq!(changed.body, expected, "everything else kept its value");
    assert_eq!(bench.admin.get(at).await, expected);
}

#[tokio::test]
async fn null_takes_a_field_back_to_its_default() {
    let bench = Bench::start().await;
    let at = "/v1/apps/1400000007";
    let fresh = bench.admin.ok("PUT", at, &json!({})).await;
    let full = json!({ "name": "chat", "callback_url": "https://example.com/", "callback_key": "k",
        "webhook_token": "t", "honour_mute": "tencent", "mention_all_lifts_mute": false,
        "after_do_not_disturb": "digest", "default_locale": "ko", "replace_recalled": true,
        "usersig_keys": ["a"], "admins": ["root"] });
    bench.admin.ok("PUT", at, &full).await;
    let nulls: serde_json::Map<_, _> = full
        .as_object()
        .expect("fields")
        .keys()
        .map(|field| (field.clone(), Value::Null))
        .collect();
    assert_eq!(bench.admin.ok("PUT", at, &Value::Object(nulls)).await, fresh);
}

#[tokio::test]
async fn settings_at_their_limits_are_taken_and_an_empty_secret_is_none() {
    let bench = Bench::start().await;
    let at = "/v1/apps/1400000007";
    let secret = "x".repeat(256);
    let most = json!({ "callback_key": secret, "webhook_token": secret, "usersig_keys": [secret],
        "admins": vec!["admin"; 32], "default_locale": "zh_TW_#Hant" });
    let app = bench.admin.ok("PUT", at, &most).await;
    let secrets = |app: &Value| (app["has_callback_key"].clone(), app["has_webhook_token"].clone());
    assert_eq!(secrets(&app), (json!(true), json!(true)));
    let none = json!({ "callback_key": "", "webhook_token": "" });
    let app = bench.admin.ok("PUT", at, &none).await;
    assert_eq!(secrets(&app), (json!(false), json!(false)));
}

#[tokio::test]
async fn settings_and_keys_survive_a_restart_on_the_same_store() {
    let bench = Bench::start().await;
    let key = bench.app_key(crate::harness::APP).await;
    let certificate =
        bench.admin.ok("POST", &path("/certificates"), &bench.sims.upload("oppo")).await;
    let shown = bench.with_key(Some(&key)).get(&path("")).await;
    let (settings, folder) = (bench.relay.settings.clone(), bench.relay.folder.clone());
    // A second relay on the same rows, as after a crash.
    let again = crate::harness::Relay::run(settings, folder, Some(bench.store.clone())).await;
    let caller = again.admin.with_key(Some(&key));
    assert_eq!(caller.get(&path("")).await, shown);
    let at = path(&format!("/certificates/{}", certificate["cert_id"]));
    assert_eq!(again.admin.get(&at).await, certificate);
    // Where a vendor posts receipts is a secret of the operator and the vendor.
    let seen = caller.get(&at).await;
    assert!(certificate["receipt_path"].is_string() && seen["receipt_path"].is_null(), "{seen}");
    assert_eq!(seen["updated_at"], certificate["updated_at"]);
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let bench = Bench::start().await;
    let key = crate::harness::ADMIN;
    for (path, status) in [("/healthz", "200"), ("/v1/apps", "200"), ("/v1/apps/7", "404")] {
        let answer = bench
            .wire(&format!(
                "HEAD {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
                 connection: close\r\n\r\n"
            ))
            .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn of_changes_that_come_at_the_same_time_none_is_lost() {
    let bench = Bench::start().await;
    let at = "/v1/apps/1400000007";
    bench.admin.ok("PUT", at, &json!({})).await;
    let change = async |field: &str, value: Value| {
        bench.admin.ok("PUT", at, &json!({ field: value })).await;
    };
    tokio::join!(
        change("name", json!("chat")),
        change("default_locale", json!("ko")),
        change("replace_recalled", json!(true)),
        change("admins", json!(["root"])),
        change("usersig_keys", json!(["a"])),
        change("honour_mute", json!("tencent")),
    );
    let app = bench.admin.get(at).await;
    let fields = ["name", "default_locale", "replace_recalled", "admins", "usersig_keys"];
    let values = [json!("chat"), json!("ko"), json!(true), json!(["root"]), json!(1)];
    for (field, value) in fields.into_iter().zip(values) {
        assert_eq!(app[field], value, "{field}: {app}");
    }
    assert_eq!(app["honour_mute"], "tencent");
}
