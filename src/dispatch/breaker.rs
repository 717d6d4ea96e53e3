//! Stops asking a vendor that does not answer, and asks again carefully.
//!
//! Closed, everything passes. After a run of failures it opens for a while; then one parcel is let
//! through as a probe, and its answer closes it, or opens it again for longer.

use std::time::Duration;

use tokio::time::Instant;

/// What a lane may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Send.
    Open,
    /// Send one parcel and see.
    Probe,
    /// Wait this long.
    Closed(Duration),
}

/// A circuit breaker. Opening and closing here are the circuit's: an open one passes nothing.
#[derive(Clone, Debug)]
pub struct Breaker {
    failures_max: u32,
    base: Duration,
    longest: Duration,
    failures: u32,
    openings: u32,
    open_until: Option<Instant>,
    /// When it opened or closed last: what began before tells of the time before.
    turned_at: Option<Instant>,
    probing: bool,
}

impl Breaker {
    /// Opens after `failures_max` failures in a row, first for `base`, at most for `longest`.
    pub fn new(failures_max: u32, base: Duration, longest: Duration) -> Self {
        Breaker {
            failures_max: failures_max.max(1),
            base,
            longest,
            failures: 0,
            openings: 0,
            open_until: None,
            turned_at: None,
            probing: false,
        }
    }

    /// What may pass now.
    pub fn passage(&self, now: Instant) -> Passage {
        match self.open_until {
            None => Passage::Open,
            Some(until) if until > now => Passage::Closed(until - now),
            Some(_) if self.probing => Passage::Closed(self.base),
            Some(_) => Passage::Probe,
        }
    }

    /// Whether it is open or probing.
    pub fn is_open(&self) -> bool {
        self.open_until.is_some()
    }

    /// A probe is on its way.
    pub fn probe(&mut self) {
        self.probing = true;
    }

    /// The probe came to nothing: nobody asked the vendor, or nobody knows what it said.
    pub fn unprobe(&mut self) {
        self.probing = false;
    }

    /// The vendor answered. Answers whether this closed it.
    pub fn succeeded(&mut self, now: Instant) -> bool {
        let was_open = self.open_until.is_some();
        if was_open {
            self.turned_at = Some(now);
        }
        self.failures = 0;
        self.openings = 0;
        self.open_until = None;
        self.probing = false;
        was_open
    }

    /// The vendor did not answer a request that began at `began`. Answers whether this opened it
    /// anew.
    pub fn failed(&mut self, began: Instant, now: Instant) -> bool {
        if self.turned_at.is_some_and(|turned| began < turned) {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        let waiting = self.open_until.is_some_and(|until| until > now);
        if waiting || (self.failures < self.failures_max && self.open_until.is_none()) {
            return false;
        }
        let doubled = self.base.saturating_mul(1 << self.openings.min(16));
        self.openings += 1;
        self.turned_at = Some(now);
        self.open_until = Some(now + doubled.min(self.longest));
        self.probing = false;
        self.openings == 1
    }

    /// Forgets everything: the certificate or the vendor changed.
    pub fn reset(&mut self, now: Instant) {
        self.succeeded(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_a_run_probes_once_and_closes_on_an_answer() {
        let mut breaker = Breaker::new(3, BASE, Duration::from_secs(60));
        let before = Instant::now();
        let now = before + BASE;
        assert!(!breaker.failed(now, now) && !breaker.failed(now, now));
        assert_eq!(breaker.passage(now), Passage::Open);
        assert!(breaker.failed(now, now));
        assert_eq!(breaker.passage(now), Passage::Closed(BASE));
        let later = now + BASE;
        assert_eq!(breaker.passage(later), Passage::Probe);
        breaker.probe();
        assert_eq!(breaker.passage(later), Passage::Closed(BASE));
        assert!(!breaker.failed(before, later), "that is no answer to the probe");
        assert_eq!(breaker.passage(later), Passage::Closed(BASE));
        assert!(!breaker.failed(later, later), "still the same opening");
        assert_eq!(breaker.passage(later), Passage::Closed(2 * BASE));
        assert!(breaker.succeeded(later));
        assert_eq!(breaker.passage(later), Passage::Open);
        for _ in 0..3 {
            assert!(!breaker.failed(now, later + BASE), "it began before the vendor was back");
        }
        assert_eq!(breaker.passage(later + BASE), Passage::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_between_failures_keeps_it_closed() {
        let mut breaker = Breaker::new(2, BASE, BASE);
        let now = Instant::now();
        breaker.failed(now, now);
        breaker.succeeded(now);
        assert!(!breaker.failed(now, now));
        assert_eq!(breaker.passage(now), Passage::Open);
    }
}
