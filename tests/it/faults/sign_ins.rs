//! How often a vendor is asked for an access token.

use std::time::Duration;

use serde_json::json;

use crate::faults::fault;
use crate::harness::{text, token_of, until};
use crate::stage::Stage;

/// OPPO gives a relay that starts again the token of the day before, which has half an hour left:
/// it is used, and not asked for again with every push.
#[tokio::test]
async fn an_old_token_of_oppos_is_used_while_it_lives() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "oppo").await;
    relay.device("joon", "oppo", cert_id, 1).await;
    let rule = json!({ "vendor": "oppo", "match": { "path": "/server/v1/auth" }, "action": {} });
    fault(&stage, rule);
    let sign_ins = || stage.sims.server.faults().list()[0].seen;
    let taken = relay.send(&text("mina", "joon", 0, "yesterday")).await;
    relay.settled(&taken["message_id"]).await;
    assert_eq!(sign_ins(), 1, "the token is made");
    let mut relay = relay;
    relay.stop().await;
    stage.clock.skip(Duration::from_secs(23 * 3_600 + 1_800));
    let relay = stage.start().await;
    for number in 1..=20 {
        let taken = relay.send(&text("mina", "joon", number, "today")).await;
        relay.settled(&taken["message_id"]).await;
    }
    assert_eq!(stage.sims.shown("oppo").len(), 21);
    assert_eq!(sign_ins(), 2, "the same token, once for twenty pushes");
    // The token ends and OPPO makes another.
    stage.pass(&relay, Duration::from_secs(3_600));
    let taken = relay.send(&text("mina", "joon", 21, "tomorrow")).await;
    relay.settled(&taken["message_id"]).await;
    assert_eq!((stage.sims.shown("oppo").len(), sign_ins()), (22, 3));
}

/// What vendors answer to a sign-in with a wrong secret: path, status, body, code.
fn refusals() -> [(&'static str, &'static str, u16, serde_json::Value, &'static str); 3] {
    let google = json!({ "error": "invalid_grant", "error_description": "Invalid JWT Signature." });
    let huawei = json!({ "error": 1101, "sub_error": 20001, "error_description": "wrong secret" });
    let oppo = json!({ "code": 16, "message": "sign error" });
    [
        ("fcm", "/token", 401, google, "invalid_grant"),
        ("huawei", "/oauth2", 401, huawei, "1101"),
        ("oppo", "/server/v1/auth", 200, oppo, "16"),
    ]
}

#[tokio::test]
async fn a_refused_sign_in_shows_how_the_vendor_answered_it() {
    for (vendor, path, status, body, code) in refusals() {
        let stage = Stage::new(|_| {}).await;
        let relay = stage.first().await;
        let cert_id = relay.certificate(&stage.sims, vendor).await;
        relay.device("joon", vendor, cert_id, 1).await;
        let action = json!({ "status": status, "body": body });
        fault(&stage, json!({ "vendor": vendor, "match": { "path": path }, "action": action }));
        let taken = relay.send(&text("mina", "joon", 1, "let me in")).await;
        let attempts = async || {
            let explained = relay.explain(&taken["message_id"]).await;
            explained["deliveries"][0]["attempts"].clone()
        };
        until("it was tried", async || attempts().await != json!([])).await;
        let first = &attempts().await[0];
        assert_eq!((&first["status"], &first["code"]), (&json!(status), &json!(code)), "{vendor}");
        let trial = relay.path(&format!("/certificates/{cert_id}/verify"));
        let refused = relay.admin.post(&trial, &json!({})).await;
        assert_eq!((&refused["ok"], &refused["status"]), (&json!(false), &json!(status)));
        let raw = refused["raw"].as_str().expect("text");
        assert_eq!(serde_json::from_str::<serde_json::Value>(raw).ok(), Some(body), "{vendor}");
        // Mended at the vendor's, it is asked and not remembered.
        stage.sims.server.faults().clear();
        let verified = relay.admin.post(&trial, &json!({})).await;
        assert_eq!(verified["ok"], true, "{vendor}: {verified:#}");
    }
}

#[tokio::test]
async fn a_test_push_asks_a_vendor_that_refused_the_sign_in_a_moment_ago() {
    for (vendor, path, status, body, _) in refusals() {
        let stage = Stage::new(|_| {}).await;
        let relay = stage.first().await;
        let cert_id = relay.certificate(&stage.sims, vendor).await;
        let action = json!({ "status": status, "body": body });
        fault(&stage, json!({ "vendor": vendor, "match": { "path": path }, "action": action }));
        let trial = relay.path(&format!("/certificates/{cert_id}/test-push"));
        let push = json!({ "token": token_of(vendor, "tester", 1) });
        assert_eq!(relay.admin.post(&trial, &push).await["ok"], false, "{vendor}");
        stage.sims.server.faults().clear();
        let pushed = relay.admin.post(&trial, &push).await;
        assert_eq!(pushed["ok"], true, "{vendor}: {pushed:#}");
    }
}
