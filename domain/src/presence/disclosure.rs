//! What a user chose to show to others.

use serde::{Deserialize, Serialize};

use crate::directory::configuration::Generation;
use crate::presence::status::Status;
use crate::time::Timestamp;

/// What a user chose to show to others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Disclosure {
    /// The user's status; `None`: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Whether the user wants to look offline to everybody else. It stays so until the user wants it otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invisible: bool,
    /// What others see of the user instead of what is so: from when it became invisible until others see it online again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Hidden>,
}

/// What others see of a user who became invisible: what they would see if it had said goodbye then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hidden {
    /// The latest generation in which others saw the user online.
    pub online_generation: Generation,
    /// When the user became invisible if it was online, or else when it was last seen; `None`: never.
    pub last_active: Option<Timestamp>,
    /// The status that others see while the user is invisible. Whatever the user sets meanwhile, they see when it is visible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The revision of the last write that others could see. Later ones of the user's record say nothing to them.
    pub revision: u64,
    /// Time of that write. What has changed since by time alone, others hear with the next write that they can see.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub as_of: Timestamp,
}

/// A record of an earlier version has no such time, and is written as it was read.
fn is_unknown(as_of: &Timestamp) -> bool {
    *as_of == Timestamp::default()
}

/// A wish to show something else. What is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Disclose {
    /// The status, or that there is none.
    pub status: Option<Option<Status>>,
    /// Whether to look offline to others.
    pub invisible: Option<bool>,
}

impl Disclose {
    /// Whether it changes nothing of this.
    pub fn is_already(&self, disclosure: &Disclosure) -> bool {
        self.status.as_ref().is_none_or(|status| *status == disclosure.status)
            && self.invisible.is_none_or(|invisible| invisible == disclosure.invisible)
    }
}
