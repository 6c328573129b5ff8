//! The command `token`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use reachability_domain::directory::access_token::{AccessToken, Grant};
use reachability_domain::directory::ports::ApiKeys;
use reachability_infra::clock;
use reachability_infra::sqlite::SqliteStore;
use reachability_tests::client::Client;
use reachability_tests::command::{Outcome, reachability, run};
use reachability_tests::queues::database;
use reachability_tests::server::Server;
use rusqlite::Connection;
use serde_json::Value;

use super::{ACCOUNT, serve, stop};

fn token(data: &Path, arguments: &[&str]) -> Outcome {
    let data = data.to_str().unwrap();
    run(&mut reachability(&[&["token", "--data-dir", data], arguments].concat()), b"")
}

/// The token that was printed, and nothing else.
#[track_caller]
fn printed(outcome: &Outcome) -> &str {
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    let token = outcome.stdout.strip_suffix('\n').unwrap();
    assert!(token.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "{token:?}");
    token
}

/// What a token grants by the keys in a data directory.
async fn granted(data: &Path, account: &str, token: &str) -> Grant {
    let store = SqliteStore::new(database(data));
    let token = AccessToken::parse(token).unwrap();
    let key = store.key(token.key()).await.unwrap().expect("the key is stored");
    token.verify(account.parse().unwrap(), &key.secret, clock::now()).unwrap()
}

#[tokio::test]
async fn a_token_is_made_beside_a_server_and_without_one() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = Server::start(data, &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let names = async || -> Vec<String> {
        let keys = client.get(&format!("/2010-04-01/Accounts/{}/Keys.json", server.account)).await;
        let keys: &Vec<Value> = keys["keys"].as_array().unwrap();
        keys.iter().map(|key| key["friendly_name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(names().await.is_empty());
    let first = token(data, &["--service", &service, "--identity", "Älice & Böb"]);
    let first = granted(data, &server.account, printed(&first)).await;
    assert_eq!((first.user.service.to_string(), first.user.identity.as_str()), (service.clone(), "Älice & Böb"));
    let left = first.expires_at.since(clock::now());
    assert!(left <= Duration::from_secs(3_600) && left > Duration::from_secs(3_000), "{left:?}");
    // One key signs all, and the server knows it.
    assert_eq!(names().await, ["reachability token"]);
    let second = token(data, &["--service", &service, "--identity", "bob", "--ttl", "86400"]);
    let second = granted(data, &server.account, printed(&second)).await;
    assert_eq!(second.key, first.key);
    assert!(second.expires_at.since(clock::now()) > Duration::from_secs(86_000));
    // The owner takes them back.
    client.delete(&format!("/2010-04-01/Accounts/{}/Keys/{}.json", server.account, first.key)).await;
    let account = server.account.clone();
    stop(server);

    let third = token(data, &["--service", &service, "--identity", "bob"]);
    let third = granted(data, &account, printed(&third)).await;
    assert_ne!(third.key, first.key);
    let server = Server::start(data, &[]);
    assert_eq!(Client::of(&server).everybody(&service).await.len(), 0, "a token makes no user");
    stop(server);
}

#[tokio::test]
async fn runs_at_once_make_one_key() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = Server::start(data, &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let runs: Vec<_> = (0..8)
        .map(|_| {
            let (data, service) = (data.to_owned(), service.clone());
            std::thread::spawn(move || token(&data, &["--service", &service, "--identity", "alice"]))
        })
        .collect();
    for run in runs {
        printed(&run.join().unwrap());
    }
    let keys = client.get(&format!("/2010-04-01/Accounts/{}/Keys.json", server.account)).await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
    stop(server);
}

#[tokio::test]
async fn a_token_is_of_the_account_that_the_server_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let arguments = ["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
    let variables = [("REACHABILITY_ACCOUNT_SID", ACCOUNT)];
    stop(serve(data, &arguments, &[]));
    let server = serve(data, &arguments, &variables);
    // The file of the first start has the account now.
    let client = Client::of(&server).with_credentials(ACCOUNT, &server.token);
    let service = client.enabled_service().await;
    for variables in [&variables[..], &[]] {
        let mut command = reachability(&["token", "--service", &service, "--identity", "alice"]);
        let outcome = run(command.envs(variables.iter().copied()).env("REACHABILITY_DATA_DIR", data), b"");
        assert_eq!(granted(data, ACCOUNT, printed(&outcome)).await.user.identity.as_str(), "alice");
    }
    stop(server);
}

#[test]
fn the_default_service_has_tokens_from_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = Server::start(data, &[]);
    let service = server.greeting.split('/').find(|part| part.starts_with("IS")).unwrap().to_owned();
    stop(server);
    printed(&token(data, &["--service", &service, "--identity", "alice"]));
}

#[test]
fn what_makes_no_token_is_explained() {
    const SERVICE: &str = "IS00000000000000000000000000000001";
    let directory = tempfile::tempdir().unwrap();
    let (new, data) = (directory.path().join("new"), directory.path().join("data"));
    stop(Server::start(&data, &[]));
    let no_account = directory.path().join("empty");
    fs::create_dir(&no_account).unwrap();
    let of_alice = ["--service", SERVICE, "--identity", "alice"];
    let with = |more: &[&'static str]| [&of_alice[..], more].concat();
    let long = "x".repeat(257);
    for (data, arguments, code, words) in [
        (&new, with(&[]), 1, ["no account", "--data-dir"]),
        (&no_account, with(&[]), 1, ["no account", "--data-dir"]),
        (&data, with(&[]), 1, ["no service", SERVICE]),
        (&data, with(&["--ttl", "0"]), 2, ["--ttl", "1..=86400"]),
        (&data, with(&["--ttl", "86401"]), 2, ["--ttl", "1..=86400"]),
        (&data, with(&["--ttl", "-1"]), 2, ["--ttl", "1..=86400"]),
        (&data, with(&["--account-sid", "alice"]), 2, ["--account-sid", "AC"]),
        (&data, vec!["--service", SERVICE], 2, ["--identity", "required"]),
        (&data, vec!["--identity", "alice"], 2, ["--service", "required"]),
        (&data, vec!["--service", "default", "--identity", "alice"], 2, ["--service", "IS"]),
        (&data, vec!["--service", SERVICE, "--identity", ""], 2, ["--identity", "empty"]),
        (&data, vec!["--service", SERVICE, "--identity", &long], 2, ["--identity", "256"]),
    ] {
        let outcome = token(data, &arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(code), ""), "{arguments:?}: {outcome:?}");
        for word in words {
            assert!(outcome.stderr.contains(word), "{arguments:?}: no {word} in {}", outcome.stderr);
        }
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    }
    assert!(!new.exists() && fs::read_dir(&no_account).unwrap().next().is_none(), "it creates nothing");
}

/// A server that runs must not find its tables changed.
#[test]
fn the_database_of_another_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    stop(Server::start(data, &[]));
    let file = data.join("reachability.db");
    let connection = Connection::open(&file).unwrap();
    for (version, word) in [(4, "another version"), (999, "newer version")] {
        connection.pragma_update(None, "user_version", version).unwrap();
        let outcome = token(data, &["--service", "IS00000000000000000000000000000001", "--identity", "alice"]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
        assert!(outcome.stderr.contains(word), "{outcome:?}");
        let found: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(found, version);
    }
}
