//! One run: the limit first, then every scenario and study on every engine.

use anyhow::Context;

use crate::bench::crash::Crash;
use crate::bench::growth::Growth;
use crate::bench::isolation::Isolation;
use crate::bench::limit::{Limit, Order};
use crate::bench::load::Load;
use crate::bench::process::{Cores, Part};
use crate::bench::procfs::Usage;
use crate::bench::relay::{Relay, Setup};
use crate::bench::reopen::Reopen;
use crate::bench::report::{Outcome, Report};
use crate::bench::scenario::{Course, Scenario, Study, TEXT_BYTES};
use crate::bench::seed;
use crate::bench::traffic::{Audience, People, Shape, words};
use crate::bench::vendors::Vendors;
use crate::bench::watch::bar;
use crate::config::sections::Engine;
use crate::store::StoreMemory;

/// Most pushes of the bare loop at full speed.
const LIMIT_REQUESTS: u64 = 200_000;

/// Pushes of the bare loop by the clock, and how many a second: few, so that nothing queues and
/// their latency is that of the way itself.
const PACED: (u64, f64) = (10_000, 2_500.0);

/// Cache of the store while people are registered.
const SEED_MEMORY: StoreMemory = StoreMemory { cache_bytes: 64 << 20, recent_bytes: 32 << 20 };

/// What to measure.
pub struct Plan {
    /// Engines, side by side.
    pub engines: Vec<Engine>,
    /// Scenarios in order.
    pub scenarios: Vec<Scenario>,
    /// Studies in order.
    pub studies: Vec<Study>,
    /// Registered iPhones; the first is for scenarios, all are for the study of growth.
    pub devices: Vec<u64>,
    /// Certificates they are spread over, likewise.
    pub certificates: Vec<u32>,
    /// How often each scenario is measured; the middle counts.
    pub runs: u32,
    /// Messages of one measurement of a study.
    pub study_messages: u64,
    /// Deliveries queued before a start.
    pub queued: u64,
    /// How often the relay is killed.
    pub kills: u32,
    /// What decides when.
    pub seed: u64,
    /// Cores.
    pub cores: Cores,
    /// Further settings of the relay, `key=value`.
    pub set: Vec<String>,
    /// A relay that runs elsewhere: its address, its key, the control API of its simulators.
    pub against: Option<(String, String, String)>,
}

/// A run in progress.
pub struct Run {
    /// What to measure.
    pub plan: Plan,
    /// The simulators.
    pub vendors: Vendors,
    /// The bare loop.
    pub limit: Option<Limit>,
    /// Scenarios measured so far.
    pub results: Vec<Outcome>,
    /// Sets the messages of one load apart from those of another.
    turn: u32,
}

/// What the studies found.
#[derive(Default)]
struct Found {
    isolation: Vec<Isolation>,
    growth: Vec<Growth>,
    reopen: Vec<Reopen>,
    crash: Vec<Crash>,
}

impl Plan {
    /// Measures everything.
    ///
    /// # Errors
    /// When a part does not start or fails.
    pub async fn run(self) -> anyhow::Result<Report> {
        self.cores.tie_load()?;
        let vendors = match &self.against {
            Some((_, _, control)) => Vendors::elsewhere(control).await?,
            None => Vendors::start(self.cores.sims, false).await?,
        };
        let turn = fastrand::u32(..);
        let mut run = Run { plan: self, vendors, limit: None, results: Vec::new(), turn };
        let mut found = Found::default();
        if run.plan.against.is_some() {
            run.elsewhere().await?;
        } else {
            if run.plan.needs_limit() {
                run.limit = Some(run.measure_limit().await?);
            }
            for engine in run.plan.engines.clone() {
                run.engine(engine).await?;
                for study in run.plan.studies.clone() {
                    run.study(study, engine, &mut found).await?;
                }
            }
        }
        Ok(Report {
            limit: run.limit,
            devices: run.plan.people().phones(),
            certificates: run.plan.people().certificates,
            runs: run.plan.runs,
            results: run.results,
            isolation: found.isolation,
            growth: found.growth,
            reopen: found.reopen,
            crash: found.crash,
        })
    }

    /// The people of scenarios.
    pub fn people(&self) -> People {
        let first = |list: &[u64]| list.first().copied();
        People {
            apns: first(&self.devices).unwrap_or(2),
            certificates: self.certificates.first().copied().unwrap_or(1),
        }
    }

