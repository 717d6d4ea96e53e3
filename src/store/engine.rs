//! What an ordered engine on disk does for the embedded store: it keeps the rows that have left the
//! journal.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use crate::store::directory::OpenError;
use crate::store::{Key, Row, StoreError};

/// Changed rows in key order; `None` says that the row is gone.
pub type Changes = BTreeMap<Key, Option<Bytes>>;

/// An engine. Many threads read; one at a time applies, opens and shuts.
pub trait Engine: Send + Sync + 'static {
    /// Its name in settings, logs and the store directory.
    const NAME: &'static str;

    /// Opens its files, also again after [`Engine::shut`].
    ///
    /// # Errors
    /// See [`OpenError`]; each kind is something else for the operator to do.
    fn open(&self) -> Result<(), OpenError>;

    /// The value of one row.
    ///
    /// # Errors
    /// `Unavailable` while it is shut; `Corrupt`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// At most `limit` rows with keys in `range`, in key order.
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn scan(&self, range: &Range<Key>, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// Applies changes and returns when they are durable. After an error some of them may be
    /// there; they are applied again, in whole, once the engine is open again.
    ///
    /// # Errors
    /// `Full` or `Unavailable`.
    fn apply(&self, changes: &Changes) -> Result<(), StoreError>;

    /// Closes its files. Readers find the store closed.
    fn shut(&self);
}
