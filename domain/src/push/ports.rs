//! The ports of push registrations, credentials and notifications: stores.

use async_trait::async_trait;

use crate::directory::user::User;
use crate::identity::Identity;
use crate::paging::{Page, PageRequest};
use crate::push::binding::{Binding, BindingFilter};
use crate::push::command::BindingCommand;
use crate::push::credential::Credential;
use crate::push::device::Device;
use crate::push::notification::{Delivery, Notification};
use crate::push::recipient::Recipient;
use crate::sid::{BindingSid, CredentialSid, NotificationSid, ServiceSid};
use crate::store::StoreError;
use crate::time::Timestamp;

/// A device's binding before and after a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Before the write; `None` if the device was not registered.
    pub before: Option<Binding>,
    /// After the write. Equal to `before` if nothing was written.
    pub after: Option<Binding>,
}

impl Applied {
    /// The result if nothing was written.
    pub fn unchanged(binding: Option<Binding>) -> Self {
        Self { before: binding.clone(), after: binding }
    }
}

/// Stores bindings, each together with the states of the affected users.
#[async_trait]
pub trait Bindings: Send + Sync {
    /// Applies a command to a device ([`BindingCommand::transition`]), in one write together with the states of its
    /// previous and new user. If the registering user does not exist, creates it from `user`.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if a device registers in a service that does not exist.
    async fn apply(
        &self,
        service: ServiceSid,
        device: Device,
        command: &BindingCommand,
        user: Option<&User>,
        now: Timestamp,
    ) -> Result<Applied, StoreError>;

    /// Applies a command to each of these devices, as [`Bindings::apply`] does, in as few writes as the store can make.
    /// None of the commands registers a device. Returns what came of each.
    async fn apply_all(
        &self,
        service: ServiceSid,
        commands: &[(Device, BindingCommand)],
        now: Timestamp,
    ) -> Vec<Result<Applied, StoreError>>;

    /// A binding; `None` if it does not exist.
    async fn binding(&self, service: ServiceSid, sid: BindingSid) -> Result<Option<Binding>, StoreError>;

    /// Those of these bindings that exist, in any order.
    async fn bindings_with(&self, service: ServiceSid, sids: &[BindingSid]) -> Result<Vec<Binding>, StoreError>;

    /// One page of a service's bindings.
    async fn bindings(
        &self,
        service: ServiceSid,
        filter: &BindingFilter,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Binding>, StoreError>;
}

/// Stores credentials.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// Adds a credential.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if another credential has this sid.
    async fn create_credential(&self, credential: &Credential) -> Result<(), StoreError>;

    /// A credential; `None` if it does not exist.
    async fn credential(&self, sid: CredentialSid) -> Result<Option<Credential>, StoreError>;

    /// One page of credentials.
    async fn credentials(&self, page: PageRequest<CredentialSid>) -> Result<Page<Credential>, StoreError>;

    /// Replaces a credential and increments its version.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] unless the stored version equals the given one, [`StoreError::Missing`] if the
    /// credential does not exist.
    async fn replace_credential(&self, credential: &Credential) -> Result<(), StoreError>;

    /// Deletes a credential. Returns whether it existed.
    async fn delete_credential(&self, sid: CredentialSid) -> Result<bool, StoreError>;
}

/// Stores notifications and their deliveries.
#[async_trait]
pub trait Notifications: Send + Sync {
    /// Adds a notification. It is removed after [`Notification::KEPT_SECONDS`] at the earliest, and not before its deliveries:
    /// the next notification with the same key has the same sid.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if another notification has this sid.
    async fn create_notification(&self, notification: &Notification) -> Result<(), StoreError>;

    /// A notification; `None` if it does not exist.
    async fn notification(&self, service: ServiceSid, sid: NotificationSid)
    -> Result<Option<Notification>, StoreError>;

    /// Replaces a notification. Does nothing if it does not exist.
    async fn replace_notification(&self, notification: &Notification) -> Result<(), StoreError>;

    /// Adds deliveries; those that already exist are unchanged.
    async fn add_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError>;

    /// Replaces deliveries, in as few writes as the store can make. An accepted or failed delivery never becomes queued
    /// again: if a message was delivered twice, one attempt may fail after the other was accepted.
    ///
    /// # Errors
    /// If any was not replaced. Others may have been.
    async fn replace_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError>;

    /// Replaces a delivery that is queued, and of which it was not decided yet whether it is sent ([`Delivery::decided_at`]).
    /// Returns whether it did: if a message was delivered twice, one of both decides.
    async fn decide_delivery(&self, delivery: &Delivery) -> Result<bool, StoreError>;

    /// Those of a notification's deliveries to these devices that exist, in any order.
    async fn deliveries_to(
        &self,
        notification: NotificationSid,
        bindings: &[BindingSid],
    ) -> Result<Vec<Delivery>, StoreError>;

    /// One page of a notification's deliveries, ordered by the sid of the binding.
    async fn deliveries(
        &self,
        notification: NotificationSid,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Delivery>, StoreError>;

    /// Stores final decisions about users of a notification, unless there are some. Returns those that are stored then, in this
    /// order. They are removed with the notification.
    async fn settle(&self, recipients: &[Recipient]) -> Result<Vec<Recipient>, StoreError>;

    /// The final decisions about users of a notification, in this order; `None` for those of whom there is none.
    async fn settled(
        &self,
        notification: NotificationSid,
        identities: &[Identity],
    ) -> Result<Vec<Option<Recipient>>, StoreError>;
}
