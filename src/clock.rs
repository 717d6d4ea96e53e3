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
    Virtual { epoch: UnixMs, started: Instant, skipped_ms: Arc<AtomicU64> },
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Clock { source: Source::System }
    }

    /// A clock that starts at `epoch` and follows tokio's time, which a test may pause and advance.
    pub fn starting_at(epoch: UnixMs) -> Self {
        let skipped_ms = Arc::new(AtomicU64::new(0));
        Clock { source: Source::Virtual { epoch, started: Instant::now(), skipped_ms } }
    }

    /// Now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
    pub fn now(&self) -> UnixMs {
        match &self.source {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                UnixMs(0).after(since)
            }
            Source::Virtual { epoch, started, skipped_ms } => epoch
                .after(started.elapsed())
                .after(Duration::from_millis(skipped_ms.load(Ordering::Relaxed))),
        }
    }

    /// Moves a virtual clock forward without waiting; does nothing to the system clock.
    pub fn skip(&self, span: Duration) {
        if let Source::Virtual { skipped_ms, .. } = &self.source {
            let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            skipped_ms.fetch_add(span_ms, Ordering::Relaxed);
        }
    }

    /// A point for measuring how long something takes; never runs backwards.
    pub fn instant(&self) -> Instant {
        match &self.source {
            Source::System => Instant::now(),
            Source::Virtual { skipped_ms, .. } => {
                Instant::now() + Duration::from_millis(skipped_ms.load(Ordering::Relaxed))
            }
        }
    }
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
    }
}
