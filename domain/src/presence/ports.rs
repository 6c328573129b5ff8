//! The port of users' states.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::directory::user::User;
use crate::identity::{ConnectionId, UserKey};
use crate::presence::connections::{Connection, Presence};
use crate::presence::state::{StateSummary, UserState};
use crate::push::registration::Registrations;
use crate::store::StoreError;
use crate::time::Timestamp;

/// What joining events to a user's state has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The state as stored before.
    pub before: StateSummary,
    /// The state as stored now. The same, with the same revision, if there was nothing new.
    pub after: StateSummary,
    /// The connections that the events are about, and those that were asked for.
    pub connections: BTreeMap<ConnectionId, Touched>,
    /// The user's registrations.
    pub registrations: Registrations,
}

/// A connection around a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Touched {
    /// As known before.
    pub before: Connection,
    /// As known now.
    pub after: Connection,
}

impl Joined {
    /// What there is to tell of a write: of the connections in `news`, and of those that are asked for besides.
    pub fn of(before: &UserState, after: &UserState, news: &Presence, asked: &[ConnectionId]) -> Self {
        let touched = |id: &ConnectionId| {
            let touched = Touched { before: before.presence.connection(id), after: after.presence.connection(id) };
            (id.clone(), touched)
        };
        Self {
            before: before.into(),
            after: after.into(),
            connections: news.connections().map(|(id, _)| id).chain(asked).map(touched).collect(),
            registrations: after.registrations.clone(),
        }
    }
}

/// Where users' states lie.
#[async_trait]
pub trait States: Send + Sync {
    /// The states of users, in the given order; the default one for whom nothing is stored.
    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError>;

    /// Adds what events say to a user's state ([`UserState::join`]), in one write, or none if there is nothing new. If
    /// they open a connection and that is news, a user that does not exist is created as `user` says. One that exists
    /// stays as it is. The result tells of the connections in `news` and of those that are `asked` for.
    ///
    /// Doing it twice does no more than doing it once. When a store prunes what can no longer matter
    /// ([`Presence::prune`]) is its own business. It need not look whether there is such a service: its caller has.
    async fn join(
        &self,
        user: &User,
        news: &Presence,
        asked: &[ConnectionId],
        now: Timestamp,
    ) -> Result<Joined, StoreError>;
}
