//! The account of a deployment: its settings and its API keys.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::service::Webhooks;
use crate::sid::{KeySid, MessagingServiceSid, ServiceSid};
use crate::time::Timestamp;

/// Settings of the account. There is one account in a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountSettings {
    /// The service of the routes that name none; `None` until it is first needed.
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

/// An API key: a second name and password for the account, which can be taken away again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The key's sid, never changed.
    pub sid: KeySid,
    /// A name to show; may be empty.
    pub friendly_name: String,
    /// The password. It signs access tokens too, so it cannot be kept as a hash.
    pub secret: Secret,
    /// When it was made. It never changes.
    pub date_created: Timestamp,
}

/// A text that must not be shown: it prints as `***`. Storing it writes it out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a text in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. Not for logs, errors or answers, but for the one that makes it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
