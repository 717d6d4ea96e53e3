//! Pure pushes: to named users and to all members.

use std::time::Duration;

use offpush::config::sections::Engine;
use offpush::model::id::AppId;
use offpush::store::faulty::Hold;
use serde_json::{Value, json};

use crate::harness::{APP, Relay, until};
use crate::stage::Stage;
use crate::tencent::{Door, push, with};

const NAMED: &str = "timpush/batch";
const ALL: &str = "timpush/push";

fn to_all(random: u32, text: &str) -> Value {
    with(&push(&[], random, text), "To_Account", Value::Null)
}

#[tokio::test]
async fn a_named_push_rings_and_names_whom_the_relay_does_not_know() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    let token = door.phone("joon", cert_id).await;
    let answer = door.ok(NAMED, &push(&["joon", "ghost"], 5, "sale")).await;
    assert!(answer["TaskId"].as_str().is_some_and(|id| id.starts_with("batch_")), "{answer}");
    assert_eq!(answer["ErrorList"], json!([{ "To_Account": "ghost", "ErrorCode": 70_107 }]));
    door.settled(&answer).await;
    assert_eq!(door.shown("sale"), [token]);
    // Push results call the task after the message.
    let message_id = answer["MessageIds"][0].as_str().expect("an id");
    assert_eq!(answer["TaskId"], json!(format!("batch_{message_id}")));
    assert_eq!(task_of(&door, message_id).await.as_deref(), Some("batch"));
}

/// The task that push results will name for a message.
async fn task_of(door: &Door, message_id: &str) -> Option<String> {
    let api = &door.relay.app.as_ref().expect("running").api;
    let message_id = message_id.parse().expect("a message id");
    let trace = offpush::explain::search::one(&api.store, AppId(APP), message_id).await;
    trace.expect("readable").expect("a trace").opening.task_id
}

#[tokio::test]
async fn a_pure_push_leaves_the_apple_badge_alone_unless_it_says_so() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    let quiet = door.ok(NAMED, &push(&["joon"], 5, "quiet")).await;
    door.settled(&quiet).await;
    let mut counting = push(&["joon"], 6, "counting");
    counting["OfflinePushInfo"]["ApnsInfo"] = json!({ "BadgeMode": 0 });
    let counting = door.ok(NAMED, &counting).await;
    door.settled(&counting).await;
    let shown = door.sims.shown("apns");
    let badge = |text: &str| {
        shown.iter().find(|shown| shown.body == text).expect("shown").raw["badge"].clone()
    };
    assert_eq!((badge("quiet"), badge("counting")), (Value::Null, json!(1)));
}

#[tokio::test]
async fn each_mistake_in_a_named_push_has_tencents_number() {
    let door = Door::open().await;
    let good = push(&["joon"], 5, "x");
    let many: Vec<_> = (0..501).map(|n| format!("u{n}")).collect();
    for (field, value, code) in [
        ("From_Account", Value::Null, 90_008),
        ("To_Account", Value::Null, 90_003),
        ("To_Account", json!("joon"), 90_028),
        ("To_Account", json!([]), 90_029),
        ("To_Account", json!(many), 90_011),
        ("MsgRandom", Value::Null, 90_001),
        ("MsgRandom", json!("x"), 90_001),
        ("OfflinePushInfo", Value::Null, 90_043),
        ("OfflinePushInfo", json!([]), 90_043),
        ("OfflinePushInfo", json!({}), 90_043),
        ("OfflinePushInfo", json!({ "Desc": "x", "ApnsInfo": 5 }), 90_043),
        ("DataId", json!("x".repeat(65)), 90_057),
    ] {
        let answer = door.call(NAMED, &with(&good, field, value.clone())).await;
        assert_eq!(answer["ErrorCode"], code, "{field} = {value}: {answer}");
    }
    assert_eq!(door.code(NAMED, &with(&good, "DataId", json!("x".repeat(64)))).await, 0);
}

