//! Whether the disk had room for the last message.
//!
//! The probe of [`Store::check`] is small, and may fit where no message does. So readiness also
//! remembers that a message did not fit, and tries that much room until there is some: traffic
//! that stays away because of it would not find out.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::model::id::Partition;
use crate::store::keys::{Class, KeyBuilder};
use crate::store::{Batch, Store, StoreError};

/// What a message's rows take beside what it says, roughly.
const BESIDE_BYTES: usize = 4 * 1_024;

/// Remembers what did not fit.
#[derive(Default)]
pub(super) struct Room {
    /// Bytes of the last message that found no room; 0 while they fit.
    missing: AtomicUsize,
}

impl Room {
    /// Notes how the commit of a message of so many bytes went.
    pub(super) fn note(&self, bytes: usize, committed: &Result<(), StoreError>) {
        match committed {
            Ok(()) if self.missing.load(Ordering::Relaxed) == 0 => {}
            Ok(()) => self.missing.store(0, Ordering::Relaxed),
            Err(StoreError::Full) => self.missing.store(bytes + BESIDE_BYTES, Ordering::Relaxed),
            Err(_) => {}
        }
    }

    /// Whether messages fit; after one did not, by writing as much.
    ///
    /// # Errors
    /// The store's, [`StoreError::Full`] as long as there is no room.
    pub(super) async fn check(&self, store: &dyn Store) -> Result<(), StoreError> {
        let missing = self.missing.load(Ordering::Relaxed);
        if missing == 0 {
            return Ok(());
        }
        let partition = Partition::of_hash(0);
        let key = KeyBuilder::new(Class::Version).text("room").finish();
        let row = (key.clone(), Bytes::from(vec![b'.'; missing]));
        store.commit(partition, Batch { put: vec![row], ..Batch::default() }).await?;
        // Unless another message has failed meanwhile.
        let _ = self.missing.compare_exchange(missing, 0, Ordering::Relaxed, Ordering::Relaxed);
        store.commit(partition, Batch { delete: vec![key], ..Batch::default() }).await
    }
}
