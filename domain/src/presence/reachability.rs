//! A user's visible reachability.

use serde::{Deserialize, Serialize};

/// A user's visible reachability. Each value is `true`, `false`, or `None` for unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reachability {
    /// Whether the user has a live connection. `None`: reachability is off, or the user was not online since it was
    /// last switched on.
    #[serde(rename = "is_online")]
    pub online: Option<bool>,
    /// Whether the user has a push registration that is believed deliverable. `None`: reachability is off, or the user
    /// never had a registration.
    #[serde(rename = "is_notifiable")]
    pub notifiable: Option<bool>,
}

impl Reachability {
    /// Both values unknown: shown in lists, and while reachability is off.
    pub const UNKNOWN: Self = Self { online: None, notifiable: None };
}
