//! Why commands fail, as the protocol says it.

use reachability_domain::channel::ports::OverLimit;
use reachability_domain::channel::{MAX_CREATED, MAX_MEMBERS};
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::store::StoreError;
use reachability_functions::use_cases::channels::ChannelError;
use reachability_functions::use_cases::scan::QueryError;
use reachability_gateway::json::CommandError;
use tracing::warn;

use super::hub::MembersError;

/// A failure that the client is told in the protocol's words.
pub(super) struct Failure(pub(super) CommandError);

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        Self(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if let StoreError::NotSupported = error {
            return Self(CommandError::NotSupported);
        }
        warn!(error = %ErrorChain(&error), "a client's request failed");
        Self(CommandError::Unavailable)
    }
}

impl From<MembersError> for Failure {
    fn from(error: MembersError) -> Self {
        match error {
            MembersError::Store(error) => error.into(),
            MembersError::Limit(error) => Self(error),
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::TooBroad => Self(CommandError::QueryTooBroad),
            QueryError::Cursor(error) => Self(error.into()),
            QueryError::Store(error) => error.into(),
        }
    }
}

impl From<ChannelError> for Failure {
    fn from(error: ChannelError) -> Self {
        Self(match error {
            ChannelError::NotFound => CommandError::NotFound,
            ChannelError::Forbidden => CommandError::Forbidden,
            ChannelError::OverLimit(OverLimit::Members) => CommandError::TooManyMembers { limit: MAX_MEMBERS as u64 },
            ChannelError::OverLimit(OverLimit::Created) => {
                CommandError::LimitReached { what: "channels of yours", limit: MAX_CREATED as u64 }
            }
            // Another request creates or deletes it all the time.
            ChannelError::Exists => CommandError::Unavailable,
            ChannelError::Store(error) => return error.into(),
        })
    }
}
