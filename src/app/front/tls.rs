//! The TLS of the listening socket, from the files that the settings name.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::Settings;

/// What greets a connection; nothing when the settings name no files.
///
/// # Errors
/// When a file cannot be used, or the two do not belong together.
pub fn acceptor(settings: &Settings) -> anyhow::Result<Option<TlsAcceptor>> {
    let (Some(cert_file), Some(key_file)) = (&settings.tls.cert_file, &settings.tls.key_file)
    else {
        return Ok(None);
    };
    let named = |name: &str, path: &Path| format!("{name} {}", path.display());
    let chain = chain(cert_file).with_context(|| named("tls.cert_file", cert_file))?;
    let key = key(key_file).with_context(|| named("tls.key_file", key_file))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("prepare TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("tls.key_file does not belong to tls.cert_file")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// The certificates of a PEM file.
///
/// # Errors
/// When it cannot be read or holds none.
pub fn chain(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>)?;
    ensure!(!chain.is_empty(), "it holds no certificate");
    Ok(chain)
}

/// The private key of a PEM file.
///
/// # Errors
/// When it cannot be read or holds none.
pub fn key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    Ok(PrivateKeyDer::from_pem_file(path)?)
}
