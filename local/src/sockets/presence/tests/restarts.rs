//! The server is stopped, killed, or loses its power.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

/// The size of a log's header, of a frame's header, and of a page.
const HEADER: usize = 32;
const FRAME: usize = 24 + 4_096;

const IDENTITIES: [&str; 4] = ["alice", "bob", "carol", "dave"];

impl Server {
    /// As `kill -9` does.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Kills it, or stops it as SIGTERM does.
    async fn end(self, is_killed: bool) {
        if is_killed {
            return self.kill().await;
        }
        self.presence.finish();
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn sockets_of_an_earlier_run_end_after_the_restart_grace() {
    for is_killed in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path()).await;
        let (alice, bob) = (server.connected("alice").await, server.connected("bob").await);
        server.end(is_killed).await;

        let before = clock::now();
        let server = Server::start(directory.path()).await;
        assert!(server.open().await.is_empty());
        assert!(server.heard.0.lock().unwrap().is_empty(), "nobody hears of a restart");
        let end = server.state(&alice.user).await.presence.live_until();
        assert!(before.plus(RESTART_GRACE) <= end && end <= clock::now().plus(RESTART_GRACE));
        // Killed before the rows were removed: the next start ends them again, and not later.
        for socket in [&alice, &bob] {
            server.presence.connect(hello(socket)).await.unwrap();
        }
        assert_eq!(server.open().await.len(), 2);
        server.kill().await;
        let server = Server::start(directory.path()).await;
        assert_eq!(server.state(&alice.user).await.presence.live_until(), end);

        // Bob is back in time.
        server.connected("bob").await;
        let last = clock::now().plus(RESTART_GRACE);
        server.tick(last).await;
        assert!(matches!(server.heard.of(&alice.user)[..], [(_, Some(false))]));
        assert!(server.heard.of(&bob.user).is_empty());
        assert_eq!(server.online(&bob.user, last).await, Some(true));
    }
}

/// Connections that an owner's gateway reported are none of the server's.
#[tokio::test]
async fn a_restart_leaves_other_connections_alone() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let socket = server.connected("alice").await;
    let now = clock::now();
    let event = reachability_domain::presence::event::Event {
        user: socket.user.clone(),
        connection: "of-another-gateway".parse().unwrap(),
        occurred_at: now,
        kind: reachability_domain::presence::event::EventKind::Connect { lease: None, device: None },
    };
    Harness::new(server.store.clone(), SETTINGS).deliver(&[event], now.as_millis()).await;
    server.kill().await;
    let server = Server::start(directory.path()).await;
    let end = server.state(&socket.user).await.presence.live_until();
    assert_eq!(end, now.plus(Duration::from_secs(120)), "the end of its lease");
}

/// Something that happens to a server.
#[derive(Debug, Clone)]
enum Step {
    Connect(usize),
    /// Of one of the open sockets.
    Disconnect(usize, EndReason),
    Kill,
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    let reason =
        prop_oneof![Just(EndReason::ClientClosed), Just(EndReason::ConnectionLost), Just(EndReason::ServerClosed)];
    prop_oneof![
        6 => (0..IDENTITIES.len()).prop_map(Step::Connect),
        4 => (any::<usize>(), reason).prop_map(|(n, reason)| Step::Disconnect(n, reason)),
        1 => Just(Step::Kill),
        1 => Just(Step::Stop),
    ]
}

/// Whoever has an open socket is online, and nobody else is for longer than a grace period.
async fn users_match_their_sockets(server: &Server, open: &[Socket]) {
    let latest = clock::now().plus(RESTART_GRACE);
    for identity in IDENTITIES {
        let (user, state) = (user(identity), server.state(&user(identity)).await);
        let is_open = open.iter().any(|socket| socket.user == user);
        let until = state.presence.live_until();
        assert_eq!(until == Timestamp::MAX, is_open, "{identity} until {until}");
        assert!(is_open || until <= latest, "{identity} until {until}");
    }
}

