//! From an origin to an open stream: name, TCP, proxy, TLS.
//!
//! Names are resolved for every connection, never cached, and the addresses are taken in random
//! order, so that connections spread over the vendor's servers (Apple asks for this in "Sending
//! notification requests to APNs").

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::transport::proxy::{self, ProxyUrl};
use crate::transport::reach::{self, Reach};
use crate::transport::tls::{ALPN_HTTP2, Mistrust, is_certificate_alert};
use crate::transport::{Protocol, TransportError};

/// An address that stays silent may use at most this share of the connect timeout, so that the
/// next one gets its turn.
const ADDRESS_SHARE: u32 = 3;

/// Where connections of a pool go.
pub struct Origin {
    /// `https`, or else plain `http`.
    pub tls: bool,
    /// Without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The host is this machine: never through a proxy.
    pub loopback: bool,
    /// Only public addresses may be dialled.
    pub public_only: bool,
}

impl Origin {
    /// The origin of an absolute URI.
    ///
    /// # Errors
    ///
    /// [`TransportError::NotSent`] for anything but https, or http to a loopback host, unless
    /// `reach` allows it elsewhere.
    pub fn of(uri: &Uri, reach: Reach) -> Result<Self, TransportError> {
        let refused = |why: &str| TransportError::NotSent(format!("uri: {why}"));
        let host = uri.host().ok_or_else(|| refused("no host"))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let loopback = host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP && (loopback || reach.http) => false,
            Some(scheme) if *scheme == Scheme::HTTP => {
                return Err(refused("plain http is for loopback hosts only"));
            }
            _ => return Err(refused("the scheme is not https")),
        };
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Origin { tls, host, port, loopback, public_only: !reach.private })
    }
}

/// What the peer complained about after the handshake, when it was our certificate.
pub type Alert = Arc<OnceLock<String>>;

/// Counts attempts to write, before each: whoever finds the number unchanged knows that the peer
/// has seen nothing since.
pub type Writes = Arc<AtomicU64>;

/// An open stream and the HTTP version both sides agreed on.
pub struct Connected {
    /// The stream.
    pub stream: Stream,
    /// HTTP/2, or else HTTP/1.1.
    pub http2: bool,
    /// Filled when the peer refuses our certificate later.
    pub alert: Alert,
    /// How many times something was to be written to it.
    pub writes: Writes,
}

/// Opens a stream to `origin`. The caller bounds the time.
///
/// # Errors
///
/// [`TransportError::Handshake`] when the peer refused our certificate,
/// [`TransportError::Untrusted`] when we refused the peer, [`TransportError::NotSent`] for
/// everything else.
pub async fn connect(
    origin: &Origin,
    protocol: Protocol,
    tls: Option<Arc<ClientConfig>>,
    proxy: Option<&ProxyUrl>,
    timeout: Duration,
) -> Result<Connected, TransportError> {
    let tcp = match proxy.filter(|_| !origin.loopback) {
        None => dial(&origin.host, origin.port, origin.public_only, timeout).await?,
        Some(proxy) => {
            let tcp = dial(&proxy.host, proxy.port, false, timeout).await?;
            proxy::tunnel(proxy, tcp, &origin.host, origin.port).await?
        }
    };
    let Some(tls) = tls else {
        return Ok(Connected::new(Inner::Plain(tcp), protocol == Protocol::Http2));
    };
    let name = ServerName::try_from(origin.host.clone())
        .map_err(|_| TransportError::NotSent("uri: the host is no server name".to_owned()))?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await.map_err(handshake_failed)?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2);
    if protocol == Protocol::Http2 && !http2 {
        return Err(TransportError::NotSent("the server does not offer http/2".to_owned()));
    }
    Ok(Connected::new(Inner::Tls(Box::new(stream)), http2))
}

impl Connected {
    fn new(inner: Inner, http2: bool) -> Self {
        let (alert, writes) = (Alert::default(), Writes::default());
        let stream = Stream { inner, alert: alert.clone(), writes: writes.clone() };
        Connected { stream, http2, alert, writes }
    }
}

