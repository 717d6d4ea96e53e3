//! What vendors do to us, one fault at a time: nothing is lost, repeats carry the same id, waits
//! are honoured, and the operator sees it.

use std::time::Duration;

use offpush::sim::faults::Rule;
use serde_json::{Value, json};

use crate::harness::{Relay, text, until};
use crate::stage::Stage;

mod breaker;
mod clocks;
mod dead_letters;
mod expiry;
mod halted;
mod set_aside;
mod sign_ins;
mod streams;
mod tls;
mod waits;

/// Puts a fault into force.
pub fn fault(stage: &Stage, rule: Value) {
    let rule: Rule = serde_json::from_value(rule).expect("a rule");
    stage.sims.server.faults().add(rule).expect("a rule that makes sense");
}

/// A certificate's lane as operators see it; null before its first parcel.
async fn lane(relay: &Relay, cert_id: u64) -> Value {
    let lanes = relay.admin.get("/v1/lanes").await;
    let lanes = lanes["lanes"].as_array().expect("lanes").clone();
    lanes.into_iter().find(|lane| lane["cert_id"] == cert_id).unwrap_or_default()
}

/// Lets time pass in small steps until `holds` does.
async fn when_passing(stage: &Stage, relay: &Relay, what: &str, holds: impl AsyncFn() -> bool) {
    until(what, async || {
        stage.pass(relay, Duration::from_millis(100));
        holds().await
    })
    .await;
}

/// One fault of one request, and what may come of it.
struct Case {
    name: &'static str,
    action: Value,
    /// Verdicts that the first attempt may end with.
    verdicts: &'static [&'static str],
    /// How often the phone may ring.
    rings: std::ops::RangeInclusive<usize>,
}

fn case(
    name: &'static str,
    action: Value,
    verdicts: &'static [&'static str],
    rings: std::ops::RangeInclusive<usize>,
) -> Case {
    Case { name, action, verdicts, rings }
}

/// Faults that every vendor may show.
fn common(vendor: &str) -> Vec<Case> {
    let unavailable = &["unavailable"][..];
    let lost = &["unknown"][..];
    // Huawei says 503 when it limits the flow.
    let busy = if vendor == "huawei" { &["throttled"][..] } else { unavailable };
    // Apple answers success with an empty body: there is nothing to tell it from.
    let (empty, rings) = match vendor {
        "apns" => (&["accepted"][..], 0..=0),
        // FCM's success always names a message: without one nobody knows. For the others an answer
        // without their code is not theirs.
        "fcm" => (lost, 1..=1),
        _ => (unavailable, 1..=1),
    };
    vec![
        case("500", json!({ "status": 500 }), unavailable, 1..=1),
        case("502 page", json!({ "answer": "html_502" }), unavailable, 1..=1),
        case("503", json!({ "status": 503 }), busy, 1..=1),
        case("503 and a page", json!({ "status": 503, "body": "<html>" }), busy, 1..=1),
        case("reset before", json!({ "reset_before": true }), lost, 1..=1),
        // OPPO and Xiaomi know the id of a repeat and show it once.
        case("reset after", json!({ "reset_after": true }), lost, 1..=2),
        case("half closed", json!({ "half_close": true }), lost, 1..=2),
        case("truncated", json!({ "answer": "truncated" }), &["unknown", "accepted"], 1..=2),
        case("garbage", json!({ "answer": "garbage" }), empty, rings.clone()),
        case("empty", json!({ "answer": "empty" }), empty, rings),
        case("goaway", json!({ "goaway": true }), &["accepted"], 1..=1),
        // Under HTTP/2 the transport offers it again itself; HTTP/1.1 has no such promise.
        case(
            "refused stream",
            json!({ "reset_stream": 7 }),
            &["accepted", "unknown", "unavailable"],
            1..=1,
        ),
        case("cancelled stream", json!({ "reset_stream": 8 }), lost, 1..=1),
        case("slow", json!({ "delay_ms": 30 }), &["accepted"], 1..=1),
    ]
}

