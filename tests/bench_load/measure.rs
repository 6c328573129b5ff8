//! What was answered, and what is on disk.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The size of the files in a directory whose names end so, in MiB.
pub(crate) fn disk(directory: &Path, ending: &str) -> u64 {
    let files = std::fs::read_dir(directory).unwrap().filter_map(Result::ok);
    let files = files.filter(|file| file.file_name().to_string_lossy().ends_with(ending));
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum::<u64>() >> 20
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
