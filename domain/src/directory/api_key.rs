//! API keys.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::sid::KeySid;
use crate::time::Timestamp;

/// An API key: an additional user name and password for the account, which the owner can revoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The key's sid; immutable.
    pub sid: KeySid,
    /// Display name; may be empty.
    pub friendly_name: String,
    /// The password. It also signs access tokens, so a hash is not enough.
    pub secret: Secret,
    /// Creation time; immutable.
    pub date_created: Timestamp,
    /// When it was last renamed; `None` if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_updated: Option<Timestamp>,
}
