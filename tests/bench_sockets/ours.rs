//! The server of this workspace, with clients that send what the unmodified clients send.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt, stream};
use reachability_tests::client::Client as Owner;
use reachability_tests::server::Server;
use reachability_tests::tokens::Signer;
use reachability_tests::twilsock::{establish, request_header};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::frames::{Frame, acknowledgement, masked, packet, split};
use crate::peer::{FRAMES, Line, Peer, SERVER_CORE, Session, Who};

/// How many maps a request for subscriptions may name.
const MAX_BATCH: usize = 500;

pub(crate) struct Ours {
    name: String,
    server: Server,
    arguments: Vec<String>,
    directory: TempDir,
    service: String,
    signer: Signer,
    maps: Arc<Maps>,
    /// Whether devices come fully.
    fully: bool,
}

/// The maps of the users that are watched.
#[derive(Default)]
pub(crate) struct Maps {
    sids: Vec<String>,
    users: HashMap<String, usize>,
}

impl Ours {
    /// Starts it with these arguments and creates so many users.
    pub(crate) async fn start(name: &str, arguments: &[&str], users: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let server = serve(directory.path(), &arguments);
        let owner = Owner::of(&server);
        let service = owner.enabled_service().await;
        let signer = Signer::new(&owner, &server.account).await;
        let maps = Arc::new(Maps::create(&owner, &service, users).await);
        Self { name: name.to_owned(), server, arguments, directory, service, signer, maps, fully: false }
    }

    /// With devices that come fully.
    pub(crate) fn fully(self, name: &str) -> Self {
        Self { name: name.to_owned(), fully: true, ..self }
    }

    /// An access token of this user.
    pub(crate) fn token(&self, identity: &str) -> String {
        self.signer.token(&self.service, identity)
    }

    /// Who owns the account, and the service.
    pub(crate) fn owner(&self) -> (Owner, &str) {
        (Owner::of(&self.server), &self.service)
    }

    /// The sid of the map of a user that was created.
    pub(crate) fn map(&self, user: usize) -> &str {
        &self.maps.sids[user]
    }

    /// What runs the server, and what starts it again where it was.
    pub(crate) fn into_server(self) -> (Server, impl Fn() -> Server) {
        let Self { server, directory, arguments, .. } = self;
        (server, move || serve(directory.path(), &arguments))
    }
}

fn serve(directory: &Path, arguments: &[String]) -> Server {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Server::start_under(&["taskset", "-c", SERVER_CORE], directory, &arguments, |_| {})
}

impl Maps {
    async fn create(owner: &Owner, service: &str, users: usize) -> Self {
        let create = async |user| {
            let (path, identity) = (format!("/v1/Services/{service}/Users"), format!("user-{user}"));
            let (status, user) = owner.send(Method::POST, &path, &[("Identity", &identity)]).await;
            assert_eq!(status, 201, "{user}");
            // The map of a user has the bits of the user's sid.
            user["sid"].as_str().unwrap().replacen("US", "MP", 1)
        };
        let sids: Vec<String> = stream::iter(0..users).map(create).buffered(64).collect().await;
        let users = sids.iter().cloned().enumerate().map(|(user, sid)| (sid, user)).collect();
        Self { sids, users }
    }
}

impl Peer for Ours {
    type Session = Twilsock;

    fn name(&self) -> &str {
        &self.name
    }

    fn pid(&self) -> u32 {
        self.server.pid()
    }

    fn address(&self) -> SocketAddr {
        self.server.address().parse().unwrap()
    }

    async fn open(&self, line: &mut Line, who: &Who) -> io::Result<Twilsock> {
        let identity = match who {
            Who::Watcher { number, .. } => format!("watcher-{number}"),
            Who::Device { user, .. } => format!("user-{user}"),
        };
        upgrade(line, PATH).await?;
        init(line, &self.token(&identity), None).await?;
        match who {
            Who::Watcher { users, .. } => {
                let maps = users.clone().map(|user| (self.maps.sids[user].as_str(), None)).collect::<Vec<_>>();
                for maps in maps.chunks(MAX_BATCH) {
                    subscribe(line, maps, |_| {}).await?;
                }
            }
            Who::Device { fully, .. } if *fully || self.fully => bootstrap(line, &identity).await?,
            Who::Device { .. } => {}
        }
        Ok(Twilsock { maps: self.maps.clone() })
    }
}

