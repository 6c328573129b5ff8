//! A client of `/v1/Socket`, as small as one can be: it says what a test has it say, and does nothing on its own but answer
//! pings, while something is awaited of it. So one of which nothing is awaited is frozen.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::server::PATIENCE;
use crate::twilsock::Ended;

/// Where the server takes sockets.
pub const PATH: &str = "/v1/Socket";

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What came in parts: users.
    pub users: Vec<Value>,
    /// What came in parts: members, by the channel.
    pub members: Vec<(String, Vec<String>)>,
    /// The last message.
    pub last: Value,
}

impl Answer {
    /// The answer, which must be `ok`.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.last["type"], "ok", "{}", self.last);
        self
    }

    /// The word of an error, which it must be.
    #[track_caller]
    pub fn code(&self) -> &str {
        assert_eq!(self.last["type"], "error", "{}", self.last);
        self.last["code"].as_str().expect("a word")
    }

    /// A user among those that came.
    #[track_caller]
    pub fn user(&self, id: &str) -> &Value {
        self.users.iter().find(|user| user["id"] == id).unwrap_or_else(|| panic!("{id} in {:?}", self.users))
    }

    /// The ids of the users, in their order.
    pub fn ids(&self) -> Vec<&str> {
        self.users.iter().map(|user| user["id"].as_str().expect("an id")).collect()
    }
}

/// A socket. Dropping it closes the connection without a word, as a killed process does.
pub struct JsonSocket {
    socket: WebSocketStream<TcpStream>,
    last_id: u64,
    /// What came while something else was awaited.
    heard: VecDeque<Value>,
    /// The answer to `connect`.
    pub connected: Value,
    /// How it ended, once it has.
    pub ended: Option<Ended>,
}

impl JsonSocket {
    /// Opens a socket to this `host:port`, and says nothing.
    ///
    /// # Errors
    /// The status, if it is refused.
    pub async fn connect(address: &str) -> Result<Self, u16> {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await
    }

    /// Opens a socket over a connection.
    ///
    /// # Errors
    /// The status, if it is refused; 0 if the connection ends.
    pub async fn over(stream: TcpStream) -> Result<Self, u16> {
        let config = WebSocketConfig::default().read_buffer_size(1_024).write_buffer_size(0);
        match client_async_with_config(format!("ws://reachability.test{PATH}"), stream, Some(config)).await {
            Ok((socket, _)) => {
                Ok(Self { socket, last_id: 0, heard: VecDeque::new(), connected: Value::Null, ended: None })
            }
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            // The server went away.
            Err(_) => Err(0),
        }
    }

    /// Opens a socket, and the session with this token, which must be accepted, and with more fields of `connect`.
    pub async fn open(address: &str, token: &str, fields: Value) -> Self {
        let mut socket = Self::connect(address).await.expect("a socket");
        let answer = socket.init(token, fields).await;
        assert_eq!(answer["type"], "connected", "{answer}");
        socket
    }

    /// Says who it is. Returns the answer.
    pub async fn init(&mut self, token: &str, mut fields: Value) -> Value {
        fields["token"] = token.into();
        self.connected = self.ask("connect", fields).await.last;
        self.connected.clone()
    }

    /// Sends a request. Returns the answer. Events are kept.
    pub async fn ask(&mut self, kind: &str, fields: Value) -> Answer {
        self.try_ask(kind, fields).await.unwrap_or_else(|| panic!("an answer to {kind}: {:?}", self.ended))
    }

