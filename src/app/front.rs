//! The listening socket: HTTP/1.1 and h2c, or TLS, with bounds on connections and on waiting.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::app::front::heard::Heard;
use crate::config::Settings;

pub mod heard;
pub mod tls;

/// Rest before accepting again after the system refused (too many open files, usually).
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Longest TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Streams one HTTP/2 connection may have open.
const STREAMS_MAX: u32 = 256;

/// Longest list of headers, in bytes.
const HEADERS_BYTES_MAX: u32 = 32 * 1_024;

/// Most headers of one HTTP/1.1 request.
const HEADERS_MAX: usize = 64;

/// Serves until told to stop, then finishes the requests that have begun. `tls` greets connections,
/// when there is one.
pub fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    settings: &Settings,
    mut stopping: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + use<> {
    let builder = builder(settings);
    let silence_max = Duration::from_secs(u64::from(settings.http.header_timeout_s));
    let unheard_max = Duration::from_secs(u64::from(settings.http.request_timeout_s));
    let connections = settings.http.connections_max as usize;
    let slots = Arc::new(Semaphore::new(connections));
    async move {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&listener, &slots) => accepted,
                _ = stopping.wait_for(|stop| *stop) => break,
            };
            let (stream, slot) = accepted;
            let stream = Heard::new(stream, unheard_max);
            let (builder, router) = (builder.clone(), router.clone());
            let (tls, watcher) = (tls.clone(), graceful.watcher());
            tokio::spawn(async move {
                let asked = Arc::new(AtomicBool::new(false));
                let service = noting(router, asked.clone());
                let silent = silent(asked, silence_max);
                match tls {
                    None => {
                        let served =
                            builder.serve_connection(TokioIo::new(stream), service).into_owned();
                        run(watcher.watch(served), silent).await;
                    }
                    Some(tls) => {
                        let shaken = tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await;
                        if let Ok(Ok(stream)) = shaken {
                            let io = TokioIo::new(stream);
                            let served = builder.serve_connection(io, service).into_owned();
                            run(watcher.watch(served), silent).await;
                        }
                    }
                }
                drop(slot);
            });
        }
        drop(listener);
        graceful.shutdown().await;
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                // An answer is one small write: waiting to fill a packet only adds latency.
                let _ = stream.set_nodelay(true);
                return (stream, slot);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// The router, and a note of the first request.
fn noting(
    router: Router,
    asked: Arc<AtomicBool>,
) -> impl Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = Infallible,
    Future: Send + 'static,
> + Send
+ 'static {
    let inner = TowerToHyperService::new(router);
    service_fn(move |request| {
        asked.store(true, Ordering::Relaxed);
        inner.call(request)
    })
}

/// Returns when nothing was asked within `longest`. Until the first octets tell HTTP/1.1 from
/// HTTP/2 no other timeout runs, and whoever never sends them would keep a connection for ever.
async fn silent(asked: Arc<AtomicBool>, longest: Duration) {
    tokio::time::sleep(longest).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

/// Serves a connection to its end, or until it was silent for too long.
async fn run<E: Display>(
    served: impl Future<Output = Result<(), E>>,
    silent: impl Future<Output = ()>,
) {
    tokio::select! {
        end = served => {
            if let Err(error) = end {
                tracing::debug!(%error, "a connection ended early");
            }
        }
        () = silent => tracing::debug!("a connection that asked nothing is closed"),
    }
}

fn builder(settings: &Settings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let header_timeout = Duration::from_secs(u64::from(settings.http.header_timeout_s));
    builder
        .http1()
        .timer(TokioTimer::new())
        // Answers are small: head and body go out in one piece sooner than as two.
        .writev(false)
        .header_read_timeout(header_timeout)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(header_timeout))
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX);
    builder
}
