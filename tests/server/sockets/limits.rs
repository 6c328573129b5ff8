//! What strangers and clients can take is limited.

use std::net::SocketAddr;
use std::time::Duration;

use reachability_tests::twilsock::{Ended, Twilsock};
use reachability_tests::wait::wait;
use tokio::net::{TcpSocket, TcpStream};

use super::Setup;

/// A connection from this address.
pub(super) async fn from(setup: &Setup, address: &str, buffer: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(buffer) = buffer {
        socket.set_recv_buffer_size(buffer).unwrap();
    }
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    socket.connect(setup.server.address().parse().unwrap()).await.unwrap()
}

/// The status and the code of the answer to a user's `init`, and the socket.
async fn init(setup: &Setup, service: &str, identity: &str) -> (u64, u64, Twilsock) {
    let mut socket = Twilsock::connect(setup.server.address()).await.unwrap_or_else(|status| panic!("{status}"));
    let reply = socket.init(&setup.signer.token(service, identity), None).await;
    if reply.status() == 429 {
        assert!(reply.payload["backoff_policy"]["reconnect_min_ms"].is_u64(), "{reply:?}");
    }
    (reply.status(), reply.error_code(), socket)
}

#[tokio::test]
async fn users_and_services_have_so_many_sockets() {
    let setup = Setup::new(&["--max-connections-per-user", "2", "--max-sockets-per-service", "4"]).await;
    let service = &setup.service;
    let mut open = vec![];
    for (identity, status, code) in [
        ("alice", 200, 0),
        ("alice", 200, 0),
        ("alice", 429, 51202),
        ("bob", 200, 0),
        ("bob", 200, 0),
        ("carol", 429, 51202),
    ] {
        let (found, error, socket) = init(&setup, service, identity).await;
        assert_eq!((found, error), (status, code), "{identity}");
        open.push(socket);
    }
    let other = setup.client.enabled_service().await;
    assert_eq!(init(&setup, &other, "alice").await.0, 200, "another service has room");
    open.swap_remove(0).goodbye().await;
    // The place is free as soon as the server has read that.
    let comes_in = async || (init(&setup, service, "carol").await.0 == 200).then_some(());
    wait("there is room again", comes_in).await;
}

#[tokio::test]
async fn addresses_have_so_many_sockets() {
    let setup = Setup::new(&["--max-sockets-per-address", "2", "--max-sockets", "3"]).await;
    let mut sockets = vec![];
    for (address, status) in [
        ("127.0.0.1", None),
        ("127.0.0.1", None),
        ("127.0.0.1", Some(503)),
        ("127.0.0.2", None),
        ("127.0.0.3", Some(503)),
    ] {
        let opened = Twilsock::over(from(&setup, address, None).await).await;
        assert_eq!(opened.as_ref().err(), status.as_ref(), "{address}");
        sockets.extend(opened.ok());
    }
    // The owner's requests are no sockets.
    assert_eq!(setup.client.everybody(&setup.service).await.len(), 0);
    sockets.clear();
    let comes_in = async || Twilsock::over(from(&setup, "127.0.0.1", None).await).await.ok();
    wait("there is room again", comes_in).await;
}

#[tokio::test]
async fn a_silent_stranger_is_sent_away() {
    let setup = Setup::new(&[]).await;
    let mut stranger = Twilsock::connect(setup.server.address()).await.unwrap_or_else(|status| panic!("{status}"));
    assert_eq!(stranger.end().await, Ended::Closed(1000, "no-init-from-client".into()));
}

#[tokio::test]
async fn who_reads_too_slowly_is_cut_off() {
    let setup = Setup::new(&["--grace-seconds", "0", "--ping-seconds", "3600"]).await;
    let mut alice = setup.watcher("alice").await;
    let slow = Twilsock::over(from(&setup, "127.0.0.1", Some(4_096)).await).await;
    let mut slow = slow.unwrap_or_else(|status| panic!("{status}"));
    assert_eq!(slow.init(&setup.token("slow"), None).await.status(), 200);
    alice.watch("slow").await;
    let (_, user) = slow.request("GET", "/Client/v2/Users/alice", None).await;
    let map = super::text(&user["sync_objects"], "user_info_map");
    assert_eq!(slow.subscribe(&[(&map, None)]).await, 202);
    // From now on it reads nothing.
    let path = format!("/v1/Services/{}/Users/alice", setup.service);
    for n in 0..1_000 {
        let attributes = format!("Attributes=%7B%22a%22%3A%22{}{n}%22%7D", "x".repeat(4_000));
        setup.client.post(&path, attributes).await;
        if let Some(change) = alice.changes_within(Duration::ZERO).await.pop() {
            assert_eq!((change.identity.as_str(), change.reachability.0), ("slow", Some(false)));
            return;
        }
    }
    assert_eq!(alice.until("slow", Some(false)).await, 1);
}
