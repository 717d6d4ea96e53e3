//! The only HTTP client: what a vendor wants sent, and what came back.
//!
//! A [`Transport`] keeps one pool of connections per certificate, generation and origin. `pool`
//! decides which connection a request takes and when another is opened, `connection` is one open
//! connection and the task that drives it, `exchange` hands one request over and judges what
//! became of it, `http2` is how one travels there, `connect`, `tls` and `proxy` get a stream to
//! the peer.
//!
//! The invariant everything here serves is the difference between [`TransportError::NotSent`] and
//! [`TransportError::Lost`]: a request is `NotSent` only when the peer cannot have acted on it.

mod connect;
mod connection;
mod exchange;
mod http2;
mod pool;
pub mod proxy;
pub mod reach;
pub mod tls;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use foldhash::HashMap;
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::transport::connect::Origin;
use crate::transport::connection::Slot;
use crate::transport::exchange::Failure;
use crate::transport::pool::{Pool, PoolKey};
use crate::transport::proxy::ProxyUrl;
use crate::transport::reach::Reach;
use crate::transport::tls::{Mistrust, Roots, TlsConfigError};

/// How many times a request the peer refused to begin is offered again inside one
/// [`Transport::send`].
const REPLAYS_MAX: usize = 1;

/// The cause in metrics of a request for which every connection was taken.
pub const BUSY: &str = "busy";

/// Which HTTP a vendor speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/2 and nothing else; many requests share one connection.
    Http2,
    /// Whatever TLS negotiates.
    Any,
}

/// A TLS client certificate with its key (APNs p12).
pub struct ClientIdentity {
    /// Leaf first, DER.
    pub chain: Vec<rustls_pki_types::CertificateDer<'static>>,
    /// PKCS#8 DER.
    pub key: rustls_pki_types::PrivateKeyDer<'static>,
}

/// One HTTP request, ready to be sent.
#[derive(Clone)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Absolute: scheme, authority, path.
    pub uri: Uri,
    /// Everything but `host` and `content-length`, which the transport adds where they are needed.
    pub headers: HeaderMap,
    /// Body; a clone is a reference.
    pub body: Bytes,
}

/// Requests with the same lane share connections; requests of different lanes never do.
#[derive(Clone)]
pub struct Lane {
    /// The certificate the connections belong to.
    pub cert: u32,
    /// Counts up when connections must not be used again (another secret, a refused sign-in).
    pub generation: u32,
    /// HTTP version.
    pub protocol: Protocol,
    /// Client certificate, when the vendor wants one.
    pub identity: Option<Arc<ClientIdentity>>,
    /// Longest wait for the whole answer, connecting included.
    pub deadline: Duration,
}

/// Room for one request on a connection; given back when dropped.
pub struct Room {
    slot: Slot,
    pool: Arc<Pool>,
}

impl Room {
    /// How many requests the lane's connections carry at a time, when that is few: each HTTP/1.1
    /// connection carries one.
    pub fn requests_max(&self) -> Option<usize> {
        self.slot.connection.is_http1().then(|| self.pool.http1_connections_max())
    }
}

/// What it means that the time was up, by whether the peer may have seen the request.
fn late(handed: bool) -> TransportError {
    match handed {
        true => TransportError::Lost("no answer within the deadline".to_owned()),
        false => TransportError::NotSent("no free connection within the deadline".to_owned()),
    }
}

/// One HTTP answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, cut at the transport's limit.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// The vendor cannot have seen it: repeating is free.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have been seen: repeating may ring twice.
    #[error("sent, but no answer: {0}")]
    Lost(String),
    /// The peer refused our client certificate, or it cannot be presented at all.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
    /// We refused the peer: nothing of the request was sent to it.
    #[error("nothing was sent, {why}: {words}")]
    Untrusted {
        /// What is wrong with it.
        why: Mistrust,
        /// The TLS library's words.
        words: String,
    },
}

impl TransportError {
    /// A code for what TLS refused, for traces; empty when it was something else.
    pub const fn code(&self) -> &'static str {
        match self {
            TransportError::NotSent(_) | TransportError::Lost(_) => "",
            TransportError::Handshake(_) => "tls_client_certificate",
            TransportError::Untrusted { why, .. } => why.code(),
        }
    }

    /// The cause in metrics: a closed set.
    pub const fn cause(&self) -> &'static str {
        match self {
            TransportError::NotSent(_) => "not_sent",
            TransportError::Lost(_) => "lost",
            TransportError::Handshake(_) | TransportError::Untrusted { .. } => self.code(),
        }
    }
}

