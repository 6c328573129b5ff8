//! The queue of the one-process server: timers that outlive it, and messages that cannot be handled.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::path::Path;

use reachability_domain::directory::configuration::Generation;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::event::Event;
use reachability_domain::presence::message::{Accepted, PresenceMessage};
use reachability_domain::presence::ports::States;
use reachability_domain::presence::state::UserState;
use reachability_domain::queue::Queue;
use reachability_domain::time::Timestamp;
use reachability_infra::sqlite::{Database, DeadLetter, SqliteStore};
use reachability_tests::client::Client;
use reachability_tests::events;
use reachability_tests::harness::unstamped;
use reachability_tests::queues::{database, event_queue};
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use serde_json::Value;

fn event(service: &str, identity: &str) -> String {
    events::event(service, identity, "connect").to_string()
}

/// When the first timer of the server is due.
async fn next_timer(directory: &Path) -> Option<Timestamp> {
    event_queue(directory).await.next_due()
}

/// Queues an event whose service is gone, while no server runs.
async fn queue_lost_event(directory: &Path) {
    let lost = event("IS000000000000000000000000000000ff", "alice");
    event_queue(directory).await.send(&[unstamped(&Event::parse(lost.as_bytes()).unwrap())]).await.unwrap();
}

/// The first dead letter.
async fn dead_letter(database: &Database) -> Option<DeadLetter> {
    database.dead_letters(usize::MAX).await.unwrap().pop()
}

#[tokio::test]
async fn timers_outlive_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--lease-seconds", "2"]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    client.post(&format!("/v1/Services/{service}/Events"), event(&service, "alice")).await;
    let alice = UserKey { service: service.parse().unwrap(), identity: "alice".parse().unwrap() };
    let store = SqliteStore::new(database(directory.path()));
    let state = async || -> UserState { store.states(std::slice::from_ref(&alice)).await.unwrap().remove(0) };
    let connected = wait("alice connects", async || Some(state().await).filter(|state| state.revision > 0)).await;
    wait("her timer is set", async || next_timer(directory.path()).await).await;
    server.kill();

    // Her lease runs out while no server runs. Only the timer writes its end.
    assert_eq!(state().await, connected);
    let server = Server::start(directory.path(), &["--lease-seconds", "2"]);
    let ended = wait("her end is written down", async || Some(state().await).filter(|state| *state != connected)).await;
    assert!(ended.revision > connected.revision);
    assert!(ended.as_of >= connected.presence.live_until());
    wait("the timer is gone", async || next_timer(directory.path()).await.is_none().then_some(())).await;
    assert!(server.stop().0.success());
}

/// The same connect made as many timers as it was repeated.
#[tokio::test]
async fn a_user_has_one_timer() {
    const REPETITIONS: usize = 3_000;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let path = format!("/v1/Services/{service}/Events");
    let connect = events::event(&service, "alice", "connect");
    let database = database(directory.path());
    let raw = rusqlite::Connection::open(directory.path().join("reachability.db")).unwrap();
    let count = |condition: &str| -> usize {
        let count = format!("SELECT count(*) FROM messages WHERE lane = 0 AND {condition}");
        raw.query_row(&count, [], |row| row.get(0)).unwrap()
    };
    for _ in 0..3 {
        for some in vec![connect.clone(); REPETITIONS].chunks(1_000) {
            client.post(&path, Value::from(some.to_vec()).to_string()).await;
        }
        wait("all are handled", async || (count("timer_of IS NULL") == 0).then_some(())).await;
        assert_eq!(count("timer_of = 'alice'"), 1);
        // Her renewals find it.
        client.post(&path, events::event(&service, "alice", "renew").to_string()).await;
    }
    wait("all are handled", async || (count("timer_of IS NULL") == 0).then_some(())).await;
    assert_eq!((count("true"), database.count_dead_letters().await.unwrap()), (1, 0));
    assert!(server.stop().0.success());
}

#[tokio::test]
async fn a_message_that_cannot_be_handled_is_set_aside_and_delays_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    assert!(server.stop().0.success());
    queue_lost_event(directory.path()).await;
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    client.post(&format!("/v1/Services/{service}/Events"), event(&service, "bob")).await;

    let online = async || Some(client.everybody(&service).await).filter(|everybody| everybody.contains_key("bob"));
    assert_eq!(wait("bob connects", online).await["bob"], Some(true));
    let database = database(directory.path());
    let letter = wait("the other one is laid aside", async || dead_letter(&database).await).await;
    assert_eq!(letter.reason, "there is no service IS000000000000000000000000000000ff");
    assert!(letter.body.contains("alice"), "{}", letter.body);
    let (status, logs) = server.stop();
    assert!(status.success());
    assert!(logs.contains("there is no service") && !logs.contains("alice"), "{logs}");
}

/// The numbers that lines of the log with this message have.
fn logged(logs: &str, message: &str, number: &str) -> Vec<u64> {
    let lines = logs.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["message"] == message).map(|line| line[number].as_u64().unwrap()).collect()
}

