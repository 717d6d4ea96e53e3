//! Builds everything from the settings, starts it and drains it: the only place that knows all
//! parts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::accounts_known::KnownAccounts;
use crate::api::limits::{Limits, Rates};
use crate::api::tencent::FrontDoor;
use crate::api::tencent::auth::Failures;
use crate::api::{self, Api};
use crate::api_keys::ApiKeys;
use crate::apps::Apps;
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::sections::Engine;
use crate::credentials::Credentials;
use crate::dedupe::{Dedupe, DedupeSettings};
use crate::dispatch::{Dispatch, DispatchSettings, Rooms};
use crate::facts::{Facts, FactsSettings, Withdrawn};
use crate::ingest::{Ingest, IngestSettings};
use crate::ledger::Waiting;
use crate::members::Members;
use crate::outcome::{Outcome, OutcomeSettings};
use crate::preferences::receive_options::ReceiveOptions;
use crate::push_tasks::PushTasks;
use crate::receipts::Receipts;
use crate::registry::Registry;
use crate::results::{Results, ResultsSettings, WAITING_MAX};
use crate::seal::Seal;
use crate::store::memory::MemoryStore;
use crate::store::{Store, StoreMemory};
use crate::store::{redb, sled};
use crate::transport::reach::Reach;
use crate::transport::tls::Roots;
use crate::transport::{Transport, TransportConfig};
use crate::vendor;

pub mod digests;
pub mod drop_folder;
pub mod expiry;
pub mod export;
pub mod front;
pub mod housekeeping;
pub mod partitions;
pub mod zeroes;

/// Lists of parcels that may wait between ingest and the lanes.
const HAND_OVER_MAX: usize = 1_024;

/// Part of the queue that only high priority may use, in percent.
const RESERVE_PERCENT: u8 = 10;

/// Suspect answers in a row that stop tokens from being retired.
const SUSPECTS_MAX: usize = 200;

/// What is read of a chat server's answer to push results, of which only the status counts.
const CALLBACK_REPLY_BYTES_MAX: usize = 16 * 1_024;

/// A relay that runs.
pub struct App {
    /// What the handlers work with; tests and tools may use it directly.
    pub api: Arc<Api>,
    store: Arc<dyn Store>,
    stop: watch::Sender<bool>,
    front: Option<tokio::task::JoinHandle<()>>,
    address: SocketAddr,
    drain_deadline: Duration,
}

impl App {
    /// Opens the store the settings name.
    ///
    /// # Errors
    /// Whatever keeps it from opening, with what to do about it.
    pub fn open_store(settings: &Settings) -> anyhow::Result<Arc<dyn Store>> {
        let dir = settings.store_dir();
        let bytes = |mib: u64| usize::try_from(mib.saturating_mul(1 << 20)).unwrap_or(usize::MAX);
        let memory = StoreMemory {
            cache_bytes: bytes(settings.store.cache_mb),
            recent_bytes: bytes(settings.store.recent_mb),
        };
        Ok(match settings.store.engine {
            Engine::Memory => Arc::new(MemoryStore::new()),
            Engine::Sled => Arc::new(sled::open(&dir, memory).context("open the store (sled)")?),
            Engine::Redb => Arc::new(redb::open(&dir, memory).context("open the store (redb)")?),
        })
    }

    /// Starts a relay on its own store and the system clock.
    ///
    /// # Errors
    /// Whatever keeps it from starting.
    pub async fn start(settings: Settings) -> anyhow::Result<App> {
        let opened = settings.clone();
        let opening = move || {
            // First the key: once there is a store, an absent one is a lost one.
            opened.secret_key_beside_store().context("read secrets.key_file")?;
            App::open_store(&opened)
        };
        let store = tokio::task::spawn_blocking(opening).await??;
        App::start_on(settings, store, Clock::system()).await
    }

