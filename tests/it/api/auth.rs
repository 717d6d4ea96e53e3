//! Who may do what: every operation with every kind of key.

use offpush::api::openapi::operation::{Caller, Operation};
use offpush::api::openapi::operations::OPERATIONS;
use serde_json::{Value, json};

use crate::api::{Bench, Checked, path, refusal, user_sig, usersig};
use crate::harness::{APP, text};

const OTHER: u64 = 1_400_000_002;
const NOWHERE: u64 = 1_400_000_099;

/// An app with one of everything.
struct World {
    bench: Bench,
    cert_id: u64,
    message_id: String,
    key_id: String,
    token: String,
    app_key: String,
    other_key: String,
}

impl World {
    async fn new() -> Self {
        let bench = Bench::start().await;
        bench.admin.ok("PUT", &format!("/v1/apps/{OTHER}"), &json!({ "name": "other" })).await;
        let cert_id = bench.relay.certificate(&bench.sims, "huawei").await;
        let token = bench.relay.device("joon", "huawei", cert_id, 1).await;
        let quiet = json!({ "push_enabled": false });
        bench.admin.ok("PUT", &path("/users/joon/preferences"), &quiet).await;
        let taken = bench.relay.send(&text("mina", "joon", 7, "private words")).await;
        let message_id = taken["message_id"].as_str().expect("an id").to_owned();
        let app_key = bench.app_key(APP).await;
        let other_key = bench.app_key(OTHER).await;
        let keys = bench.admin.get(&path("/keys")).await;
        let key_id = keys["keys"][0]["id"].as_str().expect("an id").to_owned();
        World { bench, cert_id, message_id, key_id, token, app_key, other_key }
    }

    /// The operation's path on this world's things, below `app`.
    fn path(&self, operation: &Operation, app: u64) -> String {
        operation
            .path
            .replace("{app}", &app.to_string())
            .replace("{id}", &self.key_id)
            .replace("{cert_id}", &self.cert_id.to_string())
            .replace("{user}", "joon")
            .replace("{device_id}", "huawei-1")
            .replace("{conversation}", "c2c:mina")
            .replace("{message_id}", &self.message_id)
            .replace("{group}", "team")
            .replace("{task_id}", "nothing")
    }

    async fn ask(&self, who: &Checked, operation: &Operation, app: u64) -> crate::harness::Answer {
        let method = operation.method.to_ascii_uppercase();
        let path = self.path(operation, app);
        who.raw(&method, &path, "application/json", body(operation, self.cert_id)).await
    }
}

/// A body that would be taken.
fn body(operation: &Operation, cert_id: u64) -> Vec<u8> {
    let body = match operation.id {
        "put_app" => json!({ "name": "taken over" }),
        "create_certificate" => json!({ "vendor": "xiaomi", "credential": {
            "type": "secret", "package_name": "com.example.chat", "app_secret": "s3cret" } }),
        "change_certificate" => json!({ "enabled": false }),
        "test_push" => json!({ "token": "0123456789abcdef" }),
        "register_device" => {
            json!({ "cert_id": cert_id, "token": "0123456789abcdef", "platform": "android" })
        }
        "report_state" => json!({ "state": "foreground" }),
        "set_preferences" => json!({ "push_enabled": true }),
        "set_receive_option" => json!({ "option": 2 }),
        "add_members" => json!({ "members": ["mina", "joon"] }),
        "post_messages" | "dry_run" => text("mina", "joon", 8, "hello"),
        "create_key" | "replay_dead_letters" | "simulate" => json!({}),
        _ => return Vec::new(),
    };
    body.to_string().into_bytes()
}

/// Operations that want a key. Vendors and webhooks prove themselves in other ways, tested with
/// them.
fn guarded() -> impl Iterator<Item = &'static Operation> {
    let is_free = |caller| matches!(caller, Caller::Anybody | Caller::Vendor | Caller::ChatServer);
    OPERATIONS.iter().filter(move |operation| !is_free(operation.caller))
}

