//! Credentials: what lets us talk to a push provider for an app.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::push::channel::Channel;
use crate::push::outage::Outage;
use crate::push::outcome::{Fault, PushOutcome};
use crate::push::reason::Reason;
use crate::sid::CredentialSid;
use crate::time::Timestamp;

/// A credential, as it is stored: its secret is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The credential's sid, never changed.
    pub sid: CredentialSid,
    /// For which channel, in the owner's words.
    pub channel: Channel,
    /// A name to show; `None` if never set.
    pub friendly_name: Option<String>,
    /// Whether it is for the provider's test environment. APNs has one.
    pub sandbox: bool,
    /// How registrations are checked with it.
    pub check: RegistrationCheck,
    /// How it lets us in, without what is secret of it.
    pub method: Method,
    /// What is secret of it; `None` where somebody else keeps it.
    pub sealed: Option<Sealed>,
    /// What its provider last said of it. It stays what it is while the provider cannot be reached.
    pub health: Health,
    /// Since when its provider cannot be reached with it, and why; `None` if it can, or nobody has tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<Outage>,
    /// When it was made.
    pub date_created: Timestamp,
    /// When the owner last changed it.
    pub date_updated: Timestamp,
    /// Grows with every replacement.
    pub version: u64,
}

impl Credential {
    /// Whether a provider is talked to in the same way with both: what it says of one it says of the other.
    pub fn is_used_like(&self, other: &Self) -> bool {
        (&self.method, &self.sealed, self.sandbox) == (&other.method, &other.sealed, other.sandbox)
    }
}

/// How a registration is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegistrationCheck {
    /// By a push that nobody sees.
    Silent,
    /// By asking without sending. APNs has no way to.
    DryRun,
    /// Not at all: what providers answer to notifications has to do.
    None,
}

impl RegistrationCheck {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::DryRun => "dry-run",
            Self::None => "none",
        }
    }
}

/// How a credential lets us in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Method {
    /// APNs, by tokens that a key signs (p8). The secret is the key's PEM.
    ApnsKey {
        /// The key's id at Apple.
        key_id: String,
        /// The owner's team at Apple.
        team_id: String,
        /// The app's bundle id.
        topic: String,
    },
    /// APNs, by a certificate. The secret is the certificate's PEM and its key's, one after the other.
    ApnsCertificate {
        /// The app's bundle id.
        topic: String,
        /// When it ends.
        not_after: Timestamp,
    },
    /// FCM's HTTP v1 API, as a service account. The secret is its key's PEM.
    ServiceAccount {
        /// The project at Google.
        project_id: String,
        /// The service account's name.
        client_email: String,
        /// The key's id at Google.
        private_key_id: String,
    },
    /// A platform application of SNS, which has the secret itself.
    PlatformApplication {
        /// Its ARN.
        arn: String,
    },
}

/// A secret that can be read with the deployment's key only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// Takes in what was sealed, as text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// What was sealed, as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a provider last said of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Health {
    /// Nothing yet.
    #[default]
    Unproven,
    /// It took something that was sent with it.
    Accepted,
    /// It does not take it. Registrations keep their state: it says nothing of them.
    Rejected {
        /// The provider's word for it.
        reason: Reason,
        /// Since when.
        at: Timestamp,
    },
}

impl Health {
    /// What it is after a push: `None` if it is what it was.
    pub fn after(&self, outcome: &PushOutcome, at: Timestamp) -> Option<Self> {
        let rejected = match outcome {
            PushOutcome::Accepted { .. } => None,
            PushOutcome::Rejected(rejection) => match rejection.fault {
                Fault::Credential => Some(&rejection.reason),
                // Who knows a token to be dead has let us in before.
                Fault::Token { .. } => None,
                // It may not even have been the provider who refused it.
                Fault::Push => return None,
            },
            PushOutcome::Unavailable { .. } => return None,
        };
        match (self, rejected) {
            (Self::Accepted, None) => None,
            (_, None) => Some(Self::Accepted),
            (Self::Rejected { reason, .. }, Some(again)) if reason == again => None,
            (_, Some(reason)) => Some(Self::Rejected { reason: reason.clone(), at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

    #[test]
    fn health_is_what_the_provider_last_said() {
        let rejected = |reason: &str, at| Health::Rejected { reason: Reason::new(reason), at };
        let long_ago = Timestamp::from_millis(0);
        let refused = |reason: &str, fault| PushOutcome::rejected(reason, fault);
        let accepted = PushOutcome::Accepted { id: None };
        let dead = refused("Unregistered", Fault::Token { since: None });
        for (health, outcome, after) in [
            (Health::Unproven, accepted.clone(), Some(Health::Accepted)),
            (Health::Unproven, dead, Some(Health::Accepted)),
            (Health::Accepted, accepted.clone(), None),
            (rejected("BadTopic", long_ago), accepted, Some(Health::Accepted)),
            (Health::Accepted, refused("BadTopic", Fault::Credential), Some(rejected("BadTopic", NOW))),
            (rejected("BadTopic", long_ago), refused("BadTopic", Fault::Credential), None),
            (rejected("BadTopic", long_ago), refused("Forbidden", Fault::Credential), Some(rejected("Forbidden", NOW))),
            (Health::Unproven, refused("PayloadTooLarge", Fault::Push), None),
            (Health::Unproven, PushOutcome::unavailable("NotConnected", None), None),
            (rejected("BadTopic", long_ago), PushOutcome::unavailable("NotConnected", None), None),
        ] {
            assert_eq!(health.after(&outcome, NOW), after, "{health:?} after {outcome:?}");
        }
    }

    /// Credentials that were stored before outages were.
    #[test]
    fn a_credential_without_an_outage_is_read() {
        let old = r#"{"sid":"CR00000000000000000000000000000001","channel":"apn","friendly_name":null,"sandbox":false,"check":"silent","method":{"kind":"apns_key","key_id":"K","team_id":"T","topic":"com.example"},"sealed":"v1:x","health":{"state":"accepted"},"date_created":1,"date_updated":2,"version":3}"#;
        let credential: Credential = serde_json::from_str(old).unwrap();
        assert_eq!((&credential.health, &credential.outage), (&Health::Accepted, &None));
        assert_eq!(serde_json::to_string(&credential).unwrap(), old, "who knows nothing of outages can read it too");
        let outage = Some(Outage { reason: Reason::new("NotConnected"), since: NOW });
        let down = Credential { outage, ..credential };
        let stored = serde_json::to_string(&down).unwrap();
        assert_eq!(serde_json::from_str::<Credential>(&stored).unwrap(), down);
    }
}
