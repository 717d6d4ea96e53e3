//! All that is known of one user, in one row: devices, preferences, read marks.
//!
//! One row, because deciding about a receiver needs all of it at once and must cost one read.
//! `registry` and `preferences` change their own part of it through [`Accounts::change`], which
//! reads, changes and writes under a condition until nobody came in between.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::device::Device;
use crate::model::id::{AppId, Conversation, DeviceId, Partition, UserId};
use crate::model::time::UnixMs;
use crate::preferences::Preferences;
use crate::store::keys::{Class, KeyBuilder, KeyReader, just_after};
use crate::store::places::Places;
use crate::store::{Batch, Expect, Key, Scope, Store, StoreError};

/// Most devices one user may have; the one longest silent makes room.
pub const DEVICES_MAX: usize = 16;

/// Most conversations whose read mark is remembered, newest first.
pub const READ_MARKS_MAX: usize = 64;

/// Accounts remembered as they were read.
const READ_ROWS: usize = 4_096;

/// Longest row of those, in bytes.
const READ_BYTES_MAX: usize = 1_024;

/// How many times a change is tried again when another writer came in between.
const CHANGE_TRIES_MAX: usize = 64;

/// What the relay knows of one user. The default is a user nobody has spoken of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Every registration, inactive ones included.
    pub devices: Vec<Device>,
    /// Push switch, windows, sounds.
    pub preferences: Preferences,
    /// Whether any receive option is stored: spares the read when none is.
    pub has_receive_options: bool,
    /// How far conversations were read elsewhere.
    pub read_marks: Vec<ReadMark>,
}

/// A conversation was read up to this time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadMark {
    /// Which.
    pub conversation: Conversation,
    /// Messages accepted up to then are read.
    pub at: UnixMs,
}

impl Account {
    /// The device of that name.
    pub fn device(&self, device_id: &DeviceId) -> Option<&Device> {
        self.devices.iter().find(|device| device.device_id == *device_id)
    }

    /// The device of that name, to change.
    pub fn device_mut(&mut self, device_id: &DeviceId) -> Option<&mut Device> {
        self.devices.iter_mut().find(|device| device.device_id == *device_id)
    }

    /// Until when `conversation` was read elsewhere.
    pub fn read_until(&self, conversation: &Conversation) -> Option<UnixMs> {
        self.read_marks.iter().find(|mark| mark.conversation == *conversation).map(|mark| mark.at)
    }

    /// Notes that `conversation` was read at `at`; forgets the oldest mark when there are many.
    pub fn mark_read(&mut self, conversation: Conversation, at: UnixMs) {
        self.read_marks.retain(|mark| mark.conversation != conversation);
        self.read_marks.insert(0, ReadMark { conversation, at });
        self.read_marks.truncate(READ_MARKS_MAX);
    }
}

/// The partition in which everything of one user lives.
pub fn partition_of(app: AppId, user: &UserId) -> Partition {
    Partition::of(&[b"user", &app.0.to_be_bytes(), user.as_str().as_bytes()])
}

/// The key of a user's row.
pub fn key_of(app: AppId, user: &UserId) -> Key {
    KeyBuilder::new(Class::User).u64(app.0).text(user.as_str()).finish()
}

/// Where a user's row is, and its key.
pub fn row_of(app: AppId, user: &UserId) -> (Partition, Key) {
    (partition_of(app, user), key_of(app, user))
}

/// What a user's row says; no row is a user nobody has spoken of.
///
/// An account is looked at when a message is accepted and again before it is sent, seldom changed
/// in between, and has a dozen texts to copy out. What was read lately is remembered, and is right
/// as long as the row has the same bytes.
///
/// # Errors
/// `Corrupt` when it is not one.
pub fn read_row(key: &Key, row: Option<&[u8]>) -> Result<Arc<Account>, StoreError> {
    static NOBODY: LazyLock<Arc<Account>> = LazyLock::new(Arc::default);
    static READ: LazyLock<Places<Read>> = LazyLock::new(|| Places::new(READ_ROWS));
    let Some(row) = row else { return Ok(NOBODY.clone()) };
    if row.is_empty() || row.len() > READ_BYTES_MAX {
        return decode(key, row).map(Arc::new);
    }
    let mut read = READ.of(key);
    if *read.row == *row {
        return Ok(read.account.clone());
    }
    let account = Arc::new(decode(key, row)?);
    *read = Read { row: row.into(), account: account.clone() };
    Ok(account)
}

/// A row and the account in it; an empty row is none.
#[derive(Default)]
struct Read {
    row: Box<[u8]>,
    account: Arc<Account>,
}

/// Reads and changes accounts.
#[derive(Clone)]
pub struct Accounts {
    store: Arc<dyn Store>,
}

