//! The contract of the store port: what every store must do, whatever it is made of.
//!
//! [`crate::store_contract`] makes a test of each check, for a store that it is given.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::store::Store;
use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::service::{Service, WebhookMethod};
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::UserKey;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::presence::connections::Presence;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::presence::state::{StateSummary, UserState};
use reachability_domain::secret::Secret;
use reachability_domain::sid::{KeySid, ServiceSid, Sid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use crate::stage::{SETTINGS, new_service, rules};

/// A store that nobody has used yet.
pub type Fresh = Arc<dyn Store>;

/// Makes a test of each check of the contract. The argument is an async expression that makes a fresh store; what it
/// binds besides (as a tuple's second member) lives as long as the test.
#[macro_export]
macro_rules! store_contract {
    ($fresh:expr) => {
        $crate::store_contract!(@tests $fresh;
            account_settings_are_replaced_by_version,
            services_are_kept,
            services_are_replaced_by_version,
            of_concurrent_replacements_one_wins,
            deleting_a_service_takes_everything_with_it,
            users_are_kept,
            an_identity_is_taken_once,
            identities_are_told_apart,
            users_are_replaced_by_version,
            the_same_identity_in_two_services_is_two_users,
            lists_go_both_ways,
            keys_are_kept,
            unknown_users_have_an_empty_state,
            an_opening_creates_the_user,
            an_end_alone_creates_nobody,
            joining_again_changes_nothing,
            joining_survives_every_order,
            concurrent_joins_lose_nothing,
            the_end_of_a_lease_is_written_once,
            revisions_grow,
            a_deleted_user_does_not_come_back,
            states_come_in_the_order_asked
        );
    };
    (@tests $fresh:expr; $($check:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let (store, _alive) = $fresh.await;
                $crate::contract::$check(store).await;
            }
        )*
    };
}

const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

async fn service(store: &Fresh, n: u128) -> Service {
    let service = new_service(ServiceSid::from_bits(n));
    store.create_service(&service).await.unwrap();
    service
}

fn user(service: ServiceSid, n: u128, identity: &str) -> User {
    let key = UserKey { service, identity: identity.parse().unwrap() };
    User::new(UserSid::from_bits(n), key, Some(Sid::from_bits(3)), NOW)
}

fn event(user: &User, connection: &str, at: Timestamp, kind: EventKind) -> Event {
    Event { user: user.key(), connection: connection.parse().unwrap(), occurred_at: at, kind }
}

fn connect(user: &User, connection: &str, at: Timestamp) -> Event {
    event(user, connection, at, EventKind::Connect { lease: None, device: None })
}

fn disconnect(user: &User, connection: &str, at: Timestamp) -> Event {
    event(user, connection, at, EventKind::Disconnect { reason: EndReason::ClientClosed })
}

fn news(events: &[Event], now: Timestamp) -> Presence {
    let mut news = Presence::default();
    for event in events {
        news.join(&Presence::of_event(event, &rules(SETTINGS), Generation(1), now));
    }
    news
}

async fn state(store: &Fresh, user: &User) -> UserState {
    store.states(&[user.key()]).await.unwrap().remove(0)
}

async fn online(store: &Fresh, user: &User, now: Timestamp) -> Option<bool> {
    let mut configuration = new_service(user.service_sid).configuration;
    configuration.set_reachability_enabled(true, NOW);
    Reachability::of(&configuration, &state(store, user).await, now).online
}

async fn by_identity(store: &Fresh, user: &User) -> Option<User> {
    store.user(user.service_sid, &UserRef::Identity(user.identity.clone())).await.unwrap()
}

