//! A fixed number of places, found by a key's hash: what was looked for lately is kept where it was
//! put until something else takes its place. One look, no order to keep, and a bounded size.

use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

/// The places. Whoever looks into one must see whether what lies there is what was looked for.
pub struct Places<T> {
    places: Box<[Mutex<T>]>,
    hasher: RandomState,
}

impl<T: Default> Places<T> {
    /// So many empty places, or the next smaller power of two; at least one.
    pub fn new(count: usize) -> Self {
        let count = 1_usize << count.max(1).ilog2();
        Places {
            places: (0..count).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
        }
    }

    /// The place of a key, for as long as it is held.
    pub fn of(&self, key: &[u8]) -> MutexGuard<'_, T> {
        let number = self.hasher.hash_one(key) as usize & (self.places.len() - 1);
        self.places[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Empties every place.
    pub fn clear(&self) {
        for place in &self.places {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = T::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_place_and_there_are_no_more_than_asked_for() {
        for (asked, made) in [(0, 1), (1, 1), (3, 2), (64, 64), (100, 64)] {
            let places = Places::<u32>::new(asked);
            assert_eq!(places.places.len(), made);
            for number in 0..200_u32 {
                let key = number.to_be_bytes();
                *places.of(&key) = number;
                assert_eq!(*places.of(&key), number);
            }
            places.clear();
            assert!((0..200_u32).all(|number| *places.of(&number.to_be_bytes()) == 0));
        }
    }
}