/// A connection to one of the host's addresses, or only to one of its public ones.
async fn dial(
    host: &str,
    port: u16,
    public_only: bool,
    timeout: Duration,
) -> Result<TcpStream, TransportError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|why| TransportError::NotSent(format!("name: {why}")))?;
    let mut addresses: Vec<SocketAddr> = found.collect();
    if public_only {
        let before = addresses.len();
        addresses.retain(|address| reach::is_public(address.ip()));
        if addresses.is_empty() && before > 0 {
            let why = "the host has no public address";
            return Err(TransportError::NotSent(why.to_owned()));
        }
    }
    fastrand::shuffle(&mut addresses);
    let shares = u32::try_from(addresses.len()).unwrap_or(ADDRESS_SHARE).clamp(1, ADDRESS_SHARE);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match tokio::time::timeout(timeout / shares, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let set = stream.set_nodelay(true);
                set.map_err(|why| TransportError::NotSent(format!("tcp: {why}")))?;
                return Ok(stream);
            }
            Ok(Err(why)) => last = why,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(TransportError::NotSent(format!("connect: {last}")))
}

/// A broken stream is weather. An alert about our certificate blames us, any other objection of
/// either side is about the peer: its certificate, a proxy's in its place, or no TLS at all.
fn handshake_failed(error: io::Error) -> TransportError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) => {
            TransportError::NotSent("the server does not offer the http version".to_owned())
        }
        Some(rustls::Error::AlertReceived(alert)) if is_certificate_alert(*alert) => {
            TransportError::Handshake(format!("the peer refused: {alert:?}"))
        }
        Some(why) => TransportError::Untrusted { why: Mistrust::of(why), words: why.to_string() },
        None => TransportError::NotSent(format!("the TLS handshake broke off: {error}")),
    }
}

/// A plain or encrypted stream that remembers a late refusal of our certificate and counts what is
/// written.
pub struct Stream {
    inner: Inner,
    alert: Alert,
    writes: Writes,
}

enum Inner {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn note(&self, error: &io::Error) {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = inner
            && is_certificate_alert(*alert)
        {
            let _already_noted = self.alert.set(format!("the peer refused: {alert:?}"));
        }
    }

    /// After a failed write: the reason may be waiting on the read side, and nobody will look
    /// for it there once the write has failed.
    fn look_for_alert(&mut self, cx: &mut Context<'_>) {
        let mut scratch = [0u8; 64];
        let mut buffer = ReadBuf::new(&mut scratch);
        if let Inner::Tls(stream) = &mut self.inner
            && let Poll::Ready(Err(error)) = Pin::new(stream).poll_read(cx, &mut buffer)
        {
            self.note(&error);
        }
    }

    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if matches!(polled, Poll::Ready(Err(_))) {
            self.look_for_alert(cx);
        }
        polled
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Inner::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        if let Poll::Ready(Err(error)) = &polled {
            self.note(error);
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let polled = match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Inner::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        self.written(cx, polled)
    }

    // Not vectored, though it could be: h2 then copies bodies of up to a kilobyte behind their
    // heads, where else it would write each body of 256 bytes by itself.

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        self.written(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(uri: &str) -> Result<Origin, TransportError> {
        Origin::of(&uri.parse().expect("a uri"), Reach::default())
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        assert!(origin("http://api.push.apple.com/x").is_err());
        assert!(origin("ftp://localhost/x").is_err());
        for uri in ["http://localhost:1/", "http://127.0.0.1:1/", "http://[::1]:1/"] {
            let origin = origin(uri).expect(uri);
            assert!(origin.loopback && !origin.tls);
            assert_eq!(origin.port, 1);
        }
    }

    #[test]
    fn https_has_its_port_and_a_name_without_brackets() {
        let name = origin("https://api.push.apple.com/3/device/x").expect("https");
        assert!(name.tls && !name.loopback);
        assert_eq!((name.host.as_str(), name.port), ("api.push.apple.com", 443));
        let address = origin("https://[2001:db8::1]:2197/").expect("https");
        assert_eq!((address.host.as_str(), address.port), ("2001:db8::1", 2197));
    }

    #[test]
    fn a_missing_http_version_is_not_blamed_on_the_certificate() {
        let alert = rustls::AlertDescription::NoApplicationProtocol;
        let error = io::Error::other(rustls::Error::AlertReceived(alert));
        assert!(matches!(handshake_failed(error), TransportError::NotSent(_)));
        let alert = rustls::AlertDescription::CertificateExpired;
        let error = io::Error::other(rustls::Error::AlertReceived(alert));
        assert!(matches!(handshake_failed(error), TransportError::Handshake(_)));
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(matches!(handshake_failed(reset), TransportError::NotSent(_)));
    }
}
