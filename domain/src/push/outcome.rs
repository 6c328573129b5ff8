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
        Self::Unavailable { reason: Reason::new(reason), retry_after }
    }
}
