//! One run: the limit first, then every scenario on every engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::bench::limit::{Limit, Order};
use crate::bench::load::{Answered, Load};
use crate::bench::process::{Cores, Part};
use crate::bench::procfs::{self, Usage};
use crate::bench::relay::{Relay, Setup, Vendors};
use crate::bench::report::{Outcome, Report, Sample};
use crate::bench::scenario::{Course, Scenario, TEXT_BYTES};
use crate::bench::seed;
use crate::bench::sims::{Percentiles, Started};
use crate::bench::traffic::{People, Shape, words};
use crate::cli::client::Client;
use crate::config::sections::Engine;

/// Messages sent before each scenario, so that connections are open and caches warm.
const WARM_UP: u64 = 2_000;

/// Most pushes of the bare loop.
const LIMIT_REQUESTS: u64 = 200_000;

/// Between two looks at memory and disk, at first.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Most samples kept of one scenario.
const SAMPLES_MAX: usize = 128;

/// Cache of the store while people are registered.
const SEED_CACHE_BYTES: u64 = 64 << 20;

/// What to measure.
pub struct Plan {
    /// Engines, side by side.
    pub engines: Vec<Engine>,
    /// Scenarios in order.
    pub scenarios: Vec<Scenario>,
    /// Who is registered.
    pub people: People,
    /// Cores.
    pub cores: Cores,
    /// Further settings of the relay, `key=value`.
    pub set: Vec<String>,
    /// A relay that runs elsewhere: its address, its key, the control API of its simulators.
    pub against: Option<(String, String, String)>,
}

/// A run in progress.
pub struct Run {
    plan: Plan,
    sims: Option<Part>,
    vendors: Vendors,
    limit: Option<Limit>,
    results: Vec<Outcome>,
    /// Sets the messages of one scenario apart from those of another.
    turn: u32,
}

impl Plan {
    /// Measures everything.
    ///
    /// # Errors
    /// When a part does not start or fails.
    pub async fn run(self) -> anyhow::Result<Report> {
        self.cores.tie_load()?;
        let mut run = Run::begin(self).await?;
        if run.plan.against.is_some() {
            run.elsewhere().await?;
        } else {
            run.limit = Some(run.measure_limit().await?);
            for engine in run.plan.engines.clone() {
                run.engine(engine).await?;
            }
        }
        Ok(Report {
            limit: run.limit,
            devices: run.plan.people.phones(),
            certificates: run.plan.people.certificates,
            results: run.results,
        })
    }
}

impl Run {
    async fn begin(plan: Plan) -> anyhow::Result<Run> {
        let mut sims = None;
        let Started { control, ca_pem } = match &plan.against {
            // A relay elsewhere trusts its simulators already.
            Some((_, _, control)) => Started { control: control.clone(), ca_pem: String::new() },
            None => {
                let args = ["bench-sims".to_owned()];
                let part = Part::start("the simulators", plan.cores.sims, &args, &[])?;
                serde_json::from_str(&sims.insert(part).line().await?)?
            }
        };
        let client = Client::new(&control, None, None, Duration::from_secs(30))?;
        let vendors = Vendors {
            endpoints: client.get("/endpoints").await?,
            credentials: client.get("/credentials").await?,
            ca_pem,
        };
        let turn = fastrand::u32(..);
        Ok(Run { plan, sims, vendors, limit: None, results: Vec::new(), turn })
    }

