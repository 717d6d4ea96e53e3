//! What healthy lanes notice of sick ones: the same open-loop load three times, with every vendor
//! healthy, with one that never answers, and with one certificate that its vendor refuses.
//!
//! Healthy are the lanes of the iPhones' certificates. Beside them goes a smaller load to two other
//! lanes, of a vendor over HTTP/1.1 (a connection per request in flight, the worst case) and of a
//! certificate at the healthy lanes' own vendor. Its messages are not marked, so throughput and
//! latency are those of the healthy lanes alone.

use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Value, json};

use crate::bench::bars::{self, Bar};
use crate::bench::course::{grown, is_empty};
use crate::bench::load::Load;
use crate::bench::relay::{Relay, Setup};
use crate::bench::report::{latency, mb, plain, right};
use crate::bench::run::Run;
use crate::bench::scenario::Scenario;
use crate::bench::sims::{self, Arrivals, Percentiles};
use crate::bench::traffic::{Audience, MIX, MIX_CERT, People};
use crate::bench::watch::{Sample, Watch, bar, memory_max};
use crate::config::sections::Engine;

/// Fewest healthy lanes.
const LANES_MIN: u32 = 4;

/// The healthy load, as a part of the rate that the relay reached: with the other lanes' about half
/// of it, so that nothing queues while all are healthy.
const HEALTHY_SHARE: f64 = 0.4;

/// The load to the lanes that fall sick, as a part of the healthy load.
const SICK_SHARE: f64 = 0.3;

/// Which of the mixed people's lanes fall sick: one at the healthy lanes' vendor, and one at a
/// vendor over HTTP/1.1.
const SICK: &[usize] = &[REFUSED, STALLED];
const REFUSED: usize = 0;
const STALLED: usize = 3;

/// Longest time in which no healthy push arrives although some are missing.
const MISSING_MAX: Duration = Duration::from_secs(30);

/// Between two looks at what arrived.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// p50 when all are healthy, in milliseconds: more means that the load queued, on a machine that
/// had other things to do, and that the phases after it can show nothing.
const P50_MS_MAX: f64 = 250.0;

/// Throughput of the healthy lanes, as a part of that when all are healthy.
const THROUGHPUT_MIN: f64 = 0.95;

/// Their p99, as a multiple of that when all are healthy.
const P99_MAX: f64 = 1.5;

/// Memory in the last third of a phase, as a multiple of that in the middle third: more is growth
/// without bound. The first third fills what may be filled.
const MEMORY_MAX: f64 = 1.1;

/// Settings of the relay; what the caller sets comes later and wins. What goes wrong here is meant
/// to, so it need not be logged.
const SET: &str = "log.level=off";

/// What is wrong in a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Stalled,
    Refused,
}

/// One phase.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Phase {
    /// What was wrong.
    pub name: &'static str,
    /// From the first post to the last healthy push, in seconds.
    pub seconds: f64,
    /// Healthy messages posted.
    pub messages: u64,
    /// Healthy pushes that arrived.
    pub arrived: u64,
    /// Of those, per second.
    pub per_s: f64,
    /// Latency of the 202 of the healthy messages.
    pub answered: Percentiles,
    /// From when they were due to the vendor having them.
    pub at_vendor: Percentiles,
    /// CPU of the relay as a part of one core.
    pub cores_used: f64,
    /// Deliveries that waited for the sick lanes at the end.
    pub waiting: i64,
    /// Memory before, in bytes.
    pub memory_before: u64,
    /// Most memory in the middle third, in bytes.
    pub memory_middle: u64,
    /// Most memory in the last third, in bytes.
    pub memory_last: u64,
    /// What is asked of it.
    pub bars: Vec<Bar>,
}

/// The study on one engine.
#[derive(Clone, Debug, Serialize)]
pub struct Isolation {
    /// Engine.
    pub engine: String,
    /// Healthy lanes.
    pub lanes: u32,
    /// Healthy messages per second.
    pub offered_per_s: f64,
    /// Messages per second to the lanes that fall sick.
    pub offered_sick_per_s: f64,
    /// The phases.
    pub phases: Vec<Phase>,
    /// p50 and p99 of the bare loop by the clock, in milliseconds.
    pub limit: Percentiles,
    /// Whether the ledger balanced, was empty and held exactly what was posted.
    pub ledger_right: bool,
    /// What was wrong with it.
    pub ledger_says: Option<String>,
}

