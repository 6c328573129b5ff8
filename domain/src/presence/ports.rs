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

/// The result of joining events to a user's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The state before the write.
    pub before: StateSummary,
    /// The state after the write. Equal to `before`, with the same revision, if the events added nothing.
    pub after: StateSummary,
    /// The connections named in the events, and those that the caller asked for.
    pub connections: BTreeMap<ConnectionId, Touched>,
    /// The user's registrations.
    pub registrations: Registrations,
}

/// A connection before and after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Touched {
    /// Before the write.
    pub before: Connection,
    /// After the write.
    pub after: Connection,
}

impl Joined {
    /// The connections in `news` and in `asked`, before and after a write.
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

/// Stores users' states.
#[async_trait]
pub trait States: Send + Sync {
    /// The states of users, in the given order; the default state for a user that has none.
    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError>;

    /// Joins events to a user's state ([`UserState::join`]) in one write, or none if the events add nothing. If a new
    /// connect or renewal arrives for a user that does not exist, creates it from `user`; an existing user is
    /// unchanged. The result contains the connections in `news` and in `asked`.
    ///
    /// It is idempotent. Each store decides when to prune ([`Presence::prune`]). It need not check that the service
    /// exists: the caller has done so.
    async fn join(
        &self,
        user: &User,
        news: &Presence,
        asked: &[ConnectionId],
        now: Timestamp,
    ) -> Result<Joined, StoreError>;
}