#[test]
fn after_any_restarts_only_users_with_sockets_stay_online() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) });
    let checked = runner.run(&vec(step(), 1..40), |steps| {
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let mut server = Server::start(directory.path()).await;
            let mut open: Vec<Socket> = vec![];
            for step in steps {
                match step {
                    Step::Connect(n) => open.push(server.connected(IDENTITIES[n]).await),
                    Step::Disconnect(n, reason) if !open.is_empty() => {
                        let socket = open.swap_remove(n % open.len());
                        server.presence.disconnect(socket, reason);
                    }
                    Step::Disconnect(..) => {}
                    Step::Kill | Step::Stop => {
                        server.end(matches!(step, Step::Kill)).await;
                        open.clear();
                        server = Server::start(directory.path()).await;
                        users_match_their_sockets(&server, &open).await;
                    }
                }
            }
            // What was said before is stored by then.
            server.connected("last").await;
            users_match_their_sockets(&server, &open).await;
            server.end(false).await;
        });
        Ok(())
    });
    checked.unwrap();
}

/// Opens and closes sockets.
async fn load(server: &Server, n: usize) {
    let mut open = vec![];
    for round in 0..24 {
        open.push(server.connected(IDENTITIES[(n + round) % IDENTITIES.len()]).await);
        if round % 3 == 2 {
            let reason = if round % 2 == 0 { EndReason::ClientClosed } else { EndReason::ConnectionLost };
            server.presence.disconnect(open.remove(0), reason);
        }
    }
}

/// Whatever prefix of the log is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_leaves_no_ghost() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    futures_util::future::join_all((0..4).map(|n| load(&server, n))).await;
    server.connected("last").await;

    // Another process copies the files: whoever closes a file here gives up SQLite's locks on it.
    let copy = tempfile::tempdir().unwrap();
    for file in ["reachability.db", "reachability.db-wal"] {
        let [from, to] = [&directory, &copy].map(|directory| directory.path().join(file));
        assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
    }
    let log = fs::read(copy.path().join("reachability.db-wal")).unwrap();
    let flushed = usize::try_from(server.database.flushed_pages()).unwrap();
    let frames = (log.len() - HEADER) / FRAME;
    assert!(frames > flushed + 50, "{flushed} of {frames} were flushed");

    let mut live_after = BTreeMap::new();
    for frame in flushed..=frames {
        let directory = tempfile::tempdir().unwrap();
        fs::copy(copy.path().join("reachability.db"), directory.path().join("reachability.db")).unwrap();
        fs::write(directory.path().join("reachability.db-wal"), &log[..HEADER + frame * FRAME]).unwrap();
        let left = SqliteStore::new(database(directory.path()));
        let users = IDENTITIES.map(user);
        let before: Vec<UserState> = left.states(&users).await.unwrap();
        let rows: BTreeSet<_> = left.open(1_000).await.unwrap().iter().map(|it| it.connection.key()).collect();
        for state in &before {
            let live = state.presence.connections.iter().filter(|(_, it)| it.live_until() == Timestamp::MAX);
            for (key, _) in live {
                assert!(rows.contains(key), "cut at {frame}: nobody ends a connection");
            }
        }
        drop(left);

        let server = Server::start(directory.path()).await;
        users_match_their_sockets(&server, &[]).await;
        let live = users.iter().zip(before).filter(|(_, before)| before.presence.live_until() == Timestamp::MAX);
        let live: Vec<_> = live.map(|(user, _)| user).collect();
        // Who was online still is, for so long, and is told to be offline then.
        let now = clock::now();
        for user in &live {
            assert_eq!(server.online(user, now).await, Some(true), "cut at {frame}: {user:?}");
        }
        server.tick(now.plus(RESTART_GRACE)).await;
        for user in live {
            assert!(matches!(server.heard.of(user)[..], [(_, Some(false))]), "cut at {frame}: {user:?}");
            *live_after.entry(user.clone()).or_insert(0) += 1;
        }
    }
    assert_eq!(live_after.len(), IDENTITIES.len(), "all were online at some cut");
}
