//! How many bytes of parcels all lanes hold together, and which of them a lane holds.
//!
//! A parcel counts with its row's bytes, from when a lane takes it until it is written down what
//! became of it. What does not fit waits in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::HashMap;

use crate::model::time::UnixMs;
use crate::queue::{Held, ParcelId};

/// What a lane may hold however much others do, while there are few lanes.
const SHARE_MAX: usize = 256 * 1_024;

/// What a parcel is taken to be as long as a lane knows none: more than most, so that the first
/// page is not much more than what fits.
const ROW_UNKNOWN: usize = 16 * 1_024;

/// Counts the bytes that all lanes hold.
///
/// A part of them is kept for shares, so that a lane that is stuck takes from no other what it
/// needs to go on: a share for each lane, and half of all bytes at most.
#[derive(Debug)]
pub struct Memory {
    held: AtomicUsize,
    lanes: AtomicUsize,
    max: usize,
}

impl Memory {
    /// Nothing is held of these bytes.
    pub fn new(max: usize) -> Self {
        Memory { held: AtomicUsize::new(0), lanes: AtomicUsize::new(0), max }
    }

    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// What each lane may hold in any case.
    fn share(&self) -> usize {
        SHARE_MAX.min(self.max / 2 / self.lanes.load(Ordering::Relaxed).max(1))
    }

    /// How many more bytes a lane may hold that holds so many.
    fn room(&self, of_lane: usize) -> usize {
        let share = self.share();
        let kept = share * self.lanes.load(Ordering::Relaxed);
        let common = self.max.saturating_sub(kept);
        let left = common.saturating_sub(self.held());
        left.max(share.saturating_sub(of_lane))
    }
}

/// A parcel a lane holds.
struct Note {
    since: UnixMs,
    bytes: usize,
}

/// What one lane holds: what waits in it and what is at the vendor.
pub(super) struct Holdings {
    parcels: HashMap<ParcelId, Note>,
    bytes: usize,
    memory: Arc<Memory>,
}

impl Holdings {
    /// Nothing, by a lane that has its share from now on.
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        memory.lanes.fetch_add(1, Ordering::Relaxed);
        Holdings { parcels: HashMap::default(), bytes: 0, memory }
    }

    /// Notes a parcel that could go since `since`.
    pub(super) fn add(&mut self, held: &Held, since: UnixMs) {
        let bytes = held.row.len();
        self.memory.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if let Some(before) = self.parcels.insert(held.id(), Note { since, bytes }) {
            self.gave_up(before.bytes);
        }
    }

    /// A parcel is not held any more; since when it could go.
    pub(super) fn remove(&mut self, id: ParcelId) -> Option<UnixMs> {
        let note = self.parcels.remove(&id)?;
        self.gave_up(note.bytes);
        Some(note.since)
    }

    fn gave_up(&mut self, bytes: usize) {
        self.memory.held.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }

    pub(super) fn has(&self, id: ParcelId) -> bool {
        self.parcels.contains_key(&id)
    }

    /// Since when a parcel could go.
    pub(super) fn since(&self, id: ParcelId) -> Option<UnixMs> {
        self.parcels.get(&id).map(|note| note.since)
    }

    /// Bytes of all rows.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many bytes a row of so many is too much. A lane without any parcel takes each: it would
    /// wait for ever otherwise. Lanes that ask at the same time may both be told of the last bytes;
    /// what is kept for shares has room for that.
    pub(super) fn lacks(&self, bytes: usize) -> usize {
        match self.parcels.is_empty() {
            true => 0,
            false => bytes.saturating_sub(self.room()),
        }
    }

    /// How many more bytes fit.
    pub(super) fn room(&self) -> usize {
        self.memory.room(self.bytes)
    }

    /// About how many more parcels fit, when they are like those that are held.
    pub(super) fn room_for(&self) -> usize {
        match self.parcels.len() {
            0 => (self.room() / ROW_UNKNOWN).max(1),
            count => self.room() / (self.bytes / count).max(1),
        }
    }

    /// Whether at least as much fits as is held.
    pub(super) fn is_half_empty(&self) -> bool {
        self.room() >= self.bytes
    }
}

impl Drop for Holdings {
    fn drop(&mut self) {
        self.gave_up(self.bytes);
        self.memory.lanes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::lane::tests::urgent;

    fn row(id: u128, bytes: usize) -> Held {
        Held { row: vec![0; bytes].into(), ..urgent(id, 1, 100) }
    }

    #[test]
    fn a_lane_that_holds_much_leaves_the_others_their_share() {
        let memory = Arc::new(Memory::new(1_000));
        let [mut stuck, mut well] = [(); 2].map(|()| Holdings::new(memory.clone()));
        assert_eq!((stuck.lacks(5_000), stuck.room()), (0, 500), "the first always fits");
        stuck.add(&row(1, 100), UnixMs(0));
        assert_eq!((stuck.lacks(400), stuck.lacks(401)), (0, 1));
        stuck.add(&row(2, 400), UnixMs(0));
        assert_eq!((stuck.room(), stuck.lacks(1)), (0, 1));
        assert_eq!((well.room(), well.is_half_empty()), (250, true));
        well.add(&row(3, 100), UnixMs(0));
        well.add(&row(4, 50), UnixMs(0));
        assert_eq!((well.room(), well.room_for()), (100, 1));
        assert!(!well.is_half_empty());
        drop(stuck);
        assert_eq!((well.room(), well.is_half_empty()), (350, true));
    }

    #[test]
    fn what_is_held_twice_counts_once_and_nothing_is_left_of_what_was_held() {
        let memory = Arc::new(Memory::new(1_000));
        let mut holdings = Holdings::new(memory.clone());
        holdings.add(&row(1, 100), UnixMs(0));
        holdings.add(&row(1, 70), UnixMs(0));
        assert_eq!((holdings.bytes(), memory.held()), (70, 70));
        holdings.remove((crate::model::id::MessageId(1), 0));
        holdings.remove((crate::model::id::MessageId(1), 0));
        assert_eq!((holdings.bytes(), memory.held()), (0, 0));
    }
}
