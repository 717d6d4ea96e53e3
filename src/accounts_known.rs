//! Which accounts the chat server told the relay about.
//!
//! The relay does not keep accounts of its own. A user counts as known who was imported, or of
//! whom there is anything to remember: a device, a preference.

use std::sync::Arc;

use bytes::Bytes;

use crate::account::{self, Account};
use crate::model::id::{AppId, Partition, UserId};
use crate::store::keys::{Class, KeyBuilder};
use crate::store::{Batch, Expect, Key, Store, StoreError};

/// The accounts of all apps, as far as they were told.
#[derive(Clone)]
pub struct KnownAccounts {
    store: Arc<dyn Store>,
}

fn key_of(app: AppId, user: &UserId) -> Key {
    KeyBuilder::new(Class::KnownAccount).u64(app.0).text(user.as_str()).finish()
}

impl KnownAccounts {
    /// Accounts kept in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        KnownAccounts { store }
    }

    /// Notes accounts; again is fine.
    ///
    /// # Errors
    /// The store's.
    pub async fn import(&self, app: AppId, users: &[UserId]) -> Result<(), StoreError> {
        let batches = users
            .iter()
            .map(|user| {
                let batch =
                    Batch { put: vec![(key_of(app, user), Bytes::new())], ..Batch::default() };
                (account::partition_of(app, user), batch)
            })
            .collect();
        self.store.commit_all(batches).await.into_iter().collect()
    }

    /// Whether each of these is known, in the order asked.
    ///
    /// # Errors
    /// The store's.
    pub async fn known(&self, app: AppId, users: &[UserId]) -> Result<Vec<bool>, StoreError> {
        let keys: Vec<(Partition, Key)> = users
            .iter()
            .flat_map(|user| {
                let partition = account::partition_of(app, user);
                [account::key_of(app, user), key_of(app, user)].map(|key| (partition, key))
            })
            .collect();
        let rows = self.store.get_many(&keys).await?;
        Ok(rows.chunks(2).map(|pair| pair.iter().any(Option::is_some)).collect())
    }

    /// Forgets an account whose devices were forgotten before.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self, app: AppId, user: &UserId) -> Result<(), StoreError> {
        let (partition, row_key) = (account::partition_of(app, user), account::key_of(app, user));
        let mut batch = Batch { delete: vec![key_of(app, user)], ..Batch::default() };
        // Whoever registers a device meanwhile is known again, and keeps it.
        if let Some(row) = self.store.get(partition, &row_key).await?
            && account::decode(&row_key, &row)? == Account::default()
        {
            batch.expect.push((row_key.clone(), Expect::Equals(row)));
            batch.delete.push(row_key);
        }
        match self.store.commit(partition, batch).await {
            Ok(()) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn an_account_is_known_from_its_import_to_its_deletion() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let accounts = KnownAccounts::new(store);
        let (app, users) = (AppId(1), [UserId::from("a"), UserId::from("b")]);
        accounts.import(app, &users[..1]).await.expect("imported");
        assert_eq!(accounts.known(app, &users).await.expect("read"), [true, false]);
        accounts.delete(app, &users[0]).await.expect("deleted");
        assert_eq!(accounts.known(app, &users).await.expect("read"), [false, false]);
    }
}
