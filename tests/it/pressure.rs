//! Too much, too slow, no room: new work is refused clearly, what was accepted is safe, and one
//! vendor's trouble stays its own.

use std::time::Duration;

use offpush::store::faulty::{Fault, FaultyStore, Hold};
use serde_json::{Value, json};

use crate::faults::fault;
use crate::harness::{Answer, Relay, text, until};
use crate::stage::Stage;

async fn post(relay: &Relay, message: &Value) -> Answer {
    relay.admin.call("POST", &relay.path("/messages"), message).await
}

/// Refused with a time to come back.
fn refused(answer: &Answer, code: &str) {
    assert_eq!((answer.status, &answer.body["error"]["code"]), (503, &json!(code)));
    let wait = answer.headers.get("retry-after").expect("when to come back");
    let wait: u64 = wait.to_str().expect("text").parse().expect("seconds");
    assert!(wait >= 1);
}

#[tokio::test]
async fn a_full_queue_refuses_whole_requests_and_keeps_a_reserve_for_high_priority() {
    let stage = Stage::new(|settings| settings.queue.rows_max = 200).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    // A tenth is the reserve: 180 fit.
    for random in 0..180 {
        assert_eq!(post(&relay, &text("mina", "joon", random, "fill")).await.status, 202);
    }
    let before = relay.admin.get("/v1/ledger").await;
    let batch =
        json!({ "messages": [text("mina", "joon", 500, "a"), text("mina", "joon", 501, "b")] });
    refused(&post(&relay, &batch).await, "queue_full");
    assert_eq!(relay.admin.get("/v1/ledger").await, before, "nothing is half accepted");
    let mut urgent = text("mina", "joon", 502, "urgent");
    urgent["MsgPriority"] = json!("High");
    for random in 502..522 {
        urgent["MsgRandom"] = json!(random);
        assert_eq!(post(&relay, &urgent).await.status, 202);
    }
    urgent["MsgRandom"] = json!(600);
    refused(&post(&relay, &urgent).await, "queue_full");
    relay.admin.post(&format!("/v1/lanes/{cert_id}/resume"), &json!({})).await;
    assert_eq!(stage.settle(&relay, Duration::ZERO).await["terminals"], json!({ "pushed": 200 }));
    // What was refused is not thought seen.
    assert_eq!(post(&relay, &batch).await.body["results"][0]["status"], "accepted");
    stage.settle(&relay, Duration::ZERO).await;
}

#[tokio::test]
async fn a_queue_full_of_bytes_refuses_too_and_takes_again_when_it_has_drained() {
    let stage = Stage::new(|settings| settings.queue.bytes_max = 20_000).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    let long = "x".repeat(4_000);
    let mut taken = 0;
    loop {
        let answer = post(&relay, &text("mina", "joon", taken, &long)).await;
        if answer.status != 202 {
            refused(&answer, "queue_full");
            break;
        }
        taken += 1;
        assert!(taken < 10, "twenty thousand bytes hold no ten texts of four thousand");
    }
    assert!(taken > 2);
    relay.admin.post(&format!("/v1/lanes/{cert_id}/resume"), &json!({})).await;
    stage.settle(&relay, Duration::ZERO).await;
    assert_eq!(post(&relay, &text("mina", "joon", 99, "short")).await.status, 202);
    let ledger = stage.settle(&relay, Duration::ZERO).await;
    assert_eq!(ledger["queued_bytes"], 0);
}

#[tokio::test]
async fn a_full_disk_refuses_messages_and_is_over_when_there_is_room_again() {
    let stage = Stage::new(|_| {}).await;
    let mut first = stage.first().await;
    let cert_id = first.certificate(&stage.sims, "huawei").await;
    first.device("joon", "huawei", cert_id, 1).await;
    first.stop().await;
    let view = stage.view();
    let relay = stage.try_start(&view).await.expect("a relay");
    view.set_always(Some(Fault::Full));
    let message = text("mina", "joon", 1, "no room");
    let answer = post(&relay, &message).await;
    assert_eq!((answer.status, &answer.body["error"]["code"]), (503, &json!("store_full")));
    assert!(answer.headers.contains_key("retry-after"));
    let ready = relay.admin.call("GET", "/readyz", &json!({})).await;
    assert_eq!((ready.status, &ready.body["status"]), (503, &json!("store_full")));
    assert_eq!(relay.admin.get("/healthz").await["status"], "ok", "the process itself is well");
    view.set_always(None);
    assert_eq!(relay.admin.get("/readyz").await["status"], "ready");
    assert_eq!(post(&relay, &message).await.body["results"][0]["status"], "accepted");
    let ledger = stage.settle(&relay, Duration::from_secs(1)).await;
    assert_eq!((&ledger["accepted"], &ledger["terminals"]), (&json!(1), &json!({ "pushed": 1 })));
}

