//! The way from the stage that accepts parcels to the stage that sends them, in memory.
//!
//! A parcel is born leased: its row says "not before the lease ends", and the process that wrote
//! it hands it to the lane itself. Between the commit and the lane nobody can tell from the row
//! that it is on its way, so a look at rows that are not due yet (after a restart, after a rotated
//! certificate) would claim it a second time and ring the phone twice. A [`Birth`] closes that
//! gap: it exists from before the commit until the lane holds the parcels.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use foldhash::{HashMap, HashSet};
use tokio::sync::mpsc;

use crate::model::id::{CertId, MessageId};
use crate::queue::Held;
use crate::queue::backlog::Backlog;

/// Parts of the set, so that accepting threads seldom meet: a power of two.
const SHARDS: usize = 16;

/// Messages between their commit and their lane.
#[derive(Default)]
pub struct Births {
    shards: [Mutex<HashSet<u128>>; SHARDS],
}

impl Births {
    fn shard(&self, id: u128) -> std::sync::MutexGuard<'_, HashSet<u128>> {
        let shard = &self.shards[id as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message's parcels are on their way to a lane.
    pub fn is_on_its_way(&self, message_id: MessageId) -> bool {
        self.shard(message_id.0).contains(&message_id.0)
    }
}

/// Lanes that have no room in memory: what is born for them is written as due at once, unless it is
/// more urgent than something that waits there, whose place it takes.
#[derive(Default)]
pub struct FullLanes {
    /// With the urgency of the least urgent that waits.
    lanes: RwLock<HashMap<CertId, u8>>,
    /// How many there are: usually none, and then nobody needs the lock.
    count: AtomicUsize,
}

impl FullLanes {
    /// Notes that a lane is full, and how urgent the least urgent is that waits in it, or that it
    /// is not full any more. Asks for it in the lock, so that whoever notes last notes what is so.
    pub fn note(&self, cert_id: CertId, least: impl FnOnce() -> Option<u8>) {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        match least() {
            Some(least) => lanes.insert(cert_id, least),
            None => lanes.remove(&cert_id),
        };
        self.count.store(lanes.len(), Ordering::Relaxed);
    }

    fn refuses(&self, cert_id: CertId, urgency: u8) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        lanes.get(&cert_id).is_some_and(|least| urgency >= *least)
    }
}

/// Says that a message's parcels are on their way, until it is dropped.
pub struct Birth {
    births: Arc<Births>,
    id: u128,
}

impl Drop for Birth {
    fn drop(&mut self) {
        self.births.shard(self.id).remove(&self.id);
    }
}

/// One message's parcels on their way.
pub struct Born {
    /// The parcels.
    pub parcels: Vec<Held>,
    /// To be dropped when the lanes hold them.
    pub birth: Birth,
}

/// The accepting end.
#[derive(Clone)]
pub struct HandOver {
    sender: mpsc::Sender<Vec<Born>>,
    births: Arc<Births>,
    full: Arc<FullLanes>,
    backlog: Arc<Backlog>,
}

/// The sending end.
pub struct TakeOver {
    receiver: mpsc::Receiver<Vec<Born>>,
    births: Arc<Births>,
    full: Arc<FullLanes>,
    backlog: Arc<Backlog>,
}

/// A way that holds so many lists of parcels.
pub fn way(lists_max: usize) -> (HandOver, TakeOver) {
    let (sender, receiver) = mpsc::channel(lists_max);
    let births = Arc::new(Births::default());
    let full = Arc::new(FullLanes::default());
    let backlog = Arc::new(Backlog::default());
    let hand_over =
        HandOver { sender, births: births.clone(), full: full.clone(), backlog: backlog.clone() };
    (hand_over, TakeOver { receiver, births, full, backlog })
}

impl HandOver {
    /// Whether a parcel of this urgency for this lane would be taken over now.
    pub fn has_room(&self, cert_id: CertId, urgency: u8) -> bool {
        self.sender.capacity() > 0 && !self.full.refuses(cert_id, urgency)
    }

    /// How long the oldest parcel has waited at the other end.
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Announces a message's parcels; to be called before they are committed.
    pub fn announce(&self, message_id: MessageId) -> Birth {
        self.births.shard(message_id.0).insert(message_id.0);
        Birth { births: self.births.clone(), id: message_id.0 }
    }

    /// Hands parcels on. What does not fit becomes due when its lease ends.
    pub fn give(&self, born: Vec<Born>) {
        if !born.is_empty() {
            let _ = self.sender.try_send(born);
        }
    }
}

impl TakeOver {
    /// Who is on the way.
    pub fn births(&self) -> Arc<Births> {
        self.births.clone()
    }

    /// Where lanes note that they are full.
    pub fn full_lanes(&self) -> Arc<FullLanes> {
        self.full.clone()
    }

    /// Where to say how long parcels have waited.
    pub fn backlog(&self) -> Arc<Backlog> {
        self.backlog.clone()
    }

    /// Waits for parcels; 0 when nobody can hand any over any more.
    pub async fn take(&mut self, into: &mut Vec<Vec<Born>>, lists_max: usize) -> usize {
        self.receiver.recv_many(into, lists_max).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_is_on_its_way_until_its_birth_is_dropped() {
        let (hand_over, mut take_over) = way(1);
        let births = take_over.births();
        let id = MessageId(7);
        let birth = hand_over.announce(id);
        assert!(births.is_on_its_way(id));
        hand_over.give(vec![Born { parcels: Vec::new(), birth }]);
        assert!(births.is_on_its_way(id) && !hand_over.has_room(CertId(1), 0));
        let mut taken = Vec::new();
        assert_eq!(take_over.take(&mut taken, 8).await, 1);
        assert!(births.is_on_its_way(id));
        taken.clear();
        assert!(!births.is_on_its_way(id));
    }

    #[test]
    fn a_full_lane_takes_over_what_is_more_urgent_and_the_others_take_everything() {
        let (hand_over, take_over) = way(1);
        let full = take_over.full_lanes();
        let takes = |cert_id| [0, 1, 2].map(|urgency| hand_over.has_room(CertId(cert_id), urgency));
        for (least, taken) in [(2, [true, true, false]), (1, [true, false, false]), (0, [false; 3])]
        {
            full.note(CertId(1), || Some(least));
            assert_eq!((takes(1), takes(2)), (taken, [true; 3]));
        }
        full.note(CertId(1), || None);
        assert_eq!(takes(1), [true; 3]);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_not_on_its_way() {
        let (hand_over, take_over) = way(1);
        let born =
            |id| vec![Born { parcels: Vec::new(), birth: hand_over.announce(MessageId(id)) }];
        hand_over.give(born(1));
        hand_over.give(born(2));
        let births = take_over.births();
        assert!(births.is_on_its_way(MessageId(1)) && !births.is_on_its_way(MessageId(2)));
    }
}
