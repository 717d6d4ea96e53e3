//! `offpush bench`: measures the whole path, and what bounds it.

use anyhow::{Context, ensure};
use clap::Args;

use crate::bench::process::Cores;
use crate::bench::run::Plan;
use crate::bench::scenario::{ALL, Scenario, Study};
use crate::cli::output::{Answer, Format};
use crate::config::sections::Engine;

const SCENARIOS: &str = "\
Scenarios: batch100 single batch100_half single_half repeats long_text group500 drain restart \
soak. All but soak run when nothing is named.

Studies, each only when named:
  isolation  what healthy lanes notice of a vendor that stalls and of a certificate that is refused
  growth     CPU of a message with more devices and certificates
  reopen     starting with a long queue, after a stop and after kill -9
  crash      kill -9 under load, again and again: what was accepted rings";

/// Devices of the study of growth when none are given.
const GROWTH_DEVICES: [u64; 3] = [1_000, 100_000, 1_000_000];

/// Its certificates.
const GROWTH_CERTIFICATES: [u32; 2] = [1, 100];

/// Devices of everything else.
const DEVICES: u64 = 10_000;

/// Messages of one measurement of a study.
const STUDY_MESSAGES: u64 = 150_000;

/// The same with `--quick`.
const STUDY_MESSAGES_QUICK: u64 = 30_000;

/// `offpush bench`.
#[derive(Args)]
#[command(after_help = SCENARIOS)]
pub struct Bench {
    /// Only these scenarios and studies
    #[arg(value_name = "NAMES", value_parser = choice)]
    pub names: Vec<Choice>,
    /// The same, as a list
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = choice)]
    pub scenario: Vec<Choice>,
    /// A fifth of the messages
    #[arg(long)]
    pub quick: bool,
    /// How often each is measured; the middle counts
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub runs: u32,
    /// Engines, side by side
    #[arg(long, value_delimiter = ',', default_value = "sled,redb", value_parser = engine)]
    pub store: Vec<Engine>,
    /// Messages of each scenario and study, in place of its own number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,
    /// iPhones registered beforehand; several for growth [default: 10000; growth:
    /// 1000,100000,1000000]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(2..)
    )]
    pub devices: Vec<u64>,
    /// Certificates they are spread over; several for growth [default: 1; growth: 1,100]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub certificates: Vec<u32>,
    /// reopen: deliveries queued before the start
    #[arg(
        long,
        default_value_t = 5_000_000,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub queued: u64,
    /// crash: how often the relay is killed
    #[arg(
        long,
        default_value_t = 50,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub kills: u32,
    /// crash: decides when the kills come [default: random, printed]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Any setting of the relay, such as store.cache_mb=256
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Do not tie relay, simulators and load to cores
    #[arg(long)]
    pub no_pin: bool,
    /// Load a relay that runs already, with --key its admin key
    #[arg(long, value_name = "URL", requires = "sims")]
    pub against: Option<String>,
    /// The control address of the simulators that relay sends to (`offpush sim`)
    #[arg(long, value_name = "URL", requires = "against")]
    pub sims: Option<String>,
}

/// What can be named.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// A scenario.
    Scenario(Scenario),
    /// A study.
    Study(Study),
}

fn engine(text: &str) -> Result<Engine, String> {
    [Engine::Sled, Engine::Redb, Engine::Memory]
        .into_iter()
        .find(|engine| engine.as_str() == text)
        .ok_or_else(|| "must be sled, redb or memory".to_owned())
}

fn choice(text: &str) -> Result<Choice, String> {
    let scenario = ALL.iter().find(|scenario| scenario.name == text);
    let study = Study::ALL.iter().find(|study| study.name() == text);
    let found = scenario.copied().map(Choice::Scenario).or(study.copied().map(Choice::Study));
    found.ok_or_else(|| "there is no such scenario or study".to_owned())
}

impl Bench {
    /// Measures; the answer is failed when a ledger was wrong.
    ///
    /// # Errors
    /// Why it could not measure.
    pub fn run(self, key: Option<String>, format: Format) -> anyhow::Result<Answer> {
        let plan = self.plan(key)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(plan.run())?;
        let failed = !report.is_right();
        let text = match format {
            Format::Table => report.table(),
            Format::Json => serde_json::to_string_pretty(&report)?,
        };
        Ok(Answer { text, failed })
    }

