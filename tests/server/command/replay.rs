//! The command `replay`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use reachability_tests::command::{reachability, run};
use reachability_tests::events;
use serde_json::{Value, json};

const ONE: &str = "IS00000000000000000000000000000001";

const TWO: &str = "IS00000000000000000000000000000002";

/// An event of the first service, on the day of the logs in these tests.
pub(super) fn event(kind: &str, identity: &str, connection: &str, time: &str) -> Value {
    let mut event = events::event(ONE, identity, kind);
    event["connection_id"] = json!(connection);
    event["occurred_at"] = json!(format!("2026-11-20T{time}.000Z"));
    event
}

/// A log, and the result of replaying it.
fn recorded() -> (Vec<Value>, String) {
    let mut lost = event("disconnect", "carol", "c-1", "10:02:00");
    lost["reason"] = json!("connection_lost");
    let mut elsewhere = event("connect", "alice", "c-9", "10:01:00");
    elsewhere["service_sid"] = json!(TWO);
    let events = vec![
        elsewhere,
        event("connect", "ümit", "c-1", "10:00:00"),
        event("connect", "bob", "c-1", "10:00:00"),
        event("connect", "carol", "c-1", "10:00:00"),
        event("connect", "alice", "c-1", "10:00:00"),
        event("connect", "alice", "c-2", "10:00:30"),
        event("disconnect", "alice", "c-1", "10:01:00"),
        event("renew", "bob", "c-1", "10:01:30"),
        event("disconnect", "Dave", "c-1", "10:00:00"),
        lost,
    ];
    let result = format!(
        r#"{{"service_sid":"{ONE}","identity":"Dave","is_online":null,"is_notifiable":null,"last_active":"2026-11-20T10:00:00.000Z"}}
{{"service_sid":"{ONE}","identity":"alice","is_online":true,"is_notifiable":null,"last_active":"2026-11-20T10:01:00.000Z"}}
{{"service_sid":"{ONE}","identity":"bob","is_online":true,"is_notifiable":null,"last_active":"2026-11-20T10:01:30.000Z"}}
{{"service_sid":"{ONE}","identity":"carol","is_online":false,"is_notifiable":null,"last_active":"2026-11-20T10:02:00.000Z"}}
{{"service_sid":"{ONE}","identity":"ümit","is_online":true,"is_notifiable":null,"last_active":"2026-11-20T10:00:00.000Z"}}
{{"service_sid":"{TWO}","identity":"alice","is_online":true,"is_notifiable":null,"last_active":"2026-11-20T10:01:00.000Z"}}
"#
    );
    (events, result)
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_log_is_replayed_in_every_form() {
    let (events, result) = recorded();
    let log = lines(&events);
    let backwards: Vec<Value> = events.iter().rev().chain(&events).cloned().collect();
    let (first, rest) = events.split_at(3);
    for (what, bytes) in [
        ("as it is", log.clone().into_bytes()),
        ("without the last line's end", log.trim_end().as_bytes().to_vec()),
        ("with other line ends and empty lines", log.replace('\n', "\r\n\r\n").into_bytes()),
        ("backwards and again", lines(&backwards).into_bytes()),
        ("gzip", gzip(&log)),
        ("gzip in two parts", [gzip(lines(first)), gzip(lines(rest))].concat()),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("events");
        fs::write(&file, &bytes).unwrap();
        for arguments in [["replay", file.to_str().unwrap()], ["replay", "-"]] {
            let outcome = run(reachability(&arguments).current_dir(directory.path()), &bytes);
            assert_eq!(outcome.code, Some(0), "{what}: {}", outcome.stderr);
            assert_eq!(outcome.stdout, result, "{what}");
            assert_eq!(outcome.stderr, "", "{what}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{what}: nothing was made");
    }
}

#[test]
fn a_replay_takes_its_time_and_rules_from_arguments() {
    let (events, _) = recorded();
    let log = lines(&events);
    // Whether alice, bob and carol are online.
    for (arguments, grace, expected) in [
        (&[] as &[&str], "", [json!(true), json!(true), json!(false)]),
        (&["--at", "2026-11-20T10:01:00Z"], "", [json!(true), json!(true), json!(true)]),
        (&["--at", "2026-11-20T11:01:00+01:00"], "", [json!(true), json!(true), json!(true)]),
        // The grace period is ten seconds, unless it is set.
        (&["--at", "2026-11-20T10:02:09.999Z"], "", [json!(true), json!(true), json!(true)]),
        (&["--at", "2026-11-20T10:02:10Z"], "", [json!(true), json!(true), json!(false)]),
        (&["--at", "2026-11-20T10:02:10Z"], "60", [json!(true), json!(true), json!(true)]),
        (&["--at", "2026-11-20T10:02:10Z", "--grace-seconds", "5"], "60", [json!(true), json!(true), json!(false)]),
        (&["--at", "2026-11-20T10:02:00Z", "--grace-seconds", "0"], "", [json!(true), json!(true), json!(false)]),
        // Without a lease a connection lives until it ends.
        (&["--at", "2027-11-20T10:00:00Z"], "", [json!(true), json!(true), json!(false)]),
        (&["--lease-seconds", "60"], "", [json!(false), json!(true), json!(false)]),
        (&["--lease-seconds", "60", "--at", "2026-11-20T10:02:30Z"], "", [json!(false), json!(false), json!(false)]),
        (&["--lease-seconds=1", "--at=2026-11-20T10:00:30.999Z"], "", [json!(true), json!(false), json!(false)]),
    ] {
        let mut command = reachability(&[&["replay", "-"], arguments].concat());
        // This setting is for `serve` only.
        command.env("REACHABILITY_LEASE_SECONDS", "1");
        if !grace.is_empty() {
            command.env("REACHABILITY_GRACE_SECONDS", grace);
        }
        let outcome = run(&mut command, log.as_bytes());
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {}", outcome.stderr);
        let users: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let online = ["alice", "bob", "carol"].map(|identity| {
            users.iter().find(|user| user["service_sid"] == ONE && user["identity"] == identity).unwrap()["is_online"]
                .clone()
        });
        assert_eq!(online, expected, "{arguments:?} {grace}");
    }
}

#[test]
fn malformed_lines_are_reported_and_skipped() {
    let (events, result) = recorded();
    let mut log = b"nonsense\n\n".to_vec();
    log.extend(lines(&events[..3]).as_bytes());
    log.extend(b"\"\xFF\"\n{\"type\":\"connect\"}\r\n");
    log.extend(lines(&events[3..]).as_bytes());
    log.extend(format!("{}\n", event("check", "eve", "c-1", "10:00:00")).as_bytes());
    log.extend(&event("connect", "eve", "c-1", "10:00:00").to_string().as_bytes()[..50]);
    for log in [log.clone(), gzip(&log)] {
        let outcome = run(&mut reachability(&["replay", "-"]), &log);
        assert_eq!(outcome.code, Some(1));
        assert_eq!(outcome.stdout, result);
        let told: Vec<&str> = outcome.stderr.lines().collect();
        for (line, begins, reason) in [
            (0, "line 1: ", "malformed JSON"),
            (1, "line 6: ", "malformed JSON"),
            (2, "line 7: ", "missing field: service_sid"),
            (3, "line 15: ", "unknown type"),
            (4, "line 16: ", "malformed JSON"),
        ] {
            assert!(told[line].starts_with(begins) && told[line].contains(reason), "{told:?}");
        }
        assert!(told[5].contains("5 of 15 lines"), "{told:?}");
        assert_eq!(told.len(), 6, "{told:?}");
    }
}

#[test]
fn an_empty_log_has_an_empty_result() {
    for log in [&b""[..], b"\n\r\n", &gzip("")] {
        let outcome = run(&mut reachability(&["replay", "-"]), log);
        assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (Some(0), "", ""));
    }
}

#[test]
fn a_log_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let cut = directory.path().join("cut.gz");
    let whole = gzip(lines(&recorded().0));
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let missing = directory.path().join("missing");
    for path in [missing.as_path(), directory.path(), &cut] {
        let path = path.to_str().unwrap();
        let outcome = run(&mut reachability(&["replay", path]), b"");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{path}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(path), "{path}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("panicked"), "{path}: {}", outcome.stderr);
    }
}

#[test]
fn a_reader_may_close_the_pipe_early() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    // More than a pipe holds.
    let events: Vec<Value> =
        (0..5_000).map(|number| event("connect", &format!("user-{number}"), "c-1", "10:00:00")).collect();
    fs::write(&file, lines(&events)).unwrap();
    let mut child = reachability(&["replay", file.to_str().unwrap()]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"user-0\""), "{line}");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let mut command = reachability(&["replay", "-"]);
    command.stdout(File::create("/dev/full").unwrap());
    let outcome = run(&mut command, lines(&recorded().0).as_bytes());
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("cannot write the result"), "{}", outcome.stderr);
}
