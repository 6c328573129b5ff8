//! A session that is open.

use bytes::Bytes;
use reachability_domain::allowance::Allowance;
use reachability_domain::directory::access_token::Grant;
use reachability_domain::identity::UserKey;
use reachability_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::json::action::Action;
use crate::json::answer::{Answer, CommandError};
use crate::json::encode;
use crate::json::error::Failure;
use crate::json::fields::Fields;
use crate::json::input::RequestNumber;
use crate::json::kinds::ClientKind;
use crate::json::read;
use crate::json::settings::{LOOKED_AT_PER_REQUEST, MAX_REQUESTS, REQUESTS, Settings};
use crate::session::Refusal;
use crate::session::life::Life;
use crate::session::token::Token;

/// A session that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) user: UserKey,
    token: Token,
    life: Life,
    /// The request whose token is being verified.
    renewal: Option<RequestNumber>,
    /// Those that are under way.
    requests: Vec<RequestNumber>,
    allowance: Allowance,
}

impl Open {
    pub(crate) fn new(grant: Grant, now: Timestamp) -> Self {
        Self {
            user: grant.user,
            token: Token::new(grant.expires_at),
            life: Life::new(now),
            renewal: None,
            requests: vec![],
            allowance: Allowance::new(now),
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn not_after(&mut self, now: Timestamp) {
        self.life.not_after(now);
    }

    /// A request of the client other than `connect`.
    ///
    /// # Errors
    /// What the client is told instead of an answer.
    pub(crate) fn request(
        &mut self,
        kind: ClientKind,
        request: RequestNumber,
        fields: &Fields<'_>,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Action, Failure> {
        if kind == ClientKind::Ping {
            return Ok(Action::Send(encode::pong(request)));
        }
        let is_full =
            if kind == ClientKind::Token { self.renewal.is_some() } else { self.requests.len() >= MAX_REQUESTS };
        // A client that asked for too much can still go on with another token, and stop a watch.
        let is_free = matches!(kind, ClientKind::Token | ClientKind::Unwatch);
        if is_full || !(is_free || self.allowance.take(REQUESTS, now)) {
            return Err(Failure::too_many_requests(self.allowance.wait(REQUESTS)));
        }
        match read::command(kind, request, fields, settings)? {
            Some(command) => {
                self.requests.push(request);
                if self.requests.len() >= MAX_REQUESTS {
                    self.life.fill(now);
                }
                Ok(Action::Do { request, command })
            }
            // Of those that have no command, a new token is the only one that comes here.
            None => {
                let token = read::token(fields)?;
                self.renewal = Some(request);
                Ok(Action::Verify { token })
            }
        }
    }

    pub(crate) fn verified(&mut self, result: Result<Grant, Refusal>, now: Timestamp) -> Vec<Action> {
        let Some(request) = self.renewal.take() else { return vec![] };
        let failure = match result {
            Ok(grant) if grant.user == self.user => {
                self.token = Token::new(grant.expires_at);
                let renewed = Action::Send(encode::renewed(request, grant.expires_at));
                let mut actions = vec![Action::Renewed(grant), renewed];
                actions.extend(self.tell_expiry(now));
                return actions;
            }
            Ok(_) => Failure::other_user(),
            Err(refusal) => refusal.into(),
        };
        vec![Action::Send(encode::error(Some(request), &failure))]
    }

    pub(crate) fn done(
        &mut self,
        request: RequestNumber,
        result: Result<Answer<'_>, CommandError>,
        looked_at: usize,
        now: Timestamp,
    ) -> Option<Bytes> {
        let at = self.requests.iter().position(|under_way| *under_way == request)?;
        self.requests.swap_remove(at);
        if self.requests.is_empty() {
            // An idle session holds no memory for requests.
            self.requests = vec![];
        }
        self.life.make_room(now);
        let more = u32::try_from(looked_at / LOOKED_AT_PER_REQUEST).unwrap_or(u32::MAX);
        self.allowance.charge(more, REQUESTS, now);
        Some(match result {
            Ok(answer) => encode::answered(request, answer),
            Err(error) => encode::error(Some(request), &error.into()),
        })
    }

    /// Whether the token has expired, and none is coming in its place.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.ends_at() <= now
    }

    /// When it expires, or a little later if another is coming in its place.
    pub(crate) fn ends_at(&self) -> Timestamp {
        self.token.ends_at(self.renewal.is_some())
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
    pub(crate) fn tell_expiry(&mut self, now: Timestamp) -> Option<Action> {
        self.token.tells(now).then(|| Action::Send(encode::token_expiring(self.token.expires_at)))
    }

    /// What is due, while the token has not expired and the client is not silent.
    pub(crate) fn tick(&mut self, settings: &Settings, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::from_iter(self.tell_expiry(now));
        if self.life.pings(&settings.timing, now) {
            actions.push(Action::Send(encode::ping()));
        }
        actions
    }

    pub(crate) fn due_at(&self, settings: &Settings) -> Timestamp {
        self.life.due_at(&settings.timing).min(self.token.due_at(self.renewal.is_some()))
    }
}
