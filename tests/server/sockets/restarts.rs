//! Restarts of the server under connected clients.

use std::time::{Duration, Instant};

use reachability_tests::server::Server;
use reachability_tests::twilsock::{Ended, Twilsock};
use reachability_tests::watcher::Watcher;

use super::Setup;

const RESTART_GRACE: Duration = Duration::from_secs(5);
const ARGUMENTS: [&str; 4] = ["--grace-seconds", "0", "--restart-grace-seconds", "5"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hears_of_a_restart() {
    let Setup { directory, mut server, client, signer, service } = Setup::new(&ARGUMENTS).await;
    drop(client);
    let open =
        async |server: &Server, identity| Twilsock::open(server.address(), &signer.token(&service, identity)).await;
    let mut alice = Watcher::new(open(&server, "alice").await);
    let mut sockets = vec![];
    for identity in ["bob", "carol", "dave"] {
        sockets.push(open(&server, identity).await);
        alice.watch(identity).await;
    }
    for is_killed in [false, true, false] {
        if is_killed {
            server.kill();
        } else {
            let stopped = tokio::task::spawn_blocking(move || server.stop());
            for socket in &mut sockets {
                assert_eq!(socket.end().await, Ended::Closed(1001, "server-stops".into()));
            }
            let (status, logs) = stopped.await.unwrap();
            assert!(status.success() && !logs.contains("not closed in time"), "{status} {logs}");
        }
        let started = Instant::now();
        server = Server::start(directory.path(), &ARGUMENTS);
        alice.resume(open(&server, "alice").await).await;
        sockets.clear();
        for identity in ["bob", "carol"] {
            sockets.push(open(&server, identity).await);
        }
        // Whoever does not come back is offline when the grace period of the restart is over, and nobody else ever.
        let change = alice.change().await.unwrap();
        assert_eq!((change.identity.as_str(), change.reachability.0), ("dave", Some(false)));
        assert!(RESTART_GRACE - Duration::from_millis(100) < started.elapsed(), "{:?}", started.elapsed());
        sockets.push(open(&server, "dave").await);
        let change = alice.change().await.unwrap();
        assert_eq!((change.identity.as_str(), change.reachability.0), ("dave", Some(true)));
        assert!(alice.changes_within(Duration::from_millis(200)).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_closes_the_sockets_of_strangers() {
    let setup = Setup::new(&[]).await;
    let mut silent = setup.connect().await;
    let mut refused = setup.connect().await;
    assert_eq!(refused.init("nonsense", None).await.status(), 401);
    let server = setup.server;
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    for stranger in [&mut silent, &mut refused] {
        assert_eq!(stranger.end().await, Ended::Closed(1001, "server-stops".into()));
    }
    let (status, logs) = stopped.await.unwrap();
    assert!(status.success() && !logs.contains("not closed in time"), "{status} {logs}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_closes_all_sockets() {
    let setup = Setup::new(&[]).await;
    let mut sockets: Vec<Twilsock> = vec![];
    for n in 0..300 {
        sockets.push(setup.open(&format!("user-{n}")).await);
    }
    // This one does not read, and cannot hold the server up.
    let frozen = sockets.pop();
    let server = setup.server;
    let started = Instant::now();
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    for socket in &mut sockets {
        assert_eq!(socket.end().await, Ended::Closed(1001, "server-stops".into()));
    }
    let (status, _) = stopped.await.unwrap();
    assert!(status.success());
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    drop(frozen);
}
