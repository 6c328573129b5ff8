//! Connections of those who did not say who they are: they keep nobody out.

use std::time::Duration;

use reachability_tests::client::Client;
use reachability_tests::raw::{CLOSE, Connection, FORM, basic, request};
use reachability_tests::server::Server;
use reachability_tests::tokens::Signer;
use reachability_tests::wait::wait;
use serde_json::json;
use tokio::time::timeout;

use crate::sockets::Setup;

const HERE: [u8; 4] = [127, 0, 0, 1];
const THERE: [u8; 4] = [127, 0, 0, 2];

/// Half of the time that a client has for the head of a request: whoever is answered within did not wait for others to time
/// out.
const BEFORE_OTHERS_TIME_OUT: Duration = Duration::from_secs(15);

fn owner(server: &Server) -> String {
    basic(&server.account, &server.token)
}

/// The status of a request for the services on this connection, which stays open.
fn ask(server: &Server, connection: &mut Connection) -> u16 {
    connection.send(request("GET", "/v1/Services", &[&owner(server)], b""));
    connection.receive("GET").expect("an answer").status
}

/// The status of a request for a socket, whose client is at this address by what a proxy says.
fn upgrade(server: &Server, forwarded_for: &str) -> (u16, Connection) {
    let mut connection = Connection::open(server.address());
    let forwarded_for = format!("X-Forwarded-For: {forwarded_for}");
    let headers = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        &forwarded_for,
    ];
    connection.send(request("GET", "/v1/Socket", &headers, b""));
    (connection.receive("GET").expect("an answer").status, connection)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_as_there_are_files_lock_nobody_out() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_under(&["prlimit", "--nofile=1024:1024"], directory.path(), &[], |_| {});
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let signer = Signer::new(&client, &server.account).await;
    let mut known = Connection::open(server.address());
    assert_eq!(ask(&server, &mut known), 200);

    let mut strangers: Vec<Connection> = (0..960).map(|_| Connection::open(server.address())).collect();
    for (number, stranger) in strangers.iter_mut().enumerate() {
        // Some say nothing, some begin to, and some are refused and go on sending. The server may have closed it already.
        let _ = match number % 3 {
            0 => Ok(()),
            1 => std::io::Write::write_all(stranger.stream(), b"GET /v1/Services HTTP/1.1\r\nHost: "),
            _ => {
                let body = request("POST", "/v1/Services", &[FORM], &[b'x'; 100]);
                std::io::Write::write_all(stranger.stream(), &body[..body.len() - 1])
            }
        };
    }
    let everybody = async {
        for source in [HERE, THERE] {
            let server = &server;
            let ask = || ask(server, &mut Connection::open_from(source, server.address()));
            assert_eq!(tokio::task::block_in_place(ask), 200, "{source:?}");
        }
        // What is stored is stored, and sockets have places too.
        let user = client.post(&format!("/v1/Services/{service}/Users"), "Identity=alice").await;
        assert_eq!(user["identity"], "alice");
        let token = signer.token(&service, "alice");
        reachability_tests::socket::JsonSocket::open(server.address(), &token, json!({})).await
    };
    timeout(BEFORE_OTHERS_TIME_OUT, everybody).await.expect("answers while the strangers are there");
    assert_eq!(ask(&server, &mut known), 200, "a connection on which the owner was authenticated stays open");
    let (status, logs) = server.stop();
    assert!(status.success() && !logs.contains("ERROR") && !logs.contains("could not be accepted"), "{logs}");
}

#[tokio::test]
async fn an_address_has_so_many() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--max-connections-per-address", "10"]);
    let mut known: Vec<Connection> = (0..20).map(|_| Connection::open(server.address())).collect();
    for known in known.iter_mut().skip(10) {
        // The oldest are strangers to be closed while these are not known yet.
        assert_eq!(ask(&server, known), 200);
    }
    let mut elsewhere: Vec<Connection> = (0..10).map(|_| Connection::open_from(THERE, server.address())).collect();
    let mut strangers: Vec<Connection> = (0..30).map(|_| Connection::open(server.address())).collect();
    let strangers = std::sync::Mutex::new(&mut strangers);
    wait("the oldest are closed", async || {
        let news: Vec<bool> = strangers.lock().unwrap().iter_mut().map(Connection::has_news).collect();
        news[..20].iter().all(|closed| *closed).then(|| assert_eq!(news[20..], [false; 10]))
    })
    .await;
    for known in known.iter_mut().skip(10) {
        assert_eq!(ask(&server, known), 200);
    }
    assert!(elsewhere.iter_mut().all(|connection| !connection.has_news()), "another address has its own");
    assert_eq!(ask(&server, &mut Connection::open(server.address())), 200);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_address() {
    let limits = ["--max-sockets-per-address", "1", "--max-connections-per-address", "2"];
    let trusting = Setup::new(&[&limits[..], &["--trusted-proxies", "127.0.0.1,10.0.0.0/8"]].concat()).await;
    let server = &trusting.server;
    // What stands before the last address that is not a proxy's was written by the client.
    let mut open = vec![];
    for (forwarded_for, status) in [
        ("192.0.2.1", 101),
        ("192.0.2.1", 503),
        ("192.0.2.2, 192.0.2.1, 10.0.0.7", 503),
        ("192.0.2.1, 192.0.2.2", 101),
        ("2001:db8::1", 101),
        ("2001:db8::2", 503),
    ] {
        let (found, connection) = upgrade(server, forwarded_for);
        assert_eq!(found, status, "{forwarded_for}");
        open.push(connection);
    }
    // The connections of the proxy are not those of one client.
    let mut idle: Vec<Connection> = (0..20).map(|_| Connection::open(server.address())).collect();
    assert_eq!(ask(server, &mut Connection::open(server.address())), 200);
    assert!(idle.iter_mut().all(|connection| !connection.has_news()));

    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--max-sockets-per-address", "1"]);
    let (first, _open) = upgrade(&server, "192.0.2.1");
    assert_eq!((first, upgrade(&server, "192.0.2.2").0), (101, 503), "without the setting, nobody is believed");
    let mut healthy = Connection::open(server.address());
    healthy.send(request("GET", "/healthz", &[CLOSE], b""));
    assert_eq!(healthy.receive("GET").unwrap().status, 200);
}
