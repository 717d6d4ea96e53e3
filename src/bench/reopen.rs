//! Starting with a long queue: after an orderly stop, and after `kill -9`.
//!
//! The queue is filled while all lanes are paused, with group messages whose receivers all have
//! iPhones: each receiver makes a parcel of its own, and one request makes many. Pausing is not
//! kept, so a started relay sends at once.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::bench::bars::{self, Bar, FIRST_PUSH_MS_MAX};
use crate::bench::course::{grown, is_empty};
use crate::bench::limit::Limit;
use crate::bench::relay::{Relay, Setup};
use crate::bench::report::{mb, plain, right};
use crate::bench::run::Run;
use crate::bench::scenario::Scenario;
use crate::bench::sims;
use crate::bench::traffic::{Audience, People};
use crate::bench::watch::{Watch, bar, memory_max};
use crate::config::sections::Engine;

/// Receivers of one message, and so parcels of one commit.
const GROUP: u64 = 500;

/// Settings that let the queue grow so long; what the caller sets comes later and wins.
const SET: [&str; 2] = ["queue.rows_max=1000000000", "queue.bytes_max=1099511627776"];

/// How long the relay is left alone after its first push, before it is stopped once more.
const DRAIN_FOR: Duration = Duration::from_secs(3);

/// Between two looks at whether a push arrived.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Longest wait for the first push.
const FIRST_MAX: Duration = Duration::from_secs(600);

/// One start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Start {
    /// How the relay ended before.
    pub after: &'static str,
    /// Deliveries in the queue.
    pub waiting: u64,
    /// How long the end took, in milliseconds.
    pub end_ms: f64,
    /// From the start of the process until it listens and `/healthz` answers, in milliseconds.
    pub listening_ms: f64,
    /// Until `/readyz` says that it takes messages.
    pub ready_ms: f64,
    /// Until the first push reached a vendor.
    pub first_push_ms: f64,
    /// Most memory until the first push, in bytes.
    pub memory_first: u64,
    /// Most memory until it was ended again, or had sent everything.
    pub memory_max: u64,
    /// Data on disk then, in bytes.
    pub disk: u64,
    /// What is asked of it.
    pub bars: Vec<Bar>,
}

/// The study on one engine.
#[derive(Clone, Debug, Serialize)]
pub struct Reopen {
    /// Engine.
    pub engine: String,
    /// Deliveries queued.
    pub queued: u64,
    /// Deliveries accepted per second meanwhile.
    pub fill_per_s: f64,
    /// Most memory meanwhile, in bytes.
    pub fill_memory: u64,
    /// Data on disk with the queue full, in bytes.
    pub fill_disk: u64,
    /// The starts.
    pub starts: Vec<Start>,
    /// After the last start: deliveries per second until all were sent.
    pub drain_per_s: f64,
    /// That, as a part of the bare loop's rate.
    pub drain_to_limit: f64,
    /// Memory of the bare loop, in bytes.
    pub limit_memory: u64,
    /// Whether the ledger balanced, was empty, and everything queued was pushed. The deliveries
    /// that were at the vendor when the relay was killed are pushed twice and counted once.
    pub ledger_right: bool,
    /// What was wrong with it.
    pub ledger_says: Option<String>,
}

impl Run {
    /// Fills the queue, then starts twice, on one engine.
    ///
    /// # Errors
    /// When a part fails.
    pub async fn reopen(&mut self, engine: Engine) -> anyhow::Result<Reopen> {
        let plan = self.plan.people();
        // The sender, and enough others for one group.
        let people = People { apns: plan.apns.max(GROUP + 2), ..plan };
        let set = SET.map(str::to_owned).into_iter().chain(self.plan.set.clone()).collect();
        let setup = Setup::new(engine, self.plan.cores.relay, set)?;
        let relay = self.furnish(&setup, people).await?;
        let (before, _) = relay.settled(0).await?;
        let mut reopen = self.fill(&relay, people, engine).await?;

        let stopped = Instant::now();
        relay.stop().await?;
        let mut start = Start { after: "stop", end_ms: ms(stopped), ..Start::default() };
        let relay = self.start(&setup, &mut start).await?;
        tokio::time::sleep(DRAIN_FOR).await;
        start.end(&relay);
        reopen.starts.push(start);

        let killed = Instant::now();
        relay.kill().await?;
        let mut start = Start { after: "kill -9", end_ms: ms(killed), ..Start::default() };
        let relay = self.start(&setup, &mut start).await?;
        let drained = Instant::now();
        let (after, ended) = relay.settled(0).await?;
        reopen.drain_per_s = start.waiting as f64 / ended.duration_since(drained).as_secs_f64();
        start.end(&relay);
        reopen.starts.push(start);

        reopen.check(grown(&before, &after, "/accepted"), &after);
        reopen.compare(self.limit);
        relay.stop().await?;
        Ok(reopen)
    }

