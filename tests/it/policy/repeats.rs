//! However repeats, receivers and restarts mix: each receiver of each message rings exactly once.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use offpush::config::sections::Engine;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::harness::{Relay, Sims, text, token_of};
use crate::policy::traced;

const USERS: [&str; 4] = ["ava", "ben", "cho", "dae"];

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// These messages are posted at the same time, each to the receivers of its mask.
    Post(Vec<(u8, u8)>),
    /// The relay stops in order and starts again.
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let post = prop::collection::vec((0u8..4, 1u8..16), 1..4).prop_map(Event::Post);
    prop::collection::vec(prop_oneof![8 => post, 1 => Just(Event::Restart)], 4..14)
}

/// The message of that number: two one-to-one, two in groups. `run` keeps runs apart.
fn message(run: u32, number: u8, mask: u8) -> (Value, String, Vec<&'static str>) {
    let body = format!("run {run} message {number}");
    let mut message = text("mina", "", run, &body);
    let receivers: Vec<&str> =
        (0..4).filter(|bit| mask & (1 << bit) != 0).map(|bit| USERS[bit]).collect();
    message["To_Account"] = json!(receivers);
    if number >= 2 {
        message["GroupId"] = json!(format!("group-{number}"));
    }
    (message, body, receivers)
}

#[test]
fn each_receiver_rings_exactly_once_for_each_message() {
    let mut runner = TestRunner::new(Config { cases: 6, ..Config::default() });
    let mut cases = Vec::new();
    for _ in 0..6 {
        cases.push(events().new_tree(&mut runner).expect("a case").current());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run_all(cases));
}

async fn run_all(cases: Vec<Vec<Event>>) {
    let sims = Sims::start().await;
    let mut relay = Relay::start_with(&sims, Engine::Redb, |_| {}).await;
    let cert_id = relay.certificate(&sims, "xiaomi").await;
    for user in USERS {
        relay.device(user, "xiaomi", cert_id, 1).await;
    }
    for (run, events) in (0u32..).zip(cases) {
        let mut expected: BTreeMap<(String, String), usize> = BTreeMap::new();
        for event in &events {
            match event {
                Event::Restart => relay = relay.restart().await,
                Event::Post(posts) => {
                    let posts: Vec<_> =
                        posts.iter().map(|(number, mask)| message(run, *number, *mask)).collect();
                    join_all(posts.iter().map(|(message, _, _)| relay.send(message))).await;
                    for (_, body, receivers) in posts {
                        for user in receivers {
                            expected.insert((body.clone(), token_of("xiaomi", user, 1)), 1);
                        }
                    }
                }
            }
        }
        relay.ledger().await;
        let mut rung: BTreeMap<(String, String), usize> = BTreeMap::new();
        for shown in sims.shown("xiaomi") {
            *rung.entry((shown.body, shown.token)).or_default() += 1;
        }
        assert_eq!(rung, expected, "{events:?}");
        sims.server.phones().clear();
    }
}

/// Under which message each receiver of a repeat has it, as `explain` says.
async fn originals(relay: &Relay, taken: &Value) -> Vec<Value> {
    traced(relay, &taken["message_id"]).await;
    let explained = relay.explain(&taken["message_id"]).await;
    let deliveries = explained["deliveries"].as_array().expect("deliveries");
    deliveries.iter().map(|delivery| delivery["duplicate_of"].clone()).collect()
}

#[tokio::test]
async fn a_repeat_names_for_each_receiver_the_message_that_one_got() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let send = async |random: u32, to: &[&str]| {
        let mut message = text("mina", "", random, "hello");
        message["To_Account"] = json!(to);
        relay.send(&message).await
    };
    let (a, b) = (send(1, &["ava"]).await, send(1, &["ben"]).await);
    // Once by the store, once by what is in memory.
    for _ in 0..2 {
        let both = send(1, &["ava", "ben"]).await;
        assert_eq!((&both["status"], &both["of"]), (&json!("duplicate"), &a["message_id"]));
        let each = [a["message_id"].clone(), b["message_id"].clone()];
        assert_eq!(originals(&relay, &both).await, each);
    }
    // A message that only some of its receivers had is theirs who had it not.
    let (a, b) = (send(2, &["ava"]).await, send(2, &["ava", "ben"]).await);
    assert_eq!(b["status"], "accepted");
    assert_eq!(originals(&relay, &b).await, [a["message_id"].clone(), Value::Null]);
    for _ in 0..2 {
        let both = send(2, &["ava", "ben"]).await;
        assert_eq!((&both["status"], &both["of"]), (&json!("duplicate"), &a["message_id"]));
        let each = [a["message_id"].clone(), b["message_id"].clone()];
        assert_eq!(originals(&relay, &both).await, each);
    }
}
