//! The token registry: which device of which user a vendor's token reaches.
//!
//! A device lives in its user's account row. Beside it stand two rows that find it from elsewhere:
//! the **owner row** of (app, certificate, token) and the row that lists it under its certificate.
//!
//! Invariants:
//! - The owner row decides whose token it is. It is written first, so a token whose owner row
//!   names someone else is never sent to, whatever an account still says.
//! - A token belongs to one device of one user per certificate.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::account::{self, Account, Accounts, DEVICES_MAX};
use crate::model::device::{Device, Platform, Presence, TokenState};
use crate::model::id::{AppId, CertId, Conversation, DeviceId, Partition, Token, UserId};
use crate::model::time::UnixMs;
use crate::store::keys::{Class, KeyBuilder, just_after};
use crate::store::{Batch, Expect, Key, Scope, Store, StoreError};

mod rows;

pub use rows::badge_key;
use rows::{counted, counter, decode, encode, listing_key, names, owner_row, read_listing};

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

/// Who a token belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owner {
    /// User.
    pub user: UserId,
    /// Device.
    pub device_id: DeviceId,
}

/// What the second look needs of one delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The receiver's account.
    pub account: Arc<Account>,
    /// Whether the token is that device's still.
    pub owns_token: bool,
}

/// One page of devices and where the next begins.
#[derive(Debug)]
pub struct DevicePage {
    /// Devices with their users.
    pub devices: Vec<(UserId, Device)>,
    /// Pass to the next call; `None` on the last page.
    pub cursor: Option<String>,
}

/// A state report of a client or of the chat server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StateReport {
    /// Where the app is.
    pub presence: Presence,
    /// The badge number to count on from.
    pub unread: Option<u32>,
}

/// The token registry.
#[derive(Clone)]
pub struct Registry {
    store: Arc<dyn Store>,
    accounts: Accounts,
}

