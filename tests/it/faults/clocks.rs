//! A vendor whose clock differs from ours: what it refuses for that is kept, says so, breaks no
//! certificate, and goes out when the clocks agree again.

use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::{fault, lane, when_passing};
use crate::harness::{Relay, text};
use crate::stage::Stage;

async fn one_item(relay: &Relay, item: &str) -> Value {
    let checkup = relay.admin.get(&relay.path("/users/joon/doctor")).await;
    let items = checkup["items"].as_array().expect("items").clone();
    items.into_iter().find(|one| one["item"] == item).expect("the item")
}

/// The vendor's clock is ahead of ours by so much, and it refuses us for it in these words.
async fn refused(vendor: &str, ahead_s: i64, words: &[&str]) {
    let what = format!("{vendor}, {ahead_s} s ahead");
    let stage = Stage::new(|settings| settings.lanes.breaker_failures = 2).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, vendor).await;
    relay.device("joon", vendor, cert_id, 1).await;
    fault(&stage, json!({ "vendor": vendor, "action": { "clock_ahead_s": ahead_s } }));
    let taken = relay.send(&text("mina", "joon", 1, "what time is it")).await;
    let open = async || lane(&relay, cert_id).await["condition"] == "breaker_open";
    when_passing(&stage, &relay, &what, open).await;
    let explained = relay.explain(&taken["message_id"]).await;
    let delivery = &explained["deliveries"][0];
    assert_eq!(delivery["state"], "in_flight", "{what}");
    let attempts = delivery["attempts"].as_array().expect("attempts");
    let last = attempts.last().expect("an attempt");
    assert_eq!((&last["code"], &last["verdict"]), (&json!("clock_skew"), &json!("unavailable")));
    let said = last["vendor_says"].as_str().expect("words");
    assert!(words.iter().all(|word| said.contains(word)), "{what}: {said}");
    let advice = delivery["advice"].as_str().expect("advice");
    assert!(advice.contains("this machine's clock"), "{what}: {advice}");
    let item = one_item(&relay, "vendor_answers").await;
    assert_eq!(item["status"], "warning", "{what}: {item:#}");
    assert!(item["advice"].as_str().expect("advice").contains("this machine's clock"), "{what}");
    let why = lane(&relay, cert_id).await["why"].as_str().expect("why").to_owned();
    assert!(why.starts_with("clock_skew"), "{what}: {why}");
    let path = relay.path(&format!("/certificates/{cert_id}"));
    assert_eq!(relay.admin.get(&path).await["status"], "active", "{what}");
    let verified = relay.admin.post(&format!("{path}/verify"), &json!({})).await;
    assert_eq!(
        (&verified["ok"], &verified["code"]),
        (&json!(false), &json!("clock_skew")),
        "{what}"
    );
    let metrics = relay.admin.get("/metrics").await;
    let counted = format!(r#"offpush_clock_refusals_total{{vendor="{vendor}"}} "#);
    let counted = metrics.as_str().expect("text").lines().find_map(|l| l.strip_prefix(&counted));
    assert_ne!(counted.expect("a series"), "0", "{what}");
    stage.sims.server.faults().clear();
    let ledger = stage.settle(&relay, Duration::from_secs(5)).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 1 }), "{what}");
    assert_eq!(stage.sims.shown(vendor).len(), 1, "{what}");
}

/// The same difference does no harm here.
async fn harmless(vendor: &str, ahead_s: i64) {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, vendor).await;
    relay.device("joon", vendor, cert_id, 1).await;
    fault(&stage, json!({ "vendor": vendor, "action": { "clock_ahead_s": ahead_s } }));
    let taken = relay.send(&text("mina", "joon", 1, "never mind")).await;
    let explained = relay.settled(&taken["message_id"]).await;
    let attempts = &explained["deliveries"][0]["attempts"];
    assert_eq!(attempts.as_array().expect("attempts").len(), 1, "{vendor} {ahead_s}: {attempts:#}");
    assert_eq!(attempts[0]["verdict"], "accepted", "{vendor} {ahead_s}");
}

#[tokio::test]
async fn apns_refuses_tokens_of_another_time() {
    refused("apns", 7_200, &["ExpiredProviderToken", "ahead of ours"]).await;
    refused("apns", 3_700, &["ExpiredProviderToken", "61 min ahead of ours"]).await;
    refused("apns", -300, &["InvalidProviderToken", "behind ours"]).await;
    refused("apns", -3_600, &["InvalidProviderToken", "behind ours"]).await;
    harmless("apns", 300).await;
}

#[tokio::test]
async fn google_refuses_assertions_of_another_time() {
    refused("fcm", 7_200, &["invalid_grant", "iat and exp", "ahead of ours"]).await;
    refused("fcm", -300, &["invalid_grant", "iat and exp", "behind ours"]).await;
    refused("fcm", -3_600, &["invalid_grant", "iat and exp", "behind ours"]).await;
    harmless("fcm", 300).await;
}

#[tokio::test]
async fn oppo_refuses_signatures_of_another_time() {
    refused("oppo", 3_600, &["19", "Invalid Timestamp", "ahead of ours"]).await;
    refused("oppo", -3_600, &["19", "Invalid Timestamp", "behind ours"]).await;
    harmless("oppo", 300).await;
    harmless("oppo", -300).await;
}

#[tokio::test]
async fn huawei_and_xiaomi_do_not_look_at_our_clock() {
    for vendor in ["huawei", "xiaomi"] {
        for ahead_s in [-3_600, -300, 300, 3_600] {
            harmless(vendor, ahead_s).await;
        }
    }
}

#[tokio::test]
async fn a_clock_that_jumps_costs_one_renewal_of_huaweis_token() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "huawei").await;
    relay.device("joon", "huawei", cert_id, 1).await;
    let taken = relay.send(&text("mina", "joon", 1, "before")).await;
    relay.settled(&taken["message_id"]).await;
    fault(&stage, json!({ "vendor": "huawei", "action": { "clock_ahead_s": 7_200 } }));
    let taken = relay.send(&text("mina", "joon", 2, "after")).await;
    stage.settle(&relay, Duration::from_millis(100)).await;
    let explained = relay.explain(&taken["message_id"]).await;
    let attempts = explained["deliveries"][0]["attempts"].as_array().expect("attempts").clone();
    let verdicts: Vec<_> = attempts.iter().map(|one| one["verdict"].clone()).collect();
    assert_eq!(verdicts, ["auth_rejected", "accepted"], "{attempts:#?}");
}

#[tokio::test]
async fn a_wrong_key_is_no_matter_of_clocks() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "apns").await;
    relay.device("joon", "apns", cert_id, 1).await;
    let body = json!({ "reason": "InvalidProviderToken" });
    fault(&stage, json!({ "vendor": "apns", "action": { "status": 403, "body": body } }));
    relay.send(&text("mina", "joon", 1, "wrong")).await;
    let path = relay.path(&format!("/certificates/{cert_id}"));
    let broken = async || relay.admin.get(&path).await["status"] == "broken";
    when_passing(&stage, &relay, "the certificate is broken", broken).await;
    let why = relay.admin.get(&path).await["broken"].as_str().expect("why").to_owned();
    assert!(why.contains("InvalidProviderToken") && !why.contains("clock"), "{why}");
}
