//! The only HTTP client: what a vendor wants sent, and what came back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};

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
    /// Everything but `host` and `content-length`, which the transport adds.
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
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The vendor cannot have seen it: repeating is free.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have been seen: repeating may ring twice.
    #[error("sent, but no answer: {0}")]
    Lost(String),
    /// The TLS handshake was refused: the client certificate or the trust roots are wrong.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
}
