//! A throw-away certificate authority: made in memory, gone with the process.
//!
//! It signs the simulators' server certificate and client certificates shaped like Apple's, so
//! that a relay which trusts [`Ca::pem`] meets real TLS on loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::model::certificate::Environment;

/// Subject attribute UID, where Apple's certificates carry the bundle id.
const OID_UID: &[u64] = &[0, 9, 2342, 19200300, 100, 1, 1];
/// Present when development is allowed (vendors-apns-fcm.md, A.3).
const OID_DEVELOPMENT: &[u64] = &[1, 2, 840, 113635, 100, 6, 3, 1];
/// Present when production is allowed (A.3).
const OID_PRODUCTION: &[u64] = &[1, 2, 840, 113635, 100, 6, 3, 2];
/// DER NULL, the value of both.
const DER_NULL: &[u8] = &[0x05, 0x00];
/// RSA key of every client certificate: throw-away, public, worth nothing outside this room.
const CLIENT_KEY_PEM: &str = include_str!("keys/apns.pem");

/// The authority.
pub struct Ca {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key and issuer.
pub struct Issued {
    /// Leaf, then authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS#8 DER.
    pub key: PrivateKeyDer<'static>,
}

/// What an APNs-like client certificate says.
pub struct ClientCertificate<'a> {
    /// The app, subject UID.
    pub bundle_id: &'a str,
    /// Worlds it may be used in.
    pub environments: &'a [Environment],
    /// Year, month, day of its end.
    pub not_after: (i32, u8, u8),
}

/// What is wrong with a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFlaw {
    /// Nothing.
    None,
    /// It is for another host.
    OtherHost,
    /// It ended long ago.
    Expired,
}

impl Ca {
    /// Makes a new authority.
    ///
    /// # Errors
    /// When the machine has no source of randomness.
    pub fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate().context("authority key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "offpush simulator throw-away CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).context("authority certificate")?;
        let pem = certificate.pem();
        Ok(Ca { certificate, issuer: Issuer::new(params, key), pem })
    }

    /// The authority of this process, shared by its server and its simulators.
    pub fn of_this_process() -> &'static Arc<Ca> {
        static CA: OnceLock<Arc<Ca>> = OnceLock::new();
        CA.get_or_init(|| Arc::new(Ca::new().expect("only fails without a source of randomness")))
    }

    /// Its own certificate, PEM: what a relay must trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its own certificate, DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }

    /// A server certificate for `localhost`, `127.0.0.1` and `::1`, or one that is wrong so.
    ///
    /// # Errors
    /// When the machine has no source of randomness.
    pub fn issue_server(&self, flaw: ServerFlaw) -> anyhow::Result<Issued> {
        let key = KeyPair::generate().context("server key")?;
        let other = flaw == ServerFlaw::OtherHost;
        let name = if other { "another-host.example" } else { "localhost" };
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            if !other {
                params.subject_alt_names.push(SanType::IpAddress(ip));
            }
        }
        if flaw == ServerFlaw::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        self.issue(&params, &key)
    }

    /// A client certificate with the marks of Apple's: UID and environment extensions.
    ///
    /// # Errors
    /// When `not_after` is no date or a name cannot be encoded.
    pub fn issue_client(&self, wanted: &ClientCertificate<'_>) -> anyhow::Result<Issued> {
        let key = KeyPair::from_pem(CLIENT_KEY_PEM).context("client key")?;
        let mut params = CertificateParams::default();
        let uid = DnType::CustomDnType(OID_UID.to_vec());
        params.distinguished_name.push(uid, DnValue::Utf8String(wanted.bundle_id.to_owned()));
        let name = format!("Apple Push Services: {}", wanted.bundle_id);
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        for environment in wanted.environments {
            let oid = match environment {
                Environment::Production => OID_PRODUCTION,
                Environment::Sandbox => OID_DEVELOPMENT,
            };
            let mark = CustomExtension::from_oid_content(oid, DER_NULL.to_vec());
            params.custom_extensions.push(mark);
        }
        let (year, month, day) = wanted.not_after;
        anyhow::ensure!((1..=12).contains(&month) && (1..=28).contains(&day), "not_after: no date");
        params.not_after = date_time_ymd(year, month, day);
        self.issue(&params, &key)
    }

    fn issue(&self, params: &CertificateParams, key: &KeyPair) -> anyhow::Result<Issued> {
        let leaf = params.signed_by(key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Issued { chain: vec![leaf.der().clone(), self.der().clone()], key })
    }
}

