//! How the CPU of a message grows with devices and with certificates.
//!
//! Every point is a relay of its own with its people registered. All of them run at the same time
//! and are measured in turns, so that what else the machine does falls on all alike. The load is an
//! open loop at the same rate for all, low enough that nothing queues: then the relays do the same
//! work for a message and differ in what they hold only.

use indicatif::ProgressBar;
use serde::Serialize;

use crate::bench::bars::{self, Bar};
use crate::bench::course::{grown, is_empty};
use crate::bench::limit::Limit;
use crate::bench::load::Load;
use crate::bench::median::median;
use crate::bench::relay::{Relay, Setup};
use crate::bench::report::{latency, mb, plain, right};
use crate::bench::run::Run;
use crate::bench::scenario::Scenario;
use crate::bench::sims::Percentiles;
use crate::bench::traffic::{Audience, People};
use crate::bench::watch::bar;
use crate::config::sections::Engine;

/// The load, as a part of the rate that the first relay reached.
const SHARE: f64 = 0.5;

/// CPU of a message, as a multiple of that with the fewest devices or certificates.
const CPU_MAX: f64 = 1.1;

/// One number of devices and certificates.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Point {
    /// Registered iPhones.
    pub devices: u64,
    /// Certificates they are spread over.
    pub certificates: u32,
    /// CPU seconds of the relay per 100,000 messages: the middle of the runs.
    pub cpu_s_per_100k: f64,
    /// The same, run by run.
    pub runs: Vec<f64>,
    /// That, as a multiple of the bare loop's.
    pub cpu_to_limit: f64,
    /// From when a message was due to the vendor having it.
    pub at_vendor: Percentiles,
    /// Most memory, in bytes.
    pub memory: u64,
    /// Data on disk, in bytes.
    pub disk: u64,
    /// What is asked of it.
    pub bars: Vec<Bar>,
}

/// The study on one engine.
#[derive(Clone, Debug, Serialize)]
pub struct Growth {
    /// Engine.
    pub engine: String,
    /// Messages per second.
    pub offered_per_s: f64,
    /// Messages of each run.
    pub messages: u64,
    /// Every point; the first is what others are compared with.
    pub points: Vec<Point>,
    /// Whether every ledger balanced, was empty and held exactly what was posted.
    pub ledger_right: bool,
}

/// A point and its relay.
struct Place {
    people: People,
    relay: Relay,
    /// Holds the relay's folder.
    _setup: Setup,
    point: Point,
    latencies: Vec<Percentiles>,
}

/// The numbers to measure: every number of devices with the fewest certificates, then more
/// certificates with the number of devices in the middle. The second of a pair is the point it is
/// compared with.
fn points(devices: &[u64], certificates: &[u32]) -> Vec<((u64, u32), usize)> {
    let (mut devices, mut certificates) = (devices.to_vec(), certificates.to_vec());
    devices.sort_unstable();
    certificates.sort_unstable();
    let fewest = certificates.first().copied().unwrap_or(1);
    let mut points: Vec<_> = devices.iter().map(|devices| ((*devices, fewest), 0)).collect();
    let middle = devices.len() / 2;
    if let Some(devices) = devices.get(middle) {
        points.extend(certificates.iter().skip(1).map(|more| ((*devices, *more), middle)));
    }
    points
}

impl Run {
    /// Measures every point on one engine.
    ///
    /// # Errors
    /// When a part fails.
    pub async fn growth(&mut self, engine: Engine) -> anyhow::Result<Growth> {
        let numbers = points(&self.plan.devices, &self.plan.certificates);
        let usual = Scenario { messages: self.plan.study_messages, ..Scenario::USUAL };
        let mut places = Vec::new();
        for ((devices, certificates), _) in &numbers {
            let people = People { apns: *devices, certificates: *certificates };
            let setup = Setup::new(engine, self.plan.cores.relay, self.plan.set.clone())?;
            let relay = self.furnish(&setup, people).await?;
            let point =
                Point { devices: *devices, certificates: *certificates, ..Point::default() };
            places.push(Place { people, relay, _setup: setup, point, latencies: Vec::new() });
        }
        let mut rate = 0.0;
        for place in places.iter().rev() {
            // The same warm-up for all; the first one's rate counts.
            rate = self.reached(&usual, &place.relay, place.people).await? * SHARE;
        }
        let progress = bar("growth", u64::from(self.plan.runs) * places.len() as u64);
        let mut ledger_right = true;
        for _ in 0..self.plan.runs {
            for place in &mut places {
                ledger_right &= self.visit(place, &usual, rate).await?;
                progress.inc(1);
            }
        }
        progress.finish_and_clear();
        let mut found = Vec::new();
        for place in places {
            found.push(place.leave(self.limit).await?);
        }
        judge(&mut found, &numbers);
        Ok(Growth {
            engine: engine.as_str().to_owned(),
            offered_per_s: rate,
            messages: usual.messages,
            points: found,
            ledger_right,
        })
    }

