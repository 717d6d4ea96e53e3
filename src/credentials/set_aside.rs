//! Certificates that are stored and cannot be used: their rows cannot be read, or the settings no
//! longer allow what they name.
//!
//! One of them must not keep the relay from starting, nor be sent with, nor be overwritten unseen.
//! So its row is left alone, its number stays taken, it shows as broken, and what waits for it
//! waits on until a person rotates it, changes the settings back, or deletes it.

use foldhash::HashMap;

use crate::credentials::{Credentials, CredentialsError, Row};
use crate::model::certificate::CertificateInfo;
use crate::model::id::{AppId, CertId};
use crate::store::Key;
use crate::store::keys::{Class, KeyReader};

/// A certificate that is stored and not in use.
#[derive(Clone, Debug)]
pub struct SetAside {
    /// Its app.
    pub app: AppId,
    /// Its number.
    pub cert_id: CertId,
    /// Why it cannot be used, in one sentence.
    pub why: String,
    /// What its row tells of it, as it was stored; `None` when not even that can be read.
    pub info: Option<CertificateInfo>,
    pub(super) described: Option<String>,
}

pub(super) type Aside = HashMap<CertId, SetAside>;

impl SetAside {
    /// Of a row that could not be loaded. The key is in the clear, so it is always known which.
    pub(super) fn of(key: &Key, row: &[u8], error: &CredentialsError) -> Option<SetAside> {
        let mut reader = KeyReader::new(Class::Certificate, key)?;
        let (app, cert_id) = (AppId(reader.u64()?), CertId(reader.u32()?));
        let row: Option<Row> = serde_json::from_slice(row).ok();
        let (info, described) = row.map_or((None, None), |row| (Some(row.info), row.described));
        let why = match (error, &info) {
            (CredentialsError::Refused(refused), Some(info))
                if refused.code == "foreign_endpoint" =>
            {
                format!("{refused}; the settings (vendors.{}) name others now", info.vendor)
            }
            _ => error.to_string(),
        };
        Some(SetAside { app, cert_id, why, info, described })
    }

    /// What may be shown: broken, and why.
    pub fn shown(&self) -> Option<CertificateInfo> {
        let broken = Some(format!("the relay cannot use it: {}", self.why));
        self.info.clone().map(|info| CertificateInfo { broken, ..info })
    }
}

impl Credentials {
    /// A certificate of an app that is stored and cannot be used.
    pub fn set_aside(&self, app: AppId, cert_id: CertId) -> Option<SetAside> {
        self.aside.load().get(&cert_id).filter(|aside| aside.app == app).cloned()
    }

    /// Whether a certificate, whoever's, is stored and cannot be used.
    pub fn is_set_aside(&self, cert_id: CertId) -> bool {
        self.aside.load().contains_key(&cert_id)
    }

    /// Why a certificate, whoever's, is stored and cannot be used, in one sentence.
    pub fn why_set_aside(&self, cert_id: CertId) -> Option<String> {
        self.aside.load().get(&cert_id).map(|aside| aside.why.clone())
    }

    /// What may be shown of a certificate of one app, in use or set aside.
    pub fn shown_of(&self, app: AppId, cert_id: CertId) -> Option<CertificateInfo> {
        let known = self.get_of(app, cert_id).map(|known| known.info.clone());
        known.or_else(|| self.set_aside(app, cert_id)?.shown())
    }

    /// The certificate of an app that has this name, in use or set aside, as it is stored.
    pub fn named(&self, app: AppId, name: &str) -> Option<CertificateInfo> {
        let has_name = |info: &CertificateInfo| info.app == app && info.name == name;
        let known = self.list(Some(app)).into_iter().map(|known| known.info.clone());
        let aside = self.aside.load();
        let aside = aside.values().filter_map(|aside| aside.info.clone());
        known.chain(aside).filter(has_name).min_by_key(|info| info.cert_id)
    }

    /// Those of one app, or of all, by number, as they are shown.
    pub fn all_set_aside(&self, app: Option<AppId>) -> Vec<CertificateInfo> {
        let aside = self.aside.load();
        let of_app = |aside: &&SetAside| app.is_none_or(|app| aside.app == app);
        let mut infos: Vec<_> = aside.values().filter(of_app).filter_map(SetAside::shown).collect();
        infos.sort_by_key(|info| info.cert_id);
        infos
    }

    /// What is known of a certificate of one app as it is stored, in use or set aside.
    pub fn info_of(&self, app: AppId, cert_id: CertId) -> Option<CertificateInfo> {
        let known = self.get_of(app, cert_id).map(|known| known.info.clone());
        known.or_else(|| self.set_aside(app, cert_id)?.info)
    }

    /// It was replaced or deleted.
    pub(super) fn no_longer_aside(&self, cert_id: CertId) {
        if self.aside.load().contains_key(&cert_id) {
            let mut aside = Aside::clone(&self.aside.load());
            aside.remove(&cert_id);
            self.aside.store(aside.into());
        }
    }
}
