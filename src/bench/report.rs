//! What was measured, as a table for people and as JSON for programs.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::bench::bars::{self, Bar};
use crate::bench::crash::Crash;
use crate::bench::growth::Growth;
use crate::bench::isolation::Isolation;
use crate::bench::limit::Limit;
use crate::bench::median::median;
use crate::bench::reopen::Reopen;
use crate::bench::sims::Percentiles;
use crate::bench::watch::Sample;

/// Everything one run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The bare loop of the same run.
    pub limit: Option<Limit>,
    /// Registered phones.
    pub devices: u64,
    /// Certificates of the one-to-one people.
    pub certificates: u32,
    /// How often each was measured; figures are the middle ones.
    pub runs: u32,
    /// Every scenario on every engine.
    pub results: Vec<Outcome>,
    /// What healthy lanes notice of sick ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub isolation: Vec<Isolation>,
    /// CPU with more devices and certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub growth: Vec<Growth>,
    /// Starts with a long queue.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reopen: Vec<Reopen>,
    /// `kill -9` under load.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub crash: Vec<Crash>,
}

/// Figures as multiples of the bare loop's of the same run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ToLimit {
    /// Pushes per second.
    pub rate: f64,
    /// CPU of one push.
    pub cpu: f64,
    /// Memory.
    pub memory: f64,
    /// Latency of the 202 to that of the bare loop's answers by the clock: p50 and p99.
    pub answered: Option<(f64, f64)>,
    /// From the post to the vendor, to the bare loop's by the clock: p50 and p99.
    pub at_vendor: Option<(f64, f64)>,
}

/// The least and the most of several runs.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Spread {
    /// Deliveries per second.
    pub per_s: (f64, f64),
    /// CPU seconds per 100,000 deliveries.
    pub cpu_s_per_100k: (f64, f64),
}

/// One scenario on one engine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Engine, or `elsewhere`.
    pub engine: String,
    /// Scenario.
    pub scenario: String,
    /// What it shows.
    pub about: String,
    /// Messages posted for the first time.
    pub messages: u64,
    /// Messages posted again.
    pub repeated: u64,
    /// Deliveries that reached a vendor.
    pub deliveries: u64,
    /// From the first post (or the resumption) to the last settled delivery.
    pub seconds: f64,
    /// Deliveries per second.
    pub per_s: f64,
    /// CPU seconds of the relay per 100,000 deliveries.
    pub cpu_s_per_100k: f64,
    /// The relay's CPU time as part of the time it took: 1 is one core.
    pub cores_used: f64,
    /// The figures as multiples of the bare loop's.
    pub to_limit: ToLimit,
    /// The least and the most of several runs.
    pub spread: Spread,
    /// Messages per second of an open loop.
    pub offered_per_s: Option<f64>,
    /// What is asked of it.
    pub bars: Vec<Bar>,
    /// Latency of the 202.
    pub answered: Percentiles,
    /// From the post to the vendor having the request.
    pub at_vendor: Percentiles,
    /// First push after a start, in milliseconds.
    pub first_push_ms: Option<f64>,
    /// Memory before, in bytes.
    pub memory_before: u64,
    /// Most memory seen, in bytes.
    pub memory_max: u64,
    /// Data on disk afterwards, in bytes.
    pub disk: u64,
    /// CPU seconds by thread name.
    pub threads: BTreeMap<String, f64>,
    /// Times a thread went to sleep, per delivery.
    pub sleeps_per_delivery: f64,
    /// Bytes handed to the disk, per delivery.
    pub written_per_delivery: f64,
    /// Requests refused for want of room.
    pub refused: u64,
    /// Whether the ledger balanced, was empty, and held exactly what was posted.
    pub ledger_right: bool,
    /// What was wrong with it.
    pub ledger_says: Option<String>,
    /// Memory and disk over time.
    pub samples: Vec<Sample>,
}

