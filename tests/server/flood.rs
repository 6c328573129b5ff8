//! One service floods the queue: the others are not delayed, and what is over the limits is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::path::Path;

use reachability_domain::presence::event::Event;
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::queue::Queue;
use reachability_tests::client::Client;
use reachability_tests::events::event;
use reachability_tests::harness::unstamped;
use reachability_tests::queues::event_queue;
use reachability_tests::raw::{Answer, Connection, JSON, basic, request};
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use serde_json::Value;

const FLOOD: usize = 30_000;

fn connects(service: &str, count: usize) -> Vec<Value> {
    (0..count).map(|n| event(service, &format!("user-{n}"), "connect")).collect()
}

/// How many users there are.
fn users(directory: &Path) -> usize {
    let database = rusqlite::Connection::open(directory.join("reachability.db")).unwrap();
    database.query_row("SELECT count(*) FROM users", [], |row| row.get(0)).unwrap()
}

/// How many events wait, if nothing is handled.
fn messages(directory: &Path) -> usize {
    let database = rusqlite::Connection::open(directory.join("reachability.db")).unwrap();
    database.query_row("SELECT count(*) FROM messages WHERE lane = 0", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_flood_delays_no_other_service() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let (loud, quiet) = (client.enabled_service().await, client.enabled_service().await);
    let flood = Value::from(connects(&loud, FLOOD)).to_string();
    assert_eq!(client.post(&format!("/v1/Services/{loud}/Events"), flood).await["accepted"], FLOOD);
    client.post(&format!("/v1/Services/{quiet}/Events"), event(&quiet, "alice", "connect").to_string()).await;
    let online = async || client.everybody(&quiet).await.remove("alice");
    assert_eq!(wait("alice connects", online).await, Some(true));
    let done = users(directory.path());
    assert!(done < FLOOD, "alice came after all others");
    assert!(server.stop().0.success());

    // The same while a backlog is loaded. The loud one's events are older.
    let queue = event_queue(directory.path()).await;
    let parse = |event: &Value| unstamped(&Event::parse(event.to_string().as_bytes()).unwrap());
    let mut backlog: Vec<PresenceMessage> = connects(&loud, 2 * FLOOD).iter().map(parse).collect();
    backlog.push(parse(&event(&quiet, "bob", "connect")));
    queue.send(&backlog).await.unwrap();
    drop(queue);
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let online = async || client.everybody(&quiet).await.remove("bob");
    assert_eq!(wait("bob connects", online).await, Some(true));
    assert!(users(directory.path()) < 2 * FLOOD, "bob came after all others");
}

/// An answer with a refusal as documented. Returns its message.
fn refused(answer: &Answer, status: u16, code: u32) -> String {
    let seconds = answer.header("retry-after").expect("Retry-After").parse::<u32>().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    answer.assert_error(status, code, "a refusal")
}

#[tokio::test]
async fn too_many_events_are_refused_with_nothing_stored() {
    let directory = tempfile::tempdir().unwrap();
    let limits = ["--max-waiting-events-per-service", "10", "--max-waiting-events", "5"];
    let server = Server::start(directory.path(), &limits);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let path = format!("/v1/Services/{service}/Events");
    let owner = basic(&server.account, &server.token);
    let mut connection = Connection::open(server.address());
    for (count, status, code) in [(11, 429, 20_429), (6, 503, 20_503)] {
        let body = Value::from(connects(&service, count)).to_string();
        connection.send(request("POST", &path, &[&owner, JSON], body.as_bytes()));
        let answer = connection.receive("POST").unwrap();
        refused(&answer, status, code);
        assert!(!answer.says_close(), "the request was read");
        assert_eq!((users(directory.path()), messages(directory.path())), (0, 0));
    }
    let body = Value::from(connects(&service, 5)).to_string();
    assert_eq!(client.post(&path, body).await["accepted"], 5);
    wait("they connect", async || Some(()).filter(|()| users(directory.path()) == 5)).await;
    // There is room again once they are acknowledged.
    let body = Value::from(connects(&service, 5)).to_string();
    let again = async || client.answer(&path, body.clone()).await.filter(|(status, _)| *status == 202);
    wait("there is room", again).await;
    let (_, logs) = server.stop();
    assert!(!logs.contains("ERROR"), "a refusal is no error: {logs}");
}

/// Whoever is over the limit already is told so before its body is read.
#[tokio::test]
async fn a_body_that_there_is_no_room_for_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--max-waiting-events-per-service", "1"]);
    let client = Client::of(&server);
    let (service, other) = (client.enabled_service().await, client.enabled_service().await);
    let path = format!("/v1/Services/{service}/Events");
    let owner = basic(&server.account, &server.token);
    // Nothing can be stored for a while, so what is accepted waits.
    let intruder = rusqlite::Connection::open(directory.path().join("reachability.db")).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let one = async |identity: &str| client.answer(&path, event(&service, identity, "connect").to_string()).await;
    let (first, second) = (one("alice"), one("bob"));
    tokio::pin!(first, second);
    let (refusal, alice_waits) = tokio::select! {
        answer = &mut first => (answer, false),
        answer = &mut second => (answer, true),
    };
    assert_eq!(refusal.unwrap().0, 429);

    let head = |authorization: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n{JSON}\r\nContent-Length: 1000000\r\n\r\n[")
    };
    for (authorization, status) in [(owner.as_str(), 429), ("X-Nobody: yes", 401)] {
        let mut connection = Connection::open(server.address());
        connection.send(head(authorization));
        let answer = connection.receive("POST").unwrap();
        if status == 429 {
            refused(&answer, 429, 20_429);
        }
        assert_eq!(answer.status, status);
        assert!(answer.says_close() && connection.is_closed(), "{answer:?}");
    }
    // The other service has room: its body is waited for.
    let mut connection = Connection::open(server.address());
    connection.send(head(&owner).replace(&service, &other));
    intruder.execute_batch("ROLLBACK").unwrap();
    let (answer, name) = if alice_waits { (first.await, "alice") } else { (second.await, "bob") };
    assert_eq!(answer.unwrap().0, 202);
    let online = async || client.everybody(&service).await.remove(name);
    assert_eq!(wait("who was accepted connects", online).await, Some(true));
    assert_eq!(users(directory.path()), 1);
}