impl Run {
    /// Runs the three phases on one engine.
    ///
    /// # Errors
    /// When a part fails.
    pub async fn isolation(&mut self, engine: Engine) -> anyhow::Result<Isolation> {
        let plan = self.plan.people();
        let people = People { certificates: plan.certificates.max(LANES_MIN), ..plan };
        let set = [SET.to_owned()].into_iter().chain(self.plan.set.clone()).collect();
        let setup = Setup::new(engine, self.plan.cores.relay, set)?;
        let relay = self.furnish(&setup, people).await?;
        let usual = Scenario { connections: 32, ..Scenario::USUAL };
        let usual = Scenario { messages: self.plan.study_messages, ..usual };
        let reached = self.reached(&usual, &relay, people).await?;
        let rate = reached * HEALTHY_SHARE;
        let (before, _) = relay.settled(0).await?;
        let mut posted = 0;
        let mut phases: Vec<Phase> = Vec::new();
        for fault in [Fault::None, Fault::Stalled, Fault::Refused] {
            let mut healthy = self.load(&usual, &relay, people, Audience::One);
            let mut sick = self.load(&usual, &relay, people, Audience::Of(SICK));
            (healthy.rate, sick.rate) = (Some(rate), Some(rate * SICK_SHARE));
            sick.messages = (usual.messages as f64 * SICK_SHARE) as u64;
            posted += healthy.messages + sick.messages;
            self.fall_sick(fault, &relay).await?;
            let mut phase = self.phase(fault, healthy, sick, &relay).await?;
            self.recover(fault, &relay).await?;
            relay.settled(0).await?;
            phase.judge(phases.first());
            phases.push(phase);
        }
        let (after, _) = relay.settled(0).await?;
        relay.stop().await?;
        let accepted = grown(&before, &after, "/accepted");
        let ledger_right = is_empty(&after) && accepted == posted;
        Ok(Isolation {
            engine: engine.as_str().to_owned(),
            lanes: people.certificates,
            offered_per_s: rate,
            offered_sick_per_s: rate * SICK_SHARE,
            phases,
            limit: self.limit.map(|limit| limit.at_vendor).unwrap_or_default(),
            ledger_right,
            ledger_says: (!ledger_right).then(|| format!("posted {posted}: {after}")),
        })
    }

    /// The rate the relay reaches in a closed loop, the lesser of two; they are the warm-up too.
    ///
    /// # Errors
    /// When a part fails.
    pub async fn reached(
        &mut self,
        usual: &Scenario,
        relay: &Relay,
        people: People,
    ) -> anyhow::Result<f64> {
        let messages = (usual.messages / 4).max(usual.per_request);
        let scenario = Scenario { messages, connections: 8, ..*usual };
        let mut least = f64::MAX;
        for _ in 0..2 {
            let load = self.load(&scenario, relay, people, Audience::One);
            let started = Instant::now();
            load.run(ProgressBar::hidden()).await?;
            let (_, ended) = relay.settled(0).await?;
            let per_s = messages as f64 / ended.duration_since(started).as_secs_f64();
            least = per_s.min(least);
        }
        Ok(least)
    }

    async fn fall_sick(&self, fault: Fault, relay: &Relay) -> anyhow::Result<()> {
        match fault {
            Fault::None => Ok(()),
            Fault::Stalled => {
                self.vendors.fault(MIX[STALLED], json!({ "never_answer": true }), 1.0).await
            }
            Fault::Refused => {
                let mut credential = self.credential(REFUSED);
                credential["key_id"] = json!("UNKNOWNKEY");
                relay.rotate(MIX_CERT + REFUSED as u32, &credential).await
            }
        }
    }

    async fn recover(&self, fault: Fault, relay: &Relay) -> anyhow::Result<()> {
        match fault {
            Fault::None => Ok(()),
            Fault::Stalled => self.vendors.heal().await,
            Fault::Refused => {
                relay.rotate(MIX_CERT + REFUSED as u32, &self.credential(REFUSED)).await
            }
        }
    }

    fn credential(&self, turn: usize) -> Value {
        self.vendors.credentials[MIX[turn]][0]["credential"].clone()
    }

    async fn phase(
        &mut self,
        fault: Fault,
        healthy: Load,
        sick: Load,
        relay: &Relay,
    ) -> anyhow::Result<Phase> {
        let messages = healthy.messages;
        let progress = bar(&format!("isolation: {}", fault.name()), messages);
        self.vendors.take().await?;
        let memory_before = relay.memory_bytes();
        let watch = Watch::start(relay, progress.clone());
        let before = relay.usage().unwrap_or_default();
        let (started, started_us) = (Instant::now(), sims::now_us());
        let (healthy, sick) =
            tokio::join!(healthy.run(progress.clone()), sick.run(ProgressBar::hidden()));
        sick.context("the load to the lanes that fall sick")?;
        let answered = Percentiles::of(&healthy?.latency);
        let arrivals = self.all_arrived(messages).await?;
        let used = relay.usage().unwrap_or_default().since(&before);
        let took_s = started.elapsed().as_secs_f64();
        let samples = watch.end().await;
        let (middle, last) = later_thirds(&samples);
        let ledger = relay.ledger().await?;
        progress.finish_and_clear();
        let seconds = arrivals.last_after_s(started_us);
        Ok(Phase {
            name: fault.name(),
            seconds,
            messages,
            arrived: arrivals.ages.count,
            per_s: arrivals.ages.count as f64 / seconds,
            answered,
            at_vendor: arrivals.ages,
            cores_used: used.cpu_s / took_s,
            waiting: ledger["in_flight"].as_i64().unwrap_or_default(),
            memory_before,
            memory_middle: memory_max(middle),
            memory_last: memory_max(last).max(relay.memory_bytes()),
            bars: Vec::new(),
        })
    }

