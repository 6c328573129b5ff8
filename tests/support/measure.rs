//! What a process has used, and the figures made of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The processor time and the context switches of a process so far.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// Its processor time, to 10 ms.
    pub cpu: Duration,
    /// The context switches of its threads.
    pub switches: u64,
}

impl Used {
    /// What this process has used.
    pub fn by(pid: u32) -> Self {
        let process = process(pid);
        let stat = std::fs::read_to_string(process.join("stat")).unwrap();
        // The name may hold spaces; it ends with the last parenthesis.
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let switches = |status: String| {
            let lines = status.lines().filter_map(|line| line.split_once("voluntary_ctxt_switches:"));
            lines.map(|(_, count)| count.trim().parse::<u64>().unwrap()).sum::<u64>()
        };
        let threads = std::fs::read_dir(process.join("task")).unwrap();
        let statuses = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok());
        // One tick is 10 ms on every Linux.
        Self { cpu: Duration::from_millis(ticks * 10), switches: statuses.map(switches).sum() }
    }

    /// What was used since then.
    pub fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu - before.cpu, switches: self.switches.saturating_sub(before.switches) }
    }
}

/// The most memory that a process has had so far, in MiB.
pub fn peak_memory(pid: u32) -> u64 {
    memory(pid, "VmHWM:") / 1024
}

/// The resident memory of a process, in KiB.
pub fn resident_memory(pid: u32) -> u64 {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(process(pid).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn process(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// Durations, of which some quantiles are shown.
#[derive(Debug, Default)]
pub struct Durations(pub Vec<Duration>);

impl Durations {
    /// The quantile of this share, in milliseconds; not a number if there are none.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted: Vec<f64> = self.0.iter().map(|duration| duration.as_secs_f64() * 1e3).collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get((sorted.len() as f64 * share) as usize).or(sorted.last()).copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Durations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| self.quantile(share));
        write!(formatter, "{p50:.1} / {p99:.1} / {max:.1} ms")
    }
}
