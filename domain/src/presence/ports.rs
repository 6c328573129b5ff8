//! The port of users' states.

use async_trait::async_trait;

use crate::directory::user::User;
use crate::identity::UserKey;
use crate::presence::connections::Presence;
use crate::presence::state::UserState;
use crate::store::StoreError;
use crate::time::Timestamp;

/// A user's state around a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// As stored before.
    pub before: UserState,
    /// As stored now. The same, with the same revision, if there was nothing new.
    pub after: UserState,
}

/// Where users' states lie.
#[async_trait]
pub trait States: Send + Sync {
    /// The states of users, in the given order; the default one for whom nothing is stored.
    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError>;

    /// Adds what events say to a user's state ([`UserState::join`]), in one write, or none if there is nothing new. If
    /// they open a connection and that is news, a user that does not exist is created as `user` says. One that exists
    /// stays as it is.
    ///
    /// Doing it twice does no more than doing it once. When a store forgets what can be forgotten
    /// ([`Presence::prune`]) is its own business. It need not look whether there is such a service: its caller has.
    async fn join(&self, user: &User, news: &Presence, now: Timestamp) -> Result<Joined, StoreError>;
}
