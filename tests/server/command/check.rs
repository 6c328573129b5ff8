//! The command `check`.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use reachability_tests::client::Client;
use reachability_tests::command::{Outcome, reachability, run};
use reachability_tests::events::event;
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use reqwest::Method;
use rusqlite::Connection;
use tempfile::TempDir;

use super::{hand_in, stop};

fn check(data: &Path) -> Outcome {
    run(&mut reachability(&["check", "--data-dir", data.to_str().unwrap()]), b"")
}

#[track_caller]
fn passes(data: &Path) -> String {
    let outcome = check(data);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    assert!(outcome.stdout.starts_with("nothing found: "), "{outcome:?}");
    outcome.stdout
}

/// A data directory with a bit of everything, and the sid of its service.
async fn data() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    for (identity, kind) in [("alice", "connect"), ("bob", "connect"), ("bob", "disconnect"), ("ghost", "disconnect")] {
        hand_in(&client, &event(&service, identity, kind)).await;
    }
    let went = async || (client.everybody(&service).await.get("bob") == Some(&Some(false))).then_some(());
    wait("bob came and went", went).await;
    let users = format!("/v1/Services/{service}/Users");
    let bindings = format!("/v1/Services/{service}/Bindings");
    let token = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
    let channel = "/v1/Services/".to_owned() + &service + "/Channels";
    for (path, form) in [
        (&users, vec![("Identity", "carol")]),
        (&bindings, vec![("Identity", "carol"), ("BindingType", "apn"), ("Address", token)]),
        (&channel, vec![("Type", "team"), ("Id", "one"), ("Identity", "alice"), ("Identity", "bob")]),
    ] {
        let (status, answer) = client.send(Method::POST, path, &form).await;
        assert_eq!(status, 201, "{path}: {answer}");
    }
    let said = passes(directory.path());
    assert!(said.contains("3 users"), "beside a server: {said}");
    stop(server);
    (directory, service)
}

#[tokio::test]
async fn what_a_server_has_stored_is_found_to_be_in_order() {
    let (directory, _) = data().await;
    let said = passes(directory.path());
    // One besides the default one.
    for count in ["2 services", "3 users", "3 connections", "1 push registrations", "1 channels", " timers"] {
        assert!(said.contains(count), "no {count}: {said}");
    }
    // Another look, with other rows: a flood that waits, and what became of it.
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let flood: Vec<_> = (0..5_000).map(|n| event(&service, &format!("user-{n}"), "connect")).collect();
    client.post(&format!("/v1/Services/{service}/Events"), serde_json::Value::from(flood).to_string()).await;
    passes(directory.path());
    client.delete(&format!("/v1/Services/{service}")).await;
    passes(directory.path());
    stop(server);
    passes(directory.path());
}

