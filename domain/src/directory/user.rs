//! Users of a service.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity::{Identity, InvalidIdentity, UserKey};
use crate::sid::{RoleSid, ServiceSid, UserSid};
use crate::time::Timestamp;

/// A user's profile. The reachability state is a separate record because it changes far more often:
/// [`crate::presence::state::UserState`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's sid; immutable.
    pub sid: UserSid,
    /// The user's service.
    pub service_sid: ServiceSid,
    /// The app's name for the user; immutable.
    pub identity: Identity,
    /// Display name; `None` if never set.
    pub friendly_name: Option<String>,
    /// Arbitrary JSON text set by the app.
    pub attributes: String,
    /// The role; `None` if the service has no default role for users.
    pub role_sid: Option<RoleSid>,
    /// When a REST request or the user's first connect created it.
    pub date_created: Timestamp,
    /// Time of the last change to the profile. Changes of reachability do not count.
    pub date_updated: Timestamp,
    /// Incremented by every replacement of the profile.
    pub version: u64,
    /// The revision of the user's state with which the profile was last replaced; zero if it never was, or by a version
    /// that did not store it.
    #[serde(default)]
    pub revision: u64,
    /// Whether webhooks tell the last write of the profile. A REST request asks for it (`X-Twilio-Webhook-Enabled`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub webhook_enabled: bool,
    /// Whether a client of the user itself last wrote the profile, and not a REST request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_client: bool,
}

impl User {
    /// A user with default profile fields.
    pub fn new(sid: UserSid, key: UserKey, role_sid: Option<RoleSid>, now: Timestamp) -> Self {
        Self {
            sid,
            service_sid: key.service,
            identity: key.identity,
            friendly_name: None,
            attributes: "{}".to_owned(),
            role_sid,
            date_created: now,
            date_updated: now,
            version: 0,
            revision: 0,
            webhook_enabled: false,
            by_client: false,
        }
    }

    /// The key of the user's state.
    pub fn key(&self) -> UserKey {
        UserKey { service: self.service_sid, identity: self.identity.clone() }
    }
}

/// How a path refers to a user. It is unambiguous because no identity looks like a sid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserRef {
    /// By sid.
    Sid(UserSid),
    /// By identity.
    Identity(Identity),
}

impl FromStr for UserRef {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        text.parse().map(Self::Sid).or_else(|_| text.parse().map(Self::Identity))
    }
}
