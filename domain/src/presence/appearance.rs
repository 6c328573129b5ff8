//! What a viewer sees of a user: the truth table, and who sees what.
//!
//! Everything that shows a user to anybody asks [`Appearance::of`]: reads, and what is told of changes.

use std::time::Duration;

use crate::directory::configuration::{Configuration, Generation};
use crate::identity::Identity;
use crate::presence::reachability::Reachability;
use crate::presence::state::StateSummary;
use crate::presence::status::Status;
use crate::time::Timestamp;

/// Who looks at a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer {
    /// Everybody who is not one of the others: other users, and the owner unless a request asks for invisible users by name.
    Other,
    /// The user itself.
    User,
    /// The owner, who asked for invisible users by name.
    Owner,
}

impl Viewer {
    /// This user, who looks at that one of the same service.
    pub fn at(user: &Identity, by: &Identity) -> Self {
        if user == by { Self::User } else { Self::Other }
    }
}

/// What a viewer sees of a user's state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Appearance {
    /// Whether the user is online and notifiable.
    pub reachability: Reachability,
    /// What the user says of itself; `None`: nothing.
    pub status: Option<Status>,
    /// When the user was last seen: while it is online, the time of its latest connect or the last quarter of an hour, whichever is
    /// later; afterwards the end of its last connection. `None`: never, or reachability is off.
    pub last_active: Option<Timestamp>,
    /// Whether the user looks offline to others. They see `false`.
    pub invisible: bool,
    /// Orders what this viewer sees of the user's state ([`UserState::revision`]).
    ///
    /// [`UserState::revision`]: crate::presence::state::UserState::revision
    pub revision: u64,
}

/// How far [`Appearance::last_active`] may be behind while the user is online. It follows from the time alone: nothing is written,
/// and nobody is told.
pub const ACTIVE_WITHIN: Duration = Duration::from_secs(15 * 60);

impl Appearance {
    /// What a viewer sees at `now`, or at the last write that the viewer can see, whichever is later: if the clock was set
    /// back, what was over by then stays so.
    pub fn of(configuration: &Configuration, user: impl Into<StateSummary>, now: Timestamp, viewer: Viewer) -> Self {
        let user = user.into();
        let disclosure = &user.disclosure;
        let hidden = disclosure.hidden.as_ref().filter(|_| viewer == Viewer::Other);
        let now = now.max(hidden.map_or(user.as_of, |hidden| hidden.as_of));
        let is_on = configuration.reachability_enabled;
        let is_now =
            |generation| is_on && generation == configuration.generation && generation != Generation::default();
        let notifiable = user.announced_in.filter(|_| is_on).map(|_| now < user.deliverable_until);
        let (online, last_active, revision) = match hidden {
            Some(hidden) => (is_now(hidden.online_generation).then_some(false), hidden.last_active, hidden.revision),
            None => {
                let online = is_now(user.online_generation).then_some(now < user.live_until);
                (online, user.last_active(now), user.revision)
            }
        };
        let status = match hidden {
            Some(hidden) if disclosure.invisible => &hidden.status,
            _ => &disclosure.status,
        };
        Self {
            reachability: Reachability { online, notifiable },
            status: status.clone(),
            last_active: last_active.filter(|_| is_on),
            invisible: disclosure.invisible && viewer != Viewer::Other,
            revision,
        }
    }
}

impl StateSummary {
    /// When the user was last seen, by the truth; `None`: never.
    pub fn last_active(&self, now: Timestamp) -> Option<Timestamp> {
        if self.live_until == Timestamp::MIN {
            return self.connected_at;
        }
        // An end is later than the connect that it belongs to.
        if self.live_until <= now {
            return Some(self.live_until);
        }
        let within = i64::try_from(ACTIVE_WITHIN.as_millis()).unwrap_or(i64::MAX);
        let rounded = Timestamp::from_millis(now.as_millis() - now.as_millis().rem_euclid(within));
        // A gateway's clock may be ahead.
        Some(self.connected_at.map_or(rounded, |connected| connected.min(now).max(rounded)))
    }
}
