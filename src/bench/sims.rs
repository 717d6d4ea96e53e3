//! The simulators of a measurement: a process that remembers nothing but how late pushes arrive.
//!
//! A message of the load carries the microsecond it was posted in its pass-through text. Whatever
//! a vendor's wire format is, that mark passes unchanged, so the arriving request tells its age.

use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::bench::median::median;
use crate::clock::Clock;
use crate::model::certificate::Environment;
use crate::sim::phones::Phones;
use crate::sim::server::{SimConfig, SimServer};
use crate::sim::{self, SimCredential, SimReply, SimRequest, Simulator};

/// Opens and closes a mark; letters only, so that no encoding changes it.
const MARK: [u8; 2] = *b"ZQ";
/// Digits of a mark: microseconds since 1970.
const MARK_DIGITS: usize = 16;
/// Longest age kept apart, in microseconds.
const AGE_US_MAX: u64 = 600_000_000;

/// The first line the simulators say.
#[derive(Debug, Serialize, Deserialize)]
pub struct Started {
    /// Base URL of the control API.
    pub control: String,
    /// What to trust, PEM.
    pub ca_pem: String,
}

/// The question that is answered by the [`Arrivals`] since they were last forgotten.
pub const LOOK: &str = "look";

/// The same, and forgets them.
pub const TAKE: &str = "take";

/// Marked pushes that arrived at the simulators.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Arrivals {
    /// How old they were, counted from when their request to the relay was due.
    pub ages: Percentiles,
    /// When the first one came, in microseconds since 1970; 0 when none did.
    pub first_us: u64,
    /// When the last one came.
    pub last_us: u64,
}

impl Arrivals {
    /// From a moment ([`now_us`]) to the first one, in milliseconds.
    pub fn first_after_ms(&self, since_us: u64) -> f64 {
        self.first_us.saturating_sub(since_us) as f64 / 1_000.0
    }

    /// From a moment to the last one, in seconds.
    pub fn last_after_s(&self, since_us: u64) -> f64 {
        self.last_us.saturating_sub(since_us) as f64 / 1_000_000.0
    }
}

/// Percentiles of some durations, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many were measured.
    pub count: u64,
    /// Half of them took at most this.
    pub p50_ms: f64,
    /// 99 of 100 took at most this.
    pub p99_ms: f64,
    /// 999 of 1,000 took at most this.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Percentiles {
    /// Of a histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Percentiles {
            count: histogram.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1_000.0,
        }
    }
}

impl Percentiles {
    /// The middle of several, figure by figure.
    pub fn median(all: impl Iterator<Item = Percentiles> + Clone) -> Self {
        let of = |figure: fn(&Percentiles) -> f64| median(all.clone().map(|one| figure(&one)));
        Percentiles {
            count: all.clone().map(|one| one.count).sum(),
            p50_ms: of(|one| one.p50_ms),
            p99_ms: of(|one| one.p99_ms),
            p999_ms: of(|one| one.p999_ms),
            max_ms: of(|one| one.max_ms),
        }
    }
}

/// An empty histogram of microseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, AGE_US_MAX, 3).expect("the bounds are in order")
}

/// Adds a duration to a histogram of microseconds.
pub fn record(histogram: &mut Histogram<u64>, took: Duration) {
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(took_us.max(1));
}

/// A moment of this process as [`now_us`] counts it.
pub fn due_us(due: Instant) -> u64 {
    let late_us = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
    now_us().saturating_sub(late_us)
}

/// Microseconds since 1970, the same in every process of this machine.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The mark of a moment.
pub fn mark(at_us: u64) -> String {
    format!("ZQ{at_us:016}")
}

/// The moment a body was marked with.
fn marked_at(body: &[u8]) -> Option<u64> {
    let mut rest = body;
    loop {
        let start = rest.iter().position(|byte| *byte == MARK[0])?;
        rest = &rest[start + 1..];
        if rest.first() == Some(&MARK[1]) {
            let digits = rest.get(1..=MARK_DIGITS)?;
            return std::str::from_utf8(digits).ok()?.parse().ok();
        }
    }
}

