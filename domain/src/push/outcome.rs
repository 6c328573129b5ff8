//! What a push provider answers.
//!
//! A refusal is an answer and not an error: it is a value that says whose fault it is, since that decides what becomes of
//! the registration and of the credential.

use std::time::Duration;

use crate::push::reason::Reason;
use crate::time::Timestamp;

/// What a provider says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushOutcome {
    /// It took it. Whether it comes through is not known.
    Accepted {
        /// The provider's own name for it, if it gave one.
        id: Option<String>,
    },
    /// It refused it, and would again.
    Rejected(Rejection),
    /// It could not be reached, is busy, or has trouble of its own: that says nothing of the device.
    Unavailable {
        /// What went wrong, in a word.
        reason: Reason,
        /// How long it asks to be left alone; `None` if it does not say.
        retry_after: Option<Duration>,
        /// What went wrong at length, for the log: what TLS or the socket said. `None` if the reason is all there is. It
        /// holds nothing secret, and no device's token.
        cause: Option<Box<str>>,
    },
}

/// Why a provider refused something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The provider's word for it.
    pub reason: Reason,
    /// Whose fault it is.
    pub fault: Fault,
}

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device's token is dead, for good.
    Token {
        /// Since when, if the provider knows: it must be later than the registration to end it.
        since: Option<Timestamp>,
    },
    /// Our credential is not good, or not for this.
    Credential,
    /// What was sent, or the pair of it and this device. Neither is to be given up for it.
    Push,
}

impl PushOutcome {
    /// A refusal.
    pub fn rejected(reason: &str, fault: Fault) -> Self {
        Self::Rejected(Rejection { reason: Reason::new(reason), fault })
    }

    /// Trouble that passes.
    pub fn unavailable(reason: &str, retry_after: Option<Duration>) -> Self {
        Self::Unavailable { reason: Reason::new(reason), retry_after, cause: None }
    }

    /// Whether the provider can be reached, and works: it took it or refused it, or the trouble is this one device's.
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Accepted { .. } | Self::Rejected(_) => true,
            // Too many for the device (APNs), and a device that is being set up again (SNS).
            Self::Unavailable { reason, .. } => matches!(reason.as_str(), "TooManyRequests" | "EndpointGone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_one_device_is_an_answer() {
        assert!(PushOutcome::Accepted { id: None }.is_answer());
        for fault in [Fault::Credential, Fault::Push, Fault::Token { since: None }] {
            assert!(PushOutcome::rejected("Reason", fault).is_answer(), "{fault:?}");
        }
        for (reason, is_answer) in [
            ("TooManyRequests", true),
            ("EndpointGone", true),
            ("TooManyProviderTokenUpdates", false),
            ("QUOTA_EXCEEDED", false),
            ("NotConnected", false),
        ] {
            assert_eq!(PushOutcome::unavailable(reason, None).is_answer(), is_answer, "{reason}");
        }
    }
}