/// The caller was let in.
fn let_in(operation: &Operation, answer: &crate::harness::Answer) {
    if operation.id == "show_push_task" {
        return refusal(operation.id, answer, 404, "push_task_not_found", Some("task_id"));
    }
    assert!(answer.status < 300, "{}: {}", operation.id, answer.body);
}

#[tokio::test]
async fn nothing_is_done_without_a_key_or_with_one_that_is_nobodys() {
    let world = World::new().await;
    let bench = &world.bench;
    let before = bench.rows().await;
    for operation in guarded() {
        for app in [APP, NOWHERE] {
            for key in [None, Some("opk_garbage"), Some("")] {
                let answer = world.ask(&bench.with_key(key), operation, app).await;
                refusal(operation.id, &answer, 401, "unauthorized", None);
                assert_eq!(answer.headers["www-authenticate"], "Bearer");
            }
        }
    }
    assert_eq!(bench.rows().await, before);
}

#[tokio::test]
async fn the_key_of_another_app_may_do_nothing_and_learns_nothing() {
    let world = World::new().await;
    let foreign = world.bench.with_key(Some(&world.other_key));
    let before = world.bench.rows().await;
    for operation in guarded() {
        let answer = world.ask(&foreign, operation, APP).await;
        refusal(operation.id, &answer, 403, "forbidden", None);
        let nowhere = world.ask(&foreign, operation, NOWHERE).await;
        assert_eq!((answer.status, &answer.body), (nowhere.status, &nowhere.body));
    }
    assert_eq!(world.bench.rows().await, before);
}

#[tokio::test]
async fn an_apps_own_key_does_all_but_the_operators_part() {
    let world = World::new().await;
    let own = world.bench.with_key(Some(&world.app_key));
    for operation in guarded() {
        let answer = world.ask(&own, operation, APP).await;
        match operation.caller {
            Caller::Admin => refusal(operation.id, &answer, 403, "forbidden", None),
            _ => let_in(operation, &answer),
        }
    }
}

#[tokio::test]
async fn the_admin_key_does_everything() {
    let world = World::new().await;
    // Things are taken away last.
    let (last, first): (Vec<_>, Vec<_>) =
        guarded().partition(|operation| operation.method == "delete");
    for operation in first.into_iter().chain(last.into_iter().rev()) {
        let answer = world.ask(&world.bench.admin, operation, APP).await;
        let_in(operation, &answer);
    }
}

#[tokio::test]
async fn a_user_sig_opens_its_users_devices_and_preferences_only() {
    let world = World::new().await;
    let joon = world.bench.with_key(Some(&user_sig("joon")));
    for operation in guarded() {
        let answer = world.ask(&joon, operation, APP).await;
        match operation.caller {
            Caller::User => assert!(answer.status < 300, "{}: {}", operation.id, answer.body),
            _ => refusal(operation.id, &answer, 403, "forbidden", None),
        }
        // Other apps and other users are all the same to it, whether they exist or not.
        let elsewhere = world.ask(&joon, operation, OTHER).await;
        refusal(operation.id, &elsewhere, 403, "forbidden", None);
        let nowhere = world.ask(&joon, operation, NOWHERE).await;
        assert_eq!((elsewhere.status, &elsewhere.body), (nowhere.status, &nowhere.body));
    }
    let read = async |user: &str| {
        joon.call("GET", &path(&format!("/users/{user}/devices")), &Value::Null).await
    };
    let (known, unknown) = (read("mina").await, read("nobody").await);
    refusal("another user", &known, 403, "forbidden", None);
    assert_eq!((known.status, &known.body), (unknown.status, &unknown.body));
}

