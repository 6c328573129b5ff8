//! The index of who is online.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::path::Path;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::UserKey;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::ports::States;
use reachability_domain::presence::search::UserSearch;
use reachability_domain::presence::snapshot::UserSnapshot;
use reachability_domain::sid::Sid;
use reachability_domain::time::Timestamp;
use reachability_infra::sqlite::{Database, SqliteStore};
use reachability_tests::generate::{LENGTH, START, event, event_of, service, users};
use reachability_tests::harness::{Harness, SETTINGS};
use reachability_tests::queues::seal;

fn store(path: &Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::new(Database::open(path, seal()).unwrap()))
}

async fn online(store: &SqliteStore) -> Vec<String> {
    let found = store.online_after(service(1), None, 100).await.unwrap();
    found.iter().map(|found| found.user.identity.to_string()).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Event(Event),
    Disclose(UserKey, bool),
    Delete(UserKey),
}

fn step() -> impl Strategy<Value = Step> {
    let user = || prop::sample::select(users());
    prop_oneof![
        6 => event().prop_map(Step::Event),
        3 => (user(), any::<bool>()).prop_map(|(user, invisible)| Step::Disclose(user, invisible)),
        1 => user().prop_map(Step::Delete),
    ]
}

/// Whatever happens: who is online for others is in the index, at that time and at every later one, and nobody who hides is.
#[test]
fn the_index_has_whom_others_see_online() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory.path().join("test.db"));
    proptest!(ProptestConfig::with_cases(60), |(steps in vec((step(), 0..20i64), 1..25))| {
        runtime.block_on(check(&store, steps));
    });
}

async fn check(store: &Arc<SqliteStore>, steps: Vec<(Step, i64)>) {
    let harness = Harness::new(store.clone(), SETTINGS);
    for n in [1, 2] {
        harness.switch(service(n), true).await;
    }
    let mut now = START;
    for (step, seconds) in steps {
        now += 1_000 * seconds;
        let at = Timestamp::from_millis(now);
        let user = async |key: &UserKey| {
            let identity = UserRef::Identity(key.identity.clone());
            store.user(key.service, &identity).await.unwrap()
        };
        match step {
            Step::Event(event) => harness.deliver(&[Event { occurred_at: at, ..event }], now).await,
            Step::Disclose(key, invisible) => {
                let sid = now as u128 * 10 + users().iter().position(|user| *user == key).unwrap() as u128;
                let new = User::new(Sid::from_bits(sid), key.clone(), None, at);
                let wish = Disclose { invisible: Some(invisible), ..Disclose::default() };
                if user(&key).await.is_none() {
                    store.create_user(&new).await.unwrap();
                }
                store.disclose(&user(&key).await.unwrap(), &wish, at).await.unwrap();
            }
            Step::Delete(key) => {
                if let Some(user) = user(&key).await {
                    store.delete_user(key.service, user.sid, at).await.unwrap();
                }
            }
        }
        for n in [1, 2] {
            let all = store.users_after(service(n), None, 100).await.unwrap();
            let indexed = store.online_after(service(n), None, 100).await.unwrap();
            assert!(indexed.iter().all(|found| found.state.disclosure.hidden.is_none() && all.contains(found)));
            for later in [now, now + 30_000, now + LENGTH] {
                let is_seen = |found: &UserSnapshot| {
                    let later = Timestamp::from_millis(later);
                    let seen = Appearance::of(&found.configuration, found.state.clone(), later, Viewer::Other);
                    seen.reachability.online == Some(true)
                };
                let seen: Vec<_> = all.iter().filter(|found| is_seen(found)).collect();
                let found: Vec<_> = indexed.iter().filter(|found| is_seen(found)).collect();
                assert_eq!(seen, found);
            }
        }
    }
    for n in [1, 2] {
        store.delete_service(service(n)).await.unwrap();
    }
    while store.purge_some().await.unwrap().is_some() {}
}

/// A renewal is most of what is written.
#[tokio::test]
async fn a_renewal_does_not_write_the_index() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let store = store(&path);
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch(
        "CREATE TABLE written (n INTEGER);
         CREATE TRIGGER write AFTER UPDATE OF shown_online ON states BEGIN INSERT INTO written VALUES (1); END;",
    )
    .unwrap();
    let written = || raw.query_row("SELECT count(*) FROM written", [], |row| row.get::<_, u64>(0)).unwrap();
    let harness = Harness::new(store.clone(), SETTINGS);
    harness.switch(service(1), true).await;
    let renew = EventKind::Renew { lease: None };
    let end = EventKind::Disconnect { reason: EndReason::ClientClosed };
    let connect = EventKind::Connect { lease: None, device: None };
    for (second, connection, kind, expected) in [
        // The first one is an insert.
        (0, "c", connect.clone(), 0),
        (1, "c", renew.clone(), 0),
        (2, "d", connect.clone(), 0),
        (3, "d", renew, 0),
        (4, "d", end.clone(), 0),
        (5, "c", end, 1),
        (6, "e", connect, 2),
    ] {
        let at = START + 1_000 * second;
        let event = Event { connection: connection.parse().unwrap(), ..event_of("john", "c", at, kind) };
        harness.deliver(&[event], at).await;
        assert_eq!(written(), expected, "at second {second}");
    }
}

/// The index is filled from the states.
#[tokio::test]
async fn a_database_without_the_index_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    {
        let store = store(&path);
        let harness = Harness::new(store.clone(), SETTINGS);
        harness.switch(service(1), true).await;
        let end = EventKind::Disconnect { reason: EndReason::ClientClosed };
        let connect = EventKind::Connect { lease: None, device: None };
        let at = |second: i64| START + 1_000 * second;
        for identity in ["john", "jack", "jill"] {
            harness.deliver(&[event_of(identity, "c", at(0), connect.clone())], at(0)).await;
        }
        harness.deliver(&[event_of("jack", "c", at(1), end)], at(1)).await;
        assert_eq!(online(&store).await, ["jill", "john"]);
    }
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch(
        "DROP INDEX states_online; ALTER TABLE states DROP COLUMN shown_online; DROP TABLE members; DROP TABLE channels;
         DROP TABLE deleted_services; DROP TABLE recipients; DROP INDEX messages_by_timer;
         ALTER TABLE messages DROP COLUMN timer_of; ALTER TABLE states DROP COLUMN next_timer;
         ALTER TABLE feed DROP COLUMN report;
         UPDATE states SET presence = x'ff' WHERE identity = 'jill'; PRAGMA user_version = 7;",
    )
    .unwrap();
    drop(raw);
    for _ in 0..2 {
        // A record that cannot be read is no reason not to start.
        assert_eq!(online(&store(&path)).await, ["john"]);
    }
}
