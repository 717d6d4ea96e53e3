//! The limit: the same APNs requests from a bare loop over hyper, without store, decisions or
//! traces. What the relay does is told as a ratio to this.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::bench::median::median;
use crate::bench::procfs::{self, Usage};
use crate::bench::sims::{self, Percentiles};
use crate::bench::traffic;
use crate::clock::Clock;
use crate::transport::tls::Roots;
use crate::transport::{Lane, Protocol};
use crate::vendor::sign::Es256Key;

/// Connections of the loop.
const CONNECTIONS: usize = 2;
/// Requests in flight on each.
const STREAMS: usize = 500;

/// What the bare loop needs to know; one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// Base URL of the APNs simulator.
    pub endpoint: String,
    /// What to trust, PEM.
    pub ca_pem: String,
    /// The p8 credential.
    pub credential: Value,
    /// Requests to make as fast as answers come.
    pub requests: u64,
    /// Requests to make afterwards by the clock, each marked with when it was due.
    pub paced_requests: u64,
    /// How many of those a second.
    pub paced_per_s: f64,
    /// Bytes of the text.
    pub text_bytes: usize,
}

/// What the bare loop reached.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Limit {
    /// Pushes per second.
    pub per_s: f64,
    /// CPU seconds per 100,000 pushes.
    pub cpu_s_per_100k: f64,
    /// CPU seconds of the simulators meanwhile, per 100,000 pushes: they must not be what bounds.
    #[serde(default)]
    pub sims_cpu_s_per_100k: f64,
    /// By the clock: from when a request was due to its answer.
    #[serde(default)]
    pub answered: Percentiles,
    /// By the clock: from when a request was due to the vendor having it.
    #[serde(default)]
    pub at_vendor: Percentiles,
    /// Most memory in use, in bytes.
    pub memory: u64,
}

impl Limit {
    /// The middle of several, figure by figure.
    pub fn median(all: &[Limit]) -> Limit {
        let of = |figure: fn(&Limit) -> f64| median(all.iter().map(figure));
        let percentiles =
            |figure: fn(&Limit) -> Percentiles| Percentiles::median(all.iter().map(figure));
        Limit {
            per_s: of(|limit| limit.per_s),
            cpu_s_per_100k: of(|limit| limit.cpu_s_per_100k),
            sims_cpu_s_per_100k: of(|limit| limit.sims_cpu_s_per_100k),
            answered: percentiles(|limit| limit.answered),
            at_vendor: percentiles(|limit| limit.at_vendor),
            memory: all.iter().map(|limit| limit.memory).max().unwrap_or_default(),
        }
    }
}

/// Reads an order from the first line of standard input, runs it, prints a [`Limit`].
///
/// # Errors
/// When a request is not answered by 200.
pub fn run() -> anyhow::Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("read the order")?;
    let order: Order = serde_json::from_str(&line).context("read the order")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let limit = runtime.block_on(measure(order))?;
    println!("{}", serde_json::to_string(&limit)?);
    Ok(())
}

async fn measure(order: Order) -> anyhow::Result<Limit> {
    let mut connections = Vec::new();
    let head = Head::of(&order)?;
    for number in 0..CONNECTIONS {
        let connection = connect(&order).await?;
        // APNs opens one stream until the first accepted request.
        push(connection.clone(), &head, number as u64, "").await?;
        connections.push(connection);
    }
    let head = Arc::new(head);
    let fast = at_full_speed(&order, &connections, &head).await?;
    let answered = paced(&order, &connections, &head).await?;
    let memory = procfs::memory_peak_bytes(std::process::id());
    Ok(Limit { answered, memory, ..fast })
}

type Sender = SendRequest<Full<Bytes>>;

