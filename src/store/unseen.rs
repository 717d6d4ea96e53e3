//! Knows of most seen marks that there are none, without looking.
//!
//! Nearly every message is a first one: its marks are asked for only to learn that they are absent,
//! which an engine finds out by walking its tree to where they would be. Marks are stored in
//! [time buckets](Class::Seen). If a bucket was empty when first read, every mark in it was
//! written by this process, and a Bloom filter over those tells which are absent. It may take an
//! absent mark for one that exists, and then the store is read; it never misses one that exists.
//!
//! Only the writer thread asks, and only it writes, so what it knows is complete.

use std::ops::Range;

use crate::store::keys::{Class, after_prefix};
use crate::store::{Key, StoreError};

/// Class, window and bucket: what the keys of a bucket have in common.
const PREFIX_BYTES: usize = 9;

/// The digest behind them.
const DIGEST_BYTES: usize = 16;

/// Buckets kept; there are two in use for each window.
const BUCKETS_MAX: usize = 8;

/// Words of a bucket's layers; one is added when those before are full.
const LAYER_WORDS: [usize; 4] = [1 << 13, 1 << 15, 1 << 17, 1 << 19];

/// Marks for which a layer has room, per word. The last layer takes more, at the price of looks
/// into the store that were not needed.
const MARKS_PER_WORD: usize = 4;

/// Bits set for a mark, all in one word.
const BITS: u32 = 4;

/// What is known of seen marks. Takes at most 45 MB, when each bucket has a million marks or more;
/// from three million on, more and more of the looks it saves are taken all the same.
#[derive(Default)]
pub struct Unseen {
    /// The one used last comes last.
    buckets: Vec<Bucket>,
}

struct Bucket {
    prefix: [u8; PREFIX_BYTES],
    /// `None` when there may be marks from before.
    marks: Option<Filter>,
}

impl Unseen {
    /// Whether there certainly is no row with this key. `any` answers whether there is any row in a
    /// range; it is asked once for a bucket.
    pub fn proves(
        &mut self,
        key: &[u8],
        any: impl FnOnce(&Range<Key>) -> Result<bool, StoreError>,
    ) -> bool {
        let Some((prefix, digest)) = parts(key) else { return false };
        if self.bucket(prefix).is_none() {
            let range = Key::from(&prefix[..])..after_prefix(prefix);
            // What could not be asked is asked again the next time.
            let Ok(any) = any(&range) else { return false };
            if self.buckets.len() == BUCKETS_MAX {
                self.buckets.remove(0);
            }
            let marks = (!any).then(Filter::default);
            self.buckets.push(Bucket { prefix: *prefix, marks });
        }
        let marks = self.bucket(prefix).and_then(|bucket| bucket.marks.as_ref());
        marks.is_some_and(|marks| !marks.may_have(digest))
    }

    /// Notes a row that is written.
    pub fn note(&mut self, key: &[u8]) {
        if let Some((prefix, digest)) = parts(key)
            && let Some(Bucket { marks: Some(marks), .. }) = self.bucket(prefix)
        {
            marks.insert(digest);
        }
    }

    /// The bucket, from now on the one used last.
    fn bucket(&mut self, prefix: &[u8; PREFIX_BYTES]) -> Option<&mut Bucket> {
        let place = self.buckets.iter().rposition(|bucket| bucket.prefix == *prefix)?;
        self.buckets[place..].rotate_left(1);
        self.buckets.last_mut()
    }
}

/// Prefix and digest of a seen mark's key; of the digest, which is as good as random, eight bytes.
fn parts(key: &[u8]) -> Option<(&[u8; PREFIX_BYTES], u64)> {
    let (prefix, digest) = key.split_first_chunk::<PREFIX_BYTES>()?;
    let (_, last) = digest.split_last_chunk::<8>()?;
    let is_mark = prefix[0] == Class::Seen as u8 && digest.len() == DIGEST_BYTES;
    is_mark.then(|| (prefix, u64::from_be_bytes(*last)))
}

