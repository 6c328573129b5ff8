//! A power cut leaves a prefix of the database's log. Whatever prefix: nothing that was promised is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt;
use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::UserKey;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::presence::ports::{ChangeLog, States};
use reachability_domain::queue::{Message, Queue};
use reachability_domain::sid::Sid;
use reachability_functions::Changes;
use reachability_functions::event_stream::EventStream;
use reachability_infra::clock;
use reachability_infra::sqlite::{Database, EventQueue, Outcome, PushQueue, Retention, SqliteFeed, SqliteStore};
use reachability_tests::app::app;
use reachability_tests::generate::service;
use reachability_tests::harness::{Harness, SETTINGS, rules, unstamped, worker};
use reachability_tests::queues::{database, event_queue};
use tokio::sync::watch;
use tower::ServiceExt;

/// The size of a log's header, of a frame's header, and of a page.
const HEADER: usize = 32;
const FRAME: usize = 24 + 4_096;

const RETENTION: Retention = Retention { age: Duration::MAX, rows: usize::MAX };

/// What somebody was told.
#[derive(Debug, Clone)]
enum Promise {
    /// An event is accepted.
    Event(Event),
    /// A user was created over REST.
    User(UserKey),
    /// A change at this position of the feed left the machine.
    Change(i64),
}

/// Promises, each with how many frames of the log were flushed when it was made.
type Promises = Arc<Mutex<Vec<(usize, Promise)>>>;

fn promise(database: &Database, promises: &Promises, promise: Promise) {
    let flushed = usize::try_from(database.flushed_pages()).unwrap();
    promises.lock().unwrap().push((flushed, promise));
}

fn event(identity: &str, kind: EventKind) -> Event {
    let user = UserKey { service: service(1), identity: identity.parse().unwrap() };
    Event { user, connection: "c-1".parse().unwrap(), occurred_at: clock::now(), kind }
}

/// Sends events, as the HTTP function does, and creates users, as the owner does.
async fn load(n: usize, database: Database, store: Arc<SqliteStore>, queue: EventQueue, promises: Promises) {
    for round in 0..4 {
        let connects: Vec<Event> = (0..3)
            .map(|user| event(&format!("user-{n}-{round}-{user}"), EventKind::Connect { lease: None, device: None }))
            .collect();
        let ends = EventKind::Disconnect { reason: EndReason::ClientClosed };
        let disconnect = event(connects[0].user.identity.as_str(), ends);
        for events in [connects, vec![disconnect]] {
            let messages: Vec<PresenceMessage> = events.iter().map(unstamped).collect();
            queue.send(&messages).await.unwrap();
            events.into_iter().for_each(|event| promise(&database, &promises, Promise::Event(event)));
        }
        let key = UserKey { service: service(1), identity: format!("profile-{n}-{round}").parse().unwrap() };
        let sid = Sid::from_bits((n * 1_000 + round) as u128);
        store.create_user(&User::new(sid, key.clone(), None, clock::now())).await.unwrap();
        promise(&database, &promises, Promise::User(key));
    }
}

