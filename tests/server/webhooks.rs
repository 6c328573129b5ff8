//! Webhooks of the real server, to a real HTTP server.

use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reachability_tests::client::{Client, answer_to};
use reachability_tests::clients;
use reachability_tests::events::event;
use reachability_tests::receiver::{Answer, Inbox, Receiver, Webhook};
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use reqwest::Method;
use ring::hmac;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

const FILTERS: [(&str, &str); 2] = [("Filters", "onUserAdded"), ("Filters", "onUserUpdated")];

/// Has webhooks of a service sent to this URL.
async fn send_to(client: &Client, service: &str, url: &str, more: &[(&str, &str)]) {
    let form = [&[("PostWebhookUrl", url)], &FILTERS[..], more].concat();
    let path = format!("/v1/Services/{service}/Configuration/Webhooks");
    let (status, answer) = client.send(Method::POST, &path, &form).await;
    assert_eq!(status, 200, "{answer}");
}

async fn tell(client: &Client, service: &str, identity: &str, kind: &str) {
    client.post(&format!("/v1/Services/{service}/Events"), event(service, identity, kind).to_string()).await;
}

/// Waits until so many webhooks were received, and takes them.
async fn take(inbox: &Inbox, count: usize) -> Vec<Webhook> {
    wait(&format!("{count} webhooks"), async || (inbox.count() >= count).then_some(())).await;
    let taken = inbox.take();
    assert_eq!(taken.len(), count, "{taken:#?}");
    taken
}

/// Sends a form, with the header that asks for webhooks set to this.
async fn send(client: &Client, path: &str, form: &[(&str, &str)], header: Option<&str>) -> Value {
    let mut request = client.request(Method::POST, path).form(form);
    if let Some(header) = header {
        request = request.header("X-Twilio-Webhook-Enabled", header);
    }
    let (status, answer) = answer_to(request).await.unwrap();
    assert!((200..300).contains(&status), "{answer}");
    answer
}

fn what(webhooks: &[Webhook]) -> Vec<(&str, &str, &str, &str)> {
    webhooks.iter().map(|it| (it.get("EventType"), it.get("Identity"), it.get("IsOnline"), it.get("Reason"))).collect()
}

