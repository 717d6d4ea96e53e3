//! One open connection: how full it is, and the task that drives it to its end.
//!
//! The pool owns a [`Connection`], every request in flight on it holds a [`Slot`]; when both let
//! go, the sender is dropped and the connection closes. So "leave the pool" is all it takes
//! to end a connection gracefully. The driving task holds only a weak reference to the pool.

use std::error::Error;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::transport::connect::{Alert, Connected, Stream, Writes};
use crate::transport::http2::{self, STREAMS_AT_FIRST};
use crate::transport::pool::Pool;
use crate::transport::{Protocol, TransportConfig, TransportError};
use crate::turns::after_others;

/// HTTP/1.1 connections are closed when idle for longer, whatever the configuration says:
/// servers close theirs after about a minute, and a request that meets such a close is lost.
const IDLE_HTTP1_MAX: Duration = Duration::from_secs(20);

/// A whole body, known in advance.
pub type Body = Full<Bytes>;

/// What the requests, the pool and the driving task share about one connection.
pub struct Life {
    in_flight: AtomicUsize,
    limit: AtomicUsize,
    draining: AtomicBool,
    /// How many requests the peer has answered here.
    answers: AtomicUsize,
    /// How many it had at the last look of the PING timer.
    answers_before: AtomicUsize,
    /// Its end is no failure to connect: we gave up on a request here, or HTTP/1.1 carries one,
    /// which may be answered and the connection over before anybody looks.
    excused: AtomicBool,
    /// Some request has ended here, well or badly.
    finished: AtomicBool,
    /// Some request has ended here since the last look of the idle timer.
    touched: AtomicBool,
    /// The limit is the peer's word and not only our guess.
    warm: AtomicBool,
    /// Asks the driving task to look at the connection: to read the peer's limit again, or to see
    /// that nobody uses it any more.
    refresh: Arc<Notify>,
    writes: Writes,
    /// The pool's: somebody may be waiting for room.
    freed: Arc<Notify>,
    alert: Alert,
    pool: Weak<Pool>,
}

impl Life {
    fn new(http2: bool, alert: Alert, writes: Writes, pool: &Arc<Pool>) -> Self {
        Life {
            in_flight: AtomicUsize::new(0),
            limit: AtomicUsize::new(STREAMS_AT_FIRST),
            draining: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
            answers_before: AtomicUsize::new(0),
            excused: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            touched: AtomicBool::new(false),
            warm: AtomicBool::new(!http2),
            refresh: Arc::default(),
            writes,
            freed: pool.freed(),
            alert,
            pool: Arc::downgrade(pool),
        }
    }

