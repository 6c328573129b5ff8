//! A client of the server's sockets, as small as one can be: it speaks Twilsock, and does nothing on its own but answer pings,
//! while something is awaited of it. So one of which nothing is awaited is frozen. [`crate::watcher`] has what an app would have.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::server::PATIENCE;

/// Where the server takes sockets.
pub const PATH: &str = "/v3/wsconnect";

/// A packet of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// Its header.
    pub header: Value,
    /// Its payload, if that is JSON; else `null`.
    pub payload: Value,
    /// When it came.
    pub at: Instant,
}

impl Packet {
    fn parse(bytes: &[u8]) -> Self {
        let (first, rest) = split(bytes);
        let length = first.strip_prefix("TWILSOCK V3.0 ").and_then(|length| length.trim().parse::<usize>().ok());
        let length = length.unwrap_or_else(|| panic!("a first line: {first:?}"));
        let header: Value = serde_json::from_slice(&rest[..length]).expect("a header");
        let payload = rest[length..].strip_prefix(b"\r\n").expect("the end of the header");
        let size = usize::try_from(header["payload_size"].as_u64().expect("a size")).unwrap();
        let (payload, end) = payload.split_at(size);
        assert!(end.is_empty() || end == b"\r\n", "{header}");
        let payload = serde_json::from_slice(payload).unwrap_or_default();
        Self { header, payload, at: Instant::now() }
    }

    /// What it is for.
    pub fn method(&self) -> &str {
        self.header["method"].as_str().expect("a method")
    }

    /// The code of its status.
    pub fn status(&self) -> u64 {
        self.header["status"]["code"].as_u64().unwrap_or_else(|| panic!("a status: {}", self.header))
    }

    /// The vendor's code of its status; 0 if it has none.
    pub fn error_code(&self) -> u64 {
        self.header["status"]["errorCode"].as_u64().unwrap_or_default()
    }
}

fn split(bytes: &[u8]) -> (&str, &[u8]) {
    let end = memchr::memmem::find(bytes, b"\r\n").expect("a first line");
    (std::str::from_utf8(&bytes[..end]).expect("text"), &bytes[end + 2..])
}

/// The bytes of a packet.
pub fn packet(header: &Value, payload: &str) -> Vec<u8> {
    let mut header = header.clone();
    header["payload_size"] = payload.len().into();
    let header = header.to_string();
    format!("TWILSOCK V3.0 {}\r\n{header}\r\n{payload}", header.len()).into_bytes()
}

/// The header of a request to this path, which may have a query.
pub fn request_header(method: &str, path: &str) -> Value {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let params: serde_json::Map<String, Value> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    json!({
        "method": "message", "active_grant": "ip_messaging", "payload_type": "application/json",
        "http_request": {
            "host": "cds.us1.twilio.com", "path": path, "method": method, "params": params,
            "headers": {"Content-Type": "application/json"},
        },
    })
}

/// The body of a request to watch maps, of which these sequences were seen.
pub fn establish(maps: &[(&str, Option<u64>)]) -> Value {
    let request =
        |(map, seen): &(&str, Option<u64>)| json!({"object_sid": map, "object_type": "map", "last_event_id": seen});
    subscriptions("establish", maps.iter().map(request).collect())
}

/// The body of a request to watch maps no more.
fn cancel(maps: &[&str]) -> Value {
    subscriptions("cancel", maps.iter().map(|map| json!({"object_sid": map, "object_type": "map"})).collect())
}

/// The correlation id is the same each time: a request is over before the next one begins.
fn subscriptions(action: &str, requests: Vec<Value>) -> Value {
    json!({
        "event_protocol_version": 4, "action": action, "correlation_id": 1, "retried_requests": 0, "ttl_in_s": -1,
        "requests": requests,
    })
}

/// A WebSocket frame as a client sends it, with this opcode, and with its mask: zeros.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut frame = vec![0x80 | opcode];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..126), _) => frame.push(0x80 | length),
        (_, Ok(length)) => frame.extend([&[0x80 | 126][..], &length.to_be_bytes()].concat()),
        _ => frame.extend([&[0x80 | 127][..], &(length as u64).to_be_bytes()].concat()),
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// How a socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With a close frame of this code and reason.
    Closed(u16, String),
    /// Without one.
    Broken,
}

/// A socket. Dropping it closes the connection without a word, as a killed process does.
pub struct Twilsock {
    socket: WebSocketStream<TcpStream>,
    /// Whether it sends text, and not bytes.
    pub is_text: bool,
    /// Whether it answers pings and acknowledges notifications.
    pub answers: bool,
    next_id: u64,
    /// What came while something else was awaited.
    pub(crate) heard: VecDeque<Packet>,
    /// How it ended, once it has.
    pub ended: Option<Ended>,
}

