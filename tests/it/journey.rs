//! From a chat server's event to a phone, on the whole relay and strict simulators.

use serde_json::json;

use crate::harness::{Relay, Sims, VENDORS, text};

mod batches;
mod credentials;
mod devices;
mod once;

/// One vendor's whole way: event, phone, explain, ledger.
async fn journey(vendor: &str) {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, vendor).await;
    let token = relay.device("joon", vendor, cert_id, 1).await;
    let mut message = text("mina", "joon", 7, "see you at nine");
    message["FromNick"] = json!("Mina");
    let taken = relay.send(&message).await;
    assert_eq!(taken["status"], "accepted");
    let explained = relay.settled(&taken["message_id"]).await;
    let delivery = &explained["deliveries"][0];
    assert_eq!(delivery["state"], "pushed", "{explained:#}");
    assert_eq!(delivery["vendor"], vendor);
    assert_eq!(delivery["cert_id"], cert_id);
    assert_eq!(delivery["attempts"][0]["verdict"], "accepted");
    let shown = sims.shown(vendor);
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].token, token);
    assert_eq!((shown[0].title.as_str(), shown[0].body.as_str()), ("Mina", "see you at nine"));
    let ledger = relay.ledger().await;
    assert_eq!((&ledger["accepted"], &ledger["terminals"]["pushed"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn an_event_rings_an_apple_phone() {
    journey("apns").await;
}

#[tokio::test]
async fn an_event_rings_an_fcm_phone() {
    journey("fcm").await;
}

#[tokio::test]
async fn an_event_rings_a_huawei_phone() {
    journey("huawei").await;
}

#[tokio::test]
async fn an_event_rings_a_xiaomi_phone() {
    journey("xiaomi").await;
}

#[tokio::test]
async fn an_event_rings_an_oppo_phone() {
    journey("oppo").await;
}

#[tokio::test]
async fn every_vendor_has_a_journey() {
    let names: Vec<_> = offpush::vendor::ALL.iter().map(|vendor| vendor.profile().name).collect();
    assert_eq!(names, VENDORS);
}
