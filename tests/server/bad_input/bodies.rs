//! Bodies: too large, cut short, malformed, nested.

use reachability_tests::events::event;
use reachability_tests::raw::{CLOSE, FORM, basic, request};
use serde_json::json;

use super::Fixture;

/// The content of a body that is larger than any route accepts.
const TEN_MEGABYTES: usize = 10 * 1024 * 1024;

#[test]
fn too_large_bodies_are_refused_even_if_the_client_reads_only_afterwards() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    let event = event(&fixture.service, "mallory", "connect").to_string() + "\n";
    let events = event.repeat(TEN_MEGABYTES / event.len() + 1);
    let form = format!("FriendlyName={}", "x".repeat(TEN_MEGABYTES));
    let (owner, stranger) = (fixture.owner(), basic(&fixture.server.account, "wrong"));
    for (path, body) in [
        ("/v1/Services", &form),
        ("/v1/Services/{IS}/Users/alice", &form),
        ("/v2/Services/{IS}", &form),
        ("/v1/Nothing", &form),
        ("/v1/Services/{IS}/Events", &events),
    ] {
        let (first, rest) = body.split_at(body.len() / 2);
        let chunked =
            format!("{:x}\r\n{first}\r\n{:x};x=y\r\n{rest}\r\n0\r\n\r\n", first.len(), rest.len()).into_bytes();
        for (credentials, status, code) in [(&owner, 413, 20001), (&stranger, 401, 20003)] {
            let headers = [credentials.as_str(), FORM];
            fixture.send("POST", path, &headers, body).assert_error(status, code, path);

            let mut connection = fixture.connect();
            let [authorization, form] = headers;
            connection
                .send(format!("POST {} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n{form}\r\n", fixture.path(path)));
            connection.send("Transfer-Encoding: chunked\r\n\r\n");
            connection.send(&chunked);
            connection.receive("POST").unwrap().assert_error(status, code, path);
            // The server has read all of it, so the connection can be used again.
            connection.send(request("GET", "/healthz", &[CLOSE], b""));
            assert_eq!(connection.receive("GET").unwrap().status, 200, "{path}");
        }
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

/// A form and events that would be accepted, and whose beginnings would be accepted too.
fn bodies(fixture: &Fixture) -> [(String, String); 3] {
    let event = event(&fixture.service, "mallory", "connect");
    [
        ("/v1/Services".to_owned(), "FriendlyName=mallory".to_owned()),
        (fixture.path("/v1/Services/{IS}/Users"), "Identity=mallory".to_owned()),
        (fixture.path("/v1/Services/{IS}/Events"), format!("{event}\n")),
    ]
}

#[test]
fn an_incomplete_body_changes_nothing() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    let owner = fixture.owner();
    for (path, body) in bodies(&fixture) {
        let size = body.len();
        for (name, framing, sent) in [
            ("shorter than its length", format!("Content-Length: {}", size + 100), body.clone()),
            ("nothing at all", format!("Content-Length: {size}"), String::new()),
            ("a chunk cut short", "Transfer-Encoding: chunked".to_owned(), format!("{:x}\r\n{body}", size + 100)),
            ("no last chunk", "Transfer-Encoding: chunked".to_owned(), format!("{size:x}\r\n{body}\r\n")),
            ("half of the last chunk", "Transfer-Encoding: chunked".to_owned(), format!("{size:x}\r\n{body}\r\n0\r\n")),
            ("half of a chunk's size", "Transfer-Encoding: chunked".to_owned(), format!("{size:x}\r\n{body}\r\n1")),
        ] {
            let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{owner}\r\n{FORM}\r\n{framing}\r\n\r\n");
            // The client closes the connection.
            let mut connection = fixture.connect();
            connection.send(&head);
            connection.send(&sent);
            drop(connection);
            // The client waits for an answer.
            let mut connection = fixture.connect();
            connection.send(&head);
            connection.send(&sent);
            connection.finish();
            let what = format!("POST {path} with {name}");
            let answer = connection.receive("POST").unwrap_or_else(|error| panic!("{what}: {error}"));
            answer.assert_error(400, 20001, &what);
            assert!(connection.is_closed(), "{what}");
        }
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

/// Malformed chunks, after which the beginning of the next request is unknown.
const MALFORMED_CHUNKS: &[&str] =
    &["zz\r\nFriendlyName=x\r\n0\r\n\r\n", "-1\r\nx\r\n0\r\n\r\n", "5\r\nFriendlyName=x\r\n0\r\n\r\n", "\r\n\r\n\r\n"];

#[test]
fn malformed_chunks_are_refused() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    for (path, _) in bodies(&fixture) {
        for chunks in MALFORMED_CHUNKS.iter().chain(&["fffffffffffffffff\r\nx\r\n0\r\n\r\n"]) {
            let mut connection = fixture.connect();
            let owner = fixture.owner();
            connection.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\n{owner}\r\n{FORM}\r\n"));
            connection.send("Transfer-Encoding: chunked\r\n\r\n");
            connection.send(chunks);
            let what = format!("POST {path} with {chunks:?}");
            let answer = connection.receive("POST").unwrap_or_else(|error| panic!("{what}: {error}"));
            answer.assert_error(400, 20001, &what);
            assert!(connection.is_closed(), "{what}");
        }
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

#[test]
fn the_answer_announces_that_the_connection_closes() {
    let fixture = Fixture::new();
    let owner = fixture.owner();
    for chunks in MALFORMED_CHUNKS {
        let mut connection = fixture.connect();
        connection.send(format!("POST /v1/Services HTTP/1.1\r\nHost: x\r\n{owner}\r\n{FORM}\r\n"));
        connection.send("Transfer-Encoding: chunked\r\n\r\n");
        connection.send(chunks);
        assert!(connection.receive("POST").unwrap().says_close(), "{chunks:?}");
    }
    fixture.end();
}

#[test]
fn json_may_be_nested_deeply() {
    let fixture = Fixture::new();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let path = "/v1/Services/{IS}/Events";
    let before = fixture.everything();
    for (body, what) in [
        ("[".repeat(1_000_000), "brackets"),
        ("{\"a\":".repeat(1_000_000), "braces"),
        (format!("[{}]", "{\"a\":".repeat(1_000_000)), "braces in brackets"),
    ] {
        let answer = fixture.post(path, &body);
        let whole = answer.json()["refused"].is_array();
        let members: &[&str] = if whole {
            &["accepted", "code", "message", "more_info", "refused", "status"]
        } else {
            &["code", "message", "more_info", "status"]
        };
        answer.assert_error_with(400, 20001, members, what);
    }
    fixture.post(path, &nested(1_000_000)).assert_error_with(
        400,
        20001,
        &["accepted", "code", "message", "more_info", "refused", "status"],
        "an array",
    );
    for name in ["service_sid", "lease_seconds", "type"] {
        let event = event(&fixture.service, "mallory", "connect");
        let mut event = event.as_object().unwrap().clone();
        event.remove(name);
        let rest = serde_json::to_string(&event).unwrap();
        let body = format!("{{\"{name}\":{},{}", nested(1_000_000), &rest[1..]);
        assert_eq!(fixture.post(path, &body).status, 400, "{name}");
    }
    assert_eq!(fixture.everything(), before);

    // Unknown fields of any depth are ignored; attributes are a string that contains JSON.
    let event = event(&fixture.service, "alice", "connect").to_string();
    let answer = fixture.post(path, &format!("{{\"x\":{},{}", nested(1_000_000), &event[1..]));
    assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(1)), "{}", answer.body);
    let answer = fixture.post("/v1/Services/{IS}/Users/alice", &format!("Attributes={}", nested(2_048)));
    assert_eq!((answer.status, answer.json()["attributes"].as_str()), (200, Some(nested(2_048).as_str())));
    fixture.end();
}
