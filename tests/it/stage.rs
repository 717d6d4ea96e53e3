//! A stage for trouble: relays that come and go on one store that stays, a clock that jumps, and
//! simulators that live by the same clock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use offpush::app::App;
use offpush::clock::Clock;
use offpush::config::Settings;
use offpush::config::sections::Engine;
use offpush::model::id::Partition;
use offpush::model::time::UnixMs;
use offpush::store::faulty::FaultyStore;
use offpush::store::memory::MemoryStore;
use offpush::store::{Batch, Key, Row, Scope, Store, StoreError};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{ADMIN, APP, Caller, Relay, Sims};

/// A store that outlives the relays that close it.
struct Kept(MemoryStore);

#[async_trait]
impl Store for Kept {
    async fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.get(partition, key).await
    }

    async fn get_many(&self, keys: &[(Partition, Key)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.0.get_many(keys).await
    }

    async fn scan(
        &self,
        scope: Scope,
        range: Range<Key>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.0.scan(scope, range, limit).await
    }

    async fn commit(&self, partition: Partition, batch: Batch) -> Result<(), StoreError> {
        self.0.commit(partition, batch).await
    }

    async fn commit_all(&self, batches: Vec<(Partition, Batch)>) -> Vec<Result<(), StoreError>> {
        self.0.commit_all(batches).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.0.check().await
    }

    fn disk_bytes(&self) -> u64 {
        self.0.disk_bytes()
    }

    fn engine(&self) -> &'static str {
        self.0.engine()
    }

    async fn close(&self) {}
}

/// The stage.
pub struct Stage {
    /// Everybody's time.
    pub clock: Clock,
    /// The vendors.
    pub sims: Sims,
    /// Settings of every relay.
    pub settings: Settings,
    store: Arc<dyn Store>,
    folder: Arc<TempDir>,
}

impl Stage {
    /// An empty store and simulators; `change` adapts the settings.
    pub async fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let clock = Clock::starting_at(UnixMs(Clock::system().now().0));
        let sims = Sims::start_at(clock.clone()).await;
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let mut settings = sims.settings(folder.path(), Engine::Memory);
        change(&mut settings);
        Stage { clock, sims, settings, store: Arc::new(Kept(MemoryStore::new())), folder }
    }

    /// A view of the store that can fail. Each relay needs its own: what a dead relay still tries
    /// must not reach the store.
    pub fn view(&self) -> Arc<FaultyStore> {
        Arc::new(FaultyStore::new(self.store.clone()))
    }

    /// Starts a relay on a view. It may be dead before it has started.
    pub async fn try_start(&self, view: &Arc<FaultyStore>) -> Option<Relay> {
        let store: Arc<dyn Store> = view.clone();
        let started = App::start_on(self.settings.clone(), store, self.clock.clone()).await;
        let app = started.ok()?;
        let admin = Caller::new(&format!("http://{}", app.address()), Some(ADMIN));
        let folder = self.folder.clone();
        Some(Relay { app: Some(app), settings: self.settings.clone(), admin, folder })
    }

    /// Starts a relay on a healthy view.
    pub async fn start(&self) -> Relay {
        self.try_start(&self.view()).await.expect("a relay on a healthy store")
    }

    /// Starts the first relay and creates [`APP`].
    pub async fn first(&self) -> Relay {
        let relay = self.start().await;
        relay.admin.put(&format!("/v1/apps/{APP}"), &json!({ "name": "tests" })).await;
        relay
    }

    /// Lets time pass without waiting for it.
    pub fn pass(&self, relay: &Relay, span: Duration) {
        self.clock.skip(span);
        if let Some(app) = &relay.app {
            app.api.dispatch.look_everywhere();
        }
    }

    /// Lets time pass in steps until nothing is in flight; answers the ledger.
    pub async fn settle(&self, relay: &Relay, step: Duration) -> Value {
        for _ in 0..20_000 {
            let ledger = relay.admin.get("/v1/ledger").await;
            assert_eq!(ledger["balanced"], true, "{ledger}");
            if ledger["in_flight"] == 0 {
                return ledger;
            }
            self.pass(relay, step);
        }
        let ledger = relay.admin.get("/v1/ledger").await;
        panic!("never empty: {ledger} {}", relay.admin.get("/v1/lanes").await);
    }

    /// How often each push id reached a phone of a vendor.
    pub fn rings(&self, vendor: &str) -> BTreeMap<String, usize> {
        let mut rings = BTreeMap::new();
        for shown in self.sims.shown(vendor) {
            let push_id = shown.push_id.expect("every push carries an id");
            *rings.entry(push_id).or_default() += 1;
        }
        rings
    }

    /// The texts that reached phones of a vendor.
    pub fn texts(&self, vendor: &str) -> BTreeSet<String> {
        self.sims.shown(vendor).into_iter().map(|shown| shown.body).collect()
    }
}
