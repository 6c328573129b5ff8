//! What a client sees of a user.

use crate::directory::user::User;
use crate::presence::reachability::Reachability;
use crate::presence::sequence::sequence;
use crate::presence::snapshot::UserSnapshot;
use crate::time::Timestamp;

/// What a client sees of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// The user's profile.
    pub user: User,
    /// Whether the user is online and notifiable.
    pub reachability: Reachability,
    /// Whether reachability is on for the user's service.
    pub reachability_enabled: bool,
    /// Orders the view among the changes of the user ([`sequence()`]): a change with a higher number is later.
    pub sequence: u64,
}

impl UserView {
    /// What a client sees now.
    pub fn of(snapshot: &UserSnapshot, now: Timestamp) -> Self {
        let UserSnapshot { configuration, user, state } = snapshot;
        Self {
            user: user.clone(),
            reachability: Reachability::of(configuration, *state, now),
            reachability_enabled: configuration.reachability_enabled,
            // A store may have written the profile after it read the state.
            sequence: sequence(configuration, state.revision.max(user.revision)),
        }
    }
}