#[tokio::test]
async fn an_equal_random_of_one_second_is_the_same_push_whatever_it_says() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    // A second may end between two calls, but not between many pairs of them.
    let mut repeats = 0;
    for random in 0..20 {
        let first = door.ok(NAMED, &push(&["joon"], random, "first")).await;
        let second = door.ok(NAMED, &push(&["joon"], random, "second")).await;
        repeats += usize::from(first["TaskId"] == second["TaskId"]);
    }
    assert!(repeats > 0);
    door.relay.ledger().await;
    assert_eq!(door.shown("second").len(), 20 - repeats);
}

#[tokio::test]
async fn a_push_to_all_reaches_every_user_with_a_device_and_tells_its_progress() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    let mut expected = Vec::new();
    for user in ["a", "b", "c"] {
        expected.push(door.phone(user, cert_id).await);
    }
    expected.sort();
    let quiet = door.relay.path("/users/no-device/preferences");
    door.relay.admin.put(&quiet, &json!({ "push_enabled": true, "c2c_sound": "x" })).await;
    let answer = door.ok(ALL, &to_all(5, "to everybody")).await;
    let path = door.relay.path(&format!("/push-tasks/{}", answer["TaskId"].as_str().expect("id")));
    until("the task is through", async || door.relay.admin.get(&path).await["state"] == "finished")
        .await;
    let task = door.relay.admin.get(&path).await;
    assert_eq!((&task["users"], &task["receivers"]), (&json!(4), &json!(3)), "{task}");
    door.relay.ledger().await;
    assert_eq!(door.shown("to everybody"), expected);
    let found = door.relay.admin.get(&door.relay.path("/explain?user=a")).await;
    let message_id = found["messages"][0]["message_id"].as_str().expect("an id");
    assert_eq!(task_of(&door, message_id).await.as_deref(), answer["TaskId"].as_str());
    let again = door.ok(ALL, &to_all(5, "to everybody")).await;
    assert_eq!(again["TaskId"], answer["TaskId"]);
    assert_eq!(door.relay.ledger().await["accepted"], 3);
    let listed = door.relay.admin.get(&door.relay.path("/push-tasks")).await;
    assert_eq!(listed["push_tasks"], json!([task]));
    let missing = door.relay.path("/push-tasks/push_0");
    assert_eq!(door.relay.admin.call("GET", &missing, &json!({})).await.status, 404);
}

#[tokio::test]
async fn each_mistake_in_a_push_to_all_has_tencents_number() {
    let door = Door::open().await;
    let good = to_all(5, "x");
    for (field, value, code) in [
        ("MsgRandom", Value::Null, 90_001),
        ("MsgRandom", json!("x"), 90_001),
        ("MsgLifeTime", json!("x"), 90_044),
        ("MsgLifeTime", json!(604_801), 90_026),
        ("OfflinePushInfo", Value::Null, 90_043),
        ("OfflinePushInfo", json!({ "Ext": "{}" }), 90_043),
        ("OfflinePushInfo", json!(5), 90_043),
        ("MsgBody", json!(5), 90_007),
        ("Condition", json!({ "TagsOr": ["vip"] }), 90_022),
        ("Condition", json!({ "AttrsAnd": { "city": "x" } }), 90_022),
        ("CloudCustomData", json!("x".repeat(10_300)), 90_056),
    ] {
        let answer = door.call(ALL, &with(&good, field, value.clone())).await;
        assert_eq!(answer["ErrorCode"], code, "{field}: {answer}");
    }
    let old_path = door.ok("all_member_push/im_push", &with(&good, "Condition", json!({}))).await;
    assert!(old_path["TaskId"].is_string());
    // More than one a second is refused; an equal random is no second one.
    let mut codes = Vec::new();
    for random in 6..16 {
        codes.push(door.code(ALL, &to_all(random, "x")).await);
    }
    assert!(codes.contains(&90_024), "{codes:?}");
    assert_eq!(door.ok(ALL, &good).await["TaskId"], old_path["TaskId"]);
}

fn with_body(push: &Value, text: &str) -> Value {
    let element = json!({ "MsgType": "TIMTextElem", "MsgContent": { "Text": text } });
    with(push, "MsgBody", json!([element]))
}

/// What the only Apple phone shows of the only push, once it rang.
async fn shown_by(door: &Door) -> (String, Value) {
    until("a phone rings", async || {
        door.relay.ledger().await;
        !door.sims.shown("apns").is_empty()
    })
    .await;
    let shown = door.sims.shown("apns").remove(0);
    (shown.body, shown.raw["badge"].clone())
}

