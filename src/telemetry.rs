//! Logs and metrics: how they are set up, and the metrics registry.
//!
//! What can happen is in [`events`]: one function each, which writes the log line and the metric
//! together, so that the two never disagree. Logs go to standard error, one line per event, never
//! with a token, a credential or anybody's text. Metrics start with `offpush_`; a label's value
//! comes from a closed set (a vendor, a verdict, a route), never from a user or an app.

pub mod events;
pub mod zeroes;

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, fmt};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for programs.
    Json,
}

/// Whatever level is asked for, these crates stay quiet: below it they print header values, and
/// with them the right to send.
const WIRE_LOGS: [&str; 2] = ["h2=info", "hyper=info"];

/// Starts logging to standard error. The first call of a process decides; later ones do nothing.
///
/// `level` is a level or a list of `EnvFilter` directives; one that cannot be read counts as
/// `info` (settings are checked before they come here).
pub fn init_logging(format: LogFormat, level: &str) {
    let mut filter = EnvFilter::builder().parse(level).unwrap_or_else(|_| EnvFilter::new("info"));
    for quiet in WIRE_LOGS {
        filter = filter.add_directive(quiet.parse().expect("a directive"));
    }
    let colours = io::stderr().is_terminal();
    let builder = fmt().with_env_filter(filter).with_ansi(colours).with_writer(io::stderr);
    // Failing means that another call was first: its choice stays.
    let _ = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Bounds of histograms of vendor latency and other network waits, in seconds.
const NETWORK_BUCKETS_S: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];
/// Bounds of histograms of our own work, in seconds.
const LOCAL_BUCKETS_S: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// The metrics registry of this process. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// The registry, made on the first call. Any number of calls is fine.
    pub fn install() -> Metrics {
        static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
        let handle = HANDLE.get_or_init(|| {
            let recorder = builder().build_recorder();
            let handle = recorder.handle();
            // Failing means that a program around this library records already; then this
            // registry stays empty, which is no reason to stop.
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("metrics are recorded elsewhere, /metrics stays empty");
            }
            events::describe_all();
            handle
        });
        Metrics { handle: handle.clone() }
    }

    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds collected samples together. Call it every few seconds: between calls histograms grow.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// A builder that knows the buckets. Unreadable buckets would leave the exporter's default, a
/// summary; the test below sees that they are read.
fn builder() -> PrometheusBuilder {
    let buckets = [
        (events::PUSH_LATENCY_SECONDS, NETWORK_BUCKETS_S),
        (events::ACCEPT_SECONDS, LOCAL_BUCKETS_S),
        (events::STORE_COMMIT_SECONDS, LOCAL_BUCKETS_S),
        (events::STORE_CHECKPOINT_SECONDS, LOCAL_BUCKETS_S),
    ];
    let mut builder = PrometheusBuilder::new();
    for (name, bounds) in buckets {
        let matcher = Matcher::Full(name.to_owned());
        // Refused only when the list is empty, and none is.
        builder = builder.set_buckets_for_metric(matcher, bounds).unwrap_or_default();
    }
    builder
}

#[cfg(test)]
pub(in crate::telemetry) mod tests {
    use std::time::Duration;

    use super::*;

    /// What `run` recorded, rendered: a registry of its own, so that no other test counts in it.
    pub(in crate::telemetry) fn recorded(run: impl FnOnce()) -> String {
        let recorder = builder().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            events::describe_all();
            run();
        });
        recorder.handle().render()
    }

    #[test]
    fn installing_again_gives_the_same_registry() {
        let first = Metrics::install();
        let second = Metrics::install();
        init_logging(LogFormat::Text, "info");
        init_logging(LogFormat::Json, "not a [ directive");
        events::store_committed(Duration::from_millis(3));
        assert!(first.render().contains("offpush_store_commit_seconds_bucket"));
        assert!(second.render().contains("offpush_store_commit_seconds_bucket"));
    }

    #[test]
    fn every_metric_has_our_prefix_and_a_help_text() {
        let text = recorded(|| {
            events::duplicate_dropped("01J");
            events::certificate_broken(7, "apns", "InvalidProviderToken");
            events::ledger_balanced(true);
            events::request_answered("/v1/ledger", 200);
            events::queue_measured(1, 2, Duration::from_secs(3));
        });
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let name = line.split(['{', ' ']).next().expect("a name");
            assert!(name.starts_with("offpush_"), "{line}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name} in {text}");
        }
        assert!(text.contains("offpush_ledger_balanced 1"));
    }
}
