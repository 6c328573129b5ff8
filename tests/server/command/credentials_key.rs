//! The key that seals push credentials and API keys: a lost one, a wrong one, and where it lies.

use std::fs;
use std::path::{Path, PathBuf};

use reachability_test_keys as keys;
use reachability_tests::client::Client;
use reachability_tests::command::{Outcome, reachability, run};
use reachability_tests::server::Server;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::stop;

const DISCARD: &str = "--discard-credentials";
const ELSEWHERE: &str = "--credentials-key-file";

/// The key of another directory.
const OTHER: &str = "0123456789abcdef0123456789abcdef";

fn key_file(data: &Path) -> PathBuf {
    data.join("credentials.key")
}

/// Uploads a push credential. Returns its sid.
async fn upload(client: &Client) -> String {
    let (status, made) = client.send(Method::POST, "/v1/Credentials", &signing_key(&keys::p256())).await;
    assert_eq!(status, 201, "{made}");
    made["sid"].as_str().unwrap().to_owned()
}

fn signing_key(key: &str) -> [(&'static str, &str); 6] {
    [
        ("Type", "apn"),
        ("PrivateKey", key),
        ("KeyId", "ABC123DEFG"),
        ("TeamId", "DEF123GHIJ"),
        ("Topic", "com.example.app"),
        ("RegistrationCheck", "none"),
    ]
}

/// Makes an API key. Returns its sid and its secret.
async fn make_key(server: &Server) -> (String, String) {
    let path = format!("/2010-04-01/Accounts/{}/Keys.json", server.account);
    let (status, made) = Client::of(server).send(Method::POST, &path, &[]).await;
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("sid"), text("secret"))
}

/// The status of a request with an API key.
async fn status_with(server: &Server, (sid, secret): &(String, String)) -> u16 {
    Client::of(server).with_credentials(sid, secret).send(Method::GET, "/v1/Services", &[]).await.0
}

/// A start that must be refused, with these words.
#[track_caller]
fn refused(data: &Path, more: &[&str], words: &[&str]) {
    let outcome = start(data, more);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
    for word in words {
        assert!(outcome.stderr.contains(word), "no {word}: {}", outcome.stderr);
    }
}

fn start(data: &Path, more: &[&str]) -> Outcome {
    let arguments = ["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
    run(&mut reachability(&[&arguments, more].concat()), b"")
}

fn token(data: &Path, service: &str, more: &[&str]) -> Outcome {
    let arguments = ["token", "--service", service, "--identity", "alice", "--data-dir", data.to_str().unwrap()];
    run(&mut reachability(&[&arguments, more].concat()), b"")
}

#[tokio::test]
async fn a_lost_key_stops_the_start_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    for with_credential in [false, true] {
        let server = Server::start(data, &[]);
        let client = Client::of(&server);
        let service = client.enabled_service().await;
        let key = make_key(&server).await;
        let credential = if with_credential { Some(upload(&client).await) } else { None };
        server.kill();

        let file = key_file(data);
        let kept = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let path = file.to_str().unwrap();
        refused(data, &[], &[path, "is missing", DISCARD, ELSEWHERE]);
        assert!(!file.exists(), "no other key took its place");
        let outcome = token(data, &service, &[]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
        assert!(outcome.stderr.contains(path) && outcome.stderr.contains(ELSEWHERE), "{outcome:?}");
        fs::write(&file, format!("{OTHER}\n")).unwrap();
        refused(data, &[], &[path, "is not the one", DISCARD, ELSEWHERE]);
        let outcome = token(data, &service, &[]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
        assert!(outcome.stderr.contains("is not the one"), "{outcome:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{OTHER}\n"));

        fs::write(&file, kept).unwrap();
        let server = Server::start(data, &[]);
        assert_eq!(status_with(&server, &key).await, 200);
        if let Some(credential) = credential {
            let shown = Client::of(&server).get(&format!("/v1/Credentials/{credential}")).await;
            assert_eq!(shown["status"], "unproven");
        }
        assert!(!stop(server).contains("cannot be opened"));
    }
}

/// A push credential alone tells a wrong key as well.
#[tokio::test]
async fn a_credential_alone_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = Server::start(data, &[]);
    upload(&Client::of(&server)).await;
    stop(server);
    fs::remove_file(key_file(data)).unwrap();
    refused(data, &[], &["is missing", DISCARD]);
    fs::write(key_file(data), OTHER).unwrap();
    refused(data, &[], &["is not the one", DISCARD]);
}

