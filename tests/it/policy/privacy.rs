//! Nothing above a certificate's privacy level reaches a vendor; no text reaches traces or logs.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use crate::harness::{Relay, Sims, VENDORS};
use crate::policy::{all_rows, store};

/// Stands in every field that holds words of the message.
const SECRET: &str = "Sassafras";
/// The sender's name, which `sender_only` may show and `id_only` may not.
const NICK: &str = "Marguerite";

fn message(user: &str, random: u32) -> Value {
    json!({
        "From_Account": "sender-zanzibar", "To_Account": [user], "GroupId": "group-zanzibar",
        "MsgRandom": random, "FromNick": NICK, "GroupName": format!("{NICK} and friends"),
        "CloudCustomData": SECRET,
        "MsgBody": [
            { "MsgType": "TIMTextElem", "MsgContent": { "Text": SECRET } },
            { "MsgType": "TIMCustomElem", "MsgContent": {
                "Desc": SECRET, "Ext": format!("{{\"ext\":\"{SECRET}\"}}"), "Data": SECRET } }],
        "OfflinePushInfo": {
            "Title": SECRET, "Desc": SECRET, "Ext": format!("{{\"ext\":\"{SECRET}\"}}"),
            "MultiLanguageContent": [{ "Language": "en", "Title": SECRET, "Desc": SECRET }],
            "ApnsInfo": { "Title": SECRET, "SubTitle": SECRET,
                          "Image": format!("https://x.test/{SECRET}") } } })
}

async fn setup(sims: &Sims, relay: &Relay, vendor: &str, privacy: &str) {
    let mut upload = sims.upload(vendor);
    if upload["options"].is_null() {
        upload["options"] = json!({});
    }
    upload["options"]["privacy"] = json!(privacy);
    let answer = relay.admin.post(&relay.path("/certificates"), &upload).await;
    let cert_id = answer["cert_id"].as_u64().expect("a cert_id");
    relay.device(&format!("{vendor}-{privacy}"), vendor, cert_id, 1).await;
}

fn count(haystack: &[u8], needle: &str) -> usize {
    haystack.windows(needle.len()).filter(|window| *window == needle.as_bytes()).count()
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_above_the_level_leaves_the_relay() {
    let log = Log::default();
    let writer = log.clone();
    // With a single listener alive, tracing asks whichever thread meets a log line first whether
    // anybody listens, and other tests' threads would say no. A second one prevents that.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("offpush=trace"))
        .with_writer(move || writer.clone())
        .finish();
    // The runtime of this test has one thread, so this covers every task of the relay.
    let _guard = tracing::subscriber::set_default(subscriber);
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let mut random = 0;
    for vendor in VENDORS {
        for privacy in ["full", "sender_only", "id_only"] {
            setup(&sims, &relay, vendor, privacy).await;
            random += 1;
            let taken = relay.send(&message(&format!("{vendor}-{privacy}"), random)).await;
            let explained = relay.settled(&taken["message_id"]).await;
            let state = &explained["deliveries"][0]["state"];
            assert_eq!(state, "pushed", "{vendor} {privacy}: {explained:#}");
            let shown = sims.shown(vendor).pop().expect("a notification");
            let everything = serde_json::to_vec(&shown).expect("json");
            let where_ = format!("{vendor} {privacy}: {shown:?}");
            assert_eq!(count(&everything, SECRET) > 0, privacy == "full", "{where_}");
            if privacy == "id_only" {
                assert_eq!(count(&everything, NICK), 0, "{where_}");
                assert_eq!(count(&everything, "zanzibar"), 0, "{where_}");
            }
            assert_eq!(count(explained.to_string().as_bytes(), SECRET), 0, "{vendor} explain");
        }
    }
    for (key, value) in all_rows(&store(&relay)).await {
        assert_eq!(count(&value, SECRET), 0, "a row keeps text: {key:?}");
    }
    let log = log.0.lock().expect("the log").clone();
    assert!(count(&log, "request answered") > 0, "unheard: {}", String::from_utf8_lossy(&log));
    assert_eq!(count(&log, SECRET), 0, "a log line holds text");
}

#[tokio::test]
async fn everybody_reads_the_neutral_words_in_a_language_of_their_own() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    for privacy in ["sender_only", "id_only"] {
        setup(&sims, &relay, "huawei", privacy).await;
        let certificates = relay.admin.get(&relay.path("/certificates")).await;
        let newest = certificates["certificates"].as_array().and_then(|all| all.last());
        let cert_id = newest.map(|cert| cert["cert_id"].clone()).expect("a certificate");
        let mut title = |locale: &str| {
            let user = format!("{privacy}-{locale}");
            let token = crate::harness::token_of("huawei", &user, 1);
            let at = relay.path(&format!("/users/{user}/devices/phone"));
            let body = json!({ "cert_id": cert_id, "token": token, "platform": "android",
                "locale": locale });
            (user, token, at, body)
        };
        let readers = ["en", "ko"].map(&mut title);
        for (_, _, at, body) in &readers {
            relay.admin.put(at, body).await;
        }
        let mut message = message(&readers[0].0, 1);
        message["To_Account"] = json!(readers.iter().map(|(user, ..)| user).collect::<Vec<_>>());
        let taken = relay.send(&message).await;
        relay.settled(&taken["message_id"]).await;
        let shown = sims.shown("huawei");
        let [english, korean] = readers.map(|(_, token, ..)| {
            let shown = shown.iter().find(|shown| shown.token == token).expect("it rang");
            (shown.title.clone(), shown.body.clone())
        });
        assert_ne!(english, korean, "{privacy}");
    }
}