/// How a [`Transport`] behaves; the same for every lane.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// PEM certificates trusted besides the public roots (simulators, private networks).
    pub ca_pem: Option<Vec<u8>>,
    /// Everything but loopback hosts is reached through this proxy.
    pub proxy: Option<ProxyUrl>,
    /// What may be dialled.
    pub reach: Reach,
    /// Longest wait for a usable connection: name, TCP, proxy and TLS together.
    pub connect_timeout: Duration,
    /// A connection without requests for this long (at most half as long again) is closed.
    /// HTTP/1.1 connections are closed sooner, see `connection::IDLE_HTTP1_MAX`.
    pub idle_timeout: Duration,
    /// No connection is used for longer than this; the real age is up to a tenth shorter, so
    /// connections opened together do not end together.
    pub max_age: Duration,
    /// HTTP/2 PING interval while requests are in flight.
    pub ping_interval: Duration,
    /// Longer bodies are cut here, in bytes.
    pub body_bytes_max: usize,
    /// Most connections of one lane to one origin; at least 1.
    pub connections_per_lane_max: usize,
    /// The same where a connection carries one request at a time, with HTTP/1.1; at least 1.
    pub http1_connections_per_lane_max: usize,
    /// Most concurrent requests on one HTTP/2 connection, whatever the peer allows; at least 1.
    pub streams_per_connection_max: usize,
}

impl Default for TransportConfig {
    fn default() -> Self {
        TransportConfig {
            ca_pem: None,
            proxy: None,
            reach: Reach::default(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(3_600),
            max_age: Duration::from_secs(6 * 3_600),
            ping_interval: Duration::from_secs(30),
            body_bytes_max: 256 * 1_024,
            connections_per_lane_max: 8,
            http1_connections_per_lane_max: 32,
            streams_per_connection_max: 500,
        }
    }
}

/// The client itself; a clone shares the same connections.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<TransportConfig>,
    roots: Roots,
    /// `None` once shut down. Read without a lock; replaced whole under `writing`.
    pools: ArcSwap<Option<HashMap<PoolKey, Arc<Pool>>>>,
    writing: Mutex<()>,
}

impl Transport {
    /// A transport without connections; they are opened when requests need them.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] when `ca_pem` holds something that is not a certificate.
    pub fn new(config: TransportConfig) -> Result<Self, TlsConfigError> {
        let roots = Roots::new(config.ca_pem.as_deref())?;
        Ok(Transport {
            inner: Arc::new(Inner {
                config: Arc::new(config),
                roots,
                pools: ArcSwap::from_pointee(Some(HashMap::default())),
                writing: Mutex::new(()),
            }),
        })
    }

    /// Room for one request to where `uri` leads. It is waited for at most half of `lane.deadline`;
    /// `None` when all connections are busy for so long, which is no failure of the peer.
    ///
    /// # Errors
    ///
    /// Why there is no connection at all.
    pub async fn room(&self, lane: &Lane, uri: &Uri) -> Result<Option<Room>, TransportError> {
        let pool = self.pool(lane, uri)?;
        if let Some(slot) = pool.pick() {
            return Ok(Some(Room { slot, pool }));
        }
        match tokio::time::timeout(lane.deadline / 2, pool.acquire()).await {
            Ok(slot) => slot.map(|slot| Some(Room { slot, pool })),
            Err(_) if pool.is_open() => Ok(None),
            Err(_) => Err(TransportError::NotSent("no connection in time".to_owned())),
        }
    }

    /// Sends one request where there is room for it, as [`Transport::send`] does; its answer may
    /// take all of `lane.deadline`.
    ///
    /// # Errors
    ///
    /// As [`Transport::send`].
    pub async fn send_in(
        &self,
        room: Room,
        lane: &Lane,
        request: &Request,
    ) -> Result<Reply, TransportError> {
        let mut handed = false;
        let attempts = self.attempts(room, request, &mut handed);
        let result = tokio::time::timeout(lane.deadline, attempts).await;
        result.unwrap_or_else(|_| Err(late(handed)))
    }

