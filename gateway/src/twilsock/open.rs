//! A session that is open.

use reachability_domain::allowance::Allowance;
use reachability_domain::directory::access_token::{Grant, TokenError};
use reachability_domain::identity::UserKey;
use reachability_domain::presence::map::FoundMap;
use reachability_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::session::Refusal;
use crate::session::life::Life;
use crate::session::token::Token;
use crate::twilsock::action::{Action, Asked};
use crate::twilsock::codec::{Header, Packet};
use crate::twilsock::input::{RequestNumber, Response};
use crate::twilsock::packet::{self, Status};
use crate::twilsock::session::{Ids, reply};
use crate::twilsock::settings::{MAX_REQUESTS, REQUESTS, Settings};
use crate::twilsock::subscriptions::{self, Subscriptions};
use crate::twilsock::upstream::{self, problem};

/// A session that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) user: UserKey,
    token: Token,
    life: Life,
    /// The id of the `update` whose token is being verified.
    update: Option<String>,
    requests: Vec<Request>,
    next_request: u32,
    allowance: Allowance,
}

/// A request that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Request {
    number: RequestNumber,
    /// The id of its packet.
    id: String,
    /// Of a request for subscriptions: what names it in the notifications that answer it.
    correlation_id: Option<u64>,
}

impl Open {
    pub(crate) fn new(grant: Grant, now: Timestamp) -> Self {
        Self {
            user: grant.user,
            token: Token::new(grant.expires_at),
            life: Life::new(now),
            update: None,
            requests: vec![],
            next_request: 0,
            allowance: Allowance::new(now),
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn not_after(&mut self, now: Timestamp) {
        self.life.not_after(now);
    }

    /// A packet of the client other than `close`.
    pub(crate) fn packet(
        &mut self,
        packet: Packet<'_>,
        settings: &Settings,
        ids: &mut Ids,
        now: Timestamp,
    ) -> Vec<Action> {
        self.hear(now);
        let id = packet.header.id.as_ref();
        match packet.header.method.as_ref() {
            "reply" => vec![],
            "message" => self.message(packet, settings, ids, now),
            "update" => self.update(packet.header, now),
            // Nothing here depends on what these say.
            "ping" | "telemetry.v1" | "put_notification_ctx" | "delete_notification_ctx" => {
                vec![reply(id, &Status::OK)]
            }
            "init" => vec![reply(id, &Status::bad_request("The session is open already"))],
            _ => vec![reply(id, &Status::bad_request("Unknown method"))],
        }
    }

    fn update(&mut self, header: Header<'_>, now: Timestamp) -> Vec<Action> {
        if self.update.is_some() || !self.allows(now) {
            return vec![reply(&header.id, &Status::too_many_requests())];
        }
        let Some(token) = header.token else {
            return vec![reply(&header.id, &Status::unauthorized(TokenError::Malformed))];
        };
        self.update = Some(header.id.into_owned());
        vec![Action::Verify { token }]
    }

    pub(crate) fn verified(&mut self, result: Result<Grant, Refusal>, ids: &mut Ids, now: Timestamp) -> Vec<Action> {
        let Some(id) = self.update.take() else { return vec![] };
        match result {
            Ok(grant) if grant.user == self.user => {
                self.token = Token::new(grant.expires_at);
                let mut actions = vec![Action::Renewed(grant), reply(&id, &Status::OK)];
                actions.extend(self.tell_expiry(ids, now));
                actions
            }
            Ok(_) => vec![reply(&id, &Status::other_user())],
            Err(refusal) => vec![reply(&id, &refusal.into())],
        }
    }

    fn message(&mut self, packet: Packet<'_>, settings: &Settings, ids: &mut Ids, now: Timestamp) -> Vec<Action> {
        let id = packet.header.id.into_owned();
        let answer = |response| vec![Action::Send(packet::answer(&id, &response))];
        if self.requests.len() >= MAX_REQUESTS || !self.allows(now) {
            return answer(problem(429, 20429, "Too Many Requests"));
        }
        let Some(request) = packet.header.http_request else {
            return vec![reply(&id, &Status::bad_request("http_request is missing"))];
        };
        let http = match upstream::read(request, packet.header.payload_type, packet.payload) {
            Ok(http) => http,
            Err(response) => return answer(response),
        };
        if !subscriptions::is_for(&http) {
            let request = self.begin(id, None, now);
            return vec![Action::Request { request, http }];
        }
        match Subscriptions::read(&http.body) {
            Err(response) => answer(response),
            Ok(Subscriptions::Cancel { correlation_id, objects }) => {
                let canceled = subscriptions::canceled(correlation_id, &objects, ids);
                let maps = objects.into_iter().map(|object| object.object_sid).collect();
                let mut actions = vec![Action::Unsubscribe { maps }];
                actions.extend(answer(subscriptions::accepted(settings)));
                actions.extend(canceled);
                actions
            }
            Ok(Subscriptions::Establish { correlation_id, maps, others }) => {
                let mut actions = subscriptions::not_there(correlation_id, &others, ids);
                let request = self.begin(id, Some(correlation_id), now);
                actions.push(Action::Subscribe { request, maps });
                actions
            }
        }
    }

    /// Whether the client may have one more request or token handled.
    fn allows(&mut self, now: Timestamp) -> bool {
        self.allowance.take(REQUESTS, now)
    }

    fn begin(&mut self, id: String, correlation_id: Option<u64>, now: Timestamp) -> RequestNumber {
        let number = RequestNumber(self.next_request);
        self.next_request = self.next_request.wrapping_add(1);
        self.requests.push(Request { number, id, correlation_id });
        if self.requests.len() >= MAX_REQUESTS {
            self.life.fill(now);
        }
        number
    }

    /// Ends a request: the id of its packet, and what names it in notifications. `None` if it is not under way.
    fn finish(&mut self, number: RequestNumber, now: Timestamp) -> Option<(String, Option<u64>)> {
        let at = self.requests.iter().position(|request| request.number == number)?;
        let Request { id, correlation_id, .. } = self.requests.swap_remove(at);
        if self.requests.is_empty() {
            // An idle session holds no memory for requests.
            self.requests = vec![];
        }
        self.life.make_room(now);
        Some((id, correlation_id))
    }

    pub(crate) fn answered(&mut self, request: RequestNumber, response: &Response, now: Timestamp) -> Vec<Action> {
        let finished = self.finish(request, now);
        finished.map(|(id, _)| vec![Action::Send(packet::answer(&id, response))]).unwrap_or_default()
    }

    pub(crate) fn subscribed(
        &mut self,
        request: RequestNumber,
        maps: &[(Asked, FoundMap)],
        settings: &Settings,
        ids: &mut Ids,
        now: Timestamp,
    ) -> Vec<Action> {
        let Some((id, correlation_id)) = self.finish(request, now) else { return vec![] };
        // A client takes a failure for final. So it is told to ask for all again, if only one cannot be read.
        if maps.iter().any(|(_, found)| *found == FoundMap::Unavailable) {
            let response = problem(503, 20503, "Service unavailable. Please try again");
            return vec![Action::Send(packet::answer(&id, &response))];
        }
        let mut actions = vec![Action::Send(packet::answer(&id, &subscriptions::accepted(settings)))];
        actions.extend(subscriptions::established(correlation_id.unwrap_or_default(), maps, ids, now));
        actions
    }

    /// Whether the token has expired, and none is coming in its place.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.ends_at() <= now
    }

    /// When it expires, or a little later if another is coming in its place.
    pub(crate) fn ends_at(&self) -> Timestamp {
        self.token.ends_at(self.update.is_some())
    }

    /// The client is alive.
    pub(crate) fn hear(&mut self, now: Timestamp) {
        self.life.hear(now);
    }

    /// Whether nothing came since a ping, for too long.
    pub(crate) fn is_silent(&self, settings: &Settings, now: Timestamp) -> bool {
        self.life.is_silent(&settings.timing, now)
    }

    /// Tells the client once that its token expires soon.
    pub(crate) fn tell_expiry(&mut self, ids: &mut Ids, now: Timestamp) -> Option<Action> {
        self.token.tells(now).then(|| Action::Send(packet::token_about_to_expire(&ids.next())))
    }

    /// What is due, while the token has not expired and the client is not silent.
    pub(crate) fn tick(&mut self, settings: &Settings, ids: &mut Ids, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::from_iter(self.tell_expiry(ids, now));
        if self.life.pings(&settings.timing, now) {
            actions.push(Action::Send(packet::ping(&ids.next())));
        }
        actions
    }

    pub(crate) fn due_at(&self, settings: &Settings) -> Timestamp {
        self.life.due_at(&settings.timing).min(self.token.due_at(self.update.is_some()))
    }
}
