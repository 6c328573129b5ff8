//! The command `backup`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use reachability_tests::client::Client;
use reachability_tests::command::{Outcome, reachability, run};
use reachability_tests::events::event;
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use rusqlite::Connection;
use serde_json::Value;

use super::{hand_in, in_shell, stop};

fn backup(data: &Path, file: &Path) -> Outcome {
    run(&mut reachability(&["backup", "--data-dir", data.to_str().unwrap(), file.to_str().unwrap()]), b"")
}

#[track_caller]
fn backed_up(data: &Path, file: &Path) -> String {
    let outcome = backup(data, file);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    outcome.stdout
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_backup_of_a_running_server_is_restored() {
    let directory = tempfile::tempdir().unwrap();
    let (data, copies) = (directory.path().join("data"), directory.path().join("copies"));
    fs::create_dir(&copies).unwrap();
    let server = Server::start(&data, &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    hand_in(&client, &event(&service, "alice", "connect")).await;
    let online = async || client.everybody(&service).await.remove("alice").flatten();
    assert!(wait("alice is online", online).await);

    let copy = copies.join("one.db");
    let said = backed_up(&data, &copy);
    for file in [&copy, &data.join("account.json"), &data.join("credentials.key")] {
        assert!(said.contains(file.to_str().unwrap()), "{said}");
    }
    assert_eq!(files(&copies), std::slice::from_ref(&copy), "nothing else is left");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(said.contains(&format!(" {} bytes", fs::metadata(&copy).unwrap().len())), "{said}");
    // What comes later is not in it.
    hand_in(&client, &event(&service, "bob", "connect")).await;
    wait("bob connects", async || client.everybody(&service).await.remove("bob")).await;

    // Restored as the README says.
    stop(server);
    fs::copy(&copy, data.join("reachability.db")).unwrap();
    for journal in ["reachability.db-wal", "reachability.db-shm"] {
        let _ = fs::remove_file(data.join(journal));
    }
    let server = Server::start(&data, &[]);
    let client = Client::of(&server);
    let everybody = client.everybody(&service).await;
    assert_eq!(everybody.into_iter().collect::<Vec<_>>(), [("alice".to_owned(), Some(true))]);
    stop(server);
    // Without a server.
    backed_up(&data, &copies.join("two.db"));
}

/// Each copy is of one moment, however much is written meanwhile.
#[tokio::test]
async fn copies_beside_writes_are_consistent() {
    const USERS: usize = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(&data, &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let connects: Vec<Value> = (0..USERS).map(|n| event(&service, &format!("user-{n}"), "connect")).collect();
    client.post(&format!("/v1/Services/{service}/Events"), Value::from(connects).to_string()).await;
    let mut copies = 0;
    let mut users = 0;
    while users < USERS {
        let copy = directory.path().join(format!("{copies}.db"));
        backed_up(&data, &copy);
        let database = Connection::open(&copy).unwrap();
        let said: String = database.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
        assert_eq!(said, "ok");
        let count = |sql: &str| -> usize { database.query_row(sql, [], |row| row.get(0)).unwrap() };
        let handled = count("SELECT count(*) FROM users");
        assert!(handled >= users);
        // An event leaves the queue after its user was written.
        assert!(handled + count("SELECT count(*) FROM messages WHERE due_at = 0") >= USERS);
        assert_eq!(count("SELECT count(*) FROM states WHERE user IS NOT NULL"), handled);
        (users, copies) = (handled, copies + 1);
    }
    println!("{copies} copies");
    stop(server);
}

#[test]
fn nothing_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    stop(Server::start(&data, &[]));
    let (copy, draft) = (directory.path().join("copy.db"), directory.path().join("copy.db.unfinished"));
    for (precious, words) in [(&copy, ["copy.db", "exists"]), (&draft, ["copy.db.unfinished", "interrupted"])] {
        fs::write(precious, "precious").unwrap();
        let outcome = backup(&data, &copy);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
        for word in words {
            assert!(outcome.stderr.contains(word), "no {word}: {}", outcome.stderr);
        }
        assert_eq!(fs::read_to_string(precious).unwrap(), "precious");
        assert_eq!(files(directory.path()), [precious.clone(), data.clone()]);
        fs::remove_file(precious).unwrap();
    }
    // Not even through a link that leads nowhere.
    std::os::unix::fs::symlink(directory.path().join("nowhere"), &copy).unwrap();
    assert_eq!(backup(&data, &copy).code, Some(1));
    assert!(!directory.path().join("nowhere").exists());
}

#[test]
fn a_backup_that_fails_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (data, new) = (directory.path().join("data"), directory.path().join("new"));
    let server = Server::start(&data, &[]);
    let copy = directory.path().join("copy.db");
    let before = files(directory.path());
    for (data, copy, word) in
        [(&new, &copy, "--data-dir"), (&data, &directory.path().join("missing").join("copy.db"), "missing")]
    {
        let outcome = backup(data, copy);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
        assert!(outcome.stderr.contains(word), "no {word}: {}", outcome.stderr);
    }
    // The disk is full: no file may grow over 8 blocks of 512 bytes.
    let full = reachability(&["backup", "--data-dir", data.to_str().unwrap(), copy.to_str().unwrap()]);
    let outcome = run(&mut in_shell("trap '' XFSZ; ulimit -f 8;", &full), b"");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
    assert!(outcome.stderr.contains("copy.db"), "{outcome:?}");
    assert_eq!(files(directory.path()), before);
    stop(server);
}
