//! Bindings: push registrations of devices.
//!
//! A device is a channel's token in a service, and belongs to the user who registered it last. A binding's sid encodes
//! the device and the user. So registering again returns the same sid, and a late unregistration by the previous user
//! does not remove the new user's binding.

use serde::{Deserialize, Serialize};

use crate::identity::{Identity, UserKey};
use crate::push::channel::Channel;
use crate::push::credential::Credential;
use crate::push::device::{Address, Device};
use crate::push::environment::Environment;
use crate::push::lifetime::Lifetime;
use crate::push::reason::Reason;
use crate::push::registration::KEEP_DEAD;
use crate::push::tag::Tag;
use crate::sid::{BindingSid, CredentialSid, ServiceSid};
use crate::time::Timestamp;

/// A push registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The binding's sid, derived from the device and its user ([`Device::binding_sid`]).
    pub sid: BindingSid,
    /// The service.
    pub service_sid: ServiceSid,
    /// The user who owns the device.
    pub identity: Identity,
    /// The push channel, by the name used at registration.
    pub channel: Channel,
    /// The device's token.
    pub address: Address,
    /// The credential for its provider; `None` if none matched at registration.
    pub credential_sid: Option<CredentialSid>,
    /// The app's own name for the device; `None` if not given.
    pub endpoint: Option<String>,
    /// The tags given at the last registration, without the implicit ones. Earlier versions stored none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// When this user first registered it.
    pub date_created: Timestamp,
    /// Time of the last registration, or of the last change of its status.
    pub date_updated: Timestamp,
    /// Time of the last registration. A token that was dead before that time may work again.
    pub registered_at: Timestamp,
    /// For how long it counts after that, as its credential said when that was last looked at.
    #[serde(default, skip_serializing_if = "Lifetime::is_year")]
    pub lifetime: Lifetime,
    /// Request time of the latest push that the provider accepted; `None` if there is none.
    pub confirmed_at: Option<Timestamp>,
    /// Since when the credential is used as it was when all this was learnt from its provider ([`Credential::used_since`]). Answers
    /// to earlier uses do not count.
    #[serde(default)]
    pub learnt_with: Timestamp,
    /// Time of the last check, whatever came of it; `None` if there was none, or if it was a death that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// The environment that takes its token; `None`: that of the credential, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Why it is dead; `None` if it is alive.
    pub death: Option<Death>,
    /// Incremented by every write.
    pub version: u64,
}

/// Why a binding is dead: no push can reach the device by it, until it registers again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// The provider's reason, or `Expired` if the device did not register again in time ([`Binding::lifetime`]).
    pub reason: Reason,
    /// Time of the request whose response reported it.
    pub at: Timestamp,
    /// Whether the token only does not fit the credential. The death ends if the credential changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_mismatch: bool,
}

impl Death {
    /// The registration expired.
    pub fn expired(at: Timestamp) -> Self {
        Self { reason: Reason::new(Reason::EXPIRED), at, is_mismatch: false }
    }

    /// The binding's status, as the API shows it.
    pub fn status(&self) -> &'static str {
        if self.is_mismatch { "undeliverable" } else { "dead" }
    }

    /// Whether the binding can be removed. One whose token does not fit the credential is kept: the credential may change.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        !self.is_mismatch && self.at.plus(KEEP_DEAD) <= now
    }

    /// Whether it may not be one for a credential that is used otherwise. The word of APNs for a token of another environment was
    /// a death for earlier versions, and still is if the token was confirmed.
    pub(crate) fn depends_on_credential(&self) -> bool {
        self.is_mismatch || self.reason.as_str() == Reason::BAD_DEVICE_TOKEN
    }
}

impl Binding {
    /// The user who owns the device.
    pub fn user(&self) -> UserKey {
        UserKey { service: self.service_sid, identity: self.identity.clone() }
    }

    /// The device.
    pub fn device(&self) -> Device {
        Device::of_binding(self.sid)
    }

    /// When the registration expires unless the device registers again.
    pub fn ends_at(&self) -> Timestamp {
        self.lifetime.end(self.registered_at)
    }

    /// Whether a push with this credential, as it is used now, was accepted.
    pub fn is_confirmed_with(&self, credential: &Credential) -> bool {
        self.confirmed_at.is_some() && self.learnt_with == credential.used_since
    }

    /// Why it is dead at `now`; `None` if it is alive.
    pub fn death_at(&self, now: Timestamp) -> Option<Death> {
        let ends_at = self.ends_at();
        self.death.clone().or_else(|| (ends_at <= now).then(|| Death::expired(ends_at)))
    }

    /// The status that the API shows.
    pub fn status(&self) -> &'static str {
        match (&self.death, self.confirmed_at) {
            (Some(death), _) => death.status(),
            (None, Some(_)) => "confirmed",
            (None, None) => "unconfirmed",
        }
    }
}

/// Selects bindings of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BindingFilter {
    /// Only bindings of these users; empty for all.
    pub identities: Vec<Identity>,
    /// Only bindings of these channels; empty for all.
    pub channels: Vec<Channel>,
    /// Only bindings that have all of these tags, implicit or not; empty for all.
    pub tags: Vec<Tag>,
}

impl BindingFilter {
    /// Whether the filter selects this binding.
    pub fn matches(&self, binding: &Binding) -> bool {
        (self.identities.is_empty() || self.identities.contains(&binding.identity))
            && (self.channels.is_empty() || self.channels.iter().any(|channel| channel.is(binding.channel)))
            && self.tags.iter().all(|tag| tag.is_of(binding))
    }

    /// Whether the filter can select bindings of this channel.
    pub fn selects_channel(&self, channel: Channel) -> bool {
        (self.channels.is_empty() || self.channels.iter().any(|wanted| wanted.is(channel)))
            && self.tags.iter().filter_map(Tag::channel).all(|wanted| wanted.is(channel))
    }
}
