//! The only source of time.
//!
//! Production reads the system clock. A test starts from a fixed instant and moves with tokio's
//! paused clock, so that no test ever waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::model::time::UnixMs;

/// Tells the time. Cheap to clone; every clone tells the same.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    System,
    Virtual { epoch: UnixMs, started: Instant, moved: Arc<Moved> },
}

/// How a virtual clock was moved, in milliseconds.
#[derive(Debug, Default)]
struct Moved {
    /// Forward, as time passes.
    skipped: AtomicU64,
    /// Back, as somebody sets a clock: only the time of day changes.
    set_back: AtomicU64,
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Clock { source: Source::System }
    }

    /// A clock that starts at `epoch` and follows tokio's time, which a test may pause and advance.
    pub fn starting_at(epoch: UnixMs) -> Self {
        let moved = Arc::default();
        Clock { source: Source::Virtual { epoch, started: Instant::now(), moved } }
    }

    /// Now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
    pub fn now(&self) -> UnixMs {
        match &self.source {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                UnixMs(0).after(since)
            }
            Source::Virtual { epoch, started, moved } => {
                let skipped = Duration::from_millis(moved.skipped.load(Ordering::Relaxed));
                let shown = epoch.after(started.elapsed()).after(skipped);
                UnixMs(shown.0.saturating_sub(moved.set_back.load(Ordering::Relaxed)))
            }
        }
    }

    /// Moves a virtual clock forward without waiting; does nothing to the system clock.
    pub fn skip(&self, span: Duration) {
        if let Source::Virtual { moved, .. } = &self.source {
            moved.skipped.fetch_add(millis(span), Ordering::Relaxed);
        }
    }

    /// Sets a virtual clock back, as an operator sets a machine's: what is measured by
    /// [`Clock::instant`] does not notice. Does nothing to the system clock.
    pub fn set_back(&self, span: Duration) {
        if let Source::Virtual { moved, .. } = &self.source {
            moved.set_back.fetch_add(millis(span), Ordering::Relaxed);
        }
    }

    /// A point for measuring how long something takes; never runs backwards.
    pub fn instant(&self) -> Instant {
        match &self.source {
            Source::System => Instant::now(),
            Source::Virtual { moved, .. } => {
                Instant::now() + Duration::from_millis(moved.skipped.load(Ordering::Relaxed))
            }
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_virtual_clock_moves_only_when_told() {
        let clock = Clock::starting_at(UnixMs(1_000));
        assert_eq!(clock.now(), UnixMs(1_000));
        tokio::time::advance(Duration::from_millis(250)).await;
        clock.skip(Duration::from_secs(1));
        assert_eq!(clock.now(), UnixMs(2_250));
        let instant = clock.instant();
        clock.set_back(Duration::from_millis(250));
        assert_eq!((clock.now(), clock.instant()), (UnixMs(2_000), instant));
    }
}
