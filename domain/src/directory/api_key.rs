//! API keys.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::sid::KeySid;
use crate::time::Timestamp;

/// An API key: a second name and password for the account, which can be taken away again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The key's sid, never changed.
    pub sid: KeySid,
    /// A name to show; may be empty.
    pub friendly_name: String,
    /// The password. It signs access tokens too, so it cannot be kept as a hash.
    pub secret: Secret,
    /// When it was made. It never changes.
    pub date_created: Timestamp,
}
