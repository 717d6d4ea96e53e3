//! The store in memory: the plainest reading of the contract, which the others are compared with.
//!
//! It shares no code with the writer thread on purpose. Nothing survives the process.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::id::Partition;
use crate::store::directory::{FORMAT, closed, probe, version_key, version_value};
use crate::store::{Batch, Expect, Key, Row, Scope, Store, StoreError, decode_counter};

/// The engine's name in settings and logs.
pub const NAME: &str = "memory";

/// Rows in a sorted map under a lock.
pub struct MemoryStore {
    /// `None` after `close`.
    rows: Mutex<Option<BTreeMap<Key, Bytes>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        let rows = BTreeMap::from([(version_key(), version_value(FORMAT))]);
        MemoryStore { rows: Mutex::new(Some(rows)) }
    }

    /// A panic cannot leave a batch half applied: what can fail comes before the first change.
    fn rows(&self) -> MutexGuard<'_, Option<BTreeMap<Key, Bytes>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let mut guard = self.rows();
        let rows = guard.as_mut().ok_or_else(closed)?;
        for (key, expect) in batch.expect {
            let holds = match expect {
                Expect::Absent => !rows.contains_key(&key),
                Expect::Equals(value) => rows.get(&key) == Some(&value),
            };
            if !holds {
                return Err(StoreError::Conflict);
            }
        }
        for (key, _) in &batch.add {
            counter(rows, key)?;
        }
        for (key, change) in batch.add {
            let sum = counter(rows, &key)?.saturating_add(change);
            rows.insert(key, Bytes::copy_from_slice(&sum.to_le_bytes()));
        }
        rows.extend(batch.put);
        for key in batch.delete {
            rows.remove(&key);
        }
        Ok(())
    }
}

fn counter(rows: &BTreeMap<Key, Bytes>, key: &Key) -> Result<i64, StoreError> {
    let value = rows.get(key).map(Bytes::as_ref);
    decode_counter(value).ok_or_else(|| StoreError::Corrupt { key: key.clone() })
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, _: Partition, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.rows().as_ref().ok_or_else(closed)?.get(key).cloned())
    }

    async fn get_many(&self, keys: &[(Partition, Key)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let guard = self.rows();
        let rows = guard.as_ref().ok_or_else(closed)?;
        Ok(keys.iter().map(|(_, key)| rows.get(key).cloned()).collect())
    }

    async fn scan(
        &self,
        _: Scope,
        range: Range<Key>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let guard = self.rows();
        let rows = guard.as_ref().ok_or_else(closed)?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let found = rows.range(range).take(limit);
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn commit(&self, _: Partition, batch: Batch) -> Result<(), StoreError> {
        self.apply(batch)
    }

    async fn commit_all(&self, batches: Vec<(Partition, Batch)>) -> Vec<Result<(), StoreError>> {
        batches.into_iter().map(|(_, batch)| self.apply(batch)).collect()
    }

    async fn check(&self) -> Result<(), StoreError> {
        probe(self).await
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn engine(&self) -> &'static str {
        NAME
    }

    async fn close(&self) {
        *self.rows() = None;
    }
}
