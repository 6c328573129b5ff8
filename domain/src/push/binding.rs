//! Bindings: push registrations of devices.
//!
//! A device is a token of a channel in a service, and belongs to whoever registered it last. A binding's sid says both
//! whose device it is and which, so that registering again gives the same sid, and a late goodbye of one user does not
//! take away the device of another who has it by now.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::{Identity, UserKey};
use crate::push::channel::Channel;
use crate::push::device::{Address, Device};
use crate::push::reason::Reason;
use crate::sid::{BindingSid, CredentialSid, ServiceSid};
use crate::time::Timestamp;

/// For how long a registration holds unless it is made again.
pub const REGISTERED_FOR: Duration = Duration::from_secs(365 * 86_400);

/// A push registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The binding's sid: made of the device and of whose it is ([`Device::binding_sid`]).
    pub sid: BindingSid,
    /// The service that it belongs to.
    pub service_sid: ServiceSid,
    /// Whose device it is.
    pub identity: Identity,
    /// Through which channel the device is reached, by the name it was registered with.
    pub channel: Channel,
    /// The device's token.
    pub address: Address,
    /// What its provider is talked to with; `None` if there was nothing when it was registered.
    pub credential_sid: Option<CredentialSid>,
    /// The app's own name for the device; `None` if it gave none.
    pub endpoint: Option<String>,
    /// When it was first registered by this user.
    pub date_created: Timestamp,
    /// When it was last registered, or its provider changed its mind.
    pub date_updated: Timestamp,
    /// When it was last registered: what was known to be dead before that may live again.
    pub registered_at: Timestamp,
    /// When a request was made that its provider took; `None` if none was.
    pub confirmed_at: Option<Timestamp>,
    /// Why it is dead; `None` if it is not.
    pub death: Option<Death>,
    /// Grows with every write.
    pub version: u64,
}

/// Why a binding is dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// The provider's word for it, or `Expired` if it was not registered again for a year.
    pub reason: Reason,
    /// When the request was made that found it out.
    pub at: Timestamp,
}

impl Death {
    /// It was not registered again for too long.
    pub fn expired(at: Timestamp) -> Self {
        Self { reason: Reason::new("Expired"), at }
    }
}

impl Binding {
    /// Whose device it is.
    pub fn user(&self) -> UserKey {
        UserKey { service: self.service_sid, identity: self.identity.clone() }
    }

    /// Which device it is.
    pub fn device(&self) -> Device {
        Device::of_binding(self.sid)
    }

    /// When it ends unless it is made again.
    pub fn ends_at(&self) -> Timestamp {
        self.registered_at.plus(REGISTERED_FOR)
    }

    /// Why it is dead at `now`; `None` if it is not.
    pub fn death_at(&self, now: Timestamp) -> Option<Death> {
        let ends_at = self.ends_at();
        self.death.clone().or_else(|| (ends_at <= now).then(|| Death::expired(ends_at)))
    }

    /// The word for what is stored of it.
    pub fn status(&self) -> &'static str {
        match (&self.death, self.confirmed_at) {
            (Some(_), _) => "dead",
            (None, Some(_)) => "confirmed",
            (None, None) => "unconfirmed",
        }
    }
}

/// Which bindings of a service are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BindingFilter {
    /// Those of these users; empty for all.
    pub identities: Vec<Identity>,
    /// Those of these channels; empty for all.
    pub channels: Vec<Channel>,
}

impl BindingFilter {
    /// Whether a binding is meant.
    pub fn matches(&self, binding: &Binding) -> bool {
        (self.identities.is_empty() || self.identities.contains(&binding.identity))
            && (self.channels.is_empty() || self.channels.iter().any(|channel| channel.is(binding.channel)))
    }
}
