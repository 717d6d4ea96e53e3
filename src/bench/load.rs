//! Makes the load: closed (each connection posts when its last answer is there) or open (by the
//! clock, whether or not answers come; lateness counts as latency).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use indicatif::ProgressBar;
use tokio::net::TcpStream;

use crate::bench::sims;
use crate::bench::traffic::{APP, Shape};

/// Pause after a refusal for want of room.
pub const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Host and port of the relay.
    pub host: String,
    /// Its key.
    pub key: String,
    /// The messages.
    pub shape: Shape,
    /// How many in all.
    pub messages: u64,
    /// How many in one request.
    pub per_request: u64,
    /// Connections at a time.
    pub connections: usize,
    /// Messages per second; `None` is closed.
    pub rate: Option<f64>,
    /// Share of requests that repeat the one before, from 0 to 1.
    pub repeats: f64,
}

/// What came back.
pub struct Answered {
    /// Latency of the answers, in microseconds.
    pub latency: Histogram<u64>,
    /// Messages posted for the first time.
    pub messages: u64,
    /// Messages posted again.
    pub repeated: u64,
    /// Requests refused for want of room, each tried again.
    pub refused: u64,
}

struct Shared {
    load: Load,
    next: AtomicU64,
    started: Instant,
    progress: ProgressBar,
}

impl Load {
    /// Posts everything and waits for every answer.
    ///
    /// # Errors
    /// When an answer is neither 202 nor a refusal for want of room.
    pub async fn run(self, progress: ProgressBar) -> anyhow::Result<Answered> {
        let connections = self.connections;
        let shared = Arc::new(Shared {
            load: self,
            next: AtomicU64::new(0),
            started: Instant::now(),
            progress,
        });
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..connections {
            tasks.spawn(shared.clone().connection());
        }
        let mut all = Answered { latency: sims::histogram(), messages: 0, repeated: 0, refused: 0 };
        while let Some(ended) = tasks.join_next().await {
            let one = ended.context("a connection of the load")??;
            all.latency.add(one.latency).context("add up latencies")?;
            all.messages += one.messages;
            all.repeated += one.repeated;
            all.refused += one.refused;
        }
        Ok(all)
    }
}

impl Shared {
    async fn connection(self: Arc<Self>) -> anyhow::Result<Answered> {
        let load = &self.load;
        let mut sender = connect(&load.host).await?;
        let mut mine =
            Answered { latency: sims::histogram(), messages: 0, repeated: 0, refused: 0 };
        let mut owed = 0.0;
        loop {
            let first = self.next.fetch_add(load.per_request, Ordering::Relaxed);
            if first >= load.messages {
                return Ok(mine);
            }
            let count = load.per_request.min(load.messages - first);
            let due = self.wait_for_turn(first).await;
            let body = Bytes::from(load.shape.body(first, count, sims::due_us(due)));
            self.post(&mut sender, body.clone(), due, &mut mine).await?;
            mine.messages += count;
            owed += load.repeats / (1.0 - load.repeats);
            while owed >= 1.0 {
                owed -= 1.0;
                self.post(&mut sender, body.clone(), Instant::now(), &mut mine).await?;
                mine.repeated += count;
            }
            self.progress.inc(count);
        }
    }

    /// When this request is due; waits until then.
    async fn wait_for_turn(&self, first: u64) -> Instant {
        let Some(rate) = self.load.rate else { return Instant::now() };
        let due = self.started + Duration::from_secs_f64(first as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        due
    }

    async fn post(
        &self,
        sender: &mut Connection,
        body: Bytes,
        due: Instant,
        mine: &mut Answered,
    ) -> anyhow::Result<()> {
        loop {
            let (host, key) = (&self.load.host, &self.load.key);
            let (status, said) = post(sender, host, key, body.clone()).await?;
            match status {
                StatusCode::ACCEPTED => {
                    sims::record(&mut mine.latency, due.elapsed());
                    return Ok(());
                }
                _ if is_refusal(status) => {
                    mine.refused += 1;
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
                other => anyhow::bail!("{other}: {}", String::from_utf8_lossy(&said)),
            }
        }
    }
}

/// A connection of the load.
pub type Connection = SendRequest<Full<Bytes>>;

/// Whether a relay says that it has no room now.
pub fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
}

/// Posts messages on a connection; answers what the relay said.
///
/// # Errors
/// When the connection ends before the answer.
pub async fn post(
    connection: &mut Connection,
    host: &str,
    key: &str,
    body: Bytes,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let request = Request::post(format!("/v1/apps/{APP}/messages"))
        .header(HOST, host)
        .header(AUTHORIZATION, format!("Bearer {key}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    connection.ready().await.context("the relay closed a connection")?;
    let reply = connection.send_request(request).await.context("post messages")?;
    let status = reply.status();
    Ok((status, reply.into_body().collect().await?.to_bytes()))
}

/// Connects to a relay.
///
/// # Errors
/// When nobody listens there.
pub async fn connect(host: &str) -> anyhow::Result<Connection> {
    let tcp = TcpStream::connect(host).await.with_context(|| format!("connect to {host}"))?;
    tcp.set_nodelay(true)?;
    let (sender, driver) = http1::handshake(TokioIo::new(tcp)).await?;
    tokio::spawn(driver);
    Ok(sender)
}
