//! The port that publishes changes.

use std::error::Error;

use async_trait::async_trait;

use crate::presence::change::Notice;

/// Some notices could not be published.
#[derive(Debug, thiserror::Error)]
#[error("{} messages could not be published", indices.len())]
pub struct SinkError {
    /// Indices of the notices that were not published.
    pub indices: Vec<usize>,
    /// The error of one of them.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// Publishes notices to subscribers.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Publishes notices, in order.
    ///
    /// # Errors
    /// If some were not published. Publishing a notice again is harmless.
    async fn tell(&self, notices: &[Notice]) -> Result<(), SinkError>;
}
