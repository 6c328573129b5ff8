//! The steps of a session.

use bytes::Bytes;
use reachability_domain::allowance::Allowance;
use reachability_domain::identity::UserKey;
use reachability_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::json::action::Action;
use crate::json::close::Closing;
use crate::json::encode;
use crate::json::error::{Failure, Word};
use crate::json::input::{Connected, Input, RequestNumber};
use crate::json::kinds::ClientKind;
use crate::json::open::Open;
use crate::json::read::{self, Connect, Message};
use crate::json::settings::{MAX_MESSAGE, MAX_RESTORE, MESSAGES, OPEN_WITHIN, Settings};
use crate::session::{Cause, Refusal};

/// The state of one socket's protocol. It can be written down between any two steps, and is bounded whatever a client sends:
/// under 1 KB beside the identity of its user. What the client watches is the shell's to keep.
///
/// A shell gives the inputs of one session one after the other, and does the actions of a step in their order. When the
/// socket ends, it is done with the session: what an action has begun until then is the shell's to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    phase: Phase,
    messages: Allowance,
    /// The number of the last request.
    last: RequestNumber,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// The client did not say yet who it is.
    New { since: Timestamp },
    /// `connect` came, with this number, and is not answered yet.
    Opening { connect: RequestNumber, since: Timestamp, said_goodbye: bool },
    /// The client was told that it is connected.
    Open(Open),
    /// The socket was closed.
    Closed,
}

impl Session {
    /// A new socket.
    pub fn new(now: Timestamp) -> Self {
        Self { phase: Phase::New { since: now }, messages: Allowance::new(now), last: RequestNumber(0) }
    }

    /// Takes an input, and returns what is to be done, in order.
    ///
    /// `now` should come from a clock that never goes back or leaps, such as the time of the server's start plus what a
    /// monotonic clock has counted since. If it goes back all the same, timers start again, and nothing is ended for it.
    pub fn step(&mut self, settings: &Settings, input: Input<'_>, now: Timestamp) -> Vec<Action> {
        self.not_after(now);
        match (input, &mut self.phase) {
            (_, Phase::Closed) => vec![],
            (Input::Text(message), _) => self.message(settings, message, now),
            (Input::NoMessage, _) => self.no_message(now),
            (Input::Binary, _) => self.close(Closing::NotText),
            (Input::TooLarge, _) => self.close(Closing::TooLarge),
            (Input::Opened(result), Phase::Opening { connect, said_goodbye, .. }) => {
                let (connect, said_goodbye) = (*connect, *said_goodbye);
                self.opened(settings, result, connect, said_goodbye, now)
            }
            (Input::Verified(result), Phase::Open(open)) => open.verified(result, now),
            (Input::Done { request, result, looked_at }, Phase::Open(open)) => {
                Vec::from_iter(open.done(request, result, looked_at, now).map(Action::Send))
            }
            (Input::Tick, _) => self.tick(settings, now),
            (Input::End(cause), _) => self.close(closing(cause)),
            // What comes of an action when the session is not where it was.
            _ => vec![],
        }
    }

    /// A part of a frame came: the client is alive, however slow its network is. A whole one is an [`Input::Text`] or an
    /// [`Input::NoMessage`].
    pub fn hear(&mut self, now: Timestamp) {
        self.not_after(now);
        if let Phase::Open(open) = &mut self.phase {
            open.hear(now);
        }
    }

    /// When [`Input::Tick`] is wanted; [`Timestamp::MAX`]: never. It changes with each step.
    pub fn due_at(&self, settings: &Settings) -> Timestamp {
        match &self.phase {
            Phase::New { since } => since.plus(settings.timing.init_within),
            Phase::Opening { since, .. } => since.plus(OPEN_WITHIN),
            Phase::Open(open) => open.due_at(settings),
            Phase::Closed => Timestamp::MAX,
        }
    }

    /// When the session ends whatever the client does, since its token expires; [`Timestamp::MAX`] while it is not open.
    pub fn expires_at(&self) -> Timestamp {
        match &self.phase {
            Phase::Open(open) => open.ends_at(),
            _ => Timestamp::MAX,
        }
    }

    /// The user, while the session is open.
    pub fn user(&self) -> Option<&UserKey> {
        match &self.phase {
            Phase::Open(open) => Some(&open.user),
            _ => None,
        }
    }

    /// How many requests are under way ([`MAX_REQUESTS`](super::settings::MAX_REQUESTS)).
    pub fn requests(&self) -> usize {
        match &self.phase {
            Phase::Open(open) => open.requests(),
            _ => 0,
        }
    }

    /// The largest message that the client may send now, in bytes. A larger one is an [`Input::TooLarge`], however much of it
    /// has come.
    pub fn max_message(&self) -> usize {
        match self.phase {
            Phase::Open(_) => MAX_RESTORE,
            _ => MAX_MESSAGE,
        }
    }

    /// Makes a clock that goes back harmless: nothing happened later than now.
    fn not_after(&mut self, now: Timestamp) {
        match &mut self.phase {
            Phase::New { since } | Phase::Opening { since, .. } => *since = now.min(*since),
            Phase::Open(open) => open.not_after(now),
            Phase::Closed => {}
        }
    }

    /// Whether the client may send one more message.
    fn allows(&mut self, now: Timestamp) -> bool {
        self.messages.take(MESSAGES, now)
    }

