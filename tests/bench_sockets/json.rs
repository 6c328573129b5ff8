//! The server of this workspace by its own protocol, `/v1/Socket`: messages as they are, so that many watchers cost this program
//! little.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::frames::{first, masked};
use crate::ours::{Ours, upgrade};
use crate::peer::{FRAMES, Line, Peer, Session, Who};

/// Where clients open their sockets.
pub(crate) const PATH: &str = "/v1/Socket";

/// How many users a filter may name.
const MAX_IN: usize = 100;

const TEXT: u8 = 1;

pub(crate) struct Json(pub(crate) Ours);

impl Peer for Json {
    type Session = Socket;

    fn name(&self) -> &str {
        "ours, `/v1/Socket`"
    }

    fn pid(&self) -> u32 {
        self.0.pid()
    }

    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    async fn open(&self, line: &mut Line, who: &Who) -> io::Result<Socket> {
        let (identity, watched) = match who {
            Who::Watcher { number, users } => (format!("watcher-{number}"), users.clone()),
            Who::Device { user, fully, .. } => (format!("user-{user}"), *user..*user + usize::from(*fully)),
        };
        upgrade(line, PATH).await?;
        let mut socket = Socket { requests: 0 };
        let connect = json!({"type": "connect", "token": self.0.token(&identity)});
        socket.ask(line, connect).await?;
        let watched: Vec<String> = watched.map(|user| format!("user-{user}")).collect();
        for users in watched.chunks(MAX_IN) {
            let query =
                json!({"type": "query_users", "filter": {"id": {"$in": users}}, "limit": MAX_IN, "presence": true});
            let found = socket.ask(line, query).await?;
            assert_eq!(found["count"], users.len(), "{found}");
        }
        Ok(socket)
    }
}

/// An open socket.
pub(crate) struct Socket {
    /// How many requests it has made.
    requests: u64,
}

impl Socket {
    /// A request as a frame.
    fn request(&mut self, mut request: Value) -> Vec<u8> {
        self.requests += 1;
        request["id"] = self.requests.into();
        masked(TEXT, request.to_string().as_bytes())
    }

    /// Asks, and waits for the end of the answer, which must be a success.
    async fn ask(&mut self, line: &mut Line, request: Value) -> io::Result<Value> {
        let request = self.request(request);
        line.send(&request).await?;
        loop {
            let message = line.read(|received| {
                let (kind, bytes, length) = first(received)?;
                let message = if kind == TEXT { serde_json::from_slice(bytes).unwrap() } else { Value::Null };
                Some((message, length))
            });
            let message: Value = message.await?;
            match message["type"].as_str() {
                Some("ok" | "connected") if message["id"] == self.requests => return Ok(message),
                Some("error") => return Err(io::Error::new(ErrorKind::InvalidData, message.to_string())),
                _ => {}
            }
        }
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    user: Option<User<'a>>,
}

#[derive(Deserialize)]
struct User<'a> {
    id: &'a str,
    online: Option<bool>,
}

impl Session for Socket {
    const HAS_STATUS: bool = true;

    fn receive(&mut self, received: &[u8], answer: &mut Vec<u8>, hear: &mut dyn FnMut(usize, bool)) -> usize {
        let mut handled = 0;
        while let Some((kind, bytes, length)) = first(&received[handled..]) {
            handled += length;
            FRAMES.fetch_add(1, Ordering::Relaxed);
            if kind != TEXT {
                continue;
            }
            let message: Message<'_> = serde_json::from_slice(bytes).unwrap();
            match (message.kind, message.user) {
                ("user.presence.changed", Some(User { id, online: Some(online) })) => {
                    hear(id["user-".len()..].parse().unwrap(), online);
                }
                ("ping", _) => {
                    FRAMES.fetch_add(1, Ordering::Relaxed);
                    answer.extend(masked(TEXT, br#"{"type":"pong"}"#));
                }
                _ => {}
            }
        }
        handled
    }

    fn goodbye(&self) -> Vec<u8> {
        masked(TEXT, br#"{"type":"close"}"#)
    }

    fn status(&mut self, text: &str) -> Vec<u8> {
        self.request(json!({"type": "set_user", "status": text}))
    }
}
