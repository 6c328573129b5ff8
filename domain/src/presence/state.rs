//! The stored state that a user's reachability is computed from.

use crate::directory::configuration::Generation;
use crate::directory::user::User;
use crate::presence::change_reason::ChangeReason;
use crate::presence::connections::{KEEP_DELETION, Presence};
use crate::presence::disclosure::{Disclose, Disclosure, Hidden};
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
    /// What the user chose to show to others.
    pub disclosure: Disclosure,
    /// The push registrations.
    pub registrations: Registrations,
    /// When the user was last deleted; `None` if never, or more than [`KEEP_DELETION`] ago. Events that occurred by
    /// then say nothing. It outlives the creation of a new user with the same identity.
    pub deleted_at: Option<Timestamp>,
    /// When the user's timer is due ([`UserState::set_timer`]); `None`: no timer is known. One that is past has come, or is on
    /// its way. It is no part of what is visible: a write of it alone is no new revision.
    pub next_timer: Option<Timestamp>,
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
            disclosure: Disclosure::default(),
            registrations: Registrations::default(),
            deleted_at: None,
            next_timer: None,
            revision: 0,
            as_of: Timestamp::MIN,
        }
    }
}

/// The part of a user's state that depends on neither the number of its connections nor of its registrations: what anybody sees
/// is computed from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSummary {
    /// When the user goes offline if no further event arrives; [`Timestamp::MIN`] if there was never a connect.
    pub live_until: Timestamp,
    /// [`Presence::connected_at`].
    pub connected_at: Option<Timestamp>,
    /// [`Presence::online_generation`].
    pub online_generation: Generation,
    /// [`UserState::disclosure`].
    pub disclosure: Disclosure,
    /// [`Registrations::announced_in`].
    pub announced_in: Option<Generation>,
    /// When the last live registration expires; [`Timestamp::MIN`] if there is none.
    pub deliverable_until: Timestamp,
    /// [`UserState::revision`].
    pub revision: u64,
    /// [`UserState::as_of`].
    pub as_of: Timestamp,
}

