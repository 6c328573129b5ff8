//! The address that it listens on.

use std::fs;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use reachability_tests::client::Client;
use reachability_tests::command::{reachability, run};
use reachability_tests::raw::{CLOSE, Connection};
use reachability_tests::server::Server;
use reqwest::Method;

use super::{in_shell, serve, stop};

/// Addresses that are not a host and a port.
pub(super) const BAD_ADDRESSES: &[&str] = &[
    "127.0.0.1:99999",
    "127.0.0.1",
    "8080",
    "x",
    "localhost",
    "localhost:",
    "localhost:x",
    ":8080",
    "::1:8080",
    "[::1]",
];

#[test]
fn a_bad_address_is_refused_with_the_expected_form() {
    let directory = tempfile::tempdir().unwrap();
    for address in BAD_ADDRESSES {
        let outcome = run(reachability(&["--listen", address]).current_dir(directory.path()), b"");
        assert_eq!(outcome.code, Some(2), "{address}: {}", outcome.stderr);
        for words in ["--listen", "and a port", "localhost:8080"] {
            assert!(outcome.stderr.contains(words), "{address}: no {words} in {}", outcome.stderr);
        }
    }
}

#[test]
fn it_listens_on_host_names_too() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    for (arguments, variables) in [
        (&["--listen", "localhost:0", "--data-dir", data] as &[_], &[] as &[_]),
        (&["--data-dir", data], &[("REACHABILITY_LISTEN", "localhost:0")]),
    ] {
        let server = serve(directory.path(), arguments, variables);
        // It prints the address that it took, which the name resolves to.
        let address: SocketAddr = server.address().parse().unwrap();
        assert!(address.ip().is_loopback() && address.port() != 0, "{address}");
        for address in [address.to_string(), format!("localhost:{}", address.port())] {
            let mut client = Connection::open(&address);
            client.send(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n{CLOSE}\r\n\r\n"));
            let answer = client.receive("GET").unwrap();
            assert_eq!(answer.status, 200, "{address}: {answer:?}");
            assert!(client.is_closed(), "{address}");
        }
        stop(server);
    }
}

#[test]
fn a_name_that_cannot_be_resolved_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // The name is invalid because of its empty label, so that no name server is asked.
    for address in ["no..where.invalid:8090", "*:8090"] {
        let outcome = run(&mut reachability(&["--listen", address, "--data-dir", data.to_str().unwrap()]), b"");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
        for words in ["cannot resolve", address, "--listen"] {
            assert!(outcome.stderr.contains(words), "no {words}: {}", outcome.stderr);
        }
        assert!(!data.exists(), "{address}: a directory was made");
    }
}

#[test]
fn a_taken_port_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = directory.path().to_str().unwrap();
    let outcome = run(&mut reachability(&["--listen", &address, "--data-dir", data]), b"");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
    for word in [address.as_str(), "--listen", "in use"] {
        assert!(outcome.stderr.contains(word), "no {word}: {}", outcome.stderr);
    }
}

#[test]
fn a_taken_port_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let data = directory.path().join("parent").join("data");
    for host in ["127.0.0.1", "localhost"] {
        let address = format!("{host}:{port}");
        // Take the port on all addresses of the name.
        let _others: Vec<TcpListener> =
            address.to_socket_addrs().unwrap().filter_map(|address| TcpListener::bind(address).ok()).collect();
        let outcome = run(&mut reachability(&["--listen", &address, "--data-dir", data.to_str().unwrap()]), b"");
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(&address) && outcome.stderr.contains("in use"), "{}", outcome.stderr);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{host}: something was made");
    }
}

/// More clients connect than the process has file descriptors for. The rest of the process keeps those that it needs,
/// and the next client is served when another one disconnects.
#[tokio::test]
async fn more_clients_than_file_descriptors_do_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &[], |command| {
        *command = in_shell("ulimit -n 100 &&", command);
    });
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let crowd: Vec<Connection> = (0..90).map(|_| Connection::open(server.address())).collect();
    thread::sleep(Duration::from_millis(300));
    drop(crowd);
    let (status, _) = client.send(Method::GET, &format!("/v1/Services/{service}"), &[]).await;
    assert_eq!(status, 200);
    let logs = stop(server);
    assert!(!logs.contains("could not be accepted") && !logs.contains("ERROR"), "{logs}");
}
