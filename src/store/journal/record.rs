//! One record of the journal: how it is built and how it is read.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::store::Key;
use crate::store::engine::Known;

/// Bytes in front of a record's rows.
pub(super) const RECORD_HEADER: usize = 12;

/// The value length of a deleted row.
const DELETED: u32 = u32::MAX;

/// Bytes of one buffer that records are built in.
const BUFFER_BYTES: usize = 1 << 20;

/// Most buffers kept to be used again.
const BUFFERS_MAX: usize = 128;

/// How many bytes of rows the good record at the front has; `None` when there is no good one.
pub(super) fn record_at(rest: &[u8]) -> Option<usize> {
    let (header, rest) = rest.split_at_checked(RECORD_HEADER)?;
    let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
    let length = number(0) as usize;
    let is_length = crc32fast::hash(&header[..4]) == number(4);
    let rows = rest.get(..length).filter(|_| is_length)?;
    (crc32fast::hash(rows) == number(8)).then_some(length)
}

/// The memory records are built in. The rows of a generation are slices of it, so that a row costs
/// no allocation of its own; when a generation is forgotten its buffers are used again.
#[derive(Default)]
pub(super) struct Buffers {
    current: BytesMut,
    used: VecDeque<BytesMut>,
}

impl Buffers {
    pub(super) fn encode<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a Key, &'a Known)> + Clone,
    ) -> io::Result<Bytes> {
        let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
        let size =
            |(key, value): (&Key, &Known)| 8 + key.len() + value.as_ref().map_or(0, Bytes::len);
        let length: usize = rows.clone().map(size).sum();
        let length_bytes = u32::try_from(length).map_err(|_| too_large())?.to_le_bytes();
        let record = self.room_for(RECORD_HEADER + length);
        record.put_bytes(0, RECORD_HEADER);
        for (key, value) in rows {
            // Neither is longer than the record.
            record.put_u32_le(key.len() as u32);
            record.put_u32_le(value.as_ref().map_or(DELETED, |value| value.len() as u32));
            record.put_slice(key);
            record.put_slice(value.as_deref().unwrap_or_default());
        }
        let rows_check = crc32fast::hash(&record[RECORD_HEADER..]);
        record[..4].copy_from_slice(&length_bytes);
        record[4..8].copy_from_slice(&crc32fast::hash(&length_bytes).to_le_bytes());
        record[8..12].copy_from_slice(&rows_check.to_le_bytes());
        Ok(record.split().freeze())
    }

    /// An empty buffer with room for so many bytes.
    fn room_for(&mut self, bytes: usize) -> &mut BytesMut {
        if self.current.capacity() < bytes {
            let wanted = bytes.max(BUFFER_BYTES);
            let mut oldest = self.used.pop_front();
            let is_free = oldest.as_mut().is_some_and(|oldest| oldest.try_reclaim(wanted));
            let free = oldest.take_if(|_| is_free);
            self.used.extend(oldest.filter(|_| self.used.len() < BUFFERS_MAX));
            let next = free.unwrap_or_else(|| BytesMut::with_capacity(wanted));
            let full = std::mem::replace(&mut self.current, next);
            self.used.push_back(full);
        }
        &mut self.current
    }
}

/// The rows of a record, as slices of it. Ends early when they cannot be read.
#[derive(Debug)]
pub struct Rows(pub(super) Bytes);

impl Rows {
    /// Bytes that are left.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl Iterator for Rows {
    type Item = (Key, Known);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &mut self.0;
        if rest.len() < 8 {
            return None;
        }
        let mut lengths = rest.slice(..8);
        let key_length = lengths.get_u32_le() as usize;
        let value_length = lengths.get_u32_le();
        let value_bytes = if value_length == DELETED { 0 } else { value_length as usize };
        if rest.len() - 8 < key_length.checked_add(value_bytes)? {
            return None;
        }
        rest.advance(8);
        let key = Key::from(&rest[..key_length]);
        rest.advance(key_length);
        let value = rest.split_to(value_bytes);
        Some((key, (value_length != DELETED).then_some(value)))
    }
}
