//! The database's file: it has everything once the server rests, and the server does not go on without it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus};

use reachability_tests::client::Client;
use reachability_tests::events;
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use rusqlite::Connection;
use tempfile::TempDir;

const DATABASE: &str = "reachability.db";
const LOG: &str = "reachability.db-wal";
const LOCKS: &str = "reachability.db-shm";

/// Copies files. Another process reads the database, so that no lock is given up here.
fn copy(from: &Path, to: &Path, files: &[&str]) {
    for file in files {
        assert!(Command::new("cp").arg(from.join(file)).arg(to.join(file)).status().unwrap().success());
    }
}

/// A server with a service that has the users `user-0` to `user-99`, all online.
async fn server(directory: &Path) -> (Server, String) {
    let server = Server::start(directory, &["--lease-seconds", "86400"]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let connects: Vec<_> = (0..100).map(|n| events::event(&service, &format!("user-{n}"), "connect")).collect();
    client.post(&format!("/v1/Services/{service}/Events"), serde_json::Value::from(connects).to_string()).await;
    let all = async || (online(&client, &service).await == 100).then_some(());
    wait("all are online", all).await;
    (server, service)
}

async fn online(client: &Client, service: &str) -> usize {
    client.everybody(service).await.values().filter(|online| **online == Some(true)).count()
}

/// Everything is in this directory.
async fn has_everything(directory: &Path, service: &str, token: &str) {
    let server = Server::start(directory, &["--lease-seconds", "86400"]);
    assert_eq!(server.token, token, "it is the same account");
    assert_eq!(online(&Client::of(&server), service).await, 100);
    assert!(server.stop().0.success());
}

#[tokio::test]
async fn after_a_clean_stop_the_database_has_everything() {
    let [directory, copied] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (server, service) = server(directory.path()).await;
    let token = server.token.clone();
    let (status, logs) = server.stop();
    assert!(status.success() && !logs.contains("could not be moved"), "{status}: {logs}");
    assert!(!directory.path().join(LOG).exists());
    copy(directory.path(), copied.path(), &["account.json", "credentials.key", DATABASE]);
    has_everything(copied.path(), &service, &token).await;
}

#[tokio::test]
async fn while_nothing_is_written_the_database_has_everything() {
    let directory = tempfile::tempdir().unwrap();
    let (server, service) = server(directory.path()).await;
    // What readers and a check of readiness do is no reason to wait.
    let asks = async || {
        let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(format!("{}/readyz", server.url));
        assert_eq!(answer.send().await.unwrap().status(), 200);
        let copied = tempfile::tempdir().unwrap();
        copy(directory.path(), copied.path(), &["account.json", "credentials.key", DATABASE]);
        let count = |copied: &TempDir| -> rusqlite::Result<usize> {
            let database = Connection::open(copied.path().join(DATABASE))?;
            database.query_row("SELECT count(*) FROM users", [], |row| row.get(0))
        };
        // While it is copied, it may be half of what it will be.
        count(&copied).is_ok_and(|users| users == 100).then_some(copied)
    };
    let copied = wait("the database has everything", asks).await;
    has_everything(copied.path(), &service, &server.token).await;
    assert!(server.stop().0.success());
}

/// The server has ended since it cannot go on.
fn has_failed((status, logs): (ExitStatus, String), file: &str) {
    assert_eq!(status.code(), Some(1), "{status}: {logs}");
    let is_told = |line: &str| {
        line.contains("ERROR") && line.contains(&format!("/{file} w")) && line.contains(" removed or replaced")
    };
    assert_eq!(logs.lines().filter(|line| is_told(line)).count(), 1, "{logs}");
}

#[tokio::test]
async fn a_server_whose_database_is_removed_or_replaced_ends() {
    for is_replaced in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (server, _) = server(directory.path()).await;
        let database = directory.path().join(DATABASE);
        if is_replaced {
            let other = directory.path().join("other");
            assert!(Command::new("cp").arg(&database).arg(&other).status().unwrap().success());
            fs::rename(&other, &database).unwrap();
        } else {
            fs::remove_file(&database).unwrap();
        }
        has_failed(server.ended(), DATABASE);
        assert!(directory.path().join(LOG).exists(), "what is left stays as it is");
    }
}

/// Another process that opens the database makes new ones, and then neither sees the other's locks.
#[tokio::test]
async fn a_server_whose_locks_are_removed_ends_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (server, service) = server(directory.path()).await;
    let token = server.token.clone();
    fs::remove_file(directory.path().join(LOCKS)).unwrap();
    has_failed(server.ended(), LOCKS);
    has_everything(directory.path(), &service, &token).await;
}

#[tokio::test]
async fn a_server_whose_log_is_removed_ends_and_saves_what_was_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let (server, service) = server(directory.path()).await;
    let token = server.token.clone();
    fs::remove_file(directory.path().join(LOG)).unwrap();
    has_failed(server.ended(), LOG);
    has_everything(directory.path(), &service, &token).await;
}