impl From<&UserState> for StateSummary {
    fn from(state: &UserState) -> Self {
        Self {
            live_until: state.presence.live_until(),
            connected_at: state.presence.connected_at,
            online_generation: state.presence.online_generation,
            disclosure: state.disclosure.clone(),
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
        // Before the connects that they came with: nobody sees somebody come who is invisible from then on.
        let (mut is_disclosed, mut is_seen) = (false, creates_user);
        for wish in news.wishes(&self.presence, self.deleted_at) {
            is_disclosed |= !wish.is_already(&self.disclosure);
            is_seen |= self.show(wish, now);
        }
        let has_news = news.join_to(&mut self.presence, self.deleted_at);
        if creates_user {
            self.sid = Some(sid);
            // Others see one who is invisible come as if the owner had created it.
            (self.created_by, self.webhook_enabled) = match self.disclosure.invisible {
                true => (Some(ChangeReason::Profile), true),
                false => (Some(ChangeReason::Connect), false),
            };
        }
        let is_changed = has_news || creates_user || end_has_come || is_disclosed;
        if is_changed {
            is_seen |= self.is_seen_online(now);
            self.written(now, is_seen);
        }
        is_changed
    }

    /// Lets others see the user again, if it is online and not invisible any more. Returns whether they do now and did not before.
    fn is_seen_online(&mut self, now: Timestamp) -> bool {
        let is_seen =
            self.disclosure.hidden.is_some() && !self.disclosure.invisible && now < self.presence.live_until();
        if is_seen {
            self.disclosure.hidden = None;
        }
        is_seen
    }

    /// Shows others what the user wants to show. Returns whether a write is needed: not if it is shown already, or if there is no
    /// such user.
    pub fn disclose(&mut self, wish: &Disclose, now: Timestamp) -> bool {
        if self.sid.is_none() || wish.is_already(&self.disclosure) {
            return false;
        }
        // If the clock was set back, who has left has left all the same.
        let is_seen = self.show(wish, now.max(self.as_of));
        self.written(now, is_seen);
        true
    }

    /// Takes a wish up, in a write at this time. Returns whether others see it.
    fn show(&mut self, wish: &Disclose, now: Timestamp) -> bool {
        let before = self.disclosure.clone();
        if let Some(status) = &wish.status {
            self.disclosure.status = status.clone();
        }
        match wish.invisible {
            Some(true) if !before.invisible => {
                let live_until = self.presence.live_until();
                // Those who were last told that the user is online must hear of it.
                let is_seen = before.hidden.is_none() && self.as_of < live_until;
                let last_active = StateSummary::from(&*self).last_active(now);
                let hidden = before.hidden.unwrap_or(Hidden {
                    online_generation: self.presence.online_generation,
                    last_active: if now < live_until { Some(now) } else { last_active },
                    status: None,
                    revision: self.revision,
                    as_of: self.as_of,
                });
                self.disclosure.hidden = Some(Hidden { status: before.status, ..hidden });
                self.disclosure.invisible = true;
                is_seen
            }
            Some(false) if before.invisible => {
                self.disclosure.invisible = false;
                let status = before.hidden.and_then(|hidden| hidden.status);
                if self.is_seen_online(now) {
                    // For others this is a connect.
                    self.presence.connected_at = self.presence.connected_at.max(Some(now));
                }
                self.disclosure.hidden.is_none() || status != self.disclosure.status
            }
            Some(_) | None => !self.disclosure.invisible && before.status != self.disclosure.status,
        }
    }

    /// The revision of the last write that others could see.
    pub fn revision_for_others(&self) -> u64 {
        self.disclosure.hidden.as_ref().map_or(self.revision, |hidden| hidden.revision)
    }

    /// Time of that write.
    pub fn as_of_for_others(&self) -> Timestamp {
        self.disclosure.hidden.as_ref().map_or(self.as_of, |hidden| hidden.as_of)
    }

    /// Creates the user whom a REST request describes.
    pub fn create(&mut self, user: &User) {
        (self.sid, self.created_by) = (Some(user.sid), Some(ChangeReason::Profile));
        self.webhook_enabled = user.webhook_enabled;
        self.written(user.date_created, true);
    }

    /// Deletes the user: what is left is when that was.
    pub fn delete(&mut self, now: Timestamp) {
        // A gateway's clock may be ahead: what it has said so far says nothing any more.
        let heard = self.presence.last_active.max(self.presence.floor);
        self.deleted_at = self.deleted_at.max(Some(now)).max(heard);
        (self.sid, self.created_by, self.webhook_enabled) = (None, None, false);
        self.presence = Presence::default();
        self.disclosure = Disclosure::default();
        self.registrations = Registrations::default();
        self.next_timer = None;
        self.written(now, true);
    }

    /// Changes the user's profile, which is stored elsewhere.
    pub fn change_profile(&mut self, now: Timestamp) {
        self.written(now, true);
    }

    /// Announces the registrations in this generation. Returns whether a write is needed.
    pub fn announce(&mut self, generation: Generation, now: Timestamp) -> bool {
        let is_changed = self.registrations.announce(generation);
        if is_changed {
            self.written(now, true);
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
        self.written(now, true);
        gone
    }

    /// Removes a device.
    pub fn remove_device(&mut self, sid: BindingSid, now: Timestamp) {
        self.registrations.remove(sid);
        self.written(now, true);
    }

    /// A write at this time. `is_seen`: others can see it too, even of a user of whom they see something else.
    fn written(&mut self, now: Timestamp, is_seen: bool) {
        self.revision = next_revision(self.revision, now);
        self.as_of = self.as_of.max(now);
        if let Some(hidden) = self.disclosure.hidden.as_mut().filter(|_| is_seen) {
            (hidden.revision, hidden.as_of) = (self.revision, self.as_of);
        }
        self.deleted_at = self.deleted_at.filter(|at| now < at.plus(KEEP_DELETION));
    }
}

/// The revision of a write at `now` to a record at `revision`.
pub fn next_revision(revision: u64, now: Timestamp) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0).max(revision + 1)
}
