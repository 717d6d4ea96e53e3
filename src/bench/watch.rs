//! Looks at memory and disk from time to time, and shows how far a run is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::bench::procfs;
use crate::bench::relay::Relay;

/// Between two looks at memory and disk, at first.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Most samples kept of one scenario.
const SAMPLES_MAX: usize = 128;

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

/// A look from time to time at one relay.
pub struct Watch {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Sample>>,
}

impl Watch {
    /// Begins.
    pub fn start(relay: &Relay, progress: ProgressBar) -> Watch {
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

    /// Ends; answers what was seen.
    pub async fn end(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap_or_default()
    }
}

/// Most memory of some samples, in bytes.
pub fn memory_max(samples: &[Sample]) -> u64 {
    samples.iter().map(|sample| sample.memory).max().unwrap_or_default()
}

/// A progress bar on standard error; nothing when that is no terminal.
pub fn bar(name: &str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:28} {bar:40} {human_pos}/{human_len} {per_sec}");
    let bar = ProgressBar::new(length);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(name.to_owned());
    bar
}
