//! The ports of the directory: stores for the account, API keys, services and users.
//!
//! Writes are conditional where an unconditional write could lose data. All writes are idempotent, so a caller can
//! retry after a lost response. Lists are ordered by sid, which is the order of creation.

use async_trait::async_trait;

use crate::directory::account::AccountSettings;
use crate::directory::api_key::ApiKey;
use crate::directory::service::Service;
use crate::directory::user::{User, UserRef};
use crate::paging::{Page, PageRequest};
use crate::sid::{KeySid, ServiceSid, UserSid};
use crate::store::StoreError;
use crate::time::Timestamp;

/// Stores the account's settings.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// The account's settings. If never stored: the defaults, with version 0.
    async fn account(&self) -> Result<AccountSettings, StoreError>;

    /// Replaces the account's settings and increments their version.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] unless the stored version equals the given one.
    async fn replace_account(&self, settings: &AccountSettings) -> Result<(), StoreError>;
}

/// Stores API keys.
#[async_trait]
pub trait ApiKeys: Send + Sync {
    /// Adds an API key.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if another key has this sid.
    async fn create_key(&self, key: &ApiKey) -> Result<(), StoreError>;

    /// An API key; `None` if it does not exist.
    async fn key(&self, sid: KeySid) -> Result<Option<ApiKey>, StoreError>;

    /// One page of API keys.
    async fn keys(&self, page: PageRequest<KeySid>) -> Result<Page<ApiKey>, StoreError>;

    /// Replaces an API key. Only its name changes, so the last of two replacements counts.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if the key does not exist.
    async fn replace_key(&self, key: &ApiKey) -> Result<(), StoreError>;

    /// Deletes an API key. Returns whether it existed.
    async fn delete_key(&self, sid: KeySid) -> Result<bool, StoreError>;
}

/// Stores services.
#[async_trait]
pub trait Services: Send + Sync {
    /// Adds a service.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if another service has this sid.
    async fn create_service(&self, service: &Service) -> Result<(), StoreError>;

    /// A service; `None` if it does not exist.
    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError>;

    /// One page of services.
    async fn services(&self, page: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError>;

    /// Replaces a service and increments its version.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] unless the stored version equals the given one, [`StoreError::Missing`] if the service
    /// does not exist.
    async fn replace_service(&self, service: &Service) -> Result<(), StoreError>;

    /// Deletes a service and its users. A store may remove the users later, by itself or by [`DeletedServices::purge`]: to
    /// whoever looks for the service first, they are gone. Returns whether the service existed.
    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError>;
}

/// Removes the users that a store leaves behind when it deletes a service. Removing all of them at once would take too
/// long.
#[async_trait]
pub trait DeletedServices: Send + Sync {
    /// In how many parts the records of a service lie. They can be removed side by side.
    fn parts(&self) -> u8;

    /// Removes up to `at_most` users with their states, and as many bindings, of a part (from 0) of a deleted service. Returns
    /// whether more remain in this part.
    async fn purge(&self, sid: ServiceSid, part: u8, at_most: usize) -> Result<bool, StoreError>;
}

/// Stores users' profiles.
#[async_trait]
pub trait Users: Send + Sync {
    /// Adds a user.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the service has a user with this identity, [`StoreError::Missing`] if the service does
    /// not exist.
    async fn create_user(&self, user: &User) -> Result<(), StoreError>;

    /// A user; `None` if it does not exist.
    async fn user(&self, service: ServiceSid, user: &UserRef) -> Result<Option<User>, StoreError>;

    /// One page of a service's users.
    async fn users(&self, service: ServiceSid, page: PageRequest<UserSid>) -> Result<Page<User>, StoreError>;

    /// Replaces a user's profile and increments its version.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] unless the stored version equals the given one, [`StoreError::Missing`] if the user
    /// does not exist.
    async fn replace_user(&self, user: &User) -> Result<(), StoreError>;

    /// Deletes a user with its bindings, and marks its state as deleted ([`DeletionWrites`]). Returns whether the user
    /// existed.
    ///
    /// [`DeletionWrites`]: crate::presence::writes::DeletionWrites
    async fn delete_user(&self, service: ServiceSid, sid: UserSid, now: Timestamp) -> Result<bool, StoreError>;
}