/// Errors that this vendor puts into its own bodies.
fn own(vendor: &str) -> Vec<Case> {
    let unavailable = &["unavailable"][..];
    let rejected = &["auth_rejected"][..];
    let body = |status: u16, body: Value| json!({ "status": status, "body": body });
    match vendor {
        "apns" => {
            let expired = body(403, json!({ "reason": "ExpiredProviderToken" }));
            let shutdown = body(503, json!({ "reason": "Shutdown" }));
            vec![
                case("token expired mid-flight", expired, rejected, 1..=1),
                case("shutdown", shutdown, unavailable, 1..=1),
            ]
        }
        "fcm" => {
            let expired = json!({ "error": { "code": 401, "status": "UNAUTHENTICATED",
                "message": "Request had invalid authentication credentials." } });
            let inside = json!({ "error": { "code": 500, "status": "INTERNAL", "message": "" } });
            vec![
                case("token revoked mid-flight", body(401, expired), rejected, 1..=1),
                case("200 with an error inside", body(200, inside), &["unknown"], 1..=1),
            ]
        }
        "huawei" => {
            let expired = json!({ "code": "80200003", "msg": "token expired" });
            let inside = json!({ "code": "81000001", "msg": "internal error" });
            vec![
                case("token expired mid-flight", body(401, expired), rejected, 1..=1),
                case("200 with an error inside", body(200, inside), unavailable, 1..=1),
            ]
        }
        "xiaomi" => {
            let inside = json!({ "result": "error", "code": -1, "reason": "busy" });
            vec![case("200 with an error inside", body(200, inside), unavailable, 1..=1)]
        }
        "oppo" => {
            let expired = json!({ "code": 11, "message": "Invalid AuthToken" });
            let inside = json!({ "code": -1, "message": "Service Currently Unavailable" });
            vec![
                case("token revoked mid-flight", body(200, expired), rejected, 1..=1),
                case("200 with an error inside", body(200, inside), unavailable, 1..=1),
            ]
        }
        other => panic!("no faults written for {other}"),
    }
}

/// Every fault once, on one relay: each message ends as pushed whatever happened to it.
async fn every_fault_of(vendor: &str) {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, vendor).await;
    let cases: Vec<Case> = common(vendor).into_iter().chain(own(vendor)).collect();
    for (number, case) in cases.iter().enumerate() {
        let token = relay.device("joon", vendor, cert_id, number).await;
        fault(
            &stage,
            json!({ "vendor": vendor, "match": { "token": token, "times": 1 },
                "action": case.action }),
        );
        let taken = relay.send(&text("mina", "joon", number as u32, case.name)).await;
        // The other devices ring as well; the one with the fault is the newest.
        stage.settle(&relay, Duration::from_millis(200)).await;
        let explained = relay.explain(&taken["message_id"]).await;
        let id = format!("{vendor}-{number}");
        let deliveries = explained["deliveries"].as_array().expect("deliveries");
        let delivery =
            deliveries.iter().find(|delivery| delivery["device_id"] == id.as_str()).expect("it");
        let what = format!("{vendor}, {}: {delivery:#}", case.name);
        assert_eq!(delivery["state"], "pushed", "{what}");
        let attempts = delivery["attempts"].as_array().expect("attempts");
        let first = attempts[0]["verdict"].as_str().expect("a verdict");
        assert!(case.verdicts.contains(&first), "{what}");
        assert_eq!(attempts.len(), if first == "accepted" { 1 } else { 2 }, "{what}");
        let shown = stage.sims.server.phones().shown(Some(vendor), Some(&token));
        assert!(case.rings.contains(&shown.len()), "rang {} times: {what}", shown.len());
        let ids: std::collections::HashSet<_> = shown.iter().map(|shown| &shown.push_id).collect();
        assert!(ids.len() <= 1, "a repeat has the same id: {what}");
        relay.admin.call("DELETE", &device_path(&relay, &id), &json!({})).await;
        let fired = stage.sims.server.faults().list()[0].fired;
        assert_eq!(fired, 1, "the fault came: {}", case.name);
        stage.sims.server.faults().clear();
    }
    let ledger = stage.settle(&relay, Duration::from_secs(1)).await;
    assert_eq!(ledger["terminals"]["pushed"], cases.len(), "{ledger}");
    let path = relay.path(&format!("/certificates/{cert_id}"));
    assert_eq!(relay.admin.get(&path).await["status"], "active", "one renewal was enough");
}

