//! The port that sends a webhook's request. The queue is a [`Queue`](crate::queue::Queue) of
//! [`WebhookMessage`](crate::webhook::message::WebhookMessage)s.

use std::time::Duration;

use async_trait::async_trait;

use crate::breaker::Heard;
use crate::push::reason::Reason;
use crate::webhook::target::WebhookTarget;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRequest {
    /// Where it goes.
    pub target: WebhookTarget,
    /// What it tells.
    pub parameters: Vec<(&'static str, String)>,
    /// The same at each attempt: [`WebhookMessage::token`](crate::webhook::message::WebhookMessage::token).
    pub token: String,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookAnswer {
    /// The receiver has it: it answered 2xx.
    Delivered,
    /// Anything else.
    Failed(WebhookFailure),
}

/// Why a webhook was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookFailure {
    /// The status of the answer, or why there is none, as one word.
    pub reason: Reason,
    /// The wait that the receiver asked for.
    pub retry_after: Option<Duration>,
    /// Details for the log; `None` if there are none. Never contains secrets, nor more of the URL than its host.
    pub cause: Option<Box<str>>,
    /// Whether the receiver works: it has answered, and not that it is busy or failed.
    pub is_answer: bool,
}

impl WebhookAnswer {
    /// An answer with this status, which asks for this wait.
    pub fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            200..300 => Self::Delivered,
            _ => Self::Failed(WebhookFailure {
                reason: Reason::new(&format!("Status{status}")),
                retry_after,
                cause: None,
                is_answer: status != 429 && status < 500,
            }),
        }
    }

    /// No answer, for this reason.
    pub fn none(reason: &str, cause: &str) -> Self {
        let (reason, cause) = (Reason::new(reason), Some(cause.into()));
        Self::Failed(WebhookFailure { reason, retry_after: None, cause, is_answer: false })
    }

    /// What it says about the receiver. The wait that it asks for is that of one webhook: other users' may be taken.
    pub fn heard(&self) -> Heard<'_> {
        match self {
            Self::Failed(WebhookFailure { reason, cause, is_answer: false, .. }) => {
                Heard::Failure { reason, retry_after: None, cause: cause.as_deref() }
            }
            _ => Heard::Answer,
        }
    }
}

/// Sends webhooks.
#[async_trait]
pub trait WebhookSender: Send + Sync {
    /// Sends a request once, in a few seconds at most. It follows no redirects.
    async fn send(&self, request: &WebhookRequest) -> WebhookAnswer;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_is_delivery_and_only_trouble_counts_against_a_receiver() {
        for (status, is_delivered, is_trouble) in [
            (200, true, false),
            (204, true, false),
            (299, true, false),
            (301, false, false),
            (404, false, false),
            (410, false, false),
            (429, false, true),
            (500, false, true),
            (503, false, true),
        ] {
            let answer = WebhookAnswer::of_status(status, None);
            assert_eq!(answer == WebhookAnswer::Delivered, is_delivered, "{status}");
            assert_eq!(answer.heard() != Heard::Answer, is_trouble, "{status}");
        }
        assert!(matches!(WebhookAnswer::none("TimedOut", "").heard(), Heard::Failure { .. }));
    }
}
