//! The vendor credentials: uploaded, checked, sealed, rotated in place.
//!
//! Few and read for every delivery, so all of them are in memory, parsed. A change is written
//! before it shows; whoever holds the old one finishes with it, which is why rotating drops
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use foldhash::HashMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Mutex, watch};

use crate::model::certificate::{CertificateInfo, Edition, Environment, Options};
use crate::model::id::{AppId, CertId, Partition};
use crate::model::time::UnixMs;
use crate::seal::{Seal, SealError};
use crate::store::keys::{Class, KeyBuilder};
use crate::store::{Batch, Key, Scope, Store, StoreError};
use crate::telemetry::events;
use crate::vendor::profile::Endpoints;
use crate::vendor::upload::{Credential, CredentialError, Upload};
use crate::vendor::{self, SendingCertificate, Vendor};

mod described;
mod numbers;
mod set_aside;

pub use described::Described;
pub use set_aside::SetAside;

use crate::credentials::numbers::number_key;
use crate::credentials::set_aside::Aside;

/// Most certificates of one relay.
pub const CERTIFICATES_MAX: usize = 100_000;

/// A certificate in use.
pub struct Certificate {
    /// What may be shown.
    pub info: CertificateInfo,
    /// Its vendor.
    pub vendor: &'static dyn Vendor,
    /// What the vendor needs to build requests.
    pub sending: SendingCertificate,
    /// What the upload said of itself, with the TLS client certificate.
    pub credential: Credential,
    /// What a file last said of it, sealed.
    pub described: Option<String>,
}

/// An upload, or the part of it that changes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// The app, as credential files name it; when given it must be the one that is asked.
    pub app: Option<AppId>,
    /// Vendor; required when new, and may not change.
    pub vendor: Option<String>,
    /// Name; required when new.
    pub name: Option<String>,
    /// Production (default) or sandbox.
    pub environment: Option<Environment>,
    /// The secret; required when new.
    pub credential: Option<Value>,
    /// Defaults of its pushes.
    pub options: Option<Options>,
    /// A number that clients already report; only when new.
    pub cert_id: Option<CertId>,
    /// Switch it off or on.
    pub enabled: Option<bool>,
    /// What a file says of it, when one does.
    #[serde(skip)]
    pub described: Option<Described>,
}