#[test]
fn without_anything_sealed_a_lost_key_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    stop(Server::start(data, &[]));
    let lost = fs::read_to_string(key_file(data)).unwrap();
    fs::remove_file(key_file(data)).unwrap();
    stop(Server::start(data, &[]));
    assert_ne!(fs::read_to_string(key_file(data)).unwrap(), lost);
}

#[tokio::test]
async fn what_cannot_be_opened_is_discarded_on_demand() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = Server::start(data, &[]);
    let client = Client::of(&server);
    let key = make_key(&server).await;
    let credential = upload(&client).await;
    let path = format!("/v1/Credentials/{credential}");
    stop(server);

    // Nothing is discarded that can be opened.
    let server = Server::start(data, &[DISCARD]);
    assert_eq!(status_with(&server, &key).await, 200);
    assert_eq!(Client::of(&server).get(&path).await["status"], "unproven");
    stop(server);

    fs::remove_file(key_file(data)).unwrap();
    let server = Server::start(data, &[DISCARD]);
    let client = Client::of(&server);
    assert_eq!(status_with(&server, &key).await, 401);
    let keys = client.get(&format!("/2010-04-01/Accounts/{}/Keys.json", server.account)).await;
    assert_eq!(keys["keys"], json!([]));
    let shown = client.get(&path).await;
    let told = |shown: &Value| (shown["status"].clone(), shown["status_reason"].clone());
    assert_eq!(told(&shown), (json!("rejected"), json!("UnreadableSecret")), "{shown}");
    assert!(shown["status_date"].is_string() && shown["topic"] == "com.example.app", "{shown}");
    let key = make_key(&server).await;
    let logs = stop(server);
    assert!(logs.contains(&credential) && logs.contains("is deleted"), "{logs}");

    // It stays so, and the owner uploads it again.
    let server = Server::start(data, &[]);
    let client = Client::of(&server);
    assert_eq!(status_with(&server, &key).await, 200);
    assert_eq!(told(&client.get(&path).await), (json!("rejected"), json!("UnreadableSecret")));
    let (status, shown) = client.send(Method::POST, &path, &signing_key(&keys::p256())).await;
    assert_eq!((status, told(&shown)), (200, (json!("unproven"), Value::Null)), "{shown}");
    stop(server);
    stop(Server::start(data, &[]));
}

/// An earlier version made a new key when the old one was lost, so some credentials may be of a key that nobody has.
#[tokio::test]
async fn a_credential_of_an_earlier_key_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = Server::start(data, &[]);
    let client = Client::of(&server);
    let (good, bad) = (upload(&client).await, upload(&client).await);
    stop(server);
    let database = Connection::open(data.join("reachability.db")).unwrap();
    let spoil = "UPDATE credentials SET document = json_set(document, '$.sealed',
                     (SELECT document ->> '$.sealed' FROM credentials WHERE document ->> '$.sid' = ?1))
                 WHERE document ->> '$.sid' = ?2";
    assert_eq!(database.execute(spoil, [&good, &bad]).unwrap(), 1);
    drop(database);
    let named = |logs: &str, sid: &str| logs.lines().any(|line| line.contains("upload it again") && line.contains(sid));
    let logs = stop(Server::start(data, &[]));
    assert!(named(&logs, &bad) && !named(&logs, &good), "{logs}");
    let server = Server::start(data, &[DISCARD]);
    let statuses = async |sid: &str| Client::of(&server).get(&format!("/v1/Credentials/{sid}")).await["status"].clone();
    assert_eq!((statuses(&good).await, statuses(&bad).await), (json!("unproven"), json!("rejected")));
    stop(server);
    assert!(!named(&stop(Server::start(data, &[])), &bad));
}

#[tokio::test]
async fn the_key_may_lie_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let (data, file) = (directory.path().join("data"), directory.path().join("secret"));
    let at = [ELSEWHERE, file.to_str().unwrap()];
    refused(&data, &[ELSEWHERE, directory.path().join("no/such").to_str().unwrap()], &["no/such"]);
    assert!(!data.exists(), "a first start that fails leaves nothing behind");
    let server = Server::start(&data, &at);
    let service = Client::of(&server).enabled_service().await;
    let key = make_key(&server).await;
    assert!(file.exists() && !key_file(&data).exists());
    let outcome = token(&data, &service, &at);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    assert_eq!(token(&data, &service, &[]).code, Some(1));
    stop(server);

    refused(&data, &[], &[key_file(&data).to_str().unwrap(), "is missing", ELSEWHERE]);
    assert!(!key_file(&data).exists());
    let server = Server::start_with(&data, &[], |command| {
        command.env("REACHABILITY_CREDENTIALS_KEY_FILE", &file);
    });
    assert_eq!(status_with(&server, &key).await, 200);
    stop(server);
}
