//! One group commit: batches judged in order against what is stored and against each other.
//!
//! Every batch sees the effects of the batches of its group that came before it and were accepted.
//! What is left is the final value of every row the group changed.

use std::collections::HashMap;

use bytes::Bytes;

use crate::store::recent::Known;
use crate::store::{Batch, Expect, Key, StoreError};

/// The value of a row as the batches before left it.
struct Slot {
    value: Known,
    /// Whether it differs from what is stored; else it was only read.
    written: bool,
}

/// The accepted batches of one group so far. Emptied and used again, for its room.
#[derive(Default)]
pub struct Group {
    rows: HashMap<Key, Slot, foldhash::fast::RandomState>,
}

impl Group {
    /// Judges one batch and takes its effects.
    ///
    /// # Errors
    /// `Conflict` when an expectation does not hold, `Corrupt` when a counter row is no counter,
    /// and what `read` answers. Then the group is as it was.
    pub fn take(
        &mut self,
        batch: Batch,
        mut read: impl FnMut(&[u8]) -> Result<Option<Bytes>, StoreError>,
    ) -> Result<(), StoreError> {
        for (key, expect) in &batch.expect {
            let holds = match self.rows.get(key) {
                Some(slot) => expect.holds(slot.value.as_ref()),
                None => expect.holds(read(key)?.as_ref()),
            };
            if !holds {
                return Err(StoreError::Conflict);
            }
        }
        for (key, _) in &batch.add {
            if !self.rows.contains_key(key) {
                let value = read(key)?;
                self.rows.insert(key.clone(), Slot { value, written: false });
            }
            self.counter(key)?;
        }
        for (key, change) in batch.add {
            // The counters were read above, so none can fail here.
            let sum = self.counter(&key).unwrap_or(0).saturating_add(change);
            self.write(key, Some(encode_counter(sum)));
        }
        for (key, value) in batch.put {
            self.write(key, Some(value));
        }
        for key in batch.delete {
            self.write(key, None);
        }
        Ok(())
    }

    /// Whether nothing was read or changed.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows that change, with their final values.
    pub fn changes(&self) -> impl Iterator<Item = (&Key, &Known)> + Clone {
        self.rows.iter().filter(|(_, slot)| slot.written).map(|(key, slot)| (key, &slot.value))
    }

    /// Empties it, for the next group.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    fn write(&mut self, key: Key, value: Known) {
        self.rows.insert(key, Slot { value, written: true });
    }

    fn counter(&self, key: &Key) -> Result<i64, StoreError> {
        let value = self.rows.get(key).and_then(|slot| slot.value.as_deref());
        decode_counter(value).ok_or_else(|| StoreError::Corrupt { key: key.clone() })
    }
}

impl Expect {
    /// Whether a row with this value, or no row, is what was expected.
    pub fn holds(&self, value: Option<&Bytes>) -> bool {
        match self {
            Expect::Absent => value.is_none(),
            Expect::Equals(expected) => value == Some(expected),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    fn put(key: &'static str, value: &'static str) -> Batch {
        Batch { put: vec![(key.into(), value.into())], ..Batch::default() }
    }

    fn add(key: &'static str, change: i64) -> Batch {
        Batch { add: vec![(key.into(), change)], ..Batch::default() }
    }

    fn changed(group: &Group) -> Vec<(Key, Known)> {
        let rows = group.changes().map(|(key, value)| (key.clone(), value.clone()));
        let mut rows: Vec<_> = rows.collect();
        rows.sort();
        rows
    }

    #[test]
    fn a_later_batch_sees_an_earlier_one_of_its_group() {
        let mut group = Group::default();
        let mut first = put("a", "1");
        first.expect.push(("a".into(), Expect::Absent));
        assert!(group.take(first.clone(), nothing).is_ok());
        assert!(matches!(group.take(first, nothing), Err(StoreError::Conflict)));
        let mut second = put("a", "2");
        second.expect.push(("a".into(), Expect::Equals("1".into())));
        assert!(group.take(second, nothing).is_ok());
        assert_eq!(changed(&group), [("a".into(), Some("2".into()))]);
        group.clear();
        assert!(group.is_empty());
    }

    #[test]
    fn additions_of_a_group_become_one_row() {
        let mut group = Group::default();
        let stored = |_: &[u8]| Ok(Some(encode_counter(5)));
        for _ in 0..10 {
            assert!(group.take(add("n", 2), stored).is_ok());
        }
        assert_eq!(changed(&group), [("n".into(), Some(encode_counter(25)))]);
    }

    #[test]
    fn a_row_that_is_no_counter_refuses_only_its_batch() {
        let mut group = Group::default();
        let mut bad = add("n", 1);
        bad.put.push(("x".into(), "1".into()));
        let text = |_: &[u8]| Ok(Some(Bytes::from_static(b"text")));
        assert!(matches!(group.take(bad, text), Err(StoreError::Corrupt { .. })));
        assert_eq!(group.changes().count(), 0);
    }

    #[test]
    fn what_is_put_and_deleted_in_one_group_is_deleted() {
        let mut group = Group::default();
        assert!(group.take(put("a", "1"), nothing).is_ok());
        let delete = Batch { delete: vec!["a".into()], ..Batch::default() };
        assert!(group.take(delete, nothing).is_ok());
        assert_eq!(changed(&group), [("a".into(), None)]);
    }
}