    /// Waits until so many marked pushes arrived, or no more come.
    async fn all_arrived(&mut self, messages: u64) -> anyhow::Result<Arrivals> {
        let (mut count, mut since) = (0, Instant::now());
        loop {
            let arrivals = self.vendors.look().await?;
            if arrivals.ages.count > count {
                (count, since) = (arrivals.ages.count, Instant::now());
            }
            if count >= messages || since.elapsed() > MISSING_MAX {
                return Ok(arrivals);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Fault::None => "all healthy",
            Fault::Stalled => "one vendor stalled",
            Fault::Refused => "one certificate refused",
        }
    }
}

/// The second and the last third of some samples.
fn later_thirds(samples: &[Sample]) -> (&[Sample], &[Sample]) {
    let third = samples.len() / 3;
    (&samples[third..2 * third], &samples[2 * third..])
}

impl Phase {
    /// Compares it with the phase in which all were healthy.
    fn judge(&mut self, healthy: Option<&Phase>) {
        let Some(healthy) = healthy else {
            self.bars.push(Bar::most("not queued: p50 ms", self.at_vendor.p50_ms, P50_MS_MAX));
            return;
        };
        let throughput = self.per_s / healthy.per_s;
        let p99 = self.at_vendor.p99_ms / healthy.at_vendor.p99_ms;
        self.bars.push(Bar::least("throughput ×", throughput, THROUGHPUT_MIN));
        self.bars.push(Bar::most("p99 ×", p99, P99_MAX));
        let grown = self.memory_last as f64 / self.memory_middle.max(1) as f64;
        self.bars.push(Bar::most("memory, last third ×", grown, MEMORY_MAX));
    }
}

impl Isolation {
    /// For people.
    pub fn table(&self) -> String {
        let mut table = plain(&[
            "PHASE",
            "SECONDS",
            "HEALTHY/S",
            "202 p50/p99 ms",
            "VENDOR p50/p99 ms",
            "CORES",
            "SICK WAITING",
            "MEMORY MB before/middle/last",
            "BARS",
        ]);
        for phase in &self.phases {
            let times = (self.limit.p50_ms > 0.0).then(|| {
                let of = &phase.at_vendor;
                (of.p50_ms / self.limit.p50_ms, of.p99_ms / self.limit.p99_ms)
            });
            table.add_row(vec![
                phase.name.to_owned(),
                format!("{:.1}", phase.seconds),
                format!("{:.0} ({} of {})", phase.per_s, phase.arrived, phase.messages),
                latency(&phase.answered, None),
                latency(&phase.at_vendor, times),
                format!("{:.2}", phase.cores_used),
                phase.waiting.to_string(),
                [phase.memory_before, phase.memory_middle, phase.memory_last].map(mb).join(" / "),
                bars::cell(&phase.bars),
            ]);
        }
        format!(
            "isolation on {}: {} healthy lanes at {:.0}/s, two more at {:.0}/s; \
             ledger {}{}\n\n{table}",
            self.engine,
            self.lanes,
            self.offered_per_s,
            self.offered_sick_per_s,
            right(self.ledger_right),
            self.ledger_says.as_deref().map(|says| format!(" ({says})")).unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(per_s: f64, p99_ms: f64, memory: (u64, u64)) -> Phase {
        Phase {
            per_s,
            at_vendor: Percentiles { p99_ms, ..Percentiles::default() },
            memory_middle: memory.0,
            memory_last: memory.1,
            ..Phase::default()
        }
    }

    fn holds(phase: &Phase) -> Vec<bool> {
        phase.bars.iter().map(|bar| bar.holds).collect()
    }

    #[test]
    fn the_first_third_of_a_phase_is_left_out() {
        let sample = |memory| Sample { at_s: 0.0, messages: 0, memory, disk: 0 };
        let samples: Vec<_> = (0..7).map(sample).collect();
        let (middle, last) = later_thirds(&samples);
        assert_eq!((memory_max(middle), memory_max(last)), (3, 6));
        assert_eq!((middle.len(), last.len()), (2, 3));
        assert!(later_thirds(&samples[..1]).0.is_empty());
    }

    #[test]
    fn a_phase_is_judged_by_the_healthy_one() {
        let mut healthy = phase(1_000.0, 10.0, (100, 200));
        healthy.judge(None);
        assert_eq!(holds(&healthy), [true], "only that nothing queued");
        let mut good = phase(960.0, 14.0, (100, 109));
        good.judge(Some(&healthy));
        assert_eq!(holds(&good), [true, true, true]);
        let mut bad = phase(940.0, 16.0, (100, 120));
        bad.judge(Some(&healthy));
        assert_eq!(holds(&bad), [false, false, false]);
    }
}
