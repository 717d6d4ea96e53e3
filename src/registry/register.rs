//! Registering a device: whose a token was, and whose it is from now on.

use bytes::Bytes;

use crate::account::{Account, DEVICES_MAX};
use crate::model::device::{Device, Platform, Presence, TokenState};
use crate::model::id::{AppId, CertId, DeviceId, Token, UserId};
use crate::model::time::UnixMs;
use crate::registry::rows::{decode, encode, listing_key, owner_row, rows_beside};
use crate::registry::{Owner, Registry};
use crate::store::{Batch, Expect, StoreError};

/// How many changes of token are remembered per device.
const TOKEN_CHANGES_MAX: usize = 8;

/// How often a registration is tried again when another one came in between.
const REGISTER_TRIES_MAX: usize = 64;

/// What a client reports about itself; the token is already checked by its vendor.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// The client's name for the device.
    pub device_id: DeviceId,
    /// The certificate its token belongs to.
    pub cert_id: CertId,
    /// Normalised token.
    pub token: Token,
    /// Operating system.
    pub platform: Platform,
    /// Maker.
    pub brand: Option<String>,
    /// BCP 47 language tag.
    pub locale: Option<String>,
    /// IANA zone or fixed offset.
    pub time_zone: Option<String>,
    /// The app's version.
    pub app_version: Option<String>,
    /// Preferred sound.
    pub sound: Option<String>,
}

impl Registry {
    /// Registers a device: first the owner row, then the account, then whoever had the token.
    ///
    /// # Errors
    /// The store's.
    pub async fn register(
        &self,
        app: AppId,
        user: &UserId,
        registration: &Registration,
        now: UnixMs,
    ) -> Result<Device, StoreError> {
        let owner = Owner { user: user.clone(), device_id: registration.device_id.clone() };
        let token = (registration.cert_id, &registration.token);
        let previous = self.take_token(app, token, &owner).await?;
        let (device, released) = self
            .accounts
            .change(app, user, |account, batch| {
                Ok::<_, StoreError>(enter(account, batch, app, user, registration, now))
            })
            .await?;
        if let Some(previous) = previous.filter(|previous| previous.user != *user) {
            self.mark_moved(app, &previous, token, now).await?;
        }
        for (cert_id, token) in released {
            self.release_token(app, (cert_id, &token), &owner).await?;
        }
        Ok(device)
    }

    /// Writes the owner row; answers who had it before, if that was another device.
    async fn take_token(
        &self,
        app: AppId,
        token: (CertId, &Token),
        owner: &Owner,
    ) -> Result<Option<Owner>, StoreError> {
        let (partition, key) = owner_row(app, token);
        for _ in 0..REGISTER_TRIES_MAX {
            let old = self.store.get(partition, &key).await?;
            let previous: Option<Owner> = match &old {
                Some(row) => Some(decode(&key, row)?),
                None => None,
            };
            if previous.as_ref() == Some(owner) {
                return Ok(None);
            }
            let batch = Batch {
                expect: vec![(key.clone(), old.map_or(Expect::Absent, Expect::Equals))],
                put: vec![(key.clone(), encode(owner))],
                ..Batch::default()
            };
            match self.store.commit(partition, batch).await {
                Ok(()) => return Ok(previous),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict)
    }

    /// Removes the owner row of a token this device no longer uses, unless it has a new owner.
    pub(super) async fn release_token(
        &self,
        app: AppId,
        token: (CertId, &Token),
        owner: &Owner,
    ) -> Result<(), StoreError> {
        let (partition, key) = owner_row(app, token);
        let batch = Batch {
            expect: vec![(key.clone(), Expect::Equals(encode(owner)))],
            delete: vec![key],
            ..Batch::default()
        };
        match self.store.commit(partition, batch).await {
            Ok(()) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn mark_moved(
        &self,
        app: AppId,
        previous: &Owner,
        (cert_id, token): (CertId, &Token),
        now: UnixMs,
    ) -> Result<(), StoreError> {
        self.accounts
            .change(app, &previous.user, |account, batch| {
                if let Some(device) = account.device_mut(&previous.device_id)
                    && device.cert_id == cert_id
                    && device.token == *token
                {
                    device.token_state = TokenState::Moved { at: now };
                    batch.delete.push(listing_key(app, cert_id, &previous.user, device));
                }
                Ok(())
            })
            .await
    }
}

/// Puts a registration into an account. Answers the device and the tokens it no longer uses.
fn enter(
    account: &mut Account,
    batch: &mut Batch,
    app: AppId,
    user: &UserId,
    registration: &Registration,
    now: UnixMs,
) -> (Device, Vec<(CertId, Token)>) {
    let mut released = Vec::new();
    let known = account.device(&registration.device_id).cloned();
    let same_token = known.as_ref().is_some_and(|known| {
        known.cert_id == registration.cert_id && known.token == registration.token
    });
    let mut token_changes =
        known.as_ref().map(|known| known.token_changes.clone()).unwrap_or_default();
    if let Some(known) = known.as_ref().filter(|_| !same_token) {
        released.push((known.cert_id, known.token.clone()));
        batch.delete.push(listing_key(app, known.cert_id, user, known));
        token_changes.push(now);
        let surplus = token_changes.len().saturating_sub(TOKEN_CHANGES_MAX);
        token_changes.drain(..surplus);
    }
    // The same phone under another device id, after a reinstallation: it must not ring twice.
    account.devices.retain(|other| {
        let same_phone = other.device_id != registration.device_id
            && other.cert_id == registration.cert_id
            && other.token == registration.token;
        if same_phone {
            batch.delete.extend(rows_beside(app, user, other));
        }
        !same_phone && other.device_id != registration.device_id
    });
    if account.devices.len() >= DEVICES_MAX {
        account.devices.sort_by_key(|device| device.seen_at);
        let oldest = account.devices.remove(0);
        batch.delete.extend(rows_beside(app, user, &oldest));
        released.push((oldest.cert_id, oldest.token));
    }
    let presence = known
        .as_ref()
        .map(|known| (known.presence, known.presence_at))
        .filter(|(presence, _)| !presence.is_signed_out());
    let (presence, presence_at) = presence.unwrap_or((Presence::Background, now));
    let device = Device {
        device_id: registration.device_id.clone(),
        cert_id: registration.cert_id,
        token: registration.token.clone(),
        platform: registration.platform,
        brand: registration.brand.clone(),
        locale: registration.locale.clone(),
        time_zone: registration.time_zone.clone(),
        app_version: registration.app_version.clone(),
        sound: registration.sound.clone(),
        presence,
        presence_at,
        unread: known.as_ref().map_or(0, |known| known.unread),
        token_state: TokenState::Live,
        registered_at: now,
        seen_at: now,
        token_changes,
        was_background: known.as_ref().is_some_and(|known| known.was_background),
        foreground_at: known.and_then(|known| known.foreground_at),
    };
    // A new token of the same device under the same certificate is listed under the same key.
    let listed = listing_key(app, device.cert_id, user, &device);
    batch.delete.retain(|deleted| *deleted != listed);
    batch.put.push((listed, Bytes::new()));
    account.devices.push(device.clone());
    (device, released)
}
