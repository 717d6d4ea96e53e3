//! Retries end with the message's life, in dead letters that keep the vendor's last words and can
//! be sent again.

use std::time::Duration;

use offpush::app::housekeeping::remove_letters;
use offpush::store::faulty::Hold;
use serde_json::{Value, json};

use crate::faults::fault;
use crate::harness::{Relay, VENDORS, text, until};
use crate::stage::Stage;

async fn a_dead_letter_and_its_replay(vendor: &str) {
    let stage = Stage::new(|settings| settings.lanes.backoff_base_ms = 500).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, vendor).await;
    let token = relay.device("joon", vendor, cert_id, 1).await;
    let action = json!({ "status": 500, "body": "out of order" });
    fault(&stage, json!({ "vendor": vendor, "match": { "token": token }, "action": action }));
    let mut message = text("mina", "joon", 1, "too long");
    message["MsgLifeTime"] = json!(120);
    let taken = relay.send(&message).await;
    let ledger = stage.settle(&relay, Duration::from_secs(1)).await;
    assert_eq!(ledger["terminals"], json!({ "dead_letter": 1 }), "{vendor}");
    let explained = relay.explain(&taken["message_id"]).await;
    let advice = explained["deliveries"][0]["advice"].as_str().expect("advice");
    assert!(advice.contains("replay it once the cause is gone"), "{vendor}: {advice}");
    assert!(!advice.contains("sent again"), "{vendor}: {advice}");
    let doctor = relay.admin.get(&relay.path("/users/joon/doctor")).await;
    assert!(!doctor.to_string().contains("sent again"), "{vendor}: {doctor:#}");
    let attempts = explained["deliveries"][0]["attempts"].as_array().expect("attempts").len();
    assert!((2..=60).contains(&attempts), "{vendor} was asked {attempts} times");
    let path = relay.path("/dead-letters");
    let letters = relay.admin.get(&path).await;
    let letter = &letters["dead_letters"][0];
    assert_eq!(letter["message_id"], taken["message_id"]);
    assert_eq!((&letter["status"], &letter["verdict"]), (&json!(500), &json!("unavailable")));
    assert!(!letter.to_string().contains(&token), "tokens show as a hash");
    // Sent again while the vendor is still out of order it comes back, with the same id.
    let replay = async |life_s: u64| -> Value {
        let body = json!({ "life_time_s": life_s });
        relay.admin.post(&format!("{path}/replay"), &body).await
    };
    assert_eq!(replay(60).await["replayed"], 1);
    let ledger = stage.settle(&relay, Duration::from_secs(1)).await;
    assert_eq!(ledger["terminals"], json!({ "dead_letter": 1 }), "{vendor}");
    stage.sims.server.faults().clear();
    assert_eq!(replay(3_600).await["replayed"], 1);
    assert_eq!(replay(3_600).await["replayed"], 0, "{vendor}: once is enough");
    let ledger = stage.settle(&relay, Duration::from_secs(1)).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 1 }), "{vendor}");
    assert_eq!(ledger["accepted"], 1);
    assert_eq!(stage.sims.shown(vendor).len(), 1);
    assert_eq!(relay.admin.get(&path).await["dead_letters"], json!([]));
    let explained = relay.explain(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
}

#[tokio::test]
async fn a_vendor_that_stays_down_makes_dead_letters_that_ring_once_it_is_back() {
    for vendor in VENDORS {
        a_dead_letter_and_its_replay(vendor).await;
    }
}

