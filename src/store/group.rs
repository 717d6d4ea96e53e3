//! One group commit: batches judged in order against what is stored and against each other.
//!
//! Every batch sees the effects of the batches of its group that came before it and were accepted.
//! What is left is the final value of every row the group changed.

use bytes::Bytes;
use foldhash::HashMap;

use crate::store::engine::Known;
use crate::store::{Batch, Expect, Key, StoreError, decode_counter, encode_counter};

/// A row as the batches before left it.
struct Slot {
    value: Value,
    /// Whether it differs from what is stored; else it was only read.
    written: bool,
}

enum Value {
    Row(Known),
    /// A counter that was added to; it becomes a row when the group is [sealed](Group::seal).
    Counter(i64),
}

impl Value {
    fn counter(&self) -> Option<i64> {
        match self {
            Value::Row(row) => decode_counter(row.as_deref()),
            Value::Counter(number) => Some(*number),
        }
    }

    fn meets(&self, expect: &Expect) -> bool {
        match self {
            Value::Row(row) => expect.holds(row.as_ref()),
            Value::Counter(number) => expect.holds(Some(&encode_counter(*number))),
        }
    }
}

/// The accepted batches of one group so far. Emptied and used again, for its room.
#[derive(Default)]
pub struct Group {
    rows: HashMap<Key, Slot>,
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
                Some(slot) => slot.value.meets(expect),
                None => expect.holds(read(key)?.as_ref()),
            };
            if !holds {
                return Err(StoreError::Conflict);
            }
        }
        for (key, _) in &batch.add {
            let number = match self.rows.get(key) {
                Some(slot) => slot.value.counter(),
                None => {
                    let value = Value::Row(read(key)?);
                    let number = value.counter();
                    self.rows.insert(key.clone(), Slot { value, written: false });
                    number
                }
            };
            if number.is_none() {
                return Err(StoreError::Corrupt { key: key.clone() });
            }
        }
        #[cfg(debug_assertions)]
        self.assert_written_once(&batch, read);
        for (key, change) in batch.add {
            // Every counter was found above, and is one.
            if let Some(slot) = self.rows.get_mut(&key) {
                let sum = slot.value.counter().unwrap_or(0).saturating_add(change);
                *slot = Slot { value: Value::Counter(sum), written: true };
            }
        }
        for (key, value) in batch.put {
            self.write(key, Some(value));
        }
        for key in batch.delete {
            self.write(key, None);
        }
        Ok(())
    }

    /// What the store relies on when it forgets rows that came and went.
    #[cfg(debug_assertions)]
    fn assert_written_once(
        &self,
        batch: &Batch,
        mut read: impl FnMut(&[u8]) -> Result<Option<Bytes>, StoreError>,
    ) {
        use crate::store::keys::Class;
        for (key, _) in &batch.put {
            if key.first().is_some_and(|class| Class::is_written_once(*class)) {
                let exists = match self.rows.get(key) {
                    Some(slot) => !slot.value.meets(&Expect::Absent),
                    None => read(key).is_ok_and(|row| row.is_some()),
                };
                assert!(!exists, "{key:?} is put over a row of a class that is written once");
            }
        }
    }

    /// Whether nothing was read or changed.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows that change, with their final values.
    pub fn seal(&mut self) -> impl Iterator<Item = (&Key, &Known)> + Clone {
        for slot in self.rows.values_mut() {
            if let Value::Counter(number) = slot.value {
                slot.value = Value::Row(Some(encode_counter(number)));
            }
        }
        self.rows.iter().filter_map(|(key, slot)| match &slot.value {
            Value::Row(row) if slot.written => Some((key, row)),
            Value::Row(_) | Value::Counter(_) => None,
        })
    }

    /// Empties it, for the next group.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    fn write(&mut self, key: Key, row: Known) {
        self.rows.insert(key, Slot { value: Value::Row(row), written: true });
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

    fn changed(group: &mut Group) -> Vec<(Key, Known)> {
        let rows = group.seal().map(|(key, value)| (key.clone(), value.clone()));
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
        assert_eq!(changed(&mut group), [("a".into(), Some("2".into()))]);
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
        assert_eq!(changed(&mut group), [("n".into(), Some(encode_counter(25)))]);
    }

    #[test]
    fn a_row_that_is_no_counter_refuses_only_its_batch() {
        let mut group = Group::default();
        let mut bad = add("n", 1);
        bad.put.push(("x".into(), "1".into()));
        let text = |_: &[u8]| Ok(Some(Bytes::from_static(b"text")));
        assert!(matches!(group.take(bad, text), Err(StoreError::Corrupt { .. })));
        assert_eq!(group.seal().count(), 0);
    }

    #[test]
    fn what_is_put_and_deleted_in_one_group_is_deleted() {
        let mut group = Group::default();
        assert!(group.take(put("a", "1"), nothing).is_ok());
        let delete = Batch { delete: vec!["a".into()], ..Batch::default() };
        assert!(group.take(delete, nothing).is_ok());
        assert_eq!(changed(&mut group), [("a".into(), None)]);
    }
}
