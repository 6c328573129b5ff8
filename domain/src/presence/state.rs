//! The stored state that a user's reachability is computed from.

use crate::directory::configuration::Generation;
use crate::directory::user::User;
use crate::presence::change_reason::ChangeReason;
use crate::presence::connections::{KEEP_DELETION, Presence};
use crate::presence::news::News;
use crate::push::registration::{Registration, Registrations};
use crate::sid::{BindingSid, UserSid};
use crate::time::Timestamp;

/// The stored state that a user's reachability is computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserState {
    /// The user's sid; `None`: there is no such user.
    pub sid: Option<UserSid>,
    /// What created the user; `None` if there is none, or if a version created it that did not store it.
    pub created_by: Option<ChangeReason>,
    /// Whether a REST request created the user that asked for webhooks ([`User::webhook_enabled`]).
    pub webhook_enabled: bool,
    /// The connections.
    pub presence: Presence,
    /// The push registrations.
    pub registrations: Registrations,
    /// When the user was last deleted; `None` if never, or more than [`KEEP_DELETION`] ago. Events that occurred by
    /// then say nothing. It outlives the creation of a new user with the same identity.
    pub deleted_at: Option<Timestamp>,
    /// Orders everything visible of the user: each write takes the current time in milliseconds, or one more than the
    /// revision before if that is greater. So it increases across processes, restarts and deletions. Zero: never written.
    pub revision: u64,
    /// Time of the last write. Subscribers were last told the value at that time.
    pub as_of: Timestamp,
}

impl Default for UserState {
    /// The state of a user without a stored state.
    fn default() -> Self {
        Self {
            sid: None,
            created_by: None,
            webhook_enabled: false,
            presence: Presence::default(),
            registrations: Registrations::default(),
            deleted_at: None,
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
            online_generation: state.presence.online_generation,
            announced_in: state.registrations.announced_in(),
            deliverable_until: state.registrations.deliverable_until(),
            revision: state.revision,
            as_of: state.as_of,
        }
    }
}

impl UserState {
    /// Joins events to the state, and creates the user with this sid if the events do. The state must also be written,
    /// even without news, once the end of the last live connection has passed: subscribers do not know of it yet.
    /// Returns whether a write is needed.
    pub fn join(&mut self, news: &News, sid: UserSid, now: Timestamp) -> bool {
        let live_until = self.presence.live_until();
        let end_has_come = self.as_of < live_until && live_until <= now;
        let creates_user = self.sid.is_none() && news.creates_user(self.deleted_at);
        let has_news = news.join_to(&mut self.presence, self.deleted_at);
        if creates_user {
            (self.sid, self.created_by) = (Some(sid), Some(ChangeReason::Connect));
        }
        let is_changed = has_news || creates_user || end_has_come;
        if is_changed {
            self.written(now);
        }
        is_changed
    }

    /// Creates the user whom a REST request describes.
    pub fn create(&mut self, user: &User) {
        (self.sid, self.created_by) = (Some(user.sid), Some(ChangeReason::Profile));
        self.webhook_enabled = user.webhook_enabled;
        self.written(user.date_created);
    }

    /// Deletes the user: what is left is when that was.
    pub fn delete(&mut self, now: Timestamp) {
        // A gateway's clock may be ahead: what it has said so far says nothing any more.
        let heard = self.presence.last_active.max(self.presence.floor);
        self.deleted_at = self.deleted_at.max(Some(now)).max(heard);
        (self.sid, self.created_by, self.webhook_enabled) = (None, None, false);
        self.presence = Presence::default();
        self.registrations = Registrations::default();
        self.written(now);
    }

    /// Changes the user's profile, which is stored elsewhere.
    pub fn change_profile(&mut self, now: Timestamp) {
        self.written(now);
    }

    /// Announces the registrations in this generation. Returns whether a write is needed.
    pub fn announce(&mut self, generation: Generation, now: Timestamp) -> bool {
        let is_changed = self.registrations.announce(generation);
        if is_changed {
            self.written(now);
        }
        is_changed
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
        self.revision = next_revision(self.revision, now);
        self.as_of = self.as_of.max(now);
        self.deleted_at = self.deleted_at.filter(|at| now < at.plus(KEEP_DELETION));
    }
}

/// The revision of a write at `now` to a record at `revision`.
pub fn next_revision(revision: u64, now: Timestamp) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0).max(revision + 1)
}
