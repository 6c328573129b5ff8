//! The store port: where services, users, their state and keys lie.
//!
//! Small enough that one table of a key-value store can hold it: what an event writes is one record, every write is
//! conditional where it could lose something, and can be sent again when its answer was lost. Lists go by sid, which is the order of
//! making, with a cursor and never by number.

use std::error::Error;

use async_trait::async_trait;

use crate::account::{AccountSettings, ApiKey};
use crate::identity::UserKey;
use crate::presence::Presence;
use crate::reachability::UserState;
use crate::service::Service;
use crate::sid::{KeySid, ServiceSid, UserSid};
use crate::time::Timestamp;
use crate::user::{User, UserRef};

/// Why the store did not do it. Unless it says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is one already.
    #[error("it exists already")]
    Exists,
    /// The service, or the record that was to be replaced, is not there.
    #[error("it does not exist")]
    Missing,
    /// Somebody else replaced the record since it was read. Reading it again and deciding again is the way on.
    #[error("it was changed by somebody else in between")]
    Conflict,
    /// The store could not be reached or did not work. Trying again later may help; it may have been done nevertheless.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// What is stored cannot be read.
    #[error("a stored record cannot be read")]
    Corrupt(#[source] Box<dyn Error + Send + Sync>),
}

/// Where in a list, ordered by sid, to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position<K> {
    /// At its beginning.
    Start,
    /// Right behind this sid, whether or not it is still there.
    After(K),
    /// With what comes right before this sid.
    Before(K),
}

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window<K> {
    /// Where it begins.
    pub position: Position<K>,
    /// How many items at most.
    pub limit: usize,
}

/// What was found in a [`Window`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice<T> {
    /// In ascending order of sid, whichever way the window was given.
    pub items: Vec<T>,
    /// Whether there are more in the direction of the window: behind, or (for [`Position::Before`]) before these.
    pub more: bool,
}

impl<K: Copy + Ord> Window<K> {
    /// What it shows of a whole list.
    pub fn show<T>(self, mut items: Vec<T>, sid: impl Fn(&T) -> K) -> Slice<T> {
        items.sort_by_key(&sid);
        let (mut start, mut end) = (0, items.len());
        match self.position {
            Position::Start => {}
            Position::After(bound) => start = items.partition_point(|item| sid(item) <= bound),
            Position::Before(bound) => end = items.partition_point(|item| sid(item) < bound),
        }
        let more = end - start > self.limit;
        match self.position {
            Position::Before(_) => start = start.max(end.saturating_sub(self.limit)),
            _ => end = end.min(start.saturating_add(self.limit)),
        }
        Slice { items: items.drain(start..end).collect(), more }
    }
}

/// A user's state around a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// As stored before.
    pub before: UserState,
    /// As stored now. The same, with the same revision, if there was nothing new.
    pub after: UserState,
}

/// Where everything lies.
#[async_trait]
pub trait Store: Send + Sync {
    /// The account's settings; the defaults, at version 0, if never stored.
    async fn account(&self) -> Result<AccountSettings, StoreError>;

    /// Replaces the account's settings and adds one to their version.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] unless the stored version is the given one.
    async fn replace_account(&self, settings: &AccountSettings) -> Result<(), StoreError>;

    /// Adds a service.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if its sid is taken by another.
    async fn create_service(&self, service: &Service) -> Result<(), StoreError>;

    /// A service, or `None`.
    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError>;

    /// Services.
    async fn services(&self, window: Window<ServiceSid>) -> Result<Slice<Service>, StoreError>;

    /// Replaces a service and adds one to its version.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] unless the stored version is the given one, [`StoreError::Missing`] if there is none.
    async fn replace_service(&self, service: &Service) -> Result<(), StoreError>;

    /// Removes a service. Its users are gone with it, though a store may leave the work of removing them to
    /// [`Store::purge`]. Returns whether there was one.
    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError>;

    /// Removes up to so many users that are left of a service that was deleted, with their state and their bindings.
    /// Returns whether more are left.
    async fn purge(&self, sid: ServiceSid, at_most: usize) -> Result<bool, StoreError>;

    /// Adds a user.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if its identity is taken in its service, [`StoreError::Missing`] if there is no such service.
    async fn create_user(&self, user: &User) -> Result<(), StoreError>;

    /// A user, or `None`.
    async fn user(&self, service: ServiceSid, user: &UserRef) -> Result<Option<User>, StoreError>;

    /// Users of a service.
    async fn users(&self, service: ServiceSid, window: Window<UserSid>) -> Result<Slice<User>, StoreError>;

    /// Replaces a user's profile and adds one to its version.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] unless the stored version is the given one, [`StoreError::Missing`] if there is none.
    async fn replace_user(&self, user: &User) -> Result<(), StoreError>;

    /// Removes a user with its bindings, and buries its state ([`UserState::bury`]). Returns whether there was one.
    async fn delete_user(&self, service: ServiceSid, sid: UserSid, now: Timestamp) -> Result<bool, StoreError>;

    /// The states of users, in the given order; the default one for whom nothing is stored.
    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError>;

    /// Adds what events say to a user's state ([`UserState::join`]), in one write, or none if there is nothing new. If
    /// they open a connection and that is news, a user that does not exist is created as `user` says. One that exists
    /// stays as it is.
    ///
    /// Doing it twice does no more than doing it once. When a store forgets what can be forgotten
    /// ([`Presence::forget`]) is its own business. It need not look whether there is such a service: its caller has.
    async fn join(&self, user: &User, news: &Presence, now: Timestamp) -> Result<Joined, StoreError>;

    /// Adds an API key.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if its sid is taken by another.
    async fn create_key(&self, key: &ApiKey) -> Result<(), StoreError>;

    /// An API key, or `None`.
    async fn key(&self, sid: KeySid) -> Result<Option<ApiKey>, StoreError>;

    /// API keys.
    async fn keys(&self, window: Window<KeySid>) -> Result<Slice<ApiKey>, StoreError>;

    /// Removes an API key. Returns whether there was one.
    async fn delete_key(&self, sid: KeySid) -> Result<bool, StoreError>;
}
