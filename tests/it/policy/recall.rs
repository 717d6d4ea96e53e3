//! What was sent and then withdrawn is replaced on the phone, when the app asks for it.

use serde_json::{Value, json};

use crate::harness::{APP, Relay, Sims, VENDORS, text};

async fn withdraw(relay: &Relay, message_id: &Value) -> Value {
    let id = message_id.as_str().expect("an id");
    let path = relay.path(&format!("/messages/{id}?from_nick=Mina"));
    let answer = relay.admin.call("DELETE", &path, &Value::Null).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

async fn replacing(relay: &Relay) {
    let app = json!({ "name": "tests", "replace_recalled": true });
    relay.admin.put(&format!("/v1/apps/{APP}"), &app).await;
}

#[tokio::test]
async fn every_vendor_replaces_the_notification_of_a_recalled_message() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    replacing(&relay).await;
    for (vendor, random) in VENDORS.into_iter().zip(1..) {
        let cert_id = relay.certificate(&sims, vendor).await;
        relay.device(vendor, vendor, cert_id, 1).await;
        let taken = relay.send(&text("mina", vendor, random, "a slip")).await;
        relay.settled(&taken["message_id"]).await;
        let answer = withdraw(&relay, &taken["message_id"]).await;
        let explained = relay.settled(&answer["replaced_by"]).await;
        assert_eq!(explained["deliveries"][0]["state"], "pushed", "{vendor}: {explained:#}");
        let shown = sims.shown(vendor);
        assert_eq!(shown.len(), 2, "{vendor}");
        assert!(shown[0].replaces.is_some(), "{vendor}");
        assert_eq!(shown[0].replaces, shown[1].replaces, "{vendor}");
        assert_ne!(shown[0].push_id, shown[1].push_id, "{vendor}");
        assert_eq!(shown[1].title, "Mina", "{vendor}");
        assert_eq!(shown[1].body, "This message was recalled", "{vendor}");
        assert_eq!(withdraw(&relay, &taken["message_id"]).await["replaced_by"], Value::Null);
        assert_eq!(sims.shown(vendor).len(), 2, "{vendor}: once only");
    }
    relay.ledger().await;
}

#[tokio::test]
async fn only_phones_that_showed_the_message_are_told() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    replacing(&relay).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    let shown_on = relay.device("joon", "fcm", cert_id, 1).await;
    relay.device("joon", "fcm", cert_id, 2).await;
    relay.device("sora", "fcm", cert_id, 3).await;
    let state = |user: &str, n: u8| relay.path(&format!("/users/{user}/devices/fcm-{n}/state"));
    relay.admin.post(&state("joon", 2), &json!({ "state": "foreground" })).await;
    relay.admin.post(&state("sora", 3), &json!({ "state": "logged_out" })).await;
    let mut message = text("mina", "joon", 1, "a slip");
    message["To_Account"] = json!(["joon", "sora"]);
    let taken = relay.send(&message).await;
    relay.settled(&taken["message_id"]).await;
    relay.admin.post(&state("joon", 2), &json!({ "state": "background" })).await;
    let answer = withdraw(&relay, &taken["message_id"]).await;
    let explained = relay.settled(&answer["replaced_by"]).await;
    assert_eq!(explained["deliveries"].as_array().map(Vec::len), Some(1));
    let shown = sims.shown("fcm");
    assert_eq!(shown.len(), 2);
    assert!(shown.iter().all(|shown| shown.token == shown_on));
    // Nobody saw this one.
    let silent = relay.send(&text("mina", "sora", 2, "a slip")).await;
    relay.settled(&silent["message_id"]).await;
    assert_eq!(withdraw(&relay, &silent["message_id"]).await["replaced_by"], Value::Null);
    relay.ledger().await;
}

#[tokio::test]
async fn without_the_setting_only_what_waits_is_cancelled() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    let sent = relay.send(&text("mina", "joon", 1, "a slip")).await;
    relay.settled(&sent["message_id"]).await;
    assert_eq!(withdraw(&relay, &sent["message_id"]).await["replaced_by"], Value::Null);
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    let waiting = relay.send(&text("mina", "joon", 2, "another")).await;
    withdraw(&relay, &waiting["message_id"]).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/resume"), &json!({})).await;
    let explained = relay.settled(&waiting["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "cancelled");
    assert_eq!(sims.shown("fcm").len(), 1);
}
