//! What the outside is told of, and the port of who tells it.

use std::error::Error;

use async_trait::async_trait;
use serde_json::Value;

use crate::presence::change::{Change, Switch};
use crate::sid::UserSid;

/// Something that the outside is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A user's visible reachability changed.
    Change(Change, Option<UserSid>),
    /// A service's reachability was switched.
    Switch(Switch),
}

impl Notice {
    /// Writes it for those who subscribed to changes.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Change(change, _) => change.to_json(),
            Self::Switch(switch) => switch.to_json(),
        }
    }
}

/// Some notices were not taken.
#[derive(Debug, thiserror::Error)]
#[error("{} messages could not be published", indices.len())]
pub struct SinkError {
    /// Which.
    pub indices: Vec<usize>,
    /// What went wrong with one of them.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// Tells somebody outside of changes.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Tells of notices, in their order.
    ///
    /// # Errors
    /// If some were not taken. Telling of them again is harmless.
    async fn tell(&self, notices: &[Notice]) -> Result<(), SinkError>;
}