#[tokio::test]
async fn a_disk_with_room_for_a_probe_only_is_not_ready_either() {
    let stage = Stage::new(|_| {}).await;
    stage.first().await.stop().await;
    let view = stage.view();
    let relay = stage.try_start(&view).await.expect("a relay");
    view.set_room(Some(100));
    assert_eq!(relay.admin.get("/readyz").await["status"], "ready", "nobody knows yet");
    let message = text("mina", "joon", 1, "no room");
    let answer = post(&relay, &message).await;
    assert_eq!((answer.status, &answer.body["error"]["code"]), (503, &json!("store_full")));
    for _ in 0..2 {
        let ready = relay.admin.call("GET", "/readyz", &json!({})).await;
        assert_eq!((ready.status, &ready.body["status"]), (503, &json!("store_full")));
    }
    let metrics = relay.admin.get("/metrics").await;
    let turned_away = r#"offpush_messages_turned_away_total{cause="store_full"}"#;
    assert!(metrics.as_str().is_some_and(|text| text.contains(turned_away)));
    // No message comes meanwhile: who asks for readiness keeps traffic away until it is there.
    view.set_room(None);
    assert_eq!(relay.admin.get("/readyz").await["status"], "ready");
    assert_eq!(post(&relay, &message).await.body["results"][0]["status"], "accepted");
}

#[tokio::test]
async fn an_outcome_that_cannot_be_written_is_written_when_the_store_is_back() {
    let stage = Stage::new(|_| {}).await;
    let mut first = stage.first().await;
    let cert_id = first.certificate(&stage.sims, "xiaomi").await;
    let token = first.device("joon", "xiaomi", cert_id, 1).await;
    first.stop().await;
    let view = stage.view();
    let relay = stage.try_start(&view).await.expect("a relay");
    let action = json!({ "delay_ms": 200 });
    fault(&stage, json!({ "match": { "token": token, "times": 1 }, "action": action }));
    let message = text("mina", "joon", 1, "kept in mind");
    assert_eq!(post(&relay, &message).await.status, 202);
    until("it is at the vendor", async || {
        relay.admin.get("/v1/lanes").await["lanes"][0]["in_flight"] == 1
            && stage.sims.server.faults().list()[0].fired == 1
    })
    .await;
    view.set_always(Some(Fault::Unavailable));
    until("it rang", async || {
        relay.admin.get("/healthz").await;
        stage.sims.server.phones().rung("xiaomi") == 1
    })
    .await;
    let ready = relay.admin.call("GET", "/readyz", &json!({})).await;
    assert_eq!(ready.status, 503);
    view.set_always(None);
    let ledger = stage.settle(&relay, Duration::ZERO).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 1 }));
    assert_eq!(stage.sims.shown("xiaomi").len(), 1, "no repeat: the outcome was kept");
}

#[tokio::test]
async fn a_vendor_that_never_answers_holds_up_nobody_and_fills_no_memory() {
    const PARCELS: usize = 16;
    let stage = Stage::new(|settings| {
        settings.queue.parcels_in_memory = PARCELS;
        settings.lanes.in_flight_max = 8;
    })
    .await;
    let relay = stage.first().await;
    let stalled = relay.certificate(&stage.sims, "huawei").await;
    let well = relay.certificate(&stage.sims, "fcm").await;
    relay.device("joon", "huawei", stalled, 1).await;
    relay.device("jiho", "fcm", well, 1).await;
    let action = json!({ "never_answer": true });
    fault(&stage, json!({ "vendor": "huawei", "match": { "path": "/v1" }, "action": action }));
    for random in 0..200 {
        assert_eq!(post(&relay, &text("mina", "joon", random, "stuck")).await.status, 202);
        let taken = relay.send(&text("mina", "jiho", random, "free")).await;
        let explained = relay.settled(&taken["message_id"]).await;
        assert_eq!(explained["deliveries"][0]["state"], "pushed");
        let lanes = relay.admin.get("/v1/lanes").await;
        for lane in lanes["lanes"].as_array().expect("lanes") {
            assert!(lane["waiting"].as_u64().expect("a count") <= PARCELS as u64, "{lane}");
            assert!(lane["in_flight"].as_u64().expect("a count") <= 8, "{lane}");
        }
    }
    assert_eq!(stage.sims.shown("fcm").len(), 200);
    assert!(stage.sims.shown("huawei").is_empty());
    assert_eq!(relay.admin.get("/v1/ledger").await["in_flight"], 200);
    // Rotating gives up nothing; the vendor is back, and the store gives the rest.
    stage.sims.server.faults().clear();
    let mut relay = relay;
    if let Some(app) = relay.app.take() {
        app.abandon().await;
    }
    let relay = stage.start().await;
    let ledger = stage.settle(&relay, Duration::from_secs(1)).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 400 }));
}

