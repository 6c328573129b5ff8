//! The part of a user's state that describes the user's push registrations.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::directory::configuration::Generation;
use crate::push::binding::Binding;
use crate::push::lifetime::Lifetime;
use crate::push::reason::Reason;
use crate::sid::BindingSid;
use crate::time::Timestamp;

/// Maximum number of devices per user. A further device replaces a dead one, or else the one registered longest ago.
pub const MAX_DEVICES: usize = 50;

/// A registration that was not confirmed for this long is checked at the next opportunity.
pub const CHECK_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// How often a registration is checked at most.
pub const CHECK_EVERY: Duration = Duration::from_secs(86_400);

/// How long a dead binding is kept, so that its owner can see why it died.
pub const KEEP_DEAD: Duration = Duration::from_secs(30 * 86_400);

/// The part of a binding that a user's state contains: enough to tell whether a push can reach the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// [`Binding::registered_at`].
    #[serde(rename = "a")]
    pub registered_at: Timestamp,
    /// [`Binding::lifetime`].
    #[serde(rename = "l", default, skip_serializing_if = "Lifetime::is_year")]
    pub lifetime: Lifetime,
    /// [`Binding::confirmed_at`].
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
    /// [`Binding::asked_at`].
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// Whether the binding is dead.
    #[serde(rename = "d", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_dead: bool,
    /// Why it is dead: the provider's word. `None` if it is not, or if a version that did not store it found out.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub death_reason: Option<Reason>,
}

impl Registration {
    /// Extracts it from a binding.
    pub fn of(binding: &Binding) -> Self {
        Self {
            registered_at: binding.registered_at,
            lifetime: binding.lifetime,
            confirmed_at: binding.confirmed_at,
            asked_at: binding.asked_at,
            is_dead: binding.death.is_some(),
            death_reason: binding.death.as_ref().map(|death| death.reason.clone()),
        }
    }

    /// Whether the device is believed deliverable.
    pub fn is_deliverable(&self, now: Timestamp) -> bool {
        !self.is_dead && now < self.ends_at()
    }

    /// When the registration expires unless the device registers again.
    pub fn ends_at(&self) -> Timestamp {
        self.lifetime.end(self.registered_at)
    }

    /// Whether the last confirmation is too long ago, and so is the last check.
    pub fn wants_check(&self, now: Timestamp) -> bool {
        self.is_deliverable(now)
            && self.confirmed_at.is_none_or(|at| at.plus(CHECK_AFTER) <= now)
            && self.asked_at.is_none_or(|at| at.plus(CHECK_EVERY) <= now)
    }
}

/// A user's push registrations.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Registrations {
    /// The generation in which they were last announced; `None` if the user never had one.
    #[serde(rename = "g", default)]
    announced_in: Option<Generation>,
    /// All registrations, including dead ones.
    #[serde(rename = "d", default)]
    devices: BTreeMap<BindingSid, Registration>,
}

impl Registrations {
    /// Rebuilds a value that a store keeps as separate columns or attributes.
    pub fn from_parts(announced_in: Option<Generation>, devices: BTreeMap<BindingSid, Registration>) -> Self {
        Self { announced_in, devices }
    }

    /// Whether the user has or had a registration.
    pub fn ever(&self) -> bool {
        self.announced_in.is_some()
    }

    /// The generation in which they were last announced. Values from an earlier generation no longer hold.
    pub fn announced_in(&self) -> Option<Generation> {
        self.announced_in
    }

    /// All registrations, including dead ones.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = (BindingSid, &Registration)> {
        self.devices.iter().map(|(sid, registration)| (*sid, registration))
    }

    /// Registrations that are believed deliverable.
    pub fn deliverable(&self, now: Timestamp) -> impl Iterator<Item = (BindingSid, &Registration)> {
        self.devices().filter(move |(_, registration)| registration.is_deliverable(now))
    }

    /// When the last live registration expires; [`Timestamp::MIN`] if none is alive.
    pub fn deliverable_until(&self) -> Timestamp {
        let alive = self.devices.values().filter(|registration| !registration.is_dead);
        alive.map(Registration::ends_at).max().unwrap_or(Timestamp::MIN)
    }

    /// Adds or updates a device. Announces the registrations in this generation, if given. If the user then has too
    /// many devices, removes and returns one: preferably a dead one.
    pub fn insert(
        &mut self,
        sid: BindingSid,
        registration: Registration,
        announced_in: Option<Generation>,
    ) -> Option<BindingSid> {
        self.announced_in = Some(self.announced_in.max(announced_in).unwrap_or_default());
        self.devices.insert(sid, registration);
        if self.devices.len() <= MAX_DEVICES {
            return None;
        }
        let others = self.devices.iter().filter(|(other, _)| **other != sid);
        let oldest = others.min_by_key(|(_, it)| (!it.is_dead, it.registered_at)).map(|(oldest, _)| *oldest);
        let oldest = oldest?;
        self.devices.remove(&oldest);
        Some(oldest)
    }

    /// Announces the devices in this generation, if there was ever one. Returns whether that is news.
    pub fn announce(&mut self, generation: Generation) -> bool {
        let is_news = self.announced_in.is_some_and(|announced_in| announced_in < generation);
        if is_news {
            self.announced_in = Some(generation);
        }
        is_news
    }

    /// Removes a device. `announced_in` keeps the fact that there was one.
    pub fn remove(&mut self, sid: BindingSid) {
        self.devices.remove(&sid);
    }
}
