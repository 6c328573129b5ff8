//! The port that reads what a fetch of a user shows.

use async_trait::async_trait;

use crate::directory::configuration::Configuration;
use crate::directory::user::{User, UserRef};
use crate::presence::state::StateSummary;
use crate::sid::ServiceSid;
use crate::store::StoreError;

/// A user, with what its reachability is computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSnapshot {
    /// The configuration of the user's service.
    pub configuration: Configuration,
    /// The user's profile.
    pub user: User,
    /// The user's state.
    pub state: StateSummary,
}

/// Reads a user, its service and its state together: with one look into the store, and as of one moment, where the store
/// can do that.
#[async_trait]
pub trait UserSnapshots: Send + Sync {
    /// A user of a service; `None` if the service or the user does not exist.
    async fn user_snapshot(&self, service: ServiceSid, user: &UserRef) -> Result<Option<UserSnapshot>, StoreError>;
}
