//! What a lane holds in memory, and in which order it goes out.
//!
//! High goes before Normal before Low; every [`AGING`]th parcel is the one that waited longest, so
//! that Low still moves. Where there is no room, the least urgent give way to what is more urgent.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::dispatch::lane::memory::{Holdings, Memory};
use crate::model::id::MessageId;
use crate::model::time::UnixMs;
use crate::queue::{Held, ParcelId};

/// Every so many parcels the longest wait wins over priority.
const AGING: u64 = 8;

/// A parcel that has to wait in the store, and since when it could go.
pub(super) struct Left {
    pub(super) held: Held,
    pub(super) since: UnixMs,
}

/// The parcels of a lane.
pub(super) struct Waiting {
    /// By priority: high, normal, low.
    ready: [VecDeque<Held>; 3],
    /// Everything this lane holds, waiting or at the vendor.
    held: Holdings,
    /// Of withdrawn messages: they only end, which a lane that may not send does too.
    withdrawn: Vec<Held>,
    taken: u64,
    /// None of those that wait expires before; `None` when nothing came since it was looked for.
    expire_from: Option<UnixMs>,
    /// No lease of those that wait ends before; `None` as above.
    leases_from: Option<UnixMs>,
}

impl Waiting {
    /// Nothing; what comes counts in `memory`.
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        Waiting {
            ready: Default::default(),
            held: Holdings::new(memory),
            withdrawn: Vec::new(),
            taken: 0,
            expire_from: None,
            leases_from: None,
        }
    }

    /// What the lane holds, waiting or at the vendor.
    pub(super) fn held(&self) -> &Holdings {
        &self.held
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.ready.iter().map(VecDeque::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.iter().all(VecDeque::is_empty)
    }

    /// Takes a parcel that could go since `since`.
    pub(super) fn push(&mut self, held: Held, since: UnixMs) {
        note_first(&mut self.expire_from, held.parcel.expires_at);
        note_first(&mut self.leases_from, held.leased_until);
        self.held.add(&held, since);
        self.ready[usize::from(held.parcel.urgency.min(2))].push_back(held);
    }

    /// How urgent the least urgent is that waits. When all are at the vendor, only High counts as
    /// more urgent than what is to come.
    pub(super) fn least_urgent(&self) -> u8 {
        let least = (0..3).rev().find(|urgency| !self.ready[usize::from(*urgency)].is_empty());
        least.unwrap_or(1)
    }

    /// Takes the least urgent out of the line, the latest first, until they are so many bytes, for
    /// one of this urgency. `None`, and nothing is changed, when those that are less urgent are not
    /// as many bytes.
    pub(super) fn give_way(&mut self, urgency: u8, bytes: usize) -> Option<Vec<Left>> {
        let lesser = urgency.min(2) + 1..3;
        let waiting = lesser.clone().flat_map(|urgency| &self.ready[usize::from(urgency)]);
        // A lane that is full of parcels asks for one byte, and may hold many.
        let mut sizes = waiting.map(|held| held.row.len());
        let mut found = 0;
        while found < bytes {
            found += sizes.next()?;
        }
        let mut left = Vec::new();
        let mut freed = 0;
        for urgency in lesser.rev() {
            while freed < bytes
                && let Some(held) = self.ready[usize::from(urgency)].pop_back()
            {
                freed += held.row.len();
                let since = self.held.remove(held.id()).unwrap_or(held.leased_until);
                left.push(Left { held, since });
            }
        }
        Some(left)
    }

    /// Whether this parcel is here or at the vendor.
    pub(super) fn has(&self, id: ParcelId) -> bool {
        self.held.has(id)
    }

    /// Drops those that wait and whose lease ended: whoever finds their rows may claim them. Costs
    /// nothing before the first of them ends.
    pub(super) fn drop_unleased(&mut self, now: UnixMs) {
        if self.leases_from.is_none_or(|from| from > now) {
            return;
        }
        for ready in &mut self.ready {
            ready.retain(|parcel| {
                let keeps = parcel.leased_until > now;
                if !keeps {
                    self.held.remove(parcel.id());
                }
                keeps
            });
        }
        let left = self.ready.iter().flatten();
        self.leases_from = left.map(|parcel| parcel.leased_until).min();
    }

    /// A parcel is neither here nor at the vendor any more.
    pub(super) fn release(&mut self, id: ParcelId) {
        self.held.remove(id);
    }

    /// Everything that waits.
    pub(super) fn take_all(&mut self) -> Vec<Held> {
        (self.expire_from, self.leases_from) = (None, None);
        let ready = self.ready.iter_mut().flat_map(|ready| ready.drain(..));
        let all: Vec<_> = ready.chain(self.withdrawn.drain(..)).collect();
        for held in &all {
            self.held.remove(held.id());
        }
        all
    }

    /// Takes the parcels of a withdrawn message out of the line. Answers whether there were any.
    pub(super) fn withdraw(&mut self, message_id: MessageId) -> bool {
        let is_it = |held: &Held| held.parcel.message_id == message_id;
        for ready in self.ready.iter_mut().filter(|ready| ready.iter().any(is_it)) {
            let (its, others): (Vec<_>, Vec<_>) = ready.drain(..).partition(is_it);
            ready.extend(others);
            self.withdrawn.extend(its);
        }
        !self.withdrawn.is_empty()
    }

    /// The parcels of withdrawn messages.
    pub(super) fn take_withdrawn(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.withdrawn)
    }

    /// Since when the one could go that waits longest.
    pub(super) fn oldest(&self) -> Option<UnixMs> {
        let fronts = self.ready.iter().filter_map(VecDeque::front);
        fronts.filter_map(|held| self.held.since(held.id())).min()
    }

    /// The one that goes next.
    pub(super) fn next(&mut self) -> Option<Held> {
        self.taken += 1;
        let aged = self.taken.is_multiple_of(AGING);
        let index = if aged {
            let first = |index: &usize| self.ready[*index].front();
            let waited = |index: &usize| first(index).map(|held| self.held.since(held.id()));
            (0..3).filter(|index| !self.ready[*index].is_empty()).min_by_key(waited)
        } else {
            (0..3).find(|index| !self.ready[*index].is_empty())
        };
        self.ready[index?].pop_front()
    }

    /// Those whose life is over. Costs nothing before the first of them expires: a lane that may
    /// not send is asked for them with every parcel that comes.
    pub(super) fn take_expired(&mut self, now: UnixMs) -> Vec<Held> {
        if self.expire_from.is_none_or(|from| from > now) {
            return Vec::new();
        }
        let all = self.ready.iter_mut().flat_map(|ready| ready.drain(..));
        let (expired, left): (Vec<_>, Vec<_>) = all.partition(|held| held.parcel.expires_at <= now);
        self.expire_from = left.iter().map(|held| held.parcel.expires_at).min();
        for held in left {
            self.ready[usize::from(held.parcel.urgency.min(2))].push_back(held);
        }
        expired
    }
}

fn note_first(first: &mut Option<UnixMs>, time: UnixMs) {
    *first = Some(first.map_or(time, |first| first.min(time)));
}
