//! Counters and measurements, and the port that records them.

mod backlog;
mod table;

use std::fmt::Debug;
use std::time::Duration;

use crate::presence::change::Change;
use crate::presence::outcome::EventOutcome;
use crate::push::binding::Death;

pub use self::backlog::{Backlog, DeadLetters, Queued};
pub use self::table::{Counter, Family, Series, Timing};

impl From<EventOutcome> for Counter {
    fn from(outcome: EventOutcome) -> Self {
        match outcome {
            EventOutcome::Applied => Self::EventsApplied,
            EventOutcome::Duplicate => Self::EventsDuplicate,
            EventOutcome::Stale => Self::EventsStale,
            EventOutcome::Disabled => Self::EventsDisabled,
            EventOutcome::Refused => Self::EventsRefused,
            EventOutcome::Dropped => Self::EventsDropped,
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

/// The answer to a request over HTTP.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The method: one of HTTP's, or `other`, since clients can make up as many as they like.
    pub method: &'a str,
    /// The route's template, such as `/v1/Services/{service}`, and never a path, which may contain a user's identity; `none`
    /// for a path without a route.
    pub route: &'a str,
    /// The status, as three digits.
    pub status: &'a str,
    /// The time from the request's head to the answer's.
    pub took: Duration,
}

/// Records counters and measurements.
pub trait Metrics: Debug + Send + Sync {
    /// Increments a counter.
    fn add(&self, counter: Counter) {
        self.add_many(counter, 1);
    }

    /// Increases a counter.
    fn add_many(&self, counter: Counter, count: u64);

    /// Records how long something took.
    fn measure(&self, timing: Timing, took: Duration);

    /// Records the answer to a request over HTTP.
    fn answered(&self, answer: &Answer<'_>);

    /// Records the age of an event when its effect was stored.
    fn event_age(&self, age: Duration) {
        self.measure(Timing::EventAge, age);
    }

    /// Records how long it took from the commit of a change until its watchers were told.
    fn fan_out(&self, took: Duration) {
        self.measure(Timing::FanOut, took);
    }
}

impl dyn Metrics + '_ {
    /// Increments the counter of an outcome.
    pub fn count(&self, counter: impl Into<Counter>) {
        self.add(counter.into());
    }

    /// Increments the counters of the values that differ after a change.
    pub fn count_change(&self, change: &Change) {
        let (before, after) = (change.before.reachability, change.after.reachability);
        if before.online != after.online {
            self.count(match after.online {
                Some(true) => Counter::ChangesOnline,
                Some(false) => Counter::ChangesOffline,
                None => Counter::ChangesUnknown,
            });
        }
        if before.notifiable != after.notifiable {
            match after.notifiable {
                Some(true) => self.count(Counter::ChangesNotifiable),
                Some(false) => self.count(Counter::ChangesNotNotifiable),
                None => {}
            }
        }
    }
}
