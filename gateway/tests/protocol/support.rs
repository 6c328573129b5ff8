//! A client's side of the protocol, and a session with a clock.

use std::time::Duration;

use reachability_domain::directory::access_token::Grant;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::appearance::Appearance;
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::presence::view::UserView;
use reachability_domain::sid::{KeySid, ServiceSid, Sid, UserSid};
use reachability_domain::time::Timestamp;
use reachability_gateway::twilsock::{Action, Input, Opened, Response, Session, Settings};
use serde_json::{Value, json};

/// A frame as the clients write it.
pub(crate) fn frame(mut header: Value, payload: &str) -> Vec<u8> {
    header["payload_size"] = payload.len().into();
    let header = header.to_string();
    format!("TWILSOCK V3.0 {}\r\n{header}\r\n{payload}", header.len()).into_bytes()
}

pub(crate) fn bare(method: &str, id: &str) -> Vec<u8> {
    frame(json!({"method": method, "id": id}), "")
}

pub(crate) fn init(id: &str) -> Vec<u8> {
    frame(json!({"method": "init", "id": id, "token": "header.claims.signature", "continuation_token": null}), "")
}

pub(crate) fn update(id: &str) -> Vec<u8> {
    frame(json!({"method": "update", "id": id, "token": "another"}), "")
}

pub(crate) fn message(id: &str, method: &str, path: &str, body: &str) -> Vec<u8> {
    let http = json!({"host": "cds.us1.twilio.com", "path": path, "method": method, "params": {}, "headers": {}});
    let header = json!({"method": "message", "id": id, "payload_type": "application/json", "http_request": http});
    frame(header, body)
}

/// A packet from the server, read as the clients read it: they believe the lengths, and do not look for line breaks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sent {
    pub(crate) header: Value,
    pub(crate) payload: Value,
}

pub(crate) fn read(frame: &[u8]) -> Sent {
    let line_end = frame.iter().position(|byte| *byte == b'\r').unwrap();
    let line = std::str::from_utf8(&frame[..line_end]).unwrap();
    let ["TWILSOCK", "V3.0", length] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let (header, rest) = frame[line_end + 2..].split_at(length.parse().unwrap());
    let header: Value = serde_json::from_slice(header).unwrap();
    let size = header["payload_size"].as_u64().unwrap() as usize;
    let (payload, rest) = rest.strip_prefix(b"\r\n").unwrap().split_at(size);
    assert_eq!(rest, if size == 0 { &b""[..] } else { b"\r\n" });
    let is_json = header.get("payload_type").is_none_or(|payload_type| payload_type == "application/json");
    let payload = match payload {
        b"" => Value::Null,
        payload if is_json => serde_json::from_slice(payload).unwrap(),
        payload => String::from_utf8(payload.to_vec()).unwrap().into(),
    };
    Sent { header, payload }
}

/// What the actions send.
pub(crate) fn sent(actions: &[Action]) -> Vec<Sent> {
    let frame = |action: &Action| if let Action::Send(frame) = action { Some(read(frame)) } else { None };
    actions.iter().filter_map(frame).collect()
}

/// The only packet that the actions send; they do nothing else.
pub(crate) fn only(actions: &[Action]) -> Sent {
    let [Action::Send(frame)] = actions else { panic!("{actions:?}") };
    read(frame)
}

pub(crate) fn user(identity: &str) -> UserKey {
    UserKey { service: ServiceSid::from_bits(1), identity: identity.parse().unwrap() }
}

pub(crate) fn view(bits: u128, sequence: u64) -> UserView {
    let sid = UserSid::from_bits(bits);
    let user = User::new(sid, user(&format!("user-{bits}")), None, Timestamp::from_millis(0));
    let reachability = Reachability { online: Some(true), notifiable: None };
    let appearance = Appearance { reachability, revision: sequence, ..Appearance::default() };
    UserView { user, appearance, reachability_enabled: true, sequence }
}

pub(crate) fn response(status: u16, body: &Value) -> Response {
    Response { status, content_type: Some("application/json".to_owned()), body: body.to_string().into() }
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A session that is written down and read again before each step.
pub(crate) struct Socket {
    pub(crate) session: Session,
    pub(crate) settings: Settings,
    pub(crate) now: Timestamp,
}

impl Socket {
    pub(crate) fn new() -> Self {
        // Pings are due at tenths of a second.
        let now = Timestamp::from_millis(1_795_170_995_900);
        Self { session: Session::new(now), settings: Settings::default(), now }
    }

    /// A socket on which alice's session is open, with a token for an hour.
    pub(crate) fn open() -> Self {
        let mut socket = Self::new();
        socket.frame(&init("TM0"));
        let opened = socket.opened(60 * MINUTE);
        let reply = only(&socket.step(Input::Opened(Ok(opened))));
        assert_eq!(reply.header["status"]["code"], 200);
        socket
    }

    pub(crate) fn step(&mut self, input: Input<'_>) -> Vec<Action> {
        let written = postcard::to_stdvec(&self.session).unwrap();
        assert!(written.len() < 1024, "{} bytes", written.len());
        self.session = postcard::from_bytes(&written).unwrap();
        self.session.step(&self.settings, input, self.now)
    }

    pub(crate) fn frame(&mut self, frame: &[u8]) -> Vec<Action> {
        self.step(Input::Frame(frame))
    }

    /// Lets time pass, and nothing happen.
    pub(crate) fn wait(&mut self, duration: Duration) {
        self.now = self.now.plus(duration);
    }

    /// Lets time pass, and the session do what becomes due.
    pub(crate) fn run(&mut self, duration: Duration) -> Vec<Action> {
        let end = self.now.plus(duration);
        let mut actions = vec![];
        while self.due_at() <= end {
            let due_at = self.due_at();
            self.now = due_at.max(self.now);
            actions.extend(self.step(Input::Tick));
            assert!(due_at < self.due_at(), "a tick changes what is due");
        }
        self.now = end;
        actions
    }

    pub(crate) fn due_at(&self) -> Timestamp {
        self.session.due_at(&self.settings)
    }

    pub(crate) fn grant(&self, identity: &str, life: Duration) -> Grant {
        let expires_at = self.now.plus(life);
        Grant { user: user(identity), expires_at, key: KeySid::from_bits(2), push_credential: None }
    }

    pub(crate) fn opened(&self, life: Duration) -> Opened {
        Opened { grant: self.grant("alice", life), continuation_token: "CT-1".to_owned(), reissued: true }
    }
}
