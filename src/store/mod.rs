//! The store contract: what every backend promises, and nothing more.
//!
//! A row is a key and a value, both bytes. Keys are **unique in the whole store**; the
//! [`Partition`] given with a call says where a sharded backend keeps the row, not which row it is,
//! so an embedded engine may ignore it. Numbers in keys are big-endian, so byte order is number
//! order. A commit is all or nothing within one partition and returns only when it is durable to
//! the backend's stated promise.

pub mod checkpoint;
pub mod directory;
pub mod embedded;
pub mod engine;
pub mod faulty;
pub mod group;
pub mod journal;
mod key;
pub mod keys;
pub mod memory;
pub mod places;
pub mod recent;
pub mod redb;
pub mod sled;
pub mod unseen;
pub mod warm;
pub mod writer;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::id::Partition;

pub use key::Key;

/// A row as it was read.
pub type Row = (Key, Bytes);

/// Any error of a backend, kept for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What an embedded store may hold in memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreMemory {
    /// The engine's own cache.
    pub cache_bytes: usize,
    /// Recent rows, before they go to the engine; up to three times as much while it is busy.
    pub recent_bytes: usize,
}

/// What must hold for a [`Batch`] to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The row does not exist.
    Absent,
    /// The row exists with exactly this value.
    Equals(Bytes),
}

/// Conditions and changes that become true together or not at all. Should several changes name one
/// key, additions come first, then puts, then deletes, each list in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// All must hold, else [`StoreError::Conflict`] and nothing changes.
    pub expect: Vec<(Key, Expect)>,
    /// Rows to write.
    pub put: Vec<(Key, Bytes)>,
    /// Rows to remove; removing what is not there is fine.
    pub delete: Vec<Key>,
    /// Counters to change: a counter row holds an `i64`, little-endian, and is zero when absent.
    /// Unlike a read and a conditional write, two of these never conflict.
    pub add: Vec<(Key, i64)>,
}

impl Batch {
    /// An empty batch with room for so many conditions, rows to write and additions: what a message
    /// or a parcel usually needs, so that its lists are made once. They grow beyond it.
    pub fn with_room(expect: usize, put: usize, add: usize) -> Self {
        Batch {
            expect: Vec::with_capacity(expect),
            put: Vec::with_capacity(put),
            delete: Vec::new(),
            add: Vec::with_capacity(add),
        }
    }

    /// Whether it neither asks nor changes anything.
    pub fn is_empty(&self) -> bool {
        self.expect.is_empty()
            && self.put.is_empty()
            && self.delete.is_empty()
            && self.add.is_empty()
    }

    /// How many rows it changes.
    pub fn rows(&self) -> usize {
        self.put.len() + self.delete.len() + self.add.len()
    }

    /// Bytes of keys and values it writes.
    pub fn bytes(&self) -> usize {
        self.put.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

/// The number in a counter row; absent is zero. `None` means the row is no counter.
pub fn decode_counter(value: Option<&[u8]>) -> Option<i64> {
    match value {
        None => Some(0),
        Some(bytes) => bytes.try_into().ok().map(i64::from_le_bytes),
    }
}

/// The value of a counter row.
pub fn encode_counter(number: i64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

/// Why the store could not do it. Each variant is a different thing for the caller to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Someone else changed it first: read again and decide again.
    #[error("the batch expected other values")]
    Conflict,
    /// Try later; refuse new work meanwhile.
    #[error("the store cannot be reached: {0}")]
    Unavailable(#[source] BoxError),
    /// The disk has no room: refuse new work until there is.
    #[error("the store has no room left")]
    Full,
    /// Stop and call a person.
    #[error("the row at {key:?} cannot be read")]
    Corrupt {
        /// The row.
        key: Key,
    },
}

/// Which partitions a scan reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them, merged into one key order.
    Everywhere,
    /// Only this one. The range must hold no rows of another partition.
    Only(Partition),
}

/// What every backend does. Object safe: the relay holds an `Arc<dyn Store>`.
#[async_trait]
pub trait Store: Send + Sync {
    /// The value of one row.
    async fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The values of many rows, in the order asked.
    async fn get_many(&self, keys: &[(Partition, Key)]) -> Result<Vec<Option<Bytes>>, StoreError>;

    /// At most `limit` rows with keys in `range`, in key order.
    async fn scan(
        &self,
        scope: Scope,
        range: Range<Key>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError>;

    /// Applies one batch: all or nothing, durable when it returns.
    ///
    /// # Errors
    /// `Conflict` when an expectation does not hold; nothing was changed. After `Unavailable` the
    /// batch may or may not have been applied.
    async fn commit(&self, partition: Partition, batch: Batch) -> Result<(), StoreError>;

    /// Applies many batches, each all or nothing on its own; they share what durability costs.
    async fn commit_all(&self, batches: Vec<(Partition, Batch)>) -> Vec<Result<(), StoreError>>;

    /// Whether work can be accepted: writes a probe row and reads it back.
    async fn check(&self) -> Result<(), StoreError>;

    /// Bytes on disk; zero for memory.
    fn disk_bytes(&self) -> u64;

    /// The engine's name, for logs and `/version`.
    fn engine(&self) -> &'static str;

    /// Finishes what was handed in and closes. Later calls answer `Unavailable`.
    async fn close(&self);
}