#[tokio::test]
async fn what_died_behind_an_open_breaker_keeps_the_vendors_last_words() {
    let stage = Stage::new(|settings| settings.lanes.breaker_failures = 1).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "huawei").await;
    relay.device("joon", "huawei", cert_id, 1).await;
    let action = json!({ "status": 500 });
    fault(&stage, json!({ "vendor": "huawei", "match": { "path": "/v1" }, "action": action }));
    let mut message = text("mina", "joon", 1, "late");
    message["MsgLifeTime"] = json!(30);
    let taken = relay.send(&message).await;
    until("it was tried", async || {
        let explained = relay.explain(&taken["message_id"]).await;
        explained["deliveries"][0]["attempts"] != json!([])
    })
    .await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    let ledger = stage.settle(&relay, Duration::from_secs(31)).await;
    assert_eq!(ledger["terminals"], json!({ "dead_letter": 1 }));
    let letters = relay.admin.get(&relay.path("/dead-letters")).await;
    assert_eq!(letters["dead_letters"][0]["status"], 500);
    // It counts as a push that failed, and so the chat server is told as well.
    let counted = relay.admin.get(&relay.path("/statistics")).await["total"].clone();
    assert_eq!((&counted["sendable"], &counted["sent"]), (&json!(1), &json!(0)), "{counted}");
    // A replay on a paused lane whose new life ends too is a dead letter no more: never tried.
    relay.admin.post(&relay.path("/dead-letters/replay"), &json!({ "life_time_s": 5 })).await;
    let ledger = stage.settle(&relay, Duration::from_secs(6)).await;
    assert_eq!(ledger["terminals"], json!({ "expired": 1 }));
}

/// So many users, each with a phone, whose only message died at the vendor.
async fn many_letters(stage: &Stage, relay: &Relay, users: usize) {
    let cert_id = relay.certificate(&stage.sims, "huawei").await;
    let receivers: Vec<_> = (0..users).map(|user| format!("u{user}")).collect();
    for user in &receivers {
        relay.device(user, "huawei", cert_id, 1).await;
    }
    let action = json!({ "status": 500 });
    fault(stage, json!({ "vendor": "huawei", "match": { "path": "/v1" }, "action": action }));
    let mut message = text("mina", "", 1, "late");
    message["To_Account"] = json!(receivers);
    message["MsgLifeTime"] = json!(60);
    relay.send(&message).await;
    let ledger = stage.settle(relay, Duration::from_secs(1)).await;
    assert_eq!(ledger["terminals"], json!({ "dead_letter": users }));
    stage.sims.server.faults().clear();
}

#[tokio::test]
async fn a_replay_that_takes_long_stops_in_time_and_says_that_there_is_more() {
    let stage = Stage::new(|settings| settings.http.request_timeout_s = 600).await;
    let mut first = stage.first().await;
    many_letters(&stage, &first, 300).await;
    first.stop().await;
    let view = stage.view();
    let relay = stage.try_start(&view).await.expect("a relay");
    let path = relay.path("/dead-letters/replay");
    view.hold_commits(Some(Hold::After));
    let body = json!({});
    let mut replaying = std::pin::pin!(relay.admin.post(&path, &body));
    let applied =
        until("a page is queued", async || relay.admin.get("/v1/ledger").await["in_flight"] == 256);
    tokio::select! {
        answer = &mut replaying => panic!("answered before the commit: {answer}"),
        () = applied => {}
    }
    stage.clock.skip(Duration::from_secs(300));
    view.hold_commits(None);
    let stopped = replaying.await;
    assert_eq!((&stopped["replayed"], &stopped["more"]), (&json!(256), &json!(true)));
    let rest = json!({ "cursor": stopped["cursor"] });
    let rest = relay.admin.post(&path, &rest).await;
    assert_eq!(rest, json!({ "replayed": 44, "more": false, "cursor": null }));
    let ledger = stage.settle(&relay, Duration::from_secs(1)).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 300 }));
}

#[tokio::test]
async fn dead_letters_are_forgotten_when_they_were_kept_long_enough() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    many_letters(&stage, &relay, 2).await;
    let api = &relay.app.as_ref().expect("running").api;
    let keep = Duration::from_secs(3_600);
    assert_eq!(remove_letters(api, keep).await.expect("removed"), 0);
    stage.pass(&relay, keep);
    assert_eq!(remove_letters(api, keep).await.expect("removed"), 2);
    assert_eq!(relay.admin.get(&relay.path("/dead-letters")).await["dead_letters"], json!([]));
    let ledger = stage.settle(&relay, Duration::ZERO).await;
    assert_eq!(ledger["terminals"], json!({ "dead_letter": 2 }), "they count as before");
}
