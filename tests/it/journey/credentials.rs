//! Certificates on their way through life: wrong, mended, of another kind, of another world.

use serde_json::{Value, json};

use crate::harness::{Relay, Sims, text, until};

/// A credential of a listener (`apns`, `apns_sandbox`, `oppo` …) by its name.
fn credential(sims: &Sims, vendor: &str, sandbox: bool, name: &str) -> Value {
    use offpush::model::certificate::Environment::{Production, Sandbox};
    let world = if sandbox { Sandbox } else { Production };
    let simulators = sims.server.simulators();
    let of_listener = simulators
        .iter()
        .find(|simulator| simulator.vendor() == vendor && simulator.environment() == world)
        .expect("a simulator");
    let found = of_listener.credentials().into_iter().find(|found| found.name == name);
    found.expect("a credential of that name").credential
}

#[tokio::test]
async fn a_wrong_oppo_secret_waits_for_its_rotation_and_then_rings() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let mut upload = sims.upload("oppo");
    upload["credential"] = credential(&sims, "oppo", false, "app_secret_by_mistake");
    let created = relay.admin.post(&relay.path("/certificates"), &upload).await;
    let cert_id = created["cert_id"].as_u64().expect("a cert_id");
    let path = relay.path(&format!("/certificates/{cert_id}"));
    relay.device("joon", "oppo", cert_id, 1).await;
    let taken = relay.send(&text("mina", "joon", 1, "hello")).await;
    until("the certificate is broken", async || relay.admin.get(&path).await["status"] == "broken")
        .await;
    let explained = relay.explain(&taken["message_id"]).await;
    let delivery = &explained["deliveries"][0];
    assert_eq!(delivery["state"], "in_flight");
    assert_eq!(delivery["attempts"][0]["verdict"], "auth_rejected", "{delivery:#}");
    let advice = delivery["advice"].as_str().expect("advice");
    assert!(advice.contains("MasterSecret"), "{advice}");
    assert!(sims.shown("oppo").is_empty());
    let lanes = relay.admin.get("/v1/lanes").await;
    assert_eq!(lanes["lanes"][0]["condition"], "certificate_broken");
    // New messages are told at once; the waiting one is not lost.
    let refused = relay.send(&text("mina", "joon", 2, "hello again")).await;
    let refused = relay.settled(&refused["message_id"]).await;
    assert_eq!(refused["deliveries"][0]["reason"], "cert_broken");
    let right = credential(&sims, "oppo", false, "master_secret");
    let rotated = relay.admin.put(&path, &json!({ "credential": right })).await;
    assert_eq!(rotated["status"], "active");
    let explained = relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
    assert_eq!(sims.shown("oppo").len(), 1);
    assert_eq!(relay.ledger().await["in_flight"], 0);
}

/// One message through an APNs certificate of this kind and world.
async fn apple(sandbox: bool, name: &str) {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let mut upload = sims.upload("apns");
    upload["credential"] = credential(&sims, "apns", sandbox, name);
    upload["environment"] = json!(if sandbox { "sandbox" } else { "production" });
    let created = relay.admin.post(&relay.path("/certificates"), &upload).await;
    assert_eq!(created["environment"], upload["environment"]);
    let cert_id = created["cert_id"].as_u64().expect("a cert_id");
    if name == "p12" {
        assert!(created["expires_at"].is_string(), "{created}");
        let read = relay.admin.get(&relay.path(&format!("/certificates/{cert_id}"))).await;
        assert!(!read.to_string().contains("simulator\""), "the password is never returned");
    }
    relay.device("joon", "apns", cert_id, 1).await;
    let taken = relay.send(&text("mina", "joon", 1, "hello")).await;
    let explained = relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
    assert_eq!(sims.shown("apns").len(), 1);
}

#[tokio::test]
async fn an_apple_p12_rings() {
    apple(false, "p12").await;
}

#[tokio::test]
async fn an_apple_p8_rings_in_the_sandbox() {
    apple(true, "p8").await;
}

#[tokio::test]
async fn an_apple_p12_rings_in_the_sandbox() {
    apple(true, "p12").await;
}

#[tokio::test]
async fn a_sandbox_key_in_production_is_a_broken_certificate_with_apples_words() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let mut upload = sims.upload("apns");
    upload["credential"] = credential(&sims, "apns", true, "p8");
    let created = relay.admin.post(&relay.path("/certificates"), &upload).await;
    let cert_id = created["cert_id"].as_u64().expect("a cert_id");
    relay.device("joon", "apns", cert_id, 1).await;
    let taken = relay.send(&text("mina", "joon", 1, "hello")).await;
    let path = relay.path(&format!("/certificates/{cert_id}"));
    until("the certificate is broken", async || relay.admin.get(&path).await["status"] == "broken")
        .await;
    let explained = relay.explain(&taken["message_id"]).await;
    let said = explained["deliveries"][0]["attempts"][0]["code"].as_str().expect("a code");
    assert!(said.contains("Key"), "{explained:#}");
    let right = credential(&sims, "apns", false, "p8");
    relay.admin.put(&path, &json!({ "credential": right })).await;
    let explained = relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
}

