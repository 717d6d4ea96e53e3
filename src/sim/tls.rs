//! TLS of a vendor's port: as it should be, and each way in which it can go wrong.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::sim::ca::{Ca, Issued, ServerFlaw};

/// What goes wrong with a connection before any request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsFault {
    /// A TCP reset in answer to the client's hello.
    Reset,
    /// The stream ends in answer to the client's hello.
    Close,
    /// An HTTP page in the clear in answer to the client's hello.
    Plaintext,
    /// A certificate of the right authority for another host.
    WrongHost,
    /// A certificate of an authority that nobody trusts.
    UnknownCa,
    /// A certificate that ended long ago.
    Expired,
}

/// What a plain web server says to a TLS hello.
const PAGE: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 11\r\n\
    connection: close\r\n\r\nbad request";
/// Octets of the client's hello read before it is answered badly.
const HELLO: usize = 16 * 1024;

/// How one port does TLS.
pub struct Tls {
    http2_only: bool,
    right: TlsAcceptor,
}

impl Tls {
    /// TLS with a fresh certificate of this process's authority.
    ///
    /// # Errors
    /// When the machine has no source of randomness.
    pub fn new(http2_only: bool) -> anyhow::Result<Self> {
        let issued = Ca::of_this_process().issue_server(ServerFlaw::None)?;
        Ok(Tls { http2_only, right: acceptor(issued, http2_only)? })
    }

    /// Who does the handshake: as it should be, or with a certificate that is wrong so.
    ///
    /// # Errors
    /// When the machine has no source of randomness.
    pub fn acceptor(&self, fault: Option<TlsFault>) -> anyhow::Result<TlsAcceptor> {
        let own = Ca::of_this_process();
        let issued = match fault {
            Some(TlsFault::WrongHost) => own.issue_server(ServerFlaw::OtherHost)?,
            Some(TlsFault::Expired) => own.issue_server(ServerFlaw::Expired)?,
            Some(TlsFault::UnknownCa) => Ca::new()?.issue_server(ServerFlaw::None)?,
            None | Some(TlsFault::Reset | TlsFault::Close | TlsFault::Plaintext) => {
                return Ok(self.right.clone());
            }
        };
        acceptor(issued, self.http2_only)
    }
}

/// Answers a hello with no handshake at all. Answers whether this fault is one of those.
pub async fn spoil<S>(socket: &mut S, fault: TlsFault) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if !matches!(fault, TlsFault::Reset | TlsFault::Close | TlsFault::Plaintext) {
        return false;
    }
    // The client may be gone before; then there is nobody left to spoil it for.
    let mut hello = vec![0u8; HELLO];
    let _ = socket.read(&mut hello).await;
    if fault == TlsFault::Plaintext {
        let _ = socket.write_all(PAGE).await;
        let _ = socket.shutdown().await;
    }
    true
}

/// TLS as the vendor does it: client certificates are asked for but not demanded.
fn acceptor(issued: Issued, http2_only: bool) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(Ca::of_this_process().der().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(issued.chain, issued.key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    if !http2_only {
        config.alpn_protocols.push(b"http/1.1".to_vec());
    }
    Ok(TlsAcceptor::from(Arc::new(config)))
}
