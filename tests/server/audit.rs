//! The audit: a line in the log for each write of the owner.

use std::path::Path;

use reachability_tests::client::{Client, answer_to};
use reachability_tests::events::event;
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use reqwest::Method;
use serde_json::{Value, json};

/// The lines, without their times.
fn lines(logs: &str) -> Vec<Value> {
    let lines = logs.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    let audit = lines.filter(|line: &Value| line["target"] == "audit");
    audit
        .map(|mut line| {
            assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"the owner wrote".into()), "{line}");
            assert!(line["request.id"].as_str().is_some_and(|id| id.starts_with("RQ")), "{line}");
            for member in ["timestamp", "level", "message", "target", "request.id"] {
                assert!(line.as_object_mut().unwrap().remove(member).is_some(), "{member}");
            }
            line
        })
        .collect()
}

fn server(directory: &Path, arguments: &[&str]) -> Server {
    Server::start_with(directory, arguments, |command| {
        command.env("RUST_LOG", "error,audit=info");
    })
}

#[tokio::test]
async fn each_write_of_the_owner_has_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), &[]);
    let owner = Client::of(&server);
    let sid = |value: &Value| value["sid"].as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    let post = Method::POST;
    let account = server.account.clone();

    let (_, service) = owner.send(post.clone(), "/v1/Services", &[("FriendlyName", "private-name")]).await;
    let service = sid(&service);
    let keys = format!("/2010-04-01/Accounts/{account}/Keys");
    let (_, key) = owner.send(post.clone(), &format!("{keys}.json"), &[("FriendlyName", "private-key")]).await;
    let key_sid = sid(&key);
    let with_key = owner.with_credentials(&key_sid, key["secret"].as_str().unwrap());
    let at = |path: &str| format!("/v1/Services/{service}/{path}");
    let (_, alice) = with_key.send(post.clone(), &at("Users"), &[("Identity", "private-alice")]).await;
    let alice = sid(&alice);
    with_key.send(post.clone(), &at("Users/private-alice"), &[("Attributes", r#"{"private":1}"#)]).await;
    with_key.send(post.clone(), &at("Presence/private-alice"), &[("Status", "private-status")]).await;
    let bind = [("Identity", "private-alice"), ("BindingType", "fcm"), ("Address", "private-token")];
    let (_, binding) = with_key.send(post.clone(), &at("Bindings"), &bind).await;
    let binding = sid(&binding);
    let body = [("Identity", "private-alice"), ("Body", "private-text")];
    let (_, notification) = with_key.send(post.clone(), &at("Notifications"), &body).await;
    let notification = sid(&notification);
    with_key.send(Method::DELETE, &at(&format!("Bindings/{binding}")), &[]).await;
    with_key.send(post.clone(), &at("Channels"), &[("Type", "messaging"), ("Id", "private-room")]).await;
    with_key.send(post.clone(), "/v1/Configuration", &[("DefaultClosedTimer", "PT1H")]).await;
    // What fails is a line too, and what is not allowed.
    with_key.send(post.clone(), &at("Configuration"), &[("ReachabilityEnabled", "private")]).await;
    with_key.send(post.clone(), &format!("{keys}.json"), &[]).await;
    with_key.send(Method::PUT, "/private-path", &[]).await;
    with_key.send(Method::DELETE, &at("Users/private-alice"), &[]).await;
    owner.send(Method::DELETE, &format!("{keys}/{key_sid}.json"), &[]).await;
    // Nobody's writes, reads, and events are none of the owner's.
    owner.with_credentials(&account, "private-password").send(post.clone(), "/v1/Services", &[]).await;
    owner.get("/v1/Services").await;
    let events = owner.request(post, &at("Events")).json(&event(&service, "private-alice", "connect"));
    assert_eq!(answer_to(events).await.unwrap().0, 202);
    owner.delete(&format!("/v1/Services/{service}")).await;

    let (_, logs) = server.stop();
    assert!(!logs.contains("private"), "{logs}");
    let (token, key) = ("auth_token", key_sid.as_str());
    let (is, post, delete) = (Some(service.as_str()), "POST", "DELETE");
    let of_account = |path: &str| format!("/2010-04-01/Accounts/{{account}}/{path}");
    let of_service = |path: &str| format!("/v1/Services/{{service}}/{path}");
    let expected = [
        (token, post, "/v1/Services".to_owned(), None, Some(service.as_str()), 201),
        (token, post, of_account("Keys.json"), None, Some(key), 201),
        (key, post, of_service("Users"), is, Some(&alice), 201),
        (key, post, of_service("Users/{user}"), is, Some(&alice), 200),
        (key, post, of_service("Presence/{user}"), is, Some(&alice), 200),
        (key, post, of_service("Bindings"), is, Some(&binding), 201),
        (key, post, of_service("Notifications"), is, Some(&notification), 201),
        (key, delete, of_service("Bindings/{binding}"), is, Some(&binding), 204),
        (key, post, of_service("Channels"), is, None, 201),
        (key, post, "/v1/Configuration".to_owned(), None, None, 200),
        (key, post, of_service("Configuration"), is, None, 400),
        (key, post, of_account("Keys.json"), None, Some(&account), 403),
        (key, "PUT", "-".to_owned(), None, None, 404),
        (key, delete, of_service("Users/{user}"), is, Some(&alice), 204),
        (token, delete, of_account("Keys/{key}"), None, Some(key), 204),
        (token, delete, "/v1/Services/{service}".to_owned(), is, None, 204),
    ];
    let expected = expected.map(|(caller, method, route, service, resource, status)| {
        let mut line = json!({"caller": caller, "address": "127.0.0.1", "http.method": method, "http.route": route,
                              "http.status": status});
        for (member, sid) in [("service.sid", service), ("resource.sid", resource)] {
            sid.into_iter().for_each(|sid| line[member] = sid.into());
        }
        line
    });
    let is_like_the_readmes = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["http.route"] == "/v1/Services/{service}/Users/{user}"
    };
    let [readme, logged] = [include_str!("../../README.md"), &logs].map(|text| {
        let mut lines = text.lines().filter(|line| line.ends_with(r#""target":"audit"}"#)).map(str::trim);
        let line: Value = serde_json::from_str(lines.find(|line| is_like_the_readmes(line)).unwrap()).unwrap();
        line.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    });
    assert_eq!(readme, logged, "the example in the README");
    for (line, expected) in lines(&logs).iter().zip(&expected) {
        assert_eq!(line, expected);
    }
    assert_eq!(lines(&logs).len(), expected.len());
}

#[tokio::test]
async fn the_address_is_that_of_the_client_behind_a_trusted_proxy() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), &["--trusted-proxies", "127.0.0.1"]);
    let request = Client::of(&server).request(Method::POST, "/v1/Services").form(&[("FriendlyName", "x")]);
    assert_eq!(answer_to(request.header("x-forwarded-for", "192.0.2.9, 192.0.2.1")).await.unwrap().0, 201);
    let (_, logs) = server.stop();
    assert_eq!(lines(&logs)[0]["address"], "192.0.2.1", "{logs}");
}

/// A write whose client has gone may be done all the same.
#[tokio::test]
async fn who_does_not_wait_for_the_answer_has_a_line_too() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), &[]);
    let owner = Client::of(&server);
    let intruder = rusqlite::Connection::open(directory.path().join("reachability.db")).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let request = owner.request(Method::POST, "/v1/Services").form(&[("FriendlyName", "late")]);
    let given_up = request.timeout(std::time::Duration::from_millis(500)).send().await;
    assert!(given_up.is_err_and(|error| error.is_timeout()));
    intruder.execute_batch("COMMIT").unwrap();
    wait("it is done", async || {
        let services = owner.get("/v1/Services").await;
        services["services"].as_array()?.iter().any(|service| service["friendly_name"] == "late").then_some(())
    })
    .await;
    let (_, logs) = server.stop();
    let [line] = &lines(&logs)[..] else { panic!("{logs}") };
    assert_eq!((&line["caller"], &line["http.route"]), (&"auth_token".into(), &"/v1/Services".into()), "{logs}");
}
