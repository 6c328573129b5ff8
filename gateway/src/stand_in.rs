//! Copies of types of `domain` that are about to come there.

use std::fmt;

use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::sid::KeySid;
use reachability_domain::time::Timestamp;

/// A user's map.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MapSid(pub u128);

impl fmt::Display for MapSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MP{:032x}", self.0)
    }
}

/// What an access token grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The user.
    pub user: UserKey,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// The API key that signed it.
    pub key: KeySid,
}

/// Why an access token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// 20101.
    Invalid,
    /// 20104.
    Expired,
}

impl TokenError {
    /// The vendor's code.
    pub fn code(self) -> u32 {
        match self {
            Self::Invalid => 20101,
            Self::Expired => 20104,
        }
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        401
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "Invalid Access Token",
            Self::Expired => "Access Token expired",
        })
    }
}

/// What a client sees of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// The profile.
    pub user: User,
    /// The reachability.
    pub reachability: Reachability,
    /// Whether reachability is on in the user's service.
    pub reachability_enabled: bool,
    /// The number that orders what watchers hear of the user.
    pub sequence: u64,
}