#[tokio::test]
async fn a_pure_push_to_all_derives_nothing_from_elements() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    let body = with_body(&to_all(5, "x"), "what online users read");
    for silent in [Value::Null, json!({}), json!({ "Title": "", "Desc": "" })] {
        let body = with(&body, "OfflinePushInfo", silent);
        assert_eq!(door.code(ALL, &body).await, 90_043);
    }
    door.ok(ALL, &with(&body, "OfflinePushInfo", json!({ "Title": "News" }))).await;
    // A title alone is what is shown.
    let (text, badge) = shown_by(&door).await;
    assert_eq!((text.as_str(), badge), ("News", Value::Null));
}

#[tokio::test]
async fn the_older_push_to_all_shows_its_message_and_leaves_the_badge_alone() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    let body = with(&to_all(5, "x"), "OfflinePushInfo", Value::Null);
    assert_eq!(door.code("all_member_push/im_push", &body).await, 90_002);
    door.ok("all_member_push/im_push", &with_body(&body, "to everybody")).await;
    let (text, badge) = shown_by(&door).await;
    assert_eq!((text.as_str(), badge), ("to everybody", Value::Null));
}

#[tokio::test]
async fn a_push_to_all_goes_on_after_a_restart() {
    let mut door = Door::open().await;
    door.relay = Relay::start_with(&door.sims, Engine::Sled, |_| {}).await;
    let settings = json!({ "usersig_keys": [crate::tencent::KEY] });
    door.relay.admin.put(&door.relay.path(""), &settings).await;
    door.anyone = door.relay.admin.with_key(None);
    let cert_id = door.apns().await;
    // More than one page, so that the task rests between two.
    let mut registered = Vec::new();
    for user in 0..600 {
        let user = format!("u{user:03}");
        registered.push(door.phone(&user, cert_id).await);
    }
    let answer = door.ok(ALL, &to_all(5, "to everybody")).await;
    door.relay = door.relay.restart().await;
    let path = door.relay.path(&format!("/push-tasks/{}", answer["TaskId"].as_str().expect("id")));
    until("the task is through", async || door.relay.admin.get(&path).await["state"] == "finished")
        .await;
    assert_eq!(door.relay.admin.get(&path).await["receivers"], 600);
    door.relay.ledger().await;
    registered.sort();
    assert_eq!(door.shown("to everybody"), registered);
}

#[tokio::test]
async fn a_push_to_all_that_a_stop_kept_beyond_its_life_rings_nobody_and_ends() {
    let stage = Stage::new(|_| {}).await;
    let mut first = stage.first().await;
    let cert_id = first.certificate(&stage.sims, "huawei").await;
    first.device("joon", "huawei", cert_id, 1).await;
    first.stop().await;
    let view = stage.view();
    let mut relay = stage.try_start(&view).await.expect("a relay");
    let tasks = |relay: &Relay| relay.app.as_ref().expect("running").api.front_door.tasks.clone();
    let (making, listing) = (tasks(&relay), tasks(&relay));
    let message = json!({ "From_Account": "administrator", "MsgRandom": 5, "MsgLifeTime": 60,
                          "OfflinePushInfo": { "Title": "News", "Desc": "sale" } });
    // It dies when the task is written and nothing of it done.
    view.hold_commits(Some(Hold::After));
    let message = message.to_string().into_bytes();
    let made = tokio::spawn(async move { making.make(AppId(APP), 5, message).await });
    until("it is written", async || {
        relay.admin.get("/healthz").await;
        listing.list(AppId(APP)).await.expect("tasks").len() == 1
    })
    .await;
    view.crash();
    view.hold_commits(None);
    made.await.expect("no panic").expect("made");
    relay.app.take().expect("running").abandon().await;
    stage.clock.skip(Duration::from_secs(60));
    let relay = stage.start().await;
    let listing = tasks(&relay);
    until("it is finished", async || {
        relay.admin.get("/healthz").await;
        listing.list(AppId(APP)).await.expect("tasks")[0].finished_at.is_some()
    })
    .await;
    assert_eq!(relay.admin.get("/v1/ledger").await["accepted"], 0);
}
