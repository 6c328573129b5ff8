//! A shell that gives a session whatever may happen to one, and checks what it says.

use std::collections::HashSet;

use reachability_domain::directory::access_token::{Grant, TokenError};
use reachability_domain::identity::UserKey;
use reachability_domain::time::Timestamp;
use reachability_gateway::json::kinds::ServerKind;
use reachability_gateway::json::settings::*;
use reachability_gateway::json::{
    Action, Answer, Cause, Closing, Command, CommandError, Connected, Input, Refusal, RequestNumber, Session, Settings,
    Watched, Word,
};
use serde_json::Value;

use crate::happening::{Happening, REQUESTS, mutated};
use crate::people::{cid, general, jane};
use crate::properties::corpus;
use crate::support::{SECOND, Socket};

/// A session that is kept, its twin that is written down and read again before each step, and a shell that checks what they
/// say.
pub(crate) struct Shell {
    kept: Session,
    read_again: Session,
    settings: Settings,
    now: Timestamp,
    identity: String,
    opened: Option<UserKey>,
    opening: bool,
    verifying: bool,
    requests: Vec<RequestNumber>,
    /// The number of the last request that was made by [`Shell::number`].
    last: u64,
    /// The numbers that were answered.
    answered: HashSet<u64>,
    closed: bool,
}

impl Shell {
    pub(crate) fn new(identity: &str, is_small: bool) -> Self {
        let Socket { session, mut settings, now } = Socket::new();
        if is_small {
            (settings.users_per_watch, settings.watched_users) = (1, 1);
        }
        Self {
            kept: session.clone(),
            read_again: session,
            settings,
            now,
            identity: identity.to_owned(),
            opened: None,
            opening: false,
            verifying: false,
            requests: vec![],
            last: 0,
            answered: HashSet::new(),
            closed: false,
        }
    }

    pub(crate) fn open(&mut self) {
        self.happen(Happening::Connect);
        self.happen(Happening::Opened(7));
    }

    fn step(&mut self, input: Input<'_>) {
        let written = postcard::to_stdvec(&self.read_again).unwrap();
        assert!(written.len() < 512, "{} bytes", written.len());
        let mut read_again: Session = postcard::from_bytes(&written).unwrap();
        assert_eq!(read_again, self.kept);

        let actions = self.kept.step(&self.settings, input.clone(), self.now);
        assert_eq!(read_again.step(&self.settings, input, self.now), actions);
        self.read_again = read_again;
        self.check(&actions);
    }

    fn check(&mut self, actions: &[Action]) {
        assert!(!self.closed || actions.is_empty(), "{actions:?}");
        for (n, action) in actions.iter().enumerate() {
            match action {
                Action::Send(bytes) => self.check_sent(&serde_json::from_slice(bytes).unwrap()),
                Action::Open { device, .. } => {
                    assert!(!self.opening && self.opened.is_none(), "a socket has one session");
                    assert!(device.as_ref().is_none_or(|device| (1..=MAX_DEVICE).contains(&device.len())));
                    self.opening = true;
                }
                Action::Verify { .. } => {
                    assert!(!self.verifying && self.opened.is_some());
                    self.verifying = true;
                }
                Action::Renewed(grant) => assert_eq!(Some(&grant.user), self.opened.as_ref()),
                Action::Do { request, command } => {
                    assert!(self.opened.is_some() && !self.requests.contains(request));
                    assert!(!self.answered.contains(&request.0) && request.0 < MAX_NUMBER);
                    self.check_command(*request, command);
                    self.requests.push(*request);
                }
                Action::Goodbye => {
                    assert!(self.opened.is_some());
                    assert!(matches!(actions.get(n + 1), Some(Action::Close { code: 1000, .. })));
                }
                Action::Close { code, reason } => {
                    assert!(n + 1 == actions.len());
                    let is_this = |closing: &Closing| (closing.code(), closing.reason()) == (*code, *reason);
                    assert_eq!(Closing::ALL.iter().filter(|closing| is_this(closing)).count(), 1);
                    self.closed = true;
                }
            }
        }
        let users = (self.kept.user(), self.opened.as_ref().filter(|_| !self.closed));
        assert_eq!(users.0, users.1, "the user never changes");
        assert!(self.requests.len() <= MAX_REQUESTS);
        assert_eq!(self.kept.requests(), if self.closed { 0 } else { self.requests.len() });
        assert_eq!(self.kept.due_at(&self.settings) == Timestamp::MAX, self.closed);
        assert_eq!(self.kept.max_message() == MAX_RESTORE, users.0.is_some());
    }