/// Handles events, as the server does, until nothing waits after `stop`.
async fn consume(queue: EventQueue, store: Arc<SqliteStore>, stop: watch::Receiver<bool>) {
    let worker = worker(store, Arc::new(queue.clone()), rules(SETTINGS), Duration::ZERO, Arc::default());
    loop {
        let (now, stops) = (clock::now(), *stop.borrow());
        let taken = queue.take(now, 5).await.unwrap();
        if taken.is_empty() && stops {
            return;
        }
        let receipts: Vec<_> = taken.iter().map(|taken| taken.receipt).collect();
        let messages = taken.into_iter().map(|taken| taken.message.unwrap()).collect();
        assert!(worker.process(messages, now).await.is_empty());
        let outcome = Outcome { handled: receipts.iter().map(|receipt| receipt.id).collect(), ..Outcome::default() };
        queue.acknowledge(&receipts, outcome, now).await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// Delivers changes, as the server does, and reads their log, as clients do.
async fn publish(
    database: Database,
    feed: SqliteFeed,
    stream: EventStream,
    promises: Promises,
    stop: watch::Receiver<bool>,
) {
    let mut position = None;
    loop {
        let stops = *stop.borrow();
        let rows = feed.undelivered(position, 1_000).await.unwrap();
        if let Some(last) = rows.last() {
            feed.flushed().await.unwrap();
            rows.iter().for_each(|row| promise(&database, &promises, Promise::Change(row.id)));
            stream.publish(rows.iter().map(|row| (row.id.cast_unsigned(), row.entry.notice.as_ref())));
            feed.acknowledge(last.id, rows.len(), clock::now()).await.unwrap();
            position = Some(last.id);
        } else if stops {
            stream.close();
            return;
        }
        let log = feed.changes(service(1), None, None, 10_000).await.unwrap().unwrap();
        for change in log.changes {
            promise(&database, &promises, Promise::Change(change.id.cast_signed()));
        }
    }
}

/// Follows the stream of changes from its beginning, as clients do. Returns how many changes it had.
async fn follow(router: Router, authorization: String, database: Database, promises: Promises) -> usize {
    let request = Request::get(format!("/v1/Services/{}/Changes?After=0", service(1)))
        .header(header::AUTHORIZATION, authorization)
        .header(header::ACCEPT, "text/event-stream")
        .body(Body::empty())
        .unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (mut body, mut changes) = (answer.into_body(), 0);
    while let Some(frame) = body.frame().await {
        let event = String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap();
        if let Some(event) = event.strip_prefix("id: ") {
            let (id, _) = event.split_once('\n').unwrap();
            promise(&database, &promises, Promise::Change(id.parse().unwrap()));
            changes += 1;
        }
    }
    changes
}

/// What is in a database.
struct Contents {
    database: Database,
    store: SqliteStore,
    waiting: Vec<PresenceMessage>,
    changes: BTreeSet<i64>,
}

impl Contents {
    fn of(directory: &Path) -> Self {
        let database = database(directory);
        let raw = rusqlite::Connection::open(directory.join("reachability.db")).unwrap();
        let mut bodies = raw.prepare("SELECT body FROM messages WHERE lane = 0").unwrap();
        let bodies = bodies.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let waiting = bodies.map(|body| PresenceMessage::parse(body.unwrap().as_bytes()).unwrap()).collect();
        let mut changes = raw.prepare("SELECT id FROM feed").unwrap();
        let changes = changes.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        Self { store: SqliteStore::new(database.clone()), database, waiting, changes }
    }

    async fn exists(&self, user: &UserKey) -> bool {
        let user = self.store.user(user.service, &UserRef::Identity(user.identity.clone())).await;
        user.unwrap().is_some()
    }

    async fn is_online(&self, user: &UserKey) -> Option<bool> {
        let service = self.store.service(user.service).await.unwrap()?;
        let state = self.store.states(std::slice::from_ref(user)).await.unwrap().remove(0);
        Appearance::of(&service.configuration, &state, clock::now(), Viewer::Other).reachability.online
    }

    fn waits(&self, event: &Event) -> bool {
        self.waiting.contains(&unstamped(event))
    }

    async fn keeps(&self, promise: &Promise) -> bool {
        match promise {
            Promise::User(user) => self.exists(user).await,
            Promise::Change(id) => self.changes.contains(id),
            Promise::Event(event) if self.waits(event) => true,
            Promise::Event(event) => match event.kind {
                EventKind::Disconnect { .. } => self.is_online(&event.user).await == Some(false),
                _ => self.exists(&event.user).await && self.is_online(&event.user).await.is_some(),
            },
        }
    }

    /// Whether somebody will notice that this connection ends: its timer waits, or the event that sets it.
    fn has_timer(&self, user: &UserKey) -> bool {
        self.waiting.iter().any(|message| match message {
            PresenceMessage::Check(check) => check.user == *user,
            PresenceMessage::Event(accepted) => accepted.event.user == *user,
            PresenceMessage::Purge(_) => false,
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_prefix_of_the_log_has_what_was_promised() {
    let directory = tempfile::tempdir().unwrap();
    let database = database(directory.path());
    let store = Arc::new(SqliteStore::new(database.clone()));
    Harness::new(store.clone(), SETTINGS).switch(service(1), true).await;
    let queue = EventQueue::open(database.clone(), reachability_tests::queues::ANY_NUMBER).await.unwrap();
    let promises = Promises::default();
    let (stop, stopped) = watch::channel(false);
    let consumer = tokio::spawn(consume(queue.clone(), store.clone(), stopped.clone()));
    let (feed, stream) = (store.feed(RETENTION), EventStream::new(0, 1));
    let publisher = tokio::spawn(publish(database.clone(), feed.clone(), stream.clone(), promises.clone(), stopped));
    let (app, authorization) = app(store.clone(), Arc::new(queue.clone()), Arc::new(PushQueue::new(database.clone())));
    let router = reachability_functions::router(app, Some(Changes { log: Arc::new(feed), stream }), None);
    let reader = tokio::spawn(follow(router, authorization, database.clone(), promises.clone()));
    let clients =
        (0..3).map(|n| tokio::spawn(load(n, database.clone(), store.clone(), queue.clone(), promises.clone())));
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    stop.send(true).unwrap();
    consumer.await.unwrap();
    publisher.await.unwrap();
    assert!(reader.await.unwrap() > 50, "the stream has what happens");

    // Another process copies the files: whoever closes a file here gives up SQLite's locks on it.
    let copy = tempfile::tempdir().unwrap();
    for file in ["reachability.db", "reachability.db-wal"] {
        let [from, to] = [&directory, &copy].map(|directory| directory.path().join(file));
        assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
    }
    let log = fs::read(copy.path().join("reachability.db-wal")).unwrap();
    let frames = (log.len() - HEADER) / FRAME;
    let promises = promises.lock().unwrap().clone();
    assert!(frames > 200 && promises.len() > 100, "{frames} frames, {} promises", promises.len());

    let mut broken_before = 0;
    for frame in 0..=frames {
        // Half a frame is none.
        for extra in if frame % 16 == 0 { &[0, FRAME / 2][..] } else { &[0] } {
            let directory = tempfile::tempdir().unwrap();
            fs::copy(copy.path().join("reachability.db"), directory.path().join("reachability.db")).unwrap();
            let cut = log.len().min(HEADER + frame * FRAME + extra);
            fs::write(directory.path().join("reachability.db-wal"), &log[..cut]).unwrap();
            let contents = Contents::of(directory.path());
            for (flushed, promise) in &promises {
                let is_kept = contents.keeps(promise).await;
                assert!(is_kept || frame < *flushed, "cut at {frame}, {flushed} were flushed: {promise:?}");
                broken_before += usize::from(!is_kept);
                if let Promise::Event(Event { user, .. }) = promise
                    && contents.is_online(user).await == Some(true)
                {
                    assert!(contents.has_timer(user), "cut at {frame}: nobody ends {user:?}");
                }
            }
            drop(contents.database);
        }
    }
    assert!(broken_before > 0, "the cuts took nothing back");
    // The next start goes on from there.
    let queue = event_queue(copy.path()).await;
    assert!(queue.next_due().is_some());
}