    fn try_enter(&self) -> bool {
        if self.draining.load(Ordering::Relaxed) {
            return false;
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let one_more = |carried| (carried < limit).then_some(carried + 1);
        self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok()
    }

    fn leave(&self) {
        self.touched.store(true, Ordering::Relaxed);
        self.finished.store(true, Ordering::Release);
        let before = self.in_flight.fetch_sub(1, Ordering::AcqRel);
        // Only a full connection can have kept somebody waiting for a higher limit.
        if before >= self.limit.load(Ordering::Relaxed) {
            self.refresh.notify_one();
        }
        self.freed.notify_one();
    }

    fn set_limit(&self, limit: usize) {
        let before = self.limit.swap(limit, Ordering::Relaxed);
        if limit > before {
            self.warm.store(true, Ordering::Relaxed);
            self.freed.notify_waiters();
        }
    }

    /// After the first request ended, its limit counts even when it never moved.
    fn settle(&self) {
        if self.finished.load(Ordering::Acquire) && !self.warm.swap(true, Ordering::Relaxed) {
            self.freed.notify_waiters();
        }
    }

    /// Whether requests wait and none was answered since the last call.
    fn take_unanswered(&self) -> bool {
        let answers = self.answers.load(Ordering::Relaxed);
        let before = self.answers_before.swap(answers, Ordering::Relaxed);
        before == answers && self.in_flight.load(Ordering::Acquire) > 0
    }

    /// Whether nothing has happened since the last call.
    fn take_quiet(&self) -> bool {
        let touched = self.touched.swap(false, Ordering::Relaxed);
        !touched && self.in_flight.load(Ordering::Acquire) == 0
    }

    /// Answers whether it was still in.
    fn leave_pool(&self) -> bool {
        let first = !self.draining.swap(true, Ordering::Relaxed);
        if let Some(pool) = self.pool.upgrade() {
            if let Some(refusal) = self.alert.get() {
                // Told first: those who wait must fail with it, not knock again one by one.
                pool.failed(TransportError::Handshake(refusal.clone()));
            }
            pool.remove(self);
        }
        first
    }

    /// A connection that ended before the peer answered anything is a failure to connect, and
    /// whoever waits for it must hear of it.
    fn ended(&self, error: Option<String>) {
        if let Some(error) = &error {
            tracing::debug!(error, "a connection ended");
        }
        if let Some(pool) = self.pool.upgrade()
            && self.answers.load(Ordering::Relaxed) == 0
            && self.alert.get().is_none()
            && !self.excused.load(Ordering::Relaxed)
        {
            pool.failed(TransportError::NotSent(match error {
                Some(error) => format!("closed at once: {error}"),
                None => "closed at once".to_owned(),
            }));
        }
        self.leave_pool();
    }

    /// Drives the connection to its end, following the peer's limit, and takes it out of the pool
    /// when it is old, idle or over. When `deaf` returns, the peer is gone.
    async fn drive<C, E, L>(
        &self,
        mut connection: C,
        (age, idle): (Duration, Duration),
        limit: L,
        deaf: impl Future<Output = ()>,
    ) where
        C: Future<Output = Result<(), E>> + Unpin,
        E: Error,
        L: Fn(&C) -> Option<usize>,
    {
        // Half the time-out at a time: two quiet ticks in a row are at least one time-out.
        let tick = (idle / 2).max(Duration::from_millis(1));
        let mut old = pin!(tokio::time::sleep(age));
        let mut quiet = pin!(tokio::time::sleep(tick));
        let mut deaf = pin!(deaf);
        let (mut in_pool, mut quiet_ticks) = (true, 0);
        loop {
            let progress = poll_fn(|cx| {
                let polled = Pin::new(&mut connection).poll(cx);
                if let Some(limit) = limit(&connection) {
                    self.set_limit(limit);
                }
                polled
            });
            tokio::select! {
                biased;
                ended = progress => return self.ended(ended.err().map(|why| with_source(&why))),
                // Polling `progress` again reads the limit.
                () = self.refresh.notified() => self.settle(),
                () = &mut deaf => return self.ended(Some("a PING was not answered".to_owned())),
                () = &mut old, if in_pool => in_pool = false,
                () = &mut quiet, if in_pool => {
                    quiet_ticks = if self.take_quiet() { quiet_ticks + 1 } else { 0 };
                    quiet.as_mut().reset(Instant::now() + tick);
                    in_pool = quiet_ticks < 2;
                }
            }
            if !in_pool && !self.draining.load(Ordering::Relaxed) {
                self.leave_pool();
            }
        }
    }
}

/// An error and what caused it, which may hold a peer's words.
pub fn with_source(error: &impl Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Our end of the connection.
pub enum Sender {
    /// Shared by all requests.
    Http2(h2::client::SendRequest<Bytes>),
    /// Taken by one request and put back when its answer was read to the end.
    Http1(Mutex<Option<http1::SendRequest<Body>>>),
}

/// One open connection.
pub struct Connection {
    /// Our end.
    pub(crate) sender: Sender,
    /// What the peer is known to speak.
    pub(crate) protocol: Protocol,
    life: Arc<Life>,
    /// Dropped after the sender.
    _parting: Parting,
}

/// h2 does not notice by itself that the last sender is gone.
struct Parting(Arc<Notify>);

impl Drop for Parting {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Connection {
    /// Room for one more request, or `None`.
    pub fn try_acquire(self: &Arc<Self>) -> Option<Slot> {
        if !self.life.try_enter() {
            return None;
        }
        Some(Slot { connection: self.clone(), asked: None })
    }

    /// Whether the peer's limit on streams is known; until then no second connection is opened.
    pub fn is_warm(&self) -> bool {
        self.life.warm.load(Ordering::Relaxed)
    }

    /// Whether it speaks HTTP/1.1, one request at a time.
    pub fn is_http1(&self) -> bool {
        matches!(self.sender, Sender::Http1(_))
    }

    /// Takes it out of the pool at once; requests in flight go on. Answers whether it was in.
    pub fn leave_pool(&self) -> bool {
        self.life.leave_pool()
    }

    /// Notes that the peer has answered: whatever ends it now is no failure to connect.
    pub fn answered(&self) {
        self.life.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Whatever ends it now is no failure to connect, though the peer may have answered nothing.
    pub fn excuse(&self) {
        self.life.excused.store(true, Ordering::Relaxed);
    }

    /// How many requests the peer has answered here.
    pub fn answers(&self) -> usize {
        self.life.answers.load(Ordering::Relaxed)
    }

    /// The peer's refusal of our certificate, when there was one.
    pub fn refusal(&self) -> Option<&String> {
        self.life.alert.get()
    }

    /// Whether this connection lives that life.
    pub fn lives(&self, life: &Life) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.life), life)
    }

    /// How many times something was to be written to the peer.
    pub fn writes(&self) -> u64 {
        self.life.writes.load(Ordering::SeqCst)
    }
}

/// The right to send one request on a connection; given back when dropped.
pub struct Slot {
    /// The connection.
    pub(crate) connection: Arc<Connection>,
    /// While an answer is waited for: how many the connection had given when it was asked.
    pub(crate) asked: Option<usize>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.asked.is_some() {
            self.connection.excuse();
        }
        if let Sender::Http1(sender) = &self.connection.sender
            && sender.lock().unwrap_or_else(PoisonError::into_inner).is_none()
        {
            // The answer was not read to the end: the next one would be its rest.
            self.connection.leave_pool();
        }
        // Given up without an answer, and nobody else got one meanwhile: the peer may be gone or
        // have stopped reading. The next request shall not find out the same way.
        if self.asked.is_some_and(|answers| answers == self.connection.answers()) {
            self.connection.leave_pool();
        }
        self.connection.life.leave();
    }
}

