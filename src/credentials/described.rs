//! What a file in the folder of credentials last said of a certificate: remembered beside it, so
//! that a file acts when it changes and not again at every start. Else it would roll back what was
//! rotated through the API since.
//!
//! Kept is a digest, and that sealed: it tells nothing of the secret it covers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

use crate::credentials::{Credentials, CredentialsError};
use crate::model::id::CertId;

/// What a description says, the credential included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described([u8; 32]);

impl Described {
    /// Of a description in some fixed way of writing.
    pub fn of(description: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, description.as_bytes()).as_ref());
        Described(bytes)
    }
}

impl Credentials {
    /// Whether the last description that was applied to this certificate is this one.
    pub fn was_described_as(&self, cert_id: CertId, described: Described) -> bool {
        let open = || {
            let sealed = STANDARD.decode(self.described_row(cert_id)?).ok()?;
            self.seal.open(&context(cert_id), &sealed).ok()
        };
        open().is_some_and(|last| last.as_slice() == described.0)
    }

    /// What is written of it: a new description, or what was there.
    pub(super) fn describe(
        &self,
        cert_id: CertId,
        new: Option<Described>,
    ) -> Result<Option<String>, CredentialsError> {
        match new {
            Some(new) => Ok(Some(STANDARD.encode(self.seal.seal(&context(cert_id), &new.0)?))),
            None => Ok(self.described_row(cert_id)),
        }
    }

    fn described_row(&self, cert_id: CertId) -> Option<String> {
        match self.get(cert_id) {
            Some(known) => known.described.clone(),
            None => self.aside.load().get(&cert_id)?.described.clone(),
        }
    }
}

fn context(cert_id: CertId) -> String {
    format!("description of certificate {cert_id}")
}
