//! A client as the unmodified ones are, which survives everything that happens to its server.

use std::collections::VecDeque;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::map_views::{News, Views};
use crate::raw::encode;
use crate::twilsock::{Packet, Twilsock, establish, request_header};

/// An open session.
pub struct MapClient {
    /// Its socket.
    pub socket: Twilsock,
    /// What the server calls the session.
    pub continuation: Option<String>,
    /// Whether an answer of 5xx counts as the end of the socket, for tests of servers that cannot always serve.
    pub failure_is_end: bool,
}

/// Why there is no session.
#[derive(Debug)]
pub enum NoSession {
    /// There was no server, or it went away.
    Gone,
    /// It refused, with this status.
    Refused(u64),
}

impl MapClient {
    /// Opens a session; one that goes on with an earlier one, if that is named.
    pub async fn open(address: &str, token: &str, continues: Option<&str>) -> Result<Self, NoSession> {
        let Ok(stream) = TcpStream::connect(address).await else { return Err(NoSession::Gone) };
        stream.set_nodelay(true).unwrap();
        let socket = Twilsock::over(stream).await;
        let mut socket = socket.map_err(|status| match status {
            // A server that stops has no room.
            0 | 503 => NoSession::Gone,
            status => NoSession::Refused(status.into()),
        })?;
        let reply = socket.try_init(token, continues).await.ok_or(NoSession::Gone)?;
        match reply.status() {
            200 => {
                let continuation = reply.header["continuation_token"].as_str().or(continues).map(str::to_owned);
                Ok(Self { socket, continuation, failure_is_end: false })
            }
            500..600 => Err(NoSession::Gone),
            status => Err(NoSession::Refused(status)),
        }
    }

    /// Sends a request, which must be successful. `None` if the socket ended.
    pub async fn request(&mut self, method: &str, path: &str, body: Option<Value>) -> Option<Value> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let reply = self.socket.ask(request_header(method, path), &body).await?;
        let status = &reply.header["http_status"]["code"];
        if self.failure_is_end && status.as_u64().is_some_and(|status| status >= 500) {
            return None;
        }
        assert!(matches!(status.as_u64(), Some(200..300)), "{method} {path}: {} {}", reply.header, reply.payload);
        Some(reply.payload)
    }

    /// Reads a user and begins to watch it. Returns what is new; `None` if the socket ended.
    pub async fn watch(&mut self, views: &mut Views, user: usize, identity: &str) -> Option<Vec<News>> {
        let found = self.request("GET", &format!("/Client/v2/Users/{}", encode(identity)), None).await?;
        let map = found["sync_objects"]["user_info_map"].as_str().unwrap();
        if views.0.contains_key(map) {
            return Some(vec![]);
        }
        let read = self.request("GET", &format!("/v3/Maps/{map}?Include=items"), None).await?;
        let news = views.read(user, &read);
        self.subscribe(&[(map, read["last_event_id"].as_u64())]).await?;
        Some(news)
    }

    /// Watches on what it had watched before. `None` if the socket ended.
    pub async fn resume(&mut self, views: &Views) -> Option<()> {
        let wanted = views.wanted();
        if wanted.is_empty() { Some(()) } else { self.subscribe(&wanted).await }
    }

    async fn subscribe(&mut self, maps: &[(&str, Option<u64>)]) -> Option<()> {
        self.request("POST", "/v4/Subscriptions", Some(establish(maps))).await.map(drop)
    }

    /// What comes until then; `Err` if the socket ends before.
    pub async fn hear(&mut self, until: Instant) -> Result<Option<Packet>, ()> {
        match timeout_at(until, self.socket.listen()).await {
            Ok(Some(packet)) => Ok(Some(packet)),
            Ok(None) => Err(()),
            Err(_) => Ok(None),
        }
    }

    /// What came already.
    pub async fn heard(&mut self) -> VecDeque<Packet> {
        let mut heard = VecDeque::new();
        while let Ok(Some(packet)) = self.hear(Instant::now()).await {
            heard.push_back(packet);
        }
        heard
    }
}
