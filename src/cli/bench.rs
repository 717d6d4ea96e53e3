//! `offpush bench`: measures the whole path, and what bounds it.

use clap::Args;

use crate::bench::process::Cores;
use crate::bench::run::Plan;
use crate::bench::scenario::{ALL, Scenario};
use crate::bench::traffic::People;
use crate::cli::output::{Answer, Format};
use crate::config::sections::Engine;

const SCENARIOS: &str = "\
Scenarios: batch100 single batch100_half single_half repeats long_text group500 drain restart \
soak. All but soak run when none is named.";

/// `offpush bench`.
#[derive(Args)]
#[command(after_help = SCENARIOS)]
pub struct Bench {
    /// A fifth of the messages
    #[arg(long)]
    pub quick: bool,
    /// Engines, side by side
    #[arg(long, value_delimiter = ',', default_value = "sled,redb", value_parser = engine)]
    pub store: Vec<Engine>,
    /// Only these scenarios
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = scenario)]
    pub scenario: Vec<Scenario>,
    /// Messages of each scenario, in place of its own number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,
    /// iPhones registered beforehand
    #[arg(
        long,
        default_value_t = 10_000,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(2..)
    )]
    pub devices: u64,
    /// Certificates they are spread over
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub certificates: u32,
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

fn engine(text: &str) -> Result<Engine, String> {
    [Engine::Sled, Engine::Redb, Engine::Memory]
        .into_iter()
        .find(|engine| engine.as_str() == text)
        .ok_or_else(|| "must be sled, redb or memory".to_owned())
}

fn scenario(text: &str) -> Result<Scenario, String> {
    let found = ALL.iter().find(|scenario| scenario.name == text);
    found.copied().ok_or_else(|| "there is no such scenario".to_owned())
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
        let named = !self.scenario.is_empty();
        let mut scenarios = self.scenario;
        if !named {
            scenarios = ALL.iter().copied().filter(Scenario::is_standard).collect();
        }
        for scenario in &mut scenarios {
            if self.quick {
                *scenario = scenario.quick();
            }
            scenario.messages = self.messages.unwrap_or(scenario.messages);
        }
        let against = match (self.against, self.sims) {
            (Some(url), Some(sims)) => {
                let key = key.ok_or_else(|| anyhow::anyhow!("--against needs --key"))?;
                Some((url, key, sims))
            }
            _ => None,
        };
        Ok(Plan {
            engines: self.store,
            scenarios,
            people: People { apns: self.devices, certificates: self.certificates },
            cores: if self.no_pin { Cores::FREE } else { Cores::of_this_machine() },
            set: self.set,
            against,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_scenario() {
        for scenario in &ALL {
            assert!(SCENARIOS.contains(scenario.name), "{}", scenario.name);
        }
    }
}
