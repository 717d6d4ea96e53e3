//! Many messages at once, messages that wait too long, and a stop in the middle.

use std::sync::Arc;
use std::time::Duration;

use offpush::app::App;
use offpush::clock::Clock;
use offpush::config::sections::{Engine, Tls};
use offpush::model::time::UnixMs;
use offpush::store::memory::MemoryStore;
use serde_json::{Value, json};

use crate::harness::{ADMIN, APP, Caller, Relay, Sims, text};
use crate::stage::Stage;

fn batch(messages: impl IntoIterator<Item = Value>) -> Value {
    json!({ "messages": messages.into_iter().collect::<Vec<_>>() })
}

#[tokio::test]
async fn a_batch_of_five_hundred_is_answered_in_order_and_all_ring() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    let mut messages: Vec<Value> =
        (0..498).map(|random| text("mina", "joon", random, "many")).collect();
    messages.push(text("mina", "joon", 7, "many"));
    messages.push(json!({ "From_Account": "mina" }));
    let answer = relay.admin.post(&relay.path("/messages"), &batch(messages)).await;
    let results = answer["results"].as_array().expect("results");
    assert_eq!(results.len(), 500);
    assert!(results[..498].iter().all(|result| result["status"] == "accepted"));
    assert_eq!(results[498]["status"], "duplicate");
    assert_eq!(results[498]["of"], results[7]["message_id"]);
    assert_eq!(results[499]["status"], "invalid");
    assert_eq!(relay.ledger().await["terminals"], json!({ "pushed": 498 }));
    assert_eq!(sims.shown("fcm").len(), 498);
    let many = batch((0..501).map(|random| text("mina", "joon", random, "more")));
    let refused = relay.admin.call("POST", &relay.path("/messages"), &many).await;
    assert_eq!(
        (refused.status, &refused.body["error"]["code"]),
        (400, &json!("too_many_messages"))
    );
}

#[tokio::test]
async fn what_waits_longer_than_it_lives_ends_as_expired() {
    let sims = Sims::start().await;
    let clock = Clock::starting_at(UnixMs(Clock::system().now().0));
    let folder = tempfile::tempdir().expect("a folder");
    let settings = sims.settings(folder.path(), Engine::Memory);
    let store = Arc::new(MemoryStore::new());
    let app = App::start_on(settings.clone(), store, clock.clone()).await.expect("a relay");
    let dispatch = app.api.dispatch.clone();
    let admin = Caller::new(&format!("http://{}", app.address()), Some(ADMIN));
    let relay = Relay { app: Some(app), settings, admin, folder: Arc::new(folder) };
    relay.admin.put(&format!("/v1/apps/{APP}"), &json!({ "name": "tests" })).await;
    let cert_id = relay.certificate(&sims, "oppo").await;
    relay.device("joon", "oppo", cert_id, 1).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    let mut message = text("mina", "joon", 1, "soon stale");
    message["MsgLifeTime"] = json!(30);
    let taken = relay.send(&message).await;
    clock.skip(Duration::from_secs(29));
    dispatch.look_everywhere();
    let explained = relay.explain(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "in_flight");
    clock.skip(Duration::from_secs(2));
    dispatch.look_everywhere();
    let explained = relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "expired", "{explained:#}");
    assert!(sims.shown("oppo").is_empty(), "the lane is still paused");
    assert_eq!(relay.ledger().await["terminals"], json!({ "expired": 1 }));
}

/// Posts until the relay stops taking; answers the ids that were accepted.
async fn post_until_refused(admin: Caller, path: String) -> Vec<Value> {
    let mut accepted = Vec::new();
    for random in 0..10_000 {
        let message = text("mina", "joon", random, "load");
        match admin.try_post(&path, &message).await {
            Some(answer) if answer.status == 202 => {
                accepted.push(answer.body["results"][0]["message_id"].clone());
            }
            _ => break,
        }
    }
    accepted
}

/// A stop under load, and a start: everything accepted rings, and nothing twice.
async fn a_stop_loses_nothing(engine: Engine) {
    let sims = Sims::start().await;
    let mut relay = Relay::start_with(&sims, engine, |_| {}).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    let posting = tokio::spawn(post_until_refused(relay.admin.clone(), relay.path("/messages")));
    crate::harness::until("some rang", async || {
        relay.admin.get("/healthz").await;
        sims.server.phones().rung("fcm") >= 20
    })
    .await;
    relay.stop().await;
    let accepted = posting.await.expect("the sender");
    assert!(accepted.len() >= 20);
    let relay = relay.restart().await;
    let ledger = relay.ledger().await;
    // A request that was cut off may have been taken all the same: at most the last one.
    let pushed = ledger["terminals"]["pushed"].as_u64().expect("pushed") as usize;
    assert!((accepted.len()..=accepted.len() + 1).contains(&pushed), "{ledger}");
    for message_id in &accepted {
        let explained = relay.explain(message_id).await;
        assert_eq!(explained["deliveries"][0]["state"], "pushed");
    }
    assert_eq!(sims.shown("fcm").len(), pushed, "a stop in order repeats nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_order_loses_nothing_on_sled() {
    a_stop_loses_nothing(Engine::Sled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_order_loses_nothing_on_redb() {
    a_stop_loses_nothing(Engine::Redb).await;
}

#[tokio::test]
async fn a_relay_that_cannot_listen_sends_nothing_of_what_is_queued() {
    let mut stage = Stage::new(|_| {}).await;
    let mut relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "huawei").await;
    relay.device("joon", "huawei", cert_id, 1).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    relay.send(&text("mina", "joon", 1, "hello")).await;
    relay.stop().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let free = stage.settings.listen;
    stage.settings.listen = taken.local_addr().expect("its address");
    let refused = async |stage: &Stage, why: &str| {
        let view = stage.view();
        assert!(stage.try_start(&view).await.is_none(), "{why}");
        assert_eq!(view.calls(), 0, "what is stored was left alone");
    };
    refused(&stage, "the port is taken").await;
    stage.settings.listen = free;
    stage.settings.tls.cert_file = Some("absent.pem".into());
    stage.settings.tls.key_file = Some("absent.pem".into());
    refused(&stage, "there is no chain").await;
    stage.settings.tls = Tls::default();
    let relay = stage.start().await;
    let ledger = stage.settle(&relay, Duration::from_secs(1)).await;
    assert_eq!(ledger["terminals"], json!({ "pushed": 1 }));
}
