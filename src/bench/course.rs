//! One scenario on one relay, as often as asked: warm up, load, wait until the ledger is empty.

use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::ProgressBar;
use serde_json::Value;

use crate::bench::bars;
use crate::bench::limit::Limit;
use crate::bench::load::{Answered, Load};
use crate::bench::procfs::Usage;
use crate::bench::relay::{Relay, Setup};
use crate::bench::report::Outcome;
use crate::bench::run::Run;
use crate::bench::scenario::{Course, Scenario};
use crate::bench::sims::{self, Percentiles};
use crate::bench::watch::{Watch, bar, memory_max};

/// Deliveries before each measurement, as a part of those measured: connections open, caches fill,
/// the allocator takes what it will need.
const WARM_UP_SHARE: f64 = 0.1;

/// Fewest and most of them.
const WARM_UP: (u64, u64) = (2_000, 20_000);

impl Run {
    /// Runs one scenario as often as the plan says, and keeps the middle; gives back the relay,
    /// which may be another process by then.
    ///
    /// # Errors
    /// When a part fails.
    pub async fn scenario(
        &mut self,
        scenario: Scenario,
        engine: &str,
        mut relay: Relay,
        setup: Option<&Setup>,
    ) -> anyhow::Result<Relay> {
        let rate = self.rate(&scenario, engine)?;
        let mut outcomes = Vec::new();
        for number in 1..=self.plan.runs {
            let name = format!("{engine}: {} {number}/{}", scenario.name, self.plan.runs);
            let progress = bar(&name, scenario.messages);
            self.warm_up(&scenario, &relay).await?;
            let mut load = self.load(&scenario, &relay, self.plan.people(), scenario.audience());
            load.rate = rate;
            let outcome;
            (relay, outcome) = match scenario.course {
                Course::Drain | Course::Restart => {
                    self.queued_first(scenario.course, load, relay, setup, &progress).await?
                }
                Course::Closed | Course::Share { .. } => {
                    let outcome = self.loaded(load, &relay, &progress).await?;
                    (relay, outcome)
                }
            };
            progress.finish_and_clear();
            outcomes.push(outcome);
        }
        let mut outcome = Outcome::median(outcomes);
        outcome.engine = engine.to_owned();
        outcome.scenario = scenario.name.to_owned();
        outcome.about = scenario.about.to_owned();
        outcome.offered_per_s = rate;
        outcome.compare(self.limit);
        outcome.bars = bars::of(&outcome);
        self.results.push(outcome);
        Ok(relay)
    }

    /// Sends a part of the scenario's messages, as fast as answers come, and waits for the end.
    ///
    /// # Errors
    /// When a part fails.
    pub async fn warm_up(&mut self, scenario: &Scenario, relay: &Relay) -> anyhow::Result<()> {
        let deliveries = (scenario.messages * scenario.receivers) as f64 * WARM_UP_SHARE;
        let deliveries = (deliveries as u64).clamp(WARM_UP.0, WARM_UP.1);
        let messages = (deliveries / scenario.receivers).max(20);
        let load = self.load(scenario, relay, self.plan.people(), scenario.audience());
        Load { messages, ..load }.run(ProgressBar::hidden()).await?;
        relay.settled(0).await?;
        Ok(())
    }

    /// Posts, and measures from the first post until nothing is in flight.
    async fn loaded(
        &mut self,
        load: Load,
        relay: &Relay,
        progress: &ProgressBar,
    ) -> anyhow::Result<Outcome> {
        let receivers = load.shape.audience.each();
        let (ledger_before, _) = relay.settled(0).await?;
        self.vendors.take().await?;
        let mut outcome = Outcome { memory_before: relay.memory_bytes(), ..Outcome::default() };
        let watch = Watch::start(relay, progress.clone());
        let before = relay.usage();
        let started = Instant::now();
        let answered = load.run(progress.clone()).await?;
        let (ledger, ended) = relay.settled(0).await?;
        outcome.fill(&answered, ended.duration_since(started));
        outcome.answered = Percentiles::of(&answered.latency);
        outcome.check(&ledger_before, &ledger, receivers, &answered);
        outcome.used(relay.usage().zip(before));
        outcome.at_vendor = self.vendors.take().await?.ages;
        outcome.samples = watch.end().await;
        outcome.memory_max = memory_max(&outcome.samples).max(relay.memory_bytes());
        outcome.disk = relay.disk_bytes();
        Ok(outcome)
    }

