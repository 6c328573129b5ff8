//! The content of a push.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::push::channel::Channel;
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
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each push that is being sent, and it is not moved about"
)]
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
    /// What the user can do with it: a category of the app's (APNs), or what a click starts (FCM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The owner's own collapse id; `None`: each notification has its own. Up to [`MAX_COLLAPSE_ID`] bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collapse_id: Option<String>,
    /// How the content is laid out.
    #[serde(skip_serializing_if = "Format::is_standard")]
    pub format: Format,
    /// Merged into the payload for APNs ([`crate::push::apns_payload`]).
    #[serde(with = "as_text", skip_serializing_if = "Map::is_empty")]
    pub apn: Map<String, Value>,
    /// Merged into the message for FCM ([`crate::push::fcm_message`]).
    #[serde(with = "as_text", skip_serializing_if = "Map::is_empty")]
    pub fcm: Map<String, Value>,
    /// The same for devices that were registered under FCM's old name.
    #[serde(with = "as_text", skip_serializing_if = "Map::is_empty")]
    pub gcm: Map<String, Value>,
}

/// How long a collapse id may be, in bytes: Apple's limit.
pub const MAX_COLLAPSE_ID: usize = 64;

impl Content {
    /// The content for devices of a channel. For FCM, it is merged with what the request has for that name of the channel, or
    /// else for the other name.
    #[must_use]
    pub fn for_channel(&self, channel: Channel) -> Self {
        let (first, second) = match channel {
            Channel::Apn => return Self { fcm: Map::new(), gcm: Map::new(), ..self.clone() },
            Channel::Fcm => (&self.fcm, &self.gcm),
            Channel::Gcm => (&self.gcm, &self.fcm),
        };
        let fcm = if first.is_empty() { second } else { first }.clone();
        Self { fcm, apn: Map::new(), gcm: Map::new(), ..self.clone() }
    }
}

/// How a notification is laid out in a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Where iOS and Android look for what they show.
    #[default]
    Standard,
    /// Where the vendor's Conversations client looks for it, when an app hands it the push: for FCM, all of it is data.
    Conversations,
}

impl Format {
    fn is_standard(&self) -> bool {
        *self == Self::Standard
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_of_fcm_has_its_own_message_or_the_others() {
        let map = |value: &Value| value.as_object().cloned().unwrap();
        let (none, fcm, gcm) = (json!({}), json!({ "data": { "of": "fcm" } }), json!({ "data": { "of": "gcm" } }));
        for (given, channel, sent) in [
            ((&fcm, &gcm), Channel::Fcm, &fcm),
            ((&fcm, &gcm), Channel::Gcm, &gcm),
            ((&fcm, &none), Channel::Gcm, &fcm),
            ((&none, &gcm), Channel::Fcm, &gcm),
            ((&fcm, &gcm), Channel::Apn, &none),
        ] {
            let apn = map(&json!({ "aps": { "badge": 1 } }));
            let content = Content { apn: apn.clone(), fcm: map(given.0), gcm: map(given.1), ..Content::default() };
            let found = content.for_channel(channel);
            let apn = if channel == Channel::Apn { apn } else { Map::new() };
            assert_eq!(found, Content { apn, fcm: map(sent), ..Content::default() }, "{channel:?}");
        }
    }

    /// As earlier versions wrote it.
    #[test]
    fn content_without_options_is_stored_as_before() {
        let stored = r#"{"title":"T","body":null,"data":"{\"a\":1}","priority":"low","sound":null}"#;
        let content: Content = serde_json::from_str(stored).unwrap();
        assert_eq!((content.title.as_deref(), content.format), (Some("T"), Format::Standard));
        assert_eq!(serde_json::to_string(&content).unwrap(), stored);
        let own: Map<String, Value> = serde_json::from_str(r#"{"z":1.0,"a":{"b":[1]}}"#).unwrap();
        let full = Content {
            action: Some("A".to_owned()),
            collapse_id: Some("c".to_owned()),
            format: Format::Conversations,
            apn: own.clone(),
            fcm: own.clone(),
            gcm: own,
            ..content
        };
        let text = serde_json::to_string(&full).unwrap();
        assert_eq!(serde_json::from_str::<Content>(&text).unwrap(), full);
    }
}
