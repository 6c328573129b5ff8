//! Credentials: the keys and certificates that authenticate an app at a push provider.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::push::channel::Channel;
use crate::push::environment::Environment;
use crate::push::lifetime::Lifetime;
use crate::push::outage::Outage;
use crate::push::outcome::{Fault, PushOutcome};
use crate::push::reason::Reason;
use crate::sid::CredentialSid;
use crate::time::Timestamp;

/// How long before a certificate expires its owner is warned.
const WARN_BEFORE: Duration = Duration::from_secs(30 * 86_400);

/// A stored credential. Its secret is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The credential's sid; immutable.
    pub sid: CredentialSid,
    /// The channel, by the name the owner used.
    pub channel: Channel,
    /// Display name; `None` if never set.
    pub friendly_name: Option<String>,
    /// Whether it is for the provider's test environment. Only APNs has one.
    pub sandbox: bool,
    /// How registrations with this credential are checked.
    pub check: RegistrationCheck,
    /// For how long registrations with this credential count; `None`: as long as the channel allows. Earlier versions did not
    /// store it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Lifetime>,
    /// The authentication method and its public fields.
    pub method: Method,
    /// The sealed secret; `None` if SNS keeps it.
    pub sealed: Option<Sealed>,
    /// The provider's last answer about it. An outage does not change it.
    pub health: Health,
    /// The current outage of the provider with this credential; `None` if the provider is reachable, or was never
    /// tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<Outage>,
    /// Creation time.
    pub date_created: Timestamp,
    /// Time of the last change by the owner.
    pub date_updated: Timestamp,
    /// Since when it authenticates as it does: later with each change of its keys or of `sandbox`. Earlier versions did not
    /// store it.
    #[serde(default)]
    pub used_since: Timestamp,
    /// Incremented by every replacement.
    pub version: u64,
}

impl Credential {
    /// Whether both authenticate in the same way, so that an answer about one also applies to the other.
    pub fn is_used_like(&self, other: &Self) -> bool {
        (&self.method, &self.sealed, self.sandbox) == (&other.method, &other.sealed, other.sandbox)
    }

    /// For how long registrations with it count after the app last registered.
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime.unwrap_or_else(|| Lifetime::longest(self.channel))
    }

    /// The credential as it authenticates now.
    pub fn current_use(&self) -> CredentialUse {
        CredentialUse { sid: self.sid, since: self.used_since }
    }

    /// The environment that it is for; `None` if its provider has none, or if SNS knows it.
    pub fn environment(&self) -> Option<Environment> {
        match self.method {
            Method::ApnsKey { .. } | Method::ApnsCertificate { .. } if self.sandbox => Some(Environment::Sandbox),
            Method::ApnsKey { .. } | Method::ApnsCertificate { .. } => Some(Environment::Production),
            Method::ServiceAccount { .. } | Method::PlatformApplication { .. } => None,
        }
    }

    /// Whether it authenticates in both environments: a signing key does, a certificate may not.
    pub fn has_both_environments(&self) -> bool {
        matches!(self.method, Method::ApnsKey { .. })
    }

    /// The environment in which a device is asked that is known to be in this one; `None` if the provider has none.
    pub fn environment_of(&self, device: Option<Environment>) -> Option<Environment> {
        device.filter(|_| self.has_both_environments()).or(self.environment())
    }

    /// The validity of its certificate at `now`; `None` if it has none.
    pub fn validity(&self, now: Timestamp) -> Option<Validity> {
        let expires_at = self.method.expires_at()?;
        Some(match () {
            () if expires_at <= now => Validity::Expired,
            () if expires_at <= now.plus(WARN_BEFORE) => Validity::ExpiresSoon,
            () => Validity::Valid,
        })
    }
}

/// The validity of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is valid for more than 30 days.
    Valid,
    /// It expires within 30 days.
    ExpiresSoon,
    /// It has expired: nothing is sent with it.
    Expired,
}

impl Validity {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::ExpiresSoon => "expires_soon",
            Self::Expired => "expired",
        }
    }
}

/// A credential from one change of its keys to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialUse {
    /// The credential.
    pub sid: CredentialSid,
    /// [`Credential::used_since`].
    pub since: Timestamp,
}

/// How a registration is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegistrationCheck {
    /// Send a silent push when the app registers, until the provider has answered. Later only answers to notifications are used.
    Once,
    /// Send a silent push when the app registers, and every month. It may wake the app.
    Silent,
    /// Ask the provider without sending. APNs does not support this.
    DryRun,
    /// Do not check. Only answers to notifications are used.
    None,
}

impl RegistrationCheck {
    /// The name in the API and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Silent => "silent",
            Self::DryRun => "dry-run",
            Self::None => "none",
        }
    }
}

/// The authentication method of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Method {
    /// APNs, with tokens signed by a key (p8). The secret is the key as PEM.
    ApnsKey {
        /// The key's id at Apple.
        key_id: String,
        /// The owner's team at Apple.
        team_id: String,
        /// The app's bundle id.
        topic: String,
    },
    /// APNs, with a certificate. The secret is the certificate and its key, concatenated as PEM.
    ApnsCertificate {
        /// The app's bundle id.
        topic: String,
        /// When the certificate expires.
        not_after: Timestamp,
    },
    /// FCM's HTTP v1 API, as a service account. The secret is the account's key as PEM.
    ServiceAccount {
        /// The project at Google.
        project_id: String,
        /// The service account's name.
        client_email: String,
        /// The key's id at Google.
        private_key_id: String,
    },
    /// An SNS platform application. SNS keeps the secret.
    PlatformApplication {
        /// The application's ARN.
        arn: String,
    },
}

