//! Why a message could not be handled.

use std::sync::Arc;

use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::presence::event::InvalidEvent;
use reachability_domain::push::provider::Unreachable;
use reachability_domain::queue::{InvalidMessage, QueueError};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;

/// Why a message could not be handled. If a retry can help, the queue delivers it again
/// ([`backoff`](reachability_domain::queue::backoff)); if not, it becomes a dead letter.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The body cannot be parsed.
    #[error("it is malformed")]
    Malformed(#[source] Arc<InvalidMessage>),
    /// The event is well-formed but not acceptable.
    #[error("it is malformed")]
    Refused(#[source] Arc<InvalidEvent>),
    /// The service does not exist, and nobody knows whether it ever did.
    #[error("there is no service {0}")]
    UnknownService(ServiceSid),
    /// A store operation failed.
    #[error("a store operation failed")]
    Store(#[source] Arc<StoreError>),
    /// A push provider is unreachable.
    #[error("the provider could not look up the device")]
    Provider(#[source] Arc<Unreachable>),
    /// The function must end soon, so this was not begun.
    #[error("there is no time left to begin it")]
    OutOfTime,
    /// The queue did not accept a follow-up message.
    #[error("a follow-up message could not be queued")]
    Queue(#[source] Arc<QueueError>),
}

impl Failure {
    /// Whether a retry cannot help.
    pub fn is_permanent(&self) -> bool {
        match self {
            // An event from the future was sent by a clock that is wrong. It may wait for weeks, and be false by then.
            Self::Malformed(_) | Self::Refused(_) | Self::UnknownService(_) => true,
            Self::Store(error) => matches!(error.as_ref(), StoreError::Corrupt(_)),
            Self::Provider(_) | Self::OutOfTime | Self::Queue(_) => false,
        }
    }
}

/// Counts the messages that failed for passing causes.
pub(crate) fn count_retries(failures: &[(usize, Failure)], metrics: &dyn Metrics) {
    let retried = failures.iter().filter(|(_, failure)| !failure.is_permanent()).count();
    if retried > 0 {
        metrics.add_many(Counter::MessagesRetried, retried.try_into().unwrap_or(u64::MAX));
    }
}

impl From<InvalidMessage> for Failure {
    fn from(error: InvalidMessage) -> Self {
        Self::Malformed(Arc::new(error))
    }
}

impl From<InvalidEvent> for Failure {
    fn from(error: InvalidEvent) -> Self {
        Self::Refused(Arc::new(error))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        Self::Queue(Arc::new(error))
    }
}

impl From<Unreachable> for Failure {
    fn from(error: Unreachable) -> Self {
        Self::Provider(Arc::new(error))
    }
}
