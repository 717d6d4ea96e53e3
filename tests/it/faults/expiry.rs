//! Credentials that end while the relay runs: by their own date, by the vendor's clock, and by a
//! key that somebody deleted.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use offpush::model::certificate::Environment;
use offpush::model::time::UnixMs;
use offpush::sim::ca::{Ca, ClientCertificate};
use serde_json::{Value, json};

use crate::faults::{fault, lane, when_passing};
use crate::harness::{Relay, text, until};
use crate::stage::Stage;

const HOUR: Duration = Duration::from_secs(3_600);

/// An APNs client certificate that ends at the first moment of a day two months from now, and
/// that moment.
fn p12(stage: &Stage) -> (Value, UnixMs) {
    let now = jiff::Timestamp::from_millisecond(stage.clock.now().0 as i64).expect("a time");
    let today = jiff::tz::TimeZone::UTC.to_datetime(now).date();
    let months = jiff::Span::new().months(2);
    let day = today.first_of_month().checked_add(months).expect("a date");
    let not_after = (i32::from(day.year()), day.month() as u8, day.day() as u8);
    let wanted = ClientCertificate {
        bundle_id: "com.example.chat",
        environments: &[Environment::Production],
        not_after,
    };
    let issued = Ca::of_this_process().issue_client(&wanted).expect("issued");
    let data = STANDARD.encode(issued.to_p12("secret").expect("written"));
    let midnight = day.to_datetime(jiff::civil::Time::midnight());
    let ends = jiff::tz::TimeZone::UTC.to_timestamp(midnight).expect("a time");
    let credential = json!({ "type": "p12", "data": data, "password": "secret" });
    (credential, UnixMs(ends.as_millisecond() as u64))
}

async fn upload(relay: &Relay, vendor: &str, credential: &Value) -> u64 {
    let body = json!({ "vendor": vendor, "credential": credential });
    let made = relay.admin.post(&relay.path("/certificates"), &body).await;
    made["cert_id"].as_u64().expect("a cert_id")
}

fn long_lived(random: u32, words: &str) -> Value {
    let mut message = text("mina", "joon", random, words);
    message["MsgLifeTime"] = json!(86_400);
    message
}

#[tokio::test]
async fn what_waits_when_a_certificate_ends_is_sent_with_the_next_one() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let (credential, ends) = p12(&stage);
    let cert_id = upload(&relay, "apns", &credential).await;
    let path = relay.path(&format!("/certificates/{cert_id}"));
    // Ten days before: it works, and says that it ends.
    stage.pass(&relay, ends.since(stage.clock.now()) - 240 * HOUR);
    relay.device("joon", "apns", cert_id, 1).await;
    let taken = relay.send(&text("mina", "joon", 1, "in time")).await;
    let explained = relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
    let shown = relay.admin.get(&path).await;
    assert_eq!(shown["status"], "active");
    assert!(shown["warnings"].to_string().contains("ends within 10 days"), "{shown}");
    assert_eq!(shown["warnings"].to_string().matches("ends").count(), 1, "{shown}");
    let checkup = relay.admin.get(&relay.path("/users/joon/doctor")).await;
    assert!(checkup.to_string().contains("ends within 30 days"), "{checkup:#}");
    // An hour before: a message waits on a paused lane, and then the certificate is over.
    stage.pass(&relay, ends.since(stage.clock.now()) - HOUR);
    relay.device("joon", "apns", cert_id, 1).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    let queued = relay.send(&long_lived(2, "queued")).await;
    stage.pass(&relay, 2 * HOUR);
    relay.admin.post(&format!("/v1/lanes/{cert_id}/resume"), &json!({})).await;
    assert_eq!(relay.admin.get(&path).await["status"], "expired");
    assert_eq!(lane(&relay, cert_id).await["condition"], "certificate_expired");
    let late = relay.send(&text("mina", "joon", 3, "too late")).await;
    let late = relay.settled(&late["message_id"]).await;
    assert_eq!(late["deliveries"][0]["reason"], "cert_expired", "{late:#}");
    let advice = late["deliveries"][0]["advice"].as_str().expect("advice");
    assert!(advice.contains("same id"), "{advice}");
    for _ in 0..20 {
        stage.pass(&relay, Duration::from_secs(60));
        let explained = relay.explain(&queued["message_id"]).await;
        assert_eq!(explained["deliveries"][0]["state"], "in_flight", "{explained:#}");
    }
    let key = json!({ "credential": stage.sims.upload("apns")["credential"] });
    relay.admin.put(&path, &key).await;
    let ledger = stage.settle(&relay, Duration::from_secs(1)).await;
    assert_eq!(ledger["terminals"]["pushed"], 2, "{ledger}");
    assert_eq!(stage.sims.shown("apns").len(), 2);
}

#[tokio::test]
async fn a_certificate_that_ends_by_apples_clock_first_is_broken_and_keeps_what_waits() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let (credential, ends) = p12(&stage);
    let cert_id = upload(&relay, "apns", &credential).await;
    relay.device("joon", "apns", cert_id, 1).await;
    let ahead_s = ends.since(stage.clock.now()).as_secs() + 60;
    fault(&stage, json!({ "vendor": "apns", "action": { "clock_ahead_s": ahead_s } }));
    let taken = relay.send(&long_lived(1, "kept")).await;
    let path = relay.path(&format!("/certificates/{cert_id}"));
    until("it is broken", async || relay.admin.get(&path).await["status"] == "broken").await;
    let shown = relay.admin.get(&path).await;
    assert!(shown["broken"].to_string().contains("BadCertificate"), "{shown}");
    assert!(lane(&relay, cert_id).await["why"].to_string().contains("BadCertificate"));
    let explained = relay.explain(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "in_flight", "{explained:#}");
    stage.sims.server.faults().clear();
    let key = json!({ "credential": stage.sims.upload("apns")["credential"] });
    relay.admin.put(&path, &key).await;
    let ledger = stage.settle(&relay, Duration::from_secs(1)).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 1 }), "{ledger}");
}

#[tokio::test]
async fn a_service_account_key_deleted_while_running_breaks_only_when_its_token_ends() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    let taken = relay.send(&text("mina", "joon", 1, "signed in")).await;
    relay.settled(&taken["message_id"]).await;
    let body = json!({ "error": "invalid_grant", "error_description": "Invalid JWT Signature." });
    let action = json!({ "status": 400, "body": body });
    fault(&stage, json!({ "vendor": "fcm", "match": { "path": "/token" }, "action": action }));
    let taken = relay.send(&text("mina", "joon", 2, "still good")).await;
    let explained = relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
    stage.pass(&relay, 2 * HOUR);
    let kept = relay.send(&long_lived(3, "kept")).await;
    let path = relay.path(&format!("/certificates/{cert_id}"));
    let broken = async || relay.admin.get(&path).await["status"] == "broken";
    when_passing(&stage, &relay, "the certificate is broken", broken).await;
    let explained = relay.explain(&kept["message_id"]).await;
    let delivery = &explained["deliveries"][0];
    assert_eq!(delivery["state"], "in_flight", "{delivery:#}");
    let advice = delivery["advice"].as_str().expect("advice");
    assert!(advice.contains("key was deleted"), "{advice}");
    stage.sims.server.faults().clear();
    let again = json!({ "credential": stage.sims.upload("fcm")["credential"] });
    relay.admin.put(&path, &again).await;
    let ledger = stage.settle(&relay, Duration::from_secs(1)).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 3 }), "{ledger}");
}
