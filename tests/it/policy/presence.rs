//! Where the app is, and for how long that is believed.

use offpush::config::sections::Engine;
use offpush::model::id::AppId;
use offpush::registry::badge_key;
use serde_json::{Value, json};

use crate::harness::{APP, text};
use crate::policy::{Timed, all_rows, store};

async fn decided(timed: &Timed, random: u32) -> Value {
    let taken = timed.relay.send(&text("mina", "joon", random, "hi")).await;
    timed.relay.settled(&taken["message_id"]).await["deliveries"][0].clone()
}

async fn report(timed: &Timed, state: &str) {
    let path = timed.relay.path("/users/joon/devices/xiaomi-1/state");
    timed.relay.admin.post(&path, &json!({ "state": state })).await;
}

async fn start() -> Timed {
    let timed = Timed::start(Engine::Memory, &json!({ "name": "tests" })).await;
    timed.relay.device("joon", "xiaomi", timed.cert_id, 1).await;
    timed
}

#[tokio::test]
async fn a_foreground_that_was_never_closed_expires() {
    let timed = start().await;
    report(&timed, "foreground").await;
    let delivery = decided(&timed, 1).await;
    assert_eq!(delivery["reason"], "foreground");
    assert!(delivery["next_allowed_at"].is_string(), "{delivery:#}");
    assert!(delivery["advice"].as_str().is_some_and(|words| words.contains("never reported")));
    timed.clock.skip(std::time::Duration::from_secs(
        u64::from(timed.relay.settings.presence.foreground_expires_s) + 1,
    ));
    assert_eq!(decided(&timed, 2).await["state"], "pushed");
}

#[tokio::test]
async fn background_and_a_lost_link_ring_and_logged_out_and_kicked_do_not() {
    let timed = start().await;
    let table = [
        ("background", "pushed", Value::Null),
        ("offline", "pushed", Value::Null),
        ("logged_out", "suppressed", json!("logged_out")),
        ("kicked", "suppressed", json!("logged_out")),
    ];
    for ((state, end, reason), random) in table.into_iter().zip(1..) {
        report(&timed, state).await;
        let delivery = decided(&timed, random).await;
        assert_eq!((&delivery["state"], &delivery["reason"]), (&json!(end), &reason), "{state}");
    }
    timed.relay.device("joon", "xiaomi", timed.cert_id, 1).await;
    assert_eq!(decided(&timed, 9).await["state"], "pushed", "a fresh log-in revives it");
}

/// What a message adds to a badge is in its own commit.
#[tokio::test]
async fn a_badge_is_counted_only_for_vendors_that_show_one() {
    let timed = start().await;
    let cert_id = timed.relay.certificate(&timed.sims, "fcm").await;
    timed.relay.device("joon", "fcm", cert_id, 1).await;
    timed.relay.send(&text("mina", "joon", 1, "hi")).await;
    let rows = all_rows(&store(&timed.relay)).await;
    let counted = |device: &str| {
        let key = badge_key(AppId(APP), &"joon".into(), &device.into());
        rows.iter().any(|(known, _)| *known == key)
    };
    assert_eq!((counted("xiaomi-1"), counted("fcm-1")), (false, true));
}

#[tokio::test]
async fn a_device_silent_for_a_week_does_not_ring_until_it_is_seen_again() {
    let timed = start().await;
    timed.skip_h(7 * 24);
    timed.clock.skip(std::time::Duration::from_secs(60));
    let delivery = decided(&timed, 1).await;
    assert_eq!(delivery["reason"], "stale_login");
    let steps = delivery["steps"].as_array().expect("steps");
    let state = steps.iter().find(|step| step["rule"] == "device_state").expect("the rule");
    assert!(state["saw"]["seen_age_s"].as_u64() >= Some(7 * 86_400), "{state}");
    report(&timed, "background").await;
    assert_eq!(decided(&timed, 2).await["state"], "pushed");
}
