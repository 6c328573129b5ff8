//! Names chosen by the owner's app: identities of users and ids of connections.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest;
use crate::sid::{ServiceSid, UserSid};

/// Why a text is not a valid identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// The text is empty. (An empty form field arrives as an empty text.)
    #[error("identity is empty")]
    Empty,
    /// Longer than [`Identity::MAX_CHARS`] characters.
    #[error("identity is longer than {} characters", Identity::MAX_CHARS)]
    TooLong,
    /// `US` and 32 hexadecimal digits: a path could not distinguish it from a user's sid.
    #[error("identity looks like a user sid")]
    LooksLikeSid,
}

/// The app's name for a user: 1 to 256 characters, case-sensitive, immutable, unique in its service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Identity(Arc<str>);

impl Identity {
    /// The vendor's documented limit, in characters.
    pub const MAX_CHARS: usize = 256;

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        if text.is_empty() {
            Err(InvalidIdentity::Empty)
        } else if is_longer_than(text, Self::MAX_CHARS) {
            Err(InvalidIdentity::TooLong)
        } else if text.parse::<UserSid>().is_ok() {
            Err(InvalidIdentity::LooksLikeSid)
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is not a valid connection id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConnectionId {
    /// The text is empty.
    #[error("connection_id is empty")]
    Empty,
    /// Longer than [`ConnectionId::MAX_BYTES`] bytes.
    #[error("connection_id is longer than {} bytes", ConnectionId::MAX_BYTES)]
    TooLong,
}

/// The gateway's name for a connection: 1 to 128 bytes. A gateway must not reuse it for the same user.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ConnectionId(Arc<str>);

impl ConnectionId {
    /// This project's limit: longer than any gateway's ids.
    pub const MAX_BYTES: usize = 128;

    /// The id of the connection with this number of a run of our own gateway, which a random number names.
    pub fn numbered(run: u64, number: u64) -> Self {
        Self(format!("{run:016x}-{number:x}").into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a user's record names the connection by.
    pub fn key(&self) -> ConnectionKey {
        let [.., a, b, c, d, e, f, g, h, i] = digest::hash(&[self.0.as_bytes()]).to_be_bytes();
        ConnectionKey([a, b, c, d, e, f, g, h, i])
    }
}

/// A hash of a connection's id, by which a user's record names it: ids can be long, and a record should stay small. It has
/// 72 bits. Two of the at most some 120 connections in a record have the same one in less than one of 10^17 records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionKey(pub [u8; 9]);

impl FromStr for ConnectionId {
    type Err = InvalidConnectionId;

    fn from_str(text: &str) -> Result<Self, InvalidConnectionId> {
        match text.len() {
            0 => Err(InvalidConnectionId::Empty),
            1..=Self::MAX_BYTES => Ok(Self(text.into())),
            _ => Err(InvalidConnectionId::TooLong),
        }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for ConnectionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The key of a user's state. The same identity in two services is two users.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UserKey {
    /// The user's service.
    #[serde(rename = "service_sid")]
    pub service: ServiceSid,
    /// The user's identity in that service.
    pub identity: Identity,
}

/// Whether a text has more than `limit` characters. Stops counting after the limit.
pub fn is_longer_than(text: &str, limit: usize) -> bool {
    text.len() > limit && text.chars().nth(limit).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_length_is_in_characters() {
        assert!("ü".repeat(256).parse::<Identity>().is_ok());
        assert_eq!("ü".repeat(257).parse::<Identity>(), Err(InvalidIdentity::TooLong));
        assert_eq!("".parse::<Identity>(), Err(InvalidIdentity::Empty));
    }

    #[test]
    fn an_identity_never_looks_like_a_user_sid() {
        let sid = format!("US{}", "aB".repeat(16));
        assert_eq!(sid.parse::<Identity>(), Err(InvalidIdentity::LooksLikeSid));
        assert!(format!("us{}", "ab".repeat(16)).parse::<Identity>().is_ok());
        assert!(format!("IS{}", "ab".repeat(16)).parse::<Identity>().is_ok());
    }

    #[test]
    fn connection_id_length_is_in_bytes() {
        assert!("c".repeat(128).parse::<ConnectionId>().is_ok());
        assert_eq!("ü".repeat(65).parse::<ConnectionId>(), Err(InvalidConnectionId::TooLong));
        assert_eq!("".parse::<ConnectionId>(), Err(InvalidConnectionId::Empty));
    }
}
