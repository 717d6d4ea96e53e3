//! One notification per conversation when the quiet hours end.

use offpush::account::Accounts;
use offpush::config::sections::Engine;
use offpush::model::id::{AppId, Conversation};
use offpush::store::StoreError;
use serde_json::{Value, json};

use crate::harness::{APP, text};
use crate::policy::{Timed, night, store};

fn digesting() -> Value {
    json!({ "name": "tests", "after_do_not_disturb": "digest" })
}

async fn asleep(engine: Engine) -> Timed {
    let timed = Timed::start(engine, &digesting()).await;
    timed.relay.device("joon", "xiaomi", timed.cert_id, 1).await;
    timed.relay.admin.put(&timed.relay.path("/users/joon/preferences"), &night()).await;
    timed
}

/// Sends a message that the quiet hours suppress; answers its id.
async fn silenced(timed: &Timed, random: u32, change: impl FnOnce(&mut Value)) -> Value {
    let mut message = text("mina", "joon", random, "secret words");
    message["FromNick"] = json!("Mina");
    change(&mut message);
    let taken = timed.relay.send(&message).await;
    let explained = timed.relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["reason"], "do_not_disturb", "{explained:#}");
    taken["message_id"].clone()
}

#[tokio::test]
async fn each_conversation_is_summed_up_once_when_the_window_ends_even_after_a_restart() {
    let timed = asleep(Engine::Redb).await;
    for random in 1..=3 {
        silenced(&timed, random, |_| {}).await;
    }
    for (random, nick) in [(11, "Sora"), (12, "Hana")] {
        silenced(&timed, random, |message| {
            message["GroupId"] = json!("team");
            message["GroupName"] = json!("Team");
            message["FromNick"] = json!(nick);
        })
        .await;
    }
    silenced(&timed, 21, |message| message["From_Account"] = json!("sora")).await;
    assert_eq!(timed.sum_up().await, 0, "the window is open");
    let timed = timed.restart().await;
    timed.skip_h(10);
    assert_eq!(timed.sum_up().await, 3);
    assert_eq!(timed.sum_up().await, 0, "once only");
    let mut shown = timed.shown().await;
    shown.sort();
    let expected = [
        ("Mina", "3 new messages"),
        ("Mina", "You have a new message"),
        ("Team", "2 new messages (Hana)"),
    ];
    let expected = expected.map(|(title, body)| (title.to_owned(), body.to_owned()));
    assert_eq!(shown, expected);
    let ledger = timed.relay.ledger().await;
    assert_eq!((&ledger["accepted"], &ledger["terminals"]["pushed"]), (&json!(9), &json!(3)));
}

#[tokio::test]
async fn a_digest_speaks_the_devices_language() {
    let timed = asleep(Engine::Memory).await;
    let path = timed.relay.path("/users/joon/devices/xiaomi-1");
    let token = crate::harness::token_of("xiaomi", "joon", 1);
    let device = json!({ "cert_id": timed.cert_id, "token": token, "platform": "android",
                         "locale": "ko-KR" });
    timed.relay.admin.put(&path, &device).await;
    for random in 1..=2 {
        silenced(&timed, random, |_| {}).await;
    }
    timed.skip_h(10);
    assert_eq!(timed.sum_up().await, 1);
    assert_eq!(timed.shown().await, [("Mina".to_owned(), "새 메시지 2개".to_owned())]);
}

#[tokio::test]
async fn nobody_is_told_what_was_met_otherwise() {
    let timed = asleep(Engine::Memory).await;
    let relay = &timed.relay;
    // Withdrawn.
    let id = silenced(&timed, 1, |_| {}).await;
    let path = relay.path(&format!("/messages/{}", id.as_str().expect("an id")));
    relay.admin.call("DELETE", &path, &Value::Null).await;
    // Past its life when the window ends.
    silenced(&timed, 2, |message| message["MsgLifeTime"] = json!(3_600)).await;
    // Read elsewhere.
    silenced(&timed, 3, |message| message["From_Account"] = json!("sora")).await;
    timed.skip_h(1);
    let now = timed.clock.now();
    Accounts::new(store(relay))
        .change(AppId(APP), &"joon".into(), |account, _| {
            account.mark_read(Conversation::C2c("sora".into()), now);
            Ok::<_, StoreError>(())
        })
        .await
        .expect("a change");
    timed.skip_h(9);
    assert_eq!(timed.sum_up().await, 0);
    assert!(timed.shown().await.is_empty());
}