    async fn measure_limit(&mut self) -> anyhow::Result<Limit> {
        let most = self.plan.scenarios.iter().map(|scenario| scenario.messages).max();
        let order = Order {
            endpoint: self.vendors.endpoints["apns"]["endpoint"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            ca_pem: self.vendors.ca_pem.clone(),
            credential: self.vendors.credentials["apns"][0]["credential"].clone(),
            requests: most.unwrap_or_default().clamp(20_000, LIMIT_REQUESTS),
            text_bytes: TEXT_BYTES,
        };
        let progress = bar("bare loop", order.requests);
        let args = ["bench-limit".to_owned()];
        let mut part = Part::start("the bare loop", self.plan.cores.relay, &args, &[])?;
        let answer = part.ask(&serde_json::to_string(&order)?).await?;
        progress.finish_and_clear();
        serde_json::from_str(&answer).context("read the bare loop's answer")
    }

    async fn engine(&mut self, engine: Engine) -> anyhow::Result<()> {
        let setup = Setup {
            engine,
            folder: tempfile::Builder::new().prefix("offpush-bench-").tempdir()?,
            key: format!("{:032x}", fastrand::u128(..)),
            core: self.plan.cores.relay,
            set: self.plan.set.clone(),
        };
        let people = self.plan.people;
        let progress = bar(&format!("{}: register phones", engine.as_str()), people.phones());
        let folder = setup.store_folder();
        std::fs::create_dir_all(&folder)?;
        let seeded =
            seed::through_store(engine, &folder, SEED_CACHE_BYTES, people, &progress).await?;
        let mut relay = setup.start(&self.vendors).await?;
        relay.prepare(&self.vendors, people).await?;
        if !seeded {
            seed::through_api(&relay.client, people, &progress).await?;
        }
        progress.finish_and_clear();
        for scenario in self.plan.scenarios.clone() {
            if scenario.course == Course::Restart && engine == Engine::Memory {
                continue;
            }
            relay = self.scenario(scenario, engine.as_str(), relay, Some(&setup)).await?;
        }
        relay.stop().await
    }

    async fn elsewhere(&mut self) -> anyhow::Result<()> {
        let Some((url, key, _)) = self.plan.against.clone() else { return Ok(()) };
        let people = self.plan.people;
        let mut relay = Relay::at(&url, &key)?;
        relay.prepare(&self.vendors, people).await?;
        let progress = bar("register phones", people.phones());
        seed::through_api(&relay.client, people, &progress).await?;
        progress.finish_and_clear();
        for scenario in self.plan.scenarios.clone() {
            if scenario.course != Course::Restart {
                relay = self.scenario(scenario, "elsewhere", relay, None).await?;
            }
        }
        Ok(())
    }

    /// Runs one scenario; gives back the relay, which may be another process by then.
    async fn scenario(
        &mut self,
        scenario: Scenario,
        engine: &str,
        mut relay: Relay,
        setup: Option<&Setup>,
    ) -> anyhow::Result<Relay> {
        let people = self.plan.people;
        let progress = bar(&format!("{engine}: {}", scenario.name), scenario.messages);
        let warm_up = (WARM_UP / scenario.receivers).max(20);
        let load = self.load(&scenario, &relay, warm_up, None);
        load.run(ProgressBar::hidden()).await?;
        let (ledger_before, _) = relay.settled(0).await?;
        let queues_first = matches!(scenario.course, Course::Drain | Course::Restart);
        let rate = self.rate(&scenario, engine)?;
        let load = self.load(&scenario, &relay, scenario.messages, rate);
        let mut answered = None;
        if queues_first {
            relay.pause(people, true).await?;
            answered = Some(load.clone().run(progress.clone()).await?);
        }
        self.ages().await?;
        let mut outcome = Outcome {
            engine: engine.to_owned(),
            scenario: scenario.name.to_owned(),
            about: scenario.about.to_owned(),
            memory_before: relay.memory_bytes(),
            ..Outcome::default()
        };
        let mut before = relay.usage();
        let mut started = Instant::now();
        if let (Course::Restart, Some(setup)) = (scenario.course, setup) {
            relay.stop().await?;
            started = Instant::now();
            relay = setup.start(&self.vendors).await?;
            before = Some(Usage::default());
            let waiting = i64::try_from(scenario.messages).unwrap_or(i64::MAX);
            let (_, first) = relay.settled(waiting - 1).await?;
            outcome.first_push_ms = Some(first.duration_since(started).as_secs_f64() * 1_000.0);
        } else if scenario.course == Course::Drain {
            relay.pause(people, false).await?;
        }
        let watch = Watch::start(&relay, progress.clone());
        let answered = match answered {
            Some(answered) => answered,
            None => load.run(progress.clone()).await?,
        };
        let (ledger, ended) = relay.settled(0).await?;
        outcome.fill(&answered, queues_first, ended.duration_since(started));
        outcome.check(&ledger_before, &ledger, scenario.receivers, &answered);
        outcome.used(relay.usage().zip(before), self.limit);
        outcome.at_vendor = match queues_first {
            true => Percentiles::default(),
            false => self.ages().await?,
        };
        outcome.samples = watch.end().await;
        let most = outcome.samples.iter().map(|sample| sample.memory).max();
        outcome.memory_max = most.unwrap_or_default().max(relay.memory_bytes());
        outcome.disk = relay.disk_bytes();
        progress.finish_and_clear();
        self.results.push(outcome);
        Ok(relay)
    }

    fn load(
        &mut self,
        scenario: &Scenario,
        relay: &Relay,
        messages: u64,
        rate: Option<f64>,
    ) -> Load {
        self.turn = self.turn.wrapping_add(1);
        Load {
            host: relay.host.clone(),
            key: relay.key.clone(),
            shape: Shape {
                people: self.plan.people,
                receivers: scenario.receivers,
                text: words(scenario.text_bytes),
                run: self.turn,
            },
            messages,
            per_request: scenario.per_request,
            connections: scenario.connections,
            rate,
            repeats: scenario.repeats,
        }
    }

    /// Messages per second of an open loop.
    fn rate(&self, scenario: &Scenario, engine: &str) -> anyhow::Result<Option<f64>> {
        let Course::Share { of, share } = scenario.course else { return Ok(None) };
        let known =
            self.results.iter().find(|known| known.engine == engine && known.scenario == of);
        let known = known.with_context(|| format!("{} needs {of} before it", scenario.name))?;
        Ok(Some(known.per_s * share))
    }

    /// How old pushes were on arrival, since the last question.
    async fn ages(&mut self) -> anyhow::Result<Percentiles> {
        match &mut self.sims {
            Some(sims) => Ok(serde_json::from_str(&sims.ask("ages").await?)?),
            None => Ok(Percentiles::default()),
        }
    }
}

impl Outcome {
    fn fill(&mut self, answered: &Answered, queued_first: bool, took: Duration) {
        self.messages = answered.messages;
        self.repeated = answered.repeated;
        self.refused = answered.refused;
        self.seconds = took.as_secs_f64();
        if !queued_first {
            self.answered = Percentiles::of(&answered.latency);
        }
    }

