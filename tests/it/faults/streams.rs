//! HTTP/2 connections that shrink, close and move while requests are on their way.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::fault;
use crate::harness::{Relay, text, until};
use crate::stage::Stage;

/// Messages of one test.
const MESSAGES: u32 = 40;

/// Vendors that are asked once for every device, many at a time.
const MANY_STREAMS: [&str; 2] = ["apns", "fcm"];

/// Where pushes go, so that sign-ins are left alone.
fn pushes(vendor: &str) -> &'static str {
    if vendor == "apns" { "/3/device" } else { "/v1/projects" }
}

async fn send_all(relay: &Relay) -> Vec<Value> {
    let mut ids = Vec::new();
    for random in 0..MESSAGES {
        ids.push(relay.send(&text("mina", "joon", random, "hello")).await["message_id"].clone());
    }
    ids
}

/// Everything was pushed, shown once, and taken at the first attempt.
async fn all_at_once(stage: &Stage, relay: &Relay, vendor: &str, ids: &[Value]) {
    let ledger = stage.settle(relay, Duration::ZERO).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": MESSAGES }), "{vendor}");
    for id in ids {
        let explained = relay.explain(id).await;
        let attempts = &explained["deliveries"][0]["attempts"];
        assert_eq!(attempts.as_array().expect("attempts").len(), 1, "{vendor}: {attempts:#}");
    }
    let shown = stage.sims.shown(vendor);
    let different: HashSet<_> = shown.iter().map(|shown| &shown.push_id).collect();
    assert_eq!((shown.len(), different.len()), (MESSAGES as usize, MESSAGES as usize), "{vendor}");
}

#[tokio::test]
async fn a_connection_that_shrinks_to_one_stream_loses_nothing() {
    for vendor in MANY_STREAMS {
        let stage = Stage::new(|_| {}).await;
        let relay = stage.first().await;
        let cert_id = relay.certificate(&stage.sims, vendor).await;
        relay.device("joon", vendor, cert_id, 1).await;
        fault(
            &stage,
            json!({ "vendor": vendor, "match": { "path": pushes(vendor), "nth": 3 },
                "action": { "streams": 1 } }),
        );
        let ids = send_all(&relay).await;
        all_at_once(&stage, &relay, vendor, &ids).await;
        assert_eq!(stage.sims.server.faults().list()[0].fired, 1, "{vendor}");
    }
}

/// A relay whose messages wait, for connections that have no streams any more: each served what it
/// had begun, then others were opened, then none was left.
async fn without_streams(vendor: &str) -> (Stage, Relay, Vec<Value>) {
    let stage = Stage::new(|settings| settings.lanes.request_deadline_s = 300).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, vendor).await;
    relay.device("joon", vendor, cert_id, 1).await;
    fault(
        &stage,
        json!({ "vendor": vendor, "match": { "path": pushes(vendor) },
            "action": { "streams": 0 } }),
    );
    let ids = send_all(&relay).await;
    let mut before = (0, 0);
    until("the relay waits", async || {
        relay.admin.get("/v1/lanes").await;
        let now = stage.sims.server.phones().rung(vendor);
        before = if now == before.0 { (now, before.1 + 1) } else { (now, 0) };
        now > 0 && before.1 > 200
    })
    .await;
    (stage, relay, ids)
}

#[tokio::test]
async fn connections_without_streams_are_waited_for_until_they_have_some_again() {
    for vendor in MANY_STREAMS {
        let (stage, relay, ids) = without_streams(vendor).await;
        let served = || stage.sims.server.phones().rung(vendor);
        assert!(served() < u64::from(MESSAGES), "{vendor}: {} were served", served());
        assert_eq!(stage.sims.server.connections(), 8, "{vendor}: as many as a lane may have");
        stage.sims.server.faults().clear();
        all_at_once(&stage, &relay, vendor, &ids).await;
    }
}

