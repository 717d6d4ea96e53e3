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

use serde::{Deserialize, Serialize};

use crate::account::{self, Account, Accounts};
use crate::model::device::{Device, Presence, TokenState};
use crate::model::id::{AppId, CertId, Conversation, DeviceId, Partition, Token, UserId};
use crate::model::time::UnixMs;
use crate::store::keys::{Class, KeyBuilder, PageError, behind};
use crate::store::{Batch, Key, Scope, Store, StoreError};

mod register;
mod rows;

pub use register::Registration;
pub use rows::{badge_key, owner_row};
use rows::{counted, counter, decode, names, read_listing, rows_beside};

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

/// Every badge of a user shows this number from now on.
fn show_unread(app: AppId, user: &UserId, account: &mut Account, unread: u32, batch: &mut Batch) {
    for device in &mut account.devices {
        device.unread = unread;
        batch.put.push((badge_key(app, user, &device.device_id), counter(unread)));
    }
}

impl Registry {
    /// A registry kept in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Registry { accounts: Accounts::new(store.clone()), store }
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

    /// Notes where the app is, and its badge. `None` when there is no such device. What is
    /// [signed out](Presence::is_signed_out) stays so; its badge is noted all the same.
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
                if device.note_presence(report.presence, now) {
                    device.was_background |= report.presence == Presence::Background;
                    if report.presence == Presence::Foreground {
                        device.foreground_at = Some(now);
                    }
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
    /// then. A device that comes online, or loses its link, has given a sign of life. What is
    /// [signed out](Presence::is_signed_out) stays so.
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
                    device.note_presence(presence, now);
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
                if let Some(unread) = unread {
                    show_unread(app, user, account, unread, batch);
                }
                Ok(account.devices.clone())
            })
            .await
    }

    /// Notes how many messages a user has not read on the whole: what every badge shows from now
    /// on.
    ///
    /// # Errors
    /// The store's.
    pub async fn set_unread(
        &self,
        app: AppId,
        user: &UserId,
        unread: u32,
    ) -> Result<(), StoreError> {
        self.accounts
            .change(app, user, |account, batch| {
                show_unread(app, user, account, unread, batch);
                Ok(())
            })
            .await
    }

    /// Forgets a user: devices with their tokens, badges and preferences. Receive options are not
    /// kept here; the mark that there are any stays until they are forgotten too.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget(&self, app: AppId, user: &UserId) -> Result<(), StoreError> {
        let devices = self
            .accounts
            .change(app, user, |account, batch| {
                for device in &account.devices {
                    batch.delete.extend(rows_beside(app, user, device));
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
    /// The store's, or a cursor that is not of this certificate.
    pub async fn devices_of_certificate(
        &self,
        app: AppId,
        cert_id: CertId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<DevicePage, PageError> {
        let all = KeyBuilder::new(Class::DeviceByCertificate).u64(app.0).u32(cert_id.0).prefix();
        let range = behind(all, cursor)?;
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
