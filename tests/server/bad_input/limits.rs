//! Limits on what requests may take together: memory, and time of the threads that serve others.

use std::io::Write;
use std::sync::Barrier;
use std::thread;

use reachability_tests::events::event;
use reachability_tests::raw::{CLOSE, Connection, JSON, basic, request};

use super::{Fixture, wait_until};

/// The largest body of events.
const LARGEST: usize = 8 << 20;

/// Far more than the server needs, and far less than it would if it kept every body.
const MEMORY: usize = 300 << 20;

/// The most memory that the server has taken so far, in bytes.
fn peak_memory(fixture: &Fixture) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", fixture.server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// The head of a request with events, and all of its body except for the end.
fn held_back(fixture: &Fixture, length: usize) -> Vec<u8> {
    let key = basic(&fixture.key, &fixture.key_secret);
    let mut whole = request("POST", &fixture.path("/v1/Services/{IS}/Events"), &[&key, JSON], &vec![b'\n'; length]);
    whole.truncate(whole.len() - 1);
    whole
}

/// Whether an answer has come on this connection.
fn is_answered(connection: &mut Connection) -> bool {
    let stream = connection.stream();
    stream.set_nonblocking(true).unwrap();
    let is_answered = stream.peek(&mut [0]).is_ok_and(|length| length > 0);
    stream.set_nonblocking(false).unwrap();
    is_answered
}

#[test]
fn large_bodies_that_are_held_back_leave_room_for_others() {
    let fixture = Fixture::new();
    let bytes = held_back(&fixture, LARGEST);
    let together = Barrier::new(60);
    let mut waiting: Vec<Connection> = thread::scope(|scope| {
        let send = || {
            let mut connection = fixture.connect();
            together.wait();
            // The server may refuse it before the client has sent everything.
            let _ = connection.stream().write_all(&bytes);
            connection
        };
        let clients: Vec<_> = (0..60).map(|_| scope.spawn(send)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    // 64 MiB are for large bodies. Whoever is refused is told so soon, and whoever is not waits for its own last byte.
    wait_until("most are refused", || {
        for mut refused in waiting.extract_if(.., is_answered) {
            let answer = refused.receive("POST").unwrap();
            answer.assert_error(503, 20503, "there is no room");
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert!(answer.says_close());
            assert!(refused.is_closed());
        }
        waiting.len() <= 8
    });
    assert!(!waiting.is_empty());
    // Small requests go on, and those with events too.
    assert_eq!(fixture.get("/v1/Services/{IS}/Users/alice").status, 200);
    let one = event(&fixture.service, "alice", "connect").to_string();
    assert_eq!(fixture.post("/v1/Services/{IS}/Events", &one).status, 202);
    assert!(peak_memory(&fixture) < MEMORY, "{} MiB", peak_memory(&fixture) >> 20);

    // The room is free again when the clients are gone.
    drop(waiting);
    let empty_lines = "\n".repeat(LARGEST);
    wait_until("there is room again", || fixture.post("/v1/Services/{IS}/Events", &empty_lines).status == 202);
    fixture.end();
}

#[test]
fn many_small_bodies_that_are_held_back_are_limited_too() {
    let fixture = Fixture::new();
    // No room is needed for the first 16 KiB of each.
    let bytes = held_back(&fixture, 256 << 10);
    let refuses = || {
        let answer = fixture.post("/v1/Services/{IS}/Events", &"\n".repeat(256 << 10));
        assert!([202, 503].contains(&answer.status), "{}", answer.body);
        answer.status == 503
    };
    let mut connections = Vec::new();
    wait_until("the room is taken", || {
        for _ in 0..20 {
            let mut connection = fixture.connect();
            let _ = connection.stream().write_all(&bytes);
            connections.push(connection);
        }
        refuses()
    });
    assert_eq!(fixture.post("/v1/Services/{IS}/Events", &"\n".repeat(16 << 10)).status, 202);
    assert!(peak_memory(&fixture) < MEMORY, "{} MiB", peak_memory(&fixture) >> 20);
    drop(connections);
    wait_until("there is room again", || !refuses());
    fixture.end();
}

#[test]
fn a_body_of_tiny_elements_takes_no_more_memory_than_its_size() {
    let fixture = Fixture::new();
    let owner = fixture.owner();
    for (what, body) in [
        ("an array", format!("[{}1]", "1,".repeat(LARGEST / 2 - 2))),
        ("lines", "1\n".repeat(LARGEST / 2)),
        ("parameters", "a&".repeat(100 << 10)),
    ] {
        let path = if what == "parameters" { "/v1/Services" } else { "/v1/Services/{IS}/Events" };
        let headers: &[&str] =
            if what == "parameters" { &[&owner, super::FORM, CLOSE] } else { &[&owner, JSON, CLOSE] };
        let before = peak_memory(&fixture);
        let mut connection = fixture.connect();
        connection.send(request("POST", &fixture.path(path), headers, body.as_bytes()));
        connection.receive("POST").unwrap().assert_error(413, 20001, what);
        let more = peak_memory(&fixture) - before;
        assert!(more < 3 * LARGEST, "{what}: {} MiB more", more >> 20);
    }
    fixture.end();
}
