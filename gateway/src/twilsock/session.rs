//! The steps of a session.

use reachability_domain::allowance::Allowance;
use reachability_domain::directory::access_token::TokenError;
use reachability_domain::identity::UserKey;
use reachability_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::session::{Cause, Opened, Refusal};
use crate::twilsock::action::Action;
use crate::twilsock::codec::{self, Packet};
use crate::twilsock::input::Input;
use crate::twilsock::open::Open;
use crate::twilsock::packet::{self, Status};
use crate::twilsock::settings::{FRAMES, LINGER, OPEN_WITHIN, Settings};

/// The state of one socket's protocol. It can be written down between any two steps, and is bounded whatever a client sends:
/// under 1 KB beside the identity of its user.
///
/// A shell gives the inputs of one session one after the other, and does the actions of a step in their order. When the
/// socket ends, it is done with the session: what an action has begun until then is the shell's to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    phase: Phase,
    frames: Allowance,
    ids: Ids,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// No `init` came yet.
    New { since: Timestamp },
    /// `init` came, with this id, and is not answered yet.
    Opening { init: String, since: Timestamp, said_goodbye: bool },
    /// `init` was answered with 200.
    Open(Open),
    /// It was answered with an error. The client closes the socket when it has read that.
    Refused { since: Timestamp },
    /// The socket was closed.
    Closed,
}

/// Makes the ids of the packets that are sent on one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Ids(u64);

impl Ids {
    pub(crate) fn next(&mut self) -> String {
        self.0 += 1;
        format!("TM{:032x}", self.0)
    }
}

impl Session {
    /// A new socket.
    pub fn new(now: Timestamp) -> Self {
        Self { phase: Phase::New { since: now }, frames: Allowance::new(now), ids: Ids::default() }
    }

    /// Takes an input, and returns what is to be done, in order.
    ///
    /// `now` should come from a clock that never goes back or leaps, such as the time of the server's start plus what a
    /// monotonic clock has counted since. If it goes back all the same, timers start again, and nothing is ended for it.
    pub fn step(&mut self, settings: &Settings, input: Input<'_>, now: Timestamp) -> Vec<Action> {
        self.not_after(now);
        match (input, &mut self.phase) {
            (_, Phase::Closed) => vec![],
            (Input::Frame(frame), _) => self.frame(settings, frame, now),
            (Input::NoMessage, _) => self.no_message(now),
            (Input::Opened(result), Phase::Opening { init, said_goodbye, .. }) => {
                let (init, said_goodbye) = (std::mem::take(init), *said_goodbye);
                self.opened(result, &init, said_goodbye, now)
            }
            (Input::Verified(result), Phase::Open(open)) => open.verified(result, &mut self.ids, now),
            (Input::Answered { request, response }, Phase::Open(open)) => open.answered(request, &response, now),
            (Input::Subscribed { request, maps }, Phase::Open(open)) => {
                open.subscribed(request, &maps, settings, &mut self.ids, now)
            }
            (Input::Tick, _) => self.tick(settings, now),
            (Input::End(cause), _) => self.end(cause),
            // What comes of an action when the session is not where it was.
            _ => vec![],
        }
    }

    /// A part of a frame came: the client is alive, however slow its network is. A whole one is an [`Input::Frame`] or an
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
            Phase::Refused { since } => since.plus(LINGER),
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

    /// Makes a clock that goes back harmless: nothing happened later than now.
    fn not_after(&mut self, now: Timestamp) {
        match &mut self.phase {
            Phase::New { since } | Phase::Opening { since, .. } | Phase::Refused { since } => *since = now.min(*since),
            Phase::Open(open) => open.not_after(now),
            Phase::Closed => {}
        }
    }

    fn frame(&mut self, settings: &Settings, frame: &[u8], now: Timestamp) -> Vec<Action> {
        if !self.allows(now) {
            return self.flooded();
        }
        match codec::decode(frame) {
            Err(why) => self.close_with(&Status::not_acceptable(why), 1008, "not-acceptable-message"),
            Ok(packet) => self.packet(settings, packet, now),
        }
    }

    fn no_message(&mut self, now: Timestamp) -> Vec<Action> {
        if !self.allows(now) {
            return self.flooded();
        }
        self.hear(now);
        vec![]
    }

    /// Whether the client may send one more frame.
    fn allows(&mut self, now: Timestamp) -> bool {
        self.frames.take(FRAMES, now)
    }

    fn flooded(&mut self) -> Vec<Action> {
        self.close_with(&Status::too_many_messages(), 1008, "too-many-messages")
    }