/// Where the vendor's clients open their sockets.
pub(crate) const PATH: &str = "/v3/wsconnect";

pub(crate) async fn upgrade(line: &mut Line, path: &str) -> io::Result<()> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: chat.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    line.send(request.as_bytes()).await?;
    let answer = line.read_until(b"\r\n\r\n").await?;
    let switched = answer.starts_with(b"HTTP/1.1 101 ");
    switched.then_some(()).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, String::from_utf8_lossy(&answer)))
}

/// A unique id of a packet.
fn id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("TM00000000-0000-4000-8000-{:012x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Introduces itself. Returns the continuation token.
pub(crate) async fn init(line: &mut Line, token: &str, continuation: Option<&str>) -> io::Result<Option<String>> {
    let id = id();
    let header = json!({
        "id": id, "method": "init", "token": token, "continuation_token": continuation,
        "metadata": {"ver": "1.0.2", "env": "Node.js", "envv": "20.20.2", "os": "Linux", "osv": "unknown", "osa": 64,
            "type": "conversations", "sdk": "JS", "sdkv": "3.0.1"},
        "registrations": [{"product": "ip_messaging", "type": "ers", "notification_protocol_version": 0,
            "message_types": ["twilio.ipmsg.typing_indicator", "twilio.sync.event", "com.twilio.rtd.cds.document",
                "com.twilio.rtd.cds.list", "com.twilio.rtd.cds.map"]}],
        "tweaks": null, "capabilities": ["client_update", "offline_storage", "telemetry.v1"], "payload_size": 0,
    });
    line.send(&packet(&header.to_string(), "")).await?;
    let (continuation, _) = reply(line, &id).await?;
    Ok(continuation)
}

/// Asks for what an app asks for at its start, in the order in which it does.
async fn bootstrap(line: &mut Line, identity: &str) -> io::Result<()> {
    let configuration = request(line, "GET", "/Client/v2/Configuration", None).await?;
    let configuration = reply(line, &configuration).await?.1;
    let objects = &configuration["sync_objects"];
    let [conversations, user] = ["my_conversations", "my_user_info"].map(|name| objects[name].as_str().unwrap());
    // These two are asked for at once.
    let first = request(line, "GET", &format!("/v3/Maps/{conversations}"), None).await?;
    let second = request(line, "GET", &format!("/v3/Maps/{user}?Include=items"), None).await?;
    let (conversations, user) = (reply(line, &first).await?.1, reply(line, &second).await?.1);
    let mine = configuration["links"]["my_conversations"].as_str().unwrap();
    let path = mine.split_once("://").and_then(|(_, rest)| Some(&rest[rest.find('/')?..])).unwrap();
    let mine = request(line, "GET", path, None).await?;
    reply(line, &mine).await?;
    assert!(user["unique_name"].is_string(), "{identity}: {user}");
    let maps = [&conversations, &user].map(|map| (map["sid"].as_str().unwrap(), map["last_event_id"].as_u64()));
    subscribe(line, &maps, |_| {}).await
}

/// Subscribes to maps, and waits until it has heard of all of them. What changed meanwhile is told.
pub(crate) async fn subscribe(
    line: &mut Line,
    maps: &[(&str, Option<u64>)],
    mut hear: impl FnMut(&[u8]),
) -> io::Result<()> {
    let id = request(line, "POST", "/v4/Subscriptions", Some(&establish(maps))).await?;
    let (mut established, mut replied) = (0, false);
    while established < maps.len() || !replied {
        let (is_reply, payload) = line.read(whole).await?;
        replied |= is_reply.as_deref() == Some(&id);
        if is_reply.is_none() {
            let event: Value = serde_json::from_slice(&payload)?;
            match event["event_type"].as_str() {
                Some("subscription_established") => established += event["events"].as_array().map_or(0, Vec::len),
                Some("map_item_updated") => hear(&payload),
                _ => return Err(io::Error::new(ErrorKind::InvalidData, event.to_string())),
            }
        }
    }
    Ok(())
}

/// Sends a request. Returns its id.
async fn request(line: &mut Line, method: &str, path: &str, body: Option<&Value>) -> io::Result<String> {
    let (id, payload) = (id(), body.map(Value::to_string).unwrap_or_default());
    let mut header = request_header(method, path);
    header["id"] = id.as_str().into();
    header["payload_size"] = payload.len().into();
    line.send(&packet(&header.to_string(), &payload)).await?;
    Ok(id)
}

/// Waits for the reply to a packet, which must be a success. Returns the continuation token and the payload.
async fn reply(line: &mut Line, to: &str) -> io::Result<(Option<String>, Value)> {
    loop {
        let found = line.read(|received| match split(received)? {
            (Frame::Packet { header, payload }, length) if header.id == to => {
                let status = header.http_status.or(header.status).map_or(0, |status| status.code);
                let payload = if payload.is_empty() { Value::Null } else { serde_json::from_slice(payload).unwrap() };
                Some((Some((status, header.continuation_token.map(str::to_owned), payload)), length))
            }
            (_, length) => Some((None, length)),
        });
        match found.await? {
            Some((200..300, continuation, payload)) => return Ok((continuation, payload)),
            Some((status, _, payload)) => {
                return Err(io::Error::new(ErrorKind::InvalidData, format!("{status} {payload}")));
            }
            None => {}
        }
    }
}

/// The id of what a packet replies to, if it is a reply, and its payload.
type Whole = (Option<String>, Vec<u8>);

/// The first packet, with its length, if it is complete.
fn whole(received: &[u8]) -> Option<(Whole, usize)> {
    match split(received)? {
        (Frame::Packet { header, payload }, length) => {
            let id = (header.method == "reply").then(|| header.id.to_owned());
            Some(((id, payload.to_vec()), length))
        }
        (Frame::Ping(_) | Frame::Close, length) => Some(((Some(String::new()), Vec::new()), length)),
    }
}

pub(crate) struct Twilsock {
    maps: Arc<Maps>,
}

/// Calls this with the map, the id and `online` of every change of it in a notification.
pub(crate) fn changes(payload: &[u8], mut hear: impl FnMut(&str, u64, Option<bool>)) {
    #[derive(Deserialize)]
    struct Changes<'a> {
        #[serde(borrow)]
        events: Vec<Event<'a>>,
    }
    #[derive(Deserialize)]
    struct Event<'a> {
        id: u64,
        map_sid: &'a str,
        item_key: &'a str,
        item_data: Item,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        online: Option<bool>,
    }
    if memchr::memmem::find(payload, b"\"map_item_updated\"").is_none() {
        return;
    }
    let changes: Changes = serde_json::from_slice(payload).unwrap();
    for event in changes.events.iter().filter(|event| event.item_key == "reachability") {
        hear(event.map_sid, event.id, event.item_data.online);
    }
}

impl Session for Twilsock {
    fn receive(&mut self, received: &[u8], answer: &mut Vec<u8>, hear: &mut dyn FnMut(usize, bool)) -> usize {
        let mut handled = 0;
        while let Some((frame, length)) = split(&received[handled..]) {
            handled += length;
            FRAMES.fetch_add(1, Ordering::Relaxed);
            let (header, payload) = match frame {
                Frame::Packet { header, payload } if header.method != "reply" => (header, payload),
                Frame::Ping(bytes) => {
                    answer.extend(masked(10, bytes));
                    continue;
                }
                _ => continue,
            };
            answer.extend(acknowledgement(header.id));
            FRAMES.fetch_add(1, Ordering::Relaxed);
            changes(payload, |map, _, online| {
                if let Some(online) = online {
                    hear(self.maps.users[map], online);
                }
            });
        }
        handled
    }

    fn goodbye(&self) -> Vec<u8> {
        let header = json!({"method": "close", "id": id(), "payload_size": 0, "status": {"code": 200, "status": "OK"}});
        [packet(&header.to_string(), ""), masked(8, &[])].concat()
    }
}
