//! Everything that a user's reachability depends on, as stored.

use crate::directory::configuration::Generation;
use crate::presence::connections::{Learned, Presence};
use crate::push::registration::{Registration, Registrations};
use crate::sid::BindingSid;
use crate::time::Timestamp;

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

/// As much of a user's state as what is seen of the user depends on, in a fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateSummary {
    /// Until when the user counts as live; [`Timestamp::MIN`] if no connection ever began.
    pub live_until: Timestamp,
    /// [`Presence::online_generation`].
    pub online_generation: Generation,
    /// [`Registrations::announced_in`].
    pub announced_in: Option<Generation>,
    /// Until when a push is believed to reach one of the user's devices; [`Timestamp::MIN`] if there is none.
    pub deliverable_until: Timestamp,
    /// [`UserState::revision`].
    pub revision: u64,
    /// [`UserState::as_of`].
    pub as_of: Timestamp,
}

impl StateSummary {
    /// Whether the user counts as online (now or earlier) in this generation.
    pub fn was_online_in(&self, generation: Generation) -> bool {
        self.online_generation == generation && generation != Generation::default()
    }
}

impl From<&UserState> for StateSummary {
    fn from(state: &UserState) -> Self {
        Self {
            live_until: state.presence.live_until(),
            online_generation: state.presence.online_generation(),
            announced_in: state.registrations.announced_in(),
            deliverable_until: state.registrations.deliverable_until(),
            revision: state.revision,
            as_of: state.as_of,
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
    pub fn mark_deleted(&mut self, now: Timestamp) {
        self.presence = self.presence.deleted(now);
        self.registrations = Registrations::default();
        self.written(now);
    }

    /// Adds a device, or what is newly known of it ([`Registrations::insert`]).
    pub fn add_device(
        &mut self,
        sid: BindingSid,
        registration: Registration,
        announced_in: Option<Generation>,
        now: Timestamp,
    ) -> Option<BindingSid> {
        let gone = self.registrations.insert(sid, registration, announced_in);
        self.written(now);
        gone
    }

    /// Takes a device away.
    pub fn remove_device(&mut self, sid: BindingSid, now: Timestamp) {
        self.registrations.remove(sid);
        self.written(now);
    }

    fn written(&mut self, now: Timestamp) {
        // The state of a user who was forgotten starts again, above where the last one can have ended.
        self.revision = match self.revision {
            0 => u64::try_from(now.as_millis()).unwrap_or(0).max(1),
            known => known + 1,
        };
        self.as_of = self.as_of.max(now);
    }
}
