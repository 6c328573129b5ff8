mod faults;
mod restarts;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reachability_domain::directory::ports::Services;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::at_commit::AtCommit;
use reachability_domain::presence::change::Notice;
use reachability_domain::presence::connections::{Limits, Rules};
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::event::EndReason;
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::sockets::{Socket, Sockets};
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::status::Status;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::sqlite::{Database, SqliteStore};
use reachability_tests::generate::service;
use reachability_tests::harness::{Harness, SETTINGS, Timers, worker};
use reachability_tests::queues::database;
use reachability_tests::wait::wait;
use reachability_worker::Worker;
use tokio::task::JoinHandle;

use super::{Hello, LeasePolicy, Presence, end_earlier};

const GRACE: Duration = Duration::from_secs(10);
const RESTART_GRACE: Duration = Duration::from_secs(30);

/// What was told at commits.
#[derive(Default)]
struct Heard(Mutex<Vec<FeedEntry>>);

impl AtCommit for Heard {
    fn committed(&self, entries: Vec<FeedEntry>) {
        self.0.lock().unwrap().extend(entries);
    }
}

impl Heard {
    /// The values of `is_online` that were told of a user, with their sequence.
    fn of(&self, user: &UserKey) -> Vec<(u64, Option<bool>)> {
        let entries = self.0.lock().unwrap();
        let told = entries.iter().filter_map(|entry| match &entry.notice {
            Some(Notice::User(change)) if change.user == *user => {
                Some((entry.sequence, change.after.reachability.online))
            }
            _ => None,
        });
        told.collect()
    }
}

/// A server on a data directory.
struct Server {
    database: Database,
    store: Arc<SqliteStore>,
    heard: Arc<Heard>,
    timers: Arc<Timers>,
    presence: Presence,
    task: JoinHandle<()>,
}

fn worker_of(store: Arc<SqliteStore>, timers: Arc<Timers>, grace: Duration) -> Worker {
    let lease = LeasePolicy::For(Duration::from_secs(120));
    let rules = super::rules(Rules { grace: Duration::ZERO, lease, limits: Limits::DEFAULT }, grace);
    worker(store, timers, rules, Duration::ZERO, Arc::default())
}

impl Server {
    /// Starts it, with the first service switched on if it is new.
    async fn start(directory: &Path) -> Self {
        let database = database(directory);
        let heard = Arc::new(Heard::default());
        let store = Arc::new(SqliteStore::new(database.clone()).with_at_commit(heard.clone()));
        if store.service(service(1)).await.unwrap().is_none() {
            Harness::new(store.clone(), SETTINGS).switch(service(1), true).await;
        }
        let timers = Arc::new(Timers::default());
        let restart = worker_of(store.clone(), timers.clone(), RESTART_GRACE);
        end_earlier(&*store, &restart).await.unwrap();
        let (presence, task) = Presence::start(store.clone(), worker_of(store.clone(), timers.clone(), GRACE));
        Self { database, store, heard, timers, presence, task }
    }

    fn socket(&self, identity: &str) -> Socket {
        Socket { user: user(identity), connection: self.presence.new_connection() }
    }

    async fn connected(&self, identity: &str) -> Socket {
        let socket = self.socket(identity);
        self.presence.connect(hello(&socket)).await.unwrap();
        socket
    }

    async fn state(&self, user: &UserKey) -> UserState {
        self.store.states(std::slice::from_ref(user)).await.unwrap().remove(0)
    }

    async fn online(&self, user: &UserKey, at: Timestamp) -> Option<bool> {
        let service = self.store.service(user.service).await.unwrap().unwrap();
        Appearance::of(&service.configuration, &self.state(user).await, at, Viewer::Other).reachability.online
    }

    async fn open(&self) -> Vec<Socket> {
        self.store.open(1_000).await.unwrap()
    }

    /// Handles the timers that are due at a time, as the queue's consumer does then.
    async fn tick(&self, at: Timestamp) {
        let due = self.timers.take_due(at).into_iter().map(PresenceMessage::Check).collect();
        let worker = worker_of(self.store.clone(), self.timers.clone(), GRACE);
        assert!(worker.process(due, at).await.is_empty());
    }
}

/// A connect that says nothing else.
fn hello(socket: &Socket) -> Hello {
    Hello { socket: socket.clone(), device: None, wish: Disclose::default() }
}