    /// The same; `None` if the socket ended before.
    pub async fn try_ask(&mut self, kind: &str, mut fields: Value) -> Option<Answer> {
        self.last_id += 1;
        let id = self.last_id;
        (fields["type"], fields["id"]) = (kind.into(), id.into());
        self.send(&fields).await;
        let mut answer = Answer { users: vec![], members: vec![], last: Value::Null };
        let mut kept = std::mem::take(&mut self.heard);
        let last = loop {
            match self.next().await {
                Some(message) if message["id"] == id && message["type"] != "user.deleted" => {
                    if message["type"] != "part" {
                        break Some(message);
                    }
                    if let Some(users) = message["users"].as_array() {
                        answer.users.extend(users.iter().cloned());
                    }
                    if let Some(members) = message["members"].as_array() {
                        let members = members.iter().map(|id| id.as_str().expect("an id").to_owned());
                        let channel = message["channel"].as_str().expect("a name").to_owned();
                        match answer.members.last_mut().filter(|(last, _)| *last == channel) {
                            Some((_, more)) => more.extend(members),
                            None => answer.members.push((channel, members.collect())),
                        }
                    }
                }
                Some(message) => kept.push_back(message),
                None => break None,
            }
        };
        kept.append(&mut self.heard);
        self.heard = kept;
        last.map(|last| Answer { last, ..answer })
    }

    /// The number of the last request: the name of the watch that it began.
    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    /// From now on requests have greater numbers than this, as those of a client that comes back.
    pub fn count_from(&mut self, id: u64) {
        self.last_id = id;
    }

    /// Watches the users with these ids, which must be there. Returns the answer.
    pub async fn watch(&mut self, ids: &[&str]) -> Answer {
        let answer = self
            .ask("query_users", json!({"filter": {"id": {"$in": ids}}, "limit": ids.len(), "presence": true}))
            .await;
        let answer = answer.ok();
        assert_eq!(answer.users.len(), ids.len(), "{answer:?}");
        answer
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &Value) {
        self.send_as(Message::text(message.to_string())).await;
    }

    /// Sends a message of WebSocket as it is.
    pub async fn send_as(&mut self, message: Message) {
        // The server may have closed it.
        let _ = self.socket.send(message).await;
    }

    /// The next message; `None` if the socket has ended. It must come soon.
    pub async fn next(&mut self) -> Option<Value> {
        timeout(PATIENCE, self.listen()).await.expect("a message in time")
    }

    /// The next message, of this type.
    pub async fn event(&mut self, kind: &str) -> Value {
        let message = self.next().await.unwrap_or_else(|| panic!("{kind}: {:?}", self.ended));
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// Waits for news that a user is online or not. What else is told of the user before is dropped.
    pub async fn until(&mut self, id: &str, online: Option<bool>) -> Value {
        loop {
            let message = self.next().await.unwrap_or_else(|| panic!("{id}: {:?}", self.ended));
            if message["user"]["id"] == id && message["user"]["online"] == json!(online) {
                return message["user"].clone();
            }
        }
    }

    /// The next message, if one comes within this time.
    pub async fn next_within(&mut self, time: Duration) -> Option<Value> {
        timeout(time, self.listen()).await.ok().flatten()
    }

    /// The next message, however late it comes; `None` if the socket has ended. Pings are answered meanwhile.
    pub async fn listen(&mut self) -> Option<Value> {
        if let Some(message) = self.heard.pop_front() {
            return Some(message);
        }
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    if message["type"] != "ping" {
                        return Some(message);
                    }
                    self.send(&json!({"type": "pong"})).await;
                }
                Some(Ok(Message::Binary(_))) => panic!("the server sends text"),
                Some(Ok(Message::Close(frame))) => {
                    let (code, reason) = frame
                        .map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.as_str().to_owned()));
                    self.ended = Some(Ended::Closed(code, reason));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    self.ended.get_or_insert(Ended::Broken);
                    return None;
                }
            }
        }
    }

    /// Waits for the end of the socket.
    pub async fn end(&mut self) -> Ended {
        while self.next().await.is_some() {}
        self.ended.clone().expect("it has ended")
    }

    /// Says goodbye, and waits for the end.
    pub async fn goodbye(mut self) {
        self.send(&json!({"type": "close"})).await;
        assert_eq!(self.end().await, Ended::Closed(1000, "goodbye".into()));
    }
}
