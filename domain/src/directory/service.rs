//! Services and what can be set on them.
//!
//! Conversations v1 and Chat v2 are two views of the same settings.

use serde::{Deserialize, Serialize};

use crate::directory::configuration::Configuration;
use crate::sid::{RoleSid, ServiceSid};
use crate::time::Timestamp;

/// A service: the scope of users, their presence and their settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The service's sid, never changed.
    pub sid: ServiceSid,
    /// A name to show.
    pub friendly_name: String,
    /// Reachability: on or off, and how often it was switched on.
    pub configuration: Configuration,
    /// The roles that are given when nothing else is said.
    pub default_roles: DefaultRoles,
    /// Which pushes are sent.
    pub notifications: NotificationSettings,
    /// Where and of what the app is told.
    pub webhooks: Webhooks,
    /// What only Chat v2 shows.
    pub chat: ChatSettings,
    /// When it was made.
    pub date_created: Timestamp,
    /// When any of its settings was last changed.
    pub date_updated: Timestamp,
    /// Grows with every replacement.
    pub version: u64,
}

impl Service {
    /// A service as it is when nothing but its name is known.
    pub fn new(sid: ServiceSid, friendly_name: String, default_roles: DefaultRoles, now: Timestamp) -> Self {
        Self {
            sid,
            friendly_name,
            configuration: Configuration::default(),
            default_roles,
            notifications: NotificationSettings::default(),
            webhooks: Webhooks::default(),
            chat: ChatSettings::default(),
            date_created: now,
            date_updated: now,
            version: 0,
        }
    }
}

/// How a path names a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceRef {
    /// Not at all: the account's default one ([`crate::directory::default_service`]).
    Default,
    /// By sid.
    Sid(ServiceSid),
}

/// The roles that are given when nothing else is said. Roles are known by their sids only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultRoles {
    /// Of who makes a conversation (Chat: channel creator).
    pub conversation_creator: RoleSid,
    /// Of who joins a conversation (Chat: channel).
    pub conversation: RoleSid,
    /// Of a new user of the service.
    pub service_user: RoleSid,
}

/// Which pushes are sent. This does not decide whether a user is notifiable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NotificationSettings {
    /// Whether to keep a log of them.
    pub log_enabled: bool,
    /// A new message.
    pub new_message: NotificationSetting,
    /// Whether a new message counts up the badge.
    pub badge_count_enabled: bool,
    /// A new message with media. Its sound is the one of a new message.
    pub new_message_with_media: NotificationSetting,
    /// Added to a conversation (Chat: channel).
    pub added: NotificationSetting,
    /// Removed from a conversation (Chat: channel).
    pub removed: NotificationSetting,
    /// Invited to a channel. Chat only.
    pub invited: NotificationSetting,
}

/// One kind of push.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NotificationSetting {
    /// Whether it is sent.
    pub enabled: bool,
    /// Its text; `None` for the default.
    pub template: Option<String>,
    /// Its sound; `None` for the default.
    pub sound: Option<String>,
}

/// Where and of what an app is told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Webhooks {
    /// Asked before something happens.
    pub pre_webhook_url: Option<String>,
    /// Told after something happened.
    pub post_webhook_url: Option<String>,
    /// The events to tell of; `None` if never set.
    pub filters: Option<Vec<String>>,
    /// How the request is made; `None` if never set.
    pub method: Option<WebhookMethod>,
}

/// How a webhook's request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WebhookMethod {
    /// With its parameters in the query.
    Get,
    /// With its parameters in the body.
    Post,
}

/// What only Chat v2 shows. Stored and read back; nothing here acts on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatSettings {
    /// Whether it is kept who has read what.
    pub read_status_enabled: bool,
    /// How long somebody counts as typing, in seconds.
    pub typing_indicator_timeout: u32,
    /// How often reading is reported, in seconds.
    pub consumption_report_interval: u32,
    /// Members of a channel at most.
    pub channel_members: u32,
    /// Channels of a user at most.
    pub user_channels: u32,
    /// Shown instead of media by clients that cannot.
    pub media_compatibility_message: String,
    /// How often a failed pre-event webhook is tried again.
    pub pre_webhook_retry_count: u32,
    /// How often a failed post-event webhook is tried again.
    pub post_webhook_retry_count: u32,
}

impl Default for ChatSettings {
    /// What a fresh service of the vendor shows.
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
