//! Failures of the ports.

use reachability_domain::queue::QueueError;
use reachability_domain::store::StoreError;

/// The store or a queue failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}
