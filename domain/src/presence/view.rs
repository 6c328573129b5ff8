//! What a viewer sees of a user.

use crate::directory::user::User;
use crate::presence::appearance::{Appearance, Viewer};
use crate::presence::sequence::sequence;
use crate::presence::snapshot::UserSnapshot;
use crate::time::Timestamp;

/// What a viewer sees of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// The user's profile.
    pub user: User,
    /// What the viewer sees of its state.
    pub appearance: Appearance,
    /// Whether reachability is on for the user's service.
    pub reachability_enabled: bool,
    /// Orders the view among the changes of the user ([`sequence()`]): a change with a higher number is later.
    pub sequence: u64,
}

impl UserView {
    /// What the viewer sees now.
    pub fn of(snapshot: &UserSnapshot, now: Timestamp, viewer: Viewer) -> Self {
        let UserSnapshot { configuration, user, state } = snapshot;
        let appearance = Appearance::of(configuration, state.clone(), now, viewer);
        Self {
            user: user.clone(),
            reachability_enabled: configuration.reachability_enabled,
            // A store may have written the profile after it read the state.
            sequence: sequence(configuration, appearance.revision.max(user.revision)),
            appearance,
        }
    }
}
