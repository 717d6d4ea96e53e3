//! What changed while a message waited counts when it is sent.

use std::time::Duration;

use offpush::account::Accounts;
use offpush::config::sections::Engine;
use offpush::model::id::{AppId, Conversation};
use offpush::model::time::UnixMs;
use offpush::store::StoreError;
use serde_json::{Value, json};

use crate::harness::{APP, Relay, Sims, text};
use crate::policy::{EVENING, Timed, store};

/// One change: method, path below the user, body, and the reason it leads to.
fn changes() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let permanent = json!({ "do_not_disturb": [
        { "daily": { "start": "00:00", "duration_s": 86_400, "time_zone": "UTC" } }] });
    let option = "/conversations/c2c:mina/receive-option";
    let state = "/devices/fcm-1/state";
    vec![
        ("PUT", "/preferences", json!({ "push_enabled": false }), "push_disabled"),
        ("PUT", "/preferences", permanent, "do_not_disturb"),
        ("PUT", option, json!({ "option": 1 }), "conversation_blocked"),
        ("PUT", option, json!({ "option": 2 }), "conversation_muted"),
        ("POST", state, json!({ "state": "foreground" }), "foreground"),
        ("POST", state, json!({ "state": "kicked" }), "logged_out"),
        ("DELETE", "/devices/fcm-1", Value::Null, "logged_out"),
    ]
}

#[tokio::test]
async fn every_change_applies_to_what_is_already_queued() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    for (index, (method, path, body, reason)) in (0u32..).zip(changes()) {
        let user = format!("user-{index}");
        relay.device(&user, "fcm", cert_id, 1).await;
        relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
        let taken = relay.send(&text("mina", &user, index, "hi")).await;
        let queued = relay.explain(&taken["message_id"]).await;
        assert_eq!(queued["deliveries"][0]["state"], "in_flight", "{reason}");
        let path = relay.path(&format!("/users/{user}{path}"));
        let answer = relay.admin.call(method, &path, &body).await;
        assert!(answer.status < 300, "{reason}: {answer:?}");
        relay.admin.post(&format!("/v1/lanes/{cert_id}/resume"), &json!({})).await;
        let explained = relay.settled(&taken["message_id"]).await;
        let delivery = &explained["deliveries"][0];
        assert_eq!(delivery["state"], "suppressed", "{reason}: {explained:#}");
        assert_eq!(delivery["reason"], reason);
        each_rule_once(delivery);
    }
    assert!(sims.shown("fcm").is_empty());
}

/// What the last rule saw, and said, is what is told, not what was true when it was accepted.
#[tokio::test]
async fn a_refusal_before_sending_is_explained_by_what_the_relay_saw_then() {
    let timed = Timed::start(Engine::Memory, &json!({ "name": "tests" })).await;
    let relay = &timed.relay;
    let midnight = EVENING.after(Duration::from_secs(2 * 3_600)).to_string();
    let quiet = json!([{ "daily": {
        "start": "22:00", "duration_s": 7_200, "time_zone": "Asia/Seoul" } },
        { "daily": { "start": "21:00", "duration_s": 10_800, "time_zone": "UTC" } }]);
    let off = json!({ "push_enabled": false, "do_not_disturb": quiet });
    let cases = [
        ("PUT", "/preferences", json!({ "do_not_disturb": quiet }), &*midnight, "(UTC)"),
        ("PUT", "/preferences", off, "", "switched push off"),
        (
            "POST",
            "/devices/xiaomi-1/state",
            json!({ "state": "foreground" }),
            "2026-01-01T22:05:",
            "never reported the background",
        ),
    ];
    for (number, (method, path, body, next, words)) in (0u32..).zip(cases) {
        let user = format!("user-{number}");
        relay.device(&user, "xiaomi", timed.cert_id, 1).await;
        relay.admin.post(&format!("/v1/lanes/{}/pause", timed.cert_id), &json!({})).await;
        let taken = relay.send(&text("mina", &user, number, "hi")).await;
        relay.admin.call(method, &relay.path(&format!("/users/{user}{path}")), &body).await;
        relay.admin.post(&format!("/v1/lanes/{}/resume", timed.cert_id), &json!({})).await;
        let explained = relay.settled(&taken["message_id"]).await;
        let delivery = &explained["deliveries"][0];
        let known = delivery["next_allowed_at"].as_str();
        let right = known.map_or(next.is_empty(), |at| !next.is_empty() && at.starts_with(next));
        assert!(right, "{delivery:#}");
        let advice = delivery["advice"].as_str().expect("advice");
        assert!(advice.contains(words), "{advice}");
    }
}

/// Every rule was asked at accept, and again before sending up to the one that refused.
fn each_rule_once(delivery: &Value) {
    let asked = |phase: &str| -> Vec<String> {
        let steps = delivery["steps"].as_array().expect("steps");
        let of_phase = steps.iter().filter(|step| step["phase"] == phase);
        of_phase.map(|step| step["rule"].as_str().expect("a rule").to_owned()).collect()
    };
    let all: Vec<&str> = offpush::policy::RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(asked("accept"), all);
    let again = asked("send");
    assert!(!again.is_empty() && again == all[..again.len()], "{again:?}");
}

#[tokio::test]
async fn what_was_read_elsewhere_is_not_sent_any_more() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    let read = relay.send(&text("mina", "joon", 1, "hi")).await;
    let unread = relay.send(&text("sora", "joon", 2, "hi")).await;
    Accounts::new(store(&relay))
        .change(AppId(APP), &"joon".into(), |account, _| {
            account.mark_read(Conversation::C2c("mina".into()), UnixMs(u64::MAX / 2));
            Ok::<_, StoreError>(())
        })
        .await
        .expect("a change");
    relay.admin.post(&format!("/v1/lanes/{cert_id}/resume"), &json!({})).await;
    let explained = relay.settled(&read["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "cancelled");
    let explained = relay.settled(&unread["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed");
}
