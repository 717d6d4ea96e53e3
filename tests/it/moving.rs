//! `offpush export` and `import`: from sled to redb, with everything that must not be lost.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use offpush::app::export::{check, export};
use offpush::config::sections::Engine;
use offpush::seal::Seal;
use offpush::store::Store;
use offpush::store::memory::MemoryStore;
use serde_json::{Value, json};

use crate::harness::{ADMIN, APP, Relay, Sims, text};

fn offpush(command: &str, engine: &str, data_dir: &Path, rest: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_offpush"))
        .arg(command)
        .args(["--data-dir", data_dir.to_str().expect("text"), "--set"])
        .arg(format!("store.engine={engine}"))
        .args(rest)
        .env("OFFPUSH_ADMIN_KEY", ADMIN)
        .output()
        .expect("the program runs")
}

fn failed(output: &Output, word: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(word), "{said}");
}

#[test]
fn a_directory_without_a_store_is_not_exported_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data_dir, out) = (folder.path().join("absent"), folder.path().join("out.jsonl"));
    let out = out.to_str().expect("text");
    failed(&offpush("export", "redb", &data_dir, &["--out", out]), "there is no store");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_must_not_be_lost_moves_from_sled_to_redb() {
    let sims = Sims::start().await;
    let mut old = Relay::start_with(&sims, Engine::Sled, |_| {}).await;
    let old_dir = old.settings.data_dir.clone();
    let cert_id = old.certificate(&sims, "huawei").await;
    let gone = old.certificate(&sims, "xiaomi").await;
    let gone_at = old.path(&format!("/certificates/{gone}"));
    assert_eq!(old.admin.call("DELETE", &gone_at, &Value::Null).await.status, 204);
    for number in 0..200 {
        old.device(&format!("user{number}"), "huawei", cert_id, 1).await;
    }
    let preferences = json!({ "push_enabled": false });
    old.admin.put(&old.path("/users/user1/preferences"), &preferences).await;
    let option = old.path("/users/user2/conversations/c2c:mina/receive-option");
    old.admin.put(&option, &json!({ "option": 2 })).await;
    let accounts = json!({ "Accounts": ["seen"] });
    door(&old, "im_open_login_svc/multiaccount_import", &accounts).await;
    let key = old.admin.post(&old.path("/keys"), &json!({ "name": "chat" })).await;
    let key = key["key"].as_str().expect("a key").to_owned();
    let file = old_dir.join("moved.jsonl");
    let file = file.to_str().expect("text");
    failed(&offpush("export", "sled", &old_dir, &["--out", file]), "still running");
    assert!(!Path::new(file).exists(), "a refused export leaves no file");
    old.stop().await;
    let exported = offpush("export", "sled", &old_dir, &["--out", file]);
    assert!(exported.status.success(), "{exported:?}");
    let lines = std::fs::read_to_string(file).expect("the file");
    let secret = sims.upload("huawei")["credential"]["client_secret"].to_string();
    assert!(!lines.contains(secret.trim_matches('"')), "secrets stay sealed");
    failed(&offpush("export", "sled", &old_dir, &["--out", file]), "create");

    let folder = Arc::new(tempfile::tempdir().expect("a folder"));
    failed(&offpush("import", "redb", folder.path(), &[file]), "secret key");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "none is made");
    let settings = sims.settings(folder.path(), Engine::Redb);
    let from = old.settings.secret_key_file();
    std::fs::copy(from, settings.secret_key_file()).expect("the key is copied");
    let cut = folder.path().join("cut.jsonl");
    std::fs::write(&cut, &lines[..lines.len() / 2]).expect("a cut file");
    failed(&offpush("import", "redb", folder.path(), &[cut.to_str().expect("text")]), "line");
    let imported = offpush("import", "redb", folder.path(), &[file]);
    assert!(imported.status.success(), "{imported:?}");
    failed(&offpush("import", "redb", folder.path(), &[file]), "empty data_dir");

    let mut new = Relay::run(settings, folder, None).await;
    for number in [0, 1, 2, 199] {
        let taken = new.send(&text("mina", &format!("user{number}"), number, "moved")).await;
        let explained = new.settled(&taken["message_id"]).await;
        let reason = &explained["deliveries"][0]["reason"];
        let expected = match number {
            1 => json!("push_disabled"),
            2 => json!("conversation_muted"),
            _ => json!(null),
        };
        assert_eq!(*reason, expected, "{explained:#}");
    }
    assert_eq!(sims.shown("huawei").len(), 2);
    let listed = new.path(&format!("/certificates/{cert_id}/devices?limit=500"));
    assert_eq!(new.admin.get(&listed).await["devices"].as_array().map(Vec::len), Some(200));
    let with_key = new.admin.with_key(Some(&key));
    let devices = with_key.get(&new.path("/users/user0/devices")).await;
    assert_eq!(devices["devices"].as_array().map(Vec::len), Some(1), "the app's key moved too");
    let asked = json!({ "CheckItem": [{ "UserID": "seen" }, { "UserID": "unseen" }] });
    let known = door(&new, "im_open_login_svc/account_check", &asked).await;
    let status = |index: usize| known["ResultItem"][index]["AccountStatus"].clone();
    assert_eq!((status(0), status(1)), (json!("Imported"), json!("NotImported")), "{known}");
    assert_eq!(new.certificate(&sims, "xiaomi").await, gone + 1, "a number is given once");
    new.stop().await;
}

/// Calls a command of the Tencent-shaped front door as the app's admin.
async fn door(relay: &Relay, command: &str, body: &Value) -> Value {
    let settings = json!({ "usersig_keys": ["a key"], "admins": ["administrator"] });
    relay.admin.put(&relay.path(""), &settings).await;
    let now = offpush::clock::Clock::system().now();
    let (app, hour) = (offpush::model::id::AppId(APP), std::time::Duration::from_secs(3_600));
    let sig = offpush::usersig::make("a key", app, "administrator", now, hour);
    let query = format!("sdkappid={APP}&identifier=administrator&usersig={sig}");
    let answer = relay.admin.with_key(None).post(&format!("/v4/{command}?{query}"), body).await;
    assert_eq!(answer["ErrorCode"], 0, "{command}: {answer}");
    answer
}

/// A file of the first form knows no accounts, one of the second no highest certificate number.
#[tokio::test]
async fn files_of_earlier_forms_are_still_imported() {
    let seal = Seal::new(&[7; 32]);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut file = Vec::new();
    export(&store, &seal, &mut file, |_| {}).await.expect("an export");
    let file = String::from_utf8(file).expect("text");
    let of_form = |form: u32| {
        let head = format!("\"offpush_export\":{form}");
        file.replacen("\"offpush_export\":3", &head, 1).into_bytes()
    };
    for form in [1, 2, 3] {
        assert_eq!(check(of_form(form).as_slice(), &seal).expect("it is read"), 0);
    }
    let refused = check(of_form(4).as_slice(), &seal).expect_err("a later form");
    assert!(refused.to_string().contains("form 4"), "{refused}");
}
