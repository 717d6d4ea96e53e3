//! How fast a lane may go.

use tokio::time::Instant;

use crate::dispatch::breaker::{Breaker, Passage};
use crate::queue::Held;

/// Parcels started in one go, before others have their turn and the lane looks around again: what
/// the first of them says waits for the last of them, to be written together.
pub(super) const TOGETHER_MAX: usize = 16;

/// What makes a lane go, wait or stop.
pub(super) struct Pace {
    pub(super) breaker: Breaker,
    pub(super) slow_until: Option<Instant>,
    pub(super) paused: bool,
    /// Deliveries at the vendor.
    pub(super) in_flight: usize,
    /// Parcels at the vendor.
    pub(super) parcels: usize,
    /// Deliveries taken and not yet written down, those at the vendor included.
    pub(super) unsettled: usize,
    pub(super) suspects: usize,
    pub(super) failed_handshakes: u32,
    /// What the last failure said, until the vendor answers again.
    pub(super) trouble: Option<String>,
}

impl Pace {
    /// A lane that goes.
    pub(super) fn new(breaker: Breaker) -> Self {
        Pace {
            breaker,
            slow_until: None,
            paused: false,
            in_flight: 0,
            parcels: 0,
            unsettled: 0,
            suspects: 0,
            failed_handshakes: 0,
            trouble: None,
        }
    }

    /// How many parcels may start now; `None` when none may.
    pub(super) fn passes(&self, blocked: bool, instant: Instant) -> Option<usize> {
        let slowed = self.slow_until.is_some_and(|until| until > instant);
        if blocked || self.paused || slowed {
            return None;
        }
        match self.breaker.passage(instant) {
            Passage::Open => Some(TOGETHER_MAX),
            Passage::Probe => Some(1),
            Passage::Closed(_) => None,
        }
    }

    /// Counts a parcel that starts.
    pub(super) fn start(&mut self, held: &Held) {
        self.parcels += 1;
        self.in_flight += held.parcel.deliveries.len();
        self.unsettled += held.parcel.deliveries.len();
    }
}
