//! The truth table, row by row, and switching reachability on and off with live connections, in every order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;

use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::change::Change;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::news::News;
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::lifetime::Lifetime;
use reachability_domain::push::registration::{Registration, Registrations};
use reachability_domain::sid::{BindingSid, Sid};
use reachability_domain::time::Timestamp;
use reachability_infra::memory::MemoryStore;
use reachability_tests::generate::{START, service, users};
use reachability_tests::harness::{Harness, SETTINGS, rules};
use reachability_tests::model::Model;

const SECOND: i64 = 1_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * SECOND)
}

fn event(connection: &str, seconds: i64, kind: EventKind) -> Event {
    Event { user: users().remove(0), connection: connection.parse().unwrap(), occurred_at: at(seconds), kind }
}

fn connect(connection: &str, seconds: i64) -> Event {
    event(connection, seconds, EventKind::Connect { lease: None, device: None })
}

fn renew(connection: &str, seconds: i64) -> Event {
    event(connection, seconds, EventKind::Renew { lease: None })
}

fn end(connection: &str, seconds: i64, reason: EndReason) -> Event {
    event(connection, seconds, EventKind::Disconnect { reason })
}

/// A configuration that was switched on this many times, and switched off at the end unless `enabled`.
fn configuration(generation: u32, enabled: bool) -> Configuration {
    let mut configuration = Configuration::default();
    for _ in 0..generation {
        configuration.set_reachability_enabled(false, Timestamp::default());
        configuration.set_reachability_enabled(true, Timestamp::default());
    }
    configuration.set_reachability_enabled(enabled, Timestamp::default());
    assert_eq!(configuration.generation.0, generation);
    configuration
}

/// The devices that a user registered, each with the second of the registration and whether it is dead. A device without
/// a second was unregistered again.
fn registrations(devices: &[(Option<i64>, bool)]) -> Registrations {
    let mut registrations = Registrations::default();
    for (n, (second, is_dead)) in devices.iter().enumerate() {
        let sid = BindingSid::from_bits(n as u128);
        let registered_at = at(second.unwrap_or_default());
        let registration = Registration {
            registered_at,
            lifetime: Lifetime::YEAR,
            confirmed_at: None,
            asked_at: None,
            is_dead: *is_dead,
            death_reason: None,
        };
        registrations.insert(sid, registration, Some(Generation(1)));
        if second.is_none() {
            registrations.remove(sid);
        }
    }
    registrations
}

/// The state after these events. Each is handled in its generation, at the time at which it occurs.
fn state(events: &[(u32, Event)], registrations: Registrations) -> UserState {
    let sid = Sid::from_bits(1);
    let mut state = UserState { sid: Some(sid), registrations, ..UserState::default() };
    for (generation, event) in events {
        let generation = configuration(*generation, true).generation;
        let now = event.occurred_at;
        let mut news = News::new(rules(SETTINGS));
        news.add(event, Acceptance::In(generation), now);
        state.join(&news, sid, now);
    }
    state
}

#[test]
fn every_row() {
    use EndReason::{ClientClosed, ConnectionLost, ServerClosed};
    let on = configuration(1, true);
    let off = configuration(1, false);
    let on_again = configuration(2, true);
    let one = vec![(1, connect("a", 0))];
    let two = vec![(1, connect("a", 0)), (1, connect("b", 10))];
    let with = |events: &[(u32, Event)], more: &[(u32, Event)]| [events, more].concat();
    let closed = |generation, reason| (generation, end("a", 20, reason));

    // (service, events with the generations in which they arrived, the second of the read, is_online)
    let rows = [
        // Disabled, with any history.
        (configuration(0, false), vec![], 0, None),
        (off, one.clone(), 1, None),
        (off, with(&one, &[closed(1, ClientClosed)]), 30, None),
        // Enabled, not online since it was last enabled.
        (on, vec![], 0, None),
        (on_again, one.clone(), 1, None),
        (on_again, with(&one, &[closed(2, ClientClosed)]), 30, None),
        // A disconnect that overtook its connect brings nobody online.
        (on, vec![closed(1, ClientClosed)], 30, None),
        // Enabled, at least one connection whose lease has not run out.
        (on, one.clone(), 0, Some(true)),
        (on, one.clone(), 119, Some(true)),
        (on, with(&one, &[(1, renew("a", 100))]), 219, Some(true)),
        (on, vec![(1, renew("a", 0))], 1, Some(true)),
        (on_again, with(&one, &[(2, renew("a", 100))]), 101, Some(true)),
        (on_again, with(&one, &[(2, connect("b", 100))]), 101, Some(true)),
        (on, with(&two, &[closed(1, ClientClosed)]), 30, Some(true)),
        // A lost connection counts until the grace period is over.
        (on, with(&one, &[closed(1, ConnectionLost)]), 29, Some(true)),
        (on, with(&one, &[closed(1, ServerClosed)]), 29, Some(true)),
        (on, with(&one, &[closed(1, ConnectionLost), (1, connect("b", 25))]), 31, Some(true)),
        // Enabled, online since then, no live connection now.
        (on, one.clone(), 120, Some(false)),
        (on, with(&one, &[(1, renew("a", 100))]), 220, Some(false)),
        (on, with(&one, &[closed(1, ClientClosed)]), 20, Some(false)),
        (on, with(&one, &[closed(1, ConnectionLost)]), 30, Some(false)),
        (on, with(&one, &[closed(1, ServerClosed)]), 30, Some(false)),
        (on, with(&two, &[closed(1, ClientClosed), (1, end("b", 20, ClientClosed))]), 20, Some(false)),
        // A disconnect by the client overrides the grace period, in either order.
        (on, with(&one, &[closed(1, ConnectionLost), closed(1, ClientClosed)]), 20, Some(false)),
        (on, with(&one, &[closed(1, ClientClosed), closed(1, ConnectionLost)]), 20, Some(false)),
        // The ended connection does not come back.
        (on, vec![closed(1, ClientClosed), (1, connect("a", 0)), (1, renew("a", 15))], 21, Some(false)),
    ];
    for (configuration, events, second, online) in rows {
        // The two fields do not depend on each other: every row with every history of push registrations.
        let year = 365 * 86_400;
        for (devices, notifiable) in [
            (&[][..], None),
            (&[(Some(0), false)], Some(true)),
            // A registration expires after a year, to the second.
            (&[(Some(second - year), false)], Some(false)),
            (&[(Some(second - year + 1), false)], Some(true)),
            (&[(Some(0), true)], Some(false)),
            (&[(Some(0), true), (Some(0), false)], Some(true)),
            (&[(Some(0), true), (Some(second - year), false)], Some(false)),
            // Unregistered.
            (&[(None, false)], Some(false)),
            (&[(None, false), (None, true), (Some(0), false)], Some(true)),
        ] {
            let registrations = registrations(devices);
            let expected = match configuration.reachability_enabled {
                true => Reachability { online, notifiable },
                false => Reachability::UNKNOWN,
            };
            let found =
                Appearance::of(&configuration, &state(&events, registrations.clone()), at(second), Viewer::Other)
                    .reachability;
            assert_eq!(found, expected, "{configuration:?}, {events:?}, {registrations:?}, at second {second}");
        }
    }
}

