//! A data directory that an earlier version has written: its database, with queued messages, and that version's answers
//! to reads (`tests/data/earlier`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use reachability_tests::client::Client;
use reachability_tests::server::Server;
use rusqlite::Connection;
use serde_json::{Map, Value, json};

const ACCOUNT: &str = "AC00000000000000000000000000000001";

fn data() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/data/earlier"))
}

fn all(database: &Connection, sql: &str) -> Vec<Value> {
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(|row| serde_json::from_str(&row.unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn data_of_an_earlier_version_is_read_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("reachability.db");
    Connection::open(&path).unwrap().execute_batch(&fs::read_to_string(data().join("database.sql")).unwrap()).unwrap();
    fs::copy(data().join("credentials.key"), directory.path().join("credentials.key")).unwrap();
    let account = json!({ "account_sid": ACCOUNT, "auth_token": "0123456789abcdef" });
    fs::write(directory.path().join("account.json"), account.to_string()).unwrap();

    let server = Server::start(directory.path(), &["--public-url", "http://localhost:8080"]);
    let client = Client::of(&server);
    let answers = fs::read_to_string(data().join("answers.json")).unwrap();
    let answers: Map<String, Value> = serde_json::from_str(&answers).unwrap();
    assert_eq!(answers.len(), 26);
    for (path, earlier) in &answers {
        // New members in an answer are allowed.
        let mut now = client.get(path).await;
        keep_known(&mut now, earlier);
        assert_eq!(now.to_string(), earlier.to_string(), "{path}");
    }

    // The queued messages are long due: each is handled with its original meaning.
    let database = Connection::open(&path).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let is_handled = |messages: &[Value]| {
        let kinds: Vec<&str> = messages.iter().map(|message| message["type"].as_str().unwrap()).collect();
        kinds == ["check", "probe"] && messages[1]["attempts"].as_u64() > Some(1)
    };
    let mut messages = all(&database, "SELECT body FROM messages ORDER BY lane, id");
    while !is_handled(&messages) {
        assert!(Instant::now() < deadline, "{messages:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        messages = all(&database, "SELECT body FROM messages ORDER BY lane, id");
    }
    // Alice's connection lives for a century; no provider can be asked about her phone.
    assert_eq!((&messages[0]["identity"], &messages[0]["connection_id"]), (&json!("alice"), &json!("c-1")));
    let deliveries = all(&database, "SELECT document FROM deliveries");
    assert_eq!(deliveries[0]["status"], json!({ "status": "failed", "reason": "Expired" }));
    let dead: i64 = database.query_row("SELECT count(*) FROM dead_letters", [], |row| row.get(0)).unwrap();
    assert_eq!(dead, 1, "the one that was there");
    let (status, logs) = server.stop();
    assert!(status.success() && !logs.contains("ERROR"), "{logs}");
}

/// Removes the members from an answer that the earlier answer did not have.
fn keep_known(now: &mut Value, earlier: &Value) {
    match (now, earlier) {
        (Value::Object(now), Value::Object(earlier)) => {
            now.retain(|name, _| earlier.contains_key(name));
            now.iter_mut().for_each(|(name, value)| keep_known(value, &earlier[name]));
        }
        (Value::Array(now), Value::Array(earlier)) => {
            now.iter_mut().zip(earlier).for_each(|(now, earlier)| keep_known(now, earlier));
        }
        _ => {}
    }
}
