//! The process dies at every single call of the store: what was answered 202 rings, what rings
//! twice was in flight, and the ledger balances.
//!
//! One relay tells a short story on a view of the store that dies at its n-th call, for every n the
//! story has. Then a second relay starts on what the store holds and works it off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use offpush::store::faulty::{Fault, FaultyStore};
use serde_json::{Value, json};

use crate::harness::{Relay, text};
use crate::stage::Stage;

/// Messages of the story.
const MESSAGES: u32 = 4;

/// Vendors of the story: one that takes many tokens a request, one that takes one.
const STORY: [&str; 2] = ["huawei", "fcm"];

/// What the teller of the story knows.
#[derive(Default)]
struct Told {
    /// Messages answered with 202, by their text.
    accepted: BTreeMap<String, Value>,
    /// Messages that were refused or whose answer never came.
    open: Vec<Value>,
}

/// The messages of the story.
fn story() -> Vec<Value> {
    (0..MESSAGES).map(|random| text("mina", "joon", random, &format!("message {random}"))).collect()
}

fn body_of(message: &Value) -> String {
    message["MsgBody"][0]["MsgContent"]["Text"].as_str().expect("a text").to_owned()
}

/// Posts again what got no answer, as a chat server does.
async fn post_again(relay: &Relay, told: &mut Told) {
    for message in std::mem::take(&mut told.open) {
        let taken = relay.send(&message).await;
        let id = if taken["status"] == "duplicate" { &taken["of"] } else { &taken["message_id"] };
        told.accepted.insert(body_of(&message), id.clone());
    }
}

/// Tells the story as far as the store lets it.
async fn tell(relay: &Relay) -> Told {
    let mut told = Told::default();
    for message in story() {
        let body = body_of(&message);
        match relay.admin.try_post(&relay.path("/messages"), &message).await {
            Some(answer) if answer.status == 202 => {
                told.accepted.insert(body, answer.body["results"][0]["message_id"].clone());
            }
            _ => told.open.push(message),
        }
    }
    told
}

/// Waits until the story is over or the store is dead.
async fn finish(relay: &Relay, view: &FaultyStore) {
    for _ in 0..100_000 {
        if view.is_crashed() {
            return;
        }
        let ledger = relay.admin.raw("GET", "/v1/ledger", "application/json", Vec::new()).await;
        if ledger.status == 200 && ledger.body["in_flight"] == 0 {
            return;
        }
    }
    panic!("the story never ends");
}

/// Prepares apps, certificates and devices, once.
async fn prepare(stage: &Stage) {
    let mut relay = stage.first().await;
    for vendor in STORY {
        let cert_id = relay.certificate(&stage.sims, vendor).await;
        for number in 0..2 {
            relay.device("joon", vendor, cert_id, number).await;
        }
    }
    relay.stop().await;
}

/// Forgets what rang, so that the next round starts clean.
fn clear(stage: &Stage) {
    stage.sims.server.phones().clear();
    // Beyond every window, so that the same story is new again.
    stage.clock.skip(Duration::from_secs(3_600));
}

/// One round: dies at call `n` of `view`. Answers whether it died, and repeats seen.
async fn round(stage: &Stage, n: u64, fault: Fault, base: &Value) -> (bool, usize) {
    let view = stage.view();
    view.fail_call(n, fault);
    let mut told = Told { open: story(), ..Told::default() };
    if let Some(mut relay) = stage.try_start(&view).await {
        told = tell(&relay).await;
        finish(&relay, &view).await;
        if let Some(app) = relay.app.take() {
            app.abandon().await;
        }
    }
    let died = view.is_crashed();
    let relay = stage.start().await;
    post_again(&relay, &mut told).await;
    let ledger = stage.settle(&relay, Duration::from_secs(5)).await;
    check(stage, &relay, &told, n, (&ledger, base)).await;
    let repeats = repeats(stage);
    let mut relay = relay;
    relay.stop().await;
    (died, repeats)
}

