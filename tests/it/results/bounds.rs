//! What is not posted for ever: too many results, and too old ones.

use std::time::Duration;

use offpush::apps::{Apps, AppsError};
use offpush::clock::Clock;
use offpush::model::app::AppSettings;
use offpush::model::id::{AppId, CertId, Partition};
use offpush::model::time::UnixMs;
use offpush::results::event::{CertificateBroken, Event};
use offpush::results::{Results, ResultsSettings, queue};
use offpush::seal::Seal;
use offpush::store::memory::MemoryStore;
use offpush::store::{Batch, Store};
use offpush::transport::reach::Reach;
use offpush::transport::{Transport, TransportConfig};

use super::*;

const KIND: &str = "certificate.broken";

/// Results on a virtual clock, whose chat server fails at first.
struct Room {
    store: Arc<dyn Store>,
    clock: Clock,
    results: Results,
    chat: ChatServer,
}

async fn room(waiting_max: usize) -> Room {
    let chat = ChatServer::start().await;
    chat.answer(500);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let clock = Clock::starting_at(UnixMs(1_760_000_000_000));
    let apps = Apps::open(store.clone(), Arc::new(Seal::new(&[7; 32]))).await.expect("apps");
    let settings = AppSettings { callback_url: Some(chat.url.clone()), ..AppSettings::default() };
    let change = |_| Ok::<_, AppsError>(settings.clone());
    apps.change(AppId(APP), clock.now(), change).await.expect("an app");
    let reach = Reach { http: true, private: true };
    let transport = Transport::new(TransportConfig { reach, ..TransportConfig::default() });
    let settings = ResultsSettings {
        backoff_base: Duration::from_millis(1),
        backoff_max: Duration::from_millis(20),
        waiting_max,
        allow_http: true,
        allow_private: true,
    };
    let (transport, apps) = (transport.expect("a transport"), Arc::new(apps));
    let results = Results::start(store.clone(), apps, clock.clone(), transport, settings);
    let results = results.await.expect("started");
    Room { store, clock, results, chat }
}

impl Room {
    /// Commits one event that is told apart by its number.
    async fn add(&self, number: u32) {
        let event = Event::CertificateBroken(CertificateBroken {
            cert_id: CertId(number),
            name: "n",
            vendor: "v",
            platform: 0,
            why: "why",
        });
        let (app, partition) = (AppId(APP), Partition::of_hash(u64::from(number)));
        let mut batch = Batch::default();
        self.clock.skip(Duration::from_millis(1));
        let added = self.results.add(app, partition, &event, self.clock.now(), &mut batch);
        self.store.commit(partition, batch).await.expect("committed");
        self.results.added(app, added);
    }

    async fn waiting(&self) -> i64 {
        let counts = queue::count(&self.store).await.expect("counted");
        counts.iter().map(|(_, count)| count).sum()
    }
}

#[tokio::test]
async fn beyond_the_limit_the_oldest_results_are_dropped() {
    let room = room(3).await;
    for number in 1..=10 {
        room.add(number).await;
    }
    until("room is made", async || {
        let posts = room.chat.posts().len();
        room.chat.until("a post", || room.chat.posts().len() > posts).await;
        room.waiting().await == 3
    })
    .await;
    room.chat.answer(200);
    let events = room.chat.wait_for(KIND, 3).await;
    let numbers: Vec<_> = events.iter().map(|event| event["CertId"].clone()).collect();
    assert_eq!(numbers, [json!(8), json!(9), json!(10)]);
}

#[tokio::test]
async fn after_a_day_a_result_is_dropped() {
    let room = room(100).await;
    room.add(1).await;
    room.chat.until("a try", || !room.chat.posts().is_empty()).await;
    assert_eq!(room.waiting().await, 1);
    room.clock.skip(Duration::from_secs(24 * 3_600));
    until("it is given up", async || {
        let posts = room.chat.posts().len();
        room.chat.until("a post", || room.chat.posts().len() >= posts).await;
        room.waiting().await == 0
    })
    .await;
    room.add(2).await;
    room.chat.answer(200);
    assert_eq!(room.chat.wait_for(KIND, 1).await[0]["CertId"], 2);
}

#[tokio::test]
async fn a_redirect_or_a_private_address_takes_nothing() {
    let room = room(100).await;
    room.chat.answer(302);
    room.add(1).await;
    room.chat.until("a second try", || room.chat.posts().len() >= 2).await;
    assert_eq!(room.waiting().await, 1);
    let guarded = TransportConfig {
        reach: Reach { http: true, private: false },
        ..TransportConfig::default()
    };
    let lane = offpush::transport::Lane {
        cert: 0,
        generation: 0,
        protocol: offpush::transport::Protocol::Any,
        identity: None,
        deadline: Duration::from_secs(5),
    };
    let tries = room.chat.posts().len();
    for host in ["127.0.0.1", "localhost"] {
        let port = room.chat.url.rsplit(':').next().expect("a port");
        let request = offpush::transport::Request {
            method: Method::POST,
            uri: format!("http://{host}:{port}").parse().expect("a url"),
            headers: [("x-guarded".parse().expect("a name"), "1".parse().expect("a value"))]
                .into_iter()
                .collect(),
            body: Bytes::new(),
        };
        let transport = Transport::new(guarded.clone()).expect("a transport");
        let refused = transport.send(&lane, &request).await.expect_err("refused");
        assert!(refused.to_string().contains("no public address"), "{refused}");
    }
    let posts = room.chat.posts();
    assert!(posts[tries..].iter().all(|post| !post.headers.contains_key("x-guarded")));
}
