//! The ports of push registrations, credentials and notifications.

use async_trait::async_trait;

use crate::directory::user::User;
use crate::paging::{Page, PageRequest};
use crate::push::binding::{Binding, BindingFilter};
use crate::push::command::BindingCommand;
use crate::push::credential::Credential;
use crate::push::device::Device;
use crate::push::notification::{Delivery, Notification};
use crate::sid::{BindingSid, CredentialSid, NotificationSid, ServiceSid};
use crate::store::StoreError;
use crate::time::Timestamp;

/// A device around a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// As stored before; `None`: it was not registered.
    pub before: Option<Binding>,
    /// As stored now. The same if there was nothing to write.
    pub after: Option<Binding>,
}

impl Applied {
    /// There was nothing to write.
    pub fn unchanged(binding: Option<Binding>) -> Self {
        Self { before: binding.clone(), after: binding }
    }
}

/// Where bindings lie, each written together with the states of the users that it concerns.
#[async_trait]
pub trait Bindings: Send + Sync {
    /// Does to a device what a command says ([`BindingCommand::transition`]), in one write together with the states of
    /// those whose device it was and is. A user that registers and does not exist is created as `user` says.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if a device registers and there is no such service.
    async fn apply(
        &self,
        service: ServiceSid,
        device: Device,
        command: &BindingCommand,
        user: Option<&User>,
        now: Timestamp,
    ) -> Result<Applied, StoreError>;

    /// A binding, or `None`.
    async fn binding(&self, service: ServiceSid, sid: BindingSid) -> Result<Option<Binding>, StoreError>;

    /// Bindings of a service.
    async fn bindings(
        &self,
        service: ServiceSid,
        filter: &BindingFilter,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Binding>, StoreError>;
}

/// Where credentials lie.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// Adds a credential.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if its sid is taken by another.
    async fn create_credential(&self, credential: &Credential) -> Result<(), StoreError>;

    /// A credential, or `None`.
    async fn credential(&self, sid: CredentialSid) -> Result<Option<Credential>, StoreError>;

    /// Credentials.
    async fn credentials(&self, page: PageRequest<CredentialSid>) -> Result<Page<Credential>, StoreError>;

    /// Replaces a credential and adds one to its version.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] unless the stored version is the given one, [`StoreError::Missing`] if there is none.
    async fn replace_credential(&self, credential: &Credential) -> Result<(), StoreError>;

    /// Removes a credential. Returns whether there was one.
    async fn delete_credential(&self, sid: CredentialSid) -> Result<bool, StoreError>;
}

/// Where notifications lie, and what became of them on each device.
#[async_trait]
pub trait Notifications: Send + Sync {
    /// Adds a notification. It is forgotten after [`Notification::KEPT_SECONDS`], and so is what became of it.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if its sid is taken by another.
    async fn create_notification(&self, notification: &Notification) -> Result<(), StoreError>;

    /// A notification, or `None`.
    async fn notification(&self, service: ServiceSid, sid: NotificationSid)
    -> Result<Option<Notification>, StoreError>;

    /// Adds what becomes of a notification on devices, for those of which nothing is stored yet.
    async fn add_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError>;

    /// Replaces what became of a notification on a device. Once it is accepted or has failed, it is not queued any more:
    /// of a message that is delivered twice the one may fail after the other was accepted.
    async fn replace_delivery(&self, delivery: &Delivery) -> Result<(), StoreError>;

    /// What became of a notification on a device; `None` if nothing is stored of it.
    async fn delivery(
        &self,
        notification: NotificationSid,
        binding: BindingSid,
    ) -> Result<Option<Delivery>, StoreError>;

    /// What became of a notification, by the sid of the binding.
    async fn deliveries(
        &self,
        notification: NotificationSid,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Delivery>, StoreError>;
}
