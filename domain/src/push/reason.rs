//! The reason of a rejection or failure, as one word.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A provider's reason, such as `BadDeviceToken`: up to 64 letters, digits and a few signs, so it is safe to log, count
/// and show.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(Box<str>);

impl Reason {
    /// The word for a registration that was not made again in time ([`Lifetime`](crate::push::lifetime::Lifetime)).
    pub const EXPIRED: &str = "Expired";

    /// APNs's word for a token that is none, or is of another environment.
    pub const BAD_DEVICE_TOKEN: &str = "BadDeviceToken";

    /// The word for a credential whose sealed secret cannot be opened, or is gone.
    pub const UNREADABLE_SECRET: &str = "UnreadableSecret";

    /// The word for a certificate whose time is over, by the clock or by the provider's word.
    pub const CERTIFICATE_EXPIRED: &str = "CertificateExpired";

    /// The word for a push that is held back since its provider throttles the device.
    pub const DEVICE_THROTTLED: &str = "DeviceThrottled";

    /// The word for a delivery to a user who is online, of a notification for those who are offline.
    pub const ONLINE: &str = "online";

    /// The word for a delivery to a device that is not registered any more.
    pub const NOT_REGISTERED: &str = "NotRegistered";

    /// Keeps only the characters that a reason can have.
    pub fn new(word: &str) -> Self {
        let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | ' ');
        let word: String = word.chars().filter(fits).take(64).collect();
        if word.is_empty() { Self("Unknown".into()) } else { Self(word.into()) }
    }

    /// The reason as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_word() {
        assert_eq!(Reason::new("BadDeviceToken").as_str(), "BadDeviceToken");
        assert_eq!(Reason::new("a\n\"b\" <c>\u{1F600}").as_str(), "ab c");
        assert_eq!(Reason::new("\u{1F600}").as_str(), "Unknown");
        assert_eq!(Reason::new(&"x".repeat(1_000)).as_str().len(), 64);
    }
}
