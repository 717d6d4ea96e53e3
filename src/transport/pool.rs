//! The connections of one lane to one origin: which one a request takes, when another is opened.
//!
//! Taking a connection reads a snapshot and two counters; no lock is taken and nothing is
//! allocated. The lock guards only opening and closing. At most one connection is being opened at
//! a time (a few once the peer turned out to speak HTTP/1.1), and no second HTTP/2 connection is
//! opened before the first has told how many streams it takes: a burst on a cold lane opens one.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Uri;
use http::uri::{Authority, Scheme};
use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::transport::connect::{Origin, connect};
use crate::transport::connection::{self, Connection, Life, Slot};
use crate::transport::{Lane, Protocol, TransportConfig, TransportError};

/// How many HTTP/1.1 connections of one pool may be opened at the same time.
const HTTP1_CONNECTS_AT_ONCE: usize = 4;

/// After a failed attempt at one more connection, the others must do for this long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Requests with the same key share connections.
#[derive(Clone, PartialEq, Eq)]
pub struct PoolKey {
    /// [`Lane::cert`].
    pub cert: u32,
    /// [`Lane::generation`].
    pub generation: u32,
    protocol: Protocol,
    scheme: Scheme,
    authority: Authority,
}

impl Hash for PoolKey {
    /// A lane has one origin or two, so their names, of which every octet would be looked at before
    /// each request, need not tell pools apart.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cert.hash(state);
        self.generation.hash(state);
    }
}

impl PoolKey {
    /// The key of a lane and an absolute URI.
    ///
    /// # Errors
    ///
    /// [`TransportError::NotSent`] for a URI without scheme or authority.
    pub fn of(lane: &Lane, uri: &Uri) -> Result<Self, TransportError> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(TransportError::NotSent("uri: must be absolute".to_owned()));
        };
        Ok(PoolKey {
            cert: lane.cert,
            generation: lane.generation,
            protocol: lane.protocol,
            scheme: scheme.clone(),
            authority: authority.clone(),
        })
    }
}

/// The connections of one lane to one origin.
pub struct Pool {
    config: Arc<TransportConfig>,
    origin: Origin,
    protocol: Protocol,
    tls: Option<Arc<ClientConfig>>,
    /// Connections that may take requests. Replaced whole under `opening`.
    open: ArcSwap<Vec<Arc<Connection>>>,
    /// Where the next search begins, so that load spreads over the connections.
    turn: AtomicUsize,
    opening: Mutex<Opening>,
    /// Room may have appeared, or the hope for it vanished.
    freed: Arc<Notify>,
}

/// What is known about opening connections.
#[derive(Default)]
struct Opening {
    in_progress: usize,
    /// How many attempts failed, ever: a waiter sees whether one failed while it waited.
    failures: u64,
    last_failure: Option<TransportError>,
    pause_until: Option<Instant>,
}

impl Pool {
    /// An empty pool.
    pub fn new(
        config: Arc<TransportConfig>,
        origin: Origin,
        protocol: Protocol,
        tls: Option<Arc<ClientConfig>>,
    ) -> Arc<Self> {
        Arc::new(Pool {
            config,
            origin,
            protocol,
            tls,
            open: ArcSwap::default(),
            turn: AtomicUsize::new(0),
            opening: Mutex::default(),
            freed: Arc::default(),
        })
    }