    /// Starts a relay on a given store and clock.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_on(
        settings: Settings,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> anyhow::Result<App> {
        // Before anything is sent: a relay that cannot be reached must leave the queue alone.
        let tls = front::tls::acceptor(&settings)?;
        let listener = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("listen on {}", settings.listen))?;
        let address = listener.local_addr().context("read the listening address")?;
        let secret = settings.secret_key().context("read secrets.key_file")?;
        let seal = Arc::new(Seal::new(&secret));
        let apps = Arc::new(Apps::open(store.clone(), seal.clone()).await.context("read apps")?);
        let admin = settings.auth.admin_key.as_ref().map(secrecy::ExposeSecret::expose_secret);
        let keys = ApiKeys::open(store.clone(), admin).await.context("read API keys")?;
        let endpoints: BTreeMap<_, _> = vendor::ALL
            .iter()
            .map(|vendor| vendor.profile())
            .map(|profile| (profile.name.to_owned(), settings.vendors.endpoints(profile)))
            .collect();
        let credentials = Credentials::open(store.clone(), seal, &endpoints)
            .await
            .context("read certificates")?;
        let credentials = Arc::new(credentials);
        let withdrawn = Withdrawn::open(store.clone()).await.context("read withdrawals")?;
        let facts = Arc::new(Facts::new(
            store.clone(),
            credentials.clone(),
            withdrawn.clone(),
            facts_settings(&settings),
        ));
        let ledger = crate::ledger::read(&store, None).await.context("read the ledger")?;
        let waiting = Arc::new(Waiting::default());
        waiting.follow(&ledger);
        let dedupe = Arc::new(Dedupe::new(dedupe_settings(&settings)));
        let (hand_over, take_over) = crate::queue::handover::way(HAND_OVER_MAX);
        let ingest = Arc::new(Ingest::new(
            store.clone(),
            clock.clone(),
            dedupe,
            facts.clone(),
            hand_over,
            waiting.clone(),
            ingest_settings(&settings),
        ));
        let results = Results::start(
            store.clone(),
            apps.clone(),
            clock.clone(),
            callback_transport(&settings)?,
            results_settings(&settings),
        );
        let results = results.await.context("read push results")?;
        let receipts = Receipts::new(
            store.clone(),
            clock.clone(),
            credentials.clone(),
            results.clone(),
            &secret,
        );
        let outcome = Arc::new(Outcome::new(
            store.clone(),
            clock.clone(),
            waiting.clone(),
            results.clone(),
            outcome_settings(&settings),
        ));
        let rooms = Rooms {
            store: store.clone(),
            clock: clock.clone(),
            apps: apps.clone(),
            credentials: credentials.clone(),
            facts,
            outcome,
            transport: transport(&settings)?,
        };
        let dispatch = Dispatch::start(rooms, dispatch_settings(&settings), take_over);
        let (stop, stopping) = watch::channel(false);
        let front_door = front_door(&store, &apps, &ingest, &clock, &stopping).await?;
        let api = Arc::new(Api {
            clock: clock.clone(),
            store: store.clone(),
            apps,
            keys: Arc::new(keys),
            credentials,
            registry: Registry::new(store.clone()),
            receive_options: ReceiveOptions::new(store.clone()),
            ingest,
            dispatch,
            receipts,
            results,
            withdrawn,
            front_door,
            metrics: zeroes::metrics(),
            limits: Limits::new(rates(&settings)),
            request_timeout: seconds(settings.http.request_timeout_s),
            draining: AtomicBool::new(false),
            open_to_all: settings.dev && settings.auth.admin_key.is_none(),
            body_bytes_max: usize::try_from(settings.http.body_bytes_max).unwrap_or(usize::MAX),
        });
        drop_folder::read(&api, &settings.certs_dir).await;
        housekeeping::start(api.clone(), waiting, &settings, stopping.clone());
        digests::start(api.clone(), stopping.clone());
        let front = front::serve(listener, tls, api::router(api.clone()), &settings, stopping);
        Ok(App {
            api,
            store,
            stop,
            front: Some(tokio::spawn(front)),
            address,
            drain_deadline: Duration::from_secs(u64::from(settings.drain.deadline_s)),
        })
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the credential folder again.
    pub async fn reload(&self, settings: &Settings) {
        drop_folder::read(&self.api, &settings.certs_dir).await;
    }

    /// Stops: takes no more, finishes what is in flight, gives the rest back, closes the store.
    /// Answers whether everything in flight finished in time.
    pub async fn drain(mut self) -> bool {
        let began = tokio::time::Instant::now();
        self.api.draining.store(true, Ordering::Relaxed);
        let _ = self.stop.send(true);
        if let Some(front) = self.front.take() {
            // Lanes go on meanwhile. Callers that do not read must not take all of the time: what
            // is at the vendors then would have none left.
            let _ = tokio::time::timeout(self.drain_deadline / 2, front).await;
        }
        let left = self.drain_deadline.saturating_sub(began.elapsed());
        let finished = self.api.dispatch.drain(left).await;
        self.api.dispatch.transport().shutdown();
        self.api.results.stop().await;
        self.store.close().await;
        finished
    }

    /// Stops at once, as a crash would: nothing is finished or given back. For tests.
    pub async fn abandon(mut self) {
        self.api.dispatch.abandon();
        let _ = self.stop.send(true);
        if let Some(front) = self.front.take() {
            front.abort();
        }
        self.api.results.stop().await;
        self.store.close().await;
    }
}

