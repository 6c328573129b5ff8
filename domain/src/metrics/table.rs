//! What is counted and measured: one row for each, which names it, and says what it is called in CloudWatch and in Prometheus.
//!
//! To add a counter or a measurement, add a row here, and its name to `docs/metrics.md`.

/// A metric of Prometheus. Its series differ by their labels.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// The name.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// The names of the labels.
    pub labels: &'static [&'static str],
}

/// A series of a metric of Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// The metric.
    pub family: &'static Family,
    /// The values of the labels: as many as there are labels.
    pub values: &'static [&'static str],
}

/// Makes an enum of rows, which stand below their metric of Prometheus. The documented name is also that in CloudWatch.
macro_rules! rows {
    (
        $(#[$enum_doc:meta])*
        $kind:ident {
            $($family:literal $labels:tt $help:literal {
                $($(#[$doc:meta])* $name:ident $values:tt)*
            })*
        }
    ) => {
        $(#[$enum_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $kind {
            $($($(#[$doc])* $name,)*)*
        }

        impl $kind {
            /// How many there are.
            pub const COUNT: usize = [$($(Self::$name,)*)*].len();

            /// All that there are, in their order.
            pub const ALL: [Self; Self::COUNT] = [$($(Self::$name,)*)*];

            /// The metric's name in CloudWatch.
            pub fn cloudwatch(self) -> &'static str {
                match self {
                    $($(Self::$name => stringify!($name),)*)*
                }
            }

            /// The series in Prometheus.
            pub fn prometheus(self) -> Series {
                match self {
                    $($(Self::$name => {
                        const FAMILY: &Family = &Family { name: $family, help: $help, labels: &$labels };
                        Series { family: FAMILY, values: &$values }
                    })*)*
                }
            }
        }
    };
}

rows! {
    /// The counters.
    Counter {
        "reachability_events_total" ["outcome"] "Events that were handled, by what came of them." {
            /// Events that changed the state.
            EventsApplied ["applied"]
            /// Events that were already known: repeated deliveries.
            EventsDuplicate ["duplicate"]
            /// Events that arrived after a later event on the same connection.
            EventsStale ["stale"]
            /// Connects and renewals that arrived while the service's reachability was off.
            EventsDisabled ["disabled"]
            /// Messages that can never be handled.
            EventsRefused ["refused"]
            /// Events that were accepted, but whose service has been deleted since.
            EventsDropped ["dropped"]
        }
        "reachability_connections_dropped_total" [] "Live connections that were dropped since their user had too many." {
            /// Live connections that were dropped since their user had too many.
            ConnectionsDropped []
        }
        "reachability_changes_total" ["field", "to"] "Changes of users, by what changed and its new value." {
            /// Changes of users to online.
            ChangesOnline ["online", "true"]
            /// Changes of users to offline.
            ChangesOffline ["online", "false"]
            /// Changes of users to unknown.
            ChangesUnknown ["online", "unknown"]
            /// Changes of users to notifiable.
            ChangesNotifiable ["notifiable", "true"]
            /// Changes of users to not notifiable.
            ChangesNotNotifiable ["notifiable", "false"]
        }
        "reachability_pushes_total" ["outcome"] "Pushes, by what the provider said." {
            /// Pushes that a provider accepted.
            PushesAccepted ["accepted"]
            /// Pushes that a provider rejected.
            PushesRejected ["rejected"]
            /// Pushes that failed because the provider was down or busy.
            PushesUnavailable ["unavailable"]
        }
        "reachability_recipients_skipped_total" []
        "Users to whom a notification for those who are offline was not sent, since they were online." {
            /// Users to whom a notification for those who are offline was not sent, since they were online.
            RecipientsSkipped []
        }
        "reachability_credentials_rejected_total" [] "Pushes that a provider rejected because of the credential." {
            /// Pushes that a provider rejected because of the credential. An alarm watches this metric.
            CredentialsRejected []
        }
        "reachability_certificates_expiring_total" []
        "Certificates of push credentials that expire soon or have expired, once a day each." {
            /// Certificates of push credentials that expire within 30 days or have expired, each time that they are looked at:
            /// once a day.
            CertificatesExpiring []
        }
        "reachability_registrations_ended_total" ["reason"] "Registrations that ended by the provider's word or by age." {
            /// Registrations that ended with APNs's `Unregistered`.
            DeathsUnregistered ["unregistered"]
            /// Registrations that ended with APNs's `ExpiredToken`.
            DeathsExpiredToken ["expired_token"]
            /// Registrations that ended with APNs's `BadDeviceToken`.
            DeathsBadDeviceToken ["bad_device_token"]
            /// Registrations that ended with FCM's `UNREGISTERED`.
            DeathsUnregisteredFcm ["fcm_unregistered"]
            /// Registrations that ended because SNS disabled their endpoint.
            DeathsEndpointDisabled ["endpoint_disabled"]
            /// Registrations that ended because the device did not register again in time.
            DeathsExpired ["expired"]
            /// Registrations that ended for any other reason.
            DeathsOther ["other"]
        }
        "reachability_dead_token_answers_ignored_total" []
        "Answers that a token is dead which were ignored, since the device had registered again." {
            /// Dead-token responses that were ignored because the device had registered again.
            DeathsIgnored []
        }
        "reachability_messages_retried_total" [] "Messages that failed for a passing cause, and are handled again later." {
            /// Messages that failed for a passing cause, and wait to be handled again. An alarm watches this metric.
            MessagesRetried []
        }
        "reachability_clock_steps_total" [] "Steps of the time of day, in either direction." {
            /// Steps of the time of day, in either direction.
            ClockSteps []
        }
        "reachability_registration_scans_total" [] "Scans of all registrations, one a day." {
            /// Scans of all registrations, one a day. An alarm watches this metric.
            Sweeps []
        }
        "reachability_webhooks_total" ["outcome"] "Webhooks that left the queue, by what came of them." {
            /// Webhooks that their receivers took.
            WebhooksDelivered ["delivered"]
            /// Webhooks that became dead letters.
            WebhooksDead ["dead"]
            /// Webhooks that were dropped since too many of their service waited.
            WebhooksDropped ["dropped"]
        }
        "reachability_webhook_retries_total" [] "Attempts to deliver a webhook that failed and are repeated." {
            /// Attempts to deliver a webhook that failed and will be repeated.
            WebhooksRetried []
        }
        "reachability_aws_retries_total" [] "Requests to AWS that were retried. One process sends none." {
            /// Requests to AWS that were retried.
            WriteRetries []
        }
        "reachability_sockets_opened_total" [] "Sockets that were opened." {
            /// Sockets that were opened.
            SocketsOpened []
        }
        "reachability_sockets_closed_total" [] "Sockets that were closed." {
            /// Sockets that were closed.
            SocketsClosed []
        }
        "reachability_frames_total" ["direction"] "Messages of clients on their sockets." {
            /// Messages that clients sent on their sockets.
            FramesReceived ["received"]
            /// Messages that clients were sent on their sockets.
            FramesSent ["sent"]
        }
        "reachability_watches_begun_total" [] "Watches that sockets began." {
            /// Watches that sockets began.
            WatchesBegun []
        }
        "reachability_watches_ended_total" [] "Watches that sockets ended." {
            /// Watches that sockets ended.
            WatchesEnded []
        }
        "reachability_refusals_total" ["limit"] "Requests and sockets that were refused, by the limit." {
            /// Events that were refused since too many of their service waited.
            RefusedEventsOfService ["events_of_service"]
            /// Events that were refused since too many of all services waited.
            RefusedEvents ["events"]
            /// Requests that were refused since the bodies of others took all the memory for them.
            RefusedBodies ["bodies"]
            /// Requests that were refused since they took too long.
            RefusedSlowRequests ["request_time"]
            /// Streams of changes that were refused since too many were open.
            RefusedStreams ["streams"]
            /// Requests with wrong passwords or access tokens that were refused since their address had sent too many.
            RefusedFailures ["failed_authentications"]
            /// Sockets that were refused since the server stops.
            RefusedSocketsAtStop ["stop"]
            /// Sockets that were refused since too many were open in all.
            RefusedSockets ["sockets"]
            /// Sockets that were refused since too many were open from one address.
            RefusedSocketsOfAddress ["sockets_of_address"]
            /// Sockets that were refused since too many of one service were open.
            RefusedSocketsOfService ["sockets_of_service"]
            /// Sockets that were refused since too many of one user were open.
            RefusedSocketsOfUser ["sockets_of_user"]
            /// Sockets that were refused since their user has opened too many lately.
            RefusedOpenings ["openings"]
            /// Sockets that were refused since the clients of too many others did not say who they are.
            RefusedStrangers ["strangers"]
            /// Sockets that were refused since the clients of too many others from one address did not say who they are.
            RefusedStrangersOfAddress ["strangers_of_address"]
        }
    }
}

rows! {
    /// The measurements of time.
    Timing {
        "reachability_event_lag_seconds" [] "Time from when an event happened until others could see its effect." {
            /// The age of an event when its effect was stored. In CloudWatch in milliseconds.
            EventAge []
        }
        "reachability_fan_out_seconds" [] "Time from the commit of a change until its watchers on sockets were told." {
            /// The time from the commit of a change until its watchers were told. In CloudWatch in microseconds.
            FanOut []
        }
        "reachability_store_operation_seconds" ["operation"] "Time of an operation of the database, with its wait for a turn." {
            /// The time of a long read, with its wait for a turn. Only in one process.
            StoreRead ["read"]
            /// The time of a write until it is committed, with its wait for those before. Only in one process.
            StoreWrite ["write"]
        }
        "reachability_store_commit_seconds" ["flushed"] "Time of a commit of the database, which ends a batch of writes." {
            /// The time of a commit that is flushed to the disk. Only in one process.
            StoreFlush ["true"]
            /// The time of a commit that is not flushed. Only in one process.
            StoreCommit ["false"]
        }
    }
}

impl Timing {
    /// The upper bounds of the buckets in Prometheus, in seconds, in ascending order.
    pub fn buckets(self) -> &'static [f64] {
        match self {
            // From the next moment to an hour: events may wait that long in the queue.
            Self::EventAge => {
                &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0]
            }
            Self::FanOut => &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0],
            Self::StoreRead | Self::StoreWrite | Self::StoreFlush | Self::StoreCommit => {
                &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_row_has_a_series_of_its_own_that_is_named_by_the_conventions() {
        let all = Counter::ALL.map(Counter::prometheus).into_iter().chain(Timing::ALL.map(Timing::prometheus));
        let mut known = HashSet::new();
        for Series { family: Family { name, help, labels }, values } in all {
            assert!(known.insert((name, values)), "{name}{values:?} is there twice");
            assert_eq!(labels.len(), values.len(), "{name}");
            assert!(name.starts_with("reachability_") && help.ends_with('.'), "{name}");
            let is_word = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !text.is_empty();
            assert!([*name].iter().chain(*labels).chain(values).all(|word| is_word(word)), "{name}{values:?}");
        }
        assert!(Counter::ALL.iter().all(|counter| counter.prometheus().family.name.ends_with("_total")));
        assert!(Timing::ALL.iter().all(|timing| timing.prometheus().family.name.ends_with("_seconds")));
        assert!(Timing::ALL.iter().all(|timing| timing.buckets().is_sorted()));
    }

    #[test]
    fn the_position_of_a_row_is_its_number() {
        assert!(Counter::ALL.iter().enumerate().all(|(n, counter)| *counter as usize == n));
        assert!(Timing::ALL.iter().enumerate().all(|(n, timing)| *timing as usize == n));
        assert_eq!(Counter::EventsApplied.cloudwatch(), "EventsApplied");
    }
}
