//! What a process has used, and the figures made of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// The processor time and the context switches of a process so far.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    pub(crate) cpu: Duration,
    pub(crate) switches: u64,
}

impl Used {
    pub(crate) fn by(pid: u32) -> Self {
        let process = Path::new("/proc").join(pid.to_string());
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

    pub(crate) fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu - before.cpu, switches: self.switches.saturating_sub(before.switches) }
    }
}

/// The most memory that a process has had so far, in MiB.
pub(crate) fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// The size of the files in a directory whose names end so, in MiB.
pub(crate) fn disk(directory: &Path, ending: &str) -> u64 {
    let files = std::fs::read_dir(directory).unwrap().filter_map(Result::ok);
    let files = files.filter(|file| file.file_name().to_string_lossy().ends_with(ending));
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum::<u64>() >> 20
}

/// Durations, of which some quantiles are shown.
#[derive(Default)]
pub(crate) struct Durations(pub(crate) Vec<Duration>);

impl fmt::Display for Durations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<f64> = self.0.iter().map(|duration| duration.as_secs_f64() * 1e3).collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).or(sorted.last()).copied();
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| at(share).unwrap_or(f64::NAN));
        write!(formatter, "{p50:.1} / {p99:.1} / {max:.1} ms")
    }
}

/// How often something was answered or failed, by what it was.
#[derive(Default)]
pub(crate) struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Counts an answer or a failure. An answer that is neither expected nor a refusal is wrong.
    pub(crate) fn add(&mut self, answer: &std::io::Result<crate::http::Answer>, expected: u16) {
        let what = match answer {
            Ok(answer) if answer.status == expected || [429, 503].contains(&answer.status) => answer.status.to_string(),
            Ok(answer) => format!("WRONG {}", answer.status),
            Err(error) => format!("WRONG {:?}", error.kind()),
        };
        *self.0.entry(what).or_default() += 1;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self.0.iter().map(|(what, count)| format!("{what}: {count}")).collect();
        formatter.write_str(&counts.join(", "))
    }
}
