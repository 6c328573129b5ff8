//! Counters and measurements, and the port that records them.

use std::fmt::Debug;
use std::time::Duration;

use crate::presence::change::Change;
use crate::presence::outcome::EventOutcome;
use crate::push::binding::Death;

/// The counters. Each name is the metric's name in CloudWatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Events that changed the state.
    EventsApplied,
    /// Events that were already known: repeated deliveries.
    EventsDuplicate,
    /// Events that arrived after a later event on the same connection.
    EventsStale,
    /// Connects and renewals that arrived while the service's reachability was off.
    EventsDisabled,
    /// Messages that can never be handled.
    EventsRefused,
    /// Events that were accepted, but whose service has been deleted since.
    EventsDropped,
    /// Live connections that were dropped since their user had too many.
    ConnectionsDropped,
    /// Changes of users to online.
    ChangesOnline,
    /// Changes of users to offline.
    ChangesOffline,
    /// Changes of users to unknown.
    ChangesUnknown,
    /// Changes of users to notifiable.
    ChangesNotifiable,
    /// Changes of users to not notifiable.
    ChangesNotNotifiable,
    /// Pushes that a provider accepted.
    PushesAccepted,
    /// Pushes that a provider rejected.
    PushesRejected,
    /// Pushes that failed because the provider was down or busy.
    PushesUnavailable,
    /// Pushes that a provider rejected because of the credential. An alarm watches this metric.
    CredentialsRejected,
    /// Registrations that ended with APNs's `Unregistered`.
    DeathsUnregistered,
    /// Registrations that ended with APNs's `ExpiredToken`.
    DeathsExpiredToken,
    /// Registrations that ended with APNs's `BadDeviceToken`.
    DeathsBadDeviceToken,
    /// Registrations that ended with FCM's `UNREGISTERED`.
    DeathsUnregisteredFcm,
    /// Registrations that ended because SNS disabled their endpoint.
    DeathsEndpointDisabled,
    /// Registrations that ended because the device did not register again for a year.
    DeathsExpired,
    /// Registrations that ended for any other reason.
    DeathsOther,
    /// Dead-token responses that were ignored because the device had registered again.
    DeathsIgnored,
    /// Webhooks that their receivers took.
    WebhooksDelivered,
    /// Attempts to deliver a webhook that failed and will be repeated.
    WebhooksRetried,
    /// Webhooks that became dead letters.
    WebhooksDead,
    /// Webhooks that were dropped since too many of their service waited.
    WebhooksDropped,
    /// Requests to AWS that were retried.
    WriteRetries,
    /// Messages that failed for a passing cause, and wait to be handled again. An alarm watches this metric.
    MessagesRetried,
    /// Scans of all registrations, one a day. An alarm watches this metric.
    Sweeps,
    /// Sockets that were opened.
    SocketsOpened,
    /// Sockets that were closed.
    SocketsClosed,
    /// Messages that clients sent on their sockets.
    FramesReceived,
    /// Messages that clients were sent on their sockets.
    FramesSent,
    /// Watches that sockets began.
    WatchesBegun,
    /// Watches that sockets ended.
    WatchesEnded,
}

impl Counter {
    /// All counters.
    pub const ALL: [Self; 37] = [
        Self::EventsApplied,
        Self::EventsDuplicate,
        Self::EventsStale,
        Self::EventsDisabled,
        Self::EventsRefused,
        Self::EventsDropped,
        Self::ConnectionsDropped,
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
        Self::WebhooksDelivered,
        Self::WebhooksRetried,
        Self::WebhooksDead,
        Self::WebhooksDropped,
        Self::WriteRetries,
        Self::MessagesRetried,
        Self::Sweeps,
        Self::SocketsOpened,
        Self::SocketsClosed,
        Self::FramesReceived,
        Self::FramesSent,
        Self::WatchesBegun,
        Self::WatchesEnded,
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

/// Records counters and measurements.
pub trait Metrics: Debug + Send + Sync {
    /// Increments a counter.
    fn add(&self, counter: Counter) {
        self.add_many(counter, 1);
    }

    /// Increases a counter.
    fn add_many(&self, counter: Counter, count: u64);

    /// Records the age of an event at the time it was applied.
    fn event_age(&self, age: Duration);

    /// Records how long it took from the commit of a change until its watchers were told.
    fn fan_out(&self, took: Duration);
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
