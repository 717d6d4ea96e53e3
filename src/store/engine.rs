//! What an ordered engine on disk does for the embedded store: it keeps the rows that have left the
//! journal.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::{Bound, Range};
use std::time::Duration;

use bytes::Bytes;

use crate::store::directory::OpenError;
use crate::store::keys::Class;
use crate::store::{Key, Row, StoreError};

/// A row as changes know it: `None` when it is gone.
pub type Known = Option<Bytes>;

/// Changed rows in key order.
///
/// Each class of rows has a tree of its own. Most rows looked for are accounts and owners of
/// tokens, which seldom change; they are not searched among the many rows of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    classes: BTreeMap<u8, BTreeMap<Key, Change>>,
    rows: usize,
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    known: Known,
    /// Nothing was known of the row before it was written here, so its end leaves nothing to say.
    born_here: bool,
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
        self.classes.get(&class_of(key))?.get(key).map(|change| &change.known)
    }

    /// Every row in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Known)> + Clone {
        self.classes.values().flatten().map(|(key, change)| (key, &change.known))
    }

    /// The rows of a range in key order.
    pub fn range(&self, range: &Range<Key>) -> impl Iterator<Item = (&Key, &Known)> {
        let bounds = (Bound::Included(range.start.as_ref()), Bound::Excluded(range.end.as_ref()));
        let classes = class_of(&range.start)..=class_of(&range.end);
        let rows = self.classes.range(classes);
        let rows = rows.flat_map(move |(_, rows)| rows.range::<[u8], _>(bounds));
        rows.map(|(key, change)| (key, &change.known))
    }

    /// Takes rows that no engine can have yet: what came and went within them is forgotten.
    pub fn extend_unseen(&mut self, rows: impl IntoIterator<Item = (Key, Known)>) {
        for (key, known) in rows {
            let born_here = Class::is_written_once(class_of(&key));
            self.insert(key, known, born_here);
        }
    }

    fn insert(&mut self, key: Key, known: Known, born_here: bool) {
        match self.classes.entry(class_of(&key)).or_default().entry(key) {
            Entry::Vacant(place) => {
                let born_here = born_here && known.is_some();
                place.insert(Change { known, born_here });
                self.rows += 1;
            }
            Entry::Occupied(place) if known.is_none() && place.get().born_here => {
                place.remove();
                self.rows -= 1;
            }
            Entry::Occupied(mut place) => place.get_mut().known = known,
        }
    }
}

impl Extend<(Key, Known)> for Changes {
    fn extend<T: IntoIterator<Item = (Key, Known)>>(&mut self, rows: T) {
        for (key, known) in rows {
            self.insert(key, known, false);
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

    /// Applies changes and returns when they are durable. An engine that makes them durable part
    /// by part calls `rest` after each but the last, with the time it took: others use the disk
    /// too. After an error some of the changes may be there; they are applied again, in whole, once
    /// the engine is open again.
    ///
    /// # Errors
    /// `Full` or `Unavailable`.
    fn apply(&self, changes: &Changes, rest: &dyn Fn(Duration)) -> Result<(), StoreError>;

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

    #[test]
    fn a_parcel_that_came_and_went_leaves_nothing_to_say() {
        let put = |key: &'static str| (Key::from(key), Some(Bytes::from("1")));
        let delete = |key: &'static str| (Key::from(key), None);
        let came_and_went = [put("Q1"), delete("Q1"), put("S1"), delete("S1")];
        let mut changes = Changes::default();
        changes.extend_unseen(came_and_went.clone());
        assert_eq!(changes.get(b"Q1"), None);
        assert_eq!(changes.get(b"S1"), Some(&None), "the engine may have an older one");
        assert_eq!(changes.len(), 1);
        // One that the engine has was taken away, came back under its old key and went again.
        changes.extend_unseen([delete("Q2"), put("Q2"), delete("Q2")]);
        assert_eq!(changes.get(b"Q2"), Some(&None));
        assert_eq!(changes.len(), 2);
        // Of a journal, the engine may have a part.
        let replayed: Changes = came_and_went.into_iter().collect();
        assert_eq!(replayed.get(b"Q1"), Some(&None));
    }
}