    /// Sends one request and waits for its whole answer, at most `lane.deadline`.
    ///
    /// A request the peer refused to begin (REFUSED_STREAM, GOAWAY, a connection found closed) is
    /// offered once more on another connection before it is reported.
    ///
    /// # Errors
    ///
    /// [`TransportError`] says whether the peer may have seen the request. Any HTTP status is an
    /// answer, not an error.
    pub async fn send(&self, lane: &Lane, request: &Request) -> Result<Reply, TransportError> {
        let mut handed = false;
        let sent = async {
            let pool = self.pool(lane, &request.uri)?;
            let room = Room { slot: pool.acquire().await?, pool };
            self.attempts(room, request, &mut handed).await
        };
        let result = tokio::time::timeout(lane.deadline, sent).await;
        result.unwrap_or_else(|_| Err(late(handed)))
    }

    /// Stops using connections of `cert` with a generation below `generation_below`. Requests in
    /// flight on them finish; then they close. A lane still carrying an older generation would
    /// open connections of its own again, until they idle out or `retire` is called again.
    pub fn retire(&self, cert: u32, generation_below: u32) {
        self.keep(|key| key.cert != cert || key.generation >= generation_below);
    }

    /// Stops using the connections of this lane's very generation, as [`Transport::retire`] does.
    pub fn leave(&self, lane: &Lane) {
        self.keep(|key| (key.cert, key.generation) != (lane.cert, lane.generation));
    }

    fn keep(&self, keeps: impl Fn(&PoolKey) -> bool) {
        let _writing = self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let pools = self.inner.pools.load();
        let Some(pools) = pools.as_ref() else { return };
        let kept = pools
            .iter()
            .filter(|(key, _)| keeps(key))
            .map(|(key, pool)| (key.clone(), pool.clone()))
            .collect();
        self.inner.pools.store(Arc::new(Some(kept)));
    }

    /// Accepts no more requests. Those in flight finish; then every connection closes.
    pub fn shutdown(&self) {
        let _writing = self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.pools.store(Arc::new(None));
    }

    async fn attempts(
        &self,
        room: Room,
        request: &Request,
        handed: &mut bool,
    ) -> Result<Reply, TransportError> {
        let Room { mut slot, pool } = room;
        let mut replays_left = REPLAYS_MAX;
        // A connection that turned out to be closed costs nothing and leaves the pool, so every
        // one the pool may hold can be found closed before a fresh one is opened.
        let mut stale_left = pool.connections_max();
        loop {
            match slot.exchange(request, self.inner.config.body_bytes_max, handed).await {
                Ok(reply) => return Ok(reply),
                Err(Failure::Stale(_)) if stale_left > 0 => stale_left -= 1,
                Err(Failure::Refused(_)) if replays_left > 0 => replays_left -= 1,
                Err(Failure::Stale(why) | Failure::Refused(why)) => {
                    return Err(TransportError::NotSent(why));
                }
                Err(Failure::Lost(why)) => return Err(TransportError::Lost(why)),
                Err(Failure::Handshake(why)) => return Err(TransportError::Handshake(why)),
            }
            *handed = false;
            slot = pool.acquire().await?;
        }
    }

    /// The pool of a lane and an origin; made on first use.
    fn pool(&self, lane: &Lane, uri: &Uri) -> Result<Arc<Pool>, TransportError> {
        let key = PoolKey::of(lane, uri)?;
        if let Some(pools) = self.inner.pools.load().as_ref()
            && let Some(pool) = pools.get(&key)
        {
            return Ok(pool.clone());
        }
        self.make_pool(key, lane, uri)
    }

    #[cold]
    fn make_pool(&self, key: PoolKey, lane: &Lane, uri: &Uri) -> Result<Arc<Pool>, TransportError> {
        let origin = Origin::of(uri, self.inner.config.reach)?;
        let tls = match origin.tls {
            true => Some(self.inner.roots.client_config(lane)?),
            false => None,
        };
        let _writing = self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let pools = self.inner.pools.load();
        let Some(pools) = pools.as_ref() else {
            return Err(TransportError::NotSent("the transport is shut down".to_owned()));
        };
        if let Some(pool) = pools.get(&key) {
            return Ok(pool.clone());
        }
        let pool = Pool::new(self.inner.config.clone(), origin, lane.protocol, tls);
        let mut pools = pools.clone();
        pools.insert(key, pool.clone());
        self.inner.pools.store(Arc::new(Some(pools)));
        Ok(pool)
    }
}
