//! The command `dead-letters`.

use std::fs;
use std::path::Path;

use reachability_domain::presence::event::Event;
use reachability_domain::queue::Queue;
use reachability_tests::client::Client;
use reachability_tests::command::{Outcome, reachability, run};
use reachability_tests::events::event;
use reachability_tests::harness::unstamped;
use reachability_tests::queues::event_queue;
use reachability_tests::receiver::{Answer, Receiver};
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::Value;

use super::{hand_in, stop};

/// A service that does not exist yet.
const LOST: &str = "IS000000000000000000000000000000ff";

fn dead_letters(data: &Path, arguments: &[&str]) -> Outcome {
    run(&mut reachability(&[&["dead-letters", "--data-dir", data.to_str().unwrap()], arguments].concat()), b"")
}

/// What was printed by a command that must succeed.
#[track_caller]
fn printed(data: &Path, arguments: &[&str]) -> String {
    let outcome = dead_letters(data, arguments);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}: {outcome:?}");
    outcome.stdout
}

/// How many dead letters the list counts.
#[track_caller]
fn counted(data: &Path) -> usize {
    let list = printed(data, &["list", "--limit", "1"]);
    let last = list.lines().last().unwrap().strip_prefix("dead letters: ").unwrap();
    last.split(',').next().unwrap().parse().unwrap()
}

/// The ids in a list.
fn ids(list: &str) -> Vec<&str> {
    list.lines().filter_map(|line| line.split_whitespace().next().filter(|id| id.parse::<i64>().is_ok())).collect()
}

/// Starts a server for which connects of these users became dead letters.
async fn server_with_letters(data: &Path, users: &[&str]) -> Server {
    let parse = |user: &&str| unstamped(&Event::parse(event(LOST, user, "connect").to_string().as_bytes()).unwrap());
    event_queue(data).await.send(&users.iter().map(parse).collect::<Vec<_>>()).await.unwrap();
    let server = Server::start(data, &[]);
    wait("they are dead", async || (counted(data) == users.len()).then_some(())).await;
    server
}

/// Creates the service that did not exist, as a copy of another.
async fn create_lost_service(data: &Path, client: &Client) {
    let service = client.enabled_service().await;
    let raw = Connection::open(data.join("reachability.db")).unwrap();
    let copy = "INSERT INTO services SELECT unhex(?2), version, replace(document, ?1, 'IS' || ?2) FROM services
        WHERE sid = unhex(substr(?1, 3))";
    assert_eq!(raw.execute(copy, [&service, &LOST[2..]]).unwrap(), 1);
}

#[tokio::test]
async fn dead_letters_are_listed_and_shown() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = server_with_letters(data, &["alice", "bob", "carol"]).await;
    let list = printed(data, &["list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!((lines.len(), ids(&list), lines[4]), (5, vec!["1", "2", "3"], "dead letters: 3"), "{list}");
    for word in ["ID", "QUEUE", "WHEN", "SERVICE", "REASON"] {
        assert!(lines[0].contains(word), "{list}");
    }
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!((words[0], words[1], words[3]), ("1", "events", LOST));
    assert!(words[2].ends_with('Z') && lines[1].ends_with(&format!("  there is no service {LOST}")), "{list}");
    // The table has columns, and nobody's name.
    assert_eq!(lines[0].find("REASON"), lines[3].find("there is"), "{list}");
    assert!(!list.contains("alice"), "{list}");

    let newest = printed(data, &["list", "--limit", "2"]);
    assert_eq!(ids(&newest), ["2", "3"]);
    assert!(newest.ends_with("dead letters: 3, of which 1 older ones are not shown (--limit)\n"), "{newest}");

    let shown = printed(data, &["show", "2"]);
    let body: String = Connection::open(data.join("reachability.db"))
        .unwrap()
        .query_row("SELECT body FROM dead_letters WHERE id = 2", [], |row| row.get(0))
        .unwrap();
    assert_eq!(shown, format!("{body}\n"));
    // What was sent does not drive the terminal.
    let raw = Connection::open(data.join("reachability.db")).unwrap();
    raw.execute("UPDATE dead_letters SET reason = 'bad' || char(27) || '[2J' || char(10) || 'x' WHERE id = 3", [])
        .unwrap();
    assert!(printed(data, &["list"]).contains("  bad [2J x\n"));
    stop(server);
    assert_eq!(counted(data), 3, "without a server");
}

#[tokio::test]
async fn dead_letters_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = server_with_letters(data, &["alice", "bob", "carol"]).await;
    assert_eq!(printed(data, &["drop", "3", "1", "3"]), "dropped: 2\n");
    assert_eq!(ids(&printed(data, &["list"])), ["2"]);
    for action in ["drop", "retry", "show"] {
        let arguments = if action == "show" { vec![action, "1"] } else { vec![action, "2", "1"] };
        let outcome = dead_letters(data, &arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
        assert!(outcome.stderr.contains("there is no dead letter 1"), "{outcome:?}");
    }
    let list = printed(data, &["list"]);
    assert!(ids(&list) == ["2"] && !list.contains("to be retried"), "all or nothing: {list}");
    stop(server);
    assert_eq!(printed(data, &["drop", "--all"]), "dropped: 1\n");
    assert_eq!(printed(data, &["list"]), "dead letters: 0\n");
    assert_eq!(printed(data, &["drop", "--all"]), "dropped: 0\n");
}

/// Beside a server that runs, and by the next one.
#[tokio::test]
async fn events_that_are_retried_are_handled() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = server_with_letters(data, &["alice", "bob", "carol"]).await;
    let client = Client::of(&server);
    create_lost_service(data, &client).await;
    // Users take turns in any order.
    let letter: Value = serde_json::from_str(&printed(data, &["show", "1"])).unwrap();
    let first = letter["identity"].as_str().unwrap();
    assert!(printed(data, &["retry", "1"]).starts_with("to be retried: 1 "));
    let online = async |client: &Client, name: &str| client.everybody(LOST).await.remove(name).flatten();
    assert!(wait("the first one is online", async || online(&client, first).await).await);
    assert_eq!(ids(&printed(data, &["list"])), ["2", "3"]);
    let logs = stop(server);
    assert!(logs.contains("dead letters are back in their queues"), "{logs}");

    assert!(printed(data, &["retry", "--all"]).starts_with("to be retried: 2 "));
    let list = printed(data, &["list"]);
    assert_eq!(list.matches("(to be retried) there is no service").count(), 2, "{list}");
    let server = Server::start(data, &[]);
    let client = Client::of(&server);
    for name in ["alice", "bob", "carol"] {
        assert!(wait("they are online", async || online(&client, name).await).await, "{name}");
    }
    wait("nothing is left", async || (counted(data) == 0).then_some(())).await;
    stop(server);
}

