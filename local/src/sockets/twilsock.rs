//! Twilsock on a socket: does what its session says.

use reachability_domain::directory::access_token::Grant;
use reachability_domain::metrics::Counter;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::event::EndReason;
use reachability_domain::presence::map::{FoundMap, UserMap};
use reachability_domain::sid::{Sid, UserSid};
use reachability_domain::time::Timestamp;
use reachability_functions::client::{Client, MAX_WATCHED_USERS};
use reachability_gateway::twilsock::settings::{MAX_BATCH, MAX_FRAME, MAX_REQUESTS};
use reachability_gateway::twilsock::{Action, Asked, Input, Opened, Refusal, RequestNumber, Response, Session};

use super::Sockets;
use super::driver::Driver;
use super::frames::Frame;
use super::hub::Watched;
use super::open::{Joined, Opening};
use super::protocol::{Event, Protocol};
use super::requests;

/// How many maps a socket may watch: the client's own two, those of as many users as it is told that it may watch, and a batch
/// more: for a new one, clients begin that watch before they end their oldest, and take a failure for final.
const MAX_WATCHES: usize = MAX_WATCHED_USERS + 2 + MAX_BATCH;

/// What there is of an open session.
pub(super) struct Open {
    client: Client,
    /// What the socket watches.
    watches: Vec<UserSid>,
}

/// What came of something that takes time.
pub(super) enum Done {
    Opened(Result<(Opened, Joined), Refusal>),
    Verified(Result<Grant, Refusal>),
    Answered(RequestNumber, Response),
    /// With those watches that the request began.
    Subscribed(RequestNumber, Vec<(Asked, FoundMap)>, Vec<UserSid>),
}

impl Protocol for Session {
    type Open = Open;
    type Done = Done;

    fn new(now: Timestamp) -> Self {
        Self::new(now)
    }

    fn due_at(&self, sockets: &Sockets) -> Timestamp {
        self.due_at(&sockets.settings.twilsock)
    }

    fn expires_at(&self) -> Timestamp {
        self.expires_at()
    }

    fn is_busy(&self) -> bool {
        self.requests() >= MAX_REQUESTS
    }

    fn max_message(&self) -> usize {
        MAX_FRAME
    }

    fn hear(&mut self, now: Timestamp) {
        self.hear(now);
    }

    fn take(driver: &mut Driver<Self>, event: Event<'_>) {
        driver.step(match event {
            Event::Message { is_text, payload } => {
                driver.wire.set_text(is_text);
                Input::Frame(payload)
            }
            Event::NoMessage => Input::NoMessage,
            Event::Violation(violation) => return driver.violated(violation),
            Event::Tick => Input::Tick,
            Event::End(cause) => Input::End(cause),
        });
    }

    fn done(driver: &mut Driver<Self>, done: Done) {
        match done {
            Done::Opened(Ok((opened, joined))) => {
                driver.opened(joined, Open { client: Client::from(&opened.grant), watches: vec![] });
                driver.step(Input::Opened(Ok(opened)));
            }
            Done::Opened(Err(refusal)) => driver.step(Input::Opened(Err(refusal))),
            Done::Verified(result) => driver.step(Input::Verified(result)),
            Done::Answered(request, response) => driver.step(Input::Answered { request, response }),
            Done::Subscribed(request, maps, begun) => {
                // What cannot be read is not watched either.
                let wanted = |user: &UserSid| {
                    maps.iter().any(|(_, map)| matches!(map, FoundMap::User(view) if view.user.sid == *user))
                };
                for user in begun.iter().filter(|user| !wanted(user)) {
                    driver.unwatch(*user);
                }
                driver.step(Input::Subscribed { request, maps });
            }
        }
    }

    fn unwatch_all(driver: &Driver<Self>, open: Open) {
        for user in open.watches {
            driver.sockets.hub.unwatch(Watched { service: open.client.user.service, user }, &driver.wire);
            driver.sockets.metrics.add(Counter::WatchesEnded);
        }
    }
}

impl Driver<Session> {
    fn step(&mut self, input: Input<'_>) {
        let now = self.sockets.now();
        for action in self.session.step(&self.sockets.settings.twilsock, input, now) {
            if self.is_open() {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(payload) => self.send(&payload),
            Action::Open { token, continuation_token: continues, device } => {
                let opening = self.opening(Opening { token, continues, disclose: Disclose::default(), device });
                self.begin(async move { Done::Opened(opening.await) });
            }
            Action::Verify { token } => {
                if let Some(verifying) = self.verifying(token) {
                    self.begin(async move { Done::Verified(verifying.await) });
                }
            }
            Action::Renewed(grant) => {
                if let Some(session) = &mut self.open {
                    session.open.client = Client::from(&grant);
                }
            }
            Action::Request { request, http } => {
                if let Some(session) = &self.open {
                    let answering = requests::answer(self.sockets.router.clone(), session.open.client.clone(), http);
                    self.begin(async move { Done::Answered(request, answering.await) });
                }
            }
            Action::Subscribe { request, maps } => self.subscribe(request, maps),
            Action::Unsubscribe { maps } => {
                for map in maps {
                    if let Some(user) = watched_user(&map) {
                        self.unwatch(user);
                    }
                }
            }
            Action::Goodbye => self.leave(EndReason::ClientClosed),
            Action::Close { code, reason } => {
                // 1001: the client does not answer, or the server stops.
                self.leave(if code == 1001 { EndReason::ConnectionLost } else { EndReason::ServerClosed });
                self.close(&Frame::close(code, reason));
            }
        }
    }

    /// Watches first, then reads: no change in between is missed.
    fn subscribe(&mut self, request: RequestNumber, maps: Vec<Asked>) {
        let Some(session) = &mut self.open else { return };
        let Open { client, watches } = &mut session.open;
        let service = client.user.service;
        let (mut asked, mut begun) = (Vec::with_capacity(maps.len()), vec![]);
        for map in maps {
            let user = watched_user(&map.object_sid);
            let is_known = user.is_none_or(|user| watches.contains(&user));
            let mut is_watched = is_known;
            if let Some(user) = user.filter(|_| !is_known && watches.len() < MAX_WATCHES) {
                is_watched = self.sockets.hub.watch(Watched { service, user }, &self.wire);
                if is_watched {
                    self.sockets.metrics.add(Counter::WatchesBegun);
                    watches.push(user);
                    begun.push(user);
                }
            }
            asked.push((map, is_watched));
        }
        let reading = requests::read(self.sockets.app.clone(), client.clone(), asked);
        self.begin(async move { Done::Subscribed(request, reading.await, begun) });
    }

    fn unwatch(&mut self, user: UserSid) {
        let Some(session) = &mut self.open else { return };
        let Open { client, watches } = &mut session.open;
        let Some(place) = watches.iter().position(|watched| *watched == user) else { return };
        watches.swap_remove(place);
        self.sockets.hub.unwatch(Watched { service: client.user.service, user }, &self.wire);
        self.sockets.metrics.add(Counter::WatchesEnded);
    }
}

/// The user whose map has this name. A name that means the client's own conversations is taken for that of a user who does not
/// exist.
fn watched_user(map: &str) -> Option<UserSid> {
    match UserMap::asked_for(map, UserSid::from_bits(0))? {
        UserMap::Info(user) => Some(user),
        UserMap::Conversations(_) => None,
    }
}