/// Messages whose parcels take more than eleven thousand bytes each.
fn long(to: &str, randoms: std::ops::Range<u32>) -> Value {
    let long = "x".repeat(11_000);
    let messages: Vec<_> = randoms.map(|random| text("mina", to, random, &long)).collect();
    json!({ "messages": messages })
}

/// Bytes that lanes hold in memory, in the order of their certificates.
async fn in_memory(relay: &Relay) -> Vec<u64> {
    let lanes = relay.admin.get("/v1/lanes").await;
    let lanes = lanes["lanes"].as_array().expect("lanes");
    lanes.iter().map(|lane| lane["memory_bytes"].as_u64().expect("bytes")).collect()
}

#[tokio::test]
async fn lanes_that_stand_still_hold_no_more_bytes_than_they_may_and_leave_others_their_share() {
    const MAX: u64 = 1_024 * 1_024;
    let stage = Stage::new(|settings| settings.lanes.memory_mb = 1).await;
    let mut relay = stage.first().await;
    let mut lanes = Vec::new();
    for (user, vendor) in [("joon", "huawei"), ("jiho", "xiaomi"), ("sora", "fcm")] {
        let cert_id = relay.certificate(&stage.sims, vendor).await;
        relay.device(user, vendor, cert_id, 1).await;
        lanes.push(cert_id);
    }
    let turn = async |relay: &Relay, how: &str| {
        for cert_id in &lanes[..2] {
            relay.admin.post(&format!("/v1/lanes/{cert_id}/{how}"), &json!({})).await;
        }
    };
    turn(&relay, "pause").await;
    for round in 0..6 {
        for user in ["joon", "jiho"] {
            let randoms = 20 * round..20 * (round + 1);
            assert_eq!(post(&relay, &long(user, randoms)).await.status, 202);
            assert!(in_memory(&relay).await.iter().sum::<u64>() <= MAX);
        }
    }
    let held = in_memory(&relay).await;
    assert!(held.iter().all(|bytes| *bytes > 100_000), "both have their share: {held:?}");
    // After a crash everything is due at once.
    if let Some(app) = relay.app.take() {
        app.abandon().await;
    }
    let relay = stage.start().await;
    turn(&relay, "pause").await;
    for random in 0..10 {
        let taken = relay.send(&long("sora", random..random + 1)).await;
        assert_eq!(relay.settled(&taken["message_id"]).await["deliveries"][0]["state"], "pushed");
        assert!(in_memory(&relay).await.iter().sum::<u64>() <= MAX);
    }
    turn(&relay, "resume").await;
    until("everything is sent", async || {
        assert!(in_memory(&relay).await.iter().sum::<u64>() <= MAX);
        relay.admin.get("/v1/ledger").await["in_flight"] == 0
    })
    .await;
    let ledger = stage.settle(&relay, Duration::ZERO).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 250 }));
    until("nothing is held", async || in_memory(&relay).await.iter().all(|bytes| *bytes == 0))
        .await;
    assert_eq!(stage.sims.shown("fcm").len(), 10);
}

