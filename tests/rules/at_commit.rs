//! What is told when a write is committed: what the feed has, in its order, and before any flush.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reachability_domain::channel::Channel;
use reachability_domain::channel::key::ChannelKey;
use reachability_domain::channel::ports::{Channels, MembersChange};
use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::Identity;
use reachability_domain::presence::at_commit::AtCommit;
use reachability_domain::presence::change::Notice;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::sid::Sid;
use reachability_domain::store::StoreError;
use reachability_infra::clock;
use reachability_infra::sqlite::{Database, Retention, SqliteStore};
use reachability_tests::generate::{event_of, service};
use reachability_tests::harness::{Harness, SETTINGS, new_service};
use reachability_tests::queues::seal;
use tempfile::TempDir;

const RETENTION: Retention = Retention { age: Duration::MAX, rows: usize::MAX };

#[derive(Default)]
struct Heard(Mutex<Vec<FeedEntry>>, Mutex<Vec<MembersChange>>);

impl AtCommit for Heard {
    fn committed(&self, entries: Vec<FeedEntry>) {
        assert!(!entries.is_empty());
        self.0.lock().unwrap().extend(entries);
    }

    fn members_changed(&self, change: &MembersChange) {
        self.1.lock().unwrap().push(change.clone());
    }
}

impl Heard {
    fn notices(&self) -> Vec<Notice> {
        self.0.lock().unwrap().iter().filter_map(|entry| entry.notice.clone()).collect()
    }
}

fn store() -> (Arc<SqliteStore>, Database, Arc<Heard>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("test.db"), seal()).unwrap();
    let heard = Arc::new(Heard::default());
    (Arc::new(SqliteStore::new(database.clone()).with_at_commit(heard.clone())), database, heard, directory)
}

fn event(identity: &str, kind: EventKind) -> Event {
    event_of(identity, "c-1", clock::now().as_millis(), kind)
}

const CONNECT: EventKind = EventKind::Connect { lease: None, device: None };
const DISCONNECT: EventKind = EventKind::Disconnect { reason: EndReason::ClientClosed };

#[tokio::test]
async fn a_change_is_heard_before_its_writer_goes_on_and_before_a_flush() {
    let (store, database, heard, _directory) = store();
    let harness = Harness::new(store, SETTINGS);
    harness.switch(service(1), true).await;
    assert!(matches!(heard.notices()[..], [Notice::Service(_)]));
    let flushed = database.flushed_pages();
    for (n, kind) in [CONNECT, DISCONNECT, CONNECT].into_iter().enumerate() {
        let event = Event { connection: format!("c-{}", n / 2).parse().unwrap(), ..event("alice", kind) };
        harness.deliver(&[event], clock::now().as_millis()).await;
        let notices = heard.notices();
        let Some(Notice::User(change)) = notices.last() else { panic!("{notices:?}") };
        assert_eq!((notices.len(), change.after.reachability.online), (n + 2, Some(n % 2 == 0)));
        // Nothing visible.
        harness.deliver(&[event_of("alice", "c-9", 0, DISCONNECT)], clock::now().as_millis()).await;
        assert_eq!(heard.notices().len(), n + 2);
    }
    assert_eq!(database.flushed_pages(), flushed);
    let sequences: Vec<u64> = heard.0.lock().unwrap().iter().map(|entry| entry.sequence).collect();
    assert!(sequences.is_sorted_by(|one, two| one < two), "{sequences:?}");
}

/// Some writes of a transaction fail, and the others are committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_heard_is_the_feed_in_its_order() {
    let (store, _, heard, _directory) = store();
    Harness::new(store.clone(), SETTINGS).switch(service(1), true).await;
    let writers = (0..4).map(|n| {
        let (store, harness) = (store.clone(), Harness::new(store.clone(), SETTINGS));
        tokio::spawn(async move {
            for round in 0..25_usize {
                let now = clock::now().as_millis();
                let connects: Vec<Event> = (0..3).map(|user| event(&format!("{n}-{user}-{round}"), CONNECT)).collect();
                harness.deliver(&connects, now).await;
                harness.deliver(&[event(&format!("{n}-0-{round}"), DISCONNECT)], clock::now().as_millis()).await;
                let sid = Sid::from_bits((n * 1_000 + round) as u128);
                let user = User::new(sid, connects[0].user.clone(), None, clock::now());
                let refused = store.create_user(&user).await;
                assert!(matches!(refused, Err(StoreError::Exists)), "{refused:?}");
                let named = UserRef::Identity(user.identity.clone());
                let created = store.user(service(1), &named).await.unwrap().unwrap();
                let renamed = User { friendly_name: Some(round.to_string()), ..created };
                store.replace_user(&renamed).await.unwrap();
                let refused = store.replace_user(&renamed).await;
                assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
                if round == 20 {
                    store.create_service(&new_service(service(n as u128 + 10))).await.unwrap();
                    harness.switch(service(n as u128 + 10), true).await;
                    assert!(store.delete_service(service(n as u128 + 10)).await.unwrap());
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let feed = store.feed(RETENTION).undelivered(None, 10_000).await.unwrap();
    let told: Vec<Notice> = feed.into_iter().filter_map(|row| row.entry.notice).collect();
    assert!(told.len() > 4 * 25 * 5, "{}", told.len());
    assert_eq!(heard.notices(), told);
}

/// What really changed, and nothing else.
#[tokio::test]
async fn changes_of_members_are_heard_in_their_order() {
    let (store, _database, heard, _directory) = store();
    let harness = Harness::new(store.clone(), SETTINGS);
    harness.switch(service(1), false).await;
    let key = ChannelKey { service: service(1), cid: "messaging:general".parse().unwrap() };
    let channel = Channel {
        key: key.clone(),
        custom: Default::default(),
        created_by: None,
        created_at: clock::now(),
        updated_at: clock::now(),
        last_message_at: None,
        member_count: 0,
        version: 0,
    };
    let named = |names: &[&str]| -> Vec<Identity> { names.iter().map(|name| name.parse().unwrap()).collect() };
    let channel = store.create_channel(&channel, &named(&["john", "jack"])).await.unwrap().unwrap();
    assert!(matches!(store.create_channel(&channel, &named(&["jill"])).await, Err(StoreError::Exists)));
    store.add_members(&key, &named(&["jack"])).await.unwrap().unwrap();
    store.add_members(&key, &named(&["jack", "jane"])).await.unwrap().unwrap();
    store.remove_members(&key, &named(&["jill"])).await.unwrap();
    store.remove_members(&key, &named(&["jill", "john"])).await.unwrap();
    store.replace_channel(&channel).await.unwrap();
    assert!(store.delete_channel(&key).await.unwrap());
    assert!(!store.delete_channel(&key).await.unwrap());
    let change = |added: &[&str], removed: &[&str], is_deleted| MembersChange {
        channel: key.clone(),
        added: named(added),
        removed: named(removed),
        is_deleted,
    };
    let expected = [
        change(&["jack", "john"], &[], false),
        change(&["jane"], &[], false),
        change(&[], &["john"], false),
        change(&[], &[], true),
    ];
    assert_eq!(*heard.1.lock().unwrap(), expected);
}
