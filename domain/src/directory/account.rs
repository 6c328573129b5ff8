//! The account of a deployment and its settings.

use serde::{Deserialize, Serialize};

use crate::directory::service::Webhooks;
use crate::sid::{MessagingServiceSid, ServiceSid};

/// Settings of the account. There is one account in a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountSettings {
    /// The service of the routes that name none, as the owner has chosen it; `None`, or one that was deleted, stands for
    /// the derived one ([`crate::directory::default_service`]).
    pub default_chat_service_sid: Option<ServiceSid>,
    /// Stored and read back.
    pub default_messaging_service_sid: Option<MessagingServiceSid>,
    /// An ISO 8601 duration. Stored and read back.
    pub default_inactive_timer: Option<String>,
    /// An ISO 8601 duration. Stored and read back.
    pub default_closed_timer: Option<String>,
    /// Where the app is told of services that have no webhooks of their own.
    pub webhooks: Webhooks,
    /// What handles events; `None` if never set.
    pub webhook_target: Option<WebhookTarget>,
    /// Grows with every replacement. Zero: never stored.
    pub version: u64,
}

/// What handles an account's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookTarget {
    /// A URL.
    Webhook,
    /// The vendor's contact centre. Stored and read back.
    Flex,
}
