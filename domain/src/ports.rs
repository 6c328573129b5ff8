//! The store port: where services, users, their state and keys lie.
//!
//! Small enough that one table of a key-value store can hold it: what an event writes is one record, every write is
//! conditional where it could lose something, and can be sent again when its answer was lost. Lists go by sid, which is the order of
//! making, with a cursor and never by number.

use async_trait::async_trait;

use crate::directory::account::AccountSettings;
use crate::directory::api_key::ApiKey;
use crate::directory::service::Service;
use crate::directory::user::{User, UserRef};
use crate::identity::UserKey;
use crate::paging::{Page, PageRequest};
use crate::presence::connections::Presence;
use crate::presence::state::UserState;
use crate::sid::{KeySid, ServiceSid, UserSid};
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
    async fn services(&self, page: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError>;

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
    async fn users(&self, service: ServiceSid, page: PageRequest<UserSid>) -> Result<Page<User>, StoreError>;

    /// Replaces a user's profile and adds one to its version.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] unless the stored version is the given one, [`StoreError::Missing`] if there is none.
    async fn replace_user(&self, user: &User) -> Result<(), StoreError>;

    /// Removes a user with its bindings, and buries its state ([`UserState::mark_deleted`]). Returns whether there was one.
    async fn delete_user(&self, service: ServiceSid, sid: UserSid, now: Timestamp) -> Result<bool, StoreError>;

    /// The states of users, in the given order; the default one for whom nothing is stored.
    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError>;

    /// Adds what events say to a user's state ([`UserState::join`]), in one write, or none if there is nothing new. If
    /// they open a connection and that is news, a user that does not exist is created as `user` says. One that exists
    /// stays as it is.
    ///
    /// Doing it twice does no more than doing it once. When a store forgets what can be forgotten
    /// ([`Presence::prune`]) is its own business. It need not look whether there is such a service: its caller has.
    async fn join(&self, user: &User, news: &Presence, now: Timestamp) -> Result<Joined, StoreError>;

    /// Adds an API key.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if its sid is taken by another.
    async fn create_key(&self, key: &ApiKey) -> Result<(), StoreError>;

    /// An API key, or `None`.
    async fn key(&self, sid: KeySid) -> Result<Option<ApiKey>, StoreError>;

    /// API keys.
    async fn keys(&self, page: PageRequest<KeySid>) -> Result<Page<ApiKey>, StoreError>;

    /// Removes an API key. Returns whether there was one.
    async fn delete_key(&self, sid: KeySid) -> Result<bool, StoreError>;
}
