//! Where receive options are kept: one row per conversation, and a mark in the account that there
//! are any, so that most receivers cost no extra read.

use std::sync::Arc;

use bytes::Bytes;

use crate::account::{Accounts, partition_of};
use crate::model::id::{AppId, Conversation, UserId};
use crate::preferences::Preferences;
use crate::preferences::receive::ReceiveOption;
use crate::store::keys::{Class, KeyBuilder};
use crate::store::{Key, Store, StoreError};

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

    /// One user's preferences.
    ///
    /// # Errors
    /// The store's.
    pub async fn preferences(&self, app: AppId, user: &UserId) -> Result<Preferences, StoreError> {
        Ok(self.accounts.read(app, user).await?.preferences)
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

fn key_of(app: AppId, user: &UserId, conversation: &Conversation) -> Key {
    KeyBuilder::new(Class::ReceiveOption)
        .u64(app.0)
        .text(user.as_str())
        .text(&conversation.to_string())
        .finish()
}