fn device_path(relay: &Relay, device_id: &str) -> String {
    relay.path(&format!("/users/joon/devices/{device_id}"))
}

#[tokio::test]
async fn no_single_fault_of_apns_loses_a_message() {
    every_fault_of("apns").await;
}

#[tokio::test]
async fn no_single_fault_of_fcm_loses_a_message() {
    every_fault_of("fcm").await;
}

#[tokio::test]
async fn no_single_fault_of_huawei_loses_a_message() {
    every_fault_of("huawei").await;
}

#[tokio::test]
async fn no_single_fault_of_xiaomi_loses_a_message() {
    every_fault_of("xiaomi").await;
}

#[tokio::test]
async fn no_single_fault_of_oppo_loses_a_message() {
    every_fault_of("oppo").await;
}

/// What may become of a sign-in without the credential being wrong.
#[tokio::test]
async fn no_single_fault_of_a_sign_in_breaks_a_certificate() {
    let actions = [
        json!({ "status": 500 }),
        json!({ "status": 429 }),
        json!({ "answer": "html_502" }),
        json!({ "answer": "garbage" }),
        json!({ "answer": "empty" }),
        json!({ "answer": "truncated" }),
        json!({ "status": 200, "body": { "error": "try again" } }),
        json!({ "reset_before": true }),
        json!({ "reset_after": true }),
        json!({ "half_close": true }),
        json!({ "goaway": true }),
        json!({ "reset_stream": 7 }),
    ];
    for (vendor, path) in [("fcm", "/token"), ("huawei", "/oauth2"), ("oppo", "/server/v1/auth")] {
        for action in &actions {
            let stage = Stage::new(|_| {}).await;
            let relay = stage.first().await;
            let cert_id = relay.certificate(&stage.sims, vendor).await;
            relay.device("joon", vendor, cert_id, 1).await;
            let matching = json!({ "path": path, "times": 1 });
            fault(&stage, json!({ "vendor": vendor, "match": matching, "action": action }));
            relay.send(&text("mina", "joon", 1, "let me in")).await;
            let ledger = stage.settle(&relay, Duration::from_millis(200)).await;
            assert_eq!(ledger["terminals"], json!({ "pushed": 1 }), "{vendor} {action}");
            assert_eq!(stage.sims.server.faults().list()[0].fired, 1, "{vendor} {action}");
            assert_eq!(stage.sims.shown(vendor).len(), 1, "{vendor} {action}");
            let path = relay.path(&format!("/certificates/{cert_id}"));
            assert_eq!(relay.admin.get(&path).await["status"], "active", "{vendor} {action}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendor_that_never_answers_is_asked_again_after_the_deadline() {
    let stage = Stage::new(|settings| settings.lanes.request_deadline_s = 1).await;
    let relay = stage.first().await;
    for vendor in crate::harness::VENDORS {
        let cert_id = relay.certificate(&stage.sims, vendor).await;
        let token = relay.device("joon", vendor, cert_id, 1).await;
        let action = json!({ "never_answer": true });
        fault(&stage, json!({ "match": { "token": token, "times": 1 }, "action": action }));
    }
    let taken = relay.send(&text("mina", "joon", 1, "patience")).await;
    stage.settle(&relay, Duration::from_millis(10)).await;
    let explained = relay.explain(&taken["message_id"]).await;
    for delivery in explained["deliveries"].as_array().expect("deliveries") {
        assert_eq!(delivery["state"], "pushed", "{delivery:#}");
        assert_eq!(delivery["attempts"][0]["verdict"], "unknown", "{delivery:#}");
        let says = delivery["attempts"][0]["vendor_says"].as_str().expect("words");
        assert!(says.contains("deadline"), "{says}");
    }
}