const COLUMNS: [&str; 12] = [
    "ENGINE",
    "SCENARIO",
    "MESSAGES",
    "PUSHES/S",
    "CPU s/100k",
    "CORES",
    "202 p50/p99 ms",
    "VENDOR p50/p99 ms",
    "MEMORY MB",
    "DISK MB",
    "LEDGER",
    "BARS",
];

impl Report {
    /// Whether every ledger was right and nothing was lost.
    pub fn is_right(&self) -> bool {
        self.results.iter().all(|outcome| outcome.ledger_right)
            && self.isolation.iter().all(|isolation| isolation.ledger_right)
            && self.growth.iter().all(|growth| growth.ledger_right)
            && self.reopen.iter().all(|reopen| reopen.ledger_right)
            && self.crash.iter().all(|crash| crash.says.is_none())
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut parts = Vec::new();
        if self.limit.is_some() || !self.results.is_empty() {
            parts.push(self.scenarios());
        }
        parts.extend(self.isolation.iter().map(Isolation::table));
        parts.extend(self.growth.iter().map(Growth::table));
        parts.extend(self.reopen.iter().map(Reopen::table));
        parts.extend(self.crash.iter().map(Crash::table));
        let verdict = match self.is_right() {
            true => "every ledger balanced and was empty",
            false => "A LEDGER WAS WRONG",
        };
        parts.push(verdict.to_owned());
        parts.join("\n\n")
    }

    fn scenarios(&self) -> String {
        let mut table = plain(&COLUMNS);
        if let Some(limit) = &self.limit {
            table.add_row(limit_row(limit));
        }
        for outcome in &self.results {
            table.add_row(outcome.row());
        }
        let mut text = format!("The middle of {} runs. CPU is the relay's alone; ", self.runs);
        text.push_str("× is a multiple of the bare loop.");
        if !self.results.is_empty() {
            let (devices, certificates) = (self.devices, self.certificates);
            text.push_str(&format!(" {devices} phones registered, {certificates} certificates."));
        }
        text.push_str(&format!("\n\n{table}"));
        if let Some(limit) = self.limit.filter(|limit| limit.sims_cpu_s_per_100k > 0.0) {
            let per_core_s = 100_000.0 / limit.sims_cpu_s_per_100k;
            text.push_str(&format!("\nsimulators: {per_core_s:.0} APNs pushes a core-second"));
        }
        for outcome in &self.results {
            if let Some(ms) = outcome.first_push_ms {
                text.push_str(&format!(
                    "\n{} {}: first push {ms:.0} ms after the start",
                    outcome.engine, outcome.scenario
                ));
            }
            if let Some(says) = &outcome.ledger_says {
                text.push_str(&format!("\n{} {}: {says}", outcome.engine, outcome.scenario));
            }
        }
        text
    }
}

impl Outcome {
    /// The middle of several runs, figure by figure; what has no middle is of the run with the
    /// middle CPU, and a ledger is right when all were.
    pub fn median(mut runs: Vec<Outcome>) -> Outcome {
        runs.sort_by(|a, b| a.cpu_s_per_100k.total_cmp(&b.cpu_s_per_100k));
        let of = |figure: fn(&Outcome) -> f64| median(runs.iter().map(figure));
        let percentiles =
            |figure: fn(&Outcome) -> Percentiles| Percentiles::median(runs.iter().map(figure));
        let ends = |figure: fn(&Outcome) -> f64| {
            let most = runs.iter().map(figure).fold(f64::MIN, f64::max);
            (runs.iter().map(figure).fold(f64::MAX, f64::min), most)
        };
        let middle = runs.get(runs.len() / 2).cloned().unwrap_or_default();
        let firsts: Vec<f64> = runs.iter().filter_map(|run| run.first_push_ms).collect();
        Outcome {
            seconds: of(|run| run.seconds),
            per_s: of(|run| run.per_s),
            cpu_s_per_100k: of(|run| run.cpu_s_per_100k),
            cores_used: of(|run| run.cores_used),
            answered: percentiles(|run| run.answered),
            at_vendor: percentiles(|run| run.at_vendor),
            first_push_ms: (!firsts.is_empty()).then(|| median(firsts.into_iter())),
            spread: Spread {
                per_s: ends(|run| run.per_s),
                cpu_s_per_100k: ends(|run| run.cpu_s_per_100k),
            },
            memory_max: runs.iter().map(|run| run.memory_max).max().unwrap_or_default(),
            disk: runs.iter().map(|run| run.disk).max().unwrap_or_default(),
            refused: runs.iter().map(|run| run.refused).sum(),
            ledger_right: runs.iter().all(|run| run.ledger_right),
            ledger_says: runs.iter().find_map(|run| run.ledger_says.clone()),
            ..middle
        }
    }

