//! What is counted and measured, and the port that takes it.

use std::fmt::Debug;
use std::time::Duration;

use crate::presence::change::Change;
use crate::presence::outcome::EventOutcome;
use crate::push::binding::Death;

/// The counters. Their names are those of the metrics in CloudWatch.
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
    /// All of them.
    pub const ALL: [Self; 23] = [
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

/// Counts and measures.
pub trait Metrics: Debug + Send + Sync {
    /// Counts one more.
    fn add(&self, counter: Counter);

    /// How old an event was when it was applied.
    fn event_age(&self, age: Duration);
}

impl dyn Metrics + '_ {
    /// Counts one more.
    pub fn count(&self, counter: impl Into<Counter>) {
        self.add(counter.into());
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
}