impl Registry {
    /// A registry kept in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Registry { accounts: Accounts::new(store.clone()), store }
    }

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
    async fn release_token(
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

    /// Who owns each token now, in the order asked.
    ///
    /// # Errors
    /// The store's.
    pub async fn owners(
        &self,
        tokens: &[(AppId, CertId, &Token)],
    ) -> Result<Vec<Option<Owner>>, StoreError> {
        let keys: Vec<(Partition, Key)> =
            tokens.iter().map(|(app, cert, token)| owner_row(*app, (*cert, token))).collect();
        let rows = self.store.get_many(&keys).await?;
        rows.iter()
            .zip(&keys)
            .map(|(row, (_, key))| row.as_ref().map(|row| decode(key, row)).transpose())
            .collect()
    }

    /// How deliveries of one certificate stand now, in the order asked: all of them in one read.
    ///
    /// # Errors
    /// The store's.
    pub async fn standings(
        &self,
        app: AppId,
        cert_id: CertId,
        deliveries: impl ExactSizeIterator<Item = (&UserId, &DeviceId, &Token)> + Clone + Send,
    ) -> Result<Vec<Standing>, StoreError> {
        let mut keys: Vec<(Partition, Key)> = Vec::with_capacity(2 * deliveries.len());
        for (user, _, token) in deliveries.clone() {
            keys.push(account::row_of(app, user));
            keys.push(owner_row(app, (cert_id, token)));
        }
        let rows = self.store.get_many(&keys).await?;
        let pairs = keys.chunks_exact(2).zip(rows.chunks_exact(2));
        let mut standings = Vec::with_capacity(deliveries.len());
        for ((user, device_id, _), pair) in deliveries.zip(pairs) {
            let ([(_, account_key), (_, owner_key)], [account, owner]) = pair else { break };
            let owns_token = match owner {
                Some(owner) => names(owner_key, owner, user, device_id)?,
                None => false,
            };
            let account = account::read_row(account_key, account.as_deref())?;
            standings.push(Standing { account, owns_token });
        }
        Ok(standings)
    }

    /// The devices of one user, inactive ones included.
    ///
    /// # Errors
    /// The store's.
    pub async fn devices(&self, app: AppId, user: &UserId) -> Result<Vec<Device>, StoreError> {
        Ok(self.accounts.read(app, user).await?.devices.clone())
    }

    /// Logs a device out: its token stays, inactive, until the next registration.
    /// Answers whether there was such a device.
    ///
    /// # Errors
    /// The store's.
    pub async fn log_out(
        &self,
        app: AppId,
        user: &UserId,
        device_id: &DeviceId,
        now: UnixMs,
    ) -> Result<bool, StoreError> {
        let report = StateReport { presence: Presence::LoggedOut, unread: None };
        Ok(self.report_state(app, user, device_id, report, now).await?.is_some())
    }

    /// Notes where the app is. `None` when there is no such device.
    ///
    /// # Errors
    /// The store's.
    pub async fn report_state(
        &self,
        app: AppId,
        user: &UserId,
        device_id: &DeviceId,
        report: StateReport,
        now: UnixMs,
    ) -> Result<Option<Device>, StoreError> {
        self.accounts
            .change(app, user, |account, batch| {
                let Some(device) = account.device_mut(device_id) else { return Ok(None) };
                device.presence = report.presence;
                device.presence_at = now;
                if !matches!(report.presence, Presence::LoggedOut | Presence::Kicked) {
                    device.seen_at = now;
                }
                device.was_background |= report.presence == Presence::Background;
                if report.presence == Presence::Foreground {
                    device.foreground_at = Some(now);
                }
                if let Some(unread) = report.unread {
                    device.unread = unread;
                    batch.put.push((badge_key(app, user, device_id), counter(unread)));
                }
                Ok(Some(device.clone()))
            })
            .await
    }

    /// Changes the presence of the user's devices that `applies` picks; the devices as they are
    /// then. A device that comes online, or loses its link, has given a sign of life.
    ///
    /// # Errors
    /// The store's.
    pub async fn set_presence(
        &self,
        app: AppId,
        user: &UserId,
        presence: Presence,
        now: UnixMs,
        applies: impl Fn(&Device) -> bool,
    ) -> Result<Vec<Device>, StoreError> {
        self.accounts
            .change(app, user, |account, _| {
                for device in account.devices.iter_mut().filter(|device| applies(device)) {
                    device.presence = presence;
                    device.presence_at = now;
                    if !matches!(presence, Presence::LoggedOut | Presence::Kicked) {
                        device.seen_at = now;
                    }
                }
                Ok(account.devices.clone())
            })
            .await
    }

    /// Notes that a conversation was read up to `at`, and how many messages the user has not read
    /// on the whole, which is what every badge shows from then on. Answers the user's devices.
    ///
    /// # Errors
    /// The store's.
    pub async fn mark_read(
        &self,
        app: AppId,
        user: &UserId,
        conversation: &Conversation,
        at: UnixMs,
        unread: Option<u32>,
    ) -> Result<Vec<Device>, StoreError> {
        self.accounts
            .change(app, user, |account, batch| {
                if account.devices.is_empty() {
                    return Ok(Vec::new());
                }
                let known = account.read_until(conversation);
                if known.is_none_or(|known| known < at) {
                    account.mark_read(conversation.clone(), at);
                }
                for device in &mut account.devices {
                    let Some(unread) = unread else { break };
                    device.unread = unread;
                    batch.put.push((badge_key(app, user, &device.device_id), counter(unread)));
                }
                Ok(account.devices.clone())
            })
            .await
    }

    /// Forgets a user: devices with their tokens, badges and preferences.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget(&self, app: AppId, user: &UserId) -> Result<(), StoreError> {
        let devices = self
            .accounts
            .change(app, user, |account, batch| {
                for device in &account.devices {
                    batch.delete.push(listing_key(app, device.cert_id, user, device));
                    batch.delete.push(badge_key(app, user, &device.device_id));
                }
                let options = account.has_receive_options;
                let forgotten = std::mem::take(account);
                account.has_receive_options = options;
                Ok::<_, StoreError>(forgotten.devices)
            })
            .await?;
        for device in devices {
            let owner = Owner { user: user.clone(), device_id: device.device_id.clone() };
            self.release_token(app, (device.cert_id, &device.token), &owner).await?;
        }
        Ok(())
    }

    /// Retires a token that its vendor called dead. Nothing happens when the device has another
    /// token by now, or registered this one after `since`. Answers whether it was retired.
    /// `announce` may add rows to the commit that retires it; it may run more than once.
    ///
    /// # Errors
    /// The store's.
    pub async fn retire(
        &self,
        app: AppId,
        owner: &Owner,
        (cert_id, token, registered_at): (CertId, &Token, UnixMs),
        since: Option<UnixMs>,
        now: UnixMs,
        announce: impl Fn(&mut Batch),
    ) -> Result<bool, StoreError> {
        self.accounts
            .change(app, &owner.user, |account, batch| {
                let Some(device) = account.device_mut(&owner.device_id) else { return Ok(false) };
                let unchanged = (device.cert_id, &device.token) == (cert_id, token)
                    && device.registered_at == registered_at
                    && device.token_state == TokenState::Live;
                let registered_since = since.is_some_and(|since| device.registered_at > since);
                if unchanged && !registered_since {
                    device.token_state = TokenState::Dead { at: now };
                    announce(batch);
                }
                Ok(unchanged && !registered_since)
            })
            .await
    }

    /// The devices of one certificate, in key order.
    ///
    /// # Errors
    /// The store's; a cursor that is not ours reads from the start.
    pub async fn devices_of_certificate(
        &self,
        app: AppId,
        cert_id: CertId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<DevicePage, StoreError> {
        let mut range =
            KeyBuilder::new(Class::DeviceByCertificate).u64(app.0).u32(cert_id.0).prefix();
        if let Some(last) = cursor.and_then(|cursor| hex::decode(cursor).ok()) {
            let next = just_after(&last);
            if range.contains(&next) {
                range.start = next;
            }
        }
        let rows = self.store.scan(Scope::Everywhere, range, limit).await?;
        let cursor = match rows.last() {
            Some((key, _)) if rows.len() == limit => Some(hex::encode(key)),
            _ => None,
        };
        let mut names = Vec::with_capacity(rows.len());
        for (key, _) in &rows {
            names.push(read_listing(key).ok_or(StoreError::Corrupt { key: key.clone() })?);
        }
        let accounts = self.accounts.read_many(app, names.iter().map(|(user, _)| user)).await?;
        let devices = names
            .into_iter()
            .zip(accounts)
            .filter_map(|((user, device_id), account)| {
                Some((user, account.device(&device_id)?.clone()))
            })
            .collect();
        Ok(DevicePage { devices, cursor })
    }

    /// The badges of devices as the relay counts them, in the order asked; zero when nothing was
    /// reported or counted yet.
    ///
    /// # Errors
    /// The store's.
    pub async fn badges(
        &self,
        app: AppId,
        devices: &[(&UserId, &DeviceId)],
    ) -> Result<Vec<u32>, StoreError> {
        let keys: Vec<(Partition, Key)> = devices
            .iter()
            .map(|(user, device_id)| {
                (account::partition_of(app, user), badge_key(app, user, device_id))
            })
            .collect();
        let rows = self.store.get_many(&keys).await?;
        Ok(rows.iter().map(|row| row.as_ref().map_or(0, |row| counted(row))).collect())
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
            batch.delete.push(listing_key(app, other.cert_id, user, other));
        }
        !same_phone && other.device_id != registration.device_id
    });
    if account.devices.len() >= DEVICES_MAX {
        account.devices.sort_by_key(|device| device.seen_at);
        let oldest = account.devices.remove(0);
        batch.delete.push(listing_key(app, oldest.cert_id, user, &oldest));
        released.push((oldest.cert_id, oldest.token));
    }
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
        presence: known
            .as_ref()
            .map(|known| known.presence)
            .filter(|presence| !matches!(presence, Presence::LoggedOut | Presence::Kicked))
            .unwrap_or(Presence::Background),
        presence_at: known.as_ref().map_or(now, |known| known.presence_at),
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
