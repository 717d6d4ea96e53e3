//! Where receive options are kept: one row per conversation, and a mark in the account that there
//! are any, so that most receivers cost no extra read.

use std::sync::Arc;

use bytes::Bytes;

use crate::account::{Accounts, partition_of};
use crate::model::id::{AppId, Conversation, UserId};
use crate::preferences::Preferences;
use crate::preferences::receive::ReceiveOption;
use crate::store::keys::{Class, KeyBuilder, KeyReader};
use crate::store::{Key, Scope, Store, StoreError};

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
    /// The store's.
    pub async fn write(
        &self,
        app: AppId,
        user: &UserId,
        conversation: &Conversation,
        option: ReceiveOption,
    ) -> Result<(), StoreError> {
        let key = key_of(app, user, conversation);
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
        let range = KeyBuilder::new(Class::ReceiveOption).u64(app.0).text(user.as_str()).prefix();
        let rows = self.store.scan(Scope::Only(partition_of(app, user)), range, limit).await?;
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

fn key_of(app: AppId, user: &UserId, conversation: &Conversation) -> Key {
    KeyBuilder::new(Class::ReceiveOption)
        .u64(app.0)
        .text(user.as_str())
        .text(&conversation.to_string())
        .finish()
}