/// A service is deleted while many of its events wait.
#[tokio::test]
async fn what_waits_of_a_deleted_service_is_dropped_quietly() {
    const EVENTS: usize = 5_000;
    let directory = tempfile::tempdir().unwrap();
    let lost = "IS000000000000000000000000000000ff";
    let waiting: Vec<PresenceMessage> = (0..EVENTS)
        .map(|n| {
            let event = Event::parse(event(lost, &format!("user-{n}")).as_bytes()).unwrap();
            PresenceMessage::Event(Accepted::new(event, Some(Acceptance::In(Generation(1)))))
        })
        .collect();
    event_queue(directory.path()).await.send(&waiting).await.unwrap();
    let server = Server::start(directory.path(), &[]);
    let raw = rusqlite::Connection::open(directory.path().join("reachability.db")).unwrap();
    let left =
        |table: &str| -> u64 { raw.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap() };
    wait("they are gone", async || (left("messages WHERE lane = 0") == 0).then_some(())).await;
    assert_eq!(left("dead_letters"), 0);
    let (status, logs) = server.stop();
    assert!(status.success());
    let dropped = logged(&logs, "messages of deleted services were dropped", "events");
    assert_eq!(dropped.iter().sum::<u64>(), EVENTS as u64, "{dropped:?}");
    assert!(dropped.len() <= EVENTS / 50 && logs.lines().count() < dropped.len() + 20, "{logs}");
}

#[tokio::test]
async fn dead_letters_of_a_batch_are_one_warning_for_each_reason() {
    const EVENTS: usize = 2_000;
    let directory = tempfile::tempdir().unwrap();
    let services = ["IS000000000000000000000000000000fe", "IS000000000000000000000000000000ff"];
    let unknown = services.iter().flat_map(|service| {
        (0..EVENTS).map(|n| unstamped(&Event::parse(event(service, &format!("user-{n}")).as_bytes()).unwrap()))
    });
    let waiting: Vec<PresenceMessage> = unknown.collect();
    event_queue(directory.path()).await.send(&waiting).await.unwrap();
    let server = Server::start(directory.path(), &[]);
    let database = database(directory.path());
    let count = async || database.count_dead_letters().await.unwrap();
    wait("all are dead", async || (count().await == 2 * EVENTS).then_some(())).await;
    let (status, logs) = server.stop();
    assert!(status.success());
    let messages = logged(&logs, "messages became dead letters", "messages");
    assert_eq!(messages.iter().sum::<u64>(), 2 * EVENTS as u64, "{messages:?}");
    assert!(messages.len() <= EVENTS / 10, "{messages:?}");
    for service in services {
        assert!(logs.contains(&format!("there is no service {service}")), "{logs}");
    }
}

/// The reader of the logs may close the pipe, or the disk may be full.
#[tokio::test]
async fn logs_that_cannot_be_written_delay_nobody() {
    for sink in ["/dev/full", "a closed pipe"] {
        let directory = tempfile::tempdir().unwrap();
        // A message that makes the worker log an error.
        queue_lost_event(directory.path()).await;
        let server = Server::start_with(directory.path(), &[], |command| {
            if sink == "/dev/full" {
                command.stderr(std::fs::OpenOptions::new().write(true).open(sink).unwrap());
            } else {
                // The reader's end is dropped at once.
                command.stderr(std::io::pipe().unwrap().1);
            }
        });
        let client = Client::of(&server);
        let service = client.enabled_service().await;
        // And one that it can handle.
        client.post(&format!("/v1/Services/{service}/Events"), event(&service, "bob")).await;
        let online = async || client.everybody(&service).await.remove("bob");
        assert_eq!(wait("bob connects", online).await, Some(true), "{sink}");
        // A batch is settled only after its effects are visible.
        let database = database(directory.path());
        wait("the other one is laid aside", async || dead_letter(&database).await).await;
        assert!(server.stop().0.success(), "{sink}");
    }
}

/// Another process holds the lock of the database, for longer than the server waits.
#[tokio::test]
async fn a_locked_database_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let intruder = rusqlite::Connection::open(directory.path().join("reachability.db")).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    for (path, body) in [
        ("/v1/Services".to_owned(), "FriendlyName=x".to_owned()),
        (format!("/v1/Services/{service}/Events"), event(&service, "alice")),
    ] {
        let (status, error) = client.answer(&path, body).await.unwrap();
        assert_eq!(status, 503, "{path}: {error}");
        assert_eq!((&error["code"], &error["status"]), (&20503.into(), &503.into()), "{path}");
        assert_eq!(error.as_object().unwrap().len(), 4, "{path}: {error}");
    }
    intruder.execute_batch("ROLLBACK").unwrap();
    client.post(&format!("/v1/Services/{service}/Events"), event(&service, "bob")).await;
    let everybody =
        wait("bob connects", async || Some(client.everybody(&service).await).filter(|all| !all.is_empty())).await;
    assert_eq!(everybody.keys().collect::<Vec<_>>(), ["bob"], "what was not accepted did not happen");
    let (_, logs) = server.stop();
    assert!(logs.contains("database is locked"), "{logs}");
}
