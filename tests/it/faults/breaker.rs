//! A vendor that is down: the breaker opens, probes, closes, and other lanes never notice.

use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::fault;
use crate::harness::{Relay, text, until};
use crate::stage::Stage;

async fn condition(relay: &Relay, cert_id: u64) -> Value {
    let lanes = relay.admin.get("/v1/lanes").await;
    let lanes = lanes["lanes"].as_array().expect("lanes").clone();
    let lane = lanes.into_iter().find(|lane| lane["cert_id"] == cert_id);
    lane.map_or(Value::Null, |lane| lane["condition"].clone())
}

#[tokio::test]
async fn a_vendor_that_is_down_opens_its_breaker_and_is_probed_until_it_answers() {
    let stage = Stage::new(|settings| settings.lanes.breaker_failures = 3).await;
    let relay = stage.first().await;
    let down = relay.certificate(&stage.sims, "huawei").await;
    let well = relay.certificate(&stage.sims, "xiaomi").await;
    relay.device("joon", "huawei", down, 1).await;
    relay.device("jiho", "xiaomi", well, 1).await;
    fault(
        &stage,
        json!({ "vendor": "huawei", "match": { "path": "/v1" }, "action": { "status": 500 } }),
    );
    for random in 0..20 {
        relay.send(&text("mina", "joon", random, "down")).await;
    }
    until("the breaker is open", async || condition(&relay, down).await == "breaker_open").await;
    let ready = relay.admin.get("/readyz").await;
    assert_eq!((&ready["status"], &ready["breakers_open"]), (&json!("ready"), &json!(1)));
    // The other lane works, and the count of its requests shows that it is not held up.
    for random in 0..20 {
        let taken = relay.send(&text("mina", "jiho", random, "well")).await;
        relay.settled(&taken["message_id"]).await;
    }
    assert_eq!(stage.sims.shown("xiaomi").len(), 20);
    assert_eq!(condition(&relay, well).await, "running");
    // Open, only probes go out: minutes of outage cost a handful of requests, not hundreds.
    let before = stage.sims.server.phones().requests("huawei");
    for _ in 0..60 {
        stage.pass(&relay, Duration::from_secs(1));
        relay.admin.get("/v1/lanes").await;
    }
    let asked = stage.sims.server.phones().requests("huawei") - before;
    assert!((1..=12).contains(&asked), "{asked} requests in a minute");
    assert!(stage.sims.shown("huawei").is_empty());
    stage.sims.server.faults().clear();
    let ledger = stage.settle(&relay, Duration::from_secs(5)).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 40 }));
    assert_eq!(stage.sims.shown("huawei").len(), 20);
    until("the breaker is closed", async || condition(&relay, down).await == "running").await;
    assert_eq!(relay.admin.get("/readyz").await["breakers_open"], 0);
}

#[tokio::test]
async fn what_expires_behind_an_open_breaker_does_not_close_it() {
    let stage = Stage::new(|settings| settings.lanes.breaker_failures = 2).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    let action = json!({ "status": 500 });
    fault(
        &stage,
        json!({ "vendor": "fcm", "match": { "path": "/v1/projects" }, "action": action }),
    );
    for random in 0..2 {
        relay.send(&text("mina", "joon", random, "opens it")).await;
    }
    until("the breaker is open", async || condition(&relay, cert_id).await == "breaker_open").await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    let mut message = text("mina", "joon", 9, "short");
    message["MsgLifeTime"] = json!(1);
    let taken = relay.send(&message).await;
    stage.pass(&relay, Duration::from_secs(2));
    let explained = relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "expired");
    let ready = relay.admin.get("/readyz").await;
    assert_eq!(ready["breakers_open"], 0, "a paused lane shows as paused");
    let requests = stage.sims.server.phones().requests("fcm");
    relay.admin.post(&format!("/v1/lanes/{cert_id}/resume"), &json!({})).await;
    until("a probe went out", async || {
        stage.pass(&relay, Duration::from_millis(100));
        relay.admin.get("/healthz").await;
        stage.sims.server.phones().requests("fcm") > requests
    })
    .await;
    until("it is still open", async || condition(&relay, cert_id).await == "breaker_open").await;
    stage.sims.server.faults().clear();
    stage.settle(&relay, Duration::from_secs(5)).await;
}
