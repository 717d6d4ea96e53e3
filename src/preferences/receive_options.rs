//! Where receive options are kept: one row per conversation, and a mark in the account that there
//! are any, so that most receivers cost no extra read.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::account::{Accounts, partition_of};
use crate::model::id::{AppId, Conversation, UserId};
use crate::preferences::Preferences;
use crate::preferences::receive::ReceiveOption;
use crate::store::keys::{Class, KeyBuilder, KeyReader};
use crate::store::{Key, Scope, Store, StoreError};

/// Most options of one user; a few more when several are set at the same moment. No user is in so
/// many conversations, and a new option reads how many there are.
pub const OPTIONS_MAX: usize = 10_000;

/// Options forgotten by one commit.
const FORGOTTEN_TOGETHER: usize = 256;

/// Why an option was not set.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The user has [`OPTIONS_MAX`] already.
    #[error("a user has receive options for at most {OPTIONS_MAX} conversations")]
    TooMany,
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads and writes what users want.
#[derive(Clone)]
pub struct ReceiveOptions {
    store: Arc<dyn Store>,
    accounts: Accounts,
}

impl ReceiveOptions {
    /// Options kept in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        ReceiveOptions { accounts: Accounts::new(store.clone()), store }
    }

    /// The option of one conversation.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(
        &self,
        app: AppId,
        user: &UserId,
        conversation: &Conversation,
    ) -> Result<ReceiveOption, StoreError> {
        let key = key_of(app, user, conversation);
        let Some(row) = self.store.get(partition_of(app, user), &key).await? else {
            return Ok(ReceiveOption::default());
        };
        let number = row.first().copied().ok_or(StoreError::Corrupt { key: key.clone() })?;
        ReceiveOption::of_number(number).ok_or(StoreError::Corrupt { key })
    }

    /// Sets the option of one conversation; the default removes its row.
    ///
    /// # Errors
    /// The store's, or too many.
    pub async fn write(
        &self,
        app: AppId,
        user: &UserId,
        conversation: &Conversation,
        option: ReceiveOption,
    ) -> Result<(), OptionsError> {
        let key = key_of(app, user, conversation);
        if option != ReceiveOption::default() {
            self.make_sure_of_room(app, user, &key).await?;
        }
        self.accounts
            .change(app, user, |account, batch| {
                if option == ReceiveOption::default() {
                    batch.delete.push(key.clone());
                } else {
                    account.has_receive_options = true;
                    batch.put.push((key.clone(), Bytes::copy_from_slice(&[option.number()])));
                }
                Ok(())
            })
            .await
    }

    /// That the row exists, or one more may.
    async fn make_sure_of_room(
        &self,
        app: AppId,
        user: &UserId,
        key: &Key,
    ) -> Result<(), OptionsError> {
        let partition = partition_of(app, user);
        if self.store.get(partition, key).await?.is_some() {
            return Ok(());
        }
        let rows = self.store.scan(Scope::Only(partition), of_user(app, user), OPTIONS_MAX).await?;
        if rows.len() < OPTIONS_MAX { Ok(()) } else { Err(OptionsError::TooMany) }
    }

    /// Forgets every option of one user.
    ///
    /// # Errors
    /// The store's; then some may be left, and the mark that there are any may be gone.
    pub async fn forget(&self, app: AppId, user: &UserId) -> Result<(), StoreError> {
        let scope = Scope::Only(partition_of(app, user));
        let mut found: Vec<Key> = Vec::new();
        loop {
            // The mark goes before the last look: whoever sets an option after that look sets the
            // mark as well, and what was set before is found.
            self.accounts
                .change(app, user, |account, batch| {
                    account.has_receive_options = false;
                    batch.delete.extend(found.iter().cloned());
                    Ok::<_, StoreError>(())
                })
                .await?;
            let rows = self.store.scan(scope, of_user(app, user), FORGOTTEN_TOGETHER).await?;
            if rows.is_empty() {
                return Ok(());
            }
            found = rows.into_iter().map(|(key, _)| key).collect();
        }
    }

    /// Every option of one user that is not the default, at most `limit`.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(
        &self,
        app: AppId,
        user: &UserId,
        limit: usize,
    ) -> Result<Vec<(Conversation, ReceiveOption)>, StoreError> {
        let scope = Scope::Only(partition_of(app, user));
        let rows = self.store.scan(scope, of_user(app, user), limit).await?;
        let mut options = Vec::with_capacity(rows.len());
        for (key, row) in rows {
            let conversation = conversation_of(&key);
            let option = row.first().copied().and_then(ReceiveOption::of_number);
            options.push(conversation.zip(option).ok_or(StoreError::Corrupt { key })?);
        }
        Ok(options)
    }

    /// One user's preferences.
    ///
    /// # Errors
    /// The store's.
    pub async fn preferences(&self, app: AppId, user: &UserId) -> Result<Preferences, StoreError> {
        Ok(self.accounts.read(app, user).await?.preferences.clone())
    }

    /// Replaces one user's preferences.
    ///
    /// # Errors
    /// The store's.
    pub async fn set_preferences(
        &self,
        app: AppId,
        user: &UserId,
        preferences: &Preferences,
    ) -> Result<(), StoreError> {
        self.accounts
            .change(app, user, |account, _| {
                account.preferences = preferences.clone();
                Ok(())
            })
            .await
    }
}

