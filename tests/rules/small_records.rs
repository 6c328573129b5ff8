//! What a bounded record promises: order does not matter as long as no opening is overtaken by too many ended
//! connections, and whatever comes in whatever order, nobody is online who has gone.
#![allow(clippy::unwrap_used, reason = "it is a test")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::user::User;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::connections::Limits;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::news::News;
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::writes::JoinWrites;
use reachability_domain::sid::Sid;
use reachability_domain::time::Timestamp;
use reachability_tests::generate::{START, event_of, service, users};
use reachability_tests::harness::{SETTINGS, rules};
use reachability_tests::model::Model;

/// When everything has occurred, and is handled.
const END: i64 = START + 200_000;

fn on() -> Configuration {
    let mut configuration = Configuration::default();
    configuration.set_reachability_enabled(true, Timestamp::from_millis(START));
    configuration
}

/// A connection: its second of opening, those of renewals after it, and how it ended, if it did.
type Connection = (i64, Vec<i64>, Option<(i64, EndReason)>);

fn connection() -> impl Strategy<Value = Connection> {
    let reason = prop_oneof![Just(EndReason::ClientClosed), Just(EndReason::ConnectionLost)];
    let end = proptest::option::weighted(0.9, (0..100i64, reason));
    (0..100i64, vec(0..100i64, 0..3), end)
}

fn events(connections: &[Connection]) -> Vec<Event> {
    let mut events = vec![];
    for (n, (opened, renewals, end)) in connections.iter().enumerate() {
        let mut event =
            |second: i64, kind| events.push(event_of("alice", &format!("c-{n}"), START + second * 1_000, kind));
        event(*opened, EventKind::Connect { lease: None, device: Some(format!("device {n}").into()) });
        let ended = end.map_or(i64::MAX, |(after, _)| opened + after);
        for renewal in renewals.iter().map(|after| opened + after).filter(|renewal| *renewal <= ended) {
            event(renewal, EventKind::Renew { lease: None });
        }
        if let Some((_, reason)) = end {
            event(ended, EventKind::Disconnect { reason: *reason });
        }
    }
    events
}

/// Mostly in the order in which they occurred, as deliveries are, or in no order at all.
fn delivery() -> impl Strategy<Value = Vec<Event>> {
    let late = prop_oneof![Just(1i64), Just(20_000), Just(1_000_000)];
    (vec(connection(), 1..60), late).prop_flat_map(|(connections, late)| {
        let log = events(&connections);
        let length = log.len();
        let again = vec(0..length, 0..10);
        (Just(log), again).prop_flat_map(move |(mut log, again)| {
            log.extend(again.into_iter().map(|index| log[index].clone()).collect::<Vec<_>>());
            let delays = vec(0..late, log.len());
            (Just(log), delays).prop_map(|(log, delays)| {
                let arrival = |(event, delay): &(Event, i64)| event.occurred_at.as_millis() + delay;
                let mut arrivals: Vec<(Event, i64)> = log.into_iter().zip(delays).collect();
                arrivals.sort_by_key(arrival);
                arrivals.into_iter().map(|(event, _)| event).collect()
            })
        })
    })
}

/// Joins events in batches of this size.
fn joined(state: UserState, events: &[Event], batch: usize, now: i64) -> UserState {
    let now = Timestamp::from_millis(now);
    let user = User::new(Sid::from_bits(1), users().remove(0), None, now);
    events.chunks(batch).fold(state, |state, batch| {
        let mut news = News::new(rules(SETTINGS));
        for event in batch {
            news.add(event, Acceptance::now(&on()), now);
        }
        JoinWrites::of(&state, &news, &[], &user, now).after(&state).clone()
    })
}

fn is_online(state: &UserState, now: i64) -> Option<bool> {
    Appearance::of(&on(), state, Timestamp::from_millis(now), Viewer::Other).reachability.online
}

/// Whether some opening comes after the ends of more connections than are remembered, all later than it.
fn is_overtaken(events: &[Event]) -> bool {
    let mut ends: BTreeMap<&str, Timestamp> = BTreeMap::new();
    events.iter().any(|event| {
        let id = event.connection.as_str();
        if event.renews_lease() {
            let later = ends.iter().filter(|(other, end)| **other != id && event.occurred_at <= **end);
            return later.count() > Limits::DEFAULT.ended;
        }
        let end = ends.entry(id).or_insert(event.occurred_at);
        *end = event.occurred_at.max(*end);
        false
    })
}

#[test]
fn order_matters_only_to_what_was_overtaken() {
    let (in_order, overtaken) = (Cell::new(0), Cell::new(0));
    let config = Config { cases: 3_000, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&(delivery(), 1..8usize), |(events, batch)| {
        let mut model = Model::new(SETTINGS);
        model.switch(service(1), true);
        events.iter().for_each(|event| model.arrive(event));
        let state = joined(UserState::default(), &events, batch, END);
        prop_assert!(state.presence.connections.len() <= 60);
        let (openings, all) = (&state.presence.openings, model.openings(&events[0].user));
        prop_assert!(openings.iter().all(|(key, opening)| all.get(key) == Some(opening)));
        let connections: BTreeSet<&str> = events.iter().map(|event| event.connection.as_str()).collect();
        prop_assert!(connections.len() > Limits::DEFAULT.ended || *openings == all, "nothing was dropped");
        let is_overtaken = is_overtaken(&events);
        let seen = if is_overtaken { &overtaken } else { &in_order };
        seen.set(seen.get() + 1);
        for now in [0, 1_000, 5_000, 10_000, 30_000, 60_000, 120_000].map(|later| END + later) {
            let truth = model.truth(&events[0].user, now).online;
            let online = is_online(&state, now);
            if is_overtaken {
                prop_assert!(online != Some(true) || truth == Some(true), "a ghost {} ms after the end", now - END);
            } else {
                prop_assert_eq!(online, truth, "{} ms after the end", now - END);
            }
        }
        Ok::<_, TestCaseError>(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    assert!(in_order.get() > 300 && overtaken.get() > 300, "{in_order:?} {overtaken:?}");
}

/// The other side of the promise: how many it takes, and how the connection comes back.
#[test]
fn a_connect_that_was_overtaken_counts_from_its_next_renewal() {
    let ended = |n: i64| {
        let id = format!("e-{n}");
        let at = START + 10_000 + n * 1_000;
        [
            event_of("alice", &id, at, EventKind::Connect { lease: None, device: None }),
            event_of("alice", &id, at + 500, EventKind::Disconnect { reason: EndReason::ClientClosed }),
        ]
    };
    let late = event_of("alice", "late", START + 9_000, EventKind::Connect { lease: None, device: None });
    for (others, counts) in [(Limits::DEFAULT.ended as i64, true), (40, false)] {
        let now = START + 60_000;
        let events: Vec<Event> = (0..others).flat_map(ended).collect();
        let state = joined(UserState::default(), &events, 1, now);
        let state = joined(state, std::slice::from_ref(&late), 1, now);
        assert_eq!(is_online(&state, now), Some(counts), "after {others} others");
        let renewal = event_of("alice", "late", now, EventKind::Renew { lease: None });
        let state = joined(state, &[renewal], 1, now);
        assert_eq!(is_online(&state, now), Some(true));
    }
}