async fn at_full_speed(
    order: &Order,
    connections: &[Sender],
    head: &Arc<Head>,
) -> anyhow::Result<Limit> {
    let done = Arc::new(AtomicU64::new(0));
    let before = Usage::of(std::process::id());
    let started = Instant::now();
    let requests = order.requests;
    let mut streams = tokio::task::JoinSet::new();
    for stream in 0..CONNECTIONS * STREAMS {
        let connection = connections[stream % CONNECTIONS].clone();
        let (head, done) = (head.clone(), done.clone());
        streams.spawn(async move {
            loop {
                let number = done.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return Ok::<_, anyhow::Error>(());
                }
                push(connection.clone(), &head, number, &number.to_string()).await?;
            }
        });
    }
    while let Some(ended) = streams.join_next().await {
        ended.context("a stream of the loop")??;
    }
    let took_s = started.elapsed().as_secs_f64();
    let cpu_s = Usage::of(std::process::id()).since(&before).cpu_s;
    let requests = requests as f64;
    Ok(Limit {
        per_s: requests / took_s,
        cpu_s_per_100k: cpu_s * 100_000.0 / requests,
        ..Limit::default()
    })
}

/// By the clock, whether or not answers come; answers how long answers took.
async fn paced(
    order: &Order,
    connections: &[Sender],
    head: &Arc<Head>,
) -> anyhow::Result<Percentiles> {
    let started = Instant::now();
    let mut latency = sims::histogram();
    let mut pushes = tokio::task::JoinSet::new();
    for number in 0..order.paced_requests {
        let due = started + Duration::from_secs_f64(number as f64 / order.paced_per_s);
        tokio::time::sleep_until(due.into()).await;
        let connection = connections[number as usize % CONNECTIONS].clone();
        let head = head.clone();
        pushes.spawn(async move {
            push(connection, &head, number, &sims::mark(sims::due_us(due))).await?;
            Ok::<_, anyhow::Error>(due.elapsed())
        });
        while let Some(ended) = pushes.try_join_next() {
            sims::record(&mut latency, ended.context("a paced push")??);
        }
    }
    while let Some(ended) = pushes.join_next().await {
        sims::record(&mut latency, ended.context("a paced push")??);
    }
    Ok(Percentiles::of(&latency))
}

/// The part all requests share.
struct Head {
    endpoint: String,
    authorization: String,
    topic: String,
    expiration: String,
    text: String,
}

impl Head {
    fn of(order: &Order) -> anyhow::Result<Head> {
        let text = |name: &str| order.credential[name].as_str().unwrap_or_default().to_owned();
        let key = Es256Key::from_pem(&text("key")).context("read the key")?;
        let now_s = Clock::system().now().0 / 1_000;
        let header = json!({ "alg": "ES256", "kid": text("key_id") });
        let jwt = key.jwt(&header, &json!({ "iss": text("team_id"), "iat": now_s }));
        Ok(Head {
            endpoint: order.endpoint.clone(),
            authorization: format!("bearer {jwt}"),
            topic: text("bundle_id"),
            expiration: (now_s + 600_000).to_string(),
            text: traffic::words(order.text_bytes),
        })
    }
}

async fn connect(order: &Order) -> anyhow::Result<Sender> {
    let address: SocketAddr =
        order.endpoint.trim_start_matches("https://").parse().context("read the endpoint")?;
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let lane = Lane {
        cert: 0,
        generation: 0,
        protocol: Protocol::Http2,
        identity: None,
        deadline: Duration::from_secs(20),
    };
    let tls = Roots::new(Some(order.ca_pem.as_bytes()))?.client_config(&lane)?;
    let name = rustls_pki_types::ServerName::IpAddress(address.ip().into());
    let stream = tokio_rustls::TlsConnector::from(tls).connect(name, tcp).await?;
    let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    Ok(sender)
}

async fn push(mut connection: Sender, head: &Head, number: u64, ext: &str) -> anyhow::Result<()> {
    let body = json!({ "aps": { "alert": { "title": "bench", "body": head.text },
                                "mutable-content": 1 }, "ext": ext });
    let request = Request::post(format!("{}/3/device/{number:064x}", head.endpoint))
        .header("authorization", &head.authorization)
        .header("apns-topic", &head.topic)
        .header("apns-push-type", "alert")
        .header("apns-priority", "10")
        .header("apns-expiration", &head.expiration)
        .header("apns-id", uuid::Uuid::from_u128(u128::from(number)).to_string())
        .body(Full::new(Bytes::from(body.to_string())))?;
    let reply = connection.send_request(request).await?;
    let status = reply.status();
    let body = reply.into_body().collect().await?.to_bytes();
    anyhow::ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}