    fn check_sent(&mut self, message: &Value) {
        let kind = message["type"].as_str().unwrap();
        assert!(ServerKind::ALL.iter().any(|known| known.as_str() == kind), "{message}");
        if kind == "error" {
            assert!(Word::ALL.iter().any(|word| message["code"] == word.as_str()), "{message}");
            assert!(message["message"].as_str().is_some_and(|text| !text.is_empty()));
            if message["id"].is_null() {
                return;
            }
        }
        match (kind, message["id"].as_u64()) {
            ("ping" | "token.expiring", None) => {}
            ("part", Some(number)) => assert!(!self.answered.contains(&number)),
            ("connected" | "ok" | "error" | "pong", Some(number)) => {
                assert!(self.answered.insert(number), "a second answer: {message}");
            }
            _ => panic!("{message}"),
        }
    }

    /// What a client asks for is bounded.
    fn check_command(&self, request: RequestNumber, command: &Command) {
        let Settings { users_per_watch, watched_users, .. } = self.settings;
        match command {
            Command::QueryUsers { query, presence } => {
                let most = if *presence { u64::from(users_per_watch) } else { MAX_USERS };
                assert!((1..=most).contains(&(query.limit as u64)));
            }
            Command::QueryChannels { query, .. } => assert!((1..=MAX_CHANNELS).contains(&(query.limit as u64))),
            Command::AddMembers { members, .. } | Command::RemoveMembers { members, .. } => {
                assert!(members.len() as u64 <= MAX_MEMBERS);
            }
            Command::Restore { watches, known } => {
                assert!(watches.len() as u64 <= MAX_WATCHES && known.len() <= watched_users as usize);
                let (mut numbers, mut users) = (HashSet::new(), HashSet::new());
                for watch in watches {
                    assert!(watch.watch < request && numbers.insert(watch.watch));
                    match &watch.of {
                        Watched::Users(list) => {
                            assert!(list.len() <= users_per_watch as usize);
                            users.extend(list);
                        }
                        Watched::Channels(channels) => assert!(channels.len() as u64 <= MAX_CHANNELS),
                    }
                }
                assert!(users.len() <= watched_users as usize);
            }
            Command::SetUser(_) | Command::WatchChannel { .. } | Command::Unwatch { .. } => {}
        }
    }

    pub(crate) fn text(&mut self, text: &[u8]) {
        self.step(Input::Text(text));
    }

    /// Makes a request, with a number that is greater than those before.
    fn send(&mut self, message: &str) {
        self.last += 1_000_000;
        let mut message: Value = serde_json::from_str(message).unwrap();
        message["id"] = self.last.into();
        self.text(message.to_string().as_bytes());
    }

