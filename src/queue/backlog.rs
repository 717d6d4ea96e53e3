//! How long the oldest parcel has waited that could be on its way.
//!
//! Only lanes that are running count: not one that is paused, slowed down by its vendor, behind an
//! open breaker or without a working certificate. What waits there waits for a person or for that
//! vendor, and must not keep other certificates' messages out. The wait counts from when a lane
//! began to run, so that neither a restart nor a resumed lane counts time nobody could use.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foldhash::HashMap;

use crate::model::id::CertId;
use crate::model::time::UnixMs;

/// Nothing waits.
const NEVER: u64 = u64::MAX;

/// The oldest waiting parcel of each running lane.
#[derive(Debug)]
pub struct Backlog {
    lanes: Mutex<HashMap<CertId, UnixMs>>,
    oldest: AtomicU64,
}

impl Default for Backlog {
    fn default() -> Self {
        Backlog { lanes: Mutex::default(), oldest: AtomicU64::new(NEVER) }
    }
}

impl Backlog {
    /// Notes since when a lane's oldest parcel waits; `None` when nothing waits that could go.
    pub fn note(&self, cert_id: CertId, since: Option<UnixMs>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match since {
            Some(since) => lanes.insert(cert_id, since),
            None => lanes.remove(&cert_id),
        };
        if before != since {
            let oldest = lanes.values().map(|since| since.0).min().unwrap_or(NEVER);
            self.oldest.store(oldest, Ordering::Relaxed);
        }
    }

    /// For how long the oldest of all has waited.
    pub fn age(&self, now: UnixMs) -> Duration {
        match self.oldest.load(Ordering::Relaxed) {
            NEVER => Duration::ZERO,
            since => now.since(UnixMs(since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_the_lanes_that_run_counts() {
        let backlog = Backlog::default();
        let age = || backlog.age(UnixMs(10_000)).as_millis();
        assert_eq!(age(), 0);
        backlog.note(CertId(1), Some(UnixMs(4_000)));
        backlog.note(CertId(2), Some(UnixMs(1_000)));
        assert_eq!(age(), 9_000);
        backlog.note(CertId(2), None);
        assert_eq!(age(), 6_000);
        backlog.note(CertId(1), Some(UnixMs(12_000)));
        assert_eq!(age(), 0, "a clock that was set back is no age");
    }
}
