//! Waits that vendors ask for: in seconds, as a date, and none at all.

use std::time::Duration;

use offpush::model::time::UnixMs;
use serde_json::{Value, json};

use crate::faults::fault;
use crate::harness::{VENDORS, text, until};
use crate::stage::Stage;

/// Seconds between the attempt and the next try it announces.
fn wait_s(delivery: &Value) -> f64 {
    let at = |value: &Value| {
        let text = value.as_str().expect("a time");
        text.parse::<jiff::Timestamp>().expect("a time").as_millisecond() as f64
    };
    (at(&delivery["retry_at"]) - at(&delivery["attempts"][0]["at"])) / 1_000.0
}

/// One answer that asks to wait; the relay waits so long and then pushes.
async fn honours(vendor: &str, action: Value, seconds: std::ops::Range<f64>, slows: bool) {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, vendor).await;
    let token = relay.device("joon", vendor, cert_id, 1).await;
    fault(&stage, json!({ "match": { "token": token, "times": 1 }, "action": action }));
    let taken = relay.send(&text("mina", "joon", 1, "later")).await;
    until("the attempt is in the trace", async || {
        let explained = relay.explain(&taken["message_id"]).await;
        explained["deliveries"][0]["retry_at"].is_string()
    })
    .await;
    let delivery = relay.explain(&taken["message_id"]).await["deliveries"][0].clone();
    let waits = wait_s(&delivery);
    assert!(seconds.contains(&waits), "{vendor} {action} waits {waits}: {delivery:#}");
    if slows {
        until("the lane is slowed", async || {
            let lanes = relay.admin.get("/v1/lanes").await;
            lanes["lanes"][0]["condition"] == "slowed"
        })
        .await;
    }
    stage.pass(&relay, Duration::from_secs_f64(waits - 1.0));
    // A second look at the lane and at the store, and still nothing: it is not due.
    for _ in 0..50 {
        relay.admin.get("/v1/lanes").await;
    }
    assert!(stage.sims.shown(vendor).is_empty(), "{vendor} {action}: too early");
    stage.pass(&relay, Duration::from_secs(1));
    stage.settle(&relay, Duration::ZERO).await;
    let explained = relay.explain(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed");
    assert_eq!(stage.sims.shown(vendor).len(), 1);
}

#[tokio::test]
async fn a_wait_in_seconds_is_honoured_after_429_and_503() {
    for vendor in VENDORS {
        let throttled = json!({ "status": 429, "retry_after": 40 });
        honours(vendor, throttled, 40.0..40.5, true).await;
        let unavailable = json!({ "status": 503, "retry_after": 40 });
        honours(vendor, unavailable, 40.0..40.5, false).await;
    }
}

#[tokio::test]
async fn a_wait_as_a_date_is_honoured() {
    for vendor in VENDORS {
        // A date knows no fractions of a second.
        let action = json!({ "status": 429, "retry_after_date_s": 40 });
        honours(vendor, action, 38.9..40.5, true).await;
    }
}

#[tokio::test]
async fn a_wait_that_cannot_be_read_is_replaced_by_our_own() {
    for vendor in VENDORS {
        let action = json!({ "status": 429, "retry_after": "soon" });
        honours(vendor, action, 1.0..61.0, true).await;
    }
}

#[tokio::test]
async fn a_throttled_message_that_outlives_its_time_expires_and_is_not_sent() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    fault(
        &stage,
        json!({ "vendor": "fcm", "match": { "path": "/v1/projects" },
            "action": { "status": 429, "retry_after": 3_600 } }),
    );
    let mut message = text("mina", "joon", 1, "stale");
    message["MsgLifeTime"] = json!(60);
    let taken = relay.send(&message).await;
    until("it is throttled", async || {
        let explained = relay.explain(&taken["message_id"]).await;
        explained["deliveries"][0]["attempts"] != json!([])
    })
    .await;
    let before: UnixMs = stage.clock.now();
    let ledger = stage.settle(&relay, Duration::from_secs(10)).await;
    assert!(stage.clock.now().since(before) < Duration::from_secs(120));
    assert_eq!(ledger["terminals"], json!({ "expired": 1 }));
}

#[tokio::test]
async fn what_waits_is_not_held_up_by_a_clock_that_is_set_back() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "fcm").await;
    let token = relay.device("joon", "fcm", cert_id, 1).await;
    let later = json!({ "status": 503, "retry_after": 40 });
    fault(&stage, json!({ "match": { "token": token, "times": 1 }, "action": later }));
    let taken = relay.send(&text("mina", "joon", 1, "later")).await;
    until("it waits", async || {
        let explained = relay.explain(&taken["message_id"]).await;
        explained["deliveries"][0]["retry_at"].is_string()
    })
    .await;
    let before = stage.clock.now();
    stage.clock.set_back(Duration::from_secs(3_600));
    stage.pass(&relay, Duration::ZERO);
    let ledger = stage.settle(&relay, Duration::ZERO).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 1 }));
    assert!(stage.clock.now() < before);
}

#[tokio::test]
async fn a_long_wait_of_one_device_holds_up_no_other_of_its_parcel() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "fcm").await;
    for (number, action) in
        [(1, json!({ "status": 503, "retry_after": 3_600 })), (2, json!({ "status": 503 }))]
    {
        let token = relay.device("joon", "fcm", cert_id, number).await;
        fault(&stage, json!({ "match": { "token": token, "times": 1 }, "action": action }));
    }
    let taken = relay.send(&text("mina", "joon", 1, "later")).await;
    let state = async |device: usize| {
        let explained = relay.explain(&taken["message_id"]).await;
        explained["deliveries"][device].clone()
    };
    until("both wait", async || {
        state(0).await["retry_at"].is_string() && state(1).await["retry_at"].is_string()
    })
    .await;
    for _ in 0..60 {
        stage.pass(&relay, Duration::from_secs(1));
        relay.admin.get("/v1/lanes").await;
    }
    until("the other rings", async || state(1).await["state"] == "pushed").await;
    assert_eq!(state(0).await["state"], "in_flight");
    let ledger = stage.settle(&relay, Duration::from_secs(600)).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 2 }));
    assert_eq!(state(0).await["attempts"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn an_early_look_tries_each_once_however_little_a_lane_holds() {
    let stage = Stage::new(|settings| {
        settings.queue.parcels_in_memory = 2;
        settings.lanes.breaker_failures = 1_000;
        settings.lanes.backoff_base_ms = 60_000;
    })
    .await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    let fails = json!({ "status": 503 });
    fault(&stage, json!({ "vendor": "fcm", "match": { "path": "/v1/projects" }, "action": fails }));
    let mut ids = Vec::new();
    for random in 0..10 {
        ids.push(relay.send(&text("mina", "joon", random, "hi")).await["message_id"].clone());
    }
    let tries = async || {
        let mut tries = Vec::new();
        for id in &ids {
            let explained = relay.explain(id).await;
            tries.push(explained["deliveries"][0]["attempts"].as_array().map_or(0, Vec::len));
        }
        tries
    };
    until("each was tried", async || tries().await.iter().all(|tries| *tries == 1)).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/resume"), &json!({})).await;
    until("each was tried once more", async || tries().await.iter().all(|tries| *tries >= 2)).await;
    for _ in 0..50 {
        relay.admin.get("/v1/lanes").await;
    }
    assert_eq!(tries().await, [2; 10]);
}