    pub(crate) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Seed(seed) => {
                let message = seed.get(corpus()).1.clone();
                self.text(&message);
            }
            Happening::Mutated { seed, bytes, cut } => {
                let message = mutated(&seed.get(corpus()).1, &bytes, cut);
                self.text(&message);
            }
            Happening::Bytes(bytes) => self.text(&bytes),
            Happening::Connect => self.send(r#"{"type":"connect","token":"a.b.c"}"#),
            Happening::Token => self.send(r#"{"type":"token","token":"d.e.f"}"#),
            Happening::Request(which) => self.send(REQUESTS[which.index(REQUESTS.len())]),
            Happening::Ping => self.send(r#"{"type":"ping"}"#),
            Happening::Pong => self.text(br#"{"type":"pong"}"#),
            Happening::Close => self.text(br#"{"type":"close"}"#),
            Happening::NoMessage => self.step(Input::NoMessage),
            Happening::Binary => self.step(Input::Binary),
            Happening::Opened(how) => self.opened(how),
            Happening::Verified(how) => {
                self.verifying = false;
                let verified = match how % 5 {
                    0 => Err(Refusal::Token(TokenError::Expired)),
                    1 => Err(Refusal::Unavailable),
                    2 => Ok(self.grant("somebody else", 600)),
                    how => Ok(self.grant(&self.identity, if how == 3 { 20 } else { 600 })),
                };
                self.step(Input::Verified(verified));
            }
            Happening::Done { request, how } => {
                if !self.requests.is_empty() {
                    let request = self.requests.swap_remove(request.index(self.requests.len()));
                    self.done(request, how);
                }
            }
            Happening::Stray(number) => {
                let request = RequestNumber(number);
                if !self.requests.contains(&request) {
                    let answered = self.answered.len();
                    self.done(request, 0);
                    self.done(request, 7);
                    assert_eq!(self.answered.len(), answered);
                }
            }
            Happening::Heard => {
                self.kept.hear(self.now);
                self.read_again.hear(self.now);
            }
            Happening::Wait(duration) => self.now = self.now.plus(duration),
            Happening::Back(duration) => {
                let back = i64::try_from(duration.as_millis()).unwrap();
                self.now = Timestamp::from_millis(self.now.as_millis() - back);
            }
            Happening::Tick => self.tick(),
            Happening::End(how) => {
                let causes = [
                    Cause::Superseded,
                    Cause::KeyDeleted,
                    Cause::ServiceDeleted,
                    Cause::UserDeleted,
                    Cause::Doubtful,
                    Cause::Draining,
                ];
                self.step(Input::End(causes[usize::from(how) % causes.len()]));
                assert!(self.closed);
            }
        }
    }

    fn grant(&self, identity: &str, seconds: u32) -> Grant {
        let Socket { session, settings, .. } = Socket::new();
        Socket { session, settings, now: self.now }.grant(identity, seconds * SECOND)
    }

    fn opened(&mut self, how: u8) {
        let result = match how % 8 {
            0 => Err(Refusal::Limit),
            1 => Err(Refusal::Token(TokenError::Malformed)),
            how => {
                let mut connected: Connected<'_> = Socket::new().connected(SECOND);
                connected.opened.grant = self.grant(&self.identity, if how == 2 { 20 } else { 600 });
                Ok(connected)
            }
        };
        if std::mem::take(&mut self.opening) && !self.closed {
            self.opened = result.as_ref().ok().map(|connected| connected.opened.grant.user.clone());
        }
        self.step(Input::Opened(result));
    }

    fn done(&mut self, request: RequestNumber, how: u8) {
        let gone = cid("a:c");
        let result = match how % 10 {
            0 => Err(CommandError::Unavailable),
            1 => Err(CommandError::TooManyUsers { limit: 10 }),
            2 => Err(CommandError::LimitReached { what: "watches", limit: 7 }),
            3 => Ok(Answer::User(jane("x", true, "10:00:00", 7))),
            4 => Ok(Answer::Unwatched),
            5 => Ok(Answer::Members(general())),
            6 => Ok(Answer::Channel { channel: general(), created: true }),
            7 => Ok(Answer::Restored { gone: vec![&gone] }),
            8 => Ok(Answer::Channels { channels: vec![general(); 3], cursor: None, index: None }),
            _ => Ok(Answer::Users { count: 7, cursor: Some("c".to_owned()), index: Some("id") }),
        };
        self.step(Input::Done { request, result, looked_at: usize::from(how) * 50 });
    }

    fn tick(&mut self) {
        let due_at = self.kept.due_at(&self.settings);
        self.step(Input::Tick);
        if due_at <= self.now && !self.closed {
            assert!(self.kept.due_at(&self.settings) > due_at, "a tick changes what is due");
        }
    }

    /// Nothing comes any more, not even an answer.
    pub(crate) fn fall_silent(&mut self) {
        // Only a step notices that the clock went back.
        self.tick();
        let silent_since = self.now;
        while !self.closed {
            let due_at = self.kept.due_at(&self.settings);
            self.now = due_at.max(self.now);
            self.tick();
        }
        let timing = self.settings.timing;
        let bound = OPEN_WITHIN.max(REQUEST_WITHIN + timing.answer).max(timing.silence());
        assert!(self.now.since(silent_since) <= bound, "{:?}", self.now.since(silent_since));
    }
}