impl Issued {
    /// The same as a PKCS#12 container.
    ///
    /// # Errors
    /// When the container cannot be written.
    pub fn to_p12(&self, password: &str) -> anyhow::Result<Vec<u8>> {
        /// Enough for a throw-away secret, and quick in unoptimised builds.
        const ITERATIONS: u32 = 1_000;
        let key = p12_keystore::PrivateKey::from_der(self.key.secret_der())?;
        let certs: Result<Vec<_>, _> =
            self.chain.iter().map(|der| p12_keystore::Certificate::from_der(der)).collect();
        let chain = p12_keystore::PrivateKeyChain::new(vec![1], key, certs?);
        let mut store = p12_keystore::KeyStore::new();
        store.add_entry("apns", p12_keystore::KeyStoreEntry::PrivateKeyChain(chain));
        let writer = store.writer(password).encryption_iterations(ITERATIONS);
        Ok(writer.mac_iterations(ITERATIONS).write()?)
    }
}

/// What the simulator reads out of a client certificate that TLS has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFacts {
    /// Subject UID: the bundle id.
    pub bundle_id: String,
    /// Whether the production mark is there.
    pub production: bool,
    /// Whether the development mark is there.
    pub development: bool,
    /// When it ends, seconds.
    pub not_after: u64,
}

impl ClientFacts {
    /// Reads a leaf certificate; `None` when it is no certificate or has no UID.
    pub fn read(leaf: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
        let mark = |oid: &[u64]| {
            let wanted = x509_parser::oid_registry::Oid::from(oid).ok();
            certificate.extensions().iter().any(|found| Some(&found.oid) == wanted.as_ref())
        };
        let uid = x509_parser::oid_registry::Oid::from(OID_UID).ok()?;
        let bundle_id = certificate.subject().iter_by_oid(&uid).next()?.as_str().ok()?;
        Some(ClientFacts {
            bundle_id: bundle_id.to_owned(),
            production: mark(OID_PRODUCTION),
            development: mark(OID_DEVELOPMENT),
            not_after: u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: ClientCertificate<'_> = ClientCertificate {
        bundle_id: "com.example.chat",
        environments: &[Environment::Production],
        not_after: (2096, 1, 1),
    };

    #[test]
    fn a_client_certificate_says_what_was_asked_for() {
        let issued = Ca::of_this_process().issue_client(&WANTED).expect("issued");
        let facts = ClientFacts::read(&issued.chain[0]).expect("readable");
        assert_eq!(facts.bundle_id, "com.example.chat");
        assert!(facts.production && !facts.development);
    }

    #[test]
    fn a_p12_opens_with_its_password_only() {
        let issued = Ca::of_this_process().issue_client(&WANTED).expect("issued");
        let p12 = issued.to_p12("secret").expect("written");
        let policy = p12_keystore::Pkcs12ImportPolicy::Strict;
        let store = p12_keystore::KeyStore::from_pkcs12(&p12, "secret", policy).expect("opens");
        let (_, chain) = store.private_key_chain().expect("a key with its chain");
        assert_eq!(chain.certs()[0].as_der(), issued.chain[0].as_ref());
        assert_eq!(chain.key().as_der(), issued.key.secret_der());
        assert!(p12_keystore::KeyStore::from_pkcs12(&p12, "wrong", policy).is_err());
    }
}
