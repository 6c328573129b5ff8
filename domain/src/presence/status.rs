//! The text that a user shows beside its name.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The text that a user shows beside its name: at least one byte, at most [`Status::MAX_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Status(Arc<str>);

/// The text is empty, or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a status has 1 to {} bytes of UTF-8", Status::MAX_BYTES)]
pub struct InvalidStatus;

impl Status {
    /// The longest status, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 256;

    /// The status that a request sets; `None` for the empty text, which clears it.
    ///
    /// # Errors
    /// If the text is too long.
    pub fn set_to(text: &str) -> Result<Option<Self>, InvalidStatus> {
        if text.is_empty() { Ok(None) } else { Self::try_from(text.to_owned()).map(Some) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Status {
    type Error = InvalidStatus;

    fn try_from(text: String) -> Result<Self, InvalidStatus> {
        if (1..=Self::MAX_BYTES).contains(&text.len()) { Ok(Self(text.into())) } else { Err(InvalidStatus) }
    }
}

impl From<Status> for String {
    fn from(status: Status) -> Self {
        status.as_str().to_owned()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_a_limit_in_bytes() {
        assert_eq!(Status::set_to(""), Ok(None));
        assert_eq!(Status::set_to(&"é".repeat(128)).unwrap().unwrap().as_str().len(), 256);
        assert_eq!(Status::set_to(&format!("a{}", "é".repeat(128))), Err(InvalidStatus));
        assert!(serde_json::from_str::<Status>("\"\"").is_err());
    }
}
