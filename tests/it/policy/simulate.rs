//! Yesterday's messages under other settings.

use serde_json::{Value, json};

use crate::harness::{Relay, Sims, text};
use crate::policy::{all_rows, store};

async fn simulate(relay: &Relay, settings: &Value) -> Value {
    let body = json!({ "since": "1000", "settings": settings });
    relay.admin.post(&relay.path("/simulate"), &body).await
}

#[tokio::test]
async fn other_settings_are_tried_on_what_came_and_change_nothing() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "xiaomi").await;
    relay.device("joon", "xiaomi", cert_id, 1).await;
    relay.device("sora", "xiaomi", cert_id, 2).await;
    let option = relay.path("/users/joon/conversations/c2c:mina/receive-option");
    relay.admin.put(&option, &json!({ "option": 2 })).await;
    let state = relay.path("/users/sora/devices/xiaomi-2/state");
    relay.admin.post(&state, &json!({ "state": "foreground" })).await;
    let muted = relay.send(&text("mina", "joon", 1, "hi")).await;
    let on_screen = relay.send(&text("mina", "sora", 2, "hi")).await;
    relay.send(&text("hana", "joon", 3, "hi")).await;
    relay.ledger().await;
    let before = all_rows(&store(&relay)).await;

    let same = simulate(&relay, &json!({})).await;
    assert_eq!((&same["messages"], &same["changed"]), (&json!(3), &json!(0)), "{same:#}");
    let tencent = simulate(&relay, &json!({ "honour_mute": "tencent" })).await;
    let expected = json!([
        { "before": "conversation_muted", "after": "would_push", "deliveries": 1 }]);
    assert_eq!(tencent["reasons"], expected, "{tencent:#}");
    assert_eq!(tencent["differences"][0]["message_id"], muted["message_id"]);
    let impatient = simulate(&relay, &json!({ "foreground_expires_s": 0 })).await;
    assert_eq!(impatient["differences"][0]["message_id"], on_screen["message_id"]);
    assert_eq!(impatient["differences"][0]["before"], "foreground");
    let wrong = relay
        .admin
        .call("POST", &relay.path("/simulate"), &json!({ "settings": { "no_such": 1 } }))
        .await;
    assert_eq!((wrong.status, &wrong.body["error"]["field"]), (400, &json!("settings.no_such")));
    assert!(before == all_rows(&store(&relay)).await, "it wrote something");
}

#[tokio::test]
async fn what_a_rule_refused_before_sending_is_decided_again_on_those_facts() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "xiaomi").await;
    relay.device("joon", "xiaomi", cert_id, 1).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    let taken = relay.send(&text("mina", "joon", 1, "hi")).await;
    let state = relay.path("/users/joon/devices/xiaomi-1/state");
    relay.admin.post(&state, &json!({ "state": "foreground" })).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/resume"), &json!({})).await;
    relay.settled(&taken["message_id"]).await;
    let answer = simulate(&relay, &json!({ "foreground_expires_s": 0 })).await;
    let expected = json!([{ "before": "foreground", "after": "would_push", "deliveries": 1 }]);
    assert_eq!(answer["reasons"], expected, "{answer:#}");
}