#[test]
fn a_change_is_the_visible_part_of_a_write() {
    let user = users().remove(0);
    let (on, off) = (configuration(1, true), configuration(1, false));
    let states = [
        state(&[], Registrations::default()),
        state(&[(1, connect("a", 0))], Registrations::default()),
        state(&[(1, connect("a", 0)), (1, connect("b", 1))], Registrations::default()),
        state(&[(1, connect("a", 0)), (1, end("a", 2, EndReason::ClientClosed))], registrations(&[(Some(0), false)])),
    ];
    let see = |before: usize, after: usize| {
        Change::between(&user, &on, &states[before], &states[after])
            .map(|change| (change.before.reachability, change.after.reachability))
            .map(|(before, after)| (before.online, after.online, after.notifiable))
    };
    assert_eq!(see(0, 1), Some((None, Some(true), None)));
    assert_eq!(see(1, 2), None, "a second device is no news");
    assert_eq!(see(1, 3), Some((Some(true), Some(false), Some(true))), "both in one");
    assert_eq!(Change::between(&user, &off, &states[0], &states[1]), None, "nothing is told while it is off");
    let change = Change::between(&user, &on, &states[1], &states[3]).unwrap();
    assert_eq!(change.revision, states[3].revision);
}

/// The steps, each at a different time.
#[derive(Debug, Clone, Copy)]
enum Step {
    On,
    Off,
    Connect(&'static str),
    Renew(&'static str),
    Close(&'static str),
    Lose(&'static str),
    Pass,
}

#[tokio::test]
async fn disabling_and_enabling_in_every_order() {
    use Step::{Close, Connect, Lose, Off, On, Pass, Renew};
    let steps = [On, Off, Connect("a"), Renew("a"), Close("a"), Connect("b"), Lose("b"), Pass];
    let length = 5;
    let mut sequences = 0;
    for number in 0..steps.len().pow(length) {
        let sequence = (0..length).map(|place| steps[number / steps.len().pow(place) % steps.len()]);
        // A new service is off. Events before the first switch count once it is on.
        let harness = Harness::new(Arc::new(MemoryStore::default()), SETTINGS);
        let mut model = Model::new(SETTINGS);
        harness.switch(service(1), false).await;
        let user = users().remove(0);
        let mut second = 0;
        for step in sequence.clone() {
            second += 1;
            let event = match step {
                On | Off => {
                    harness.switch(service(1), matches!(step, On)).await;
                    model.switch(service(1), matches!(step, On));
                    None
                }
                Pass => {
                    // After every grace period, and half of a lease.
                    second += 60;
                    None
                }
                Connect(connection) => Some(connect(connection, second)),
                Renew(connection) => Some(renew(connection, second)),
                Close(connection) => Some(end(connection, second, EndReason::ClientClosed)),
                Lose(connection) => Some(end(connection, second, EndReason::ConnectionLost)),
            };
            let now = at(second).as_millis();
            if let Some(event) = event {
                model.arrive(&event);
                harness.deliver(&[event], now).await;
            }
            let truth = model.truth(&user, now).online;
            assert_eq!(harness.read(&user, now).await.online, truth, "{:?}", sequence.collect::<Vec<_>>());
        }
        sequences += 1;
    }
    assert_eq!(sequences, 32_768);
}
