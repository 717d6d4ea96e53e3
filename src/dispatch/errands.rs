//! What a look at the store is asked to do besides claiming what is due.

use std::ops::Range;

use foldhash::{HashMap, HashSet};

use crate::model::id::{CertId, MessageId};
use crate::model::time::UnixMs;
use crate::queue::ParcelId;
use crate::store::Key;

/// Most parcels claimed ahead of time by one errand; the others wait for their own time.
const AHEAD_MAX: usize = 100_000;

/// Rows of a lane that are to be claimed although they are due only later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ahead {
    /// Those before were looked at already.
    from: Key,
    /// Those due until then.
    until: UnixMs,
    /// Those claimed so far. One that is put back meanwhile, to be tried again later, is to wait:
    /// while a lane is full it would be claimed again and again.
    claimed: HashSet<ParcelId>,
}

impl Ahead {
    /// Every row.
    pub(super) fn all() -> Self {
        Ahead::up_to(UnixMs(u64::MAX))
    }

    /// Every row due until then.
    pub(super) fn up_to(until: UnixMs) -> Self {
        Ahead { until, ..Ahead::default() }
    }

    /// What both mean. One that is new begins anew.
    pub(super) fn and(self, other: Ahead) -> Self {
        let claimed = &self.claimed & &other.claimed;
        Ahead { from: self.from.min(other.from), until: self.until.max(other.until), claimed }
    }

    /// What is left of a range of rows.
    pub(super) fn within(&self, range: Range<Key>) -> Range<Key> {
        range.start.max(self.from.clone())..range.end
    }

    /// The last due time that is meant.
    pub(super) fn until(&self) -> UnixMs {
        self.until
    }

    /// Whether this parcel is still meant.
    pub(super) fn means(&self, id: ParcelId) -> bool {
        !self.claimed.contains(&id)
    }

    /// These were claimed.
    pub(super) fn claimed(&mut self, ids: impl Iterator<Item = ParcelId>) {
        self.claimed.extend(ids);
    }

    /// What is left when everything up to this key was looked at; `None` when it is enough.
    pub(super) fn beyond(self, reached: Key) -> Option<Self> {
        (self.claimed.len() < AHEAD_MAX).then_some(Ahead { from: reached, ..self })
    }
}

/// Errands by certificate.
#[derive(Debug, Default)]
pub(super) struct Errands {
    ahead: HashMap<CertId, Ahead>,
    withdrawn: HashMap<CertId, HashSet<MessageId>>,
}

impl Errands {
    /// Claim these rows of a lane, too.
    pub(super) fn look_ahead(&mut self, cert_id: CertId, ahead: Ahead) {
        let known = self.ahead.remove(&cert_id);
        let both = known.map_or(ahead.clone(), |known| known.and(ahead));
        self.ahead.insert(cert_id, both);
    }

    /// Let this message end, of which a lane may have rows.
    pub(super) fn end(&mut self, cert_id: CertId, message_id: MessageId) {
        self.withdrawn.entry(cert_id).or_default().insert(message_id);
    }

    /// What is to be claimed ahead of time of a lane.
    pub(super) fn ahead_of(&self, cert_id: CertId) -> Option<&Ahead> {
        self.ahead.get(&cert_id)
    }

    /// The messages of a lane that are to end.
    pub(super) fn withdrawn_of(&self, cert_id: CertId) -> Option<&HashSet<MessageId>> {
        self.withdrawn.get(&cert_id)
    }

    /// Takes over what was not done.
    pub(super) fn resume(&mut self, undone: Errands) {
        for (cert_id, ahead) in undone.ahead {
            self.look_ahead(cert_id, ahead);
        }
        for (cert_id, ids) in undone.withdrawn {
            self.withdrawn.entry(cert_id).or_default().extend(ids);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errands_of_one_lane_become_one_that_means_them_all() {
        let (lane, other) = (CertId(1), CertId(2));
        let mut errands = Errands::default();
        let from = |key: &str, until| Ahead {
            from: Key::from(key),
            until: UnixMs(until),
            claimed: HashSet::default(),
        };
        errands.look_ahead(lane, from("b", 5));
        errands.end(lane, MessageId(7));
        let undone = std::mem::take(&mut errands);
        errands.look_ahead(lane, from("a", 3));
        errands.end(lane, MessageId(8));
        errands.resume(undone);
        assert_eq!(errands.ahead_of(lane), Some(&from("a", 5)));
        assert_eq!(errands.withdrawn_of(lane).map(HashSet::len), Some(2));
        assert!(errands.ahead_of(other).is_none() && errands.withdrawn_of(other).is_none());
    }
}