#[tokio::test]
async fn what_is_more_urgent_goes_first_also_when_more_waits_than_a_lane_has_room_for() {
    let stage = Stage::new(|settings| {
        settings.queue.parcels_in_memory = 20;
        settings.lanes.in_flight_max = 1;
    })
    .await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "huawei").await;
    relay.device("joon", "huawei", cert_id, 1).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    let send = async |randoms: std::ops::Range<u32>, priority: &str, filler: usize| {
        for random in randoms {
            let words = format!("{priority} {}", "x".repeat(filler));
            let mut message = text("mina", "joon", random, &words);
            message["MsgPriority"] = json!(priority);
            assert_eq!(post(&relay, &message).await.status, 202);
        }
    };
    send(0..200, "Low", 0).await;
    let low = in_memory(&relay).await[0];
    // Long, so that it shows when they are in the lane.
    send(200..203, "Normal", 5_000).await;
    send(203..204, "High", 5_000).await;
    until("they are in the lane", async || in_memory(&relay).await[0] > low + 4 * 4_000).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/resume"), &json!({})).await;
    assert_eq!(stage.settle(&relay, Duration::ZERO).await["terminals"], json!({ "pushed": 204 }));
    let order = priorities(&stage);
    assert_eq!(order[..5], ["High", "Normal", "Normal", "Normal", "Low"]);
    assert_eq!(order.len(), 204, "each once");
    // More High ones than the lane has room for.
    stage.sims.server.phones().clear();
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    send(300..400, "Low", 0).await;
    send(400..450, "High", 0).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/resume"), &json!({})).await;
    stage.settle(&relay, Duration::ZERO).await;
    let order = priorities(&stage);
    // Every eighth is the one that waited longest, and the lane held some Low ones at times.
    let early = order[..75].iter().filter(|priority| *priority == "High").count();
    assert_eq!((early, order.len()), (50, 150), "{order:?}");
}

/// The priorities of what phones showed, in order: the first word of each text.
fn priorities(stage: &Stage) -> Vec<String> {
    let shown = stage.sims.shown("huawei");
    let first = |body: &str| body.split(' ').next().unwrap_or_default().to_owned();
    shown.iter().map(|shown| first(&shown.body)).collect()
}

/// A relay whose only lane has one parcel at a vendor that never answers, and one that waits.
async fn stuck(age_max_s: u32) -> (Stage, Relay, u64) {
    let stage = Stage::new(|settings| {
        settings.queue.age_max_s = age_max_s;
        settings.lanes.in_flight_max = 1;
        settings.lanes.request_deadline_s = 300;
        settings.queue.lease_s = 900;
    })
    .await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    let action = json!({ "never_answer": true });
    fault(&stage, json!({ "vendor": "fcm", "match": { "path": "/v1" }, "action": action }));
    for random in 0..2 {
        assert_eq!(post(&relay, &text("mina", "joon", random, "stuck")).await.status, 202);
    }
    until("one is at the vendor and one waits", async || {
        let lanes = relay.admin.get("/v1/lanes").await;
        let lane = &lanes["lanes"][0];
        (&lane["in_flight"], &lane["waiting"]) == (&json!(1), &json!(1))
    })
    .await;
    (stage, relay, cert_id)
}

async fn oldest_wait_s(relay: &Relay) -> u64 {
    relay.admin.get("/readyz").await["oldest_wait_s"].as_u64().expect("seconds")
}

#[tokio::test]
async fn what_waits_too_long_closes_the_door_and_high_priority_has_a_tenth_more() {
    let (stage, mut relay, _) = stuck(1_000).await;
    stage.pass(&relay, Duration::from_secs(850));
    until("the wait is known", async || oldest_wait_s(&relay).await >= 850).await;
    let mut urgent = text("mina", "joon", 10, "urgent");
    urgent["MsgPriority"] = json!("High");
    let normal = text("mina", "joon", 11, "normal");
    stage.pass(&relay, Duration::from_secs(60));
    let before = relay.admin.get("/v1/ledger").await;
    refused(&post(&relay, &normal).await, "queue_overdue");
    assert_eq!(relay.admin.get("/v1/ledger").await, before, "nothing is half accepted");
    assert_eq!(post(&relay, &urgent).await.status, 202);
    stage.pass(&relay, Duration::from_secs(100));
    urgent["MsgRandom"] = json!(12);
    refused(&post(&relay, &urgent).await, "queue_overdue");
    let metrics = relay.admin.call("GET", "/metrics", &json!({})).await;
    assert!(metrics.body.to_string().contains("queue_overdue"), "the cause is counted");
    // After a restart the wait begins anew, and what waited is sent.
    stage.sims.server.faults().clear();
    if let Some(app) = relay.app.take() {
        app.abandon().await;
    }
    let relay = stage.start().await;
    assert_eq!(post(&relay, &normal).await.status, 202);
    let ledger = stage.settle(&relay, Duration::from_secs(1)).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 4 }));
}