/// What a stop-watch has seen.
struct Seen {
    ages: Histogram<u64>,
    first_us: u64,
    last_us: u64,
}

/// A stop-watch, shared by all simulators.
#[derive(Clone)]
struct Watch(Arc<Mutex<Seen>>);

impl Watch {
    fn new() -> Self {
        Watch(Arc::new(Mutex::new(Seen { ages: histogram(), first_us: 0, last_us: 0 })))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A push that was marked with `at_us` has arrived.
    fn note(&self, at_us: u64) {
        let now_us = now_us();
        let age_us = now_us.saturating_sub(at_us).clamp(1, AGE_US_MAX);
        let mut seen = self.seen();
        seen.ages.saturating_record(age_us);
        if seen.first_us == 0 {
            seen.first_us = now_us;
        }
        seen.last_us = now_us;
    }

    fn arrivals(&self) -> Arrivals {
        let seen = self.seen();
        Arrivals {
            ages: Percentiles::of(&seen.ages),
            first_us: seen.first_us,
            last_us: seen.last_us,
        }
    }

    fn forget(&self) {
        let mut seen = self.seen();
        seen.ages.reset();
        (seen.first_us, seen.last_us) = (0, 0);
    }
}

/// A simulator with the stop-watch in front.
struct Timed {
    simulator: Arc<dyn Simulator>,
    watch: Watch,
}

impl Simulator for Timed {
    fn vendor(&self) -> &'static str {
        self.simulator.vendor()
    }

    fn owns(&self, path: &str) -> bool {
        self.simulator.owns(path)
    }

    fn answer(&self, request: &SimRequest, phones: &Phones) -> SimReply {
        if let Some(at_us) = marked_at(&request.body) {
            self.watch.note(at_us);
        }
        self.simulator.answer(request, phones)
    }

    fn credentials(&self) -> Vec<SimCredential> {
        self.simulator.credentials()
    }

    fn environment(&self) -> Environment {
        self.simulator.environment()
    }

    fn opening_streams(&self) -> Option<u32> {
        self.simulator.opening_streams()
    }

    fn connection_closed(&self, connection: u64) {
        self.simulator.connection_closed(connection);
    }
}

/// Runs the simulators until standard input ends; `record` makes the phones remember what they
/// showed. The first line said is [`Started`]; then each question, [`LOOK`] or [`TAKE`], is
/// answered by a line of [`Arrivals`].
///
/// # Errors
/// When no port can be bound.
pub fn run(record: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let watch = Watch::new();
    let timed = |simulator| {
        let timed: Arc<dyn Simulator> = Arc::new(Timed { simulator, watch: watch.clone() });
        timed
    };
    let simulators = sim::all().into_iter().map(timed).collect();
    let config = SimConfig { record, ..SimConfig::default() };
    let started = SimServer::start(config, simulators, Clock::system());
    let server = runtime.block_on(started).context("start the simulators")?;
    let control = server.control().to_owned();
    let started = Started { control, ca_pem: server.ca_pem().to_owned() };
    println!("{}", serde_json::to_string(&started)?);
    for line in std::io::stdin().lock().lines() {
        let line = line.context("read a question")?;
        let arrivals = watch.arrivals();
        if line == TAKE {
            watch.forget();
        }
        println!("{}", serde_json::to_string(&arrivals)?);
        std::io::stdout().flush().context("answer")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_among_other_letters() {
        let body = format!("Z Zx payload={}&Q=Z", mark(1_700_000_000_000_000));
        assert_eq!(marked_at(body.as_bytes()), Some(1_700_000_000_000_000));
        assert_eq!(marked_at(b"ZZQ12"), None);
        assert_eq!(marked_at(b"none"), None);
    }

    #[test]
    fn a_stop_watch_forgets_when_told() {
        let watch = Watch::new();
        watch.note(now_us() - 5_000);
        let arrivals = watch.arrivals();
        assert_eq!(arrivals.ages.count, 1);
        assert!(arrivals.ages.p50_ms >= 4.9 && arrivals.first_us > 0, "{arrivals:?}");
        watch.forget();
        assert_eq!((watch.arrivals().ages.count, watch.arrivals().first_us), (0, 0));
    }
}
