//! The withdrawn messages: rows in the store, a set in memory.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use crate::model::id::MessageId;
use crate::model::time::UnixMs;
use crate::store::keys::{Class, KeyBuilder, KeyReader, just_after};
use crate::store::{Batch, Key, Scope, Store, StoreError};

/// Most withdrawn messages remembered. Beyond them the oldest message is forgotten: it is the most
/// likely to have ended already.
const WITHDRAWN_MAX: usize = 1_000_000;

/// Rows read at a time.
const PAGE: usize = 4_096;

/// Which messages were withdrawn, in the order of their acceptance.
#[derive(Clone)]
pub struct Withdrawn {
    store: Arc<dyn Store>,
    known: Arc<RwLock<BTreeSet<MessageId>>>,
    most: usize,
}

impl Withdrawn {
    /// Reads what was withdrawn.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        Self::holding(store, WITHDRAWN_MAX).await
    }

    async fn holding(store: Arc<dyn Store>, most: usize) -> Result<Self, StoreError> {
        let mut range = KeyBuilder::new(Class::Withdrawn).prefix();
        let mut known = BTreeSet::new();
        loop {
            let rows = store.scan(Scope::Everywhere, range.clone(), PAGE).await?;
            let Some((last, _)) = rows.last() else { break };
            range.start = just_after(last);
            for (key, _) in &rows {
                known.extend(id_of(key));
                if known.len() > most {
                    known.pop_first();
                }
            }
        }
        Ok(Withdrawn { store, known: Arc::new(RwLock::new(known)), most })
    }

    /// Whether a message was withdrawn.
    pub fn holds(&self, message_id: MessageId) -> bool {
        self.read().contains(&message_id)
    }

    /// Withdraws a message: what is queued of it will end as `cancelled`.
    ///
    /// # Errors
    /// The store's.
    pub async fn add(&self, message_id: MessageId) -> Result<(), StoreError> {
        let batch = Batch { put: vec![(key_of(message_id), Bytes::new())], ..Batch::default() };
        self.store.commit(message_id.partition(), batch).await?;
        let surplus = {
            let mut known = self.write();
            known.insert(message_id);
            if known.len() > self.most { known.pop_first() } else { None }
        };
        match surplus {
            Some(oldest) => self.remove_row(oldest).await,
            None => Ok(()),
        }
    }

    /// Forgets messages accepted before `at`: none of them can be queued any more.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_before(&self, at: UnixMs) -> Result<(), StoreError> {
        loop {
            let oldest = self.read().first().copied();
            let Some(oldest) = oldest.filter(|id| id.accepted_at() < at) else { return Ok(()) };
            self.remove_row(oldest).await?;
            self.write().remove(&oldest);
        }
    }

    async fn remove_row(&self, message_id: MessageId) -> Result<(), StoreError> {
        let batch = Batch { delete: vec![key_of(message_id)], ..Batch::default() };
        self.store.commit(message_id.partition(), batch).await
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeSet<MessageId>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeSet<MessageId>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of(message_id: MessageId) -> Key {
    KeyBuilder::new(Class::Withdrawn).u128(message_id.0).finish()
}

fn id_of(key: &Key) -> Option<MessageId> {
    KeyReader::new(Class::Withdrawn, key)?.u128().map(MessageId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::Partition;
    use crate::store::memory::MemoryStore;

    fn id(at: u64) -> MessageId {
        MessageId::new(UnixMs(at), Partition::of_hash(0), at)
    }

    fn held(withdrawn: &Withdrawn) -> Vec<u64> {
        (1..=6).filter(|at| withdrawn.holds(id(*at))).collect()
    }

    #[tokio::test]
    async fn the_oldest_is_forgotten_when_there_are_too_many_and_what_is_past_anyway() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let withdrawn = Withdrawn::holding(store.clone(), 3).await.expect("read");
        for at in [5, 2, 4, 3] {
            withdrawn.add(id(at)).await.expect("withdrawn");
        }
        assert_eq!(held(&withdrawn), [3, 4, 5]);
        withdrawn.forget_before(UnixMs(4)).await.expect("forgotten");
        assert_eq!(held(&withdrawn), [4, 5]);
        let opened = Withdrawn::holding(store.clone(), 3).await.expect("read");
        assert_eq!(held(&opened), [4, 5]);
        let fewer = Withdrawn::holding(store, 1).await.expect("read");
        assert_eq!(held(&fewer), [5], "the newest count most");
    }
}