fn user(identity: &str) -> UserKey {
    UserKey { service: service(1), identity: identity.parse().unwrap() }
}

#[tokio::test]
async fn a_connect_is_heard_at_its_commit_and_not_flushed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let flushed = server.database.flushed_pages();
    let socket = server.connected("alice").await;
    let [(first, Some(true))] = server.heard.of(&socket.user)[..] else {
        panic!("{:?}", server.heard.of(&socket.user))
    };
    assert_eq!(server.open().await, std::slice::from_ref(&socket));
    assert_eq!(server.state(&socket.user).await.presence.live_until(), Timestamp::MAX, "nobody has to renew it");

    server.presence.disconnect(socket.clone(), EndReason::ClientClosed);
    let told =
        wait("the goodbye is heard", async || Some(server.heard.of(&socket.user)).filter(|it| it.len() > 1)).await;
    assert!(matches!(told[1], (second, Some(false)) if first < second), "{told:?}");
    wait("the row is removed", async || server.open().await.is_empty().then_some(())).await;
    assert_eq!(server.database.flushed_pages(), flushed, "all of it happened without a flush");
    assert_eq!(server.timers.count(), 0);
}

/// Watchers hear of a connect and of what is wished with it in one change, or not at all.
#[tokio::test]
async fn a_wish_comes_with_its_connect() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let connects = async |invisible, text| {
        let socket = server.socket("alice");
        let wish = Disclose { status: Some(Status::set_to(text).unwrap()), invisible: Some(invisible) };
        server.presence.connect(Hello { wish, ..hello(&socket) }).await.unwrap();
        socket
    };
    let flushed = server.database.flushed_pages();
    let first = connects(true, "secret").await;
    assert!(server.database.flushed_pages() > flushed, "it is promised");
    let created = Appearance { revision: server.state(&first.user).await.revision, ..Appearance::default() };
    let seen = async |viewer| {
        let service = server.store.service(service(1)).await.unwrap().unwrap();
        Appearance::of(&service.configuration, &server.state(&user("alice")).await, clock::now(), viewer)
    };
    assert_eq!(seen(Viewer::Other).await, created, "there is such a user");
    assert_eq!(seen(Viewer::User).await.status.unwrap().as_str(), "secret");
    assert!(matches!(server.heard.of(&first.user)[..], [(_, None)]), "{:?}", server.heard.of(&first.user));

    server.presence.disconnect(first.clone(), EndReason::ClientClosed);
    wait("the row is removed", async || server.open().await.is_empty().then_some(())).await;
    connects(true, "still secret").await;
    assert_eq!(seen(Viewer::Other).await, created);
    connects(false, "here").await;
    let other = seen(Viewer::Other).await;
    assert_eq!((other.reachability.online, other.status.unwrap().as_str()), (Some(true), "here"));
    assert!(matches!(server.heard.of(&first.user)[..], [_, (_, Some(true))]), "in one change");
}

#[tokio::test]
async fn a_lost_socket_counts_until_its_grace_period_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let alice = user("alice");
    let lost = server.connected("alice").await;
    let before = clock::now();
    server.presence.disconnect(lost, EndReason::ConnectionLost);
    let due = wait("there is a timer", async || server.timers.next()).await;
    assert!(before.plus(GRACE) <= due && due <= clock::now().plus(GRACE));
    // One that comes back in time: nobody hears of it.
    let back = server.connected("alice").await;
    server.tick(due).await;
    assert_eq!(server.heard.of(&alice).len(), 1);
    assert_eq!(server.online(&alice, due).await, Some(true));

    server.presence.disconnect(back, EndReason::ConnectionLost);
    let due = wait("there is another timer", async || server.timers.next()).await;
    assert_eq!(server.online(&alice, clock::now()).await, Some(true));
    assert_eq!(server.online(&alice, due).await, Some(false));
    server.tick(due).await;
    assert!(matches!(server.heard.of(&alice)[..], [_, (_, Some(false))]));
}

