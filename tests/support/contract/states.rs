//! Presence states.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::User;
use reachability_domain::identity::{ConnectionId, ConnectionKey, UserKey};
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::change_reason::ChangeReason;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::news::News;
use reachability_domain::presence::opening::Opening;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::state::{StateSummary, UserState};
use reachability_domain::sid::{ServiceSid, Sid};
use reachability_domain::time::Timestamp;

use crate::harness::{SETTINGS, rules};

use super::{NOW, by_identity, connect, disconnect, event, later, news, online, service, state, user};

/// Of an unknown user in a known service, and of a user in an unknown service.
pub async fn unknown_users_have_an_empty_state(store: Arc<impl Services + States>) {
    let service = service(&*store, 1).await;
    assert_eq!(state(&*store, &user(service.sid, 1, "alice")).await, UserState::default());
    assert_eq!(state(&*store, &user(ServiceSid::from_bits(9), 1, "alice")).await, UserState::default());
}

fn summary(state: &UserState) -> StateSummary {
    state.into()
}

/// The first connect creates the user, with the sid in the call.
pub async fn an_opening_creates_the_user(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let (first, second) = (user(service.sid, 1, "alice"), user(service.sid, 2, "alice"));
    let joined = store.join(&first, &news(&[connect(&first, "c-1", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!(joined.before, summary(&UserState::default()));
    assert_eq!(joined.after, summary(&state(&*store, &first).await));
    assert_eq!(by_identity(&*store, &first).await, Some(first.clone()));
    assert_eq!(online(&*store, &first, NOW).await, Some(true));
    // The next connect finds the user.
    store.join(&second, &news(&[connect(&second, "c-2", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!(by_identity(&*store, &first).await, Some(first));
    // A connect also finds a user who was created before.
    let bob = User { friendly_name: Some("Bob".to_owned()), ..user(service.sid, 3, "bob") };
    store.create_user(&bob).await.unwrap();
    let unknown = user(service.sid, 4, "bob");
    store.join(&unknown, &news(&[connect(&unknown, "c", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!(by_identity(&*store, &bob).await, Some(bob));
}

/// A disconnect is delivered before its connect.
pub async fn an_end_alone_creates_nobody(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let alice = user(service.sid, 1, "alice");
    store.join(&alice, &news(&[disconnect(&alice, "c", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!(by_identity(&*store, &alice).await, None);
    assert_eq!(online(&*store, &alice, NOW).await, None);
    // Then the connect is delivered. It creates the user, who is offline.
    store.join(&alice, &news(&[connect(&alice, "c", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!(by_identity(&*store, &alice).await, Some(alice.clone()));
    assert_eq!(online(&*store, &alice, NOW).await, Some(false));
}

/// For example after an answer was lost and the write is sent again.
pub async fn joining_again_changes_nothing(store: Arc<impl Services + States>) {
    let service = service(&*store, 1).await;
    let alice = user(service.sid, 1, "alice");
    let events = [connect(&alice, "c-1", NOW), disconnect(&alice, "c-2", NOW)];
    let first = store.join(&alice, &news(&events, NOW), &[], NOW).await.unwrap();
    for seconds in [0, 1, 30] {
        let now = later(seconds);
        let again = store.join(&alice, &news(&events, now), &[], now).await.unwrap();
        assert_eq!(again.before, first.after);
        assert_eq!(again.after, first.after);
    }
    assert_eq!(summary(&state(&*store, &alice).await), first.after);
}

/// The orders of five events.
fn orders() -> BTreeSet<Vec<usize>> {
    let mut found: BTreeSet<Vec<usize>> = BTreeSet::from([vec![]]);
    for n in 0..5 {
        found = found
            .into_iter()
            .flat_map(|order| {
                (0..=order.len()).map(move |place| {
                    let mut order = order.clone();
                    order.insert(place, n);
                    order
                })
            })
            .collect();
    }
    assert_eq!(found.len(), 120);
    found
}

/// Of a connection with two connects and a renewal, and of one that ends.
pub async fn openings_survive_every_order(store: Arc<impl Services + States>) {
    let service = service(&*store, 1).await;
    let now = later(60);
    for (n, order) in orders().iter().enumerate() {
        let alice = user(service.sid, n as u128 + 1, &format!("alice {n}"));
        let connect = |id, at, device: &str| {
            event(&alice, id, at, EventKind::Connect { lease: None, device: Some(device.into()) })
        };
        let events = [
            connect("c-1", later(5), "laptop"),
            connect("c-1", later(3), "phone"),
            event(&alice, "c-1", later(30), EventKind::Renew { lease: None }),
            connect("c-2", later(7), "watch"),
            disconnect(&alice, "c-2", later(40)),
        ];
        let ordered: Vec<Event> = order.iter().map(|index| events[*index].clone()).collect();
        for piece in ordered.chunks(1 + n % 5) {
            store.join(&alice, &news(piece, now), &[], now).await.unwrap();
        }
        let c_1 = events[0].connection.key();
        let expected = BTreeMap::from([(c_1, Opening::new(later(3), Some("phone")))]);
        assert_eq!(state(&*store, &alice).await.presence.openings, expected, "{order:?}");
        // Writes of other things keep it.
        store.announce(&alice.key(), Generation(2), now).await.unwrap();
        let renewal = event(&alice, "c-1", later(60), EventKind::Renew { lease: None });
        store.join(&alice, &news(&[renewal], now), &[], now).await.unwrap();
        assert_eq!(state(&*store, &alice).await.presence.openings, expected);
        store.join(&alice, &news(&[disconnect(&alice, "c-1", now)], now), &[], now).await.unwrap();
        assert_eq!(state(&*store, &alice).await.presence.openings, BTreeMap::new());
    }
}

/// Five events in every order, in pieces of every size.
pub async fn joining_survives_every_order(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let now = later(55);
    let mut results = BTreeSet::new();
    for (n, order) in orders().iter().enumerate() {
        let alice = user(service.sid, n as u128 + 1, &format!("alice {n}"));
        let events = [
            connect(&alice, "c-1", NOW),
            event(&alice, "c-1", later(30), EventKind::Renew { lease: None }),
            disconnect(&alice, "c-1", later(40)),
            connect(&alice, "c-2", later(35)),
            event(&alice, "c-2", later(50), EventKind::Disconnect { reason: EndReason::ConnectionLost }),
        ];
        let ordered: Vec<Event> = order.iter().map(|index| events[*index].clone()).collect();
        let pieces = ordered.chunks(1 + n % 5);
        for piece in pieces {
            store.join(&alice, &news(piece, now), &[], now).await.unwrap();
        }
        let state = state(&*store, &alice).await;
        results.insert(format!("{:?}", state.presence));
        assert_eq!(online(&*store, &alice, later(59)).await, Some(true), "{order:?}");
        assert_eq!(online(&*store, &alice, later(60)).await, Some(false), "{order:?}");
        assert!(by_identity(&*store, &alice).await.is_some());
    }
    assert_eq!(results.len(), 1, "{results:?}");
}

/// Many devices of one user connect at the same time.
pub async fn concurrent_joins_lose_nothing(store: Arc<impl Services + Users + States + 'static>) {
    let service = service(&*store, 1).await;
    let writers = (1..=40).map(|n| {
        let (store, alice) = (store.clone(), user(service.sid, n, "alice"));
        tokio::spawn(async move {
            let news = news(&[connect(&alice, &format!("c-{n}"), NOW)], NOW);
            store.join(&alice, &news, &[], NOW).await.unwrap().after.revision
        })
    });
    let mut revisions = BTreeSet::new();
    for writer in writers.collect::<Vec<_>>() {
        revisions.insert(writer.await.unwrap());
    }
    assert_eq!(revisions.len(), 40, "each write has a revision of its own");
    let alice = user(service.sid, 1, "alice");
    let state = state(&*store, &alice).await;
    assert_eq!(state.presence.connections.len(), 40);
    assert_eq!(Some(&state.revision), revisions.last());
    let page = PageRequest { position: Cursor::Start, limit: 10 };
    assert_eq!(store.users(service.sid, page).await.unwrap().items.len(), 1);
}

/// A timer joins nothing, at a time after the end of the lease.
pub async fn the_end_of_a_lease_is_written_once(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let alice = user(service.sid, 1, "alice");
    let nothing = News::new(rules(SETTINGS));
    store.join(&alice, &news(&[connect(&alice, "c", NOW)], NOW), &[], NOW).await.unwrap();
    let early = store.join(&alice, &nothing, &[], later(119)).await.unwrap();
    assert_eq!(early.before, early.after);
    let due = store.join(&alice, &nothing, &[], later(120)).await.unwrap();
    assert!(due.after.revision > due.before.revision);
    assert_eq!(due.after.as_of, later(120));
    let again = store.join(&alice, &nothing, &[], later(121)).await.unwrap();
    assert_eq!(again.before, again.after);
    // For an unknown user nothing is written.
    let nobody = user(service.sid, 2, "nobody");
    assert_eq!(store.join(&nobody, &nothing, &[], NOW).await.unwrap().after, summary(&UserState::default()));
    assert_eq!(by_identity(&*store, &nobody).await, None);
}

/// Every write has a higher revision than the one before.
pub async fn revisions_grow(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let alice = user(service.sid, 1, "alice");
    let mut revision = 0;
    for n in 0..5 {
        let (id, at) = (format!("c-{n}"), later(n * 2));
        for event in [connect(&alice, &id, at), disconnect(&alice, &id, later(n * 2 + 1))] {
            let joined = store.join(&alice, &news(&[event], at), &[], at).await.unwrap();
            assert_eq!(joined.before.revision, revision);
            assert!(joined.after.revision > revision);
            revision = joined.after.revision;
        }
    }
    // A user who connects again after a deletion continues the revisions.
    store.delete_user(service.sid, alice.sid, later(20)).await.unwrap();
    let alice = user(service.sid, 2, "alice");
    let joined =
        store.join(&alice, &news(&[connect(&alice, "new", later(21))], later(21)), &[], later(21)).await.unwrap();
    assert!(joined.after.revision > revision);
}

/// Events from before a deletion do not create the user again, however late they arrive. Those from after it do, also on
/// a connection from before.
pub async fn a_deleted_user_does_not_come_back(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let alice = user(service.sid, 1, "alice");
    store.join(&alice, &news(&[connect(&alice, "c-1", NOW)], NOW), &[], NOW).await.unwrap();
    store.delete_user(service.sid, alice.sid, later(1)).await.unwrap();
    assert_eq!(online(&*store, &alice, later(1)).await, None);
    let again = user(service.sid, 2, "alice");
    for event in [
        connect(&again, "c-1", NOW),
        event(&again, "c-1", later(1), EventKind::Renew { lease: None }),
        disconnect(&again, "c-1", later(1)),
        disconnect(&again, "c-1", later(6)),
    ] {
        store.join(&again, &news(&[event], later(6)), &[], later(6)).await.unwrap();
        assert_eq!(by_identity(&*store, &again).await, None);
    }
    let renewal = event(&again, "c-2", later(7), EventKind::Renew { lease: None });
    store.join(&again, &news(&[renewal], later(7)), &[], later(7)).await.unwrap();
    assert_eq!(by_identity(&*store, &again).await, Some(again.clone()));
    assert_eq!(online(&*store, &again, later(7)).await, Some(true));
    // What was from before the deletion stays without effect.
    let late = [connect(&again, "c-3", NOW), disconnect(&again, "c-2", later(8))];
    store.join(&again, &news(&late, later(8)), &[], later(8)).await.unwrap();
    assert_eq!(online(&*store, &again, later(8)).await, Some(false));
    assert_eq!(state(&*store, &again).await.deleted_at, Some(later(1)));
}

/// A deletion is remembered also of a user of whom nothing but the profile was written.
pub async fn the_deletion_of_a_user_without_events_is_remembered(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let alice = user(service.sid, 1, "alice");
    store.create_user(&alice).await.unwrap();
    store.delete_user(service.sid, alice.sid, later(5)).await.unwrap();
    let late = [connect(&alice, "c-1", later(5))];
    store.join(&alice, &news(&late, later(9)), &[], later(9)).await.unwrap();
    assert_eq!(by_identity(&*store, &alice).await, None);
    assert_eq!(state(&*store, &alice).await.presence.connections.len(), 0);
}

/// Whatever is written of a user, its revision is greater than before, and not less than the time.
pub async fn every_write_of_a_user_has_a_revision(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let alice = user(service.sid, 1, "alice");
    let at = |millis: i64| Timestamp::from_millis(NOW.as_millis() + millis);
    let mut last = 0;
    let mut grows = async |expected: Timestamp| {
        let revision = state(&*store, &alice).await.revision;
        assert_eq!(revision, (last + 1).max(expected.as_millis() as u64));
        last = revision;
    };
    store.create_user(&alice).await.unwrap();
    grows(NOW).await;
    // The clock of the next writer is behind.
    store.join(&alice, &news(&[connect(&alice, "c-1", at(-5))], at(-5)), &[], at(-5)).await.unwrap();
    grows(at(-5)).await;
    store.join(&alice, &news(&[connect(&alice, "c-2", at(20))], at(20)), &[], at(20)).await.unwrap();
    grows(at(20)).await;
    let renamed = User { friendly_name: Some("Alice".to_owned()), date_updated: at(20), ..alice.clone() };
    store.replace_user(&renamed).await.unwrap();
    grows(at(20)).await;
    let profile = by_identity(&*store, &alice).await.unwrap();
    assert_eq!(profile.revision, at(21).as_millis() as u64, "the profile has the revision of its write");
    store.delete_user(service.sid, alice.sid, at(10)).await.unwrap();
    grows(at(10)).await;
    // What was heard before the deletion, by a clock that is ahead, is undone by it.
    let undone = store.join(&alice, &news(&[connect(&alice, "c-2", at(20))], at(11)), &[], at(11)).await.unwrap();
    assert_eq!(undone.before, undone.after);
    store.join(&alice, &news(&[connect(&alice, "c-3", at(21))], at(11)), &[], at(11)).await.unwrap();
    grows(at(11)).await;
    assert_eq!(state(&*store, &alice).await.as_of, at(20), "the time does not go back");
}

/// A connect creates its user also while reachability is off, and after its disconnect; it opens nothing then.
pub async fn a_connect_while_reachability_is_off_creates_the_user(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    for (n, ends_first) in [(1, false), (2, true)] {
        let alice = user(service.sid, n, &format!("alice {n}"));
        let mut events = [connect(&alice, "c", NOW), disconnect(&alice, "c", later(1))];
        if ends_first {
            events.reverse();
        }
        for event in events {
            let mut news = News::new(rules(SETTINGS));
            news.add(&event, Acceptance::Off, later(2));
            store.join(&alice, &news, &[], later(2)).await.unwrap();
        }
        assert_eq!(by_identity(&*store, &alice).await, Some(alice.clone()));
        assert_eq!(online(&*store, &alice, NOW).await, None);
        assert_eq!(state(&*store, &alice).await.created_by, Some(ChangeReason::Connect));
    }
}

/// Many states at once, of users of several services, known and unknown.
pub async fn states_are_in_the_order_of_the_keys(store: Arc<impl Services + States>) {
    let (one, two) = (service(&*store, 1).await, service(&*store, 2).await);
    let users: Vec<User> = (0..150)
        .map(|n| user(if n % 2 == 0 { one.sid } else { two.sid }, n + 1, &format!("user {}", 149 - n)))
        .collect();
    for (n, user) in users.iter().enumerate().filter(|(n, _)| n % 3 == 0) {
        let news = news(&[connect(user, &format!("c-{n}"), NOW)], NOW);
        store.join(user, &news, &[], NOW).await.unwrap();
    }
    let keys: Vec<UserKey> = users.iter().map(User::key).collect();
    let states = store.states(&keys).await.unwrap();
    assert_eq!(states.len(), users.len());
    for (n, state) in states.iter().enumerate() {
        let connections: Vec<ConnectionKey> = state.presence.connections.keys().copied().collect();
        let expected = format!("c-{n}").parse::<ConnectionId>().unwrap().key();
        assert_eq!(connections, if n % 3 == 0 { vec![expected] } else { vec![] });
    }
    assert!(store.states(&[]).await.unwrap().is_empty());
}
