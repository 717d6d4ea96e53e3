//! Whom the transport trusts and who it says it is.
//!
//! rustls with ring, TLS 1.2 and 1.3, the public web roots plus the operator's own.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::transport::{Lane, Protocol, TransportError};

/// ALPN name of HTTP/2.
pub const ALPN_HTTP2: &[u8] = b"h2";
/// ALPN name of HTTP/1.1.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Why the configured trust roots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// Not PEM, or no certificate in it.
    #[error("ca_pem: no certificate could be read: {0}")]
    Pem(String),
    /// A certificate that cannot be a trust root.
    #[error("ca_pem: certificate {index} cannot be a trust root: {why}")]
    Root {
        /// Its position in the file, from 1.
        index: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// Why a peer is not talked to: what TLS says is wrong on its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistrust {
    /// Nobody we trust vouches for its certificate.
    #[error("the server's certificate is of an authority that is not trusted")]
    UnknownIssuer,
    /// Its certificate is for another host.
    #[error("the server's certificate is for another host name")]
    WrongName,
    /// Its certificate has ended, or our clock is ahead.
    #[error("the server's certificate has expired by this machine's clock")]
    Expired,
    /// Its certificate has not begun, or our clock is behind.
    #[error("the server's certificate is not valid yet by this machine's clock")]
    NotYetValid,
    /// It answers, but not in TLS.
    #[error("the server does not speak TLS")]
    NotTls,
    /// Anything else.
    #[error("TLS with the server failed")]
    Other,
}

impl Mistrust {
    /// What rustls objected to.
    pub fn of(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(flaw) = error else {
            return match error {
                rustls::Error::InvalidMessage(_) => Mistrust::NotTls,
                _ => Mistrust::Other,
            };
        };
        match flaw {
            // An authority that has the name of ours but not its key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Mistrust::UnknownIssuer
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Mistrust::WrongName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Mistrust::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Mistrust::NotYetValid
            }
            _ => Mistrust::Other,
        }
    }

    /// The code in traces and metrics: a closed set.
    pub const fn code(self) -> &'static str {
        match self {
            Mistrust::UnknownIssuer => "tls_unknown_issuer",
            Mistrust::WrongName => "tls_wrong_name",
            Mistrust::Expired => "tls_expired",
            Mistrust::NotYetValid => "tls_not_yet_valid",
            Mistrust::NotTls => "tls_not_spoken",
            Mistrust::Other => "tls_failed",
        }
    }
}

/// The trust roots, read once and shared by every pool.
pub struct Roots {
    verifier: Arc<WebPkiServerVerifier>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl Roots {
    /// The public roots and those in `ca_pem`.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] when `ca_pem` is given and holds no usable certificate.
    pub fn new(ca_pem: Option<&[u8]>) -> Result<Self, TlsConfigError> {
        let mut store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(pem) = ca_pem {
            let before = store.len();
            for (at, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
                let certificate =
                    certificate.map_err(|why| TlsConfigError::Pem(why.to_string()))?;
                store
                    .add(certificate)
                    .map_err(|why| TlsConfigError::Root { index: at + 1, why: why.to_string() })?;
            }
            if store.len() == before {
                return Err(TlsConfigError::Pem("it holds none".to_owned()));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
                .build()
                .map_err(|why| TlsConfigError::Pem(why.to_string()))?;
        Ok(Roots { verifier, provider })
    }

    /// How a lane's connections do TLS.
    ///
    /// # Errors
    ///
    /// [`TransportError::Handshake`] when the lane's certificate and key cannot be used together.
    pub fn client_config(&self, lane: &Lane) -> Result<Arc<ClientConfig>, TransportError> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|why| TransportError::Handshake(why.to_string()))?
            .with_webpki_verifier(self.verifier.clone());
        let mut config = match &lane.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(|why| TransportError::Handshake(format!("client certificate: {why}")))?,
        };
        config.alpn_protocols = match lane.protocol {
            Protocol::Http2 => vec![ALPN_HTTP2.to_vec()],
            Protocol::Any => vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()],
        };
        Ok(Arc::new(config))
    }
}

/// Whether an alert of the peer is about our certificate.
///
/// In TLS 1.3 the client has finished before the server looks at its certificate, so the refusal
/// arrives on what already is an open connection.
pub fn is_certificate_alert(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::HandshakeFailure
            | AlertDescription::CertificateRequired
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        assert!(matches!(Roots::new(Some(b"")), Err(TlsConfigError::Pem(_))));
        assert!(matches!(Roots::new(Some(b"no pem at all")), Err(TlsConfigError::Pem(_))));
    }

    #[test]
    fn a_certificate_that_is_none_is_named_by_its_place() {
        let pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(Roots::new(Some(pem)), Err(TlsConfigError::Root { index: 1, .. })));
    }

    #[test]
    fn the_public_roots_are_there_without_any_file() {
        assert!(Roots::new(None).is_ok());
    }
}
