//! The sockets of clients.

mod ends;
mod floods;
mod limits;
mod lost;
mod races;
mod restarts;

use std::time::Duration;

use reachability_tests::client::Client;
use reachability_tests::events::event;
use reachability_tests::raw::{Connection, request};
use reachability_tests::server::Server;
use reachability_tests::tokens::Signer;
use reachability_tests::twilsock::{Ended, Twilsock};
use reachability_tests::watcher::Watcher;
use reqwest::Method;
use serde_json::{Value, json};

/// A server with a service, and who signs tokens for it.
struct Setup {
    directory: tempfile::TempDir,
    server: Server,
    client: Client,
    signer: Signer,
    service: String,
}

impl Setup {
    async fn new(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path(), arguments);
        let client = Client::of(&server);
        let signer = Signer::new(&client, &server.account).await;
        let service = client.enabled_service().await;
        Self { directory, server, client, signer, service }
    }

    fn token(&self, identity: &str) -> String {
        self.signer.token(&self.service, identity)
    }

    async fn open(&self, identity: &str) -> Twilsock {
        Twilsock::open(self.server.address(), &self.token(identity)).await
    }

    async fn watcher(&self, identity: &str) -> Watcher {
        Watcher::new(self.open(identity).await)
    }

    /// A socket on which nothing was said yet.
    async fn connect(&self) -> Twilsock {
        Twilsock::connect(self.server.address()).await.unwrap_or_else(|status| panic!("{status}"))
    }

    /// What is shown of a user once what was said before is stored. `null` if it does not exist.
    async fn shown(&self, identity: &str) -> Value {
        // All that sockets say is stored in this order.
        self.open("somebody-else").await.goodbye().await;
        self.client.get(&format!("/v1/Services/{}/Users/{identity}", self.service)).await["is_online"].clone()
    }

    /// From now on the server stores nothing, until this is dropped, which must be soon.
    fn hold(&self) -> rusqlite::Connection {
        let intruder = rusqlite::Connection::open(self.directory.path().join("reachability.db")).unwrap();
        intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
        intruder
    }

    async fn switch(&self, on: bool) {
        let path = format!("/v1/Services/{}/Configuration", self.service);
        self.client.post(&path, format!("ReachabilityEnabled={on}")).await;
    }
}

#[tokio::test]
async fn a_watcher_hears_who_comes_and_goes() {
    // Whoever says goodbye is offline at once, whatever the grace period is.
    let setup = Setup::new(&["--grace-seconds", "3600"]).await;
    let mut alice = setup.watcher("alice").await;
    let (status, configuration) = alice.socket.request("GET", "/Client/v2/Configuration", None).await;
    assert_eq!((status, &configuration["options"]["reachability_enabled"]), (200, &true.into()), "{configuration}");
    alice.watch("alice").await;
    assert_eq!(alice.seen("alice").reachability, (Some(true), None), "who is connected sees itself online");

    let bob = setup.open("bob").await;
    alice.watch("bob").await;
    assert_eq!(alice.seen("bob").reachability, (Some(true), None));
    bob.goodbye().await;
    assert_eq!(alice.until("bob", Some(false)).await, 1);
    let bob = setup.open("bob").await;
    assert_eq!(alice.until("bob", Some(true)).await, 1);
    // The last connection counts, also if the owner's gateway reported it.
    let phone = setup.open("bob").await;
    let path = format!("/v1/Services/{}/Events", setup.service);
    setup.client.post(&path, event(&setup.service, "bob", "connect").to_string()).await;
    bob.goodbye().await;
    phone.goodbye().await;
    let carol = setup.open("carol").await;
    alice.watch("carol").await;
    assert_eq!(alice.seen("bob").reachability.0, Some(true));
    setup.client.post(&path, event(&setup.service, "bob", "disconnect").to_string()).await;
    assert_eq!(alice.until("bob", Some(false)).await, 1);
    carol.goodbye().await;
    assert_eq!(alice.until("carol", Some(false)).await, 1);
    let everybody = setup.client.everybody(&setup.service).await.into_iter();
    let expected = [("alice", Some(true)), ("bob", Some(false)), ("carol", Some(false))];
    assert!(everybody.eq(expected.map(|(identity, online)| (identity.to_owned(), online))));
}

