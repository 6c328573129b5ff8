//! A shell that gives a session whatever may happen to one, and checks what it says.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use reachability_domain::directory::access_token::{Grant, TokenError};
use reachability_domain::identity::UserKey;
use reachability_domain::presence::map::FoundMap;
use reachability_domain::time::Timestamp;
use reachability_gateway::twilsock::settings::{MAX_REQUESTS, OPEN_WITHIN, REQUEST_WITHIN};
use reachability_gateway::twilsock::{
    Action, Asked, Cause, Expiry, Input, Opened, Refusal, RequestNumber, Response, Session, Settings,
};
use serde_json::json;

use crate::properties::corpus;
use crate::support::{SECOND, Socket, bare, init, message, read, update, view};

/// Something that happens to a session.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Seed(Index),
    Mutated { seed: Index, bytes: Vec<(Index, u8)>, cut: Option<Index> },
    Bytes(Vec<u8>),
    Init,
    Update,
    Request { long_id: bool },
    Subscribe(Vec<(u8, Option<u64>)>),
    Acknowledgement,
    NoMessage,
    Close,
    Opened(u8),
    Verified(u8),
    Answered { request: Index, status: u16 },
    Stray(u32),
    Wait(Duration),
    Tick,
    Back(Duration),
    End(u8),
}

pub(crate) fn happening() -> impl Strategy<Value = Happening> {
    let millis = |most: u64| (0..most).prop_map(Duration::from_millis);
    prop_oneof![
        4 => any::<Index>().prop_map(Happening::Seed),
        2 => (any::<Index>(), vec(any::<(Index, u8)>(), 0..4), option::of(any::<Index>()))
            .prop_map(|(seed, bytes, cut)| Happening::Mutated { seed, bytes, cut }),
        1 => vec(any::<u8>(), 0..80).prop_map(Happening::Bytes),
        2 => Just(Happening::Init),
        3 => Just(Happening::Update),
        9 => any::<bool>().prop_map(|long_id| Happening::Request { long_id }),
        5 => vec(any::<(u8, Option<u64>)>(), 0..6).prop_map(Happening::Subscribe),
        2 => Just(Happening::Acknowledgement),
        2 => Just(Happening::NoMessage),
        1 => Just(Happening::Close),
        5 => any::<u8>().prop_map(Happening::Opened),
        3 => any::<u8>().prop_map(Happening::Verified),
        9 => (any::<Index>(), prop_oneof![Just(200), Just(204), Just(404), any::<u16>()])
            .prop_map(|(request, status)| Happening::Answered { request, status }),
        1 => any::<u32>().prop_map(Happening::Stray),
        4 => prop_oneof![millis(3_000), millis(40_000)].prop_map(Happening::Wait),
        5 => Just(Happening::Tick),
        1 => millis(100_000).prop_map(Happening::Back),
        1 => any::<u8>().prop_map(Happening::End),
    ]
}

/// A session that is kept, its twin that is written down and read again before each step, and a shell that checks what they
/// say.
pub(crate) struct Shell {
    kept: Session,
    read_again: Session,
    settings: Settings,
    now: Timestamp,
    identity: String,
    opened: Option<UserKey>,
    /// How many times it was asked to open a session.
    opens: usize,
    opening: bool,
    verifying: bool,
    requests: Vec<(RequestNumber, Option<Vec<Asked>>)>,
    closed: bool,
}

impl Shell {
    pub(crate) fn new(identity: &str, expiry: Expiry) -> Self {
        let Socket { session, settings, now } = Socket::new();
        Self {
            kept: session.clone(),
            read_again: session,
            settings: Settings { expiry, ..settings },
            now,
            identity: identity.to_owned(),
            opened: None,
            opens: 0,
            opening: false,
            verifying: false,
            requests: vec![],
            closed: false,
        }
    }