/// Account settings.
pub async fn account_settings_are_replaced_by_version(store: Fresh) {
    let fresh = store.account().await.unwrap();
    assert_eq!(fresh, AccountSettings::default());
    let settings = AccountSettings { default_chat_service_sid: Some(Sid::from_bits(7)), ..fresh.clone() };
    store.replace_account(&settings).await.unwrap();
    let stored = store.account().await.unwrap();
    assert_eq!(stored, AccountSettings { version: stored.version, ..settings.clone() });
    assert!(stored.version > fresh.version);
    // Of two that read the same version the second must read again.
    assert!(matches!(store.replace_account(&settings).await, Err(StoreError::Conflict)));
    store.replace_account(&AccountSettings { default_closed_timer: Some("PT1H".into()), ..stored }).await.unwrap();
    assert_eq!(store.account().await.unwrap().default_closed_timer.as_deref(), Some("PT1H"));
}

/// Services.
pub async fn services_are_kept(store: Fresh) {
    let mut service = new_service(ServiceSid::from_bits(1));
    assert_eq!(store.service(service.sid).await.unwrap(), None);
    service.friendly_name = "naïve “name” \u{1F600} \0 %2F".to_owned();
    service.configuration.set_reachability_enabled(true, NOW);
    service.webhooks.method = Some(WebhookMethod::Get);
    service.webhooks.filters = Some(vec!["onUserUpdated".to_owned()]);
    service.notifications.new_message.sound = Some("ring".to_owned());
    service.chat.typing_indicator_timeout = 7;
    store.create_service(&service).await.unwrap();
    assert_eq!(store.service(service.sid).await.unwrap(), Some(service.clone()));
    assert!(matches!(store.create_service(&new_service(service.sid)).await, Err(StoreError::Exists)));
    assert_eq!(store.service(service.sid).await.unwrap(), Some(service.clone()));
    assert!(store.delete_service(service.sid).await.unwrap());
    assert!(!store.delete_service(service.sid).await.unwrap());
    assert_eq!(store.service(service.sid).await.unwrap(), None);
}

/// Services.
pub async fn services_are_replaced_by_version(store: Fresh) {
    let service = service(&store, 1).await;
    let renamed = Service { friendly_name: "renamed".to_owned(), ..service.clone() };
    store.replace_service(&renamed).await.unwrap();
    let stored = store.service(service.sid).await.unwrap().unwrap();
    assert_eq!(stored, Service { version: stored.version, ..renamed.clone() });
    assert!(stored.version > service.version);
    assert!(matches!(store.replace_service(&renamed).await, Err(StoreError::Conflict)));
    let missing = new_service(ServiceSid::from_bits(2));
    assert!(matches!(store.replace_service(&missing).await, Err(StoreError::Missing)));
    assert_eq!(store.service(missing.sid).await.unwrap(), None);
}

/// Many replace the same version of a service at once.
pub async fn of_concurrent_replacements_one_wins(store: Fresh) {
    let service = service(&store, 1).await;
    let writers = (0..20).map(|n| {
        let (store, service) = (store.clone(), service.clone());
        tokio::spawn(async move {
            store.replace_service(&Service { friendly_name: format!("{n}"), ..service }).await.is_ok()
        })
    });
    let mut winners = 0;
    for writer in writers.collect::<Vec<_>>() {
        winners += u32::from(writer.await.unwrap());
    }
    assert_eq!(winners, 1);
}

/// A service's users, their state, and what comes for them afterwards.
pub async fn deleting_a_service_takes_everything_with_it(store: Fresh) {
    let (gone, stays) = (service(&store, 1).await, service(&store, 2).await);
    let (alice, bob) = (user(gone.sid, 1, "alice"), user(stays.sid, 2, "alice"));
    for user in [&alice, &bob] {
        store.join(user, &news(&[connect(user, "c", NOW)], NOW), &[], NOW).await.unwrap();
    }
    assert!(store.delete_service(gone.sid).await.unwrap());
    while store.purge(gone.sid, 1).await.unwrap() {}
    assert_eq!(by_identity(&store, &alice).await, None);
    assert_eq!(state(&store, &alice).await, UserState::default());
    let page = PageRequest { position: Cursor::Start, limit: 10 };
    assert!(store.users(gone.sid, page).await.unwrap().items.is_empty());
    assert!(matches!(store.create_user(&alice).await, Err(StoreError::Missing)));
    assert_eq!(by_identity(&store, &bob).await, Some(bob.clone()));
    assert_eq!(online(&store, &bob, NOW).await, Some(true));
}

