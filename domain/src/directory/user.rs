//! Users: who there is in a service.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity::{Identity, InvalidIdentity, UserKey};
use crate::sid::{RoleSid, ServiceSid, UserSid};
use crate::time::Timestamp;

/// A user's profile. Its reachability is kept apart, since it changes far more often: [`crate::presence::state::UserState`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's sid, never changed.
    pub sid: UserSid,
    /// The service that the user belongs to.
    pub service_sid: ServiceSid,
    /// The name by which the app knows the user, never changed.
    pub identity: Identity,
    /// A name to show; `None` if never set.
    pub friendly_name: Option<String>,
    /// A JSON text of the app's own.
    pub attributes: String,
    /// The role; `None` if the service has none for its users.
    pub role_sid: Option<RoleSid>,
    /// When the user was made, by REST or by its first connect.
    pub date_created: Timestamp,
    /// When the profile was last changed. A change of reachability does not count.
    pub date_updated: Timestamp,
    /// Grows with every replacement of the profile.
    pub version: u64,
}

impl User {
    /// A user of whom nothing but its name is known.
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
        }
    }

    /// Where the user's state lies.
    pub fn key(&self) -> UserKey {
        UserKey { service: self.service_sid, identity: self.identity.clone() }
    }
}

/// How a path names a user. Never ambiguous, since no identity looks like a sid.
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
