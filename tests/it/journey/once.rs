//! One message, many receivers, posted more than once: each phone rings exactly once.

use std::collections::HashMap;
use std::sync::Arc;

use offpush::config::sections::Engine;
use serde_json::{Value, json};

use crate::harness::{Relay, Sims, text, token_of, until};

/// A group message to these receivers.
fn to_group(receivers: &[String], random: u32) -> Value {
    json!({ "From_Account": "mina", "GroupId": "climbers", "To_Account": receivers,
            "MsgSeq": 1, "MsgRandom": random,
            "MsgBody": [{ "MsgType": "TIMTextElem", "MsgContent": { "Text": "up at six" } }] })
}

/// How often each token rang.
fn rings(sims: &Sims, vendor: &str) -> HashMap<String, usize> {
    let mut rings = HashMap::new();
    for shown in sims.shown(vendor) {
        *rings.entry(shown.token).or_default() += 1;
    }
    rings
}

#[tokio::test]
async fn a_thousand_xiaomi_and_a_thousand_huawei_phones_are_one_request_each() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let mut members = Vec::new();
    for vendor in ["xiaomi", "huawei"] {
        let cert_id = relay.certificate(&sims, vendor).await;
        for number in 0..1_000 {
            let user = format!("{vendor}{number}");
            relay.device(&user, vendor, cert_id, 1).await;
            members.push(user);
        }
    }
    // A message names at most 1,000 receivers; the chat server splits, the relay joins nothing.
    for receivers in members.chunks(1_000) {
        let taken = relay.send(&to_group(receivers, 5)).await;
        assert_eq!(taken["status"], "accepted");
        relay.settled(&taken["message_id"]).await;
    }
    for vendor in ["xiaomi", "huawei"] {
        assert_eq!(sims.server.phones().requests(vendor), 1, "{vendor}");
        let rings = rings(&sims, vendor);
        assert_eq!(rings.len(), 1_000, "{vendor}");
        assert!(rings.values().all(|times| *times == 1), "{vendor}");
    }
    let ledger = relay.ledger().await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 2_000 }));
}

#[tokio::test]
async fn one_message_to_both_kinds_of_phone_is_one_request_each() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let mut members = Vec::new();
    for vendor in ["xiaomi", "huawei"] {
        let cert_id = relay.certificate(&sims, vendor).await;
        for number in 0..500 {
            let user = format!("user{number}");
            relay.device(&user, vendor, cert_id, 1).await;
            if vendor == "xiaomi" {
                members.push(user);
            }
        }
    }
    let taken = relay.send(&to_group(&members, 6)).await;
    relay.settled(&taken["message_id"]).await;
    for vendor in ["xiaomi", "huawei"] {
        assert_eq!(sims.server.phones().requests(vendor), 1, "{vendor}");
        assert_eq!(rings(&sims, vendor).len(), 500, "{vendor}");
    }
}

/// The same message twice, and once more after a restart, rings once.
async fn a_repeat_rings_once(engine: Engine) {
    let sims = Sims::start().await;
    let mut relay = Relay::start_with(&sims, engine, |_| {}).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    let message = text("mina", "joon", 11, "once");
    let first = relay.send(&message).await;
    assert_eq!(first["status"], "accepted");
    let again = relay.send(&message).await;
    assert_eq!((&again["status"], &again["of"]), (&json!("duplicate"), &first["message_id"]));
    relay = relay.restart().await;
    let after = relay.send(&message).await;
    assert_eq!((&after["status"], &after["of"]), (&json!("duplicate"), &first["message_id"]));
    relay.settled(&first["message_id"]).await;
    assert_eq!(relay.ledger().await["accepted"], 1);
    assert_eq!(sims.shown("fcm").len(), 1);
    // Nobody waits for the trace of a repeat: it is written a little later.
    let id = after["message_id"].as_str().expect("an id");
    let path = relay.path(&format!("/messages/{id}/explain"));
    until("the repeat left a trace", async || {
        relay.admin.call("GET", &path, &json!({})).await.status == 200
    })
    .await;
    let explained = relay.explain(&after["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["reason"], "duplicate");
    assert_eq!(explained["deliveries"][0]["duplicate_of"], first["message_id"]);
    relay.stop().await;
}

#[tokio::test]
async fn a_repeat_rings_once_also_across_a_restart_on_sled() {
    a_repeat_rings_once(Engine::Sled).await;
}

#[tokio::test]
async fn a_repeat_rings_once_also_across_a_restart_on_redb() {
    a_repeat_rings_once(Engine::Redb).await;
}

#[tokio::test]
async fn overlapping_calls_ring_each_receiver_exactly_once() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "huawei").await;
    let users: Vec<String> = ["ada", "ben", "cho", "dai"].map(String::from).to_vec();
    for user in &users {
        relay.device(user, "huawei", cert_id, 1).await;
    }
    let first = relay.send(&to_group(&users[..3], 9)).await;
    let second = relay.send(&to_group(&users[1..], 9)).await;
    assert_eq!((&first["status"], &second["status"]), (&json!("accepted"), &json!("accepted")));
    let explained = relay.settled(&second["message_id"]).await;
    relay.settled(&first["message_id"]).await;
    let rings = rings(&sims, "huawei");
    for user in &users {
        assert_eq!(rings.get(&token_of("huawei", user, 1)), Some(&1), "{user}");
    }
    for delivery in explained["deliveries"].as_array().expect("deliveries") {
        let expected = if delivery["user"] == "dai" { "pushed" } else { "suppressed" };
        assert_eq!(delivery["state"], expected, "{delivery:#}");
    }
    assert_eq!(relay.ledger().await["terminals"]["suppressed"]["duplicate"], 2);
}

/// Rotating under load: what is queued, at the vendor and on its way all rings, and rings once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotating_a_certificate_under_load_drops_nothing_and_rings_nothing_twice() {
    const SENDERS: u32 = 8;
    const EACH: u32 = 40;
    let sims = Sims::start().await;
    let relay = Arc::new(Relay::start(&sims).await);
    let cert_id = relay.certificate(&sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let relay = relay.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    let random = sender * EACH + number;
                    let from = format!("sender{sender}");
                    let taken = relay.send(&text(&from, "joon", random, "load")).await;
                    assert_eq!(taken["status"], "accepted");
                }
            })
        })
        .collect();
    let credential = sims.upload("fcm")["credential"].clone();
    let path = relay.path(&format!("/certificates/{cert_id}"));
    let mut rotations = 0;
    while senders.iter().any(|sender| !sender.is_finished()) || rotations < 3 {
        relay.admin.put(&path, &json!({ "credential": credential })).await;
        rotations += 1;
    }
    for sender in senders {
        sender.await.expect("a sender");
    }
    let expected = u64::from(SENDERS * EACH);
    assert_eq!(relay.ledger().await["terminals"], json!({ "pushed": expected }));
    let shown = sims.shown("fcm");
    let ids: std::collections::HashSet<_> = shown.iter().map(|shown| &shown.push_id).collect();
    assert_eq!((shown.len() as u64, ids.len() as u64), (expected, expected));
}
