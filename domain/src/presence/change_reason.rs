//! The words for why a visible field changed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::presence::event::EndReason;
use crate::push::reason::Reason;

/// Why a visible field of a user changed. Written as one word, the provider's word as `provider:Unregistered`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ChangeReason {
    /// A connection was opened or renewed.
    Connect,
    /// The last connection was closed by its client.
    ClientClosed,
    /// The last connection was lost, and its grace period is over.
    ConnectionLost,
    /// The last connection was closed by the gateway, and its grace period is over.
    ServerClosed,
    /// The lease of the last connection ran out.
    LeaseEnded,
    /// A device registered for push.
    Registered,
    /// A device was unregistered, or belongs to another user now.
    Unregistered,
    /// A registration was not made again in time.
    Expired,
    /// A push provider accepted a registration that was believed dead.
    Confirmed,
    /// A push provider refused a registration; the provider's word for it.
    Provider(Reason),
    /// Reachability was switched on.
    Switched,
    /// The profile was created or changed over REST.
    Profile,
    /// The user changed its own profile, in a client.
    OwnProfile,
    /// The user's status was set.
    Status,
    /// The user was deleted.
    Deleted,
}

/// It is no word for a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown reason of a change")]
pub struct InvalidChangeReason;

const PROVIDER: &str = "provider:";

impl From<EndReason> for ChangeReason {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::ClientClosed => Self::ClientClosed,
            EndReason::ConnectionLost => Self::ConnectionLost,
            EndReason::ServerClosed => Self::ServerClosed,
        }
    }
}

impl ChangeReason {
    fn word(&self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ClientClosed => "client_closed",
            Self::ConnectionLost => "connection_lost",
            Self::ServerClosed => "server_closed",
            Self::LeaseEnded => "lease_ended",
            Self::Registered => "registered",
            Self::Unregistered => "unregistered",
            Self::Expired => "expired",
            Self::Confirmed => "confirmed",
            Self::Provider(_) => PROVIDER,
            Self::Switched => "switched",
            Self::Profile => "profile",
            Self::OwnProfile => "own_profile",
            Self::Status => "status",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for ChangeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Provider(reason) => f.write_str(reason.as_str()),
            _ => Ok(()),
        }
    }
}

impl From<ChangeReason> for String {
    fn from(reason: ChangeReason) -> Self {
        reason.to_string()
    }
}

impl FromStr for ChangeReason {
    type Err = InvalidChangeReason;

    fn from_str(text: &str) -> Result<Self, InvalidChangeReason> {
        if let Some(word) = text.strip_prefix(PROVIDER) {
            return Ok(Self::Provider(Reason::new(word)));
        }
        let words = [
            Self::Connect,
            Self::ClientClosed,
            Self::ConnectionLost,
            Self::ServerClosed,
            Self::LeaseEnded,
            Self::Registered,
            Self::Unregistered,
            Self::Expired,
            Self::Confirmed,
            Self::Switched,
            Self::Profile,
            Self::OwnProfile,
            Self::Status,
            Self::Deleted,
        ];
        words.into_iter().find(|reason| reason.word() == text).ok_or(InvalidChangeReason)
    }
}

impl TryFrom<String> for ChangeReason {
    type Error = InvalidChangeReason;

    fn try_from(text: String) -> Result<Self, InvalidChangeReason> {
        text.parse()
    }
}