#[tokio::test]
async fn sockets_are_online_in_the_generation_that_is_switched_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let harness = Harness::new(server.store.clone(), SETTINGS);
    let earlier = server.connected("alice").await;
    harness.switch(service(1), false).await;
    let meanwhile = server.connected("bob").await;
    assert_eq!(server.online(&earlier.user, clock::now()).await, None);
    harness.switch(service(1), true).await;
    let switched = server.heard.0.lock().unwrap().last().map(|entry| entry.sequence).unwrap();
    for socket in [&earlier, &meanwhile] {
        assert_eq!(server.online(&socket.user, clock::now()).await, None);
    }
    let closed = server.socket("carol");
    let open = vec![earlier.clone(), meanwhile.clone(), closed.clone()];
    server.presence.renew(|| open);
    server.presence.disconnect(closed.clone(), EndReason::ClientClosed);
    for socket in [&earlier, &meanwhile] {
        let last = wait("they are heard", async || {
            server
                .heard
                .of(&socket.user)
                .into_iter()
                .rfind(|(_, online)| *online == Some(true))
                .filter(|(sequence, _)| *sequence > switched)
        });
        last.await;
        assert_eq!(server.online(&socket.user, clock::now()).await, Some(true));
    }
    assert_ne!(server.online(&closed.user, clock::now()).await, Some(true), "nothing reopens what is closed");
}

/// Of each user more sockets than a record remembers when they have ended, and in all more than are stored at once.
#[tokio::test]
async fn a_renewal_does_not_come_after_the_end_of_its_socket() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let users: Vec<String> = (0..20).map(|n| format!("user-{n}")).collect();
    let mut sockets = vec![];
    for user in users.iter().flat_map(|user| std::iter::repeat_n(user, 40)) {
        sockets.push(server.connected(user).await);
    }
    let open = sockets.clone();
    server.presence.renew(|| open);
    for socket in sockets {
        server.presence.disconnect(socket, EndReason::ClientClosed);
    }
    server.connected("witness").await;
    wait("the rows are removed", async || (server.open().await.len() == 1).then_some(())).await;
    for name in users {
        assert_eq!(server.online(&user(&name), clock::now()).await, Some(false), "{name}");
    }
}

/// In the same millisecond as the ends of so many others that some are forgotten.
#[tokio::test]
async fn who_comes_while_many_sockets_end_is_online() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    for _ in 0..10 {
        let mut sockets = vec![];
        for _ in 0..45 {
            sockets.push(server.connected("alice").await);
        }
        for socket in sockets {
            server.presence.disconnect(socket, EndReason::ClientClosed);
        }
        let stays = server.connected("alice").await;
        wait("the rows are removed", async || (server.open().await.len() == 1).then_some(())).await;
        assert_eq!(server.online(&user("alice"), clock::now()).await, Some(true));
        server.presence.disconnect(stays, EndReason::ClientClosed);
    }
}

#[tokio::test]
async fn a_user_with_several_sockets_is_online_until_the_last_one_ends() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let mut sockets = vec![];
    for _ in 0..3 {
        sockets.push(server.connected("alice").await);
    }
    for socket in sockets.drain(1..) {
        server.presence.disconnect(socket, EndReason::ClientClosed);
    }
    wait("two rows are removed", async || (server.open().await.len() == 1).then_some(())).await;
    assert_eq!(server.heard.of(&user("alice")).len(), 1);
    server.presence.disconnect(sockets.remove(0), EndReason::ClientClosed);
    wait("the last one is heard", async || (server.heard.of(&user("alice")).len() == 2).then_some(())).await;
}

/// What comes after it is not stored.
#[tokio::test]
async fn the_task_finishes_what_was_said() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path()).await;
    let sockets: Vec<Socket> = (0..700).map(|n| server.socket(&format!("user-{n}"))).collect();
    let connects = sockets.iter().map(|socket| server.presence.connect(hello(socket)));
    for connected in futures_util::future::join_all(connects).await {
        connected.unwrap();
    }
    for socket in &sockets {
        server.presence.disconnect(socket.clone(), EndReason::ClientClosed);
    }
    server.presence.finish();
    assert!(server.presence.connect(hello(&server.socket("late"))).await.is_err());
    (&mut server.task).await.unwrap();
    assert!(server.open().await.is_empty());
    for socket in &sockets {
        let online: Vec<_> = server.heard.of(&socket.user).into_iter().map(|(_, online)| online).collect();
        assert_eq!(online, [Some(true), Some(false)]);
    }
    assert!(server.heard.of(&user("late")).is_empty());
}