    fn packet(&mut self, settings: &Settings, packet: Packet<'_>, now: Timestamp) -> Vec<Action> {
        let header = &packet.header;
        match (&mut self.phase, header.method.as_ref()) {
            (Phase::New { .. }, "init") => self.init(packet, now),
            (Phase::New { .. }, "close") => self.close(1000, "closed-by-client"),
            // An acknowledgement, of what does not matter.
            (Phase::New { .. } | Phase::Opening { .. }, "reply") => vec![],
            (Phase::New { .. }, _) => {
                self.phase = Phase::Refused { since: now };
                vec![reply(&header.id, &Status::bad_request("The first packet must be init"))]
            }
            (Phase::Opening { said_goodbye, .. }, "close") => {
                *said_goodbye = true;
                vec![]
            }
            (Phase::Opening { .. }, _) => {
                vec![reply(&header.id, &Status::bad_request("The session is not open yet"))]
            }
            (Phase::Open(_), "close") => {
                let mut actions = vec![Action::Goodbye];
                actions.extend(self.close(1000, "closed-by-client"));
                actions
            }
            (Phase::Open(open), _) => open.packet(packet, settings, &mut self.ids, now),
            (Phase::Refused { .. } | Phase::Closed, _) => vec![],
        }
    }

    fn init(&mut self, packet: Packet<'_>, now: Timestamp) -> Vec<Action> {
        let header = packet.header;
        let device = header.device();
        let Some(token) = header.token else {
            self.phase = Phase::Refused { since: now };
            return vec![reply(&header.id, &Status::unauthorized(TokenError::Malformed))];
        };
        self.phase = Phase::Opening { init: header.id.into_owned(), since: now, said_goodbye: false };
        vec![Action::Open { token, continuation_token: header.continuation_token, device }]
    }

    fn opened(
        &mut self,
        result: Result<Opened, Refusal>,
        init: &str,
        said_goodbye: bool,
        now: Timestamp,
    ) -> Vec<Action> {
        match result {
            Ok(_) if said_goodbye => {
                let mut actions = vec![Action::Goodbye];
                actions.extend(self.close(1000, "closed-by-client"));
                actions
            }
            Err(_) if said_goodbye => self.close(1000, "closed-by-client"),
            Ok(Opened { grant, continuation_token, reissued }) => {
                let mut open = Open::new(grant, now);
                let mut actions = vec![Action::Send(packet::opened(init, &continuation_token, reissued))];
                actions.extend(open.tell_expiry(&mut self.ids, now));
                self.phase = Phase::Open(open);
                actions
            }
            Err(refusal) => {
                self.phase = Phase::Refused { since: now };
                vec![reply(init, &refusal.into())]
            }
        }
    }

    fn tick(&mut self, settings: &Settings, now: Timestamp) -> Vec<Action> {
        if now < self.due_at(settings) {
            return vec![];
        }
        match &mut self.phase {
            Phase::New { .. } => self.close(1000, "no-init-from-client"),
            Phase::Opening { .. } => self.close(1000, "no-answer-to-init"),
            Phase::Refused { .. } => self.close(1000, "refused"),
            Phase::Open(open) if open.is_expired(now) => match settings.expiry {
                super::Expiry::Packet => self.close_with(&Status::token_expired(), 1000, "token-expired"),
                super::Expiry::Socket => self.close(1000, "token-expired"),
            },
            Phase::Open(open) if open.is_silent(settings, now) => self.close(1001, "no-answer-to-ping"),
            Phase::Open(open) => open.tick(settings, &mut self.ids, now),
            Phase::Closed => vec![],
        }
    }

    fn end(&mut self, cause: Cause) -> Vec<Action> {
        let revoked = match cause {
            Cause::Superseded => return self.close(1000, "superseded"),
            // The clients come back sooner after a plain close than after a packet.
            Cause::Draining => return self.close(1001, "server-stops"),
            Cause::Doubtful => return self.close(1000, "come-back"),
            Cause::KeyDeleted => Status::revoked("The API key was deleted", Some(TokenError::Issuer)),
            Cause::ServiceDeleted => Status::revoked("The service was deleted", Some(TokenError::Grants)),
            Cause::UserDeleted => Status::revoked("The user was deleted", None),
        };
        self.close_with(&revoked, 1000, "revoked")
    }

    /// Tells the client why, then closes the socket.
    fn close_with(&mut self, status: &Status, code: u16, reason: &'static str) -> Vec<Action> {
        let mut actions = vec![Action::Send(packet::close(&self.ids.next(), status))];
        actions.extend(self.close(code, reason));
        actions
    }

    fn close(&mut self, code: u16, reason: &'static str) -> Vec<Action> {
        self.phase = Phase::Closed;
        vec![Action::Close { code, reason }]
    }
}

pub(crate) fn reply(id: &str, status: &Status) -> Action {
    Action::Send(packet::reply(id, status))
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Token(error) => Self::unauthorized(error),
            Refusal::Limit | Refusal::WrongTokens => Self::too_many_requests(),
            Refusal::Unavailable => Self::unavailable(),
        }
    }
}