/// Each statement breaks a fresh copy, and the line that tells it has these words.
#[tokio::test]
async fn whatever_is_broken_is_found() {
    let (directory, service) = data().await;
    let alice = format!("states {service}/alice: ");
    let of_service = format!("unhex('{}')", &service[2..]);
    let cases: &[(&str, &[&str])] = &[
        ("UPDATE states SET presence = x'ff' WHERE identity = 'alice'", &[&alice, "cannot be read"]),
        ("UPDATE states SET created_by = 'nonsense?' WHERE identity = 'alice'", &[&alice, "cannot be read"]),
        ("UPDATE states SET registrations = '{' WHERE identity = 'alice'", &[&alice, "cannot be read"]),
        ("UPDATE states SET disclosure = '7' WHERE identity = 'alice'", &[&alice, "cannot be read"]),
        ("UPDATE states SET shown_online = NULL WHERE identity = 'alice'", &[&alice, "not in the index"]),
        ("UPDATE states SET shown_online = 1 WHERE identity = 'bob'", &["/bob: ", "but in the index"]),
        ("UPDATE states SET user = zeroblob(16) WHERE identity = 'alice'", &[&alice, "a user that does not exist"]),
        ("UPDATE states SET user = zeroblob(16) WHERE identity = 'alice'", &["users IS", "no state is of this user"]),
        ("DELETE FROM states WHERE identity = 'carol'", &["users IS", "no state is of this user"]),
        ("DELETE FROM users WHERE identity = 'alice'", &[&alice, "a user that does not exist"]),
        ("UPDATE users SET document = '{}' WHERE identity = 'alice'", &["users IS", "cannot be read"]),
        (
            "UPDATE users SET document = replace(document, 'alice', 'eve') WHERE identity = 'alice'",
            &["users IS", "that of another row"],
        ),
        ("UPDATE users SET document = x'00' WHERE identity = 'alice'", &["users IS", "cannot be read"]),
        ("UPDATE services SET document = 'x'", &["services IS", "cannot be read"]),
        ("UPDATE bindings SET identity = 'eve'", &["bindings IS", "/BS", "that of another row"]),
        ("UPDATE channels SET member_count = 7", &["channels IS", "/team:one: ", "counts 7 members, and has 2"]),
        ("DELETE FROM members WHERE identity = 'bob'", &["/team:one: ", "counts 2 members, and has 1"]),
        ("DELETE FROM channels", &["members IS", "/team:one: ", "no such channel, and 2 members"]),
        ("UPDATE messages SET body = 'x'", &["messages ", "cannot be read"]),
        ("UPDATE messages SET service = zeroblob(16)", &["messages ", "of another service"]),
        ("UPDATE messages SET lane = 9", &["messages ", "cannot be read"]),
        ("UPDATE messages SET timer_of = 'eve' WHERE timer_of = 'alice'", &["messages ", "no timer of that user"]),
        ("UPDATE messages SET timer_of = NULL WHERE timer_of = 'alice'", &["messages ", "no timer of that user"]),
        ("DELETE FROM messages", &[&alice, "no timer in time"]),
        ("UPDATE messages SET due_at = due_at + 86400000", &[&alice, "no timer in time"]),
        ("UPDATE states SET next_timer = next_timer + 1 WHERE identity = 'alice'", &[&alice, "no timer in time"]),
        ("INSERT INTO messages (lane, due_at, body) VALUES (1, 0, '{}')", &["messages ", "cannot be read"]),
        ("INSERT INTO recipients VALUES (zeroblob(16), 'x', '{}')", &["recipients NT", "/x: ", "cannot be read"]),
        ("UPDATE feed SET notice = '{}'", &["feed ", "cannot be read"]),
        ("DELETE FROM feed_position", &["feed_position", "0 rows"]),
        ("INSERT INTO sockets VALUES ('', zeroblob(16), 'x')", &["sockets ", "cannot be read"]),
        (
            "INSERT INTO dead_letters (queue, died_at, reason, body) VALUES (9, 0, '', '')",
            &["dead_letters 1: ", "cannot be read"],
        ),
        ("DROP TABLE webhooks", &["webhooks: ", "no such table"]),
    ];
    for (statement, words) in cases {
        broken(directory.path(), |raw| raw.execute_batch(statement).unwrap(), statement, words);
    }
    let delete = format!("DELETE FROM services WHERE sid = {of_service}");
    for table in ["users", "states", "bindings", "channels", "members"] {
        let row = format!("{table} {service}: ");
        broken(directory.path(), |raw| raw.execute_batch(&delete).unwrap(), table, &[&row, "no such service"]);
    }
    let webhook = |id: u32, due: &str| {
        format!(
            "INSERT INTO webhooks (id, service, identity, due_at, body) VALUES ({id}, {of_service}, 'x', {due}, '{{}}');"
        )
    };
    for (rows, words) in [
        (webhook(1, "0"), ["webhooks 1: ", "cannot be read"]),
        (webhook(1, "NULL"), ["webhooks 1: ", "never due"]),
        (webhook(1, "0") + &webhook(2, "0"), ["webhooks 2: ", "before an earlier one"]),
    ] {
        broken(directory.path(), |raw| raw.execute_batch(&rows).unwrap(), &rows, &words);
    }
}

