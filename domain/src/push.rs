//! The push port: what is sent to a device, and what its provider says of it.
//!
//! A refusal is an answer and not an error: it is a value that says whose fault it is, since that decides what becomes of
//! the registration and of the credential.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::binding::Binding;
use crate::credential::Credential;
use crate::sid::{BindingSid, ServiceSid};
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

/// What a provider says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It took it. Whether it comes through is not known.
    Accepted {
        /// The provider's own name for it, if it gave one.
        id: Option<String>,
    },
    /// It refused it, and would again.
    Rejected(Rejection),
    /// It could not be reached, is busy, or has trouble of its own: that says nothing of the device.
    Unavailable {
        /// What went wrong, in a word.
        reason: Reason,
        /// How long it asks to be left alone; `None` if it does not say.
        retry_after: Option<Duration>,
        /// What went wrong at length, for the log: what TLS or the socket said. `None` if the reason is all there is. It
        /// holds nothing secret, and no device's token.
        cause: Option<Box<str>>,
    },
}

/// A time in which a provider cannot be reached with a credential, or is busy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// Why, in a word.
    pub reason: Reason,
    /// Since when.
    pub since: Timestamp,
}

impl Outage {
    /// What is stored of it, given what is stored already. Several processes may find the same outage: it lasts since the
    /// first of them has said so, and is not written again for a reason that is known.
    #[must_use]
    pub fn after(self, known: Option<&Self>) -> Self {
        Self { since: known.map_or(self.since, |known| known.since), ..self }
    }
}

/// Why a provider refused something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The provider's word for it.
    pub reason: Reason,
    /// Whose fault it is.
    pub fault: Fault,
}

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device's token is dead, for good.
    Token {
        /// Since when, if the provider knows: it must be later than the registration to end it.
        since: Option<Timestamp>,
    },
    /// Our credential is not good, or not for this.
    Credential,
    /// What was sent, or the pair of it and this device. Neither is to be given up for it.
    Push,
}

/// A provider's word for something, such as `BadDeviceToken`: up to 64 letters, digits and the like, so that it can be
/// logged, counted and shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(Box<str>);

impl Reason {
    /// The word, without what does not belong into one.
    pub fn new(word: &str) -> Self {
        let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | ' ');
        let word: String = word.chars().filter(fits).take(64).collect();
        if word.is_empty() { Self("Unknown".into()) } else { Self(word.into()) }
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Outcome {
    /// A refusal.
    pub fn rejected(reason: &str, fault: Fault) -> Self {
        Self::Rejected(Rejection { reason: Reason::new(reason), fault })
    }

    /// Trouble that passes.
    pub fn unavailable(reason: &str, retry_after: Option<Duration>) -> Self {
        Self::Unavailable { reason: Reason::new(reason), retry_after, cause: None }
    }

    /// Whether the provider can be reached, and works: it took it or refused it, or the trouble is this one device's.
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Accepted { .. } | Self::Rejected(_) => true,
            // Too many for the device (APNs), and a device that is set up anew (SNS).
            Self::Unavailable { reason, .. } => matches!(reason.as_str(), "TooManyRequests" | "EndpointGone"),
        }
    }
}

/// Takes pushes to the providers: APNs, FCM, or whoever else a credential is for.
#[async_trait]
pub trait PushProvider: Send + Sync {
    /// Sends something to a device. It is tried again a few times where that can help, and takes some seconds at most.
    async fn push(&self, credential: &Credential, device: &Binding, push: &Push) -> Outcome;

    /// The outage that there is with this credential, as far as this process knows. After a push there is none only if the
    /// provider has answered lately.
    fn outage(&self, credential: &Credential) -> Option<Outage>;

    /// Which binding it is that a provider knows by this name; `None` if it is none of ours, or no more.
    ///
    /// # Errors
    /// If the provider cannot be asked.
    async fn binding_at(&self, endpoint: &str) -> Result<Option<(ServiceSid, BindingSid)>, Unreachable>;
}

/// A provider cannot be asked. Trying again later may help.
#[derive(Debug, thiserror::Error)]
#[error("the push provider cannot be asked")]
pub struct Unreachable(#[source] pub Box<dyn Error + Send + Sync>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_word() {
        assert_eq!(Reason::new("BadDeviceToken").as_str(), "BadDeviceToken");
        assert_eq!(Reason::new("a\n\"b\" <c>\u{1F600}").as_str(), "ab c");
        assert_eq!(Reason::new("\u{1F600}").as_str(), "Unknown");
        assert_eq!(Reason::new(&"x".repeat(1_000)).as_str().len(), 64);
    }

    #[test]
    fn an_outage_lasts_since_it_was_first_found() {
        let outage =
            |reason: &str, millis| Outage { reason: Reason::new(reason), since: Timestamp::from_millis(millis) };
        for (known, after) in [
            (None, outage("TimedOut", 5)),
            (Some(outage("TimedOut", 3)), outage("TimedOut", 3)),
            (Some(outage("TimedOut", 7)), outage("TimedOut", 7)),
            (Some(outage("NotConnected", 3)), outage("TimedOut", 3)),
        ] {
            assert_eq!(outage("TimedOut", 5).after(known.as_ref()), after, "{known:?}");
        }
    }

    #[test]
    fn trouble_of_one_device_is_an_answer() {
        assert!(Outcome::Accepted { id: None }.is_answer());
        for fault in [Fault::Credential, Fault::Push, Fault::Token { since: None }] {
            assert!(Outcome::rejected("Reason", fault).is_answer(), "{fault:?}");
        }
        for (reason, is_answer) in [
            ("TooManyRequests", true),
            ("EndpointGone", true),
            ("TooManyProviderTokenUpdates", false),
            ("QUOTA_EXCEEDED", false),
            ("NotConnected", false),
        ] {
            assert_eq!(Outcome::unavailable(reason, None).is_answer(), is_answer, "{reason}");
        }
    }
}