#[tokio::test]
async fn what_waited_for_a_connection_is_looked_at_once_more_before_it_goes() {
    for vendor in MANY_STREAMS {
        let (stage, relay, ids) = without_streams(vendor).await;
        let rung = || stage.sims.server.phones().rung(vendor);
        for id in &ids {
            let path = relay.path(&format!("/messages/{}", id.as_str().expect("an id")));
            relay.admin.call("DELETE", &path, &Value::Null).await;
        }
        stage.pass(&relay, Duration::from_secs(1));
        let rang = rung();
        stage.sims.server.faults().clear();
        let ledger = stage.settle(&relay, Duration::ZERO).await;
        let terminals = json!({ "pushed": rang, "cancelled": u64::from(MESSAGES) - rang });
        assert_eq!(ledger["terminals"], terminals, "{vendor}");
        assert_eq!(rung(), rang, "{vendor}");
    }
}

#[tokio::test]
async fn streams_that_a_goaway_leaves_unprocessed_are_repeated_at_once_and_ring_once() {
    for vendor in MANY_STREAMS {
        let stage = Stage::new(|_| {}).await;
        let relay = stage.first().await;
        let cert_id = relay.certificate(&stage.sims, vendor).await;
        relay.device("joon", vendor, cert_id, 1).await;
        let last_words = json!({ "reason": "Shutdown" }).to_string();
        fault(
            &stage,
            json!({ "vendor": vendor, "match": { "path": pushes(vendor), "nth": 5 },
                "action": { "goaway_before_next": last_words } }),
        );
        let ids = send_all(&relay).await;
        all_at_once(&stage, &relay, vendor, &ids).await;
        assert_eq!(stage.sims.server.faults().list()[0].fired, 1, "{vendor}");
        assert!(stage.sims.server.connections() > 1, "{vendor}: they moved");
    }
}

#[tokio::test]
async fn a_server_that_says_it_leaves_is_left_for_another_connection() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "apns").await;
    let token = relay.device("joon", "apns", cert_id, 1).await;
    let busy = json!({ "status": 503, "body": { "reason": "ServiceUnavailable" } });
    let leaving = json!({ "status": 503, "body": { "reason": "Shutdown" } });
    for (action, connections) in [(busy, 1), (leaving, 2)] {
        fault(&stage, json!({ "match": { "token": token, "times": 1 }, "action": action }));
        relay.send(&text("mina", "joon", connections, "hello")).await;
        stage.settle(&relay, Duration::from_secs(1)).await;
        assert_eq!(stage.sims.server.connections(), u64::from(connections), "{action}");
        stage.sims.server.faults().clear();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendor_that_reads_no_more_is_left_for_another_connection() {
    let stage = Stage::new(|settings| settings.lanes.request_deadline_s = 1).await;
    let relay = stage.first().await;
    for vendor in crate::harness::VENDORS {
        let cert_id = relay.certificate(&stage.sims, vendor).await;
        let token = relay.device("joon", vendor, cert_id, 1).await;
        let action = json!({ "stop_reading": true });
        fault(&stage, json!({ "match": { "token": token, "times": 1 }, "action": action }));
    }
    let taken = relay.send(&text("mina", "joon", 1, "is anybody there")).await;
    stage.settle(&relay, Duration::from_millis(10)).await;
    let explained = relay.explain(&taken["message_id"]).await;
    for delivery in explained["deliveries"].as_array().expect("deliveries") {
        let attempts = delivery["attempts"].as_array().expect("attempts");
        let verdicts: Vec<_> = attempts.iter().map(|one| one["verdict"].clone()).collect();
        // A machine that stands still for a second makes one more of the first kind.
        let (last, first) = verdicts.split_last().expect("attempts");
        assert!(!first.is_empty() && first.iter().all(|one| one == "unknown"), "{delivery:#}");
        assert_eq!(last, "accepted", "{delivery:#}");
    }
}
