//! What was measured, as a table for people and as JSON for programs.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::bench::limit::Limit;
use crate::bench::sims::Percentiles;

/// Everything one run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The bare loop of the same run.
    pub limit: Option<Limit>,
    /// Registered phones.
    pub devices: u64,
    /// Certificates of the one-to-one people.
    pub certificates: u32,
    /// Every scenario on every engine.
    pub results: Vec<Outcome>,
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
    /// That, as a multiple of the bare loop's.
    pub cpu_to_limit: f64,
    /// Rate as a part of the bare loop's.
    pub rate_to_limit: f64,
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

/// Memory and disk at a moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// Since the start, in seconds.
    pub at_s: f64,
    /// Messages posted until then.
    pub messages: u64,
    /// Memory, in bytes.
    pub memory: u64,
    /// Disk, in bytes.
    pub disk: u64,
}

const COLUMNS: [&str; 13] = [
    "ENGINE",
    "SCENARIO",
    "MESSAGES",
    "PUSHES/S",
    "×LIMIT",
    "CPU s/100k",
    "×LIMIT",
    "CORES",
    "202 p50/p99 ms",
    "VENDOR p50/p99 ms",
    "MEMORY MB",
    "DISK MB",
    "LEDGER",
];

impl Report {
    /// Whether every ledger was right.
    pub fn is_right(&self) -> bool {
        self.results.iter().all(|outcome| outcome.ledger_right)
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(COLUMNS);
        if let Some(limit) = &self.limit {
            let mut row = vec![String::new(); COLUMNS.len()];
            row[1] = "bare loop (limit)".to_owned();
            row[3] = format!("{:.0}", limit.per_s);
            row[4] = "1.00".to_owned();
            row[5] = format!("{:.2}", limit.cpu_s_per_100k);
            row[6] = "1.0".to_owned();
            table.add_row(row);
        }
        for outcome in &self.results {
            table.add_row(outcome.row());
        }
        let mut text = format!(
            "{} phones registered, {} certificates. CPU is the relay's alone.\n\n{table}",
            self.devices, self.certificates
        );
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
        let verdict = match self.is_right() {
            true => "every ledger balanced and was empty",
            false => "A LEDGER WAS WRONG",
        };
        format!("{text}\n\n{verdict}")
    }
}

impl Outcome {
    fn row(&self) -> Vec<String> {
        let pair = |of: &Percentiles| match of.count {
            0 => String::new(),
            _ => format!("{:.1} / {:.1}", of.p50_ms, of.p99_ms),
        };
        let mb = |bytes: u64| format!("{:.0}", bytes as f64 / 1e6);
        vec![
            self.engine.clone(),
            self.scenario.clone(),
            self.messages.to_string(),
            format!("{:.0}", self.per_s),
            format!("{:.2}", self.rate_to_limit),
            format!("{:.2}", self.cpu_s_per_100k),
            format!("{:.1}", self.cpu_to_limit),
            format!("{:.2}", self.cores_used),
            pair(&self.answered),
            pair(&self.at_vendor),
            mb(self.memory_max),
            mb(self.disk),
            if self.ledger_right { "right".to_owned() } else { "WRONG".to_owned() },
        ]
    }
}