/// What SQLite itself finds.
#[tokio::test]
async fn a_damaged_file_is_found() {
    let (directory, _) = data().await;
    // A row that the table has, and its index has not.
    let index = |raw: &Connection| {
        raw.pragma_update(None, "writable_schema", true).unwrap();
        raw.execute_batch(
            "CREATE TABLE hidden AS SELECT sql FROM sqlite_schema WHERE name = 'users_by_identity';
             UPDATE sqlite_schema SET sql = replace(sql, 'identity)', 'identity) WHERE identity <> ''alice''')
             WHERE name = 'users_by_identity'; PRAGMA writable_schema = RESET; REINDEX users_by_identity;
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = (SELECT sql FROM hidden) WHERE name = 'users_by_identity';",
        )
        .unwrap();
    };
    broken(directory.path(), index, "an index", &["the file ", "users_by_identity"]);

    // Pages that are overwritten.
    let copy = tempfile::tempdir().unwrap();
    copy_to(directory.path(), copy.path());
    let root: u64 = {
        let raw = Connection::open(copy.path().join("reachability.db")).unwrap();
        raw.pragma_update(None, "journal_mode", "DELETE").unwrap();
        raw.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'states'", [], |row| row.get(0)).unwrap()
    };
    let path = copy.path().join("reachability.db");
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut header = [0; 18];
    file.read_exact(&mut header).unwrap();
    let page = u64::from(u16::from_be_bytes([header[16], header[17]]));
    file.seek(SeekFrom::Start((root - 1) * page)).unwrap();
    file.write_all(&vec![0xA5; usize::try_from(page).unwrap()]).unwrap();
    drop(file);
    let outcome = check(copy.path());
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("the file ") && outcome.stdout.contains("states: cannot be read"), "{outcome:?}");

    fs::write(&path, "no database, but as long as the header of one would have to be: more than a hundred bytes, and nothing else in it")
        .unwrap();
    let outcome = check(copy.path());
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
    assert!(outcome.stderr.contains("as a database"), "{outcome:?}");
}

/// It reads what this version writes, and leaves another version's data alone.
#[test]
fn the_database_of_another_version_is_not_checked() {
    let directory = tempfile::tempdir().unwrap();
    stop(Server::start(directory.path(), &[]));
    let raw = Connection::open(directory.path().join("reachability.db")).unwrap();
    raw.pragma_update(None, "user_version", 4).unwrap();
    let outcome = check(directory.path());
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
    assert!(outcome.stderr.contains("another version"), "{outcome:?}");
    let outcome = check(&directory.path().join("missing"));
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("--data-dir"), "{outcome:?}");
}

fn copy_to(data: &Path, copy: &Path) {
    for file in fs::read_dir(data).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
    }
}

/// Breaks a copy. One line must have all these words.
#[track_caller]
fn broken(data: &Path, change: impl FnOnce(&Connection), what: &str, words: &[&str]) {
    let copy = tempfile::tempdir().unwrap();
    copy_to(data, copy.path());
    passes(copy.path());
    change(&Connection::open(copy.path().join("reachability.db")).unwrap());
    let outcome = check(copy.path());
    assert_eq!(outcome.code, Some(1), "{what}: {outcome:?}");
    let is_it = |line: &str| words.iter().all(|word| line.contains(word));
    assert!(outcome.stdout.lines().any(is_it), "{what}: no {words:?} in {}", outcome.stdout);
    let findings = format!("reachability: findings: {}\n", outcome.stdout.lines().count());
    assert_eq!(outcome.stderr, findings, "{what}: {}", outcome.stdout);
}
