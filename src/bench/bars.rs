//! The bars: what the relay is asked to reach, and whether a measurement did.
//!
//! A bar that is missed does not fail a run: it says how far there is to go. Only a wrong ledger
//! or a message lost fails it.

use serde::Serialize;

use crate::bench::report::Outcome;

/// CPU seconds per 100,000 one-to-one messages, 100 a request.
const BATCH_CPU_S_MAX: f64 = 5.0;

/// The same, one message a request.
const SINGLE_CPU_S_MAX: f64 = 6.5;

/// CPU seconds per 100,000 deliveries of group messages: 15 µs each.
const GROUP_CPU_S_MAX: f64 = 1.5;

/// Sustained messages per second with the relay on one core.
const SUSTAINED_PER_S_MIN: f64 = 18_000.0;

/// Pushes per second out of a backlog.
const DRAIN_PER_S_MIN: f64 = 35_000.0;

/// First push after a start with a backlog, in milliseconds.
pub const FIRST_PUSH_MS_MAX: f64 = 3_000.0;

/// What is asked of one figure.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    /// The figure.
    pub what: String,
    /// Whether the bar is the most (or the least) it may be.
    pub is_most: bool,
    /// The bar.
    pub bar: f64,
    /// What was measured.
    pub measured: f64,
    /// Whether it holds.
    pub holds: bool,
}

impl Bar {
    /// The figure may be this at most.
    pub fn most(what: impl Into<String>, measured: f64, bar: f64) -> Bar {
        Bar { what: what.into(), is_most: true, bar, measured, holds: measured <= bar }
    }

    /// The figure must be this at least.
    pub fn least(what: impl Into<String>, measured: f64, bar: f64) -> Bar {
        Bar { what: what.into(), is_most: false, bar, measured, holds: measured >= bar }
    }

    fn text(&self) -> String {
        let sign = if self.is_most { '≤' } else { '≥' };
        let verdict = if self.holds { "holds" } else { "NO" };
        let (measured, bar) = (figure(self.measured), figure(self.bar));
        format!("{} {measured} {sign} {bar}: {verdict}", self.what)
    }
}

/// The bars of a cell of a table, one a line.
pub fn cell(bars: &[Bar]) -> String {
    bars.iter().map(Bar::text).collect::<Vec<_>>().join("\n")
}

/// A figure with as many digits as say something.
fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

/// The bars of a scenario.
pub fn of(outcome: &Outcome) -> Vec<Bar> {
    let cpu = |bar| Bar::most("CPU", outcome.cpu_s_per_100k, bar);
    let per_s = |bar| Bar::least("pushes/s", outcome.per_s, bar);
    // A relay elsewhere shows no CPU.
    let cpu = |bar| (outcome.cpu_s_per_100k > 0.0).then(|| cpu(bar));
    let mut bars = Vec::new();
    match outcome.scenario.as_str() {
        "batch100" | "soak" => {
            bars.extend(cpu(BATCH_CPU_S_MAX));
            bars.push(per_s(SUSTAINED_PER_S_MIN));
        }
        "single" => bars.extend(cpu(SINGLE_CPU_S_MAX)),
        "group500" => bars.extend(cpu(GROUP_CPU_S_MAX)),
        "drain" => bars.push(per_s(DRAIN_PER_S_MIN)),
        _ => {}
    }
    let first = outcome.first_push_ms;
    bars.extend(first.map(|ms| Bar::most("first push ms", ms, FIRST_PUSH_MS_MAX)));
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_whether_it_holds() {
        assert!(Bar::most("p99", 1.5, 1.5).holds && !Bar::most("p99", 1.51, 1.5).holds);
        assert!(Bar::least("rate", 0.95, 0.95).holds && !Bar::least("rate", 0.94, 0.95).holds);
        let bars = [Bar::most("CPU", 9.714, 5.0), Bar::least("pushes/s", 18_500.4, 18_000.0)];
        assert_eq!(cell(&bars), "CPU 9.71 ≤ 5: NO\npushes/s 18500 ≥ 18000: holds");
    }

    #[test]
    fn a_relay_elsewhere_is_not_judged_by_its_cpu() {
        let outcome = Outcome { scenario: "single".to_owned(), ..Outcome::default() };
        assert!(of(&outcome).is_empty());
        let outcome = Outcome { cpu_s_per_100k: 7.0, ..outcome };
        assert!(!of(&outcome)[0].holds);
    }
}
