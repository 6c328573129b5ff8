//! Why messages are not handled.

use std::sync::Arc;

use reachability_domain::presence::event::InvalidEvent;
use reachability_domain::push::provider::Unreachable;
use reachability_domain::queue::{InvalidMessage, QueueError};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;

/// Why a message was not handled. It stays in the queue, and becomes a dead letter if it fails again and again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Its body says nothing that can be understood.
    #[error("it is malformed")]
    Malformed(#[source] Arc<InvalidMessage>),
    /// It is an event that is not taken at this time.
    #[error("it is malformed")]
    Refused(#[source] Arc<InvalidEvent>),
    /// It names a service that does not exist.
    #[error("there is no service {0}")]
    UnknownService(ServiceSid),
    /// The store did not work.
    #[error("it could not be stored")]
    Store(#[source] Arc<StoreError>),
    /// A push provider cannot be asked.
    #[error("its device cannot be found out")]
    Provider(#[source] Arc<Unreachable>),
    /// The queue did not take what it leads to.
    #[error("what follows from it could not be queued")]
    Queue(#[source] Arc<QueueError>),
}

impl Failure {
    /// Whether no retry can help.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::UnknownService(_) => true,
            // Time heals it.
            Self::Refused(error) => !matches!(error.as_ref(), InvalidEvent::Future),
            Self::Store(error) => matches!(error.as_ref(), StoreError::Corrupt(_)),
            Self::Provider(_) | Self::Queue(_) => false,
        }
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
