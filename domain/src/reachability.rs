//! The truth table: what a user's reachability is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::presence::{Generation, Learned, Presence};
use crate::registration::{Registration, Registrations};
use crate::sid::BindingSid;
use crate::time::Timestamp;

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

/// Everything that a user's reachability depends on, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserState {
    /// The connections.
    pub presence: Presence,
    /// The push registrations.
    pub registrations: Registrations,
    /// Grows with every write, and begins above all that it was before if the user was forgotten. Zero: never written.
    pub revision: u64,
    /// When it was last written: what the outside was last told is what was true then.
    pub as_of: Timestamp,
}

impl Default for UserState {
    /// The state of a user of whom nothing was ever stored.
    fn default() -> Self {
        Self {
            presence: Presence::default(),
            registrations: Registrations::default(),
            revision: 0,
            as_of: Timestamp::MIN,
        }
    }
}

impl UserState {
    /// Adds what events say. With or without news, the end of the last live connection is something to write once it has
    /// come: the outside has not been told of it yet. If nothing was learned, nothing is to be written.
    pub fn join(&mut self, news: &Presence, now: Timestamp) -> Learned {
        let live_until = self.presence.live_until();
        let end_has_come = self.as_of < live_until && live_until <= now;
        let mut learned = self.presence.join(news);
        learned.anything |= end_has_come;
        if learned.anything {
            self.written(now);
        }
        learned
    }

    /// Leaves of a deleted user what keeps its connections from coming back.
    pub fn bury(&mut self, now: Timestamp) {
        self.presence = self.presence.buried(now);
        self.registrations = Registrations::default();
        self.written(now);
    }

    /// Adds a device, or what is newly known of it ([`Registrations::insert`]).
    pub fn add_device(
        &mut self,
        sid: BindingSid,
        registration: Registration,
        told_in: Option<Generation>,
        now: Timestamp,
    ) -> Option<BindingSid> {
        let gone = self.registrations.insert(sid, registration, told_in);
        self.written(now);
        gone
    }

    /// Takes a device away.
    pub fn remove_device(&mut self, sid: BindingSid, now: Timestamp) {
        self.registrations.remove(sid);
        self.written(now);
    }

    fn written(&mut self, now: Timestamp) {
        // The state of a user who was forgotten begins anew: above where the last one can have ended.
        self.revision = match self.revision {
            0 => u64::try_from(now.as_millis()).unwrap_or(0).max(1),
            known => known + 1,
        };
        self.as_of = self.as_of.max(now);
    }
}

/// What the outside sees of a user: each `true`, `false`, or `None` where there is nothing to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reachability {
    /// Whether the user has a live connection. `None`: reachability is off, or the user was never online since it was
    /// (last) switched on.
    pub online: Option<bool>,
    /// Whether the user has a push registration that is believed deliverable. `None`: reachability is off, or the user
    /// never had one.
    pub notifiable: Option<bool>,
}

impl Reachability {
    /// Nothing to tell: what lists show, and what is shown while reachability is off.
    pub const UNKNOWN: Self = Self { online: None, notifiable: None };

    /// The truth about a user at `now`.
    pub fn of(configuration: &Configuration, user: &UserState, now: Timestamp) -> Self {
        if !configuration.reachability_enabled {
            return Self::UNKNOWN;
        }
        Self {
            online: user.presence.was_online_in(configuration.generation).then(|| user.presence.live_until() > now),
            notifiable: user.registrations.ever().then(|| user.registrations.deliverable(now).next().is_some()),
        }
    }
}