    async fn fill(
        &mut self,
        relay: &Relay,
        people: People,
        engine: Engine,
    ) -> anyhow::Result<Reopen> {
        let messages = self.plan.queued.div_ceil(GROUP);
        let scenario = Scenario { messages, per_request: 1, ..Scenario::USUAL };
        let load = self.load(&scenario, relay, people, Audience::Iphones(GROUP));
        let progress = bar(&format!("{}: queue", engine.as_str()), messages);
        relay.pause(people, true).await?;
        let started = Instant::now();
        let watch = Watch::start(relay, progress.clone());
        load.run(progress.clone()).await?;
        let took_s = started.elapsed().as_secs_f64();
        let samples = watch.end().await;
        progress.finish_and_clear();
        let queued = messages * GROUP;
        Ok(Reopen {
            engine: engine.as_str().to_owned(),
            queued,
            fill_per_s: queued as f64 / took_s,
            fill_memory: memory_max(&samples).max(relay.memory_bytes()),
            fill_disk: relay.disk_bytes(),
            starts: Vec::new(),
            drain_per_s: 0.0,
            drain_to_limit: 0.0,
            limit_memory: 0,
            ledger_right: false,
            ledger_says: None,
        })
    }

    /// Starts the relay and waits for its first push.
    async fn start(&mut self, setup: &Setup, start: &mut Start) -> anyhow::Result<Relay> {
        self.vendors.quiet().await?;
        let (began, began_us) = (Instant::now(), sims::now_us());
        let relay = setup.start(&self.vendors).await?;
        relay.client.get("/healthz").await?;
        start.listening_ms = ms(began);
        start.ready_ms = relay.ready().await?.duration_since(began).as_secs_f64() * 1_000.0;
        loop {
            let arrivals = self.vendors.look().await?;
            if arrivals.ages.count > 0 {
                start.first_push_ms = arrivals.first_after_ms(began_us);
                break;
            }
            anyhow::ensure!(began.elapsed() < FIRST_MAX, "nothing was pushed after the start");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        start.memory_first = relay.memory_peak_bytes();
        start.waiting = relay.ledger().await?["in_flight"].as_u64().unwrap_or_default();
        Ok(relay)
    }
}

impl Start {
    /// What is known when the relay is about to end.
    fn end(&mut self, relay: &Relay) {
        self.memory_max = relay.memory_peak_bytes();
        self.disk = relay.disk_bytes();
        self.bars = vec![Bar::most("first push ms", self.first_push_ms, FIRST_PUSH_MS_MAX)];
    }
}

impl Reopen {
    fn check(&mut self, accepted: u64, after: &serde_json::Value) {
        let terminals = after["terminals"].as_object();
        let only_pushed = terminals.is_some_and(|ends| ends.keys().all(|end| end == "pushed"));
        self.ledger_right = is_empty(after) && accepted == self.queued && only_pushed;
        if !self.ledger_right {
            self.ledger_says = Some(format!("queued {}: {after}", self.queued));
        }
    }

    fn compare(&mut self, limit: Option<Limit>) {
        let Some(limit) = limit else { return };
        self.drain_to_limit = self.drain_per_s / limit.per_s;
        self.limit_memory = limit.memory;
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = plain(&[
            "AFTER",
            "WAITING",
            "END ms",
            "LISTENS ms",
            "READY ms",
            "FIRST PUSH ms",
            "MEMORY MB until then/most",
            "DISK MB",
            "BARS",
        ]);
        for start in &self.starts {
            let times = start.memory_max as f64 / self.limit_memory.max(1) as f64;
            table.add_row(vec![
                start.after.to_owned(),
                start.waiting.to_string(),
                format!("{:.0}", start.end_ms),
                format!("{:.0}", start.listening_ms),
                format!("{:.0}", start.ready_ms),
                format!("{:.0}", start.first_push_ms),
                format!("{} / {} (×{times:.1})", mb(start.memory_first), mb(start.memory_max)),
                mb(start.disk),
                bars::cell(&start.bars),
            ]);
        }
        format!(
            "reopen on {}: {} deliveries queued at {:.0}/s, memory {} MB, disk {} MB; \
             the rest sent at {:.0}/s (×{:.2}); ledger {}{}\n\n{table}",
            self.engine,
            self.queued,
            self.fill_per_s,
            mb(self.fill_memory),
            mb(self.fill_disk),
            self.drain_per_s,
            self.drain_to_limit,
            right(self.ledger_right),
            self.ledger_says.as_deref().map(|says| format!(" ({says})")).unwrap_or_default(),
        )
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}
