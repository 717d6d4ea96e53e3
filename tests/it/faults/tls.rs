//! TLS that fails before any request: what was accepted waits, the breaker opens and says why,
//! nothing is sent to a stranger, and no certificate is blamed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::{fault, lane, when_passing};
use crate::harness::text;
use crate::stage::Stage;

/// Each fault, the code of the attempt, and a word that says what is wrong.
const FAULTS: [(&str, &str, &str); 6] = [
    ("reset", "", "handshake broke off"),
    ("close", "", "handshake broke off"),
    ("plaintext", "tls_not_spoken", "does not speak TLS"),
    ("wrong_host", "tls_wrong_name", "another host name"),
    ("unknown_ca", "tls_unknown_issuer", "not trusted"),
    ("expired", "tls_expired", "expired"),
];

async fn fails_and_recovers(vendor: &str, upload: impl Fn(&Stage) -> Value) {
    for (name, code, words) in FAULTS {
        let stage = Stage::new(|settings| settings.lanes.breaker_failures = 3).await;
        let relay = stage.first().await;
        fault(&stage, json!({ "vendor": vendor, "action": { "tls": name } }));
        let made = relay.admin.post(&relay.path("/certificates"), &upload(&stage)).await;
        let cert_id = made["cert_id"].as_u64().expect("a cert_id");
        relay.device("joon", vendor, cert_id, 1).await;
        let taken = relay.send(&text("mina", "joon", 1, "kept")).await;
        let open = async || lane(&relay, cert_id).await["condition"] == "breaker_open";
        when_passing(&stage, &relay, "the breaker is open", open).await;
        let what = format!("{vendor}, {name}");
        let why = lane(&relay, cert_id).await["why"].as_str().expect("why").to_owned();
        assert!(why.contains(words) && why.starts_with(code), "{what}: {why}");
        let explained = relay.explain(&taken["message_id"]).await;
        let delivery = &explained["deliveries"][0];
        assert_eq!(delivery["state"], "in_flight", "{what}: {delivery:#}");
        let attempt = &delivery["attempts"][0];
        assert_eq!((&attempt["verdict"], &attempt["code"]), (&json!("unavailable"), &json!(code)));
        let said = attempt["vendor_says"].as_str().expect("words");
        assert!(said.contains(words), "{what}: {said}");
        let metrics = relay.admin.get("/metrics").await;
        let cause = if code.is_empty() { "not_sent" } else { code };
        let counted = format!(r#"unanswered_total{{vendor="{vendor}",cause="{cause}"}}"#);
        assert!(metrics.as_str().expect("text").contains(&counted), "{what}");
        let path = relay.path(&format!("/certificates/{cert_id}"));
        assert_eq!(relay.admin.get(&path).await["status"], "active", "{what}");
        assert!(stage.sims.server.faults().list()[0].fired > 0, "{what}");
        assert_eq!(stage.sims.server.phones().requests(vendor), 0, "{what}: a stranger was asked");
        stage.sims.server.faults().clear();
        let ledger = stage.settle(&relay, Duration::from_secs(5)).await;
        assert_eq!(ledger["terminals"], json!({ "pushed": 1 }), "{what}");
        assert_eq!(stage.sims.shown(vendor).len(), 1, "{what}");
        assert_eq!(lane(&relay, cert_id).await["why"], Value::Null, "{what}");
    }
}

#[tokio::test]
async fn tls_that_fails_at_apns_keeps_the_message_and_says_why() {
    fails_and_recovers("apns", |stage| stage.sims.upload("apns")).await;
}

#[tokio::test]
async fn a_client_certificate_is_not_blamed_for_a_server_that_is_not_trusted() {
    let p12 = |stage: &Stage| {
        let simulators = stage.sims.server.simulators();
        let apns = simulators.iter().find(|one| one.vendor() == "apns").expect("a simulator");
        let found = apns.credentials().into_iter().find(|found| found.name == "p12");
        json!({ "vendor": "apns", "credential": found.expect("a p12").credential })
    };
    fails_and_recovers("apns", p12).await;
}

#[tokio::test]
async fn tls_that_fails_at_the_sign_in_breaks_no_certificate() {
    for vendor in ["fcm", "huawei", "oppo"] {
        fails_and_recovers(vendor, |stage| stage.sims.upload(vendor)).await;
    }
}

#[tokio::test]
async fn tls_that_fails_at_xiaomi_keeps_the_message_and_says_why() {
    fails_and_recovers("xiaomi", |stage| stage.sims.upload("xiaomi")).await;
}
