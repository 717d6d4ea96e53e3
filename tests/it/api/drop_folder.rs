//! The folder of credential files: read at start and when told.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::api::{Bench, path};
use crate::harness::APP;

struct Folder {
    bench: Bench,
    dir: PathBuf,
}

impl Folder {
    async fn new() -> Self {
        let bench = Bench::start().await;
        let dir = bench.relay.settings.certs_dir.clone();
        std::fs::create_dir_all(&dir).expect("a folder");
        Folder { bench, dir }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.dir.join(name), content).expect("written");
    }

    async fn reload(&self) -> Vec<Value> {
        let app = self.bench.relay.app.as_ref().expect("running");
        app.reload(&self.bench.relay.settings).await;
        let list = self.bench.admin.get(&path("/certificates")).await;
        list["certificates"].as_array().expect("a list").clone()
    }

    fn described(&self, vendor: &str, name: &str) -> Value {
        let mut described = self.bench.sims.upload(vendor);
        described["app"] = json!(APP);
        described["name"] = json!(name);
        described
    }
}

#[tokio::test]
async fn a_description_is_loaded_once_and_rotated_when_it_changes() {
    let folder = Folder::new().await;
    let mut described = folder.described("xiaomi", "from the folder");
    folder.write("xiaomi.json", described.to_string());
    let loaded = folder.reload().await;
    assert_eq!((loaded.len(), &loaded[0]["name"]), (1, &json!("from the folder")));
    assert_eq!(folder.reload().await, loaded, "an unchanged file changes nothing");
    described["credential"]["app_secret"] = json!("a-new-app-secret");
    folder.write("xiaomi.json", described.to_string());
    let rotated = folder.reload().await;
    assert_eq!((rotated.len(), &rotated[0]["revision"]), (1, &json!(2)));
    assert_eq!(rotated[0]["cert_id"], loaded[0]["cert_id"]);
    described["options"]["channel_id"] = json!("130001");
    folder.write("xiaomi.json", described.to_string());
    let changed = folder.reload().await;
    assert_eq!(changed[0]["options"]["channel_id"], "130001");
    assert_eq!(changed[0]["revision"], 2, "options are no rotation");
}

#[tokio::test]
async fn a_toml_description_may_name_the_file_beside_it() {
    let folder = Folder::new().await;
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");
    let p12 = std::fs::read(format!("{fixtures}apns_legacy.p12")).expect("a fixture");
    folder.write("push.p12", p12);
    folder.write(
        "apple.toml",
        format!(
            "app = {APP}\nvendor = \"apns\"\nname = \"apple\"\n\
             cert_id = 4711\nfile = \"push.p12\"\n\
             [credential]\npassword = \"fixture\"\n"
        ),
    );
    let loaded = folder.reload().await;
    assert_eq!((loaded.len(), &loaded[0]["cert_id"]), (1, &json!(4_711)));
    assert_eq!(loaded[0]["identity"]["bundle_id"], "com.example.chat");
    assert_eq!(folder.reload().await, loaded);
}

#[tokio::test]
async fn what_is_bad_is_skipped_and_the_rest_loaded() {
    let folder = Folder::new().await;
    folder.write("a.json", "{");
    folder.write("b.toml", "= nonsense");
    folder.write("c.json", [0xFF, 0xFE]);
    folder.write("d.json", vec![b' '; 300 * 1_024]);
    let mut foreign = folder.described("xiaomi", "no such app");
    foreign["app"] = json!(99);
    folder.write("e.json", foreign.to_string());
    let mut escaping = folder.described("apns", "escaping");
    escaping["file"] = json!("../secret.key");
    folder.write("f.json", escaping.to_string());
    folder.write("g.txt", folder.described("xiaomi", "not looked at").to_string());
    folder.write("z.json", folder.described("xiaomi", "good").to_string());
    let loaded = folder.reload().await;
    let names: Vec<_> = loaded.iter().map(|loaded| loaded["name"].as_str()).collect();
    assert_eq!(names, [Some("good")]);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_no_mistake() {
    let bench = Bench::start().await;
    assert!(!bench.relay.settings.certs_dir.exists());
    let app = bench.relay.app.as_ref().expect("running");
    app.reload(&bench.relay.settings).await;
    assert_eq!(bench.admin.get(&path("/certificates")).await["certificates"], json!([]));
}

#[tokio::test]
async fn a_file_does_not_take_back_what_was_rotated_since() {
    let folder = Folder::new().await;
    let mut described = folder.described("xiaomi", "rotated");
    folder.write("xiaomi.json", described.to_string());
    let loaded = folder.reload().await;
    let at = path(&format!("/certificates/{}", loaded[0]["cert_id"]));
    let mut rotated = described["credential"].clone();
    rotated["app_secret"] = json!("rotated-through-the-api");
    let change = json!({ "credential": rotated, "options": { "channel_id": "130001" } });
    let rotated = folder.bench.admin.ok("PUT", &at, &change).await;
    assert_eq!(folder.reload().await, [rotated], "the file says what it said before");
    // Another way of writing the same is no change either.
    folder.write("xiaomi.json", serde_json::to_vec_pretty(&described).expect("JSON"));
    assert_eq!(folder.reload().await[0]["revision"], 2);
    described["credential"]["app_secret"] = json!("a-third-app-secret");
    folder.write("xiaomi.json", described.to_string());
    let changed = folder.reload().await;
    assert_eq!(changed[0]["revision"], 3);
    assert_eq!(changed[0]["options"], loaded[0]["options"]);
}

#[tokio::test]
async fn a_file_that_finds_what_it_says_in_force_is_remembered() {
    let folder = Folder::new().await;
    let described = folder.described("xiaomi", "by hand");
    let mut upload = described.clone();
    upload.as_object_mut().expect("an object").remove("app");
    let made = folder.bench.admin.ok("POST", &path("/certificates"), &upload).await;
    folder.write("xiaomi.json", described.to_string());
    assert_eq!(folder.reload().await, std::slice::from_ref(&made));
    let at = path(&format!("/certificates/{}", made["cert_id"]));
    let mut rotated = described["credential"].clone();
    rotated["app_secret"] = json!("rotated-through-the-api");
    folder.bench.admin.ok("PUT", &at, &json!({ "credential": rotated })).await;
    assert_eq!(folder.reload().await[0]["revision"], 2);
}

#[tokio::test]
async fn a_changed_description_is_applied_in_whole_or_not_at_all() {
    let folder = Folder::new().await;
    let mut described = folder.described("apns", "whole");
    described["options"] = json!({ "sound": "ding.caf" });
    folder.write("apple.json", described.to_string());
    let loaded = folder.reload().await;
    assert_eq!(loaded[0]["options"]["sound"], "ding.caf");
    described.as_object_mut().expect("an object").remove("options");
    described["environment"] = json!("sandbox");
    folder.write("apple.json", described.to_string());
    let changed = folder.reload().await;
    assert_eq!(changed[0]["environment"], "sandbox");
    assert_eq!(changed[0]["options"]["sound"], json!(null));
    assert_eq!(changed[0]["revision"], 2, "connections to the other host end");
    for (field, value) in [("cert_id", json!(4_711)), ("vendor", json!("xiaomi"))] {
        let mut other = described.clone();
        other[field] = value;
        other["options"] = json!({ "sound": "other.caf" });
        folder.write("apple.json", other.to_string());
        assert_eq!(folder.reload().await, changed, "{field} is fixed");
    }
}
