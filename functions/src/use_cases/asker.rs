//! Who asks for users and channels.

use reachability_domain::identity::Identity;
use reachability_domain::presence::appearance::Viewer;

/// Who asks for users and channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// The owner.
    Owner {
        /// Whether the request asks for invisible users by name: then they are shown as they are.
        sees_invisible: bool,
    },
    /// A client of this user. It sees the channels of which the user is a member.
    User(Identity),
}

impl Asker {
    /// As whom they look at a user.
    pub fn viewer_of(&self, user: &Identity) -> Viewer {
        match self {
            Self::Owner { sees_invisible: true } => Viewer::Owner,
            Self::Owner { sees_invisible: false } => Viewer::Other,
            Self::User(by) => Viewer::at(user, by),
        }
    }

    /// What filters and sorts see of users. It is the same for all of them, the asker itself among them.
    pub(super) fn viewer_of_queries(&self) -> Viewer {
        match self {
            Self::Owner { sees_invisible: true } => Viewer::Owner,
            Self::Owner { sees_invisible: false } | Self::User(_) => Viewer::Other,
        }
    }
}
