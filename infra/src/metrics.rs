//! Metrics for CloudWatch: collected while a batch is handled, then written as one line in the embedded metric format,
//! which costs no request.

use std::array;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::time::Timestamp;
use serde_json::{Map, Value, json};

/// The metric for the age of events when they are applied, in milliseconds.
const EVENT_AGE: &str = "EventAge";

/// The metric for the time that it takes to tell watchers, in microseconds.
const FAN_OUT: &str = "FanOut";

/// Maximum number of values per metric and line.
const MAX_VALUES: usize = 100;

/// Collects metrics until they are written.
#[derive(Debug)]
pub struct EmfMetrics {
    counts: [AtomicU64; Counter::ALL.len()],
    ages: Mutex<Vec<u64>>,
    fan_outs: Mutex<Vec<u64>>,
}

impl Default for EmfMetrics {
    fn default() -> Self {
        let counts = array::from_fn(|_| AtomicU64::default());
        Self { counts, ages: Mutex::default(), fan_outs: Mutex::default() }
    }
}

impl Metrics for EmfMetrics {
    fn add_many(&self, counter: Counter, count: u64) {
        self.counts[counter as usize].fetch_add(count, Ordering::Relaxed);
    }

    fn event_age(&self, age: Duration) {
        record(&self.ages, age.as_millis());
    }

    fn fan_out(&self, took: Duration) {
        record(&self.fan_outs, took.as_micros());
    }
}

/// Drops values beyond a limit.
fn record(values: &Mutex<Vec<u64>>, value: u128) {
    let mut values = values.lock().unwrap_or_else(PoisonError::into_inner);
    if values.len() < MAX_VALUES {
        values.push(u64::try_from(value).unwrap_or(u64::MAX));
    }
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
        let counts: [u64; Counter::ALL.len()] = array::from_fn(|i| self.counts[i].swap(0, Ordering::Relaxed));
        let [ages, fan_outs] = [&self.ages, &self.fan_outs]
            .map(|values| std::mem::take(&mut *values.lock().unwrap_or_else(PoisonError::into_inner)));
        let mut values = Map::new();
        let mut definitions = Vec::new();
        for (counter, count) in Counter::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
            let name = format!("{counter:?}");
            definitions.push(json!({ "Name": name, "Unit": "Count" }));
            values.insert(name, count.into());
        }
        for (name, unit, measured) in [(EVENT_AGE, "Milliseconds", ages), (FAN_OUT, "Microseconds", fan_outs)] {
            if !measured.is_empty() {
                definitions.push(json!({ "Name": name, "Unit": unit }));
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
