//! A row's name.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// Keys up to so many bytes lie where they are held, which makes a key one line of a cache.
const INLINE_BYTES: usize = 62;

/// A row's name: bytes, in byte order.
///
/// Keys are made by the dozen for each message and compared all the time, so a usual one is held in
/// place: it is copied rather than shared, and a tree compares it without going elsewhere.
#[derive(Clone)]
pub struct Key(Held);

#[derive(Clone)]
enum Held {
    Inline { length: u8, bytes: [u8; INLINE_BYTES] },
    Long(Box<[u8]>),
}

impl Key {
    /// Appends bytes. In line, for most keys are made of a few numbers whose size is known there.
    #[inline]
    pub(crate) fn push(&mut self, more: &[u8]) {
        if let Held::Inline { length, bytes } = &mut self.0 {
            let (from, to) = (usize::from(*length), usize::from(*length) + more.len());
            if to <= INLINE_BYTES {
                bytes[from..to].copy_from_slice(more);
                *length = to as u8;
                return;
            }
        }
        self.push_long(more);
    }

    #[cold]
    fn push_long(&mut self, more: &[u8]) {
        self.0 = Held::Long([&**self, more].concat().into());
    }
}

impl Default for Key {
    /// The empty key, before all others.
    fn default() -> Self {
        Key(Held::Inline { length: 0, bytes: [0; INLINE_BYTES] })
    }
}

impl Deref for Key {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Held::Long(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Key {
    /// As the bytes, by which maps look for it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        let mut key = Key::default();
        key.push(bytes);
        key
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Key::from(bytes.as_slice())
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Key::from(text.as_bytes())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_is_its_bytes_however_long_it_is() {
        for length in [0, 1, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1, 300] {
            let bytes = vec![7; length];
            let key = Key::from(bytes.clone());
            assert_eq!(*key, bytes);
            for more in [&[][..], &[1], &[2; 100]] {
                let mut longer = key.clone();
                longer.push(more);
                longer.push(&[3; 4]);
                assert_eq!(*longer, [&bytes, more, &[3; 4]].concat());
            }
            // A map finds it by its bytes.
            assert!(HashSet::from([key]).contains(bytes.as_slice()));
        }
    }

    #[test]
    fn keys_are_in_byte_order_across_lengths() {
        let long = |first: u8| Key::from([&[first][..], &[0; 100]].concat());
        assert!(Key::from("a") < long(b'a'));
        assert!(long(b'a') < Key::from("b"));
        assert!(Key::default() < Key::from(&[0][..]));
    }

    #[test]
    fn a_key_takes_one_line_of_a_cache() {
        assert_eq!(size_of::<Key>(), 64);
    }
}