/// One that fails again is a dead letter again, with another number.
#[tokio::test]
async fn what_fails_again_is_dead_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = server_with_letters(data, &["alice"]).await;
    let before = printed(data, &["show", "1"]);
    printed(data, &["retry", "1"]);
    wait("it is dead again", async || (ids(&printed(data, &["list"])) == ["2"]).then_some(())).await;
    assert_eq!(printed(data, &["show", "2"]), before);
    stop(server);
}

#[tokio::test]
async fn webhooks_and_pushes_that_are_retried_are_handled() {
    let (directory, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let data = directory.path();
    let server = Server::start(data, &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let (url, settings) = (receiver.url("/hook"), format!("/v2/Services/{service}"));
    let form = [("PostWebhookUrl", url.as_str()), ("WebhookFilters", "onUserAdded"), ("PostWebhookRetryCount", "1")];
    let (status, answer) = client.send(Method::POST, &settings, &form).await;
    assert_eq!(status, 200, "{answer}");
    receiver.inbox.answer(|_| Answer::Status(500));
    hand_in(&client, &event(&service, "alice", "connect")).await;
    let dead = async || Some(printed(data, &["list"])).filter(|list| ids(list) == ["1"]);
    let list = wait("it is given up", dead).await;
    assert!(list.contains("webhooks") && list.contains(&service), "{list}");
    // A push that nobody could handle, but anybody can.
    let raw = Connection::open(data.join("reachability.db")).unwrap();
    let insert = "INSERT INTO dead_letters (queue, died_at, reason, body) VALUES (1, 1795132800000, 'why', ?1)";
    raw.execute(insert, [r#"{"type":"sweep"}"#]).unwrap();
    receiver.inbox.take();
    receiver.inbox.answer(|_| Answer::Status(200));
    let list = printed(data, &["list"]);
    assert_eq!(list.lines().nth(2).unwrap().split_whitespace().nth(1), Some("pushes"), "{list}");

    assert!(printed(data, &["retry", "2", "1"]).starts_with("to be retried: 2 "));
    wait("it is delivered", async || (receiver.inbox.count() > 0).then_some(())).await;
    let told = receiver.inbox.take();
    assert_eq!((told.len(), told[0].what()), (1, ("onUserAdded", "alice")));
    let nothing_is_left = async || {
        let left = "SELECT (SELECT count(*) FROM webhooks) + (SELECT count(*) FROM messages WHERE lane = 1)";
        let left: i64 = raw.query_row(left, [], |row| row.get(0)).unwrap();
        (left == 0 && counted(data) == 0).then_some(())
    };
    wait("nothing is left", nothing_is_left).await;
    stop(server);
}

#[test]
fn what_cannot_be_done_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    let (new, data) = (directory.path().join("new"), directory.path().join("data"));
    stop(Server::start(&data, &[]));
    for (data, arguments, code, word) in [
        (&new, vec!["list"], 1, "--data-dir"),
        (&data, vec!["list", "--limit", "0"], 2, "--limit"),
        (&data, vec!["retry"], 2, "--all"),
        (&data, vec!["drop"], 2, "--all"),
        (&data, vec!["drop", "1", "--all"], 2, "--all"),
        (&data, vec!["show"], 2, "<ID>"),
        (&data, vec!["show", "x"], 2, "<ID>"),
        (&data, vec![], 2, "list"),
    ] {
        let outcome = dead_letters(data, &arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(code), ""), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains(word), "{arguments:?}: no {word} in {}", outcome.stderr);
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    }
    assert!(!new.exists() && fs::read_dir(&data).unwrap().count() > 2, "it creates nothing");
}
