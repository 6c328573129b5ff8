//! Restarts of the server under connected clients.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reachability_tests::live::{Library, Live, Place, Program};
use reachability_tests::relay::Relay;
use reachability_tests::server::Server;

/// Clients try again after about one, three, eight and fourteen seconds.
const RESTART_GRACE: u64 = 10;

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(5);

#[tokio::test]
async fn whoever_comes_back_was_never_gone() {
    let directory = tempfile::tempdir().unwrap();
    let restart_grace = RESTART_GRACE.to_string();
    let start = || Server::start(directory.path(), &["--restart-grace-seconds", &restart_grace]);
    let server = start();
    let relay = Relay::start(&server.url).await;
    let place = &Place::new(&server).await.behind(&relay, &server);
    let doomed = &Program::start(Library::Conversations).await;
    let gone = Live::start(doomed, place, "gone").await;
    let programs = &join_all(Library::ALL.map(Program::shared)).await;
    let pairs = join_all(programs.iter().map(async |program| {
        let [watcher, bob] = ["watcher", "bob"].map(|name| format!("{name}-{:?}", program.library()));
        let of_watcher = Live::start(program, place, &watcher).await;
        let of_bob = Live::start(program, place, &bob).await;
        for identity in [&watcher, &bob, "gone"] {
            of_watcher.user(identity).await;
        }
        (of_watcher, of_bob, watcher, bob)
    }))
    .await;
    let are_back = async |times: usize| {
        let all = pairs.iter().flat_map(|(of_watcher, of_bob, ..)| [of_watcher, of_bob]);
        join_all(all.map(|live| live.has_connected(times))).await;
    };
    let hear_nothing = async || {
        for (of_watcher, of_bob, watcher, bob) in &pairs {
            of_watcher.is_told(bob, &[]).await;
            of_watcher.is_told(watcher, &[]).await;
            of_bob.is_told(bob, &[]).await;
        }
    };

    let (status, logs) = server.stop();
    assert!(status.success(), "{status} {logs}");
    let server = start();
    relay.retarget(&server.url);
    are_back(2).await;
    gone.has_connected(2).await;
    hear_nothing().await;

    server.kill();
    // The server's runs have no connection of this one in common, and nobody reports its end.
    doomed.signal("KILL");
    let server = start();
    let started = Instant::now();
    relay.retarget(&server.url);
    are_back(3).await;
    hear_nothing().await;
    for (of_watcher, ..) in &pairs {
        of_watcher.hears_change("gone", "reachabilityOnline false").await;
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(RESTART_GRACE) + SLACK, "{took:?}");
    for (of_watcher, ..) in &pairs {
        of_watcher.is_told("gone", &["reachabilityOnline false"]).await;
    }
    hear_nothing().await;
}
