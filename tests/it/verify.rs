//! Trying a certificate out leaves its lane as it was.

use serde_json::json;

use crate::harness::{Relay, Sims, VENDORS, text};

#[tokio::test]
async fn a_certificate_that_was_tried_out_goes_on_pushing() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    for (vendor, random) in VENDORS.into_iter().zip(1..) {
        let cert_id = relay.certificate(&sims, vendor).await;
        relay.device(vendor, vendor, cert_id, 1).await;
        let first = relay.send(&text("mina", vendor, random, "before")).await;
        relay.settled(&first["message_id"]).await;
        let verify = relay.path(&format!("/certificates/{cert_id}/verify"));
        let verified = relay.admin.call("POST", &verify, &serde_json::json!({})).await;
        assert_eq!(verified.body["ok"], true, "{vendor}: {verified:?}");
        let second = relay.send(&text("mina", vendor, random + 100, "after")).await;
        let explained = relay.settled(&second["message_id"]).await;
        let delivery = &explained["deliveries"][0];
        assert_eq!(delivery["state"], "pushed", "{vendor}: {explained:#}");
        assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(1), "{vendor}");
    }
}

/// A kept connection would still present the client certificate of before, or none.
#[tokio::test]
async fn a_trial_after_a_rotation_is_made_with_the_new_secret() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let simulators = sims.server.simulators();
    let credentials = simulators.iter().find(|one| one.vendor() == "apns").expect("APNs");
    let cert_id = relay.certificate(&sims, "apns").await;
    let path = relay.path(&format!("/certificates/{cert_id}"));
    for name in ["p8", "p12", "p8"] {
        let found = credentials.credentials().into_iter().find(|found| found.name == name);
        let credential = found.expect("a credential of that name").credential;
        relay.admin.put(&path, &json!({ "credential": credential })).await;
        let verify = format!("{path}/verify");
        let verified = relay.admin.call("POST", &verify, &json!({})).await;
        assert_eq!(verified.body["ok"], true, "{name}: {verified:?}");
    }
}
