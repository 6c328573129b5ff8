//! The outcomes of a push.
//!
//! A rejection is a value and not an error. Its `fault` decides what happens to the registration and the credential.

use std::time::Duration;

use crate::breaker::Heard;
use crate::push::reason::Reason;
use crate::time::Timestamp;

/// The outcome of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushOutcome {
    /// The provider accepted it. Delivery to the device is not guaranteed.
    Accepted {
        /// The provider's id for it; `None` if not given.
        id: Option<String>,
    },
    /// The provider rejected it. A retry would be rejected too.
    Rejected(Rejection),
    /// The provider is unreachable, busy, or has an internal error. This says nothing about the device.
    Unavailable {
        /// The reason, as one word.
        reason: Reason,
        /// What is known of the push.
        trouble: Trouble,
        /// The pause that the provider asks for; `None` if it asks for none.
        retry_after: Option<Duration>,
        /// Details for the log, such as the TLS or socket error; `None` if there are none. Never contains secrets or
        /// device tokens.
        cause: Option<Box<str>>,
    },
}

/// What is known of a push without a usable answer. It decides when a retry may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing was sent: there was no connection, or the provider refused the request before it processed it.
    NotSent,
    /// It was sent, and no answer came. The provider may have carried it out.
    Unanswered,
    /// The provider answered with an error of its own.
    Failed,
    /// The provider says that there were too many pushes. This may be about the device alone.
    Throttled,
}

/// A provider's rejection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The provider's reason.
    pub reason: Reason,
    /// What is at fault.
    pub fault: Fault,
}

/// What is at fault for a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device's token is permanently dead.
    Token {
        /// Since when, if the provider reports it. Only a time after the registration ends the registration.
        since: Option<Timestamp>,
    },
    /// The device's token does not fit the credential: it is of another environment, app or sender, or none at all. Which of
    /// both is wrong is not known.
    Mismatch,
    /// The credential is invalid, or not allowed to do this.
    Credential,
    /// The push itself, or its combination with this device. Neither registration nor credential is affected.
    Push,
}

impl PushOutcome {
    /// A rejection.
    pub fn rejected(reason: &str, fault: Fault) -> Self {
        Self::Rejected(Rejection { reason: Reason::new(reason), fault })
    }

    /// An error of the provider.
    pub fn unavailable(reason: &str, retry_after: Option<Duration>) -> Self {
        Self::Unavailable { reason: Reason::new(reason), trouble: Trouble::Failed, retry_after, cause: None }
    }

    /// Too many pushes, at least to this device.
    pub fn throttled(reason: &str, retry_after: Option<Duration>) -> Self {
        Self::Unavailable { reason: Reason::new(reason), trouble: Trouble::Throttled, retry_after, cause: None }
    }

    /// The outcome of the push, if this is the outcome of a request that prepares it: without its answer, nothing was sent.
    #[must_use]
    pub fn of_preparation(self) -> Self {
        match self {
            Self::Unavailable { reason, trouble: Trouble::Unanswered, retry_after, cause } => {
                Self::Unavailable { reason, trouble: Trouble::NotSent, retry_after, cause }
            }
            outcome => outcome,
        }
    }

    /// What the outcome says about the provider: that it is reachable and working, if it accepted or rejected the push, or
    /// if only this device had a problem.
    pub fn heard(&self) -> Heard<'_> {
        match self {
            Self::Accepted { .. } | Self::Rejected(_) => Heard::Answer,
            Self::Unavailable { trouble: Trouble::Throttled, .. } => Heard::Answer,
            // SNS: an endpoint that is being recreated.
            Self::Unavailable { reason, .. } if reason.as_str() == "EndpointGone" => Heard::Answer,
            Self::Unavailable { reason, retry_after, cause, .. } => {
                Heard::Failure { reason, retry_after: *retry_after, cause: cause.as_deref() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_of_one_device_is_an_answer() {
        let is_answer = |outcome: &PushOutcome| outcome.heard() == Heard::Answer;
        assert!(is_answer(&PushOutcome::Accepted { id: None }));
        for fault in [Fault::Credential, Fault::Push, Fault::Mismatch, Fault::Token { since: None }] {
            assert!(is_answer(&PushOutcome::rejected("Reason", fault)), "{fault:?}");
        }
        assert!(is_answer(&PushOutcome::throttled("TooManyRequests", None)));
        for (reason, expected) in
            [("EndpointGone", true), ("TooManyProviderTokenUpdates", false), ("NotConnected", false)]
        {
            assert_eq!(is_answer(&PushOutcome::unavailable(reason, None)), expected, "{reason}");
        }
    }
}
