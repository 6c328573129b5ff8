//! The content of a push.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::time::Timestamp;

/// A push to one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// Identifies the push. A retry has the same id.
    pub id: u128,
    /// A device shows only one of the pushes with the same collapse id. Up to 64 bytes.
    pub collapse_id: String,
    /// When the provider may discard it; `None` for the provider's maximum.
    pub expires_at: Option<Timestamp>,
    /// The kind of push.
    pub kind: PushKind,
}

/// The kind of push.
#[derive(Debug, Clone, PartialEq)]
pub enum PushKind {
    /// Not visible to the user. It may wake the app, and the provider's answer tells whether the registration works.
    Silent,
    /// Nothing is sent, if the provider can validate without sending.
    DryRun,
    /// A visible notification.
    Alert(Content),
}

/// The visible content, and data for the app.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Content {
    /// Title.
    pub title: Option<String>,
    /// Text.
    pub body: Option<String>,
    /// Data for the app: members of the payload's root (APNs), or of `data` (FCM).
    #[serde(with = "as_text")]
    pub data: Map<String, Value>,
    /// Priority.
    pub priority: Priority,
    /// Sound; `None` for silent.
    pub sound: Option<String>,
}

impl Content {
    /// Whether the user sees or hears something of it. Without that, it is data for the app.
    pub fn is_visible(&self) -> bool {
        self.title.is_some() || self.body.is_some() || self.sound.is_some()
    }
}

/// Serializes a JSON object as text, so that no store changes the order of members or the form of numbers.
mod as_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::{Map, Value};

    pub(super) fn serialize<S: Serializer>(object: &Map<String, Value>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(object).map_err(serde::ser::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Priority of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Wakes the device.
    #[default]
    High,
    /// Waits until the device is awake.
    Low,
}
