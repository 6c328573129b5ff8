//! Why something was not done although nothing is wrong with it.

use reachability_domain::queue::QueueError;
use reachability_domain::store::StoreError;

/// What is behind the ports did not do its part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}
