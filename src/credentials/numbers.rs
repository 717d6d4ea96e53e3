//! Numbers of certificates. Clients report them with their tokens, so one that was given is not
//! given again by itself: the devices of a deleted certificate would belong to the next one.

use crate::credentials::{CERTIFICATES_MAX, Credentials, CredentialsError, refused};
use crate::model::id::{AppId, CertId};
use crate::store::keys::{Class, KeyBuilder};
use crate::store::{Key, Scope, StoreError};

impl Credentials {
    /// The highest number that was given before any certificate was deleted: 0 when none was.
    pub(super) async fn highest_deleted(&self) -> Result<u32, StoreError> {
        let range = KeyBuilder::new(Class::CertificateNumber).prefix();
        let mut highest = 0;
        for (key, row) in self.store.scan(Scope::Everywhere, range, CERTIFICATES_MAX).await? {
            let number = <[u8; 4]>::try_from(row.as_ref());
            let number = number.map_err(|_| StoreError::Corrupt { key })?;
            highest = highest.max(u32::from_be_bytes(number));
        }
        Ok(highest)
    }

    /// The chosen number, unless it is taken, or the one after the highest that was ever given.
    pub(super) fn number_for(
        &self,
        chosen: Option<CertId>,
        highest: u32,
    ) -> Result<CertId, CredentialsError> {
        let (known, aside) = (self.known.load(), self.aside.load());
        match chosen {
            Some(chosen) if known.contains_key(&chosen) || aside.contains_key(&chosen) => {
                Err(CredentialsError::Taken(chosen))
            }
            // Clients report 0 when they have no number to report.
            Some(CertId(0)) => {
                Err(refused("cert_id_malformed", "cert_id", "a cert_id is from 1 to 4294967295"))
            }
            Some(chosen) => Ok(chosen),
            None => Ok(CertId(highest.checked_add(1).ok_or_else(|| {
                refused("cert_id_exhausted", "cert_id", "no number is left: choose a free one")
            })?)),
        }
    }
}

/// The row of the highest number.
pub(super) fn number_key(app: AppId) -> Key {
    KeyBuilder::new(Class::CertificateNumber).u64(app.0).finish()
}
