//! One vendor's port: TLS, HTTP/2 and HTTP/1.1, and the way of a request through fault rules and
//! simulator.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::model::time::UnixMs;
use crate::sim::body::SimBody;
use crate::sim::faults::Faults;
use crate::sim::faults::action::{Action, Canned};
use crate::sim::phones::Phones;
use crate::sim::socket::{Orders, Socket};
use crate::sim::tls::{Tls, TlsFault, spoil};
use crate::sim::window::{STREAMS_OPEN, Window, Windowed};
use crate::sim::{SimReply, SimRequest, Simulator};

/// Largest request body read; no vendor takes more.
pub const BODY_MAX: usize = 1 << 20;
/// Pause after an error of the listening socket, so that a shortage of handles is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What all ports of a server share.
pub struct Shared {
    /// Phones.
    pub phones: Arc<Phones>,
    /// Fault rules.
    pub faults: Arc<Faults>,
    /// Time.
    pub clock: Clock,
    /// Last connection number given.
    pub connections: AtomicU64,
    /// Cancelled when the server begins to leave: no new connections, running ones finish.
    pub leaving: CancellationToken,
    /// Cancelled when connections that have not finished are cut.
    pub cut: CancellationToken,
    /// All tasks of the server.
    pub tasks: TaskTracker,
}

/// One vendor's port.
pub struct Port {
    /// Its name: the vendor, or `<vendor>_sandbox`.
    pub name: String,
    /// Who answers.
    pub simulator: Arc<dyn Simulator>,
    /// Path of the sign-in endpoint on this port, if the vendor has one.
    pub token_path: Option<&'static str>,
    /// TLS.
    pub tls: Tls,
    /// Whether a refusal narrows the stream window again (vendors-apns-fcm.md, A.10).
    pub refusals_narrow: bool,
    /// What it shares with the other ports.
    pub shared: Arc<Shared>,
}

/// One client's connection.
struct Connection {
    port: Arc<Port>,
    id: u64,
    client_certificate: Option<Bytes>,
    window: Arc<Window>,
    orders: Arc<Orders>,
    goaway: CancellationToken,
    reset: CancellationToken,
    /// Orders were given that the connection sees only when it is driven on.
    driven: Notify,
}

impl Port {
    /// Accepts connections until the server leaves.
    pub async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.shared.leaving.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            // An error here is the client's (gone before it was accepted) or a shortage of file
            // handles that ends when others close.
            let Ok((tcp, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let port = Arc::clone(&self);
            self.shared.tasks.spawn(port.serve(tcp));
        }
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream) {
        let _ = tcp.set_nodelay(true);
        let mut socket = Socket::new(tcp);
        let orders = socket.orders();
        let fault = self.shared.faults.at_connect(&self.name);
        // No timer here or below: a paused clock would jump ahead while a socket is waited for.
        let handshake = async {
            if let Some(fault) = fault
                && spoil(&mut socket, fault).await
            {
                orders.reset.store(fault == TlsFault::Reset, Ordering::Release);
                return None;
            }
            self.tls.acceptor(fault).ok()?.accept(socket).await.ok()
        };
        let handshake = tokio::select! {
            () = self.shared.leaving.cancelled() => return,
            handshake = handshake => handshake,
        };
        let Some(tls) = handshake else { return };
        let id = self.shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let session = tls.get_ref().1;
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        let opening_streams = self.simulator.opening_streams();
        let connection = Arc::new(Connection {
            id,
            client_certificate: leaf.map(|leaf| Bytes::copy_from_slice(leaf)),
            window: Window::new(opening_streams.unwrap_or(STREAMS_OPEN)),
            orders,
            driven: Notify::new(),
            goaway: CancellationToken::new(),
            reset: CancellationToken::new(),
            port: Arc::clone(&self),
        });
        let http2 = opening_streams.is_some() || session.alpn_protocol() == Some(b"h2");
        if http2 {
            connection.serve_http2(tls).await;
        } else {
            connection.serve_http1(tls).await;
        }
        self.simulator.connection_closed(id);
    }
}

impl Connection {
    async fn serve_http2(self: &Arc<Self>, tls: TlsStream<Socket>) {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(STREAMS_OPEN);
        // Request heads are small, bodies at most a few kilobytes.
        builder.max_header_list_size(16 * 1024);
        let this = Arc::clone(self);
        let service = service_fn(move |request| Arc::clone(&this).handle(request));
        let io = TokioIo::new(Windowed::new(tls, Arc::clone(&self.window)));
        let serving = builder.serve_connection(io, service);
        self.drive(serving, |serving| serving.graceful_shutdown()).await;
    }

