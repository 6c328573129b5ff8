//! What a session says, done: its requests, its watches, its end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use reachability_domain::directory::access_token::Grant;
use reachability_domain::metrics::Counter;
use reachability_domain::presence::event::EndReason;
use reachability_domain::presence::map::{FoundMap, UserMap};
use reachability_domain::sid::{Sid, UserSid};
use reachability_functions::client::{Client, MAX_WATCHED_USERS};
use reachability_gateway::twilsock::settings::MAX_BATCH;
use reachability_gateway::twilsock::{Action, Asked, Input, Opened, Refusal, RequestNumber, Response};

use super::{Driver, Stage};
use crate::sockets::frames::Frame;
use crate::sockets::hub::Watched;
use crate::sockets::open::{Joined, open, renew};
use crate::sockets::requests;

/// How many maps a socket may watch: the client's own two, those of as many users as it is told that it may watch, and a batch
/// more: for a new one, clients begin that watch before they end their oldest, and take a failure for final.
const MAX_WATCHES: usize = MAX_WATCHED_USERS + 2 + MAX_BATCH;

/// What there is of an open session besides its protocol.
pub(super) struct OpenSession {
    pub(super) joined: Joined,
    client: Client,
    /// What the socket watches.
    watches: Vec<UserSid>,
}

/// Something that takes time.
pub(super) type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What came of it.
pub(super) enum Done {
    Opened(Result<(Opened, Joined), Refusal>),
    Verified(Result<Grant, Refusal>),
    Answered(RequestNumber, Response),
    /// With those watches that the request began.
    Subscribed(RequestNumber, Vec<(Asked, FoundMap)>, Vec<UserSid>),
}

impl Driver {
    pub(super) fn step(&mut self, input: Input<'_>) {
        let now = self.sockets.now();
        for action in self.session.step(&self.sockets.settings, input, now) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        if self.stage != Stage::Open {
            return;
        }
        let sockets = &self.sockets;
        match action {
            Action::Send(payload) => {
                sockets.metrics.add(Counter::FramesSent);
                self.wire.send(&Frame::message(self.wire.is_text(), &payload));
            }
            Action::Open { token, continuation_token } => {
                let opening = open(sockets.clone(), self.wire.clone(), token, continuation_token);
                self.work.push(Box::pin(async move { Done::Opened(opening.await) }));
            }
            Action::Verify { token } => {
                let Some(open) = &self.joined else { return };
                let (sockets, known) = (sockets.clone(), open.joined.known.clone());
                self.work.push(Box::pin(async move { Done::Verified(renew(&sockets, &known, &token).await) }));
            }
            Action::Renewed(grant) => {
                if let Some(open) = &mut self.joined {
                    open.client = Client::from(&grant);
                }
            }
            Action::Request { request, http } => {
                if let Some(open) = &self.joined {
                    let answering = requests::answer(sockets.router.clone(), open.client.clone(), http);
                    self.work.push(Box::pin(async move { Done::Answered(request, answering.await) }));
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
        let Some(open) = &mut self.joined else { return };
        let service = open.client.user.service;
        let (mut asked, mut begun) = (Vec::with_capacity(maps.len()), vec![]);
        for map in maps {
            let user = watched_user(&map.object_sid);
            let is_known = user.is_none_or(|user| open.watches.contains(&user));
            let has_room = is_known || open.watches.len() < MAX_WATCHES;
            if let Some(user) = user.filter(|_| !is_known && has_room) {
                self.sockets.hub.watch(Watched { service, user }, &self.wire);
                self.sockets.metrics.add(Counter::WatchesBegun);
                open.watches.push(user);
                begun.push(user);
            }
            asked.push((map, has_room));
        }
        let reading = requests::read(self.sockets.app.clone(), open.client.clone(), asked);
        self.work.push(Box::pin(async move { Done::Subscribed(request, reading.await, begun) }));
    }

    fn unwatch(&mut self, user: UserSid) {
        let Some(open) = &mut self.joined else { return };
        let Some(place) = open.watches.iter().position(|watched| *watched == user) else { return };
        open.watches.swap_remove(place);
        self.sockets.hub.unwatch(Watched { service: open.client.user.service, user }, &self.wire);
        self.sockets.metrics.add(Counter::WatchesEnded);
    }

    /// Goes on with what takes time. Returns whether anything was done.
    pub(super) fn work(&mut self, context: &mut Context<'_>) -> bool {
        let mut done = vec![];
        self.work.retain_mut(|work| match work.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(result) => {
                done.push(result);
                false
            }
        });
        if self.work.is_empty() {
            self.work = vec![];
        }
        let is_any = !done.is_empty();
        done.into_iter().for_each(|done| self.done(done));
        is_any
    }

    fn done(&mut self, done: Done) {
        if self.stage != Stage::Open {
            return;
        }
        match done {
            Done::Opened(Ok((opened, joined))) => {
                self.place.know();
                let client = Client::from(&opened.grant);
                self.wire.belongs_to(&client.user.identity);
                self.joined = Some(Box::new(OpenSession { joined, client, watches: vec![] }));
                self.step(Input::Opened(Ok(opened)));
            }
            Done::Opened(Err(refusal)) => self.step(Input::Opened(Err(refusal))),
            Done::Verified(result) => self.step(Input::Verified(result)),
            Done::Answered(request, response) => self.step(Input::Answered { request, response }),
            Done::Subscribed(request, maps, begun) => {
                // What cannot be read is not watched either.
                let wanted = |user: &UserSid| {
                    maps.iter().any(|(_, map)| matches!(map, FoundMap::User(view) if view.user.sid == *user))
                };
                for user in begun.iter().filter(|user| !wanted(user)) {
                    self.unwatch(*user);
                }
                self.step(Input::Subscribed { request, maps });
            }
        }
    }

    /// Ends the session's connection and its watches, for this reason unless there is another one already.
    pub(super) fn leave(&mut self, reason: EndReason) {
        self.work.clear();
        let Some(mut open) = self.joined.take() else { return };
        for user in &open.watches {
            self.sockets.hub.unwatch(Watched { service: open.client.user.service, user: *user }, &self.wire);
            self.sockets.metrics.add(Counter::WatchesEnded);
        }
        if open.joined.reason == Some(EndReason::ConnectionLost) {
            open.joined.reason = Some(reason);
        }
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