fn conversation_of(key: &Key) -> Option<Conversation> {
    let mut reader = KeyReader::new(Class::ReceiveOption, key)?;
    reader.u64()?;
    reader.text()?;
    reader.text()?.parse().ok()
}

fn of_user(app: AppId, user: &UserId) -> Range<Key> {
    KeyBuilder::new(Class::ReceiveOption).u64(app.0).text(user.as_str()).prefix()
}

fn key_of(app: AppId, user: &UserId, conversation: &Conversation) -> Key {
    KeyBuilder::new(Class::ReceiveOption)
        .u64(app.0)
        .text(user.as_str())
        .text(&conversation.to_string())
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Batch;
    use crate::store::memory::MemoryStore;

    const APP: AppId = AppId(1);

    fn with_group(number: usize) -> Conversation {
        Conversation::Group(format!("g{number}").as_str().into())
    }

    /// A user with so many options, written past the room that counts them.
    async fn user_with(options: usize) -> (ReceiveOptions, UserId) {
        let (store, user) = (Arc::new(MemoryStore::new()), UserId::from("joon"));
        let muted = Bytes::copy_from_slice(&[ReceiveOption::Mute.number()]);
        let put = (0..options)
            .map(|number| (key_of(APP, &user, &with_group(number)), muted.clone()))
            .collect();
        let batch = Batch { put, ..Batch::default() };
        store.commit(partition_of(APP, &user), batch).await.expect("written");
        (ReceiveOptions::new(store), user)
    }

    #[tokio::test]
    async fn a_users_options_end_at_their_limit() {
        let (options, user) = user_with(OPTIONS_MAX - 1).await;
        let write =
            async |number, option| options.write(APP, &user, &with_group(number), option).await;
        write(OPTIONS_MAX, ReceiveOption::Block).await.expect("the last one");
        let more = write(OPTIONS_MAX + 1, ReceiveOption::Block).await;
        assert!(matches!(more, Err(OptionsError::TooMany)), "{more:?}");
        write(0, ReceiveOption::Block).await.expect("one that exists is changed");
        write(OPTIONS_MAX + 1, ReceiveOption::Receive).await.expect("the default takes no room");
        write(0, ReceiveOption::Receive).await.expect("removed");
        write(OPTIONS_MAX + 1, ReceiveOption::Block).await.expect("there is room again");
    }

    #[tokio::test]
    async fn forgotten_options_leave_no_row_and_no_mark() {
        let (options, user) = user_with(2 * FORGOTTEN_TOGETHER + 1).await;
        let neighbour = UserId::from("joon2");
        for user in [&user, &neighbour] {
            options.write(APP, user, &with_group(0), ReceiveOption::Mute).await.expect("set");
        }
        options.forget(APP, &user).await.expect("forgotten");
        assert_eq!(options.list(APP, &user, usize::MAX).await.expect("read"), []);
        assert_eq!(options.list(APP, &neighbour, 9).await.expect("read").len(), 1);
        let marks = [&user, &neighbour].map(|user| options.accounts.read(APP, user));
        let [forgotten, kept] = marks;
        assert!(!forgotten.await.expect("read").has_receive_options);
        assert!(kept.await.expect("read").has_receive_options);
    }
}