impl Twilsock {
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
                Ok(Self { socket, is_text: false, answers: true, next_id: 0, heard: VecDeque::new(), ended: None })
            }
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            // The server went away.
            Err(_) => Err(0),
        }
    }

    /// Opens a socket, and the session with this token, which must be accepted.
    pub async fn open(address: &str, token: &str) -> Self {
        let mut socket = Self::connect(address).await.expect("a socket");
        let reply = socket.init(token, None).await;
        assert_eq!(reply.status(), 200, "{}", reply.header);
        socket
    }

    /// Says who it is. Returns the reply.
    pub async fn init(&mut self, token: &str, continuation_token: Option<&str>) -> Packet {
        self.try_init(token, continuation_token).await.expect("a reply to init")
    }

    /// The same; `None` if the socket ended before.
    pub async fn try_init(&mut self, token: &str, continuation_token: Option<&str>) -> Option<Packet> {
        let header = json!({
            "method": "init", "token": token, "continuation_token": continuation_token,
            "metadata": {"ver": "1.0.2", "env": "test", "type": "conversations", "sdk": "JS", "sdkv": "3.0.1"},
            "registrations": [], "tweaks": null, "capabilities": ["client_update"],
        });
        self.ask(header, "").await
    }

    /// Gives a new token. Returns the reply.
    pub async fn update(&mut self, token: &str) -> Packet {
        self.ask(json!({"method": "update", "token": token}), "").await.expect("a reply to update")
    }

    /// Sends a request. Returns the HTTP status and the body.
    pub async fn request(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let reply =
            self.ask(request_header(method, path), &body).await.unwrap_or_else(|| panic!("a reply to {method} {path}"));
        assert_eq!(reply.status(), 200, "{}", reply.header);
        let status = reply.header["http_status"]["code"].as_u64().expect("a status");
        (u16::try_from(status).unwrap(), reply.payload)
    }

    /// Asks to watch maps, of which these sequences were seen. Returns the status; notifications follow.
    pub async fn subscribe(&mut self, maps: &[(&str, Option<u64>)]) -> u16 {
        self.request("POST", "/v4/Subscriptions", Some(&establish(maps))).await.0
    }

    /// Asks to watch maps no more.
    pub async fn unsubscribe(&mut self, maps: &[&str]) -> u16 {
        self.request("POST", "/v4/Subscriptions", Some(&cancel(maps))).await.0
    }

    /// Sends a packet with a new id. Returns the reply; `None` if the socket ended before. Other packets are kept.
    pub async fn ask(&mut self, mut header: Value, payload: &str) -> Option<Packet> {
        self.next_id += 1;
        let id = format!("TM{:032x}", self.next_id);
        header["id"] = id.as_str().into();
        self.send(packet(&header, payload)).await;
        let mut kept = std::mem::take(&mut self.heard);
        let reply = loop {
            match self.next().await {
                Some(packet) if packet.method() == "reply" && packet.header["id"] == id.as_str() => break Some(packet),
                Some(packet) => kept.push_back(packet),
                None => break None,
            }
        };
        kept.append(&mut self.heard);
        self.heard = kept;
        reply
    }

    /// Sends a message as it is.
    pub async fn send(&mut self, bytes: Vec<u8>) {
        let message =
            if self.is_text { Message::text(String::from_utf8(bytes).unwrap()) } else { Message::binary(bytes) };
        // The server may have closed it.
        let _ = futures_util::SinkExt::send(&mut self.socket, message).await;
    }

    /// The connection, for what a WebSocket library would not send.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }

    /// The next packet; `None` if the socket has ended. It must come soon.
    pub async fn next(&mut self) -> Option<Packet> {
        timeout(PATIENCE, self.listen()).await.expect("a packet in time")
    }

    /// The next packet, if one comes within this time.
    pub async fn next_within(&mut self, time: Duration) -> Option<Packet> {
        timeout(time, self.listen()).await.ok().flatten()
    }

    /// The next packet, however late it comes; `None` if the socket has ended. Pings are answered meanwhile.
    pub fn listen(&mut self) -> Listen<'_> {
        Listen(self)
    }

    /// Waits for the end of the socket.
    pub async fn end(&mut self) -> Ended {
        while self.next().await.is_some() {}
        self.ended.clone().expect("it has ended")
    }

    /// Says goodbye, and closes the socket.
    pub async fn goodbye(mut self) {
        self.send(packet(&json!({"method": "close", "id": "TM0"}), "")).await;
        let _ = self.socket.close(None).await;
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    /// Ends the connection without a word, as a killed process does. As dropping it.
    pub fn cut(&mut self) {
        let stream = self.socket.get_ref();
        let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Both);
    }

    /// Closes the socket without a goodbye, as a page that is left does.
    pub async fn close(mut self) {
        let _ = self.socket.close(None).await;
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    fn poll_packet(&mut self, context: &mut Context<'_>) -> Poll<Option<Packet>> {
        if let Some(packet) = self.heard.pop_front() {
            return Poll::Ready(Some(packet));
        }
        loop {
            // Acknowledgements that could not be sent at once.
            let _ = Pin::new(&mut self.socket).poll_flush(context);
            let message = match self.socket.poll_next_unpin(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => message,
                Poll::Ready(Some(Err(_)) | None) => {
                    self.ended.get_or_insert(Ended::Broken);
                    return Poll::Ready(None);
                }
            };
            let is_text = message.is_text();
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(frame) => {
                    let (code, reason) = frame
                        .map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.as_str().to_owned()));
                    self.ended = Some(Ended::Closed(code, reason));
                    continue;
                }
                _ => continue,
            };
            assert_eq!(is_text, self.is_text, "the server answers as it is asked");
            let packet = Packet::parse(&bytes);
            if packet.method() != "reply" && self.answers {
                self.acknowledge(&packet);
            }
            if packet.method() != "ping" {
                return Poll::Ready(Some(packet));
            }
        }
    }

    fn acknowledge(&mut self, heard: &Packet) {
        let header = json!({
            "method": "reply", "id": heard.header["id"], "payload_type": "application/json",
            "status": {"code": 200, "status": "OK"},
        });
        let bytes = packet(&header, "");
        let message =
            if self.is_text { Message::text(String::from_utf8(bytes).unwrap()) } else { Message::binary(bytes) };
        let _ = Pin::new(&mut self.socket).start_send(message);
    }
}

/// Waits for a packet.
pub struct Listen<'a>(&'a mut Twilsock);

impl Future for Listen<'_> {
    type Output = Option<Packet>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Packet>> {
        self.0.poll_packet(context)
    }
}