#[tokio::test]
async fn profiles_and_registrations_are_heard_too() {
    let setup = Setup::new(&[]).await;
    let mut alice = setup.watcher("alice").await;
    let mut bob = setup.open("bob").await;
    alice.watch("bob").await;
    assert_eq!(alice.seen("bob").attributes, "{}");
    let (status, _) =
        bob.request("POST", "/Client/v2/Users/bob", Some(&json!({"friendly_name": "Bob \u{1F41F}"}))).await;
    assert_eq!(status, 200);
    let seen = alice.change().await.unwrap();
    assert_eq!(seen.friendly_name.as_deref(), Some("Bob \u{1F41F}"));
    let path = format!("/v1/Services/{}/Users/bob", setup.service);
    setup.client.post(&path, "Attributes=%7B%22a%22%3A1%7D").await;
    assert_eq!(alice.change().await.unwrap().attributes, r#"{"a":1}"#);
    let device = json!({"endpoint_platform": "web", "channel_type": "fcm", "version": "3", "message_types": [],
                        "data": {"registration_id": "a-token"}});
    let (status, registered) = bob.request("POST", "/v1/registrations?productId=ip_messaging", Some(&device)).await;
    assert_eq!(status, 201, "{registered}");
    assert_eq!(alice.change().await.unwrap().reachability, (Some(true), Some(true)));
    let (status, _) =
        bob.request("DELETE", &format!("/v1/registrations/{}", registered["id"].as_str().unwrap()), None).await;
    assert_eq!(status, 204);
    assert_eq!(alice.change().await.unwrap().reachability, (Some(true), Some(false)));
}

#[tokio::test]
async fn watchers_hear_of_their_own_service_only() {
    let setup = Setup::new(&[]).await;
    let mut alice = setup.watcher("alice").await;
    alice.watch("alice").await;
    let other = setup.client.enabled_service().await;
    let mut stranger = Twilsock::open(setup.server.address(), &setup.signer.token(&other, "alice")).await;
    let (_, alices) = alice.socket.request("GET", "/Client/v2/Users/alice", None).await;
    let map = alices["sync_objects"]["user_info_map"].as_str().unwrap();
    let (status, _) = stranger.request("GET", &format!("/v3/Maps/{map}?Include=items"), None).await;
    assert_eq!(status, 404);
    assert_eq!(stranger.subscribe(&[(map, None)]).await, 202);
    let notice = stranger.next().await.unwrap();
    assert_eq!(notice.payload["event_type"], "subscription_failed", "{notice:?}");
    let (status, _) =
        alice.socket.request("POST", "/Client/v2/Users/alice", Some(&json!({"friendly_name": "x"}))).await;
    assert_eq!(status, 200);
    assert_eq!(alice.change().await.unwrap().friendly_name.as_deref(), Some("x"));
    assert_eq!(stranger.next_within(Duration::from_millis(300)).await, None);
    // Nor of whom they do not watch any more.
    assert_eq!(alice.socket.unsubscribe(&[map]).await, 202);
    let notice = alice.socket.next().await.unwrap();
    assert_eq!(notice.payload["event_type"], "subscription_canceled", "{notice:?}");
    alice.socket.request("POST", "/Client/v2/Users/alice", Some(&json!({"friendly_name": "y"}))).await;
    assert_eq!(alice.socket.next_within(Duration::from_millis(300)).await, None);
}

#[tokio::test]
async fn a_switch_reaches_every_watcher() {
    let setup = Setup::new(&["--grace-seconds", "3600"]).await;
    let mut alice = setup.watcher("alice").await;
    let bob = setup.open("bob").await;
    alice.watch("bob").await;
    for _ in 0..3 {
        setup.switch(false).await;
        assert_eq!(alice.until("bob", None).await, 1);
        let mut new = setup.open("new").await;
        let (_, configuration) = new.request("GET", "/Client/v2/Configuration", None).await;
        assert_eq!(configuration["options"]["reachability_enabled"], false);
        // Sockets stay open, so their users are online in the next generation.
        setup.switch(true).await;
        assert_eq!(alice.until("bob", Some(true)).await, 1);
    }
    // Goodbyes count meanwhile.
    setup.switch(false).await;
    assert_eq!(alice.until("bob", None).await, 1);
    bob.goodbye().await;
    let carol = setup.open("carol").await;
    alice.watch("carol").await;
    setup.switch(true).await;
    assert_eq!(alice.until("carol", Some(true)).await, 1);
    assert_eq!(alice.seen("bob").reachability.0, None);
    carol.goodbye().await;
    assert_eq!(alice.until("carol", Some(false)).await, 1);
    assert_eq!(alice.seen("bob").reachability.0, None);
}

#[tokio::test]
async fn text_is_answered_with_text() {
    let setup = Setup::new(&[]).await;
    let mut alice = Twilsock::connect(setup.server.address()).await.unwrap_or_else(|status| panic!("{status}"));
    alice.is_text = true;
    assert_eq!(alice.init(&setup.token("alice"), None).await.status(), 200);
    let mut alice = Watcher::new(alice);
    let mut carol = setup.watcher("carol").await;
    let bob = setup.open("bob").await;
    alice.watch("bob").await;
    carol.watch("bob").await;
    bob.goodbye().await;
    assert_eq!(alice.until("bob", Some(false)).await, 1);
    assert_eq!(carol.until("bob", Some(false)).await, 1);
}

#[tokio::test]
async fn tokens_are_renewed_and_refused() {
    let setup = Setup::new(&[]).await;
    let address = setup.server.address();
    for (token, code) in
        [("nonsense".to_owned(), 20101), (setup.signer.token(&setup.client.enabled_service().await, "alice"), 0)]
    {
        let mut socket = Twilsock::connect(address).await.unwrap_or_else(|status| panic!("{status}"));
        let reply = socket.init(&token, None).await;
        assert_eq!((reply.status(), reply.error_code()), (if code == 0 { 200 } else { 401 }, code), "{reply:?}");
    }
    let mut alice = setup.open("alice").await;
    assert_eq!(alice.update(&setup.token("alice")).await.status(), 200);
    let reply = alice.update(&setup.token("bob")).await;
    assert_eq!((reply.status(), reply.error_code()), (403, 51232));
    assert_eq!(alice.update("nonsense").await.status(), 401);
    // The session goes on with the last good one.
    assert_eq!(alice.request("GET", "/Client/v2/Users/alice", None).await.0, 200);
    let reply = alice.ask(json!({"method": "init", "token": setup.token("alice")}), "").await.unwrap();
    assert_eq!(reply.status(), 400);
}

#[tokio::test]
async fn only_websockets_are_opened() {
    let setup = Setup::new(&[]).await;
    let mut connection = Connection::open(setup.server.address());
    let websocket = ["Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Version: 13"];
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for (method, headers) in [
        ("GET", vec![]),
        ("GET", websocket.to_vec()),
        ("POST", [&websocket[..], &[key]].concat()),
        ("GET", [&websocket[..2], &["Sec-WebSocket-Version: 8", key]].concat()),
    ] {
        connection.send(request(method, "/v3/wsconnect", &headers, b""));
        let answer = connection.receive(method).unwrap();
        assert_eq!((answer.status, answer.header("upgrade")), (426, Some("websocket")), "{answer:?}");
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    }
    // The same connection can still become one.
    connection.send(request("GET", "/v3/wsconnect?x=y", &[&websocket[..], &[key]].concat(), b""));
    let answer = connection.receive("HEAD").unwrap();
    assert_eq!((answer.status, answer.header("connection")), (101, Some("Upgrade")), "{answer:?}");
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(setup.client.send(Method::GET, "/v1/Services", &[]).await.0, 200);
}

#[tokio::test]
async fn nonsense_ends_a_socket_and_nothing_else() {
    let setup = Setup::new(&[]).await;
    let mut alice = setup.watcher("alice").await;
    alice.watch("alice").await;
    for bytes in [&b"hello"[..], b"TWILSOCK V3.0 99999999\r\n{}", b"TWILSOCK V3.0 2\r\n{}\r\n", b"", &[0xFF; 1_000]] {
        let mut socket = setup.open("mallory").await;
        socket.send(bytes.to_vec()).await;
        let packet = socket.next().await.expect("a reason");
        assert_eq!((packet.method(), packet.status(), packet.error_code()), ("close", 406, 51214), "{bytes:?}");
        assert!(matches!(socket.end().await, Ended::Closed(1008, _)), "{bytes:?}");
    }
    let mut socket = setup.open("mallory").await;
    socket.send(vec![b'x'; 200_000]).await;
    assert_eq!(socket.end().await, Ended::Closed(1009, String::new()));
    assert_eq!(alice.socket.request("GET", "/Client/v2/Users/mallory", None).await.0, 200);
}

/// The value of a member.
fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}")).to_owned()
}
