//! What it logs, and what it must not log.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reachability_tests::client::{Client, answer_to};
use reachability_tests::events;
use reachability_tests::raw::{CLOSE, Connection, request};
use reachability_tests::server::Server;
use reqwest::Method;
use serde_json::{Value, json};

use super::{hand_in, stop};

/// Lines of up to 4 KiB of several threads do not mix in a pipe. Clients can make up methods of any length.
#[tokio::test]
async fn the_length_of_a_line_is_not_up_to_clients() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    for path in ["/v1/Services", "/nowhere"] {
        let (status, _) = client.send("M".repeat(12_000).parse().unwrap(), path, &[]).await;
        assert!((400..500).contains(&status), "{status}");
    }
    let logs = stop(server);
    let answered = logs.lines().filter(|line| line.contains(r#""message":"answered","http.method":"other""#));
    assert_eq!(answered.count(), 2, "{logs}");
    assert!(logs.lines().all(|line| line.len() < 4_096), "{logs}");
}

/// A session with requests of all kinds. Returns the logs, and what must not be in them.
async fn session(level: &str) -> (String, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &["--grace-seconds", "0"], |command| {
        command.env("RUST_LOG", level);
    });
    let mut secrets = vec![server.token.clone(), STANDARD.encode(format!("{}:{}", server.account, server.token))];
    let owner = Client::of(&server);
    let service = owner.enabled_service().await;
    let users = format!("/v1/Services/{service}/Users");

    let keys = format!("/2010-04-01/Accounts/{}/Keys.json", server.account);
    let (_, key) = owner.send(Method::POST, &keys, &[("FriendlyName", "key")]).await;
    let (key_sid, key_secret) = (key["sid"].as_str().unwrap(), key["secret"].as_str().unwrap());
    secrets.push(key_secret.to_owned());
    secrets.push(STANDARD.encode(format!("{key_sid}:{key_secret}")));

    let callers = [
        ("token", server.account.as_str(), server.token.as_str()),
        ("key", key_sid, key_secret),
        ("wrong", server.account.as_str(), "wrong-0123456789-password"),
    ];
    for (caller, name, password) in callers {
        secrets.push(password.to_owned());
        secrets.push(STANDARD.encode(format!("{name}:{password}")));
        // Names of people are in bodies, in paths, in queries, and in places where they do not belong.
        let identity = format!("identity-by-{caller}");
        let client = owner.with_credentials(name, password);
        let user = format!("{users}/{identity}");
        client.send(Method::POST, &users, &[("Identity", &identity), ("FriendlyName", "friendly-alice")]).await;
        client.send(Method::POST, &users, &[("Identity", &identity)]).await;
        client.send(Method::GET, &user, &[]).await;
        client.send(Method::POST, &user, &[("Attributes", "{\"secret\":\"attribute-alice\"}")]).await;
        client.send(Method::POST, &user, &[("Attributes", "broken-attribute-alice")]).await;
        client.send(Method::PUT, &user, &[]).await;
        client.send(Method::GET, &format!("{user}/Nothing?Identity=query-alice"), &[]).await;
        client.send(Method::GET, &format!("{users}?PageToken=query-alice"), &[]).await;
        client.send(Method::DELETE, &user, &[]).await;
        client.send(Method::GET, &user, &[]).await;
    }
    for kind in ["connect", "renew", "disconnect"] {
        let mut event = events::event(&service, "event-alice", kind);
        event["connection_id"] = json!("connection-alice");
        event["lease_seconds"] = json!(1);
        hand_in(&owner, &event).await;
    }
    let events = format!("/v1/Services/{service}/Events");
    for body in
        ["{\"type\":\"refused-alice\"}", "{\"type\":\"connect\",\"lease_seconds\":\"refused-alice\"}", "refused-alice"]
    {
        let (status, _) = answer_to(owner.request(Method::POST, &events).body(body)).await.unwrap();
        assert_eq!(status, 400);
    }
    let mut stranger = Connection::open(server.address());
    stranger.send(request("GET", &users, &[CLOSE], b""));
    assert_eq!(stranger.receive("GET").unwrap().status, 401);
    // These are not HTTP at all.
    for request in ["GET /broken-alice\r\n\r\n", "GET /v1/Users/broken-alice HTTP/1.1\r\nContent-Length: x\r\n\r\n"] {
        let mut broken = Connection::open(server.address());
        broken.send(request);
        broken.stream().read_to_end(&mut Vec::new()).unwrap();
    }
    secrets.extend(["identity-by-", "-alice", "uthorization", "Basic "].map(str::to_owned));
    (stop(server), secrets)
}

#[tokio::test]
async fn logs_contain_no_secrets_and_no_names() {
    for level in ["trace", "info"] {
        let (logs, secrets) = session(level).await;
        let answered = logs.lines().filter(|line| line.contains("\"answered\"")).count();
        assert!(answered > 30, "{level}: {answered} answers are logged");
        for secret in secrets {
            let found = logs.lines().find(|line| line.contains(&secret));
            assert_eq!(found, None, "{level}: {secret} is in the logs");
        }
    }
}

#[tokio::test]
async fn logs_are_json_without_a_terminal() {
    let (logs, _) = session("debug").await;
    for line in logs.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        for member in ["timestamp", "level", "message"] {
            assert!(entry[member].is_string(), "no {member}: {line}");
        }
    }
}
