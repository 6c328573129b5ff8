//! The ports of the directory.
//!
//! Every write is conditional where it could lose something, and can be sent again when its answer was lost. Lists go by
//! sid, which is the order of making.

use async_trait::async_trait;

use crate::directory::account::AccountSettings;
use crate::directory::api_key::ApiKey;
use crate::directory::service::Service;
use crate::directory::user::{User, UserRef};
use crate::paging::{Page, PageRequest};
use crate::sid::{KeySid, ServiceSid, UserSid};
use crate::store::StoreError;
use crate::time::Timestamp;

/// Where the settings of the account lie.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// The account's settings; the defaults, at version 0, if never stored.
    async fn account(&self) -> Result<AccountSettings, StoreError>;

    /// Replaces the account's settings and adds one to their version.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] unless the stored version is the given one.
    async fn replace_account(&self, settings: &AccountSettings) -> Result<(), StoreError>;
}

/// Where API keys lie.
#[async_trait]
pub trait ApiKeys: Send + Sync {
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

/// Where services lie.
#[async_trait]
pub trait Services: Send + Sync {
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
    /// [`DeletedServices::purge`]. Returns whether there was one.
    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError>;
}

/// Where a store leaves the users of a deleted service behind, since removing all of them at once would take too long.
#[async_trait]
pub trait DeletedServices: Send + Sync {
    /// Removes up to so many users that are left of a service that was deleted, with their state and their bindings.
    /// Returns whether more are left.
    async fn purge(&self, sid: ServiceSid, at_most: usize) -> Result<bool, StoreError>;
}

/// Where users' profiles lie.
#[async_trait]
pub trait Users: Send + Sync {
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

    /// Removes a user with its bindings, and marks its state as deleted ([`DeletionWrites`]). Returns whether there was
    /// one.
    ///
    /// [`DeletionWrites`]: crate::presence::writes::DeletionWrites
    async fn delete_user(&self, service: ServiceSid, sid: UserSid, now: Timestamp) -> Result<bool, StoreError>;
}