    fn row(&self) -> Vec<String> {
        let with = |figure: String, times: f64, digits: usize| match times > 0.0 {
            true => format!("{figure} (×{times:.digits$})"),
            false => figure,
        };
        // A relay elsewhere shows nothing of its process.
        let inside = |figure: String| if self.memory_max > 0 { figure } else { String::new() };
        vec![
            self.engine.clone(),
            self.scenario.clone(),
            self.messages.to_string(),
            with(format!("{:.0}", self.per_s), self.to_limit.rate, 2),
            inside(with(format!("{:.2}", self.cpu_s_per_100k), self.to_limit.cpu, 1)),
            inside(format!("{:.2}", self.cores_used)),
            latency(&self.answered, self.to_limit.answered),
            latency(&self.at_vendor, self.to_limit.at_vendor),
            inside(with(mb(self.memory_max), self.to_limit.memory, 1)),
            inside(mb(self.disk)),
            right(self.ledger_right),
            bars::cell(&self.bars),
        ]
    }
}

fn limit_row(limit: &Limit) -> Vec<String> {
    let mut row = vec![String::new(); COLUMNS.len()];
    row[1] = "bare loop (limit)".to_owned();
    row[3] = format!("{:.0}", limit.per_s);
    row[4] = format!("{:.2}", limit.cpu_s_per_100k);
    row[6] = latency(&limit.answered, None);
    row[7] = latency(&limit.at_vendor, None);
    row[8] = mb(limit.memory);
    row
}

/// A table without lines.
pub fn plain(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns);
    table
}

/// p50 and p99, and what multiples of the bare loop's they are.
pub fn latency(of: &Percentiles, times: Option<(f64, f64)>) -> String {
    match (of.count, times) {
        (0, _) => String::new(),
        (_, None) => format!("{:.1} / {:.1}", of.p50_ms, of.p99_ms),
        (_, Some((p50, p99))) => {
            format!("{:.1} / {:.1} (×{p50:.0} / ×{p99:.0})", of.p50_ms, of.p99_ms)
        }
    }
}

/// Megabytes.
pub fn mb(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / 1e6)
}

/// Of a ledger.
pub fn right(is_right: bool) -> String {
    if is_right { "right".to_owned() } else { "WRONG".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(per_s: f64, cpu: f64, right: bool) -> Outcome {
        Outcome {
            per_s,
            cpu_s_per_100k: cpu,
            ledger_right: right,
            memory_max: per_s as u64,
            ..Outcome::default()
        }
    }

    #[test]
    fn the_middle_of_runs_is_taken_figure_by_figure() {
        let runs = vec![run(900.0, 5.0, true), run(1_000.0, 9.0, true), run(800.0, 6.0, true)];
        let middle = Outcome::median(runs);
        assert_eq!((middle.per_s, middle.cpu_s_per_100k), (900.0, 6.0));
        assert_eq!(middle.spread.cpu_s_per_100k, (5.0, 9.0));
        assert_eq!((middle.memory_max, middle.first_push_ms), (1_000, None));
        assert!(middle.ledger_right);
    }

    #[test]
    fn one_wrong_ledger_makes_the_whole_wrong() {
        assert!(!Outcome::median(vec![run(1.0, 1.0, true), run(1.0, 1.0, false)]).ledger_right);
    }
}
