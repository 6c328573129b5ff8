//! The stored state that a user's reachability is computed from.

use crate::directory::configuration::Generation;
use crate::presence::connections::{Learned, Presence};
use crate::push::registration::{Registration, Registrations};
use crate::sid::BindingSid;
use crate::time::Timestamp;

/// The stored state that a user's reachability is computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserState {
    /// The connections.
    pub presence: Presence,
    /// The push registrations.
    pub registrations: Registrations,
    /// Incremented by every write. If the state was removed and created again, it starts above every earlier value.
    /// Zero: never written.
    pub revision: u64,
    /// Time of the last write. Subscribers were last told the value at that time.
    pub as_of: Timestamp,
}

impl Default for UserState {
    /// The state of a user without a stored state.
    fn default() -> Self {
        Self {
            presence: Presence::default(),
            registrations: Registrations::default(),
            revision: 0,
            as_of: Timestamp::MIN,
        }
    }
}

/// The part of a user's state that visible reachability depends on, in a fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateSummary {
    /// When the user goes offline if no further event arrives; [`Timestamp::MIN`] if there was never a connect.
    pub live_until: Timestamp,
    /// [`Presence::online_generation`].
    pub online_generation: Generation,
    /// [`Registrations::announced_in`].
    pub announced_in: Option<Generation>,
    /// When the last live registration expires; [`Timestamp::MIN`] if there is none.
    pub deliverable_until: Timestamp,
    /// [`UserState::revision`].
    pub revision: u64,
    /// [`UserState::as_of`].
    pub as_of: Timestamp,
}

impl StateSummary {
    /// Whether the user was online, now or earlier, in this generation.
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
    /// Joins events to the state. The state must also be written, even without news, once the end of the last live
    /// connection has passed: subscribers do not know of it yet. If the result has `anything` false, no write is
    /// needed.
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

    /// Reduces the state of a deleted user to the tombstones of its connections.
    pub fn mark_deleted(&mut self, now: Timestamp) {
        self.presence = self.presence.deleted(now);
        self.registrations = Registrations::default();
        self.written(now);
    }

    /// Adds or updates a device ([`Registrations::insert`]).
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

    /// Removes a device.
    pub fn remove_device(&mut self, sid: BindingSid, now: Timestamp) {
        self.registrations.remove(sid);
        self.written(now);
    }

    fn written(&mut self, now: Timestamp) {
        // The clock keeps revisions increasing when a removed state is created again.
        self.revision = match self.revision {
            0 => u64::try_from(now.as_millis()).unwrap_or(0).max(1),
            known => known + 1,
        };
        self.as_of = self.as_of.max(now);
    }
}
