//! The registry's rows: owners of tokens, devices listed under their certificate, badges.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use crate::model::device::Device;
use crate::model::id::{AppId, CertId, DeviceId, Partition, Token, UserId};
use crate::registry::Owner;
use crate::store::keys::{Class, KeyBuilder, KeyReader};
use crate::store::{Key, StoreError};

/// Where the row is that says whose a token is, and its key.
pub fn owner_row(app: AppId, (cert_id, token): (CertId, &Token)) -> (Partition, Key) {
    let parts: [&[u8]; 4] =
        [b"owner", &app.0.to_be_bytes(), &cert_id.0.to_be_bytes(), token.as_str().as_bytes()];
    let key = KeyBuilder::new(Class::Owner).u64(app.0).u32(cert_id.0).text(token.as_str()).finish();
    (Partition::of(&parts), key)
}

/// The row that lists a device under its certificate.
pub(super) fn listing_key(app: AppId, cert_id: CertId, user: &UserId, device: &Device) -> Key {
    KeyBuilder::new(Class::DeviceByCertificate)
        .u64(app.0)
        .u32(cert_id.0)
        .text(user.as_str())
        .text(device.device_id.as_str())
        .finish()
}

/// The user and the device of such a row.
pub(super) fn read_listing(key: &Key) -> Option<(UserId, DeviceId)> {
    let mut reader = KeyReader::new(Class::DeviceByCertificate, key)?;
    reader.u64()?;
    reader.u32()?;
    Some((reader.text()?.into(), reader.text()?.into()))
}

/// An owner row.
pub(super) fn encode(owner: &Owner) -> Bytes {
    Bytes::from(serde_json::to_vec(owner).expect("an owner is plain text"))
}

/// Whether an owner row names that device. Asked before every push, so nothing is
/// copied out of the row.
pub(super) fn names(
    key: &Key,
    row: &[u8],
    user: &UserId,
    id: &DeviceId,
) -> Result<bool, StoreError> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        user: Cow<'a, str>,
        #[serde(borrow)]
        device_id: Cow<'a, str>,
    }
    let named: Named<'_> =
        serde_json::from_slice(row).map_err(|_| StoreError::Corrupt { key: key.clone() })?;
    Ok(named.user == user.as_str() && named.device_id == id.as_str())
}

/// Reads an owner row.
pub(super) fn decode(key: &Key, row: &[u8]) -> Result<Owner, StoreError> {
    serde_json::from_slice(row).map_err(|_| StoreError::Corrupt { key: key.clone() })
}

/// The row in which a device's badge is counted; changed by additions, so that counting never
/// conflicts.
pub fn badge_key(app: AppId, user: &UserId, device_id: &DeviceId) -> Key {
    KeyBuilder::new(Class::Badge).u64(app.0).text(user.as_str()).text(device_id.as_str()).finish()
}

/// What goes with a device when its account forgets it: where it is listed, and its badge.
pub(super) fn rows_beside(app: AppId, user: &UserId, device: &Device) -> [Key; 2] {
    [listing_key(app, device.cert_id, user, device), badge_key(app, user, &device.device_id)]
}

/// A badge row.
pub(super) fn counter(number: u32) -> Bytes {
    Bytes::copy_from_slice(&i64::from(number).to_le_bytes())
}

/// Reads a badge row; a damaged one counts nothing.
pub(super) fn counted(row: &[u8]) -> u32 {
    let number = row.try_into().map_or(0, i64::from_le_bytes);
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}
