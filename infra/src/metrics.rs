//! What is counted and measured, for CloudWatch: collected while a batch is handled, and written as one line of the
//! embedded metric format, which costs no request.

use std::array;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reachability_domain::presence::change::Change;
use reachability_domain::presence::outcome::EventOutcome;
use reachability_domain::push::binding::Death;
use reachability_domain::time::Timestamp;
use serde_json::{Map, Value, json};

/// The counters. Their names are those of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Events that said something new.
    EventsApplied,
    /// Events that were delivered again.
    EventsDuplicate,
    /// Events that were overtaken by others.
    EventsStale,
    /// Connects and renewals of services whose reachability is off.
    EventsDisabled,
    /// Messages that cannot be handled.
    EventsRefused,
    /// Changes of users to online.
    ChangesOnline,
    /// Changes of users to offline.
    ChangesOffline,
    /// Changes of users of whom nothing is known any more.
    ChangesUnknown,
    /// Changes of users to notifiable.
    ChangesNotifiable,
    /// Changes of users to not notifiable.
    ChangesNotNotifiable,
    /// Pushes that a provider took.
    PushesAccepted,
    /// Pushes that a provider refused.
    PushesRejected,
    /// Pushes to a provider that is down or busy.
    PushesUnavailable,
    /// Pushes that were refused for the credential. An alarm looks at it.
    CredentialsRejected,
    /// Registrations that ended by APNs's `Unregistered`.
    DeathsUnregistered,
    /// Registrations that ended by APNs's `ExpiredToken`.
    DeathsExpiredToken,
    /// Registrations that ended by APNs's `BadDeviceToken`.
    DeathsBadDeviceToken,
    /// Registrations that ended by FCM's `UNREGISTERED`.
    DeathsUnregisteredFcm,
    /// Registrations that ended by SNS's disabling of their endpoint.
    DeathsEndpointDisabled,
    /// Registrations that ended because they were not made again for a year.
    DeathsExpired,
    /// Registrations that ended by another word of a provider.
    DeathsOther,
    /// Providers' words of death that came to nothing, since the device has registered again.
    DeathsIgnored,
    /// Requests to AWS that were sent again.
    WriteRetries,
}

impl Counter {
    const ALL: [Self; 23] = [
        Self::EventsApplied,
        Self::EventsDuplicate,
        Self::EventsStale,
        Self::EventsDisabled,
        Self::EventsRefused,
        Self::ChangesOnline,
        Self::ChangesOffline,
        Self::ChangesUnknown,
        Self::ChangesNotifiable,
        Self::ChangesNotNotifiable,
        Self::PushesAccepted,
        Self::PushesRejected,
        Self::PushesUnavailable,
        Self::CredentialsRejected,
        Self::DeathsUnregistered,
        Self::DeathsExpiredToken,
        Self::DeathsBadDeviceToken,
        Self::DeathsUnregisteredFcm,
        Self::DeathsEndpointDisabled,
        Self::DeathsExpired,
        Self::DeathsOther,
        Self::DeathsIgnored,
        Self::WriteRetries,
    ];
}

impl From<EventOutcome> for Counter {
    fn from(outcome: EventOutcome) -> Self {
        match outcome {
            EventOutcome::Applied => Self::EventsApplied,
            EventOutcome::Duplicate => Self::EventsDuplicate,
            EventOutcome::Stale => Self::EventsStale,
            EventOutcome::Disabled => Self::EventsDisabled,
            EventOutcome::Refused => Self::EventsRefused,
        }
    }
}

impl From<&Death> for Counter {
    fn from(death: &Death) -> Self {
        match death.reason.as_str() {
            "Unregistered" => Self::DeathsUnregistered,
            "ExpiredToken" => Self::DeathsExpiredToken,
            "BadDeviceToken" => Self::DeathsBadDeviceToken,
            "UNREGISTERED" => Self::DeathsUnregisteredFcm,
            "EndpointDisabled" => Self::DeathsEndpointDisabled,
            "Expired" => Self::DeathsExpired,
            _ => Self::DeathsOther,
        }
    }
}

/// The name of the metric that tells how old events are when they are applied, in milliseconds.
const EVENT_AGE: &str = "EventAge";

/// How many values of one metric a line may hold.
const MAX_VALUES: usize = 100;

/// Counts and measures, until they are taken.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: [AtomicU64; Counter::ALL.len()],
    ages: Mutex<Vec<u64>>,
}

impl Metrics {
    /// Counts one more.
    pub fn count(&self, counter: impl Into<Counter>) {
        self.counts[counter.into() as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a change: for what is different after it.
    pub fn count_change(&self, change: &Change) {
        if change.before.online != change.after.online {
            self.count(match change.after.online {
                Some(true) => Counter::ChangesOnline,
                Some(false) => Counter::ChangesOffline,
                None => Counter::ChangesUnknown,
            });
        }
        if change.before.notifiable != change.after.notifiable {
            match change.after.notifiable {
                Some(true) => self.count(Counter::ChangesNotifiable),
                Some(false) => self.count(Counter::ChangesNotNotifiable),
                None => {}
            }
        }
    }

    /// How many were counted since they were last written.
    pub fn counted(&self, counter: Counter) -> u64 {
        self.counts[counter as usize].load(Ordering::Relaxed)
    }

    /// How old an event was when it was applied. Of very many some are left out.
    pub fn age(&self, age: Duration) {
        let mut ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        if ages.len() < MAX_VALUES {
            ages.push(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        }
    }

    /// Writes what was counted since the last time to standard output, which is where CloudWatch reads it, as what
    /// happened in a deployment of this name.
    pub fn write(&self, stack: &str, now: Timestamp) {
        if let Some(line) = self.take_line(stack, now) {
            // Nobody is listening if it fails.
            let _ = writeln!(io::stdout(), "{line}");
        }
    }

    /// Takes out what was counted since the last time, as a line; `None` if there was nothing.
    fn take_line(&self, stack: &str, now: Timestamp) -> Option<String> {
        let counts: [u64; Counter::ALL.len()] = array::from_fn(|i| self.counts[i].swap(0, Ordering::Relaxed));
        let ages = std::mem::take(&mut *self.ages.lock().unwrap_or_else(PoisonError::into_inner));
        let mut values = Map::new();
        let mut definitions = Vec::new();
        for (counter, count) in Counter::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
            let name = format!("{counter:?}");
            definitions.push(json!({ "Name": name, "Unit": "Count" }));
            values.insert(name, count.into());
        }
        if !ages.is_empty() {
            definitions.push(json!({ "Name": EVENT_AGE, "Unit": "Milliseconds" }));
            values.insert(EVENT_AGE.to_owned(), ages.into());
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
    fn a_line_has_what_happened_since_the_last_one() {
        let metrics = Metrics::default();
        let now = Timestamp::from_millis(1_795_132_800_000);
        assert_eq!(metrics.take_line("test", now), None);
        metrics.count(EventOutcome::Applied);
        metrics.count(EventOutcome::Applied);
        metrics.count(Counter::WriteRetries);
        metrics.age(Duration::from_millis(250));
        let line: Value = serde_json::from_str(&metrics.take_line("test", now).unwrap()).unwrap();
        assert_eq!(
            line,
            json!({
                "EventsApplied": 2,
                "WriteRetries": 1,
                "EventAge": [250],
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
                        ],
                    }],
                },
            })
        );
        assert_eq!(metrics.take_line("test", now), None);
    }
}
