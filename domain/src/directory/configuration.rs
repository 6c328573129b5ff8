//! Whether a service's reachability is on, and how often it was switched on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Counts how often a service's reachability was switched on. Zero: never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

/// Whether a service's reachability is on, and since which time around. Off when a service is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Configuration {
    /// Whether reachability is kept and shown at all.
    pub reachability_enabled: bool,
    /// How often it was switched on, this time included.
    pub generation: Generation,
    /// When it was last switched off; `None` if never.
    #[serde(default)]
    pub disabled_at: Option<Timestamp>,
}

impl Configuration {
    /// How old a configuration may be by which events are handled.
    pub const MAX_AGE: Duration = Duration::from_secs(3);

    /// Switches reachability on or off. Switching to what it is already changes nothing.
    pub fn set_reachability_enabled(&mut self, enabled: bool, now: Timestamp) {
        match (self.reachability_enabled, enabled) {
            (false, true) => self.generation.0 += 1,
            (true, false) => self.disabled_at = Some(now),
            _ => {}
        }
        self.reachability_enabled = enabled;
    }
}