    /// Measures one point once; answers whether its ledger was right.
    async fn visit(
        &mut self,
        place: &mut Place,
        usual: &Scenario,
        rate: f64,
    ) -> anyhow::Result<bool> {
        let scenario = Scenario { connections: 32, ..*usual };
        let load = self.load(&scenario, &place.relay, place.people, Audience::One);
        let (ledger_before, _) = place.relay.settled(0).await?;
        self.vendors.take().await?;
        let before = place.relay.usage().unwrap_or_default();
        Load { rate: Some(rate), ..load }.run(ProgressBar::hidden()).await?;
        let (ledger, _) = place.relay.settled(0).await?;
        let used = place.relay.usage().unwrap_or_default().since(&before);
        place.point.runs.push(used.cpu_s * 100_000.0 / usual.messages as f64);
        place.latencies.push(self.vendors.take().await?.ages);
        let pushed = grown(&ledger_before, &ledger, "/terminals/pushed");
        Ok(is_empty(&ledger) && pushed == usual.messages)
    }
}

impl Place {
    /// Stops the relay; answers what was found.
    async fn leave(self, limit: Option<Limit>) -> anyhow::Result<Point> {
        let cpu_s_per_100k = median(self.point.runs.iter().copied());
        let point = Point {
            cpu_s_per_100k,
            cpu_to_limit: limit.map_or(0.0, |limit| cpu_s_per_100k / limit.cpu_s_per_100k),
            at_vendor: Percentiles::median(self.latencies.into_iter()),
            memory: self.relay.memory_peak_bytes(),
            disk: self.relay.disk_bytes(),
            ..self.point
        };
        self.relay.stop().await?;
        Ok(point)
    }
}

fn judge(found: &mut [Point], numbers: &[((u64, u32), usize)]) {
    let cpu: Vec<f64> = found.iter().map(|point| point.cpu_s_per_100k).collect();
    for (index, (point, (_, base))) in found.iter_mut().zip(numbers).enumerate() {
        if index != *base {
            point.bars.push(Bar::most("CPU ×", cpu[index] / cpu[*base], CPU_MAX));
        }
    }
}

impl Growth {
    /// For people.
    pub fn table(&self) -> String {
        let mut table = plain(&[
            "DEVICES",
            "CERTIFICATES",
            "CPU s/100k",
            "RUNS",
            "VENDOR p50/p99 ms",
            "MEMORY MB",
            "DISK MB",
            "BARS",
        ]);
        for point in &self.points {
            let runs = point.runs.iter().map(|run| format!("{run:.2}")).collect::<Vec<_>>();
            table.add_row(vec![
                point.devices.to_string(),
                point.certificates.to_string(),
                format!("{:.2} (×{:.1})", point.cpu_s_per_100k, point.cpu_to_limit),
                runs.join(" "),
                latency(&point.at_vendor, None),
                mb(point.memory),
                mb(point.disk),
                bars::cell(&point.bars),
            ]);
        }
        format!(
            "growth on {}: {} messages at {:.0}/s; ledgers {}\n\n{table}",
            self.engine,
            self.messages,
            self.offered_per_s,
            right(self.ledger_right)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_grow_at_the_middle_number_of_devices() {
        let points = points(&[100_000, 1_000, 1_000_000], &[1, 100]);
        let expected =
            [((1_000, 1), 0), ((100_000, 1), 0), ((1_000_000, 1), 0), ((100_000, 100), 1)];
        assert_eq!(points, expected);
    }

    #[test]
    fn a_point_is_compared_with_its_base() {
        let numbers = [((1, 1), 0), ((10, 1), 0), ((10, 100), 1)];
        let cpu = |cpu_s_per_100k| Point { cpu_s_per_100k, ..Point::default() };
        let mut found = vec![cpu(5.0), cpu(5.4), cpu(6.0)];
        judge(&mut found, &numbers);
        assert!(found[0].bars.is_empty());
        assert!(found[1].bars[0].holds, "8 % more");
        assert!(!found[2].bars[0].holds, "11 % more than the second");
    }
}