    /// Posts while all lanes are paused, and measures what follows when they are resumed, or when
    /// the relay is stopped and started.
    async fn queued_first(
        &mut self,
        course: Course,
        load: Load,
        mut relay: Relay,
        setup: Option<&Setup>,
        progress: &ProgressBar,
    ) -> anyhow::Result<(Relay, Outcome)> {
        let people = self.plan.people();
        let receivers = load.shape.audience.each();
        let (ledger_before, _) = relay.settled(0).await?;
        relay.pause(people, true).await?;
        let answered = load.run(progress.clone()).await?;
        self.vendors.take().await?;
        let mut outcome = Outcome { memory_before: relay.memory_bytes(), ..Outcome::default() };
        let mut before = relay.usage();
        let mut started = Instant::now();
        let mut started_us = None;
        if let (Course::Restart, Some(setup)) = (course, setup) {
            relay.stop().await?;
            (started, started_us) = (Instant::now(), Some(sims::now_us()));
            relay = setup.start(&self.vendors).await?;
            before = Some(Usage::default());
        } else {
            relay.pause(people, false).await?;
        }
        let watch = Watch::start(&relay, progress.clone());
        let (ledger, ended) = relay.settled(0).await?;
        let arrivals = self.vendors.take().await?;
        outcome.first_push_ms = started_us.map(|started_us| arrivals.first_after_ms(started_us));
        outcome.fill(&answered, ended.duration_since(started));
        outcome.check(&ledger_before, &ledger, receivers, &answered);
        outcome.used(relay.usage().zip(before));
        outcome.samples = watch.end().await;
        outcome.memory_max = memory_max(&outcome.samples).max(relay.memory_bytes());
        outcome.disk = relay.disk_bytes();
        Ok((relay, outcome))
    }

    /// Messages per second of an open loop.
    fn rate(&self, scenario: &Scenario, engine: &str) -> anyhow::Result<Option<f64>> {
        let Course::Share { of, share } = scenario.course else { return Ok(None) };
        let known =
            self.results.iter().find(|known| known.engine == engine && known.scenario == of);
        let known = known.with_context(|| format!("{} needs {of} before it", scenario.name))?;
        Ok(Some(known.per_s * share))
    }
}

impl Outcome {
    fn fill(&mut self, answered: &Answered, took: Duration) {
        self.messages = answered.messages;
        self.repeated = answered.repeated;
        self.refused = answered.refused;
        self.seconds = took.as_secs_f64();
    }

    /// Compares the ledger with what was posted.
    fn check(&mut self, before: &Value, after: &Value, receivers: u64, answered: &Answered) {
        let posted = answered.messages * receivers;
        let (accepted, pushed) =
            (grown(before, after, "/accepted"), grown(before, after, "/terminals/pushed"));
        self.ledger_right = is_empty(after) && accepted == posted && pushed == posted;
        if !self.ledger_right {
            self.ledger_says = Some(format!("posted {posted}, accepted {accepted}: {after}"));
        }
        self.deliveries = pushed;
        self.per_s = pushed as f64 / self.seconds;
    }

    /// What the relay's process used for it.
    fn used(&mut self, usage: Option<(Usage, Usage)>) {
        let Some((after, before)) = usage else { return };
        let used = after.since(&before);
        let deliveries = self.deliveries.max(1) as f64;
        self.cpu_s_per_100k = used.cpu_s * 100_000.0 / deliveries;
        self.cores_used = used.cpu_s / self.seconds;
        self.sleeps_per_delivery = used.sleeps as f64 / deliveries;
        self.written_per_delivery = used.written_bytes as f64 / deliveries;
        self.threads = used.threads;
    }

    /// Every figure as a multiple of the bare loop's.
    fn compare(&mut self, limit: Option<Limit>) {
        let Some(limit) = limit else { return };
        self.to_limit.rate = self.per_s / limit.per_s;
        self.to_limit.cpu = self.cpu_s_per_100k / limit.cpu_s_per_100k;
        self.to_limit.memory = self.memory_max as f64 / limit.memory.max(1) as f64;
        self.to_limit.answered = ratios(&self.answered, &limit.answered);
        self.to_limit.at_vendor = ratios(&self.at_vendor, &limit.at_vendor);
    }
}

/// p50 and p99 as multiples of others; `None` when nothing was measured.
fn ratios(of: &Percentiles, to: &Percentiles) -> Option<(f64, f64)> {
    let measured = of.count > 0 && to.p50_ms > 0.0;
    measured.then(|| (of.p50_ms / to.p50_ms, of.p99_ms / to.p99_ms))
}

/// By how much a count of the ledger has grown.
pub fn grown(before: &Value, after: &Value, pointer: &str) -> u64 {
    let count =
        |ledger: &Value| ledger.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    count(after).saturating_sub(count(before))
}

/// Whether a ledger balances and nothing is in flight.
pub fn is_empty(ledger: &Value) -> bool {
    ledger["balanced"] == true && ledger["in_flight"] == 0
}