    fn no_message(&mut self, now: Timestamp) -> Vec<Action> {
        if !self.allows(now) {
            return self.close(Closing::TooManyMessages);
        }
        self.hear(now);
        vec![]
    }

    fn message(&mut self, settings: &Settings, bytes: &[u8], now: Timestamp) -> Vec<Action> {
        if !self.allows(now) {
            return self.close(Closing::TooManyMessages);
        }
        if bytes.len() > self.max_message() {
            return self.close(Closing::TooLarge);
        }
        let message = match Message::read(bytes) {
            Ok(message) => message,
            Err(closing) => return self.close(closing),
        };
        self.hear(now);
        match message.kind {
            Some(ClientKind::Pong) => vec![],
            Some(ClientKind::Close) => self.goodbye(),
            kind => {
                let number = message.number(&mut self.last);
                let id = number.as_ref().ok().copied();
                let action = match (number, kind) {
                    (_, None) => Err(Failure::new(Word::UnknownType, "There is no such type of message")),
                    (Err(failure), _) => Err(failure),
                    (Ok(id), Some(kind)) => self.request(settings, kind, id, &message, now),
                };
                vec![action.unwrap_or_else(|failure| Action::Send(encode::error(id, &failure)))]
            }
        }
    }

    fn request(
        &mut self,
        settings: &Settings,
        kind: ClientKind,
        id: RequestNumber,
        message: &Message<'_>,
        now: Timestamp,
    ) -> Result<Action, Failure> {
        match (&mut self.phase, kind) {
            (Phase::New { .. }, ClientKind::Connect) => {
                let Connect { token, continuation_token, disclose, device } = read::connect(&message.fields)?;
                self.phase = Phase::Opening { connect: id, since: now, said_goodbye: false };
                Ok(Action::Open { token, continuation_token, disclose, device })
            }
            (_, ClientKind::Connect) => Err(Failure::new(Word::AlreadyConnected, "A socket has one `connect`")),
            (Phase::Open(open), kind) => open.request(kind, id, &message.fields, settings, now),
            (_, _) => Err(Failure::new(Word::NotConnected, "The first request must be `connect`, and be answered")),
        }
    }

    fn goodbye(&mut self) -> Vec<Action> {
        let is_open = match &mut self.phase {
            // What is about to begin can only be ended then.
            Phase::Opening { said_goodbye, .. } => {
                *said_goodbye = true;
                return vec![];
            }
            Phase::Open(_) => true,
            Phase::New { .. } | Phase::Closed => false,
        };
        let mut actions = Vec::from_iter(is_open.then_some(Action::Goodbye));
        actions.extend(self.close(Closing::Goodbye));
        actions
    }

    fn opened(
        &mut self,
        settings: &Settings,
        result: Result<Connected<'_>, Refusal>,
        connect: RequestNumber,
        said_goodbye: bool,
        now: Timestamp,
    ) -> Vec<Action> {
        match result {
            Ok(_) if said_goodbye => {
                let mut actions = vec![Action::Goodbye];
                actions.extend(self.close(Closing::Goodbye));
                actions
            }
            Err(_) if said_goodbye => self.close(Closing::Goodbye),
            Ok(connected) => {
                let mut actions = vec![Action::Send(encode::connected(connect, &connected, settings))];
                let mut open = Open::new(connected.opened.grant, now);
                actions.extend(open.tell_expiry(now));
                self.phase = Phase::Open(open);
                actions
            }
            Err(refusal) => self.refuse(connect, refusal),
        }
    }

    /// Tells the client why it cannot connect, then closes the socket.
    fn refuse(&mut self, connect: RequestNumber, refusal: Refusal) -> Vec<Action> {
        let closing = match refusal {
            Refusal::Token(_) => Closing::InvalidToken,
            Refusal::Limit | Refusal::WrongTokens => Closing::LimitReached,
            Refusal::Unavailable => Closing::Unavailable,
        };
        let error: Bytes = encode::error(Some(connect), &refusal.into());
        let mut actions = vec![Action::Send(error)];
        actions.extend(self.close(closing));
        actions
    }

    fn tick(&mut self, settings: &Settings, now: Timestamp) -> Vec<Action> {
        if now < self.due_at(settings) {
            return vec![];
        }
        match &mut self.phase {
            Phase::New { .. } => self.close(Closing::NoConnect),
            Phase::Opening { connect, .. } => {
                let connect = *connect;
                self.refuse(connect, Refusal::Unavailable)
            }
            Phase::Open(open) if open.is_expired(now) => self.close(Closing::TokenExpired),
            Phase::Open(open) if open.is_silent(settings, now) => self.close(Closing::NoAnswer),
            Phase::Open(open) => open.tick(settings, now),
            Phase::Closed => vec![],
        }
    }

    fn close(&mut self, closing: Closing) -> Vec<Action> {
        self.phase = Phase::Closed;
        vec![Action::Close { code: closing.code(), reason: closing.reason() }]
    }
}

fn closing(cause: Cause) -> Closing {
    match cause {
        Cause::Superseded => Closing::Superseded,
        Cause::KeyDeleted => Closing::KeyDeleted,
        Cause::ServiceDeleted => Closing::ServiceDeleted,
        Cause::UserDeleted => Closing::UserDeleted,
        Cause::Doubtful => Closing::Unavailable,
        Cause::Draining => Closing::ServerStops,
    }
}