    /// Compares the ledger with what was posted.
    fn check(&mut self, before: &Value, after: &Value, receivers: u64, answered: &Answered) {
        let count = |ledger: &Value, pointer: &str| {
            ledger.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
        };
        let grown = |pointer: &str| count(after, pointer).saturating_sub(count(before, pointer));
        let posted = answered.messages * receivers;
        let (accepted, pushed) = (grown("/accepted"), grown("/terminals/pushed"));
        let balanced = after["balanced"] == true && after["in_flight"] == 0;
        self.ledger_right = balanced && accepted == posted && pushed == posted;
        if !self.ledger_right {
            self.ledger_says = Some(format!("posted {posted}, accepted {accepted}: {after}"));
        }
        self.deliveries = pushed;
        self.per_s = pushed as f64 / self.seconds;
    }

    /// What the relay's process used for it, in all and compared with the limit.
    fn used(&mut self, usage: Option<(Usage, Usage)>, limit: Option<Limit>) {
        if let Some((after, before)) = usage {
            let used = after.since(&before);
            let deliveries = self.deliveries.max(1) as f64;
            self.cpu_s_per_100k = used.cpu_s * 100_000.0 / deliveries;
            self.cores_used = used.cpu_s / self.seconds;
            self.sleeps_per_delivery = used.sleeps as f64 / deliveries;
            self.written_per_delivery = used.written_bytes as f64 / deliveries;
            self.threads = used.threads;
        }
        if let Some(limit) = limit {
            self.cpu_to_limit = self.cpu_s_per_100k / limit.cpu_s_per_100k;
            self.rate_to_limit = self.per_s / limit.per_s;
        }
    }
}

/// Looks at memory and disk from time to time.
struct Watch {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Sample>>,
}

impl Watch {
    fn start(relay: &Relay, progress: ProgressBar) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (pid, folder) = (relay.pid(), relay.folder());
        let task = tokio::spawn(async move {
            let started = Instant::now();
            let mut samples = Vec::new();
            let mut every = SAMPLE_EVERY;
            while !stopped.load(Ordering::Relaxed) {
                samples.push(Sample {
                    at_s: started.elapsed().as_secs_f64(),
                    messages: progress.position(),
                    memory: pid.map_or(0, procfs::memory_bytes),
                    disk: folder.as_deref().map_or(0, procfs::disk_bytes),
                });
                if samples.len() == SAMPLES_MAX {
                    // Long runs keep every other sample and go on half as often.
                    samples = samples.into_iter().step_by(2).collect();
                    every *= 2;
                }
                tokio::time::sleep(every).await;
            }
            samples
        });
        Watch { stop, task }
    }

    async fn end(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap_or_default()
    }
}

/// A progress bar on standard error; nothing when that is no terminal.
fn bar(name: &str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:28} {bar:40} {human_pos}/{human_len} {per_sec}");
    let bar = ProgressBar::new(length);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(name.to_owned());
    bar
}