/// What must hold after every round.
async fn check(
    stage: &Stage,
    relay: &Relay,
    told: &Told,
    n: u64,
    (ledger, base): (&Value, &Value),
) {
    assert_eq!(told.accepted.len(), MESSAGES as usize);
    for (body, message_id) in &told.accepted {
        let explained = relay.explain(message_id).await;
        let deliveries = explained["deliveries"].as_array().expect("deliveries");
        assert_eq!(deliveries.len(), 2 * STORY.len(), "call {n}");
        for delivery in deliveries {
            assert_eq!(delivery["state"], "pushed", "call {n}: {body} {delivery:#}");
        }
        for vendor in STORY {
            let shown = stage.sims.shown(vendor);
            let tokens: std::collections::BTreeSet<_> = shown
                .iter()
                .filter(|shown| shown.body == *body)
                .map(|shown| &shown.token)
                .collect();
            assert_eq!(tokens.len(), 2, "call {n}: {body} is missing on a phone of {vendor}");
        }
    }
    let pushed = |ledger: &Value| ledger["terminals"]["pushed"].as_i64().unwrap_or(0);
    let expected = i64::from(MESSAGES) * 2 * STORY.len() as i64;
    assert_eq!(pushed(ledger) - pushed(base), expected, "call {n}: each delivery ends once");
}

/// Notifications beyond the first of each message on each phone; all must carry one id.
fn repeats(stage: &Stage) -> usize {
    let mut ids: BTreeMap<(String, String, String), Vec<Option<String>>> = BTreeMap::new();
    for vendor in STORY {
        for shown in stage.sims.shown(vendor) {
            let key = (vendor.to_owned(), shown.token, shown.body);
            ids.entry(key).or_default().push(shown.push_id);
        }
    }
    let mut repeats = 0;
    for (key, ids) in ids {
        assert!(ids.iter().all(|id| *id == ids[0] && id.is_some()), "{key:?}: {ids:?}");
        repeats += ids.len() - 1;
    }
    repeats
}

/// Dies at every call of the story in turn.
async fn dies_everywhere(fault: Fault) {
    let stage = Stage::new(|_| {}).await;
    prepare(&stage).await;
    let (mut n, mut deaths, mut repeats, mut survived) = (1, 0, 0, 0);
    // The number of calls differs a little from run to run; two stories in a row without a death
    // are beyond the last call.
    while survived < 2 {
        clear(&stage);
        let base = offpush_ledger(&stage).await;
        let (died, repeated) = round(&stage, n, fault, &base).await;
        deaths += usize::from(died);
        survived = if died { 0 } else { survived + 1 };
        assert!(died || repeated == 0, "call {n}: without a crash nothing rings twice");
        // At most what was at a vendor when the process died.
        assert!(repeated <= MESSAGES as usize * 2 * STORY.len(), "call {n}: {repeated} repeats");
        repeats += repeated;
        n += 1;
    }
    assert!(deaths > 20, "the story has more calls than {deaths}");
    println!("crash: {fault:?}: {deaths} deaths, 0 lost, {repeats} repeats");
}

async fn offpush_ledger(stage: &Stage) -> Value {
    let store: Arc<dyn offpush::store::Store> = stage.view();
    let ledger = offpush::ledger::read(&store, None).await.expect("a ledger");
    serde_json::to_value(ledger).expect("json")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_before_any_call_of_the_store_loses_nothing() {
    dies_everywhere(Fault::CrashBefore).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_after_any_call_of_the_store_loses_nothing() {
    dies_everywhere(Fault::CrashAfter).await;
}

/// A call fails, the process lives on.
async fn one_call_fails(fault: Fault) {
    let stage = Stage::new(|_| {}).await;
    prepare(&stage).await;
    for n in 1..60 {
        clear(&stage);
        let view = stage.view();
        let Some(relay) = stage.try_start(&view).await else { panic!("a relay") };
        let before = offpush_ledger(&stage).await;
        view.fail_call(view.calls() + n, fault);
        let mut told = tell(&relay).await;
        post_again(&relay, &mut told).await;
        let ledger = settle_through(&stage, &relay).await;
        view.restart();
        check(&stage, &relay, &told, n, (&ledger, &before)).await;
        let mut relay = relay;
        relay.stop().await;
    }
}

/// As [`Stage::settle`], on a store of which one more call may fail.
async fn settle_through(stage: &Stage, relay: &Relay) -> Value {
    for _ in 0..20_000 {
        let ledger = relay.admin.call("GET", "/v1/ledger", &json!({})).await;
        if ledger.status == 200 {
            assert_eq!(ledger.body["balanced"], true);
            if ledger.body["in_flight"] == 0 {
                return ledger.body;
            }
        }
        stage.pass(relay, Duration::from_secs(5));
    }
    panic!("never empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_of_any_call_loses_nothing() {
    one_call_fails(Fault::AnswerLost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_any_call_loses_nothing() {
    one_call_fails(Fault::Unavailable).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_at_any_call_loses_nothing() {
    one_call_fails(Fault::Full).await;
}
