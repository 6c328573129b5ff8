//! Malformed HTTP, and clients that are slow, old, or disconnect.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use reachability_tests::raw::{CLOSE, FORM, JSON, basic, request};
use serde_json::json;

use super::{Fixture, ROUTES};

/// What cannot be parsed as a request does not reach a function: it is answered, and the connection is closed.
#[test]
fn malformed_http_is_refused() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    let owner = fixture.owner();
    let head = |line: &str, headers: &str| format!("{line}\r\nHost: x\r\n{owner}\r\n{headers}\r\n").into_bytes();
    let post = |headers: &str| [head("POST /v1/Services HTTP/1.1", headers), b"FriendlyName=x".to_vec()].concat();
    for (what, bytes, status) in [
        ("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03\r\n\r\n".to_vec(), 400),
        ("words", b"hello there\r\n\r\n".to_vec(), 400),
        ("no version", b"GET /v1/Services\r\n\r\n".to_vec(), 400),
        ("another version", head("GET /v1/Services HTTP/2.0", ""), 400),
        ("a space in the path", head("GET /v1/Ser vices HTTP/1.1", ""), 400),
        ("bytes that are no UTF-8", [b"GET /v1/Services/\xFF".to_vec(), head(" HTTP/1.1", "")].concat(), 400),
        ("a header without a colon", head("GET /v1/Services HTTP/1.1", "Nonsense\r\n"), 400),
        ("a header with a control character", head("GET /v1/Services HTTP/1.1", "X: a\u{1}b\r\n"), 400),
        ("a length that is none", post("Content-Length: abc\r\n"), 400),
        ("a negative length", post("Content-Length: -1\r\n"), 400),
        ("two lengths", post("Content-Length: 14\r\nContent-Length: 15\r\n"), 400),
        ("two lengths in one", post("Content-Length: 14, 15\r\n"), 400),
        ("an unknown encoding", post("Transfer-Encoding: gzip\r\n"), 400),
        ("too many headers", head("GET /v1/Services HTTP/1.1", &"X: y\r\n".repeat(1_000)), 431),
        ("too large a header", head("GET /v1/Services HTTP/1.1", &format!("X: {}\r\n", "y".repeat(1 << 20))), 431),
        ("too long a path", head(&format!("GET /v1/{} HTTP/1.1", "x".repeat(70_000)), ""), 414),
    ] {
        let mut connection = fixture.connect();
        // The server may refuse it before the client has sent everything.
        let _ = connection.stream().write_all(&bytes);
        let answer = connection.receive("GET").unwrap_or_else(|error| panic!("{what}: {error}"));
        answer.assert_error(status, 20001, what);
        assert!(answer.says_close(), "{what}");
        assert!(connection.is_closed(), "{what}");
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

/// All errors are JSON, also those that do not come from a function: helper libraries cannot read anything else. These
/// are the ones that a helper library can cause.
#[test]
fn requests_that_are_too_large_for_http_are_refused_in_the_documented_form() {
    let fixture = Fixture::new();
    let owner = fixture.owner();
    let identities = "Identity=0123456789&".repeat(5_000);
    for (what, path, headers, status) in [
        ("too many headers", "/v1/Services".to_owned(), "X: y\r\n".repeat(1_000), 431),
        ("too large a header", "/v1/Services".to_owned(), format!("Cookie: {}\r\n", "y".repeat(1 << 20)), 431),
        ("too long a query", format!("/v1/Services?{identities}"), String::new(), 414),
    ] {
        let mut connection = fixture.connect();
        let _ = connection
            .stream()
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{owner}\r\n{headers}{CLOSE}\r\n\r\n").as_bytes());
        connection.receive("GET").unwrap().assert_error(status, 20001, what);
    }
    fixture.end();
}

#[test]
fn a_client_that_disconnects_early_changes_nothing() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    let whole = request("POST", "/v1/Services", &[&fixture.owner(), FORM], b"FriendlyName=mallory");
    let head = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    for length in [0, 1, 10, head, head + 4, whole.len() - 1] {
        let mut connection = fixture.connect();
        connection.send(&whole[..length]);
        drop(connection);
        // The client has sent everything that it sends. If there is an answer, it is an error.
        let mut connection = fixture.connect();
        connection.send(&whole[..length]);
        connection.finish();
        if let Ok(answer) = connection.receive("POST") {
            assert_eq!(answer.status, 400, "after {length} bytes");
        }
        assert!(connection.is_closed(), "after {length} bytes");
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

/// A client that sends requests and never reads an answer loses its connection after a while.
#[test]
fn a_client_that_does_not_read_is_disconnected() {
    let fixture = Fixture::new();
    let mut connection = fixture.connect();
    let stream = connection.stream();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let questions = request("GET", "/v1/Services", &[&fixture.owner()], b"").repeat(100);
    let started = Instant::now();
    // Once the buffers of both sides are full, the client waits until the server closes the connection.
    loop {
        match stream.write_all(&questions) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        assert!(started.elapsed() < Duration::from_secs(90), "it is still connected");
    }
    fixture.end();
}

#[test]
fn a_slow_client_is_served() {
    let fixture = Fixture::new();
    let whole = request("POST", "/v1/Services", &[&fixture.owner(), FORM, CLOSE], b"FriendlyName=slow");
    let mut connection = fixture.connect();
    for bytes in whole.chunks(8) {
        connection.send(bytes);
        thread::sleep(Duration::from_millis(10));
    }
    let answer = connection.receive("POST").unwrap();
    assert_eq!((answer.status, &answer.json()["friendly_name"]), (201, &json!("slow")));
    fixture.end();
}

#[test]
fn a_client_may_wait_for_100_continue() {
    let fixture = Fixture::new();
    let body = b"FriendlyName=asked";
    let (owner, stranger) = (fixture.owner(), basic(&fixture.server.account, "wrong"));
    for (credentials, status) in [(&owner, 201), (&stranger, 401)] {
        let whole = request("POST", "/v1/Services", &[credentials, FORM, CLOSE, "Expect: 100-continue"], body);
        let mut connection = fixture.connect();
        connection.send(&whole[..whole.len() - body.len()]);
        let mut answer = connection.receive("POST").unwrap();
        if answer.status == 100 {
            connection.send(body);
            answer = connection.receive("POST").unwrap();
        }
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(connection.is_closed());
    }
    fixture.end();
}

#[test]
fn http_1_0_clients_are_served() {
    let fixture = Fixture::new();
    let owner = fixture.owner();
    for (path, status) in [("/v1/Services", 200), ("/v1/Nothing", 404), ("/healthz", 200)] {
        let mut connection = fixture.connect();
        connection.send(format!("GET {path} HTTP/1.0\r\n{owner}\r\n\r\n"));
        let answer = connection.receive("GET").unwrap();
        assert_eq!(answer.status, status, "{path}");
        if status == 404 {
            answer.assert_error(404, 20404, path);
        }
        assert!(connection.is_closed(), "{path}");
    }
    fixture.end();
}

#[test]
fn a_head_request_is_answered_without_a_body() {
    let fixture = Fixture::new();
    for (path, methods) in ROUTES.iter().filter(|(_, methods)| methods.contains(&"GET")) {
        let (get, head) = (fixture.get(path), fixture.ask("HEAD", path, ""));
        assert!(methods.contains(&"GET"));
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        for name in ["content-type", "content-length"] {
            assert_eq!(head.header(name), get.header(name), "{path}");
        }
    }
    assert_eq!(fixture.ask("HEAD", "/v1/Nothing", "").status, 404);
    assert_eq!(fixture.send("HEAD", "/v1/Services", &[], "").status, 401);
    fixture.end();
}

#[test]
fn a_connection_can_be_used_after_an_error() {
    let fixture = Fixture::new();
    let owner = fixture.owner();
    let large = vec![b'x'; 1 << 20];
    let mut connection = fixture.connect();
    for (method, path, headers, body, status) in [
        ("GET", "/v1/Services", &[] as &[&str], b"" as &[u8], 401),
        ("POST", "/v1/Services", &[FORM], b"FriendlyName=x", 401),
        ("POST", "/v1/Services", &[FORM], &large, 401),
        ("GET", "/v1/Nothing", &[&owner], b"", 404),
        ("PUT", "/v1/Services", &[&owner, FORM], b"FriendlyName=x", 405),
        ("POST", "/v1/Services", &[&owner, JSON], b"{}", 400),
        ("POST", "/v1/Services", &[&owner, FORM], b"FriendlyName=%FF", 400),
        ("POST", "/v1/Services", &[&owner, FORM], &large, 413),
        ("HEAD", "/v1/Nothing", &[&owner], b"", 404),
        ("DELETE", "/v1/Users/nobody", &[&owner], b"", 404),
        ("GET", "/v1/Services", &[&owner], b"", 200),
    ] {
        connection.send(request(method, path, headers, body));
        let answer = connection.receive(method).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert_eq!(answer.status, status, "{method} {path}");
        if answer.says_close() {
            assert!(connection.is_closed(), "{method} {path}");
            connection = fixture.connect();
        }
    }
    drop(connection);
    fixture.end();
}

#[test]
fn a_connection_is_closed_when_the_client_says_so() {
    let fixture = Fixture::new();
    for (path, status) in [("/v1/Services", 200), ("/v1/Nothing", 404)] {
        let mut connection = fixture.connect();
        connection.send(request("GET", path, &[&fixture.owner(), CLOSE], b""));
        let answer = connection.receive("GET").unwrap();
        assert_eq!(answer.status, status);
        assert!(answer.says_close(), "{path}");
        assert!(connection.is_closed(), "{path}");
    }
    fixture.end();
}
