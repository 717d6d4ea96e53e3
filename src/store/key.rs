//! A row's name.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

/// Keys up to so many bytes lie where they are held, with their length within one line of a cache.
const INLINE_BYTES: usize = 56;

/// A row's name: bytes, in byte order.
///
/// Keys are made by the dozen for each message and compared all the time, so a usual one is held in
/// place: it is copied rather than shared, and a tree compares it without going elsewhere.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(SmallVec<[u8; INLINE_BYTES]>);

impl Key {
    /// An empty key to be filled.
    pub(crate) const fn new() -> Self {
        Key(SmallVec::new_const())
    }

    /// Appends bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Removes and answers the last byte.
    pub(crate) fn pop(&mut self) -> Option<u8> {
        self.0.pop()
    }

    /// The last byte, to be changed.
    pub(crate) fn last_mut(&mut self) -> Option<&mut u8> {
        self.0.last_mut()
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Key(SmallVec::from_slice(bytes))
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
        for length in [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 300] {
            let bytes = vec![7; length];
            let key = Key::from(bytes.clone());
            assert_eq!(*key, bytes);
            assert_eq!(Key::from(bytes.as_slice()), key);
            // A map finds it by its bytes.
            assert!(HashSet::from([key]).contains(bytes.as_slice()));
        }
    }

    #[test]
    fn keys_are_in_byte_order_across_lengths() {
        let long = |first: u8| Key::from([&[first][..], &[0; 100]].concat());
        assert!(Key::from("a") < long(b'a'));
        assert!(long(b'a') < Key::from("b"));
    }

    #[test]
    fn a_usual_key_takes_one_line_of_a_cache() {
        assert_eq!(size_of::<Key>(), 64);
    }
}
