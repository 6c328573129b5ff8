//! What is sent to a device.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::time::Timestamp;

/// Something for a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// Names it. The same one, sent again, has the same.
    pub id: u128,
    /// Of two with the same a device shows one: up to 64 bytes.
    pub collapse_id: String,
    /// After this the provider need not deliver it any more; `None` for as long as the provider keeps it.
    pub expires_at: Option<Timestamp>,
    /// What it is.
    pub kind: PushKind,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum PushKind {
    /// Nothing that anybody sees: the app may be woken, and the provider says whether the registration is good.
    Silent,
    /// Nothing at all, where the provider has a way to ask without sending.
    DryRun,
    /// Something to show.
    Alert(Content),
}

/// What is shown to the user, and what is passed to the app.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Content {
    /// Its title.
    pub title: Option<String>,
    /// Its text.
    pub body: Option<String>,
    /// What the app is given besides: members of the payload's root (APNs), or of `data` (FCM).
    #[serde(with = "as_text")]
    pub data: Map<String, Value>,
    /// How urgent it is.
    pub priority: Priority,
    /// The sound to play; `None` for none.
    pub sound: Option<String>,
}

/// A JSON object as its text: no store is to have a say in its order or in its numbers.
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

/// How urgent a push is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// It wakes the device.
    #[default]
    High,
    /// It may wait until the device is awake.
    Low,
}
