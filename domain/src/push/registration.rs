//! What a user's state holds of the user's push registrations.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::directory::configuration::Generation;
use crate::push::binding::{Binding, REGISTERED_FOR};
use crate::sid::BindingSid;
use crate::time::Timestamp;

/// How many devices a user has at most. A dead one makes room for another, or else the one registered longest ago.
pub const MAX_DEVICES: usize = 50;

/// A registration that its provider has not confirmed for this long is checked at the next occasion.
pub const CHECK_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// How long before its end a registration is checked.
pub const CHECK_BEFORE_END: Duration = Duration::from_secs(30 * 86_400);

/// For how long a dead binding is kept for its owner to look at.
pub const KEEP_DEAD: Duration = Duration::from_secs(30 * 86_400);

/// What a user's state holds of a registration: enough to tell whether a push can reach the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// [`Binding::registered_at`].
    #[serde(rename = "a")]
    pub registered_at: Timestamp,
    /// [`Binding::confirmed_at`].
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
    /// Whether it is dead.
    #[serde(rename = "d", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_dead: bool,
}

impl Registration {
    /// What a user's state holds of a binding.
    pub fn of(binding: &Binding) -> Self {
        Self {
            registered_at: binding.registered_at,
            confirmed_at: binding.confirmed_at,
            is_dead: binding.death.is_some(),
        }
    }

    /// Whether a push is believed to reach the device.
    pub fn is_deliverable(&self, now: Timestamp) -> bool {
        !self.is_dead && now < self.ends_at()
    }

    /// When it ends unless it is made again.
    pub fn ends_at(&self) -> Timestamp {
        self.registered_at.plus(REGISTERED_FOR)
    }

    /// Whether its provider has not been heard of for long.
    pub fn wants_check(&self, now: Timestamp) -> bool {
        self.is_deliverable(now) && self.confirmed_at.is_none_or(|at| at.plus(CHECK_AFTER) <= now)
    }
}

/// What is known of a user's push registrations.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Registrations {
    /// In which generation the outside was last told of them; `None`: there never was one.
    #[serde(rename = "g", default)]
    announced_in: Option<Generation>,
    /// Those that there are, dead ones among them.
    #[serde(rename = "d", default)]
    devices: BTreeMap<BindingSid, Registration>,
}

impl Registrations {
    /// Puts together again what a store has kept apart.
    pub fn from_parts(announced_in: Option<Generation>, devices: BTreeMap<BindingSid, Registration>) -> Self {
        Self { announced_in, devices }
    }

    /// Whether there was one at some time.
    pub fn ever(&self) -> bool {
        self.announced_in.is_some()
    }

    /// In which generation the outside was last told of them. What it was told in an earlier one no longer holds.
    pub fn announced_in(&self) -> Option<Generation> {
        self.announced_in
    }

    /// All that there are, dead ones among them.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = (BindingSid, &Registration)> {
        self.devices.iter().map(|(sid, registration)| (*sid, registration))
    }

    /// Those that a push is believed to reach.
    pub fn deliverable(&self, now: Timestamp) -> impl Iterator<Item = (BindingSid, &Registration)> {
        self.devices().filter(move |(_, registration)| registration.is_deliverable(now))
    }

    /// Until when a push is believed to reach one of them; [`Timestamp::MIN`] if none is alive.
    pub fn deliverable_until(&self) -> Timestamp {
        let alive = self.devices.values().filter(|registration| !registration.is_dead);
        alive.map(Registration::ends_at).max().unwrap_or(Timestamp::MIN)
    }

    /// Adds a device, or what is newly known of it, of which the outside is told in this generation if there is one.
    /// Returns the device that has to go for it, if there are too many: a dead one if there is any.
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

    /// Takes a device away. That there was one is remembered.
    pub fn remove(&mut self, sid: BindingSid) {
        self.devices.remove(&sid);
    }
}
