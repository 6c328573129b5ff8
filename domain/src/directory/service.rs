//! Services and their settings.
//!
//! Conversations v1 and Chat v2 are two views of the same settings.

use serde::{Deserialize, Serialize};

use crate::directory::configuration::Configuration;
use crate::sid::{RoleSid, ServiceSid};
use crate::time::Timestamp;

/// A service: the scope of users, their presence and their settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The service's sid; immutable.
    pub sid: ServiceSid,
    /// Display name.
    pub friendly_name: String,
    /// Whether reachability is on, and its generation.
    pub configuration: Configuration,
    /// The roles assigned by default.
    pub default_roles: DefaultRoles,
    /// The roles that the service was created with; `None` as long as they are the default ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_in_roles: Option<DefaultRoles>,
    /// Settings of push notifications.
    pub notifications: NotificationSettings,
    /// Webhook URLs and filters.
    pub webhooks: Webhooks,
    /// Settings that only Chat v2 shows.
    pub chat: ChatSettings,
    /// Creation time.
    pub date_created: Timestamp,
    /// Time of the last change to any setting.
    pub date_updated: Timestamp,
    /// Incremented by every replacement.
    pub version: u64,
}

impl Service {
    /// A service with default settings.
    pub fn new(sid: ServiceSid, friendly_name: String, default_roles: DefaultRoles, now: Timestamp) -> Self {
        Self {
            sid,
            friendly_name,
            configuration: Configuration::default(),
            default_roles,
            built_in_roles: None,
            notifications: NotificationSettings::default(),
            webhooks: Webhooks::default(),
            chat: ChatSettings::default(),
            date_created: now,
            date_updated: now,
            version: 0,
        }
    }
}

/// How a path refers to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceRef {
    /// The path has no service sid: the account's default service ([`crate::directory::default_service`]).
    Default,
    /// By sid.
    Sid(ServiceSid),
}

/// The roles assigned by default. This project stores only the sids of roles ([`crate::directory::role`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultRoles {
    /// Role of the creator of a conversation (Chat: channel creator).
    pub conversation_creator: RoleSid,
    /// Role of a participant of a conversation (Chat: channel member).
    pub conversation: RoleSid,
    /// Role of a new user of the service.
    pub service_user: RoleSid,
}

/// Settings of push notifications. They have no effect on whether a user is notifiable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NotificationSettings {
    /// Whether to log notifications.
    pub log_enabled: bool,
    /// Notification of a new message.
    pub new_message: NotificationSetting,
    /// Whether a new message increments the badge count.
    pub badge_count_enabled: bool,
    /// Notification of a new message with media. Its sound is that of `new_message`.
    pub new_message_with_media: NotificationSetting,
    /// Notification of being added to a conversation (Chat: channel).
    pub added: NotificationSetting,
    /// Notification of being removed from a conversation (Chat: channel).
    pub removed: NotificationSetting,
    /// Notification of an invitation to a channel. Chat only.
    pub invited: NotificationSetting,
}

/// Settings of one kind of notification.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NotificationSetting {
    /// Whether this notification is sent.
    pub enabled: bool,
    /// Text template; `None` for the default.
    pub template: Option<String>,
    /// Sound; `None` for the default.
    pub sound: Option<String>,
}

/// Webhook URLs and filters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Webhooks {
    /// Stored and returned; nothing calls it.
    pub pre_webhook_url: Option<String>,
    /// Called after an event has taken effect ([`WebhookTarget`](crate::webhook::target::WebhookTarget)).
    pub post_webhook_url: Option<String>,
    /// Names of the events to report; `None` if never set, then none is.
    pub filters: Option<Vec<String>>,
    /// HTTP method of the request; `None` if never set.
    pub method: Option<WebhookMethod>,
}

/// An event that a webhook reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookEvent {
    /// A user was created, over REST or by its first connect or registration.
    #[serde(rename = "onUserAdded")]
    UserAdded,
    /// A user's reachability or profile changed.
    #[serde(rename = "onUserUpdated")]
    UserUpdated,
    /// The delivery of a notification to a device was given up.
    #[serde(rename = "onNotificationFailed")]
    NotificationFailed,
    /// A registration has died, or is undeliverable.
    #[serde(rename = "onBindingDead")]
    BindingDead,
}

impl WebhookEvent {
    /// The vendor's name for it, or ours for what the vendor has none.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserAdded => "onUserAdded",
            Self::UserUpdated => "onUserUpdated",
            Self::NotificationFailed => "onNotificationFailed",
            Self::BindingDead => "onBindingDead",
        }
    }
}

/// HTTP method of a webhook request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WebhookMethod {
    /// Parameters are in the query string.
    Get,
    /// Parameters are in the body.
    Post,
}

/// Settings that only Chat v2 shows. Stored and returned; of them, only `post_webhook_retry_count` is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatSettings {
    /// Whether to store who has read which message.
    pub read_status_enabled: bool,
    /// How long a typing indicator lasts, in seconds.
    pub typing_indicator_timeout: u32,
    /// Interval of read reports, in seconds.
    pub consumption_report_interval: u32,
    /// Maximum number of members per channel.
    pub channel_members: u32,
    /// Maximum number of channels per user.
    pub user_channels: u32,
    /// Text that clients without media support show instead of media.
    pub media_compatibility_message: String,
    /// Number of retries of a failed pre-event webhook.
    pub pre_webhook_retry_count: u32,
    /// How often a failed post-event webhook is sent again at most; 0: as often as its schedule says
    /// ([`Undelivered`](crate::webhook::schedule::Undelivered)).
    pub post_webhook_retry_count: u32,
}

impl Default for ChatSettings {
    /// The values that the vendor shows for a new service.
    fn default() -> Self {
        Self {
            read_status_enabled: true,
            typing_indicator_timeout: 5,
            consumption_report_interval: 10,
            channel_members: 100,
            user_channels: 250,
            media_compatibility_message: "Media messages are not supported by your client".to_owned(),
            pre_webhook_retry_count: 0,
            post_webhook_retry_count: 0,
        }
    }
}
