//! Deciding: what rings, what does not, and that the relay can prove which it was.

mod changes;
mod checklist;
mod digest;
mod doctor;
mod dry_run;
mod presence;
mod privacy;
mod recall;
mod repeats;
mod search;
mod simulate;

use std::sync::Arc;
use std::time::Duration;

use offpush::app::{App, digests};
use offpush::clock::Clock;
use offpush::config::Settings;
use offpush::config::sections::Engine;
use offpush::model::time::UnixMs;
use offpush::store::{Key, Row, Scope, Store};
use serde_json::{Value, json};

use crate::harness::{ADMIN, APP, Caller, Relay, Sims, breathe};

/// 2026-01-01T22:00:00Z: inside the quiet hours of [`NIGHT`].
pub const EVENING: UnixMs = UnixMs::from_secs(1_767_304_800);

/// Quiet from 21:00 to 07:00 UTC.
pub fn night() -> Value {
    json!({ "do_not_disturb": [
        { "daily": { "start": "21:00", "duration_s": 36_000, "time_zone": "UTC" } }] })
}

/// A relay whose clock the test moves, with one Xiaomi certificate: signing in there knows no time.
pub struct Timed {
    pub sims: Sims,
    pub relay: Relay,
    pub clock: Clock,
    pub cert_id: u64,
}

impl Timed {
    /// Starts at [`EVENING`].
    pub async fn start(engine: Engine, app: &Value) -> Self {
        let sims = Sims::start().await;
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let settings = sims.settings(folder.path(), engine);
        let clock = Clock::starting_at(EVENING);
        let relay = run(settings, folder, clock.clone()).await;
        relay.admin.put(&format!("/v1/apps/{APP}"), app).await;
        let cert_id = relay.certificate(&sims, "xiaomi").await;
        Timed { sims, relay, clock, cert_id }
    }

    /// Stops in order and starts again on the same data, at the same time.
    pub async fn restart(mut self) -> Self {
        self.relay.stop().await;
        let (settings, folder) = (self.relay.settings.clone(), self.relay.folder.clone());
        let relay = run(settings, folder, self.clock.clone()).await;
        Timed { relay, ..self }
    }

    /// Moves the clock.
    pub fn skip_h(&self, hours: u64) {
        self.clock.skip(Duration::from_secs(hours * 3_600));
    }

    /// Sums up what is due now.
    pub async fn sum_up(&self) -> usize {
        let app = self.relay.app.as_ref().expect("it runs");
        digests::round(&app.api, self.clock.now()).await.expect("a round")
    }

    /// Title and text of everything phones showed, once nothing is in flight.
    pub async fn shown(&self) -> Vec<(String, String)> {
        self.relay.ledger().await;
        let shown = self.sims.shown("xiaomi");
        shown.into_iter().map(|shown| (shown.title, shown.body)).collect()
    }
}

async fn run(settings: Settings, folder: Arc<tempfile::TempDir>, clock: Clock) -> Relay {
    let store = App::open_store(&settings).expect("a store");
    let app = App::start_on(settings.clone(), store, clock).await.expect("the relay starts");
    let admin = Caller::new(&format!("http://{}", app.address()), Some(ADMIN));
    Relay { app: Some(app), settings, admin, folder }
}

/// Every row there is.
pub async fn all_rows(store: &Arc<dyn Store>) -> Vec<Row> {
    let range = Key::default()..Key::from(&[0xFF][..]);
    store.scan(Scope::Everywhere, range, 1_000_000).await.expect("a scan")
}

/// The relay's store.
pub fn store(relay: &Relay) -> Arc<dyn Store> {
    relay.app.as_ref().expect("it runs").api.store.clone()
}

/// Waits until a message has a trace: repeats are written a little later.
pub async fn traced(relay: &Relay, message_id: &Value) -> Value {
    let id = message_id.as_str().expect("a message id");
    let path = relay.path(&format!("/messages/{id}/explain"));
    for _ in 0..100_000 {
        let answer = relay.admin.call("GET", &path, &Value::Null).await;
        if answer.status == 200 {
            return answer.body;
        }
        breathe().await;
    }
    panic!("no trace of {id}");
}
