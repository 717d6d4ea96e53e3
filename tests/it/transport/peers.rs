//! Servers whose every frame the test writes itself, so that each ordering is exact.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use offpush::transport::ClientIdentity;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// HPACK for `:status: 200`.
const STATUS_200: &[u8] = &[0x88];

/// Any byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

/// A listening socket on loopback.
pub struct Peer {
    listener: TcpListener,
    /// Its port.
    pub port: u16,
}

impl Peer {
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        Peer { listener, port }
    }

    /// The next connection.
    pub async fn accept(&self) -> TcpStream {
        self.listener.accept().await.expect("a connection").0
    }

    /// The next connection, speaking HTTP/2 with room for `streams`.
    pub async fn accept_http2(&self, streams: u32) -> Wire {
        Wire::begin(self.accept().await, streams).await
    }

    /// The next connection after its TLS handshake.
    pub async fn accept_tls(&self, config: ServerConfig) -> std::io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(Arc::new(config)).accept(self.accept().await).await
    }
}

/// A connection that counts the TLS records with data that come over it.
pub struct RecordTap {
    tcp: TcpStream,
    records: Arc<AtomicUsize>,
    /// The begun head of a record.
    head: Vec<u8>,
    /// Bytes until the next head.
    left: usize,
}

const RECORD_HEAD_BYTES: usize = 5;
const APPLICATION_DATA: u8 = 23;

impl RecordTap {
    pub fn new(tcp: TcpStream, records: Arc<AtomicUsize>) -> Self {
        RecordTap { tcp, records, head: Vec::new(), left: 0 }
    }

    fn watch(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.left > 0 {
                self.left -= 1;
                continue;
            }
            self.head.push(*byte);
            if self.head.len() == RECORD_HEAD_BYTES {
                self.left = usize::from(u16::from_be_bytes([self.head[3], self.head[4]]));
                let is_data = self.head[0] == APPLICATION_DATA;
                self.records.fetch_add(usize::from(is_data), Ordering::SeqCst);
                self.head.clear();
            }
        }
    }
}

impl AsyncRead for RecordTap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        self.watch(&buffer.filled()[before..]);
        polled
    }
}

impl AsyncWrite for RecordTap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// The server side of one HTTP/2 connection, frame by frame.
pub struct Wire {
    io: Pin<Box<dyn Io>>,
}

impl Wire {
    /// Reads the preface and sends SETTINGS.
    pub async fn begin(io: impl Io + 'static, streams: u32) -> Self {
        let mut wire = Wire { io: Box::pin(io) };
        let mut preface = [0u8; 24];
        wire.io.read_exact(&mut preface).await.expect("the preface");
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        wire.send(&[settings(streams)]).await;
        wire
    }

    /// The stream of the next request that has arrived whole.
    pub async fn request(&mut self) -> u32 {
        loop {
            let (kind, flags, stream, _) = self.frame().await.expect("a request, not the end");
            if (kind == HEADERS || kind == DATA) && flags & END_STREAM != 0 {
                return stream;
            }
        }
    }

    /// Waits until the client has closed the connection; no request may come before.
    pub async fn closed(&mut self) {
        while let Some((kind, ..)) = self.frame().await {
            assert_ne!(kind, HEADERS, "a request on a connection that should close");
        }
    }

    /// Writes frames in one go.
    pub async fn send(&mut self, frames: &[Vec<u8>]) {
        self.io.write_all(&frames.concat()).await.expect("the client reads");
        self.io.flush().await.expect("the client reads");
    }

    /// Writes a frame and waits until the client has read it.
    pub async fn send_and_wait(&mut self, frame_sent: Vec<u8>) {
        self.send(&[frame_sent, frame(PING, 0, 0, &[0; 8])]).await;
        while self.frame().await.expect("the ping, not the end").0 != PING {}
    }

    /// Ends our direction; the client's stays open.
    pub async fn half_close(&mut self) {
        self.io.shutdown().await.expect("the client is there");
    }

    /// Answers 200 without a body.
    pub async fn answer(&mut self, stream: u32) {
        self.send(&[answer(stream)]).await;
    }

    /// The next frame that is not housekeeping, or `None` at the end.
    async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        loop {
            let mut head = [0u8; 9];
            self.io.read_exact(&mut head).await.ok()?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | head[2] as usize;
            let mut payload = vec![0u8; length];
            self.io.read_exact(&mut payload).await.ok()?;
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if flags & ACK == 0 && (kind == SETTINGS || kind == PING) {
                let payload: &[u8] = if kind == PING { &payload } else { &[] };
                self.send(&[frame(kind, ACK, 0, payload)]).await;
            } else if [HEADERS, DATA, RST_STREAM, PING].contains(&kind) {
                return Some((kind, flags, stream, payload));
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// SETTINGS with MAX_CONCURRENT_STREAMS.
pub fn settings(streams: u32) -> Vec<u8> {
    let mut payload = vec![0, 3];
    payload.extend(streams.to_be_bytes());
    frame(SETTINGS, 0, 0, &payload)
}

/// A whole answer without a body.
pub fn answer(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, STATUS_200)
}

/// The head of an answer; a body follows.
pub fn head(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, STATUS_200)
}

/// A piece of a body.
pub fn data(stream: u32, piece: &[u8], last: bool) -> Vec<u8> {
    frame(DATA, if last { END_STREAM } else { 0 }, stream, piece)
}

/// RST_STREAM.
pub fn reset(stream: u32, reason: h2::Reason) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &u32::from(reason).to_be_bytes())
}

/// GOAWAY without an error.
pub fn go_away(last_stream: u32) -> Vec<u8> {
    go_away_saying(last_stream, b"")
}

/// The same with debug data.
pub fn go_away_saying(last_stream: u32, debug: &[u8]) -> Vec<u8> {
    let mut payload = last_stream.to_be_bytes().to_vec();
    payload.extend([0; 4]);
    payload.extend(debug);
    frame(GOAWAY, 0, 0, &payload)
}

/// A throw-away certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    /// Its certificate.
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Authority { issuer: Issuer::new(params, key), der, pem }
    }

    /// A certificate and key for a name.
    pub fn identity(&self, name: &str) -> ClientIdentity {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("pkcs8");
        ClientIdentity { chain: vec![certificate.der().clone()], key }
    }

    /// A server for `name` offering `alpn`; `ask` demands client certificates of this authority.
    pub fn server(
        &self,
        name: &str,
        alpn: &[u8],
        ask: bool,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .expect("versions");
        let builder = if ask {
            let mut roots = RootCertStore::empty();
            roots.add(self.der.clone()).expect("a root");
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let ClientIdentity { chain, key } = self.identity(name);
        let mut config = builder.with_single_cert(chain, key).expect("a certificate");
        config.alpn_protocols = vec![alpn.to_vec()];
        config
    }
}

/// Reads one HTTP/1.1 head, and `body` bytes after it.
pub async fn read_http1(io: &mut (impl AsyncRead + Unpin), body: usize) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(io.read_u8().await.expect("a request, not the end"));
    }
    let mut rest = vec![0u8; body];
    io.read_exact(&mut rest).await.expect("the body");
    text.extend(rest);
    String::from_utf8(text).expect("text")
}
