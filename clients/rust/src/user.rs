//! Users, as the server shows them to this client's user.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A user. Times are RFC 3339 in UTC, with milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Its identity.
    pub id: Arc<str>,
    /// Its friendly name; `None` without one.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether it has a live connection; `None`: reachability is off for the service, or the user was never online since it
    /// was switched on. An invisible user is shown to others as one who left.
    #[serde(default)]
    pub online: Option<bool>,
    /// Whether a push notification can reach it; `None`: it never registered a device, or reachability is off.
    #[serde(default)]
    pub notifiable: Option<bool>,
    /// What it says it is doing; `None` without one.
    #[serde(default)]
    pub status: Option<String>,
    /// When it was last active; `None` if it was never online, or reachability is off.
    #[serde(default)]
    pub last_active: Option<String>,
    /// When it was created; `None` if there is no such user (a member of a channel need not be a user yet).
    #[serde(default)]
    pub created_at: Option<String>,
    /// What the application keeps of it.
    #[serde(default)]
    pub custom: Map<String, Value>,
    /// Orders what is seen of this user; 0 if there is no such user.
    #[serde(default)]
    pub revision: u64,
    /// Whether it appears offline to others; `None` for everybody but this client's own user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invisible: Option<bool>,
}

impl User {
    /// One that is not there, of which nothing up to `revision` is to be believed any more.
    pub(crate) fn absent(id: Arc<str>, revision: u64) -> Self {
        Self {
            id,
            name: None,
            online: None,
            notifiable: None,
            status: None,
            last_active: None,
            created_at: None,
            custom: Map::new(),
            revision,
            invisible: None,
        }
    }

    /// Whether one of the fields differs of which `user.presence.changed` tells. While a user is online, the time of the last
    /// activity moves on, and that is no change.
    pub(crate) fn presence_differs(&self, newer: &Self) -> bool {
        self.online != newer.online
            || self.notifiable != newer.notifiable
            || self.status != newer.status
            || (newer.online != Some(true) && self.last_active != newer.last_active)
            || self.invisible != newer.invisible
    }

    /// Whether one of the fields differs of which `user.updated` tells.
    pub(crate) fn profile_differs(&self, other: &Self) -> bool {
        self.name != other.name || self.custom != other.custom
    }
}

/// What a client knows of a user.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownUser {
    /// The newest that was heard.
    pub user: Arc<User>,
    /// Whether it may have changed since: the client is not connected, or has not restored its watches yet.
    pub stale: bool,
}