impl Accounts {
    /// Accounts kept in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Accounts { store }
    }

    /// One account; the default when nobody spoke of the user.
    ///
    /// # Errors
    /// `Unavailable`, or `Corrupt` when the row cannot be read.
    pub async fn read(&self, app: AppId, user: &UserId) -> Result<Arc<Account>, StoreError> {
        let (partition, key) = row_of(app, user);
        let row = self.store.get(partition, &key).await?;
        read_row(&key, row.as_deref())
    }

    /// The accounts of an app behind `after`, by user, and where the next page begins; `None` on
    /// the last page.
    ///
    /// # Errors
    /// As [`Accounts::read`].
    pub async fn page(
        &self,
        app: AppId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<(Vec<(UserId, Account)>, Option<UserId>), StoreError> {
        let mut range = KeyBuilder::new(Class::User).u64(app.0).prefix();
        if let Some(after) = after {
            range.start = just_after(&key_of(app, after));
        }
        let rows = self.store.scan(Scope::Everywhere, range, limit).await?;
        let is_full = rows.len() == limit;
        let mut page = Vec::with_capacity(rows.len());
        for (key, row) in rows {
            let damaged = || StoreError::Corrupt { key: key.clone() };
            let mut reader = KeyReader::new(Class::User, &key).ok_or_else(damaged)?;
            reader.u64().ok_or_else(damaged)?;
            let user = UserId::from(reader.text().ok_or_else(damaged)?);
            page.push((user, decode(&key, &row)?));
        }
        let next = page.last().filter(|_| is_full).map(|(user, _)| user.clone());
        Ok((page, next))
    }

    /// Many accounts, in the order asked.
    ///
    /// # Errors
    /// As [`Accounts::read`].
    pub async fn read_many(
        &self,
        app: AppId,
        users: impl Iterator<Item = &UserId> + Send,
    ) -> Result<Vec<Arc<Account>>, StoreError> {
        let keys: Vec<(Partition, Key)> = users.map(|user| row_of(app, user)).collect();
        let rows = self.store.get_many(&keys).await?;
        rows.iter().zip(&keys).map(|(row, (_, key))| read_row(key, row.as_deref())).collect()
    }

    /// Changes one account. `change` may add rows of the same user to the batch; it runs again
    /// when another writer came in between, so it must not have effects of its own.
    ///
    /// # Errors
    /// What `change` answers, or the store's; `Conflict` only when others never stop writing.
    pub async fn change<T, E>(
        &self,
        app: AppId,
        user: &UserId,
        mut change: impl FnMut(&mut Account, &mut Batch) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        let (partition, key) = row_of(app, user);
        for _ in 0..CHANGE_TRIES_MAX {
            let old = self.store.get(partition, &key).await?;
            let before = read_row(&key, old.as_deref())?;
            let mut account = Account::clone(&before);
            let mut batch = Batch::default();
            let answer = change(&mut account, &mut batch)?;
            if account == *before && batch.is_empty() {
                return Ok(answer);
            }
            batch.expect.push((key.clone(), old.map_or(Expect::Absent, Expect::Equals)));
            batch.put.push((key.clone(), encode(&account)));
            match self.store.commit(partition, batch).await {
                Ok(()) => return Ok(answer),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }
}

/// First byte of every account row: how the rest is written.
const FORMAT: u8 = 1;

fn encode(account: &Account) -> Bytes {
    let row = postcard::to_extend(account, vec![FORMAT]).expect("an account is plain data");
    Bytes::from(row)
}

/// Reads a user's row.
///
/// # Errors
/// `Corrupt` when it is not one.
pub fn decode(key: &Key, row: &[u8]) -> Result<Account, StoreError> {
    let account = match row.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).ok(),
        _ => None,
    };
    account.ok_or_else(|| StoreError::Corrupt { key: key.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_remembered_only_as_long_as_the_row_says_the_same() {
        let key = key_of(AppId(1), &UserId::from("mina"));
        let read = |row: &[u8]| read_row(&key, Some(row));
        let of = |push_enabled| {
            let preferences = Preferences { push_enabled, ..Preferences::default() };
            Account { preferences, ..Account::default() }
        };
        let (on, off) = (encode(&of(true)), encode(&of(false)));
        for _ in 0..2 {
            assert_eq!(*read(&on).expect("its own row"), of(true));
            assert_eq!(*read(&off).expect("its own row"), of(false));
            for damaged in [&[] as &[u8], &[FORMAT], &off[1..], &off[..off.len() - 1]] {
                assert!(matches!(read(damaged), Err(StoreError::Corrupt { .. })), "{damaged:?}");
            }
        }
        let first = read(&on).expect("its own row");
        assert!(Arc::ptr_eq(&first, &read(&on).expect("its own row")), "read once");
        let mut large = of(true);
        for number in 0..READ_MARKS_MAX {
            let group = Conversation::Group(format!("group number {number}").as_str().into());
            large.mark_read(group, UnixMs(7));
        }
        let row = encode(&large);
        assert!(row.len() > READ_BYTES_MAX);
        assert_eq!(*read(&row).expect("its own row"), large);
        assert!(Arc::ptr_eq(&first, &read(&on).expect("its own row")), "a long row displaces none");
        assert_eq!(*read_row(&key, None).expect("no row"), Account::default());
    }
}
