//! Results pushed out: what became of pushes, tokens and certificates, posted to the chat server.
//!
//! An app that has a `callback_url` gets events. A stage adds them to the commit of their cause
//! ([`Results::add`]) and says so afterwards ([`Results::added`]); one courier per app posts them,
//! oldest first, until the chat server answers 2xx. At least once: an event may come twice, with
//! the same `EventId`.
//!
//! Bounds: [`WAITING_MAX`] events per app, oldest dropped first; [`courier::KEEP`] for one event.
//! Couriers share nothing, so one stuck chat server delays no other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::apps::Apps;
use crate::clock::Clock;
use crate::model::id::{AppId, Partition};
use crate::model::time::UnixMs;
use crate::results::courier::Courier;
use crate::results::event::Event;
use crate::store::{Batch, Store, StoreError};
use crate::transport::Transport;

pub mod address;
pub mod courier;
pub mod event;
pub mod queue;

/// Most events that wait for one app; a few more for the moment until its courier looks.
pub const WAITING_MAX: usize = 100_000;

/// How results are posted.
#[derive(Clone, Debug)]
pub struct ResultsSettings {
    /// First wait after a failed post.
    pub backoff_base: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
    /// Most events that wait for one app.
    pub waiting_max: usize,
    /// Plain http to other hosts is allowed.
    pub allow_http: bool,
    /// Addresses that are not public are allowed.
    pub allow_private: bool,
}

/// Takes events and sees to their posting. A clone is the same.
#[derive(Clone)]
pub struct Results {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    apps: Arc<Apps>,
    clock: Clock,
    transport: Transport,
    settings: ResultsSettings,
    mailboxes: Mutex<HashMap<AppId, Arc<Mailbox>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What waits for one app's courier.
#[derive(Default)]
pub struct Mailbox {
    waiting: AtomicI64,
    came: Notify,
}

impl Results {
    /// Counts what waits from before and starts couriers for it.
    ///
    /// # Errors
    /// The store's.
    pub async fn start(
        store: Arc<dyn Store>,
        apps: Arc<Apps>,
        clock: Clock,
        transport: Transport,
        settings: ResultsSettings,
    ) -> Result<Self, StoreError> {
        let counts = queue::count(&store).await?;
        let results = Results {
            inner: Arc::new(Inner {
                store,
                apps,
                clock,
                transport,
                settings,
                mailboxes: Mutex::new(HashMap::new()),
                stop: CancellationToken::new(),
                tasks: TaskTracker::new(),
            }),
        };
        for (app, count) in counts {
            results.added(app, count);
        }
        Ok(results)
    }

    /// Whether events of this app go anywhere.
    pub fn wanted(&self, app: AppId) -> bool {
        let app = self.inner.apps.get(app);
        app.is_some_and(|app| app.settings.callback_url.is_some())
    }

    /// Adds an event to a batch of `partition`, when the app wants any. Answers how many were
    /// added, for [`Results::added`].
    pub fn add(
        &self,
        app: AppId,
        partition: Partition,
        event: &Event<'_>,
        now: UnixMs,
        batch: &mut Batch,
    ) -> i64 {
        if !self.wanted(app) {
            return 0;
        }
        queue::put(app, partition, event, now, batch);
        1
    }

    /// So many events of this app were committed: its courier has work.
    pub fn added(&self, app: AppId, count: i64) {
        if count == 0 || self.inner.stop.is_cancelled() {
            return;
        }
        let mailbox = self.mailbox(app);
        mailbox.waiting.fetch_add(count, Ordering::Relaxed);
        mailbox.came.notify_one();
    }

    /// The mailbox of an app; its courier starts with it.
    fn mailbox(&self, app: AppId) -> Arc<Mailbox> {
        let mut mailboxes = self.inner.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let mailbox = Arc::new(Mailbox::default());
            let courier = Courier {
                app,
                mailbox: mailbox.clone(),
                store: self.inner.store.clone(),
                apps: self.inner.apps.clone(),
                clock: self.inner.clock.clone(),
                transport: self.inner.transport.clone(),
                settings: self.inner.settings.clone(),
            };
            let stop = self.inner.stop.clone();
            self.inner.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = courier.run() => {}
                }
            });
            mailbox
        };
        mailboxes.entry(app).or_insert_with(new).clone()
    }

    /// Whether a callback address may be set.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub fn check_address(&self, url: &str) -> Result<(), String> {
        let settings = &self.inner.settings;
        address::check(url, settings.allow_http, settings.allow_private)
    }

    /// Stops all couriers; what waits is posted after the next start.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.transport.shutdown();
    }
}