/// Users.
pub async fn users_are_kept(store: Fresh) {
    let service = service(&store, 1).await;
    let user = User {
        friendly_name: Some("Alice \u{1F600}".to_owned()),
        attributes: "{\"a\": [1, \"ü\"]}".to_owned(),
        ..user(service.sid, 1, "alice")
    };
    assert_eq!(by_identity(&store, &user).await, None);
    store.create_user(&user).await.unwrap();
    assert_eq!(by_identity(&store, &user).await, Some(user.clone()));
    assert_eq!(store.user(service.sid, &UserRef::Sid(user.sid)).await.unwrap(), Some(user.clone()));
    assert_eq!(store.user(service.sid, &UserRef::Sid(UserSid::from_bits(9))).await.unwrap(), None);
    assert!(store.delete_user(service.sid, user.sid, NOW).await.unwrap());
    assert!(!store.delete_user(service.sid, user.sid, NOW).await.unwrap());
    assert_eq!(by_identity(&store, &user).await, None);
    assert_eq!(store.user(service.sid, &UserRef::Sid(user.sid)).await.unwrap(), None);
}

/// Users.
pub async fn an_identity_is_taken_once(store: Fresh) {
    let service = service(&store, 1).await;
    let creators = (1..=20).map(|n| {
        let (store, user) = (store.clone(), user(service.sid, n, "alice"));
        tokio::spawn(async move {
            match store.create_user(&user).await {
                Ok(()) => Some(user),
                Err(StoreError::Exists) => None,
                Err(error) => panic!("{error}"),
            }
        })
    });
    let mut created = vec![];
    for creator in creators.collect::<Vec<_>>() {
        created.extend(creator.await.unwrap());
    }
    assert_eq!(created.len(), 1);
    assert_eq!(by_identity(&store, &created[0]).await, Some(created[0].clone()));
    // It is free again when its user has gone.
    assert!(store.delete_user(service.sid, created[0].sid, NOW).await.unwrap());
    store.create_user(&user(service.sid, 50, "alice")).await.unwrap();
}

/// Identities that a careless store would take for one another.
pub async fn identities_are_told_apart(store: Fresh) {
    let service = service(&store, 1).await;
    let identities = [
        "a b",
        "a+b",
        "a%20b",
        "A b",
        "a b ",
        "ü",
        "u\u{308}",
        "x/y",
        "x%2Fy",
        "bob@x.com",
        "'; --",
        "\0",
        "#",
        "null",
    ];
    for (n, identity) in identities.iter().enumerate() {
        store.create_user(&user(service.sid, n as u128 + 1, identity)).await.unwrap();
    }
    for (n, identity) in identities.iter().enumerate() {
        let expected = user(service.sid, n as u128 + 1, identity);
        assert_eq!(by_identity(&store, &expected).await, Some(expected));
    }
}

/// Users.
pub async fn users_are_replaced_by_version(store: Fresh) {
    let service = service(&store, 1).await;
    let user = user(service.sid, 1, "alice");
    assert!(matches!(store.replace_user(&user).await, Err(StoreError::Missing)));
    store.create_user(&user).await.unwrap();
    let renamed = User { friendly_name: Some("Alice".to_owned()), ..user.clone() };
    store.replace_user(&renamed).await.unwrap();
    let stored = by_identity(&store, &user).await.unwrap();
    assert_eq!(stored, User { version: stored.version, ..renamed.clone() });
    assert!(matches!(store.replace_user(&renamed).await, Err(StoreError::Conflict)));
    // Presence and profile do not get in each other's way.
    store.join(&user, &news(&[connect(&user, "c", NOW)], NOW), &[], NOW).await.unwrap();
    store.replace_user(&User { friendly_name: None, ..stored }).await.unwrap();
    assert_eq!(online(&store, &user, NOW).await, Some(true));
    assert_eq!(by_identity(&store, &user).await.unwrap().friendly_name, None);
}

