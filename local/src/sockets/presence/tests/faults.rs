//! A store that fails.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::user::User;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::Joined;
use reachability_domain::store::StoreError;
use reachability_tests::harness::ports;

use super::*;

/// How a store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Before,
    After,
}

/// Fails so many operations, before they are done or after.
struct Failing {
    store: Arc<SqliteStore>,
    fault: Fault,
    rows: AtomicUsize,
    joins: AtomicUsize,
}

impl Failing {
    async fn call<T>(
        &self,
        left: &AtomicUsize,
        done: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let fails = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if fails && self.fault == Fault::Before {
            return Err(StoreError::Unavailable("it is away".into()));
        }
        let result = done.await;
        if fails { Err(StoreError::Unavailable("it is away".into())) } else { result }
    }
}

#[async_trait]
impl Sockets for Failing {
    async fn closed(&self, sockets: &[Socket]) -> Result<(), StoreError> {
        self.call(&self.rows, self.store.closed(sockets)).await
    }

    async fn open(&self, at_most: usize) -> Result<Vec<Socket>, StoreError> {
        self.store.open(at_most).await
    }
}

#[async_trait]
impl States for Failing {
    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError> {
        self.store.states(users).await
    }

    async fn join(&self, user: &User, news: &News, fired: &[Timestamp], now: Timestamp) -> Result<Joined, StoreError> {
        self.call(&self.joins, self.store.join(user, news, fired, now)).await
    }

    async fn disclose(&self, user: &User, wish: &Disclose, now: Timestamp) -> Result<Option<UserState>, StoreError> {
        self.store.disclose(user, wish, now).await
    }

    async fn announce(&self, user: &UserKey, generation: Generation, now: Timestamp) -> Result<(), StoreError> {
        self.store.announce(user, generation, now).await
    }
}

/// A server on a store that works, and one that fails in a way. The latter's task is another than the former's.
async fn failing(directory: &Path, fault: Fault) -> (Server, Arc<Failing>) {
    let mut server = Server::start(directory).await;
    let (rows, joins) = Default::default();
    let failing = Arc::new(Failing { store: server.store.clone(), fault, rows, joins });
    let mut ports = ports(server.store.clone(), server.timers.clone(), Arc::default());
    ports.states = failing.clone();
    let rules = Rules { grace: GRACE, lease: LeasePolicy::Unlimited, limits: Limits::DEFAULT };
    let worker = Worker::new(ports, rules, Duration::ZERO, clock::now);
    server.presence.finish();
    (server.presence, server.task) = Presence::start(failing.clone(), worker);
    (server, failing)
}

#[tokio::test]
async fn a_connect_that_is_told_to_have_failed_is_ended() {
    for (fault, is_stored) in [(Fault::Before, false), (Fault::After, true)] {
        let directory = tempfile::tempdir().unwrap();
        let (server, failing) = failing(directory.path(), fault).await;
        // The end fails twice, too.
        failing.joins.store(3, Ordering::SeqCst);
        let socket = server.socket("alice");
        assert!(server.presence.connect(hello(&socket)).await.is_err());
        assert_eq!(server.heard.of(&socket.user).len(), usize::from(is_stored));
        wait("its end is tried again", async || (failing.joins.load(Ordering::SeqCst) == 0).then_some(())).await;
        wait("its row is removed", async || server.open().await.is_empty().then_some(())).await;
        assert!(server.state(&socket.user).await.presence.live_until() <= clock::now().plus(GRACE));
        assert_eq!(server.timers.count() > 0, is_stored, "its end is told");
        server.connected("alice").await;
    }
}

#[tokio::test]
async fn an_end_is_tried_until_it_is_stored() {
    for fault in [Fault::Before, Fault::After] {
        let directory = tempfile::tempdir().unwrap();
        let (server, failing) = failing(directory.path(), fault).await;
        let socket = server.connected("alice").await;
        failing.joins.store(3, Ordering::SeqCst);
        server.presence.disconnect(socket.clone(), EndReason::ClientClosed);
        wait("it is told", async || (server.heard.of(&socket.user).len() == 2).then_some(())).await;
        wait("its row is removed", async || server.open().await.is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn a_row_that_is_not_removed_is_removed_with_the_next_ones() {
    for fault in [Fault::Before, Fault::After] {
        let directory = tempfile::tempdir().unwrap();
        let (server, failing) = failing(directory.path(), fault).await;
        let next = server.connected("alice").await;
        failing.rows.store(1, Ordering::SeqCst);
        server.presence.disconnect(next.clone(), EndReason::ClientClosed);
        wait("it is told", async || (server.heard.of(&next.user).len() == 2).then_some(())).await;
        wait("its row was to be removed", async || (failing.rows.load(Ordering::SeqCst) == 0).then_some(())).await;
        let last = server.connected("bob").await;
        wait("it is removed", async || (!server.open().await.contains(&next)).then_some(())).await;
        assert!(server.open().await.contains(&last));
    }
}

#[tokio::test]
async fn a_socket_whose_caller_does_not_wait_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let socket = server.socket("alice");
    tokio::select! {
        biased;
        _ = server.presence.connect(hello(&socket)) => panic!("it cannot be stored that soon"),
        () = std::future::ready(()) => {}
    }
    let due = wait("there is a timer", async || server.timers.next()).await;
    assert_eq!(server.online(&socket.user, due).await, Some(false));
    wait("the row is removed", async || server.open().await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_socket_of_a_service_that_is_deleted_leaves_no_row() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let socket = server.connected("alice").await;
    server.store.delete_service(service(1)).await.unwrap();
    let refused = server.presence.connect(hello(&server.socket("bob"))).await.unwrap_err();
    assert!(refused.is_permanent(), "{refused}");
    server.presence.disconnect(socket, EndReason::ServerClosed);
    wait("the rows are removed", async || server.open().await.is_empty().then_some(())).await;
}