    /// Whether anything is told as a ratio to the bare loop.
    fn needs_limit(&self) -> bool {
        !self.scenarios.is_empty() || self.studies.iter().any(|study| *study != Study::Crash)
    }
}

impl Run {
    async fn measure_limit(&mut self) -> anyhow::Result<Limit> {
        let scenarios = self.plan.scenarios.iter().map(|scenario| scenario.messages);
        let most = scenarios.max().unwrap_or(self.plan.study_messages);
        let order = Order {
            endpoint: self.vendors.endpoints["apns"]["endpoint"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            ca_pem: self.vendors.ca_pem.clone(),
            credential: self.vendors.credentials["apns"][0]["credential"].clone(),
            requests: most.clamp(20_000, LIMIT_REQUESTS),
            paced_requests: PACED.0,
            paced_per_s: PACED.1,
            text_bytes: TEXT_BYTES,
        };
        let runs = u64::from(self.plan.runs);
        let progress = bar("bare loop", runs);
        let mut limits = Vec::new();
        for _ in 0..runs {
            self.vendors.take().await?;
            let args = ["bench-limit".to_owned()];
            let mut part = Part::start("the bare loop", self.plan.cores.relay, &args, &[])?;
            let before = Usage::of(self.vendors.pid());
            let answer = part.ask(&serde_json::to_string(&order)?).await?;
            let used = Usage::of(self.vendors.pid()).since(&before);
            let limit: Limit = serde_json::from_str(&answer).context("read the limit")?;
            let requests = (order.requests + order.paced_requests) as f64;
            limits.push(Limit {
                sims_cpu_s_per_100k: used.cpu_s * 100_000.0 / requests,
                at_vendor: self.vendors.take().await?.ages,
                ..limit
            });
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(Limit::median(&limits))
    }

    async fn engine(&mut self, engine: Engine) -> anyhow::Result<()> {
        if self.plan.scenarios.is_empty() {
            return Ok(());
        }
        let setup = Setup::new(engine, self.plan.cores.relay, self.plan.set.clone())?;
        let people = self.plan.people();
        let mut relay = self.furnish(&setup, people).await?;
        for scenario in self.plan.scenarios.clone() {
            if scenario.course == Course::Restart && engine == Engine::Memory {
                continue;
            }
            relay = self.scenario(scenario, engine.as_str(), relay, Some(&setup)).await?;
        }
        relay.stop().await
    }

    async fn study(
        &mut self,
        study: Study,
        engine: Engine,
        found: &mut Found,
    ) -> anyhow::Result<()> {
        let keeps = engine != Engine::Memory;
        match study {
            Study::Isolation => found.isolation.push(self.isolation(engine).await?),
            Study::Growth => found.growth.push(self.growth(engine).await?),
            Study::Reopen if keeps => found.reopen.push(self.reopen(engine).await?),
            Study::Crash if keeps => found.crash.push(self.crash(engine).await?),
            Study::Reopen | Study::Crash => {}
        }
        Ok(())
    }

    /// Starts a relay in a new folder, with these people registered.
    ///
    /// # Errors
    /// When it does not start, or refuses them.
    pub async fn furnish(&mut self, setup: &Setup, people: People) -> anyhow::Result<Relay> {
        let progress = bar(&format!("{}: register phones", setup.engine.as_str()), people.phones());
        let folder = setup.store_folder();
        std::fs::create_dir_all(&folder)?;
        let seeded =
            seed::through_store(setup.engine, &folder, SEED_MEMORY, people, &progress).await?;
        let relay = setup.start(&self.vendors).await?;
        relay.prepare(&self.vendors, people).await?;
        if !seeded {
            seed::through_api(&relay.client, people, &progress).await?;
        }
        progress.finish_and_clear();
        Ok(relay)
    }

    async fn elsewhere(&mut self) -> anyhow::Result<()> {
        let Some((url, key, _)) = self.plan.against.clone() else { return Ok(()) };
        let people = self.plan.people();
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

    /// A load as the scenario has it.
    pub fn load(
        &mut self,
        scenario: &Scenario,
        relay: &Relay,
        people: People,
        audience: Audience,
    ) -> Load {
        self.turn = self.turn.wrapping_add(1);
        Load {
            host: relay.host.clone(),
            key: relay.key.clone(),
            shape: Shape { people, audience, text: words(scenario.text_bytes), run: self.turn },
            messages: scenario.messages,
            per_request: scenario.per_request,
            connections: scenario.connections,
            rate: None,
            repeats: scenario.repeats,
        }
    }
}