/// Why a certificate could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The upload is refused.
    #[error(transparent)]
    Refused(#[from] CredentialError),
    /// There is no such certificate in this app.
    #[error("there is no such certificate")]
    NotFound,
    /// It is stored and cannot be used.
    #[error("the relay cannot use this certificate: {0}")]
    Unusable(String),
    /// The chosen number is in use.
    #[error("cert_id {0} is in use")]
    Taken(CertId),
    /// The operator's key does not open what is stored.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A certificate's row.
#[derive(Serialize, Deserialize)]
struct Row {
    info: CertificateInfo,
    /// The sealed `credential` object, base64.
    sealed: String,
    /// What a file last said of it, sealed, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    described: Option<String>,
}

type Known = HashMap<CertId, Arc<Certificate>>;

/// All certificates.
pub struct Credentials {
    store: Arc<dyn Store>,
    seal: Arc<Seal>,
    endpoints: HashMap<&'static str, Arc<Endpoints>>,
    known: ArcSwap<Known>,
    aside: ArcSwap<Aside>,
    /// Held while anything is written: the highest number ever given.
    writing: Mutex<u32>,
    changed: watch::Sender<u64>,
}

impl Credentials {
    /// Reads every certificate; one that cannot be used is [set aside](SetAside). `overrides` are
    /// the operator's endpoints by vendor. That the key is the right one has shown before, with the
    /// apps.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(
        store: Arc<dyn Store>,
        seal: Arc<Seal>,
        overrides: &BTreeMap<String, Endpoints>,
    ) -> Result<Self, CredentialsError> {
        let endpoints = vendor::ALL
            .iter()
            .map(|vendor| {
                let profile = vendor.profile();
                let mut endpoints = Endpoints::defaults(profile);
                if let Some(given) = overrides.get(profile.name) {
                    endpoints.0.extend(given.0.clone());
                }
                (profile.name, Arc::new(endpoints))
            })
            .collect();
        let credentials = Credentials {
            store,
            seal,
            endpoints,
            known: ArcSwap::default(),
            aside: ArcSwap::default(),
            writing: Mutex::default(),
            changed: watch::Sender::new(0),
        };
        let (mut known, mut aside) = (Known::default(), Aside::default());
        let range = KeyBuilder::new(Class::Certificate).prefix();
        let rows = credentials.store.scan(Scope::Everywhere, range, CERTIFICATES_MAX).await?;
        for (key, row) in rows {
            match credentials.load(&key, &row) {
                Ok(certificate) => {
                    known.insert(certificate.info.cert_id, Arc::new(certificate));
                }
                Err(error) => {
                    let Some(set) = SetAside::of(&key, &row, &error) else { continue };
                    events::certificate_set_aside(set.app.0, set.cert_id.0, &set.why);
                    aside.insert(set.cert_id, set);
                }
            }
        }
        let highest = known.keys().chain(aside.keys()).map(|id| id.0).max().unwrap_or(0);
        *credentials.writing.lock().await = highest.max(credentials.highest_deleted().await?);
        credentials.known.store(Arc::new(known));
        credentials.aside.store(Arc::new(aside));
        Ok(credentials)
    }

    fn load(&self, key: &Key, row: &[u8]) -> Result<Certificate, CredentialsError> {
        let (row, credential) = self.open_row(key, row)?;
        let certificate = self.build(row.info, &credential)?;
        Ok(Certificate { described: row.described, ..certificate })
    }

    /// A row and the secret in it.
    fn open_row(&self, key: &Key, row: &[u8]) -> Result<(Row, Value), CredentialsError> {
        let damaged = || StoreError::Corrupt { key: key.clone() };
        let row: Row = serde_json::from_slice(row).map_err(|_| damaged())?;
        let sealed = STANDARD.decode(&row.sealed).map_err(|_| damaged())?;
        let plain = self.seal.open(&context(row.info.cert_id), &sealed)?;
        let credential = serde_json::from_slice(&plain).map_err(|_| damaged())?;
        Ok((row, credential))
    }

    fn build(
        &self,
        info: CertificateInfo,
        credential: &Value,
    ) -> Result<Certificate, CredentialsError> {
        let vendor = vendor_named(&info.vendor)?;
        let endpoints = self.endpoints[vendor.profile().name].clone();
        // An expired credential is still read: it must show as expired, not vanish. Reading it
        // at the moment it was uploaded keeps the expiry check out of the way.
        let now = info.updated_at;
        let upload =
            Upload { credential, environment: info.environment, endpoints: &endpoints, now };
        let credential = vendor.read_credential(&upload)?;
        let sending = SendingCertificate {
            cert_id: info.cert_id.0,
            environment: credential.environment,
            options: Arc::new(info.options.clone()),
            material: credential.material.clone(),
            endpoints,
        };
        let info = CertificateInfo {
            environment: credential.environment,
            expires_at: credential.expires_at,
            warnings: credential.warnings.clone(),
            identity: credential.identity.clone(),
            ..info
        };
        Ok(Certificate { info, vendor, sending, credential, described: None })
    }

    /// One certificate, whoever's.
    pub fn get(&self, cert_id: CertId) -> Option<Arc<Certificate>> {
        self.known.load().get(&cert_id).cloned()
    }

    /// One certificate of one app.
    pub fn get_of(&self, app: AppId, cert_id: CertId) -> Option<Arc<Certificate>> {
        self.get(cert_id).filter(|certificate| certificate.info.app == app)
    }

    /// The certificates of one app, or of all, by number.
    pub fn list(&self, app: Option<AppId>) -> Vec<Arc<Certificate>> {
        let known = self.known.load();
        let of_app =
            |certificate: &&Arc<Certificate>| app.is_none_or(|app| certificate.info.app == app);
        let mut certificates: Vec<_> = known.values().filter(of_app).cloned().collect();
        certificates.sort_by_key(|certificate| certificate.info.cert_id);
        certificates
    }

    /// Tells whenever any certificate changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Uploads a new certificate.
    ///
    /// # Errors
    /// `Refused` with the field, `Taken`, or the store's.
    pub async fn create(
        &self,
        app: AppId,
        draft: Draft,
        now: UnixMs,
    ) -> Result<Arc<Certificate>, CredentialsError> {
        let vendor = required(draft.vendor, "vendor")?;
        let known = vendor_named(&vendor)?;
        let credential = required(draft.credential, "credential")?;
        let options = draft.options.unwrap_or_default();
        let name = draft.name.unwrap_or_else(|| vendor.clone());
        let mut highest = self.writing.lock().await;
        let cert_id = self.number_for(draft.cert_id, *highest)?;
        let info = CertificateInfo {
            app,
            cert_id,
            vendor,
            name,
            environment: draft.environment.unwrap_or_default(),
            options,
            enabled: draft.enabled.unwrap_or(true),
            broken: None,
            expires_at: None,
            revision: 1,
            created_at: now,
            updated_at: now,
            warnings: Vec::new(),
            identity: BTreeMap::new(),
        };
        let made = self.build(info, &credential)?;
        vendor::check_options(known, &made.sending)?;
        let made = self.write(made, &credential, draft.described, Batch::default()).await?;
        *highest = cert_id.0.max(*highest);
        Ok(made)
    }

    /// Changes a certificate under the same number: a new secret, other options, off or on.
    ///
    /// # Errors
    /// `NotFound`, `Refused`, or the store's.
    pub async fn change(
        &self,
        app: AppId,
        cert_id: CertId,
        draft: Draft,
        now: UnixMs,
    ) -> Result<Arc<Certificate>, CredentialsError> {
        let _writing = self.writing.lock().await;
        let old = self.info_of(app, cert_id).ok_or(CredentialsError::NotFound)?;
        if draft.vendor.is_some_and(|vendor| vendor != old.vendor) {
            return Err(refused("vendor_fixed", "vendor", "the vendor of a certificate is fixed"));
        }
        if draft.cert_id.is_some_and(|chosen| chosen != cert_id) {
            return Err(refused(
                "cert_id_fixed",
                "cert_id",
                "the number of a certificate is fixed",
            ));
        }
        let mut info = old.clone();
        info.name = draft.name.unwrap_or(info.name);
        let is_asked = draft.options.is_some();
        info.options = draft.options.unwrap_or(info.options);
        info.enabled = draft.enabled.unwrap_or(info.enabled);
        info.environment = draft.environment.unwrap_or(info.environment);
        let credential = match draft.credential {
            Some(new) => {
                info.revision += 1;
                info.broken = None;
                info.updated_at = now;
                new
            }
            None => self.stored_secret(&old).await?,
        };
        let changed = self.build(info, &credential)?;
        if is_asked {
            vendor::check_options(changed.vendor, &changed.sending)?;
        }
        self.write(changed, &credential, draft.described, Batch::default()).await
    }

    /// Notes that the vendor refuses a certificate, unless it has another secret by now than
    /// `edition`.
    ///
    /// # Errors
    /// `NotFound`, or the store's.
    pub async fn mark_broken(
        &self,
        cert_id: CertId,
        edition: Edition,
        why: Option<String>,
    ) -> Result<bool, CredentialsError> {
        self.mark_broken_and(cert_id, edition, why, Batch::default()).await
    }

    /// The same, with more rows of [`Partition::of_app`] in its commit.
    ///
    /// # Errors
    /// As [`Credentials::mark_broken`].
    pub async fn mark_broken_and(
        &self,
        cert_id: CertId,
        edition: Edition,
        why: Option<String>,
        more: Batch,
    ) -> Result<bool, CredentialsError> {
        let _writing = self.writing.lock().await;
        let old = self.get(cert_id).ok_or(CredentialsError::NotFound)?;
        if old.info.edition() != edition || old.info.broken.is_some() == why.is_some() {
            return Ok(false);
        }
        let credential = self.stored_secret(&old.info).await?;
        let info = CertificateInfo { broken: why, ..old.info.clone() };
        let certificate = self.build(info, &credential)?;
        self.write(certificate, &credential, None, more).await?;
        Ok(true)
    }

    /// Deletes a certificate; its number is not given out again, unless an upload asks for it:
    /// devices may still be registered under it.
    ///
    /// # Errors
    /// `NotFound`, or the store's.
    pub async fn delete(&self, app: AppId, cert_id: CertId) -> Result<(), CredentialsError> {
        let highest = self.writing.lock().await;
        if self.get_of(app, cert_id).is_none() && self.set_aside(app, cert_id).is_none() {
            return Err(CredentialsError::NotFound);
        }
        let number = Bytes::copy_from_slice(&highest.to_be_bytes());
        let batch = Batch {
            put: vec![(number_key(app), number)],
            delete: vec![row_key(app, cert_id)],
            ..Batch::default()
        };
        self.store.commit(Partition::of_app(app), batch).await?;
        let mut known = Known::clone(&self.known.load());
        known.remove(&cert_id);
        self.no_longer_aside(cert_id);
        self.publish(known);
        Ok(())
    }

    /// Whether a certificate's stored secret is exactly this one.
    ///
    /// # Errors
    /// The store's.
    pub async fn holds(
        &self,
        info: &CertificateInfo,
        credential: &Value,
    ) -> Result<bool, CredentialsError> {
        Ok(self.stored_secret(info).await? == *credential)
    }

    async fn stored_secret(&self, info: &CertificateInfo) -> Result<Value, CredentialsError> {
        let key = row_key(info.app, info.cert_id);
        let row = self.store.get(Partition::of_app(info.app), &key).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt { key: key.clone() })?;
        Ok(self.open_row(&key, &row)?.1)
    }

    /// Writes a certificate, with more rows of [`Partition::of_app`] in the commit, and shows it.
    async fn write(
        &self,
        mut certificate: Certificate,
        credential: &Value,
        described: Option<Described>,
        mut batch: Batch,
    ) -> Result<Arc<Certificate>, CredentialsError> {
        certificate.described = self.describe(certificate.info.cert_id, described)?;
        let plain = zeroize::Zeroizing::new(credential.to_string());
        // What was read as part of a file is stored within an object, and nested one deeper there.
        if serde_json::from_str::<Value>(&plain).is_err() {
            return Err(refused("credential_malformed", "credential", "it is nested too deep"));
        }
        let info = &certificate.info;
        let sealed = self.seal.seal(&context(info.cert_id), plain.as_bytes())?;
        let described = certificate.described.clone();
        let row = Row { info: info.clone(), sealed: STANDARD.encode(sealed), described };
        let row = serde_json::to_vec(&row).expect("a certificate's row has only text keys");
        let key = row_key(info.app, info.cert_id);
        batch.put.push((key, Bytes::from(row)));
        self.store.commit(Partition::of_app(info.app), batch).await?;
        let certificate = Arc::new(certificate);
        let mut known = Known::clone(&self.known.load());
        known.insert(certificate.info.cert_id, certificate.clone());
        self.no_longer_aside(certificate.info.cert_id);
        self.publish(known);
        Ok(certificate)
    }

    fn publish(&self, known: Known) {
        self.known.store(Arc::new(known));
        self.changed.send_modify(|count| *count += 1);
    }
}

fn vendor_named(name: &str) -> Result<&'static dyn Vendor, CredentialsError> {
    vendor::named(name).ok_or_else(|| {
        let names: Vec<_> = vendor::ALL.iter().map(|vendor| vendor.profile().name).collect();
        let message = format!("vendor must be one of {}", names.join(", "));
        refused("vendor_unknown", "vendor", &message)
    })
}

fn required<T>(value: Option<T>, field: &str) -> Result<T, CredentialsError> {
    value.ok_or_else(|| refused("missing_field", field, &format!("{field} is missing")))
}

fn refused(code: &'static str, field: &str, message: &str) -> CredentialsError {
    CredentialError { code, field: field.to_owned(), message: message.to_owned() }.into()
}

fn row_key(app: AppId, cert_id: CertId) -> Key {
    KeyBuilder::new(Class::Certificate).u64(app.0).u32(cert_id.0).finish()
}

fn context(cert_id: CertId) -> String {
    format!("certificate {cert_id}")
}
