//! Whether reachability is on for a service, and its generation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Counts how often a service's reachability was switched on. Zero: never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

/// Whether reachability is on for a service, and in which generation. A new service has it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Configuration {
    /// Whether reachability is tracked and shown.
    pub reachability_enabled: bool,
    /// How often it was switched on, including the current time.
    pub generation: Generation,
    /// When it was last switched on; `None` if never, or if a version that did not store it did so.
    #[serde(default)]
    pub enabled_at: Option<Timestamp>,
    /// When it was last switched off; `None` if never.
    #[serde(default)]
    pub disabled_at: Option<Timestamp>,
    /// Whether it is off and about to be switched on. Nobody may then rely on a copy that says that it is off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub switches_on: bool,
}

impl Configuration {
    /// The maximum age of a cached configuration when events are handled.
    pub const MAX_AGE: Duration = Duration::from_secs(3);

    /// The maximum age of a cached configuration that is off, when events are handled that depend on whether it still is. It is
    /// announced before it is switched on ([`Configuration::switches_on`]), so that no such copy is left by then.
    pub const MAX_AGE_WHILE_OFF: Duration = Duration::from_secs(1);

    /// How often reachability can be switched on: a number that orders a user's changes across switches stays below 2^53.
    pub const MAX_GENERATION: Generation = Generation(4_000);

    /// Switches reachability on or off. Does nothing if it already has that value. Whoever asks for more than
    /// [`Configuration::MAX_GENERATION`] is to be refused before.
    pub fn set_reachability_enabled(&mut self, enabled: bool, now: Timestamp) {
        match (self.reachability_enabled, enabled) {
            (false, true) => {
                self.generation.0 += 1;
                self.enabled_at = Some(now);
            }
            (true, false) => self.disabled_at = Some(now),
            _ => {}
        }
        self.reachability_enabled = enabled;
        self.switches_on = false;
    }
}