#[tokio::test]
async fn a_lane_that_does_not_run_keeps_no_other_certificates_messages_out() {
    let (stage, relay, stuck) = stuck(100).await;
    let well = relay.certificate(&stage.sims, "huawei").await;
    relay.device("jiho", "huawei", well, 1).await;
    stage.pass(&relay, Duration::from_secs(200));
    until("the door is closed", async || {
        post(&relay, &text("mina", "jiho", 20, "x")).await.status == 503
    })
    .await;
    relay.admin.post(&format!("/v1/lanes/{stuck}/pause"), &json!({})).await;
    until("a paused lane does not count", async || oldest_wait_s(&relay).await == 0).await;
    let taken = relay.send(&text("mina", "jiho", 21, "free")).await;
    assert_eq!(relay.settled(&taken["message_id"]).await["deliveries"][0]["state"], "pushed");
    // What waited while nobody could send it is no reason to refuse either.
    relay.admin.post(&format!("/v1/lanes/{stuck}/resume"), &json!({})).await;
    assert_eq!(post(&relay, &text("mina", "jiho", 22, "still free")).await.status, 202);
}

/// A relay on a store whose commits can be kept waiting, with a device and a short deadline.
async fn on_a_slow_disk(deadline_s: u32) -> (Stage, std::sync::Arc<FaultyStore>, Relay) {
    let stage = Stage::new(|settings| settings.http.request_timeout_s = deadline_s).await;
    let mut first = stage.first().await;
    let cert_id = first.certificate(&stage.sims, "huawei").await;
    first.device("joon", "huawei", cert_id, 1).await;
    first.stop().await;
    let view = stage.view();
    let relay = stage.try_start(&view).await.expect("a relay");
    (stage, view, relay)
}

#[tokio::test]
async fn on_a_slow_disk_the_answer_waits_for_the_commit() {
    let (stage, view, relay) = on_a_slow_disk(600).await;
    view.hold_commits(Some(Hold::After));
    let message = text("mina", "joon", 1, "slowly");
    let mut posting = std::pin::pin!(post(&relay, &message));
    // Others are served meanwhile; the message is on disk, but nobody has said so yet.
    let unanswered =
        until("it is applied", async || relay.admin.get("/v1/ledger").await["accepted"] == 1);
    tokio::select! {
        answer = &mut posting => panic!("answered before the commit: {answer:?}"),
        () = unanswered => {}
    }
    assert!(stage.sims.shown("huawei").is_empty(), "nothing rings before it is durable");
    view.hold_commits(None);
    assert_eq!(posting.await.status, 202);
    let ledger = stage.settle(&relay, Duration::ZERO).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 1 }));
}

#[tokio::test]
async fn a_disk_slower_than_the_deadline_is_answered_503_and_a_repost_is_safe() {
    for hold in [Hold::Before, Hold::After] {
        let (stage, view, relay) = on_a_slow_disk(1).await;
        view.hold_commits(Some(hold));
        let message = text("mina", "joon", 1, "too slow");
        refused(&post(&relay, &message).await, "too_slow");
        view.hold_commits(None);
        let again = post(&relay, &message).await;
        // The commit that was given up goes on; the repost may meet it or come first.
        assert_eq!(again.status, 202, "{again:?}");
        let ledger = stage.settle(&relay, Duration::from_secs(1)).await;
        assert_eq!((&ledger["accepted"], &ledger["balanced"]), (&json!(1), &json!(true)));
        assert_eq!(stage.sims.shown("huawei").len(), 1, "it rings once");
    }
}

#[tokio::test]
async fn a_fault_in_the_middle_of_a_long_request_loses_and_repeats_nothing() {
    for fault in [Fault::Unavailable, Fault::Full, Fault::AnswerLost] {
        let (stage, view, relay) = on_a_slow_disk(600).await;
        let faults_at = [1, 20, 34, 60, 75, 101, 110];
        for (round, later) in faults_at.into_iter().enumerate() {
            let random = |number: usize| u32::try_from(1_000 * round + number).expect("a number");
            let texts = (0..100).map(|number| text("mina", "joon", random(number), "many"));
            let request = json!({ "messages": texts.collect::<Vec<_>>() });
            view.fail_call(view.calls() + later, fault);
            let first = post(&relay, &request).await;
            assert!([202, 503].contains(&first.status), "{first:?}");
            let again = post(&relay, &request).await;
            let again = if again.status == 503 { post(&relay, &request).await } else { again };
            assert_eq!(again.status, 202, "{again:?}");
            for result in again.body["results"].as_array().expect("results") {
                assert!(["accepted", "duplicate"].map(Into::into).contains(&result["status"]));
            }
        }
        let ledger = stage.settle(&relay, Duration::from_secs(10)).await;
        let all = 100 * faults_at.len();
        assert_eq!((&ledger["accepted"], &ledger["balanced"]), (&json!(all), &json!(true)));
        assert_eq!(stage.sims.shown("huawei").len(), all, "{fault:?}: each rings once");
    }
}
