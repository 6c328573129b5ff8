//! A server whose answers are a test's.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reachability_client::{Backoff, Client, Connection, Event, Events, Options, QueryOptions, UserPage};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what has to come.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("in time")
}

pub(crate) struct Server {
    pub(crate) listener: TcpListener,
    /// What it says of itself in `connected`.
    pub(crate) ping_seconds: f64,
    pub(crate) answer_seconds: f64,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, ping_seconds: 14.0, answer_seconds: 6.0 }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v1/Socket", self.listener.local_addr().unwrap())
    }

    /// Options that come back at once.
    pub(crate) fn options(&self) -> Options {
        let backoff = Backoff { first: Duration::from_millis(1), most: Duration::from_millis(20) };
        Options { reconnect: Some(backoff), ..Options::new(self.url(), "a.token") }
    }

    pub(crate) async fn accept_tcp(&self) -> TcpStream {
        soon(self.listener.accept()).await.unwrap().0
    }

    /// The next socket, of which nothing was heard yet.
    pub(crate) async fn accept(&self) -> Peer {
        let socket = soon(accept_async(self.accept_tcp().await)).await.unwrap();
        Peer { socket, last_id: 0 }
    }

    /// The next socket after its `connect`, which is answered, and is returned.
    pub(crate) async fn accept_connect(&self) -> (Peer, Value) {
        let mut peer = self.accept().await;
        let connect = peer.expect("connect").await;
        peer.send(self.connected(&connect)).await;
        (peer, connect)
    }

    pub(crate) fn connected(&self, connect: &Value) -> Value {
        json!({
            "type": "connected", "id": connect["id"], "connection_id": format!("CN{}", connect["id"]),
            "continuation_token": format!("CT-{}", connect["id"]), "user": own("me", 1), "expires_at": "2030-01-01T00:00:00.000Z",
            "ping_seconds": self.ping_seconds, "answer_seconds": self.answer_seconds,
            "limits": {"users_per_watch": 1_000, "watched_users": 10_000},
        })
    }

    /// A client that is connected, and its socket.
    pub(crate) async fn client(&self) -> (Client, Peer) {
        self.client_with(self.options()).await
    }

    pub(crate) async fn client_with(&self, options: Options) -> (Client, Peer) {
        let (client, (peer, _)) = soon(async { tokio::join!(Client::connect(options), self.accept_connect()) }).await;
        (client.expect("a connection"), peer)
    }
}

/// A socket, from the server's side. Dropping it cuts the connection.
pub(crate) struct Peer {
    socket: WebSocketStream<TcpStream>,
    last_id: u64,
}

impl Peer {
    /// The next message of the client; `Err` has the close frame with which the connection ended, if there was one.
    pub(crate) async fn next(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            match soon(self.socket.next()).await {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if let Some(id) = message["id"].as_u64() {
                        assert!(id > self.last_id, "{message} after {}", self.last_id);
                        self.last_id = id;
                    }
                    return Ok(message);
                }
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The next message, which has to be of this type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        let message = self.next().await.unwrap();
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    pub(crate) async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        soon(self.socket.send(text.into())).await.unwrap();
    }

    /// Answers a request with these fields.
    pub(crate) async fn ok(&mut self, request: &Value, mut fields: Value) {
        fields["type"] = "ok".into();
        fields["id"] = request["id"].clone();
        self.send(fields).await;
    }

    /// Answers a request with this error.
    pub(crate) async fn error(&mut self, request: &Value, code: &str, mut fields: Value) {
        fields["type"] = "error".into();
        fields["id"] = request["id"].clone();
        fields["code"] = code.into();
        fields["message"] = format!("because of {code}").into();
        self.send(fields).await;
    }

    /// Sends a part of an answer with these users.
    pub(crate) async fn users(&mut self, request: &Value, users: &[Value]) {
        self.send(json!({"type": "part", "id": request["id"], "users": users})).await;
    }

    pub(crate) async fn presence(&mut self, user: Value) {
        self.send(json!({"type": "user.presence.changed", "user": user, "at": "2026-01-01T00:00:00.000Z"})).await;
    }

    /// Says why it closes, and closes.
    pub(crate) async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        // The client may be gone first.
        let _ = soon(self.socket.close(Some(frame))).await;
        while self.next().await.is_ok() {}
    }
}

pub(crate) fn user(id: &str, revision: u64, online: bool) -> Value {
    json!({
        "id": id, "name": null, "online": online, "notifiable": null, "status": null, "last_active": null,
        "created_at": "2019-01-07T13:17:42.375Z", "custom": {}, "revision": revision,
    })
}

/// The own user.
pub(crate) fn own(id: &str, revision: u64) -> Value {
    let mut own = user(id, revision, true);
    own["invisible"] = false.into();
    own
}

pub(crate) fn channel(id: &str, members: &[&str]) -> Value {
    json!({
        "type": "messaging", "id": id, "cid": format!("messaging:{id}"), "members": members, "member_count": members.len(),
        "custom": {"color": "green"}, "created_by": null, "created_at": "2026-01-01T00:00:00.000Z",
        "updated_at": "2026-01-01T00:00:00.000Z", "last_message_at": null,
    })
}

/// Watches these users.
pub(crate) async fn watch(client: &Client, peer: &mut Peer, users: &[Value]) -> UserPage {
    let ids: Vec<&Value> = users.iter().map(|user| &user["id"]).collect();
    let filter = json!({"id": {"$in": ids}});
    let options = QueryOptions { presence: true, ..QueryOptions::default() };
    let (page, ()) = tokio::join!(client.query_users(filter, Value::Null, options), async {
        let request = peer.expect("query_users").await;
        peer.users(&request, users).await;
        peer.ok(&request, json!({"count": users.len(), "cursor": null, "index": "id"})).await;
    });
    page.unwrap()
}

/// Waits until all that was sent before was heard.
pub(crate) async fn settle(client: &Client, peer: &mut Peer) {
    let (pong, ()) = tokio::join!(client.ping(), async {
        let ping = peer.expect("ping").await;
        peer.send(json!({"type": "pong", "id": ping["id"]})).await;
    });
    pong.unwrap();
}

pub(crate) async fn next(events: &mut Events) -> Event {
    soon(events.next()).await.expect("an event")
}

/// The events up to the one that tells that the client is online again, without those of the connection.
pub(crate) async fn until_online(events: &mut Events) -> Vec<Event> {
    let mut before = Vec::new();
    loop {
        match next(events).await {
            Event::ConnectionChanged(Connection::Online { .. }) => return before,
            Event::ConnectionChanged(Connection::Offline { .. }) => {}
            event => before.push(event),
        }
    }
}

/// What can be compared of an event that is not of the connection.
pub(crate) fn brief(event: &Event) -> String {
    match event {
        Event::PresenceChanged { user, .. } => format!("{} presence {}", user.id, user.revision),
        Event::UserUpdated { user, .. } => format!("{} updated {}", user.id, user.revision),
        Event::UserDeleted { id, .. } => format!("{id} deleted"),
        Event::MemberAdded { cid, user } => format!("{} joined {cid}", user.id),
        Event::MemberRemoved { cid, id } => format!("{id} left {cid}"),
        Event::ChannelDeleted { cid } => format!("{cid} deleted"),
        Event::Lagged { missed } => format!("missed {missed}"),
        event => panic!("{event:?}"),
    }
}

/// The same of all that can be read at once.
pub(crate) async fn briefs(events: &mut Events, count: usize) -> Vec<String> {
    let mut briefs = Vec::new();
    for _ in 0..count {
        briefs.push(brief(&next(events).await));
    }
    briefs
}