/// Begins HTTP on a fresh stream and starts the task that drives it.
///
/// # Errors
///
/// [`TransportError::NotSent`] when the stream breaks before HTTP began.
pub async fn begin(
    connected: Connected,
    config: &TransportConfig,
    pool: &Arc<Pool>,
) -> Result<Arc<Connection>, TransportError> {
    let Connected { stream, http2, alert, writes } = connected;
    let life = Arc::new(Life::new(http2, alert, writes, pool));
    let sender = match http2 {
        true => begin_http2(stream, config, life.clone()).await?,
        false => begin_http1(stream, config, life.clone()).await?,
    };
    let _parting = Parting(life.refresh.clone());
    Ok(Arc::new(Connection { sender, protocol: pool.protocol(), life, _parting }))
}

fn not_begun(why: impl std::fmt::Display) -> TransportError {
    TransportError::NotSent(format!("http: {why}"))
}

async fn begin_http2(
    stream: Stream,
    config: &TransportConfig,
    life: Arc<Life>,
) -> Result<Sender, TransportError> {
    let (sender, mut connection) = http2::shake_hands(stream).await.map_err(not_begun)?;
    let ends = (ended_early(config.max_age), config.idle_timeout);
    let (ping_interval, streams_max) =
        (config.ping_interval, config.streams_per_connection_max.max(1));
    let ping_pong = connection.ping_pong();
    tokio::spawn(async move {
        let limit = |connection: &h2::client::Connection<_, _>| {
            Some(connection.max_concurrent_send_streams().min(streams_max))
        };
        let deaf = http2::deaf(ping_pong, ping_interval, || life.take_unanswered());
        after_others(life.drive(connection, ends, limit, deaf)).await;
    });
    Ok(Sender::Http2(sender))
}

async fn begin_http1(
    stream: Stream,
    config: &TransportConfig,
    life: Arc<Life>,
) -> Result<Sender, TransportError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(not_begun)?;
    let ends = (ended_early(config.max_age), config.idle_timeout.min(IDLE_HTTP1_MAX));
    tokio::spawn(async move { life.drive(connection, ends, |_| None, pending()).await });
    Ok(Sender::Http1(Mutex::new(Some(sender))))
}

/// `age` less up to a tenth, at random.
fn ended_early(age: Duration) -> Duration {
    age - (age / 1_000) * fastrand::u32(0..100)
}
