//! A client's side of the protocol, and a session with a clock.

use std::time::Duration;

use reachability_domain::directory::access_token::Grant;
use reachability_domain::identity::{ConnectionId, UserKey};
use reachability_domain::sid::{KeySid, ServiceSid, Sid};
use reachability_domain::time::Timestamp;
use reachability_gateway::json::{
    Action, Answer, Closing, Command, CommandError, Connected, Input, Opened, RequestNumber, Session, Settings,
};
use serde_json::{Value, json};

use crate::people::{at, id, jane};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// What the actions send.
pub(crate) fn sent(actions: &[Action]) -> Vec<Value> {
    let read = |action: &Action| match action {
        Action::Send(bytes) => Some(serde_json::from_slice(bytes).unwrap()),
        _ => None,
    };
    actions.iter().filter_map(read).collect()
}

/// The only message that the actions send; they do nothing else.
pub(crate) fn only(actions: &[Action]) -> Value {
    let [Action::Send(bytes)] = actions else { panic!("{actions:?}") };
    serde_json::from_slice(bytes).unwrap()
}

/// The only command that the actions do; they do nothing else.
pub(crate) fn command(actions: &[Action]) -> &Command {
    let [Action::Do { command, .. }] = actions else { panic!("{actions:?}") };
    command
}

pub(crate) fn close(closing: Closing) -> Action {
    Action::Close { code: closing.code(), reason: closing.reason() }
}

pub(crate) fn user(identity: &str) -> UserKey {
    UserKey { service: ServiceSid::from_bits(1), identity: id(identity) }
}

pub(crate) fn connect(id: u64) -> Value {
    json!({"type": "connect", "id": id, "token": "a.b.c"})
}

/// A session that is written down and read again before each step.
pub(crate) struct Socket {
    pub(crate) session: Session,
    pub(crate) settings: Settings,
    pub(crate) now: Timestamp,
}

impl Socket {
    pub(crate) fn new() -> Self {
        let now = at("10:00:00");
        Self { session: Session::new(now), settings: Settings::default(), now }
    }

    /// A socket on which jane's session is open, with a token for an hour. The next request has the number 2.
    pub(crate) fn open() -> Self {
        let mut socket = Self::new();
        socket.send(&connect(1));
        let connected = socket.connected(60 * MINUTE);
        assert_eq!(only(&socket.step(Input::Opened(Ok(connected))))["type"], "connected");
        socket
    }

    pub(crate) fn step(&mut self, input: Input<'_>) -> Vec<Action> {
        let written = postcard::to_stdvec(&self.session).unwrap();
        assert!(written.len() < 1024, "{} bytes", written.len());
        self.session = postcard::from_bytes(&written).unwrap();
        self.session.step(&self.settings, input, self.now)
    }

    pub(crate) fn text(&mut self, text: &str) -> Vec<Action> {
        self.step(Input::Text(text.as_bytes()))
    }

    pub(crate) fn send(&mut self, message: &Value) -> Vec<Action> {
        self.text(&message.to_string())
    }

    /// The error that a message is answered with.
    pub(crate) fn refused(&mut self, message: &Value) -> Value {
        let error = only(&self.send(message));
        assert_eq!(error["type"], "error", "{error}");
        error
    }

    pub(crate) fn done(&mut self, request: u64, result: Result<Answer<'_>, CommandError>) -> Vec<Action> {
        self.done_after(0, request, result)
    }

    /// The same after so many users, channels and members were looked at.
    pub(crate) fn done_after(
        &mut self,
        looked_at: usize,
        request: u64,
        result: Result<Answer<'_>, CommandError>,
    ) -> Vec<Action> {
        self.step(Input::Done { request: RequestNumber(request), result, looked_at })
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

    /// Lets time pass with a client that answers every ping. Returns what else is sent and done.
    pub(crate) fn run_answering(&mut self, duration: Duration) -> Vec<Action> {
        let end = self.now.plus(duration);
        let mut actions = vec![];
        while self.now < end {
            for action in self.run(SECOND) {
                if matches!(&action, Action::Send(bytes) if bytes == r#"{"type":"ping"}"#) {
                    assert_eq!(self.send(&json!({"type": "pong"})), []);
                } else {
                    actions.push(action);
                }
            }
        }
        actions
    }

    pub(crate) fn due_at(&self) -> Timestamp {
        self.session.due_at(&self.settings)
    }

    pub(crate) fn grant(&self, identity: &str, life: Duration) -> Grant {
        let expires_at = self.now.plus(life);
        Grant { user: user(identity), expires_at, key: KeySid::from_bits(2), push_credential: None }
    }

    pub(crate) fn connected(&self, life: Duration) -> Connected<'static> {
        let grant = self.grant("jane", life);
        Connected {
            opened: Opened { grant, continuation_token: "CT-5e1d".to_owned(), reissued: true },
            connection: ConnectionId::numbered(0xa1, 7),
            user: jane("", false, "10:00:00", 1_127_627_627_776),
        }
    }
}
