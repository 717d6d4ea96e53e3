//! What an ordered engine on disk does for the embedded store: it keeps the rows that have left the
//! journal.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use bytes::Bytes;

use crate::store::directory::OpenError;
use crate::store::{Key, Row, StoreError};

/// A row as changes know it: `None` when it is gone.
pub type Known = Option<Bytes>;

/// Changed rows in key order.
///
/// Each class of rows has a tree of its own. Most rows looked for are accounts and owners of
/// tokens, which seldom change; they are not searched among the many rows of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    classes: BTreeMap<u8, BTreeMap<Key, Known>>,
    rows: usize,
}

/// The class of a key: its first byte.
fn class_of(key: &[u8]) -> u8 {
    key.first().copied().unwrap_or(0)
}

impl Changes {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// What is known of a row; `None` when nothing is.
    pub fn get(&self, key: &[u8]) -> Option<&Known> {
        self.classes.get(&class_of(key))?.get(key)
    }

    /// Every row in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Known)> + Clone {
        self.classes.values().flatten()
    }

    /// The rows of a range in key order.
    pub fn range(&self, range: &Range<Key>) -> impl Iterator<Item = (&Key, &Known)> {
        let bounds = (Bound::Included(range.start.as_ref()), Bound::Excluded(range.end.as_ref()));
        let classes = class_of(&range.start)..=class_of(&range.end);
        self.classes.range(classes).flat_map(move |(_, rows)| rows.range::<[u8], _>(bounds))
    }
}

impl Extend<(Key, Known)> for Changes {
    fn extend<T: IntoIterator<Item = (Key, Known)>>(&mut self, rows: T) {
        for (key, value) in rows {
            let class = self.classes.entry(class_of(&key)).or_default();
            self.rows += usize::from(class.insert(key, value).is_none());
        }
    }
}

impl FromIterator<(Key, Known)> for Changes {
    fn from_iter<T: IntoIterator<Item = (Key, Known)>>(rows: T) -> Self {
        let mut changes = Changes::default();
        changes.extend(rows);
        changes
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_all_classes_are_in_key_order() {
        let keys = ["b", "aa", "ca", "a", "cb"].map(Key::from);
        let changes: Changes = keys.into_iter().map(|key| (key, None)).collect();
        let all: Vec<_> = changes.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(all, ["a", "aa", "b", "ca", "cb"].map(Key::from));
        let range = Key::from("aa")..Key::from("cb");
        let some: Vec<_> = changes.range(&range).map(|(key, _)| key.clone()).collect();
        assert_eq!(some, ["aa", "b", "ca"].map(Key::from));
        assert_eq!(changes.len(), 5);
    }
}
