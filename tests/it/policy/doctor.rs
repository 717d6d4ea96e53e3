//! The check-list for "nothing rings", answered for one user.

use offpush::account::Accounts;
use offpush::config::sections::Engine;
use offpush::model::device::TokenState;
use offpush::model::id::AppId;
use offpush::store::StoreError;
use serde_json::{Value, json};

use crate::harness::{APP, Relay, text, token_of};
use crate::policy::{Timed, night, store, traced};

async fn checkup(relay: &Relay) -> Value {
    relay.admin.get(&relay.path("/users/joon/doctor")).await
}

/// The status of one item, of whatever device.
fn status<'a>(checkup: &'a Value, item: &str) -> &'a str {
    let items = checkup["items"].as_array().expect("items");
    let found = items.iter().find(|one| one["item"] == item);
    let found = found.unwrap_or_else(|| panic!("no item {item}: {checkup:#}"));
    assert!(!found["advice"].as_str().unwrap_or_default().is_empty(), "{found:#}");
    found["status"].as_str().expect("a status")
}

async fn start() -> Timed {
    let timed = Timed::start(Engine::Memory, &json!({ "name": "tests" })).await;
    timed.relay.device("joon", "xiaomi", timed.cert_id, 1).await;
    let state = timed.relay.path("/users/joon/devices/xiaomi-1/state");
    timed.relay.admin.post(&state, &json!({ "state": "background" })).await;
    timed
}

#[tokio::test]
async fn a_healthy_user_has_nothing_to_worry_about() {
    let timed = start().await;
    let taken = timed.relay.send(&text("mina", "joon", 1, "hi")).await;
    timed.relay.settled(&taken["message_id"]).await;
    let checkup = checkup(&timed.relay).await;
    assert_eq!(checkup["status"], "ok", "{checkup:#}");
    let items = checkup["items"].as_array().expect("items");
    assert_eq!(items.len(), 13);
    let last = items.iter().find(|one| one["item"] == "vendor_answers").expect("the item");
    assert_eq!(last["saw"]["last"]["verdict"], "accepted");
}

#[tokio::test]
async fn who_never_reported_a_token_is_told_so() {
    let timed = Timed::start(Engine::Memory, &json!({ "name": "tests" })).await;
    let checkup = checkup(&timed.relay).await;
    assert_eq!(checkup["status"], "problem");
    assert_eq!(status(&checkup, "token_reported"), "problem");
}

#[tokio::test]
async fn the_users_own_settings_are_looked_at() {
    let timed = start().await;
    let relay = &timed.relay;
    let preferences = relay.path("/users/joon/preferences");
    relay.admin.put(&preferences, &night()).await;
    assert_eq!(status(&checkup(relay).await, "do_not_disturb"), "warning");
    let permanent = json!({ "push_enabled": false, "do_not_disturb": [
        { "daily": { "start": "00:00", "duration_s": 86_400, "time_zone": "UTC" } }] });
    relay.admin.put(&preferences, &permanent).await;
    let option = relay.path("/users/joon/conversations/group:team/receive-option");
    relay.admin.put(&option, &json!({ "option": 2 })).await;
    let checkup = checkup(relay).await;
    assert_eq!(status(&checkup, "do_not_disturb"), "problem");
    assert_eq!(status(&checkup, "push_enabled"), "problem");
    assert_eq!(status(&checkup, "conversation_options"), "warning");
    assert!(checkup.to_string().contains("group:team"));
}

#[tokio::test]
async fn the_devices_state_and_certificate_are_looked_at() {
    let timed = start().await;
    let relay = &timed.relay;
    let state = relay.path("/users/joon/devices/xiaomi-1/state");
    relay.admin.post(&state, &json!({ "state": "foreground" })).await;
    timed.skip_h(1);
    assert_eq!(status(&checkup(relay).await, "foreground_events"), "warning", "stuck");
    timed.skip_h(8 * 24);
    assert_eq!(status(&checkup(relay).await, "login"), "problem", "stale");
    relay.admin.post(&state, &json!({ "state": "logged_out" })).await;
    assert_eq!(status(&checkup(relay).await, "login"), "problem", "logged out");
    let certificate = relay.path(&format!("/certificates/{}", timed.cert_id));
    relay.admin.put(&certificate, &json!({ "enabled": false })).await;
    assert_eq!(status(&checkup(relay).await, "certificate"), "problem");
    Accounts::new(store(relay))
        .change(AppId(APP), &"joon".into(), |account, _| {
            let device = &mut account.devices[0];
            device.token_state = TokenState::Dead { at: device.seen_at };
            device.was_background = false;
            device.platform = offpush::model::device::Platform::Ios;
            Ok::<_, StoreError>(())
        })
        .await
        .expect("a change");
    let checkup = checkup(relay).await;
    assert_eq!(status(&checkup, "token"), "problem");
    assert_eq!(status(&checkup, "foreground_events"), "warning", "never in background");
    assert_eq!(status(&checkup, "certificate_id"), "problem", "another platform");
}

#[tokio::test]
async fn a_token_that_changes_again_and_again_is_noticed() {
    let timed = start().await;
    for number in 2..6 {
        let path = timed.relay.path("/users/joon/devices/xiaomi-1");
        let body = json!({ "cert_id": timed.cert_id, "platform": "android",
                           "token": token_of("xiaomi", "joon", number) });
        timed.relay.admin.put(&path, &body).await;
    }
    assert_eq!(status(&checkup(&timed.relay).await, "token_changes"), "warning");
    timed.skip_h(25);
    assert_eq!(status(&checkup(&timed.relay).await, "token_changes"), "ok", "long ago");
}

#[tokio::test]
async fn a_sender_with_a_constant_random_is_noticed_and_plain_redelivery_is_told_apart() {
    let timed = start().await;
    let relay = &timed.relay;
    for _ in 0..5 {
        let taken = relay.send(&text("mina", "joon", 7, "the same")).await;
        traced(relay, &taken["message_id"]).await;
    }
    let seen = checkup(relay).await;
    assert_eq!(status(&seen, "msg_random"), "warning");
    let items = seen["items"].as_array().expect("items");
    let item = items.iter().find(|one| one["item"] == "msg_random").expect("the item");
    assert_eq!(item["saw"]["senders"][0]["repeats"], 4, "{item:#}");
    assert!(item["advice"].as_str().is_some_and(|words| words.contains("same MsgRandom")));
}

#[tokio::test]
async fn the_vendors_last_word_is_passed_on() {
    let timed = start().await;
    let token = token_of("xiaomi", "joon", 1);
    let life = offpush::sim::phones::TokenLife::Dead { since: timed.clock.now() };
    timed.sims.server.phones().set_life("xiaomi", &token, life);
    let taken = timed.relay.send(&text("mina", "joon", 1, "hi")).await;
    timed.relay.settled(&taken["message_id"]).await;
    let checkup = checkup(&timed.relay).await;
    assert_eq!(status(&checkup, "vendor_answers"), "problem");
}
