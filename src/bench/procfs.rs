//! What the system says about a process, from Linux's `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

/// Clock ticks per second in `/proc/<pid>/stat`; 100 on every Linux of today.
const TICKS_PER_S: f64 = 100.0;

/// Bytes of a block in `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// What a process used so far.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Usage {
    /// CPU time of all threads, in seconds.
    pub cpu_s: f64,
    /// The same by thread name, in seconds; threads that ended are missing.
    pub threads: BTreeMap<String, f64>,
    /// Times a thread went to sleep.
    pub sleeps: u64,
    /// Bytes handed to the disk.
    pub written_bytes: u64,
}

impl Usage {
    /// Usage of a process now; zeros when it is not ours to read or not there.
    pub fn of(pid: u32) -> Usage {
        let mut usage = Usage { cpu_s: cpu_s(&format!("/proc/{pid}/stat")), ..Usage::default() };
        usage.written_bytes = field(&format!("/proc/{pid}/io"), "write_bytes:");
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let path = thread.path();
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            let cpu_s = cpu_s(&path.join("stat").to_string_lossy());
            *usage.threads.entry(name.trim().to_owned()).or_default() += cpu_s;
            let status = path.join("status");
            usage.sleeps += field(&status.to_string_lossy(), "voluntary_ctxt_switches:");
        }
        usage
    }

    /// What was used between `before` and this.
    pub fn since(&self, before: &Usage) -> Usage {
        let threads = self.threads.iter().map(|(name, cpu_s)| {
            let earlier = before.threads.get(name).copied().unwrap_or_default();
            (name.clone(), (cpu_s - earlier).max(0.0))
        });
        Usage {
            cpu_s: (self.cpu_s - before.cpu_s).max(0.0),
            threads: threads.filter(|(_, cpu_s)| *cpu_s > 0.0).collect(),
            sleeps: self.sleeps.saturating_sub(before.sleeps),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
        }
    }
}

/// Memory a process has in use, in bytes.
pub fn memory_bytes(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), "VmRSS:") * 1_024
}

/// Most memory a process had in use since it started, in bytes.
pub fn memory_peak_bytes(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), "VmHWM:") * 1_024
}

/// Bytes a folder takes on disk.
pub fn disk_bytes(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += match metadata.is_dir() {
            true => disk_bytes(&entry.path()),
            false => metadata.blocks() * BLOCK_BYTES,
        };
    }
    bytes
}

fn cpu_s(stat: &str) -> f64 {
    let text = fs::read_to_string(stat).unwrap_or_default();
    // The name is in parentheses and may hold spaces; what follows it does not.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = |index: usize| {
        let field = fields.split_whitespace().nth(index);
        field.and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default()
    };
    (ticks(11) + ticks(12)) / TICKS_PER_S
}

fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_threads_and_memory() {
        let usage = Usage::of(std::process::id());
        assert!(!usage.threads.is_empty());
        let in_use = memory_bytes(std::process::id());
        assert!(in_use > 1_000_000 && memory_peak_bytes(std::process::id()) >= in_use / 2);
    }

    #[test]
    fn a_process_that_is_not_there_used_nothing() {
        let usage = Usage::of(0);
        assert_eq!((usage.cpu_s, usage.sleeps, memory_bytes(0)), (0.0, 0, 0));
    }
}