impl Method {
    /// When its certificate expires; `None` if it has none.
    pub fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::ApnsCertificate { not_after, .. } => Some(*not_after),
            Self::ApnsKey { .. } | Self::ServiceAccount { .. } | Self::PlatformApplication { .. } => None,
        }
    }
}

/// An encrypted secret. Only the deployment's key can decrypt it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// Wraps an encrypted text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The encrypted text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A provider's last answer about a credential.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Health {
    /// No answer yet.
    #[default]
    Unproven,
    /// The provider accepted a request made with it.
    Accepted,
    /// The provider accepted no request yet, and says of devices that they belong elsewhere: the environment may be the wrong
    /// one, or the app.
    Mismatched {
        /// The provider's reason.
        reason: Reason,
        /// When it was first seen.
        at: Timestamp,
    },
    /// The provider rejects it. Registrations keep their state.
    Rejected {
        /// The provider's reason.
        reason: Reason,
        /// When the rejection was first seen.
        at: Timestamp,
    },
}

impl Health {
    /// The health after a push; `None` if unchanged.
    pub fn after(&self, outcome: &PushOutcome, at: Timestamp) -> Option<Self> {
        let rejected = match outcome {
            PushOutcome::Accepted { .. } => None,
            PushOutcome::Rejected(rejection) => match rejection.fault {
                Fault::Credential => Some(&rejection.reason),
                // A provider that reports a dead token has accepted the credential.
                Fault::Token { .. } => None,
                // It proves nothing about the credential, unless there is nothing else to go by.
                Fault::Mismatch => {
                    let mismatched = || Self::Mismatched { reason: rejection.reason.clone(), at };
                    return (*self == Self::Unproven).then(mismatched);
                }
                // The response may not even come from the provider.
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
    fn health_follows_the_last_answer() {
        let rejected = |reason: &str, at| Health::Rejected { reason: Reason::new(reason), at };
        let mismatched = |reason: &str, at| Health::Mismatched { reason: Reason::new(reason), at };
        let long_ago = Timestamp::from_millis(0);
        let refused = |reason: &str, fault| PushOutcome::rejected(reason, fault);
        let accepted = PushOutcome::Accepted { id: None };
        let dead = refused("Unregistered", Fault::Token { since: None });
        for (health, outcome, after) in [
            (Health::Unproven, accepted.clone(), Some(Health::Accepted)),
            (Health::Unproven, dead, Some(Health::Accepted)),
            (Health::Unproven, refused("BadDeviceToken", Fault::Mismatch), Some(mismatched("BadDeviceToken", NOW))),
            (mismatched("BadDeviceToken", long_ago), refused("SENDER_ID_MISMATCH", Fault::Mismatch), None),
            (mismatched("BadDeviceToken", long_ago), accepted.clone(), Some(Health::Accepted)),
            (Health::Accepted, refused("BadDeviceToken", Fault::Mismatch), None),
            (rejected("BadTopic", long_ago), refused("BadDeviceToken", Fault::Mismatch), None),
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

    #[test]
    fn a_certificate_has_a_warning_before_it_expires() {
        let at = |days: i64| Timestamp::from_millis(NOW.as_millis() + days * 86_400_000);
        let mut credential: Credential = serde_json::from_str(OLD).unwrap();
        assert_eq!(credential.validity(NOW), None, "a key does not expire");
        credential.method = Method::ApnsCertificate { topic: "com.example".to_owned(), not_after: NOW };
        for (days, validity) in [
            (-31, Validity::Valid),
            (-30, Validity::ExpiresSoon),
            (-1, Validity::ExpiresSoon),
            (0, Validity::Expired),
            (1, Validity::Expired),
        ] {
            assert_eq!(credential.validity(at(days)), Some(validity), "{days}");
        }
    }

    /// A credential that was stored before the field `outage` existed.
    const OLD: &str = r#"{"sid":"CR00000000000000000000000000000001","channel":"apn","friendly_name":null,"sandbox":false,"check":"silent","method":{"kind":"apns_key","key_id":"K","team_id":"T","topic":"com.example"},"sealed":"v1:x","health":{"state":"accepted"},"date_created":1,"date_updated":2,"version":3}"#;

    #[test]
    fn a_credential_without_an_outage_is_read() {
        let credential: Credential = serde_json::from_str(OLD).unwrap();
        assert_eq!((&credential.health, &credential.outage), (&Health::Accepted, &None));
        assert_eq!(credential.used_since, Timestamp::default());
        assert_eq!(credential.lifetime(), Lifetime::YEAR);
        assert_eq!(Credential { channel: Channel::Gcm, ..credential.clone() }.lifetime().days(), 270);
        let outage = Some(Outage { reason: Reason::new("NotConnected"), since: NOW });
        let down = Credential { outage, ..credential };
        let stored = serde_json::to_string(&down).unwrap();
        assert_eq!(serde_json::from_str::<Credential>(&stored).unwrap(), down);
    }
}
