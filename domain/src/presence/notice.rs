//! Notices to subscribers, and the port that publishes them.

use std::error::Error;

use async_trait::async_trait;
use serde_json::Value;

use crate::presence::change::{Change, Switch};
use crate::sid::UserSid;

/// A notice to subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A user's visible reachability changed.
    Change(Change, Option<UserSid>),
    /// A service's reachability was switched.
    Switch(Switch),
}

impl Notice {
    /// The message for subscribers.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Change(change, _) => change.to_json(),
            Self::Switch(switch) => switch.to_json(),
        }
    }
}

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