    fn plan(self, key: Option<String>) -> anyhow::Result<Plan> {
        let (scenarios, studies) = self.chosen();
        let growth = studies.contains(&Study::Growth);
        let several = self.devices.len() > 1 || self.certificates.len() > 1;
        ensure!(growth || !several, "several --devices or --certificates are for growth only");
        ensure!(
            !growth || scenarios.is_empty() && studies.len() == 1,
            "growth has devices and certificates of its own: name nothing beside it"
        );
        let against = match (self.against, self.sims) {
            (Some(url), Some(sims)) => {
                ensure!(studies.is_empty(), "studies start relays of their own: not --against one");
                Some((url, key.context("--against needs --key")?, sims))
            }
            _ => None,
        };
        let or = |given: Vec<u64>, usual: &[u64]| {
            if given.is_empty() { usual.to_vec() } else { given }
        };
        let devices = or(self.devices, if growth { &GROWTH_DEVICES } else { &[DEVICES] });
        let certificates = match (self.certificates.is_empty(), growth) {
            (false, _) => self.certificates,
            (true, true) => GROWTH_CERTIFICATES.to_vec(),
            (true, false) => vec![1],
        };
        let usual = if self.quick { STUDY_MESSAGES_QUICK } else { STUDY_MESSAGES };
        Ok(Plan {
            engines: self.store,
            scenarios,
            studies,
            devices,
            certificates,
            runs: self.runs,
            study_messages: self.messages.unwrap_or(usual),
            queued: self.queued,
            kills: self.kills,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..1 << 32)),
            cores: if self.no_pin { Cores::FREE } else { Cores::of_this_machine() },
            set: self.set,
            against,
        })
    }

    /// The scenarios and studies to run, in the suite's order, because some build on what others
    /// found.
    fn chosen(&self) -> (Vec<Scenario>, Vec<Study>) {
        let chosen: Vec<Choice> = self.names.iter().chain(&self.scenario).copied().collect();
        let is_named = |scenario: &Scenario| match chosen.as_slice() {
            [] => scenario.is_standard(),
            chosen => chosen.contains(&Choice::Scenario(*scenario)),
        };
        let mut scenarios: Vec<Scenario> = ALL.iter().copied().filter(is_named).collect();
        for scenario in &mut scenarios {
            if self.quick {
                *scenario = scenario.quick();
            }
            scenario.messages = self.messages.unwrap_or(scenario.messages);
        }
        let studies =
            Study::ALL.into_iter().filter(|study| chosen.contains(&Choice::Study(*study)));
        (scenarios, studies.collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    fn plan(args: &[&str]) -> Result<Plan, String> {
        let args = ["bench"].iter().chain(args);
        let line = Line::try_parse_from(args).map_err(|error| error.to_string())?;
        line.bench.plan(Some("key".to_owned())).map_err(|error| error.to_string())
    }

    #[test]
    fn the_help_names_everything_that_can_be_named() {
        let names = ALL.iter().map(|scenario| scenario.name);
        for name in names.chain(Study::ALL.map(Study::name)) {
            assert!(SCENARIOS.contains(name), "{name}");
        }
    }

    #[test]
    fn studies_run_only_when_named_and_then_alone() {
        let standard = plan(&[]).expect("a plan");
        assert_eq!((standard.studies.len(), standard.scenarios.len()), (0, ALL.len() - 1));
        for args in [&["crash", "--kills", "3"][..], &["--scenario", "crash", "--kills", "3"]] {
            let crash = plan(args).expect("a plan");
            assert_eq!((crash.studies, crash.kills), (vec![Study::Crash], 3));
            assert!(crash.scenarios.is_empty());
        }
    }

    #[test]
    fn several_numbers_of_devices_are_for_growth() {
        let growth = plan(&["growth", "--devices", "1000,5000"]).expect("a plan");
        assert_eq!((growth.devices, growth.certificates), (vec![1_000, 5_000], vec![1, 100]));
        assert!(plan(&["batch100", "--devices", "1000,5000"]).is_err());
        assert!(plan(&["growth", "batch100"]).is_err());
        assert!(plan(&["nonsense"]).is_err());
    }

    #[test]
    fn a_study_is_not_for_a_relay_elsewhere() {
        let elsewhere = ["--against", "http://a:1", "--sims", "http://a:2"];
        assert!(plan(&[&elsewhere[..], &["batch100"]].concat()).is_ok());
        assert!(plan(&[&elsewhere[..], &["crash"]].concat()).is_err());
    }
}