/// A Bloom filter that grows by layers.
#[derive(Default)]
struct Filter {
    layers: Vec<Box<[u64]>>,
    /// Marks in the last layer.
    marks: usize,
}

impl Filter {
    fn may_have(&self, digest: u64) -> bool {
        let bits = bits_of(digest);
        self.layers.iter().any(|layer| layer[place_of(digest, layer)] & bits == bits)
    }

    fn insert(&mut self, digest: u64) {
        let is_full = |layer: &[u64]| self.marks >= layer.len() * MARKS_PER_WORD;
        if self.layers.last().is_none_or(|layer| is_full(layer))
            && let Some(words) = LAYER_WORDS.get(self.layers.len())
        {
            self.layers.push(vec![0; *words].into());
            self.marks = 0;
        }
        if let Some(layer) = self.layers.last_mut() {
            layer[place_of(digest, layer)] |= bits_of(digest);
            self.marks += 1;
        }
    }
}

/// Where a layer has a mark's bits; the number of its words is a power of two.
fn place_of(digest: u64, layer: &[u64]) -> usize {
    digest as usize & (layer.len() - 1)
}

/// A mark's bits within its word, from that part of the digest which does not tell the place.
fn bits_of(digest: u64) -> u64 {
    (0..BITS).fold(0, |bits, number| bits | 1 << (digest >> (64 - 6 * (number + 1)) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::digest128;
    use crate::store::keys::KeyBuilder;

    fn key(bucket: u32, number: u32) -> Key {
        let digest = digest128(&[&number.to_be_bytes()]);
        KeyBuilder::new(Class::Seen).u32(120).u32(bucket).u128(digest).finish()
    }

    fn none(_: &Range<Key>) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn not_asked(range: &Range<Key>) -> Result<bool, StoreError> {
        panic!("asked for {range:?}")
    }

    #[test]
    fn what_was_noted_is_never_called_absent_and_the_rest_mostly_is() {
        const MARKS: u32 = 200_000;
        let mut unseen = Unseen::default();
        assert!(unseen.proves(&key(1, 0), none));
        for number in 0..MARKS {
            unseen.note(&key(1, number));
        }
        assert!((0..MARKS).all(|number| !unseen.proves(&key(1, number), not_asked)));
        let others = MARKS..2 * MARKS;
        let read = others.filter(|number| !unseen.proves(&key(1, *number), not_asked)).count();
        assert!(read < MARKS as usize / 50, "{read}");
    }

    #[test]
    fn a_bucket_that_had_rows_proves_nothing() {
        let mut unseen = Unseen::default();
        let some = |range: &Range<Key>| Ok(range.contains(&key(1, 7)));
        assert!(!unseen.proves(&key(1, 0), some));
        assert!(!unseen.proves(&key(1, 0), not_asked), "it is asked for once");
        assert!(unseen.proves(&key(2, 0), some), "another bucket is empty");
    }

    #[test]
    fn what_cannot_be_asked_is_asked_again() {
        let mut unseen = Unseen::default();
        assert!(!unseen.proves(&key(1, 0), |_| Err(StoreError::Full)));
        assert!(unseen.proves(&key(1, 0), none));
    }

    #[test]
    fn a_bucket_that_was_given_up_is_asked_for_again() {
        let mut unseen = Unseen::default();
        for bucket in 0..=BUCKETS_MAX as u32 {
            assert!(unseen.proves(&key(bucket, 0), none));
            assert!(unseen.proves(&key(1, 0), none), "what is used stays");
        }
        assert_eq!(unseen.buckets.len(), BUCKETS_MAX);
        unseen.note(&key(0, 0));
        assert!(!unseen.proves(&key(0, 0), |_| Ok(true)));
    }

    #[test]
    fn rows_of_other_classes_are_left_alone() {
        let mut unseen = Unseen::default();
        for key in ["", "S", "U120", "S2345678901234567890123456"] {
            assert!(!unseen.proves(key.as_bytes(), not_asked));
            unseen.note(key.as_bytes());
        }
    }
}