/// Services are apart.
pub async fn the_same_identity_in_two_services_is_two_users(store: Fresh) {
    let (one, two) = (service(&store, 1).await, service(&store, 2).await);
    let (alice, other) = (user(one.sid, 1, "alice"), user(two.sid, 2, "alice"));
    store.create_user(&alice).await.unwrap();
    assert_eq!(by_identity(&store, &other).await, None);
    store.create_user(&other).await.unwrap();
    assert_eq!(store.user(two.sid, &UserRef::Sid(alice.sid)).await.unwrap(), None);
    store.join(&alice, &news(&[connect(&alice, "c", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!(online(&store, &alice, NOW).await, Some(true));
    assert_eq!(online(&store, &other, NOW).await, None);
    assert!(!store.delete_user(two.sid, alice.sid, NOW).await.unwrap());
    assert!(store.delete_user(one.sid, alice.sid, NOW).await.unwrap());
    assert_eq!(by_identity(&store, &other).await, Some(other));
}

/// Windows of a list, from both ends and from the middle.
pub async fn lists_go_both_ways(store: Fresh) {
    let service = service(&store, 1).await;
    // Made in another order than that of their sids.
    for n in [3, 1, 7, 5, 9] {
        store.create_user(&user(service.sid, n, &format!("user {n}"))).await.unwrap();
    }
    let sid = UserSid::from_bits;
    for (position, limit, expected, more) in [
        (Cursor::Start, 2, vec![1, 3], true),
        (Cursor::Start, 5, vec![1, 3, 5, 7, 9], false),
        (Cursor::Start, 4, vec![1, 3, 5, 7], true),
        (Cursor::After(sid(3)), 2, vec![5, 7], true),
        (Cursor::After(sid(3)), 3, vec![5, 7, 9], false),
        // Right behind one that is not there.
        (Cursor::After(sid(4)), 9, vec![5, 7, 9], false),
        (Cursor::After(sid(9)), 9, vec![], false),
        (Cursor::Before(sid(7)), 2, vec![3, 5], true),
        (Cursor::Before(sid(7)), 3, vec![1, 3, 5], false),
        (Cursor::Before(sid(6)), 1, vec![5], true),
        (Cursor::Before(sid(1)), 9, vec![], false),
    ] {
        let slice = store.users(service.sid, PageRequest { position, limit }).await.unwrap();
        let found: Vec<u128> = slice.items.iter().map(|user| user.sid.bits()).collect();
        assert_eq!((found, slice.more), (expected, more), "{position:?}, {limit}");
    }
    let all = PageRequest { position: Cursor::Start, limit: 10 };
    let services = store.services(all).await.unwrap();
    assert_eq!((services.items, services.more), (vec![service], false));
}

/// API keys.
pub async fn keys_are_kept(store: Fresh) {
    let key = |n: u128| ApiKey {
        sid: KeySid::from_bits(n),
        friendly_name: format!("key {n}"),
        secret: Secret::new(format!("secret {n}")),
        date_created: NOW,
    };
    assert_eq!(store.key(KeySid::from_bits(1)).await.unwrap(), None);
    for n in [2, 1, 3] {
        store.create_key(&key(n)).await.unwrap();
    }
    let other = ApiKey { friendly_name: "another".to_owned(), ..key(1) };
    assert!(matches!(store.create_key(&other).await, Err(StoreError::Exists)));
    assert_eq!(store.key(key(1).sid).await.unwrap(), Some(key(1)));
    assert_eq!(store.key(KeySid::from_bits(1)).await.unwrap(), Some(key(1)));
    let slice = store.keys(PageRequest { position: Cursor::Start, limit: 2 }).await.unwrap();
    assert_eq!((slice.items, slice.more), (vec![key(1), key(2)], true));
    assert!(store.delete_key(KeySid::from_bits(1)).await.unwrap());
    assert!(!store.delete_key(KeySid::from_bits(1)).await.unwrap());
    assert_eq!(store.key(KeySid::from_bits(1)).await.unwrap(), None);
}

/// States.
pub async fn unknown_users_have_an_empty_state(store: Fresh) {
    let service = service(&store, 1).await;
    assert_eq!(state(&store, &user(service.sid, 1, "alice")).await, UserState::default());
    assert_eq!(state(&store, &user(ServiceSid::from_bits(9), 1, "alice")).await, UserState::default());
}

fn summary(state: &UserState) -> StateSummary {
    state.into()
}

/// Users appear at their first connect, with the sid that came with it.
pub async fn an_opening_creates_the_user(store: Fresh) {
    let service = service(&store, 1).await;
    let (first, second) = (user(service.sid, 1, "alice"), user(service.sid, 2, "alice"));
    let joined = store.join(&first, &news(&[connect(&first, "c-1", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!(joined.before, summary(&UserState::default()));
    assert_eq!(joined.after, summary(&state(&store, &first).await));
    assert_eq!(by_identity(&store, &first).await, Some(first.clone()));
    assert_eq!(online(&store, &first, NOW).await, Some(true));
    // The next one finds it.
    store.join(&second, &news(&[connect(&second, "c-2", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!(by_identity(&store, &first).await, Some(first));
    // And so does a connect of a user whom somebody created.
    let bob = User { friendly_name: Some("Bob".to_owned()), ..user(service.sid, 3, "bob") };
    store.create_user(&bob).await.unwrap();
    let unknown = user(service.sid, 4, "bob");
    store.join(&unknown, &news(&[connect(&unknown, "c", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!(by_identity(&store, &bob).await, Some(bob));
}

/// An end that overtook its beginning.
pub async fn an_end_alone_creates_nobody(store: Fresh) {
    let service = service(&store, 1).await;
    let alice = user(service.sid, 1, "alice");
    store.join(&alice, &news(&[disconnect(&alice, "c", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!(by_identity(&store, &alice).await, None);
    assert_eq!(online(&store, &alice, NOW).await, None);
    // Then its beginning comes, and brings no ghost.
    store.join(&alice, &news(&[connect(&alice, "c", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!(by_identity(&store, &alice).await, Some(alice.clone()));
    assert_eq!(online(&store, &alice, NOW).await, Some(false));
}

/// As when an answer was lost and the write is sent again.
pub async fn joining_again_changes_nothing(store: Fresh) {
    let service = service(&store, 1).await;
    let alice = user(service.sid, 1, "alice");
    let events = [connect(&alice, "c-1", NOW), disconnect(&alice, "c-2", NOW)];
    let first = store.join(&alice, &news(&events, NOW), &[], NOW).await.unwrap();
    for seconds in [0, 1, 30] {
        let now = later(seconds);
        let again = store.join(&alice, &news(&events, now), &[], now).await.unwrap();
        assert_eq!(again.before, first.after);
        assert_eq!(again.after, first.after);
    }
    assert_eq!(summary(&state(&store, &alice).await), first.after);
}

/// Five events, in every order, one by one and together.
pub async fn joining_survives_every_order(store: Fresh) {
    let service = service(&store, 1).await;
    let permutations = {
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
        found
    };
    assert_eq!(permutations.len(), 120);
    let now = later(60);
    let mut results = BTreeSet::new();
    for (n, order) in permutations.iter().enumerate() {
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
        let state = state(&store, &alice).await;
        results.insert(serde_json::to_string(&state.presence).unwrap());
        assert_eq!(online(&store, &alice, later(59)).await, Some(true), "{order:?}");
        assert_eq!(online(&store, &alice, later(60)).await, Some(false), "{order:?}");
        assert!(by_identity(&store, &alice).await.is_some());
    }
    assert_eq!(results.len(), 1, "{results:?}");
}

/// Many devices of one user connect at once.
pub async fn concurrent_joins_lose_nothing(store: Fresh) {
    let service = service(&store, 1).await;
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
    let state = state(&store, &alice).await;
    assert_eq!(state.presence.connections().len(), 40);
    assert_eq!(Some(&state.revision), revisions.last());
    let page = PageRequest { position: Cursor::Start, limit: 10 };
    assert_eq!(store.users(service.sid, page).await.unwrap().items.len(), 1);
}

/// What a timer does.
pub async fn the_end_of_a_lease_is_written_once(store: Fresh) {
    let service = service(&store, 1).await;
    let alice = user(service.sid, 1, "alice");
    let nothing = Presence::default();
    store.join(&alice, &news(&[connect(&alice, "c", NOW)], NOW), &[], NOW).await.unwrap();
    let early = store.join(&alice, &nothing, &[], later(119)).await.unwrap();
    assert_eq!(early.before, early.after);
    let due = store.join(&alice, &nothing, &[], later(120)).await.unwrap();
    assert!(due.after.revision > due.before.revision);
    assert_eq!(due.after.as_of, later(120));
    let again = store.join(&alice, &nothing, &[], later(121)).await.unwrap();
    assert_eq!(again.before, again.after);
    // Of nobody there is nothing to write.
    let nobody = user(service.sid, 2, "nobody");
    assert_eq!(store.join(&nobody, &nothing, &[], NOW).await.unwrap().after, summary(&UserState::default()));
    assert_eq!(by_identity(&store, &nobody).await, None);
}

/// Every write is told from the one before.
pub async fn revisions_grow(store: Fresh) {
    let service = service(&store, 1).await;
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
    // A user who comes back after having been deleted does not begin again.
    store.delete_user(service.sid, alice.sid, later(20)).await.unwrap();
    let alice = user(service.sid, 2, "alice");
    let joined =
        store.join(&alice, &news(&[connect(&alice, "new", later(21))], later(21)), &[], later(21)).await.unwrap();
    assert!(joined.after.revision > revision);
}

/// Late and repeated events of a deleted user's connections.
pub async fn a_deleted_user_does_not_come_back(store: Fresh) {
    let service = service(&store, 1).await;
    let alice = user(service.sid, 1, "alice");
    store.join(&alice, &news(&[connect(&alice, "c-1", NOW)], NOW), &[], NOW).await.unwrap();
    store.delete_user(service.sid, alice.sid, later(1)).await.unwrap();
    assert_eq!(online(&store, &alice, later(1)).await, None);
    let again = user(service.sid, 2, "alice");
    for event in [
        connect(&again, "c-1", NOW),
        event(&again, "c-1", later(5), EventKind::Renew { lease: None }),
        disconnect(&again, "c-1", later(6)),
    ] {
        store.join(&again, &news(&[event], later(6)), &[], later(6)).await.unwrap();
        assert_eq!(by_identity(&store, &again).await, None);
    }
    // Somebody who connects anew is somebody new.
    store.join(&again, &news(&[connect(&again, "c-2", later(7))], later(7)), &[], later(7)).await.unwrap();
    assert_eq!(by_identity(&store, &again).await, Some(again.clone()));
    assert_eq!(online(&store, &again, later(7)).await, Some(true));
}

/// Many states at once, of users of several services, known and unknown.
pub async fn states_come_in_the_order_asked(store: Fresh) {
    let (one, two) = (service(&store, 1).await, service(&store, 2).await);
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
        let connections: Vec<&str> = state.presence.connections().map(|(id, _)| id.as_str()).collect();
        let expected = format!("c-{n}");
        assert_eq!(connections, if n % 3 == 0 { vec![expected.as_str()] } else { vec![] });
    }
    assert!(store.states(&[]).await.unwrap().is_empty());
}
