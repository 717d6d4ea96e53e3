//! Finding the messages an operator asks about.

use offpush::config::sections::Engine;
use offpush::explain::search::{Query, newest};
use offpush::model::id::{AppId, MessageId};
use offpush::model::time::UnixMs;
use offpush::store::Batch;
use offpush::trace::{self, Attempt, Step, StepResult};
use serde_json::{Value, json};

use crate::harness::{APP, Relay, Sims, text};
use crate::policy::{Timed, store};

async fn found(relay: &Relay, query: &str) -> Vec<String> {
    let answer = relay.admin.get(&relay.path(&format!("/explain?{query}"))).await;
    let messages = answer["messages"].as_array().expect("messages");
    messages.iter().map(id).collect()
}

/// In the order of an answer: within one millisecond it is not that of sending.
fn sorted<const N: usize>(mut ids: [&String; N]) -> Vec<String> {
    ids.sort();
    ids.into_iter().cloned().collect()
}

fn id(taken: &Value) -> String {
    taken["message_id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn each_way_of_asking_finds_its_messages() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "xiaomi").await;
    relay.device("joon", "xiaomi", cert_id, 1).await;
    relay.device("joon", "xiaomi", cert_id, 2).await;
    let mut first = text("mina", "joon", 7, "one");
    first["MsgKey"] = json!("1_7_100");
    let first = id(&relay.send(&first).await);
    let second = id(&relay.send(&text("sora", "joon", 8, "two")).await);
    let third = id(&relay.send(&text("sora", "nobody", 9, "three")).await);
    relay.ledger().await;
    assert_eq!(found(&relay, "").await, sorted([&first, &second, &third]));
    assert_eq!(found(&relay, "user=joon").await, sorted([&first, &second]));
    assert_eq!(found(&relay, "from=sora").await, sorted([&second, &third]));
    assert_eq!(found(&relay, "msg_random=8").await, sorted([&second]));
    assert_eq!(found(&relay, "msg_key=1_7_100").await, sorted([&first]));
    assert_eq!(found(&relay, "reason=no_device").await, sorted([&third]));
    assert_eq!(found(&relay, "reason=suppressed").await, sorted([&third]));
    assert_eq!(found(&relay, "reason=pushed&from=mina").await, sorted([&first]));
    assert_eq!(found(&relay, "device_id=xiaomi-2").await, sorted([&first, &second]));
    assert!(found(&relay, "until=1000").await.is_empty());
    assert!(found(&relay, "since=4000000000").await.is_empty());
    assert_eq!(found(&relay, "since=1000&user=nobody").await, sorted([&third]));
    let answer = relay.admin.get(&relay.path("/explain?device_id=xiaomi-2&from=mina")).await;
    let deliveries = answer["messages"][0]["deliveries"].as_array().expect("deliveries");
    assert_eq!(deliveries.len(), 1, "only the device asked for");
    assert_eq!(deliveries[0]["device_id"], "xiaomi-2");
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repeat_however_long_a_trace_is() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let mut sent = Vec::new();
    for random in 0..5 {
        sent.push(id(&relay.send(&text("mina", "joon", random, "hi")).await));
    }
    // Within one millisecond their order is not that of sending.
    sent.sort();
    // Two messages whose traces are longer than what is read at a time.
    for long in [1, 2] {
        let message_id: MessageId = sent[long].parse().expect("an id");
        for at in 0..2_500u64 {
            let attempt = Attempt {
                status: 503,
                code: String::new(),
                says: String::new(),
                verdict: "unavailable".into(),
                latency_ms: 1,
                vendor_id: None,
            };
            let result = StepResult { attempt: Some(attempt), ..StepResult::of(0) };
            let step =
                Step { at: UnixMs(message_id.accepted_at().0 + 1 + at), results: vec![result] };
            let mut batch = Batch::default();
            trace::step(message_id, 0, 0, &step, &mut batch);
            store(&relay).commit(message_id.partition(), batch).await.expect("written");
        }
    }
    for limit in [1, 2, 5] {
        let mut pages = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = relay.path(&format!("/explain?limit={limit}{cursor}"));
            let answer = relay.admin.get(&path).await;
            for one in answer["messages"].as_array().expect("messages") {
                let message_id = one["message_id"].as_str().expect("an id").to_owned();
                let attempts = one["deliveries"][0]["attempts"].as_array().map_or(0, Vec::len);
                let long = [&sent[1], &sent[2]].contains(&&message_id);
                assert_eq!(attempts, if long { 2_500 } else { 0 }, "limit {limit}");
                pages.push(message_id);
            }
            match answer["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(pages, sent, "limit {limit}");
    }
}

#[tokio::test]
async fn the_newest_messages_are_found_however_many_there_were_before() {
    let timed = Timed::start(Engine::Memory, &json!({ "name": "tests" })).await;
    let mut sent = Vec::new();
    for random in 0..6 {
        sent.push(id(&timed.relay.send(&text("mina", "joon", random, "hi")).await));
        timed.skip_h(1);
    }
    let store = store(&timed.relay);
    let ask = async |user: &str, most: usize, rows_max: usize| -> Vec<String> {
        let query = Query { user: Some(user.into()), ..Query::default() };
        let now = timed.clock.now();
        let found = newest(&store, AppId(APP), &query, most, rows_max, now).await.expect("read");
        found.iter().map(|trace| trace.message_id.to_string()).collect()
    };
    assert_eq!(ask("joon", 2, 1_000).await, sent[4..], "oldest first");
    assert_eq!(ask("joon", 100, 1_000).await, sent);
    assert_eq!(ask("nobody", 2, 1_000).await, Vec::<String>::new());
    // Each window is as long as all before it: those that end an hour and two hours ago hold one
    // message each, the next one two. One that cannot be read to its end tells nothing.
    assert_eq!(ask("joon", 100, 1).await, sent[5..]);
    assert_eq!(ask("joon", 100, 3).await, sent[4..]);
    assert_eq!(ask("joon", 100, 4).await, sent[2..]);
}