/// The rooms of the Tencent-shaped API; what was interrupted of its pushes goes on.
async fn front_door(
    store: &Arc<dyn Store>,
    apps: &Arc<Apps>,
    ingest: &Arc<Ingest>,
    clock: &Clock,
    stopping: &watch::Receiver<bool>,
) -> anyhow::Result<FrontDoor> {
    let tasks = PushTasks::new(
        store.clone(),
        apps.clone(),
        ingest.clone(),
        clock.clone(),
        stopping.clone(),
    );
    tasks.resume().await.context("go on with pushes to all members")?;
    Ok(FrontDoor {
        members: Members::new(store.clone()),
        accounts: KnownAccounts::new(store.clone()),
        tasks,
        failures: Failures::default(),
    })
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

fn rates(settings: &Settings) -> Rates {
    Rates {
        app_per_s: settings.http.key_requests_per_s,
        app_burst: settings.http.key_burst,
        unknown_keys_per_s: settings.http.unknown_keys_per_s,
    }
}

fn facts_settings(settings: &Settings) -> FactsSettings {
    FactsSettings {
        stale_login: Duration::from_secs(u64::from(settings.presence.stale_login_days) * 86_400),
        foreground_expires: seconds(settings.presence.foreground_expires_s),
    }
}

fn dedupe_settings(settings: &Settings) -> DedupeSettings {
    DedupeSettings {
        c2c_window: seconds(settings.dedupe.c2c_window_s),
        group_window: seconds(settings.dedupe.group_window_s),
        front_entries: settings.dedupe.front_entries,
    }
}

fn ingest_settings(settings: &Settings) -> IngestSettings {
    IngestSettings {
        lease: seconds(settings.queue.lease_s),
        waiting_max: i64::try_from(settings.queue.rows_max).unwrap_or(i64::MAX),
        bytes_max: i64::try_from(settings.queue.bytes_max).unwrap_or(i64::MAX),
        age_max: seconds(settings.queue.age_max_s),
        reserve_percent: RESERVE_PERCENT,
        include_text: settings.trace.include_text,
    }
}

fn outcome_settings(settings: &Settings) -> OutcomeSettings {
    OutcomeSettings {
        backoff_base: Duration::from_millis(settings.lanes.backoff_base_ms),
        backoff_max: seconds(settings.lanes.backoff_max_s),
        throttle_default: Duration::from_secs(10),
        broken_wait: Duration::from_secs(60),
    }
}

fn results_settings(settings: &Settings) -> ResultsSettings {
    ResultsSettings {
        backoff_base: Duration::from_millis(settings.lanes.backoff_base_ms),
        backoff_max: seconds(settings.lanes.backoff_max_s),
        waiting_max: WAITING_MAX,
        allow_http: settings.callbacks.allow_http,
        allow_private: settings.callbacks.allow_private,
    }
}

fn dispatch_settings(settings: &Settings) -> DispatchSettings {
    DispatchSettings {
        in_flight_max: settings.lanes.in_flight_max,
        parcels_in_memory: settings.queue.parcels_in_memory,
        memory_bytes: settings.lanes.memory_mb.saturating_mul(1_024 * 1_024),
        request_deadline: seconds(settings.lanes.request_deadline_s),
        lease: seconds(settings.queue.lease_s),
        breaker_failures: settings.lanes.breaker_failures,
        breaker_base: Duration::from_secs(1),
        breaker_max: Duration::from_secs(60),
        sweep_interval: Duration::from_secs(5),
        suspects_max: SUSPECTS_MAX,
    }
}

/// Extra trust roots.
fn extra_roots(settings: &Settings) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(path) = &settings.vendors.ca_file else { return Ok(None) };
    let pem = roots_in(path).with_context(|| format!("vendors.ca_file {}", path.display()))?;
    Ok(Some(pem))
}

/// A PEM file of trust roots.
///
/// # Errors
/// When it cannot be read or holds something else.
pub fn roots_in(path: &Path) -> anyhow::Result<Vec<u8>> {
    let pem = std::fs::read(path)?;
    Roots::new(Some(&pem))?;
    Ok(pem)
}

/// The way to chat servers: direct, and no further than the operator allows.
fn callback_transport(settings: &Settings) -> anyhow::Result<Transport> {
    let config = TransportConfig {
        ca_pem: extra_roots(settings)?,
        reach: Reach {
            http: settings.callbacks.allow_http,
            private: settings.callbacks.allow_private,
        },
        idle_timeout: Duration::from_secs(60),
        body_bytes_max: CALLBACK_REPLY_BYTES_MAX,
        connections_per_lane_max: 1,
        http1_connections_per_lane_max: 1,
        ..TransportConfig::default()
    };
    Transport::new(config).context("prepare TLS for callbacks")
}

fn transport(settings: &Settings) -> anyhow::Result<Transport> {
    let proxy = settings.vendors.proxy.as_ref().map(|url| url.parse()).transpose();
    let config = TransportConfig {
        ca_pem: extra_roots(settings)?,
        proxy: proxy.map_err(|error| anyhow::anyhow!("vendors.proxy: {error}"))?,
        ..TransportConfig::default()
    };
    Transport::new(config).context("prepare TLS for vendors")
}
