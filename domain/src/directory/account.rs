//! The account of a deployment and its settings.

use serde::{Deserialize, Serialize};

use crate::directory::service::Webhooks;
use crate::sid::{MessagingServiceSid, ServiceSid};

/// The account's settings. A deployment has one account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountSettings {
    /// The service for routes without a service sid, as set by the owner. If `None`, or if that service was deleted,
    /// the derived default service is used ([`crate::directory::default_service`]).
    pub default_chat_service_sid: Option<ServiceSid>,
    /// Stored and returned; nothing else uses it.
    pub default_messaging_service_sid: Option<MessagingServiceSid>,
    /// An ISO 8601 duration. Stored and returned; nothing else uses it.
    pub default_inactive_timer: Option<String>,
    /// An ISO 8601 duration. Stored and returned; nothing else uses it.
    pub default_closed_timer: Option<String>,
    /// Webhooks for services that have none of their own.
    pub webhooks: Webhooks,
    /// The handler of events; `None` if never set.
    pub webhook_target: Option<WebhookTarget>,
    /// Incremented by every replacement. Zero: never stored.
    pub version: u64,
}

/// The handler of the account's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookTarget {
    /// A URL.
    Webhook,
    /// The vendor's contact centre. Stored and returned; nothing else uses it.
    Flex,
}
