//! Metrics for CloudWatch: collected while a batch is handled, then written as one line in the embedded metric format,
//! which costs no request.

use std::array;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reachability_domain::metrics::{Answer, Counter, Metrics, Timing};
use reachability_domain::time::Timestamp;
use serde_json::{Map, Value, json};

/// Maximum number of values per metric and line.
const MAX_VALUES: usize = 100;

/// Collects metrics until they are written.
#[derive(Debug)]
pub struct EmfMetrics {
    counts: [AtomicU64; Counter::COUNT],
    timings: [Mutex<Vec<u64>>; Timing::COUNT],
}

impl Default for EmfMetrics {
    fn default() -> Self {
        Self { counts: array::from_fn(|_| AtomicU64::default()), timings: array::from_fn(|_| Mutex::default()) }
    }
}

impl Metrics for EmfMetrics {
    fn add_many(&self, counter: Counter, count: u64) {
        self.counts[counter as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Drops values beyond a limit.
    fn measure(&self, timing: Timing, took: Duration) {
        let mut values = lock(&self.timings[timing as usize]);
        if values.len() < MAX_VALUES {
            let value = match unit(timing) {
                Unit::Milliseconds => took.as_millis(),
                Unit::Microseconds => took.as_micros(),
            };
            values.push(u64::try_from(value).unwrap_or(u64::MAX));
        }
    }

    /// API Gateway counts and measures requests itself.
    fn answered(&self, _: &Answer<'_>) {}
}

/// CloudWatch's name of the unit is the name here.
#[derive(Debug)]
enum Unit {
    Milliseconds,
    Microseconds,
}

fn unit(timing: Timing) -> Unit {
    match timing {
        Timing::EventAge => Unit::Milliseconds,
        Timing::FanOut | Timing::StoreRead | Timing::StoreWrite | Timing::StoreFlush | Timing::StoreCommit => {
            Unit::Microseconds
        }
    }
}

fn lock(values: &Mutex<Vec<u64>>) -> MutexGuard<'_, Vec<u64>> {
    values.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EmfMetrics {
    /// The count since the last write.
    pub fn counted(&self, counter: Counter) -> u64 {
        self.counts[counter as usize].load(Ordering::Relaxed)
    }

    /// Writes the metrics collected since the last write as one line to standard output, where CloudWatch reads it.
    /// `stack` becomes the metrics' dimension.
    pub fn write(&self, stack: &str, now: Timestamp) {
        if let Some(line) = self.take_line(stack, now) {
            // Standard output may be closed.
            let _ = writeln!(io::stdout(), "{line}");
        }
    }

    /// Takes the metrics since the last call as one line; `None` if there are none.
    fn take_line(&self, stack: &str, now: Timestamp) -> Option<String> {
        let counts: [u64; Counter::COUNT] = array::from_fn(|i| self.counts[i].swap(0, Ordering::Relaxed));
        let mut values = Map::new();
        let mut definitions = Vec::new();
        for (counter, count) in Counter::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
            let name = counter.cloudwatch();
            definitions.push(json!({ "Name": name, "Unit": "Count" }));
            values.insert(name.to_owned(), count.into());
        }
        for timing in Timing::ALL {
            let measured = std::mem::take(&mut *lock(&self.timings[timing as usize]));
            if !measured.is_empty() {
                let name = timing.cloudwatch();
                definitions.push(json!({ "Name": name, "Unit": format!("{:?}", unit(timing)) }));
                values.insert(name.to_owned(), measured.into());
            }
        }
        if definitions.is_empty() {
            return None;
        }
        let directive = json!({ "Namespace": "Reachability", "Dimensions": [["Stack"]], "Metrics": definitions });
        values.insert("Stack".to_owned(), stack.into());
        values.insert("_aws".to_owned(), json!({ "Timestamp": now.as_millis(), "CloudWatchMetrics": [directive] }));
        Some(Value::Object(values).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_metrics_since_the_last_one() {
        let metrics = EmfMetrics::default();
        let now = Timestamp::from_millis(1_795_132_800_000);
        assert_eq!(metrics.take_line("test", now), None);
        metrics.add(Counter::EventsApplied);
        metrics.add(Counter::EventsApplied);
        metrics.add(Counter::WriteRetries);
        metrics.event_age(Duration::from_millis(250));
        metrics.fan_out(Duration::from_millis(1));
        let line: Value = serde_json::from_str(&metrics.take_line("test", now).unwrap()).unwrap();
        assert_eq!(
            line,
            json!({
                "EventsApplied": 2,
                "WriteRetries": 1,
                "EventAge": [250],
                "FanOut": [1000],
                "Stack": "test",
                "_aws": {
                    "Timestamp": 1_795_132_800_000_i64,
                    "CloudWatchMetrics": [{
                        "Namespace": "Reachability",
                        "Dimensions": [["Stack"]],
                        "Metrics": [
                            { "Name": "EventsApplied", "Unit": "Count" },
                            { "Name": "WriteRetries", "Unit": "Count" },
                            { "Name": "EventAge", "Unit": "Milliseconds" },
                            { "Name": "FanOut", "Unit": "Microseconds" },
                        ],
                    }],
                },
            })
        );
        assert_eq!(metrics.take_line("test", now), None);
    }
}
