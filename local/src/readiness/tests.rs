use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use reachability_domain::directory::ports::Services;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::at_commit::AtCommit;
use reachability_domain::presence::event::{Event, EventKind};
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::queue::Queue;
use reachability_infra::sqlite::SqliteStore;
use reachability_tests::generate::service;
use reachability_tests::harness::{new_service, unstamped};
use reachability_tests::queues::{ANY_NUMBER, seal};
use reachability_tests::wait::wait;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

struct Checked {
    check: Arc<ServerCheck>,
    database: Database,
    events: EventQueue,
    stop: watch::Sender<bool>,
    path: PathBuf,
    _directory: TempDir,
}

impl Checked {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let database = Database::open(&path, seal()).unwrap();
        let events = EventQueue::open(database.clone(), ANY_NUMBER).await.unwrap();
        let (stop, stopping) = watch::channel(false);
        let check = Arc::new(ServerCheck::new(stopping, events.clone(), database.clone()));
        Self { check, database, events, stop, path, _directory: directory }
    }

    async fn unready(&self) -> Option<Unready> {
        self.check.check().await.unready
    }
}

/// How often something was written only to find out whether that works, or to flush.
fn touches(database: &Path) -> u64 {
    let reader = Connection::open(database).unwrap();
    reader.query_row("SELECT flushes FROM feed_position", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn many_who_ask_share_one_write() {
    let server = Checked::new().await;
    let before = touches(&server.path);
    let started = Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let check = server.check.clone();
        asking.spawn(async move { check.check().await });
    }
    for found in asking.join_all().await {
        assert_eq!(found, Readiness { unready: None, oldest_waiting_event: None });
    }
    // A machine may be so slow that the result is not reused for all.
    let most = 1 + started.elapsed().as_secs();
    let written = touches(&server.path) - before;
    assert!((1..=most).contains(&written), "{written} writes in {most} seconds");
    let again = async || {
        assert_eq!(server.unready().await, None);
        (touches(&server.path) > before + written).then_some(())
    };
    wait("a later check writes again", again).await;
}

#[tokio::test]
async fn a_server_that_stops_is_not_ready() {
    let server = Checked::new().await;
    server.stop.send_replace(true);
    let before = touches(&server.path);
    assert_eq!(server.unready().await, Some(Unready::Stopping));
    assert_eq!(touches(&server.path), before);
}

#[tokio::test]
async fn a_server_that_cannot_write_is_not_ready() {
    let server = Checked::new().await;
    server.database.close().await.unwrap();
    assert_eq!(server.unready().await, Some(Unready::WriteFailed));
}

/// Says that it is on the writer's thread, and stays there until it is let go.
struct Holds(Mutex<(Sender<()>, Receiver<()>)>);

impl AtCommit for Holds {
    fn committed(&self, _: Vec<FeedEntry>) {
        let held = self.0.lock().unwrap();
        held.0.send(()).unwrap();
        held.1.recv().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_takes_long_is_not_repeated() {
    let server = Checked::new().await;
    let ((here, is_here), (go, wait_for_go)) = (channel(), channel());
    let store =
        SqliteStore::new(server.database.clone()).with_at_commit(Arc::new(Holds(Mutex::new((here, wait_for_go)))));
    let mut new = new_service(service(1));
    store.create_service(&new).await.unwrap();
    new.configuration.set_reachability_enabled(true, clock::now());
    let write = tokio::spawn(async move { store.replace_service(&new).await });
    is_here.recv().unwrap();
    let before = touches(&server.path);
    assert_eq!(server.unready().await, Some(Unready::WriteTimedOut));
    assert_eq!(server.unready().await, Some(Unready::WriteTimedOut));
    go.send(()).unwrap();
    write.await.unwrap().unwrap();
    // All that were asked for before are done.
    server.database.close().await.unwrap();
    assert_eq!(touches(&server.path), before + 1);
}

#[tokio::test]
async fn the_oldest_event_that_waits_is_told() {
    let server = Checked::new().await;
    assert_eq!(server.check.check().await.oldest_waiting_event, None);
    let user = UserKey { service: service(1), identity: "alice".parse().unwrap() };
    let kind = EventKind::Renew { lease: None };
    let event = Event { user, connection: "c-1".parse().unwrap(), occurred_at: clock::now(), kind };
    let sent_at = clock::now();
    server.events.send(&[unstamped(&event)]).await.unwrap();
    let age = server.check.check().await.oldest_waiting_event.unwrap();
    assert!(age <= clock::now().since(sent_at), "{age:?}");
}