/// Apple counts a key's tokens, whichever certificates send with it; the simulator does as well.
#[tokio::test]
async fn certificates_with_the_same_apple_key_share_its_token() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    for (random, user) in [(1, "joon"), (2, "jiho"), (3, "mina")] {
        let mut upload = sims.upload("apns");
        upload["name"] = json!(format!("for {user}"));
        let created = relay.admin.post(&relay.path("/certificates"), &upload).await;
        let cert_id = created["cert_id"].as_u64().expect("a cert_id");
        relay.device(user, "apns", cert_id, 1).await;
        let taken = relay.send(&text("bo", user, random, "hello")).await;
        let explained = relay.settled(&taken["message_id"]).await;
        let attempts = &explained["deliveries"][0]["attempts"];
        assert_eq!(attempts[0]["verdict"], "accepted", "{explained:#}");
        assert_eq!(attempts.as_array().map(Vec::len), Some(1));
    }
}

/// What is wrong with one certificate of a key must not cost the others its token: Apple would
/// take no new one for twenty minutes.
#[tokio::test]
async fn a_wrong_certificate_of_an_apple_key_holds_up_no_other() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let healthy = relay.certificate(&sims, "apns").await;
    relay.device("joon", "apns", healthy, 1).await;
    let taken = relay.send(&text("bo", "joon", 1, "hello")).await;
    relay.settled(&taken["message_id"]).await;
    let mut upload = sims.upload("apns");
    upload["name"] = json!("of another bundle id");
    upload["credential"]["bundle_id"] = json!("com.example.other");
    let created = relay.admin.post(&relay.path("/certificates"), &upload).await;
    let wrong = created["cert_id"].as_u64().expect("a cert_id");
    relay.device("jiho", "apns", wrong, 2).await;
    relay.send(&text("bo", "jiho", 2, "hello")).await;
    let path = relay.path(&format!("/certificates/{wrong}"));
    until("the certificate is broken", async || relay.admin.get(&path).await["status"] == "broken")
        .await;
    let taken = relay.send(&text("bo", "joon", 3, "hello again")).await;
    let explained = relay.settled(&taken["message_id"]).await;
    let attempts = &explained["deliveries"][0]["attempts"];
    assert_eq!(attempts[0]["verdict"], "accepted", "{explained:#}");
    assert_eq!(attempts.as_array().map(Vec::len), Some(1));
}

/// Neither its access token nor its pause.
#[tokio::test]
async fn a_number_that_is_used_again_finds_nothing_of_the_certificate_before() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let mut upload = sims.upload("huawei");
    upload["cert_id"] = json!(70);
    relay.admin.post(&relay.path("/certificates"), &upload).await;
    relay.device("joon", "huawei", 70, 1).await;
    let taken = relay.send(&text("mina", "joon", 1, "hello")).await;
    let explained = relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
    relay.admin.post("/v1/lanes/70/pause", &json!({})).await;
    let waits = relay.send(&text("mina", "joon", 2, "hello")).await;
    let path = relay.path("/certificates/70");
    relay.admin.call("DELETE", &path, &Value::Null).await;
    let explained = relay.settled(&waits["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["reason"], "cert_not_found", "{explained:#}");
    until("its lane is gone", async || {
        relay.admin.get("/v1/lanes").await == json!({ "lanes": [] })
    })
    .await;
    upload["credential"]["client_secret"] = json!("another-secret");
    relay.admin.post(&relay.path("/certificates"), &upload).await;
    relay.send(&text("mina", "joon", 3, "hello")).await;
    until("the certificate is broken", async || relay.admin.get(&path).await["status"] == "broken")
        .await;
    assert_eq!(sims.shown("huawei").len(), 1);
}

#[tokio::test]
async fn what_was_renewed_for_an_old_secret_is_renewed_for_again_after_a_rotation() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "huawei").await;
    let path = relay.path(&format!("/certificates/{cert_id}"));
    let token = relay.device("joon", "huawei", cert_id, 1).await;
    // Twice for the old secret: renewed, then broken. Once for the new: renewed, then sent.
    let rule: offpush::sim::faults::Rule = serde_json::from_value(json!({
        "match": { "token": token, "times": 3 },
        "action": { "status": 401, "body": { "code": "80200003", "msg": "token expired" } } }))
    .expect("a rule");
    sims.server.faults().add(rule).expect("a rule that makes sense");
    let taken = relay.send(&text("mina", "joon", 1, "hello")).await;
    until("the certificate is broken", async || relay.admin.get(&path).await["status"] == "broken")
        .await;
    let same = json!({ "credential": sims.upload("huawei")["credential"] });
    relay.admin.put(&path, &same).await;
    let explained = relay.settled(&taken["message_id"]).await;
    let delivery = &explained["deliveries"][0];
    assert_eq!(delivery["state"], "pushed", "{explained:#}");
    assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(4), "{delivery:#}");
    assert_eq!(relay.admin.get(&path).await["status"], "active");
}