#[tokio::test]
async fn coming_to_the_foreground_cancels_the_digest_of_what_came_before() {
    let timed = asleep(Engine::Memory).await;
    silenced(&timed, 1, |_| {}).await;
    timed.skip_h(1);
    let state = timed.relay.path("/users/joon/devices/xiaomi-1/state");
    for presence in ["foreground", "background"] {
        timed.relay.admin.post(&state, &json!({ "state": presence })).await;
    }
    timed.skip_h(1);
    silenced(&timed, 2, |_| {}).await;
    timed.skip_h(8);
    assert_eq!(timed.sum_up().await, 1);
    let expected = [("Mina".to_owned(), "You have a new message".to_owned())];
    assert_eq!(timed.shown().await, expected, "only what came afterwards");
}

#[tokio::test]
async fn another_window_moves_the_digest_and_a_permanent_one_ends_it() {
    let timed = asleep(Engine::Memory).await;
    silenced(&timed, 1, |_| {}).await;
    let preferences = timed.relay.path("/users/joon/preferences");
    let window = |start: &str, duration_s: u32| {
        json!({ "do_not_disturb": [
            { "daily": { "start": start, "duration_s": duration_s, "time_zone": "UTC" } }] })
    };
    timed.relay.admin.put(&preferences, &window("06:00", 14_400)).await;
    timed.skip_h(10);
    assert_eq!(timed.sum_up().await, 0, "08:00 is quiet now");
    timed.skip_h(3);
    assert_eq!(timed.sum_up().await, 1, "11:00 is not");
    assert_eq!(timed.shown().await.len(), 1);
    timed.relay.admin.put(&preferences, &window("10:00", 14_400)).await;
    silenced(&timed, 2, |_| {}).await;
    timed.relay.admin.put(&preferences, &window("00:00", 86_400)).await;
    timed.skip_h(10);
    assert_eq!(timed.sum_up().await, 0);
    timed.relay.admin.put(&preferences, &json!({})).await;
    assert_eq!(timed.sum_up().await, 0, "the note is gone");
    assert_eq!(timed.shown().await.len(), 1);
}

#[tokio::test]
async fn a_message_that_the_window_caught_in_the_queue_is_summed_up_too() {
    let timed = asleep(Engine::Memory).await;
    let relay = &timed.relay;
    let lane = |what: &str| format!("/v1/lanes/{}/{what}", timed.cert_id);
    let preferences = relay.path("/users/joon/preferences");
    relay.admin.put(&preferences, &json!({})).await;
    relay.admin.post(&lane("pause"), &json!({})).await;
    let taken = relay.send(&text("mina", "joon", 1, "hi")).await;
    relay.admin.put(&preferences, &night()).await;
    relay.admin.post(&lane("resume"), &json!({})).await;
    let explained = relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["reason"], "do_not_disturb");
    timed.skip_h(10);
    assert_eq!(timed.sum_up().await, 1);
    let expected = [("New message".to_owned(), "You have a new message".to_owned())];
    assert_eq!(timed.shown().await, expected);
}

#[tokio::test]
async fn the_default_is_to_drop() {
    let timed = Timed::start(Engine::Memory, &json!({ "name": "tests" })).await;
    timed.relay.device("joon", "xiaomi", timed.cert_id, 1).await;
    timed.relay.admin.put(&timed.relay.path("/users/joon/preferences"), &night()).await;
    silenced(&timed, 1, |_| {}).await;
    timed.skip_h(10);
    assert_eq!(timed.sum_up().await, 0);
    assert!(timed.shown().await.is_empty());
}
