//! The truth table of a user's reachability.

use serde::{Deserialize, Serialize};

use crate::directory::configuration::Configuration;
use crate::presence::state::StateSummary;
use crate::time::Timestamp;

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

    /// The reachability of a user at `now`.
    pub fn of(configuration: &Configuration, user: impl Into<StateSummary>, now: Timestamp) -> Self {
        let user = user.into();
        if !configuration.reachability_enabled {
            return Self::UNKNOWN;
        }
        Self {
            online: user.was_online_in(configuration.generation).then_some(now < user.live_until),
            notifiable: user.announced_in.is_some().then_some(now < user.deliverable_until),
        }
    }
}
