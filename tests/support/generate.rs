//! Random logs of events.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::sid::{ServiceSid, Sid};
use reachability_domain::time::Timestamp;

/// The start of random logs: 2026-11-20T00:00:00Z, in milliseconds.
pub const START: i64 = 1_795_132_800_000;

/// The length of random logs, in milliseconds.
pub const LENGTH: i64 = 300_000;

/// The `n`th service of a log.
pub fn service(n: u128) -> ServiceSid {
    ServiceSid::from_bits(n)
}

/// The users of random logs: few, so that their events meet. One name is in both services.
pub fn users() -> Vec<UserKey> {
    [(1, "alice"), (1, "bob"), (2, "alice")]
        .into_iter()
        .map(|(n, identity)| UserKey { service: service(n), identity: identity.parse().unwrap() })
        .collect()
}

/// An event of a user of the first service.
pub fn event_of(identity: &str, connection: &str, at: i64, kind: EventKind) -> Event {
    Event {
        user: UserKey { service: service(1), identity: identity.parse().unwrap() },
        connection: connection.parse().unwrap(),
        occurred_at: Timestamp::from_millis(at),
        kind,
    }
}

/// Any event of any of the users, on one of a few connections: also connects after disconnects, and renewals and
/// disconnects without a connect.
pub fn event() -> impl Strategy<Value = Event> {
    let lease = proptest::option::weighted(0.3, (1..200u64).prop_map(Duration::from_secs));
    let device = proptest::option::of(prop_oneof![Just("laptop".into()), Just("phone".into())]);
    let kind = prop_oneof![
        4 => (lease.clone(), device).prop_map(|(lease, device)| EventKind::Connect { lease, device }),
        2 => lease.prop_map(|lease| EventKind::Renew { lease }),
        3 => prop_oneof![
            Just(EndReason::ClientClosed),
            Just(EndReason::ConnectionLost),
            Just(EndReason::ServerClosed),
        ]
        .prop_map(|reason| EventKind::Disconnect { reason }),
    ];
    (0..users().len(), 0..4, 0..LENGTH / 1_000, kind).prop_map(|(user, connection, second, kind)| Event {
        user: users().swap_remove(user),
        connection: format!("c-{connection}").parse().unwrap(),
        occurred_at: Timestamp::from_millis(START + second * 1_000),
        kind,
    })
}

/// A log, and one way in which it is delivered: shuffled, some events several times, in batches of any size.
pub fn log_and_delivery() -> impl Strategy<Value = (Vec<Event>, Vec<Vec<Event>>)> {
    vec(event(), 1..40).prop_flat_map(|log| {
        let length = log.len();
        let again = vec(0..length, 0..=length);
        let cuts = vec(any::<bool>(), 2 * length);
        (Just(log), again, cuts).prop_flat_map(|(log, again, cuts)| {
            let mut delivered = log.clone();
            delivered.extend(again.into_iter().map(|index| log[index].clone()));
            (Just(log), Just(delivered).prop_shuffle(), Just(cuts)).prop_map(|(log, delivered, cuts)| {
                let mut batches = vec![vec![]];
                for (event, cut) in delivered.into_iter().zip(cuts.into_iter().chain(std::iter::repeat(false))) {
                    if cut {
                        batches.push(vec![]);
                    }
                    batches.last_mut().unwrap().push(event);
                }
                (log, batches)
            })
        })
    })
}
