//! How long the client's token lasts.

use reachability_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::session::timing::{EXPIRES_SOON, UPDATE_WITHIN};

/// The token that a session lives by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) expires_at: Timestamp,
    /// Whether the client was told that it expires soon.
    is_told: bool,
}

impl Token {
    pub(crate) fn new(expires_at: Timestamp) -> Self {
        Self { expires_at, is_told: false }
    }

    /// When it expires, or a little later if another is coming in its place.
    pub(crate) fn ends_at(&self, is_renewing: bool) -> Timestamp {
        if is_renewing { self.expires_at.plus(UPDATE_WITHIN) } else { self.expires_at }
    }

    fn expires_soon_at(&self) -> Timestamp {
        let soon = i64::try_from(EXPIRES_SOON.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.expires_at.as_millis().saturating_sub(soon))
    }

    /// Whether the client must be told now that the token expires soon: once.
    pub(crate) fn tells(&mut self, now: Timestamp) -> bool {
        let tells = !self.is_told && self.expires_soon_at() <= now;
        self.is_told |= tells;
        tells
    }

    /// When to tell the client, or to end the session.
    pub(crate) fn due_at(&self, is_renewing: bool) -> Timestamp {
        if self.is_told { self.ends_at(is_renewing) } else { self.expires_soon_at() }
    }
}