#[tokio::test]
async fn no_other_signature_opens_them() {
    let world = World::new().await;
    let now = world.bench.relay.app.as_ref().expect("running").api.clock.now();
    let long_ago = offpush::model::time::UnixMs(now.0 - 7_200_000);
    let wrong = [
        usersig("another-key", "mina", now),
        usersig("another-key", "joon", now),
        usersig(crate::api::USERSIG_KEY, "joon", long_ago),
        user_sig("joon").replace('e', "f"),
    ];
    let before = world.bench.rows().await;
    for (index, sig) in wrong.iter().enumerate() {
        let who = world.bench.with_key(Some(sig));
        for operation in guarded() {
            let answer = world.ask(&who, operation, APP).await;
            // Whoever had a good one is told that it ended.
            let ended = index == 2 && operation.caller == Caller::User;
            let code = if ended { "70001" } else { "unauthorized" };
            refusal(operation.id, &answer, 401, code, None);
        }
    }
    assert_eq!(world.bench.rows().await, before);
}

#[tokio::test]
async fn one_app_cannot_reach_what_another_has_by_its_numbers() {
    let world = World::new().await;
    let other = world.bench.with_key(Some(&world.other_key));
    let before = world.bench.rows().await;
    for operation in guarded().filter(|operation| operation.path.contains("{app}")) {
        let who = if operation.caller == Caller::Admin { &world.bench.admin } else { &other };
        let answer = world.ask(who, operation, OTHER).await;
        let by_number = ["{id}", "{cert_id}", "{message_id}"];
        let by_device = ["register_device", "log_out", "report_state"];
        if by_number.iter().any(|name| operation.path.contains(name))
            || by_device.contains(&operation.id)
        {
            assert_eq!(answer.status, 404, "{}: {}", operation.id, answer.body);
        }
        let said = answer.body.to_string();
        for secret in [&world.token, &world.message_id, &world.key_id] {
            assert!(!said.contains(secret.as_str()), "{} tells: {said}", operation.id);
        }
    }
    let after = world.bench.rows().await;
    for (key, row) in before {
        // The other app's own settings and ledger may have changed.
        let owned_by_other = key.get(1..9) == Some(OTHER.to_be_bytes().as_slice());
        assert!(owned_by_other || after.get(&key) == Some(&row), "{key:?} changed");
    }
}

#[tokio::test]
async fn a_cursor_that_is_none_or_of_another_app_is_refused() {
    let world = World::new().await;
    let first = path(&format!("/certificates/{}/devices?limit=1", world.cert_id));
    let page = world.bench.admin.get(&first).await;
    let cursor = page["cursor"].as_str().expect("a full page has a cursor");
    let mut upload = world.bench.sims.upload("xiaomi");
    upload["name"] = json!("theirs");
    let theirs =
        world.bench.admin.ok("POST", &format!("/v1/apps/{OTHER}/certificates"), &upload).await;
    let other = world.bench.with_key(Some(&world.other_key));
    let asked = format!("/v1/apps/{OTHER}/certificates/{}/devices?cursor=", theirs["cert_id"]);
    for cursor in [cursor, "00", "ffff", "not hex"].map(|cursor| cursor.replace(' ', "%20")) {
        let (asked, none) = (format!("{asked}{cursor}"), Value::Null);
        other.refused("GET", &asked, &none, 400, "field_malformed", Some("cursor")).await;
    }
}

#[tokio::test]
async fn a_deleted_key_opens_nothing_any_more() {
    let world = World::new().await;
    let own = world.bench.with_key(Some(&world.app_key));
    own.get(&path("")).await;
    world.bench.admin.ok("DELETE", &path(&format!("/keys/{}", world.key_id)), &Value::Null).await;
    own.refused("GET", &path(""), &Value::Null, 401, "unauthorized", None).await;
    let gone = path(&format!("/keys/{}", world.key_id));
    let admin = &world.bench.admin;
    admin.refused("DELETE", &gone, &Value::Null, 404, "key_not_found", Some("id")).await;
}
