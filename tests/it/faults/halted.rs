//! Why is it "on its way" for so long? A push in a lane that does not run says so.

use std::time::Duration;

use offpush::model::id::CertId;
use serde_json::{Value, json};

use crate::faults::{fault, lane};
use crate::harness::{Relay, text, until};
use crate::stage::Stage;

fn first(explained: &Value) -> &Value {
    &explained["deliveries"][0]
}

fn advice(told: &Value) -> &str {
    told["advice"].as_str().expect("advice")
}

async fn doctor_of_lane(relay: &Relay) -> Value {
    let checkup = relay.admin.get(&relay.path("/users/joon/doctor")).await;
    let items = checkup["items"].as_array().expect("items").clone();
    items.into_iter().find(|item| item["item"] == "lane").expect("an item about the lane")
}

#[tokio::test]
async fn who_asks_about_a_push_in_a_paused_lane_is_told_to_resume_it() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "xiaomi").await;
    relay.device("joon", "xiaomi", cert_id, 1).await;
    assert_eq!(doctor_of_lane(&relay).await["status"], "ok", "it has no lane yet");
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    let words = format!("the lane of certificate {cert_id} is paused; resume it.");
    let dry = relay.admin.post(&relay.path("/explain"), &text("mina", "joon", 1, "hi")).await;
    assert_eq!(first(&dry)["state"], "would_push");
    assert_eq!(advice(first(&dry)), format!("It would ring once its lane sends again: {words}"));
    let taken = relay.send(&text("mina", "joon", 1, "hi")).await;
    let explained = relay.explain(&taken["message_id"]).await;
    assert_eq!(first(&explained)["state"], "in_flight");
    assert_eq!(advice(first(&explained)), format!("It waits: {words}"));
    let why = json!({ "condition": "paused", "resumes_in_s": null, "why": null });
    assert_eq!(first(&explained)["lane"], why);
    let found = relay.admin.get(&relay.path("/explain?user=joon&reason=in_flight")).await;
    assert_eq!(found["messages"], json!([explained]));
    let item = doctor_of_lane(&relay).await;
    assert_eq!((&item["status"], &item["saw"]["halted"]), (&json!("problem"), &why));
    assert_eq!(advice(&item), format!("Nothing is sent now: {words}"));
    relay.admin.post(&format!("/v1/lanes/{cert_id}/resume"), &json!({})).await;
    let explained = relay.settled(&taken["message_id"]).await;
    assert_eq!(first(&explained)["state"], "pushed");
    assert_eq!(first(&explained).get("lane"), None, "what has ended waits for nothing");
    assert_eq!(doctor_of_lane(&relay).await["status"], "ok");
}

#[tokio::test]
async fn a_push_behind_an_open_breaker_names_the_vendors_trouble_and_when_it_is_tried_again() {
    let stage = Stage::new(|settings| settings.lanes.breaker_failures = 2).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "huawei").await;
    relay.device("joon", "huawei", cert_id, 1).await;
    let action = json!({ "status": 500, "body": "out of order" });
    fault(&stage, json!({ "vendor": "huawei", "match": { "path": "/v1" }, "action": action }));
    for random in 0..2 {
        relay.send(&text("mina", "joon", random, "opens it")).await;
    }
    until("the breaker is open", async || {
        lane(&relay, cert_id).await["condition"] == "breaker_open"
    })
    .await;
    let taken = relay.send(&text("mina", "joon", 9, "waits")).await;
    let explained = relay.explain(&taken["message_id"]).await;
    let delivery = first(&explained);
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("in_flight"), &json!([])));
    let start = format!("It waits: the vendor of certificate {cert_id} does not answer (http_500)");
    assert!(advice(delivery).starts_with(&start), "{delivery:#}");
    assert!(advice(delivery).contains("tried again in "), "{delivery:#}");
    assert_eq!(doctor_of_lane(&relay).await["status"], "warning");
    stage.sims.server.faults().clear();
    stage.settle(&relay, Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_push_that_waits_for_another_secret_says_whose_and_why() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "xiaomi").await;
    relay.device("joon", "xiaomi", cert_id, 1).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    let taken = relay.send(&text("mina", "joon", 1, "hi")).await;
    let api = &relay.app.as_ref().expect("it runs").api;
    let number = CertId(u32::try_from(cert_id).expect("a number"));
    let edition = api.credentials.get(number).expect("it exists").info.edition();
    let why = Some("invalid secret".to_owned());
    assert!(api.credentials.mark_broken(number, edition, why).await.expect("marked"));
    relay.admin.post(&format!("/v1/lanes/{cert_id}/resume"), &json!({})).await;
    let explained = relay.explain(&taken["message_id"]).await;
    let words = advice(first(&explained));
    let start = format!("It waits: certificate {cert_id} is broken (invalid secret)");
    assert!(words.starts_with(&start), "{words}");
    assert_eq!(doctor_of_lane(&relay).await["status"], "problem");
}

#[tokio::test]
async fn every_condition_of_lanes_is_counted_from_zero() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    for condition in offpush::dispatch::lane::CONDITIONS {
        let line = format!("offpush_lanes{{condition=\"{condition}\"}} ");
        until(condition, async || {
            let metrics = relay.admin.get("/metrics").await;
            metrics.as_str().expect("text").contains(&line)
        })
        .await;
    }
}
