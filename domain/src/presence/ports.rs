//! The port of users' states.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::directory::configuration::Generation;
use crate::directory::user::User;
use crate::identity::{ConnectionKey, Identity, UserKey};
use crate::presence::change::Notice;
use crate::presence::connection::Connection;
use crate::presence::disclosure::Disclose;
use crate::presence::news::News;
use crate::presence::state::{StateSummary, UserState};
use crate::sid::ServiceSid;
use crate::store::StoreError;
use crate::time::Timestamp;

/// The result of joining events to a user's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The state before the write.
    pub before: StateSummary,
    /// The state after the write. Equal to `before`, with the same revision, if the events added nothing.
    pub after: StateSummary,
    /// The connections named in the events.
    pub connections: BTreeMap<ConnectionKey, Touched>,
    /// When the user was last deleted, before the write ([`UserState::deleted_at`]).
    pub deleted_at: Option<Timestamp>,
    /// [`Presence::floor`] before the write.
    ///
    /// [`Presence::floor`]: crate::presence::connections::Presence::floor
    pub floor: Option<Timestamp>,
    /// How many live connections were dropped, since there were too many.
    pub dropped: usize,
    /// When the user's timer is due, if it is to be sent ([`UserState::set_timer`]); `None` if not.
    pub timer: Option<Timestamp>,
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
    /// The result of a write, which drops nothing and sets no timer.
    pub fn of(before: &UserState, after: &UserState, news: &News) -> Self {
        let named = news.said().iter().filter_map(|said| said.connection.map(|(key, _)| key));
        let touched = |key| {
            let touched = Touched { before: before.presence.connection(key), after: after.presence.connection(key) };
            (key, touched)
        };
        Self {
            before: before.into(),
            after: after.into(),
            connections: named.map(touched).collect(),
            deleted_at: before.deleted_at,
            floor: before.presence.floor,
            dropped: 0,
            timer: None,
        }
    }

    /// The result of two writes, of which this is the first.
    #[must_use]
    pub fn followed_by(mut self, next: Self) -> Self {
        for (key, touched) in next.connections {
            self.connections.entry(key).or_insert(touched).after = touched.after;
        }
        let timer = next.timer.or(self.timer);
        Self { after: next.after, dropped: self.dropped + next.dropped, timer, ..self }
    }
}

/// Events to join to the state of a user.
#[derive(Debug, Clone)]
pub struct Join {
    /// The user, as it is created if it does not exist.
    pub user: User,
    /// What the events say.
    pub news: News,
    /// When the timers of the user were due that have come.
    pub fired: Vec<Timestamp>,
}

/// Stores users' states.
#[async_trait]
pub trait States: Send + Sync {
    /// The states of users, in the given order; the default state for a user that has none.
    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError>;

    /// Joins events to a user's state ([`UserState::join`]) in one write, or none if the events add nothing. If they create
    /// the user, and it does not exist, creates it from `user`; an existing user is unchanged. Decides on the user's timer
    /// ([`UserState::set_timer`]), after the ones that were due at the times in `fired` have come. A store that does not read
    /// before it writes may set a timer although the stored one would do, or set it in a write of its own.
    ///
    /// It is idempotent. It also prunes the state ([`Presence::prune`]), in the same write or in one that follows. It need
    /// not check that the service exists: the caller has done so.
    ///
    /// [`Presence::prune`]: crate::presence::connections::Presence::prune
    async fn join(&self, user: &User, news: &News, fired: &[Timestamp], now: Timestamp) -> Result<Joined, StoreError>;

    /// Joins events to the states of several users, each as [`States::join`] does. A failure of one affects no other. The
    /// results are in the given order.
    async fn join_all(&self, joins: Vec<Join>, now: Timestamp) -> Vec<Result<Joined, StoreError>> {
        let mut results = Vec::with_capacity(joins.len());
        for Join { user, news, fired } in joins {
            results.push(self.join(&user, &news, &fired, now).await);
        }
        results
    }

    /// Shows others what a user wants to show ([`UserState::disclose`]), in one write, or none if it is shown already. Returns the
    /// state after it; `None`, and nothing is written, if there is no user with this sid any more.
    async fn disclose(&self, user: &User, wish: &Disclose, now: Timestamp) -> Result<Option<UserState>, StoreError>;

    /// Announces a user's registrations in a generation ([`UserState::announce`]), in one write, or none if the user never
    /// had one, or if they are announced already.
    async fn announce(&self, user: &UserKey, generation: Generation, now: Timestamp) -> Result<(), StoreError>;
}

/// A change with its position in the log of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedChange {
    /// Its position: never used twice, and later changes have greater ones.
    pub id: u64,
    /// The change.
    pub notice: Notice,
}

/// A part of the log of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedChanges {
    /// The changes, the oldest first.
    pub changes: Vec<LoggedChange>,
    /// Where the next part begins: after this position.
    pub cursor: u64,
    /// Whether there are more already.
    pub more: bool,
}

/// The log of changes is not kept at this position any more, or was never there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log of changes does not reach back to this position")]
pub struct PositionGone;

/// The latest changes, of all services.
#[async_trait]
pub trait ChangeLog: Send + Sync {
    /// The changes of a service, or of one of its users, after a position (`None`: from the oldest that is kept), at most so
    /// many.
    async fn changes(
        &self,
        service: ServiceSid,
        identity: Option<&Identity>,
        after: Option<u64>,
        at_most: usize,
    ) -> Result<Result<LoggedChanges, PositionGone>, StoreError>;

    /// The position of the latest change of any service.
    async fn newest(&self) -> Result<u64, StoreError>;
}