#[tokio::test]
async fn webhooks_tell_what_happens_to_a_user() {
    let (directory, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let server = Server::start(directory.path(), &[]);
    let (client, inbox) = (Client::of(&server), &receiver.inbox);
    let service = client.enabled_service().await;
    send_to(&client, &service, &receiver.url("/hook"), &[]).await;

    tell(&client, &service, "alice", "connect").await;
    let first = take(inbox, 2).await;
    assert_eq!(
        what(&first),
        [("onUserAdded", "alice", "true", "connect"), ("onUserUpdated", "alice", "true", "connect")]
    );
    let users = format!("/v1/Services/{service}/Users");
    let alice = client.get(&format!("{users}/alice")).await;
    for webhook in &first {
        assert_eq!((webhook.method.as_str(), webhook.url.as_str()), ("POST", receiver.url("/hook").as_str()));
        assert_eq!(webhook.headers["content-type"], "application/x-www-form-urlencoded");
        assert_eq!(webhook.headers["user-agent"], concat!("reachability/", env!("CARGO_PKG_VERSION")));
        let expected = [
            ("AccountSid", server.account.as_str()),
            ("ChatServiceSid", &service),
            ("InstanceSid", &service),
            ("Source", "SDK"),
            ("UserSid", alice["sid"].as_str().unwrap()),
            ("Attributes", "{}"),
            ("RoleSid", alice["role_sid"].as_str().unwrap()),
            ("isOnline", "true"),
        ];
        for (name, value) in expected {
            assert_eq!(webhook.get(name), value, "{name}");
        }
        for name in ["FriendlyName", "IsNotifiable", "isNotifiable"] {
            assert!(!webhook.parameters.contains_key(name), "it is null: {name}");
        }
        assert_eq!(webhook.get("DateCreated")[..19], alice["date_created"].as_str().unwrap()[..19]);
    }
    assert_eq!(first[0].revision(), first[1].revision());
    assert_ne!(first[0].token(), first[1].token());

    // Over REST only what asks for it.
    let path = format!("{users}/alice");
    send(&client, &path, &[("FriendlyName", "Nobody hears")], None).await;
    send(&client, &path, &[("FriendlyName", "of this")], Some("false")).await;
    send(&client, &path, &[("FriendlyName", "Älice & Co")], Some("True")).await;
    // It changes nothing.
    send(&client, &path, &[("FriendlyName", "Älice & Co")], Some("true")).await;
    send(&client, &users, &[("Identity", "silent")], None).await;
    let chat = format!("/v2/Services/{service}/Users");
    send(&client, &chat, &[("Identity", "bob"), ("Attributes", "{\"a\":1}")], Some("true")).await;
    // Webhooks of different users come in any order.
    let mut told = take(inbox, 2).await;
    told.sort_by(|a, b| a.get("Identity").cmp(b.get("Identity")));
    assert_eq!(what(&told), [("onUserUpdated", "alice", "true", "profile"), ("onUserAdded", "bob", "", "profile")]);
    assert_eq!((told[0].get("Source"), told[0].get("FriendlyName")), ("API", "Älice & Co"));
    assert_eq!((told[1].get("Source"), told[1].get("Attributes")), ("API", "{\"a\":1}"));

    // What the header says of the creation says nothing of what comes later.
    tell(&client, &service, "silent", "connect").await;
    assert_eq!(what(&take(inbox, 1).await), [("onUserUpdated", "silent", "true", "connect")]);
    tell(&client, &service, "alice", "disconnect").await;
    let told = take(inbox, 1).await;
    assert_eq!(what(&told), [("onUserUpdated", "alice", "false", "client_closed")]);
    assert!(first[1].revision() < told[0].revision());

    // A deletion has no webhook, and neither has the switch.
    client.delete(&path).await;
    client.post(&format!("/v1/Services/{service}/Configuration"), "ReachabilityEnabled=false").await;
    tell(&client, &service, "alice", "connect").await;
    assert_eq!(what(&take(inbox, 1).await), [("onUserAdded", "alice", "", "connect")]);
    // Answers show nothing of the header.
    let bob = client.get(&format!("{users}/bob")).await;
    assert!(!bob.to_string().to_lowercase().contains("webhook"), "{bob}");
}

#[tokio::test]
async fn the_url_of_the_service_replaces_that_of_the_account() {
    let (directory, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let server = Server::start(directory.path(), &[]);
    let (client, inbox) = (Client::of(&server), &receiver.inbox);
    let service = client.enabled_service().await;
    let url = receiver.url("/account?a=b");
    let form = [("PostWebhookUrl", url.as_str()), ("Filters", "onUserAdded"), ("Method", "GET")];
    let (status, answer) = client.send(Method::POST, "/v1/Configuration/Webhooks", &form).await;
    assert_eq!(status, 200, "{answer}");
    tell(&client, &service, "alice", "connect").await;
    let told = take(inbox, 1).await;
    assert_eq!((told[0].method.as_str(), told[0].get("a"), told[0].get("EventType")), ("GET", "b", "onUserAdded"));
    assert!(told[0].url.starts_with(&format!("{url}&AccountSid=")), "{}", told[0].url);

    send_to(&client, &service, &receiver.url("/service"), &[]).await;
    tell(&client, &service, "bob", "connect").await;
    let told = take(inbox, 2).await;
    assert!(told.iter().all(|it| it.method == "POST" && it.url == receiver.url("/service")), "{told:#?}");
}

#[tokio::test]
async fn private_addresses_are_called_only_if_a_setting_allows_it() {
    let (directory, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let path = directory.path().join("reachability.db");
    for allowed in ["false", "true"] {
        let server = Server::start(directory.path(), &["--webhook-private-addresses", allowed]);
        let client = Client::of(&server);
        let service = client.enabled_service().await;
        let url = receiver.url("/secret-path").replace("http://", "http://me:secret-word@");
        send_to(&client, &service, &url, &[]).await;
        tell(&client, &service, "alice", "connect").await;
        if allowed == "true" {
            let told = take(&receiver.inbox, 2).await;
            assert_eq!(told[0].headers["authorization"], "Basic bWU6c2VjcmV0LXdvcmQ=");
        } else {
            let database = Connection::open(&path).unwrap();
            let attempts = "SELECT max(attempts) FROM webhooks";
            wait("an attempt", async || {
                database.query_row(attempts, [], |row| row.get(0)).ok().filter(|attempts: &u32| *attempts > 0)
            })
            .await;
        }
        let (_, logs) = server.stop();
        assert_eq!(logs.contains("AddressRefused"), allowed == "false", "{logs}");
        assert!(!logs.contains("secret-"), "{logs}");
        database_without_webhooks(&path);
    }
    assert_eq!(receiver.inbox.count(), 0);
}

/// Removes what is left in the queue.
fn database_without_webhooks(path: &std::path::Path) {
    Connection::open(path).unwrap().execute("DELETE FROM webhooks", []).unwrap();
}

#[tokio::test]
async fn what_was_not_delivered_before_a_kill_is_delivered_after_the_restart() {
    let receiver = Receiver::start().await;
    let (address, inbox, url) = (receiver.address, receiver.inbox.clone(), receiver.url("/hook"));
    drop(receiver);
    // Nobody answers, or somebody hears it and does not answer.
    for is_there in [false, true] {
        // The last webhook of a server that is killed may come again from the next one on its data.
        let directory = tempfile::tempdir().unwrap();
        inbox.answer(|_| Answer::Never);
        let stalled = if is_there { Some(Receiver::start_at(address, inbox.clone()).await) } else { None };
        let server = Server::start(directory.path(), &[]);
        let client = Client::of(&server);
        let service = client.enabled_service().await;
        send_to(&client, &service, &url, &[]).await;
        tell(&client, &service, "alice", "connect").await;
        wait("she is online", async || {
            (client.everybody(&service).await.get("alice") == Some(&Some(true))).then_some(())
        })
        .await;
        if is_there {
            wait("a request", async || (inbox.count() > 0).then_some(())).await;
        }
        server.kill();
        drop(stalled);
        let before = inbox.take();
        inbox.answer(|_| Answer::Status(204));
        let _receiver = Receiver::start_at(address, inbox.clone()).await;
        let _server = Server::start(directory.path(), &[]);
        let told = take(&inbox, 2).await;
        assert_eq!(
            what(&told),
            [("onUserAdded", "alice", "true", "connect"), ("onUserUpdated", "alice", "true", "connect")]
        );
        let repeated: Vec<_> = before.iter().map(|it| (it.token(), &it.body)).collect();
        assert!(repeated.iter().all(|it| *it == (told[0].token(), &told[0].body)), "it is the same");
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_receivers() {
    let (directory, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    receiver.inbox.answer(|_| Answer::After(Duration::from_millis(500)));
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    send_to(&client, &service, &receiver.url("/"), &[]).await;
    tell(&client, &service, "alice", "connect").await;
    wait("a request", async || (receiver.inbox.count() > 0).then_some(())).await;
    let (status, logs) = tokio::task::spawn_blocking(|| server.stop()).await.unwrap();
    assert!(status.success() && !logs.contains("ERROR"), "{logs}");
    // What was under way is not sent again.
    receiver.inbox.answer(|_| Answer::Status(200));
    let _server = Server::start(directory.path(), &[]);
    let told = take(&receiver.inbox, 2).await;
    assert_eq!([told[0].get("EventType"), told[1].get("EventType")], ["onUserAdded", "onUserUpdated"]);
}

/// The signature of a webhook that is a `GET`.
fn signature(token: &str, url: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, url.as_bytes()))
}

#[tokio::test]
async fn while_the_auth_token_is_exchanged_both_are_valid_and_the_primary_one_signs() {
    const TOKENS: [&str; 3] = ["the-token-of-yesterday", "the-token-of-tomorrow", "the-token-of-nobody"];
    let (directory, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    // The owner's three starts: a secondary one comes, takes the place of the primary one, and the old one goes.
    for (primary, secondary, valid) in
        [(TOKENS[0], Some(TOKENS[1]), 0..2), (TOKENS[1], Some(TOKENS[0]), 0..2), (TOKENS[1], None, 1..2)]
    {
        let server = Server::start_with(directory.path(), &["--auth-token", primary], |command| {
            command.envs(secondary.map(|token| ("REACHABILITY_SECONDARY_AUTH_TOKEN", token)));
        });
        for (n, token) in TOKENS.iter().enumerate() {
            let client = Client::of(&server).with_credentials(&server.account, token);
            let (status, _) = client.send(Method::GET, "/v1/Services", &[]).await;
            assert_eq!(status == 200, valid.contains(&n), "{token} with {primary} and {secondary:?}: {status}");
        }
        let client = Client::of(&server).with_credentials(&server.account, primary);
        let service = client.enabled_service().await;
        send_to(&client, &service, &receiver.url("/hook"), &[("Method", "GET")]).await;
        tell(&client, &service, "alice", "connect").await;
        for webhook in take(&receiver.inbox, 2).await {
            assert_eq!(webhook.headers["x-twilio-signature"], signature(primary, &webhook.url));
        }
        let greeting = server.greeting.clone();
        let (status, logs) = tokio::task::spawn_blocking(|| server.stop()).await.unwrap();
        assert!(status.success(), "{logs}");
        assert!(!TOKENS.iter().any(|token| logs.contains(token) || greeting.contains(token)), "{greeting}{logs}");
    }
}

/// Webhooks of all kinds, as the libraries of the vendor get them from the application.
async fn captured(directory: &TempDir) -> (Server, Vec<Value>) {
    let receiver = Receiver::start().await;
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let mut captured = Vec::new();
    for (path, method) in
        [("", "POST"), ("/hook", "POST"), ("/hook?a=b%20c&d", "POST"), ("/hook", "GET"), ("/hook?a=b", "GET")]
    {
        let service = client.enabled_service().await;
        send_to(&client, &service, &receiver.url(path), &[("Method", method)]).await;
        let users = format!("/v1/Services/{service}/Users");
        let form =
            [("Identity", "ünï & cödé+%41\u{1F600}"), ("Attributes", "{\"a\": \"ä&=?\"}"), ("FriendlyName", "A  B")];
        send(&client, &users, &form, Some("true")).await;
        tell(&client, &service, "ünï & cödé+%41\u{1F600}", "connect").await;
        for webhook in take(&receiver.inbox, 2).await {
            let form = if method == "POST" { json!(webhook.parameters) } else { json!({}) };
            let signature = webhook.headers["x-twilio-signature"].clone();
            let valid = json!({ "url": webhook.url, "form": form, "signature": signature, "valid": true });
            let mut forged = valid.clone();
            forged["url"] = format!("{}x", webhook.url).into();
            forged["valid"] = false.into();
            captured.extend([valid, forged]);
        }
    }
    (server, captured)
}

/// Has a script validate webhooks.
async fn validate(script: Command) {
    let directory = tempfile::tempdir().unwrap();
    let (server, captured) = captured(&directory).await;
    assert_eq!(captured.len(), 20);
    clients::validate(script, &server.token, &captured);
}

#[tokio::test]
async fn the_python_library_finds_the_signatures_right() {
    validate(clients::python("webhooks.py")).await;
}

#[tokio::test]
async fn the_node_library_finds_the_signatures_right() {
    validate(clients::node("webhooks.mjs")).await;
}