    /// What its peer is known to speak.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Room for one request: at once when a connection has some, else after one is opened or
    /// another request ended. The caller bounds the time.
    ///
    /// # Errors
    ///
    /// Why no connection could be opened, when there is none at all.
    pub async fn acquire(self: &Arc<Self>) -> Result<Slot, TransportError> {
        if let Some(slot) = self.pick() {
            return Ok(slot);
        }
        let failures_before = self.opening().failures;
        loop {
            // Registered before the search, so nothing freed in between is missed.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(slot) = self.pick() {
                return Ok(slot);
            }
            self.open_another(failures_before)?;
            freed.await;
        }
    }

    /// Whether there is a connection, however busy.
    pub fn is_open(&self) -> bool {
        !self.open.load().is_empty()
    }

    /// Most connections of this pool, by what its peer speaks.
    pub fn connections_max(&self) -> usize {
        match self.open.load().first().is_some_and(|connection| connection.is_http1()) {
            true => self.http1_connections_max(),
            false => self.config.connections_per_lane_max.max(1),
        }
    }

    /// Most connections of this pool when its peer speaks HTTP/1.1.
    pub fn http1_connections_max(&self) -> usize {
        self.config.http1_connections_per_lane_max.max(1)
    }

    /// Told when room appears; connections keep it to tell.
    pub fn freed(&self) -> Arc<Notify> {
        self.freed.clone()
    }

    /// Takes a connection out, if it is still in.
    pub fn remove(&self, life: &Life) {
        let opening = self.opening();
        let open = self.open.load();
        if open.iter().any(|connection| connection.lives(life)) {
            let kept: Vec<_> =
                open.iter().filter(|connection| !connection.lives(life)).cloned().collect();
            self.open.store(Arc::new(kept));
            drop(opening);
            self.freed.notify_waiters();
        }
    }

    /// Notes that a connection could not be opened, or ended before it was of any use.
    pub fn failed(&self, why: TransportError) {
        let mut opening = self.opening();
        opening.failures += 1;
        opening.last_failure = Some(why);
        opening.pause_until = Some(Instant::now() + PAUSE_AFTER_FAILURE);
        drop(opening);
        self.freed.notify_waiters();
    }

    fn opening(&self) -> MutexGuard<'_, Opening> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room that a connection has now.
    pub fn pick(&self) -> Option<Slot> {
        let open = self.open.load();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..open.len()).find_map(|step| open[first.wrapping_add(step) % open.len()].try_acquire())
    }

    /// Starts opening a connection when one is wanted and allowed.
    fn open_another(self: &Arc<Self>, failures_before: u64) -> Result<(), TransportError> {
        let mut opening = self.opening();
        let open = self.open.load();
        if open.is_empty() {
            if opening.failures > failures_before
                && let Some(why) = &opening.last_failure
            {
                return Err(why.clone());
            }
        } else if opening.pause_until.is_some_and(|until| Instant::now() < until)
            || !open.iter().all(|connection| connection.is_warm())
        {
            return Ok(());
        }
        let http1 = open.first().is_some_and(|connection| connection.is_http1());
        let at_once = if http1 { HTTP1_CONNECTS_AT_ONCE } else { 1 };
        let total = open.len() + opening.in_progress;
        if opening.in_progress < at_once && total < self.connections_max() {
            opening.in_progress += 1;
            // Its own task: the request that wanted it may give up, others still wait for it.
            tokio::spawn(self.clone().open());
        }
        Ok(())
    }

    async fn open(self: Arc<Self>) {
        let timeout = self.config.connect_timeout;
        let opened = tokio::time::timeout(timeout, self.connect()).await;
        let opened = opened.unwrap_or_else(|_| {
            Err(TransportError::NotSent("connect: no connection in time".to_owned()))
        });
        match opened {
            Ok(connection) => {
                let mut opening = self.opening();
                opening.in_progress -= 1;
                let mut open = Vec::clone(&self.open.load());
                open.push(connection);
                self.open.store(Arc::new(open));
                drop(opening);
                self.freed.notify_waiters();
            }
            Err(why) => {
                self.opening().in_progress -= 1;
                self.failed(why);
            }
        }
    }

    async fn connect(self: &Arc<Self>) -> Result<Arc<Connection>, TransportError> {
        let config = &self.config;
        let proxy = config.proxy.as_ref();
        let timeout = config.connect_timeout;
        let connected =
            connect(&self.origin, self.protocol, self.tls.clone(), proxy, timeout).await?;
        connection::begin(connected, config, self).await
    }
}
