//! One group commit: batches judged in order against the engine and each other, then packed.
//!
//! Every batch sees the effects of the batches of its group that came before it and were accepted.
//! What was accepted becomes [`Chunk`]s for the engine. A batch is never split over two chunks, and
//! the rows of a chunk are merged only among themselves: whichever chunks survive a crash, each
//! batch is there whole or not at all.

use std::collections::HashMap;

use bytes::Bytes;

use crate::store::{Batch, Expect, Key, StoreError};

/// Rows to apply together, in key order, each key once; `None` removes the row.
pub type Chunk = Vec<(Key, Option<Bytes>)>;

/// The value of a row as the batches before left it.
struct Slot {
    value: Option<Bytes>,
    /// The chunk that last wrote it; [`READ_ONLY`] when it was only read.
    chunk: u32,
}

/// The chunk number of a row that was read and not written.
const READ_ONLY: u32 = 0;

/// Rows a busy group touches: room for them is made at once.
const ROWS_USUAL: usize = 1_024;

/// The accepted batches of one group so far.
pub struct Group {
    rows: HashMap<Key, Slot, foldhash::fast::RandomState>,
    chunk_rows: usize,
    number: u32,
    written: Vec<Key>,
    chunks: Vec<Chunk>,
}

impl Group {
    /// An empty group whose chunks hold about this many rows. One batch alone may hold more.
    pub fn new(chunk_rows: usize) -> Self {
        Group {
            rows: HashMap::with_capacity_and_hasher(ROWS_USUAL, Default::default()),
            chunk_rows,
            number: READ_ONLY + 1,
            written: Vec::new(),
            chunks: Vec::new(),
        }
    }

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
                self.rows.insert(key.clone(), Slot { value, chunk: READ_ONLY });
            }
            self.counter(key)?;
        }
        self.write_all(batch);
        Ok(())
    }

    /// What the engine must apply, in order. Empty when nothing changes.
    pub fn finish(mut self) -> Vec<Chunk> {
        self.seal();
        self.chunks
    }

    fn write_all(&mut self, batch: Batch) {
        if self.written.len().saturating_add(batch.rows()) > self.chunk_rows {
            self.seal();
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
    }

    fn write(&mut self, key: Key, value: Option<Bytes>) {
        match self.rows.get_mut(&key) {
            Some(slot) => {
                slot.value = value;
                if slot.chunk != self.number {
                    slot.chunk = self.number;
                    self.written.push(key);
                }
            }
            None => {
                self.written.push(key.clone());
                self.rows.insert(key, Slot { value, chunk: self.number });
            }
        }
    }

    fn counter(&self, key: &Key) -> Result<i64, StoreError> {
        let value = self.rows.get(key).and_then(|slot| slot.value.as_deref());
        decode_counter(value).ok_or_else(|| StoreError::Corrupt { key: key.clone() })
    }

    fn seal(&mut self) {
        if self.written.is_empty() {
            return;
        }
        // Neighbours in key order are neighbours in the tree.
        self.written.sort_unstable();
        let rows = &self.rows;
        let chunk = self.written.drain(..).map(|key| {
            let value = rows.get(&key).and_then(|slot| slot.value.clone());
            (key, value)
        });
        self.chunks.push(chunk.collect());
        self.number += 1;
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

    #[test]
    fn a_later_batch_sees_an_earlier_one_of_its_group() {
        let mut group = Group::new(64);
        let mut first = put("a", "1");
        first.expect.push(("a".into(), Expect::Absent));
        assert!(group.take(first.clone(), nothing).is_ok());
        assert!(matches!(group.take(first, nothing), Err(StoreError::Conflict)));
        let mut second = put("a", "2");
        second.expect.push(("a".into(), Expect::Equals("1".into())));
        assert!(group.take(second, nothing).is_ok());
        assert_eq!(group.finish(), vec![vec![("a".into(), Some("2".into()))]]);
    }

    #[test]
    fn additions_of_a_group_become_one_row() {
        let mut group = Group::new(64);
        let stored = |_: &[u8]| Ok(Some(encode_counter(5)));
        for _ in 0..10 {
            assert!(group.take(add("n", 2), stored).is_ok());
        }
        assert_eq!(group.finish(), vec![vec![("n".into(), Some(encode_counter(25)))]]);
    }

    #[test]
    fn a_row_that_is_no_counter_refuses_only_its_batch() {
        let mut group = Group::new(64);
        let mut bad = add("n", 1);
        bad.put.push(("x".into(), "1".into()));
        let text = |_: &[u8]| Ok(Some(Bytes::from_static(b"text")));
        assert!(matches!(group.take(bad, text), Err(StoreError::Corrupt { .. })));
        assert!(group.finish().is_empty());
    }

    #[test]
    fn a_batch_is_never_split_and_a_chunk_keeps_its_own_values() {
        let mut group = Group::new(2);
        let big = Batch {
            put: vec![("a".into(), "1".into()), ("b".into(), "1".into()), ("c".into(), "1".into())],
            ..Batch::default()
        };
        assert!(group.take(big, nothing).is_ok());
        assert!(group.take(put("a", "2"), nothing).is_ok());
        let chunks = group.finish();
        assert_eq!(chunks.len(), 2);
        assert_eq!(chunks[0].len(), 3);
        assert_eq!(chunks[0][0], ("a".into(), Some("1".into())));
        assert_eq!(chunks[1], vec![("a".into(), Some("2".into()))]);
    }

    #[test]
    fn rows_are_applied_in_key_order() {
        let mut group = Group::new(64);
        for key in ["c", "a", "b"] {
            assert!(group.take(put(key, "1"), nothing).is_ok());
        }
        let chunks = group.finish();
        let keys: Vec<&[u8]> = chunks[0].iter().map(|(key, _)| key.as_ref()).collect();
        assert_eq!(keys, [b"a", b"b", b"c"]);
    }
}
