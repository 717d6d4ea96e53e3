//! The simulators of a measurement: a process that remembers nothing but how late pushes arrive.
//!
//! A message of the load carries the microsecond it was posted in its pass-through text. Whatever
//! a vendor's wire format is, that mark passes unchanged, so the arriving request tells its age.

use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

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

/// An empty histogram of microseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, AGE_US_MAX, 3).expect("the bounds are in order")
}

/// Microseconds since 1970, the same in every process of this machine.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The mark of this moment.
pub fn mark() -> String {
    format!("ZQ{:016}", now_us())
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

/// A simulator with a stop-watch in front.
struct Timed {
    simulator: Arc<dyn Simulator>,
    ages: Arc<Mutex<Histogram<u64>>>,
}

impl Simulator for Timed {
    fn vendor(&self) -> &'static str {
        self.simulator.vendor()
    }

    fn owns(&self, path: &str) -> bool {
        self.simulator.owns(path)
    }

    fn answer(&self, request: &SimRequest, phones: &Phones) -> SimReply {
        if let Some(at) = marked_at(&request.body) {
            let age = now_us().saturating_sub(at).clamp(1, AGE_US_MAX);
            self.ages.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(age);
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

/// Runs the simulators until standard input ends. Its first line is
/// [`Started`]. Then each line asked is answered by the ages since the line before.
///
/// # Errors
/// When no port can be bound.
pub fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ages = Arc::new(Mutex::new(histogram()));
    let timed = |simulator| {
        let timed: Arc<dyn Simulator> = Arc::new(Timed { simulator, ages: ages.clone() });
        timed
    };
    let simulators = sim::all().into_iter().map(timed).collect();
    let config = SimConfig { record: false, ..SimConfig::default() };
    let started = SimServer::start(config, simulators, Clock::system());
    let server = runtime.block_on(started).context("start the simulators")?;
    let control = server.control().to_owned();
    println!(
        "{}",
        serde_json::to_string(&Started { control, ca_pem: server.ca_pem().to_owned() })?
    );
    for line in std::io::stdin().lock().lines() {
        line.context("read a question")?;
        let mut ages = ages.lock().unwrap_or_else(PoisonError::into_inner);
        let percentiles = serde_json::to_string(&Percentiles::of(&ages))?;
        ages.reset();
        drop(ages);
        println!("{percentiles}");
        std::io::stdout().flush().context("answer")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_among_other_letters() {
        let body = format!("Z Zx payload={}&Q=Z", mark());
        let at = marked_at(body.as_bytes()).expect("a mark");
        assert!(now_us() - at < 60_000_000);
        assert_eq!(marked_at(b"ZZQ12"), None);
        assert_eq!(marked_at(b"none"), None);
    }
}