    async fn serve_http1(self: &Arc<Self>, tls: TlsStream<Socket>) {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.header_read_timeout(None);
        let this = Arc::clone(self);
        let service = service_fn(move |request| Arc::clone(&this).handle(request));
        let serving = builder.serve_connection(TokioIo::new(tls), service);
        self.drive(serving, |serving| serving.graceful_shutdown()).await;
    }

    /// Runs a connection to its end, and obeys the orders of fault rules and server.
    async fn drive<C>(&self, serving: C, finish: impl Fn(Pin<&mut C>))
    where
        C: Future<Output = Result<(), hyper::Error>>,
    {
        let mut serving = pin!(serving);
        let mut finishing = false;
        let mut clears = self.port.shared.faults.clears();
        loop {
            tokio::select! {
                biased;
                () = self.reset.cancelled() => {
                    self.orders.reset.store(true, Ordering::Release);
                    return;
                }
                () = self.port.shared.cut.cancelled() => return,
                // Both only have the connection polled once more.
                () = self.driven.notified() => continue,
                Ok(()) = clears.changed() => {
                    self.window.limit(u32::MAX);
                    continue;
                }
                // How a connection ends is the client's business.
                _ = serving.as_mut() => return,
                () = self.goaway.cancelled(), if !finishing => finishing = true,
                () = self.port.shared.leaving.cancelled(), if !finishing => finishing = true,
            }
            finish(serving.as_mut());
        }
    }

    async fn handle(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
    ) -> Result<Response<SimBody>, h2::Error> {
        let now = self.port.shared.clock.now();
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_MAX).collect().await else {
            return Ok(response(SimReply::empty(StatusCode::PAYLOAD_TOO_LARGE), None, now));
        };
        let mut headers = head.headers;
        if let Some(authority) = head.uri.authority()
            && let Ok(host) = HeaderValue::try_from(authority.as_str())
        {
            headers.entry(header::HOST).or_insert(host);
        }
        let request = SimRequest {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers,
            body: body.to_bytes(),
            connection: self.id,
            client_certificate: self.client_certificate.clone(),
            now,
        };
        match self.port.shared.faults.decide(&self.port.name, &request) {
            Some(action) => self.answer_with_fault(request, &action).await,
            None => Ok(response(self.answer(&request), None, request.now)),
        }
    }

    fn answer(&self, request: &SimRequest) -> SimReply {
        let port = &self.port;
        if !port.simulator.owns(&request.path) {
            return SimReply::empty(StatusCode::NOT_FOUND);
        }
        let reply = port.simulator.answer(request, &port.shared.phones);
        if reply.status.is_success() {
            self.window.set(STREAMS_OPEN);
        } else if port.refusals_narrow {
            self.window.set(port.simulator.opening_streams().unwrap_or(STREAMS_OPEN));
        }
        reply
    }

    async fn answer_with_fault(
        &self,
        mut request: SimRequest,
        action: &Action,
    ) -> Result<Response<SimBody>, h2::Error> {
        let shared = &self.port.shared;
        if !action.delay().is_zero() {
            tokio::time::sleep(action.delay()).await;
            request.now = shared.clock.now();
        }
        request.now = action.vendors_time(request.now);
        self.order(action);
        let own = action.reaches_vendor().then(|| self.answer(&request));
        let sign_in = self.port.token_path == Some(request.path.as_str());
        if own.is_none() && !sign_in {
            shared.phones.count_request(self.port.simulator.vendor(), true);
        }
        if action.reset_before || action.reset_after {
            self.reset.cancel();
            pending::<()>().await;
        }
        if action.half_close {
            self.orders.half_close.store(true, Ordering::Release);
            self.driven.notify_one();
        }
        if action.never_answer || action.stop_reading || action.half_close {
            pending::<()>().await;
        }
        if let Some(code) = action.reset_stream {
            // hyper resets the stream with the code it finds in the error.
            return Err(h2::Reason::from(code).into());
        }
        Ok(response(action.reply(own, request.now), action.answer, request.now))
    }

    /// What a rule does to the connection before the request is looked at.
    fn order(&self, action: &Action) {
        if action.goaway {
            self.goaway.cancel();
        }
        if let Some(streams) = action.streams {
            self.window.limit(streams);
        }
        if let Some(debug) = &action.goaway_before_next {
            self.window.leave(debug);
        }
        if action.stop_reading {
            self.orders.deaf.store(true, Ordering::Release);
        }
    }
}

/// The answer on the wire; its `Date` is by the vendor's own clock.
fn response(reply: SimReply, canned: Option<Canned>, now: UnixMs) -> Response<SimBody> {
    let body = match canned {
        Some(Canned::Truncated) => SimBody::truncated(reply.body),
        _ => SimBody::whole(reply.body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(now.0));
    if let Ok(date) = HeaderValue::try_from(date) {
        response.headers_mut().entry(header::DATE).or_insert(date);
    }
    response
}