    fn step(&mut self, input: Input<'_>) {
        let written = postcard::to_stdvec(&self.read_again).unwrap();
        assert!(written.len() < 1024, "{} bytes", written.len());
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
            let is_last = n + 1 == actions.len();
            match action {
                Action::Send(frame) => {
                    let sent = read(frame);
                    assert!(sent.header["id"].as_str().is_some_and(|id| !id.is_empty()));
                    match sent.header["method"].as_str().unwrap() {
                        "reply" | "close" => assert!(sent.header["status"]["code"].is_u64()),
                        "notification" => assert!(sent.payload["event_type"].is_string()),
                        "ping" | "client_update" => {}
                        method => panic!("{method}"),
                    }
                }
                Action::Open { .. } => {
                    self.opens += 1;
                    self.opening = true;
                    assert_eq!(self.opens, 1, "a socket has one session");
                }
                Action::Verify { .. } => {
                    assert!(!self.verifying && self.opened.is_some());
                    self.verifying = true;
                }
                Action::Renewed(grant) => assert_eq!(Some(&grant.user), self.opened.as_ref()),
                Action::Request { request, http } => {
                    assert!(self.opened.is_some() && http.path.starts_with('/') && http.path.is_ascii());
                    self.requests.push((*request, None));
                }
                Action::Subscribe { request, maps } => {
                    assert!(self.opened.is_some());
                    self.requests.push((*request, Some(maps.clone())));
                }
                Action::Unsubscribe { .. } => assert!(self.opened.is_some()),
                Action::Goodbye => {
                    assert!(self.opened.is_some());
                    assert!(matches!(actions.get(n + 1), Some(Action::Close { .. })));
                }
                Action::Close { code, reason } => {
                    assert!(is_last && (1000..=1015).contains(code) && reason.len() <= 123);
                    self.closed = true;
                }
            }
        }
        let users = (self.kept.user(), self.opened.as_ref().filter(|_| !self.closed));
        assert_eq!(users.0, users.1, "the user never changes");
        assert!(self.requests.len() <= MAX_REQUESTS);
        assert_eq!(self.kept.requests(), if self.closed { 0 } else { self.requests.len() });
        assert_eq!(self.kept.due_at(&self.settings) == Timestamp::MAX, self.closed);
    }

    pub(crate) fn frame(&mut self, frame: &[u8]) {
        self.step(Input::Frame(frame));
    }

    pub(crate) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Seed(seed) => {
                let frame = seed.get(corpus()).1.clone();
                self.frame(&frame);
            }
            Happening::Mutated { seed, bytes, cut } => {
                let mut frame = seed.get(corpus()).1.clone();
                for (at, byte) in bytes {
                    if !frame.is_empty() {
                        let at = at.index(frame.len());
                        frame[at] = byte;
                    }
                }
                frame.truncate(cut.map_or(frame.len(), |cut| cut.index(frame.len() + 1)));
                self.frame(&frame);
            }
            Happening::Bytes(bytes) => self.frame(&bytes),
            Happening::Init => self.frame(&init("TM1")),
            Happening::Update => self.frame(&update(&"u".repeat(64))),
            Happening::Request { long_id } => {
                let id = if long_id { "x".repeat(64) } else { "TM1".to_owned() };
                self.frame(&message(&id, "GET", "/v3/Maps/US1.info", ""));
            }
            Happening::Subscribe(maps) => {
                let requests = maps.into_iter().map(
                    |(n, last)| json!({"object_sid": format!("MP{n}"), "object_type": "map", "last_event_id": last}),
                );
                let body = json!({
                    "action": "establish", "correlation_id": u64::MAX, "requests": requests.collect::<Vec<_>>(),
                });
                self.frame(&message(&"s".repeat(64), "POST", "/v4/Subscriptions", &body.to_string()));
            }
            Happening::Acknowledgement => self.frame(&bare("reply", "TM1")),
            Happening::NoMessage => self.step(Input::NoMessage),
            Happening::Close => self.frame(&bare("close", "TM1")),
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
            Happening::Answered { request, status } => {
                if !self.requests.is_empty() {
                    let (request, maps) = self.requests.swap_remove(request.index(self.requests.len()));
                    self.answer(request, maps, status);
                }
            }
            Happening::Stray(number) => {
                if self.requests.iter().all(|(request, _)| request.0 != number) {
                    self.answer(RequestNumber(number), None, 200);
                    self.answer(RequestNumber(number), Some(vec![]), 200);
                }
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
                let grant = self.grant(&self.identity, if how == 2 { 20 } else { 600 });
                Ok(Opened { grant, continuation_token: "CT-1".to_owned(), reissued: how == 3 })
            }
        };
        if std::mem::take(&mut self.opening) && !self.closed {
            self.opened = result.as_ref().ok().map(|opened| opened.grant.user.clone());
        }
        self.step(Input::Opened(result));
    }

    fn answer(&mut self, request: RequestNumber, maps: Option<Vec<Asked>>, status: u16) {
        let input = match maps {
            None => {
                let content_type = Some("application/json".to_owned());
                let body = json!({"message": "ü", "n": status}).to_string();
                let body = if status == 204 { String::new() } else { body };
                Input::Answered { request, response: Response { status, content_type, body: body.into() } }
            }
            Some(maps) => {
                let found = |(n, asked)| {
                    let found = match (n + usize::from(status)) % 7 {
                        0 => FoundMap::Missing,
                        1 => FoundMap::TooMany,
                        2 => FoundMap::Conversations,
                        3 if status > 1_000 => FoundMap::Unavailable,
                        _ => FoundMap::User(Box::new(view(n as u128, 7))),
                    };
                    (asked, found)
                };
                Input::Subscribed { request, maps: maps.into_iter().enumerate().map(found).collect() }
            }
        };
        self.step(input);
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
        let bound = OPEN_WITHIN.max(REQUEST_WITHIN + self.settings.timing.answer).max(self.settings.timing.silence());
        assert!(self.now.since(silent_since) <= bound, "{:?}", self.now.since(silent_since));
    }
}
