//! The environments of APNs.

use serde::{Deserialize, Serialize};

/// An environment of APNs. A device token works in one of them: apps installed by a development tool get tokens of the
/// sandbox, those from the store and from `TestFlight` get tokens of production.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// For released apps, and for tests by `TestFlight`.
    Production,
    /// For apps in development.
    Sandbox,
}

impl Environment {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Production => Self::Sandbox,
            Self::Sandbox => Self::Production,
        }
    }
}
