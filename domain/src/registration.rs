//! What becomes of a registration: registering, unregistering, and a provider's word.
//!
//! A provider's word is about the request that it answers. It counts if the device has not been registered again since
//! that request was made, so a registration that overtakes an answer is safe from it; and of two answers the one to the
//! later request counts, in whichever order they come.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::binding::{Binding, Death};
use crate::identity::Identity;
use crate::presence::Generation;
use crate::push::{Fault, Outcome, Reason};
use crate::sid::BindingSid;
use crate::time::Timestamp;

/// For how long a registration holds unless it is made again.
pub const REGISTERED_FOR: Duration = Duration::from_secs(365 * 86_400);

/// How many devices a user has at most. A dead one makes room for another, or else the one registered longest ago.
pub const MAX_DEVICES: usize = 50;

/// After this long without a word of its provider a registration is checked when there is an occasion.
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
    told_in: Option<Generation>,
    /// Those that there are, dead ones among them.
    #[serde(rename = "d", default)]
    devices: BTreeMap<BindingSid, Registration>,
}

impl Registrations {
    /// Puts together again what a store has kept apart.
    pub fn from_parts(told_in: Option<Generation>, devices: BTreeMap<BindingSid, Registration>) -> Self {
        Self { told_in, devices }
    }

    /// Whether there was one at some time.
    pub fn ever(&self) -> bool {
        self.told_in.is_some()
    }

    /// In which generation the outside was last told of them. What it was told in an earlier one no longer holds.
    pub fn told_in(&self) -> Option<Generation> {
        self.told_in
    }

    /// All that there are, dead ones among them.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = (BindingSid, &Registration)> {
        self.devices.iter().map(|(sid, registration)| (*sid, registration))
    }

    /// Those that a push is believed to reach.
    pub fn deliverable(&self, now: Timestamp) -> impl Iterator<Item = (BindingSid, &Registration)> {
        self.devices().filter(move |(_, registration)| registration.is_deliverable(now))
    }

    /// Adds a device, or what is newly known of it, of which the outside is told in this generation if there is one.
    /// Returns the device that has to go for it, if there are too many: a dead one if there is any.
    pub fn insert(
        &mut self,
        sid: BindingSid,
        registration: Registration,
        told_in: Option<Generation>,
    ) -> Option<BindingSid> {
        self.told_in = Some(self.told_in.max(told_in).unwrap_or_default());
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

/// What a provider's answer says of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Of which registration: when it was made. Not by comparing times, since clocks differ.
    pub registered_at: Timestamp,
    /// When the request was made that it answers.
    pub asked_at: Timestamp,
    /// What it says.
    pub word: Word,
}

/// What a provider says of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It is good.
    Alive,
    /// It is dead.
    Dead {
        /// The provider's word for it.
        reason: Reason,
        /// Since when, if it says so.
        since: Option<Timestamp>,
    },
}

impl Verdict {
    /// What an answer says of the registration that it was asked about; `None` if it says nothing of it.
    pub fn of(outcome: &Outcome, binding: &Binding, asked_at: Timestamp) -> Option<Self> {
        let word = match outcome {
            Outcome::Accepted { .. } => Word::Alive,
            Outcome::Rejected(rejection) => match rejection.fault {
                Fault::Token { since } => Word::Dead { reason: rejection.reason.clone(), since },
                Fault::Credential | Fault::Push => return None,
            },
            Outcome::Unavailable { .. } => return None,
        };
        Some(Self { registered_at: binding.registered_at, asked_at, word })
    }
}

/// What happens to a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A device registers, for the first time or again.
    Register {
        /// As it registers.
        binding: Binding,
        /// In which generation of the service's reachability.
        generation: Generation,
    },
    /// Reachability was switched on: from now on the outside is told what is known of it.
    Announce(BindingSid, Generation),
    /// It is taken away.
    Unregister(BindingSid),
    /// Its provider has answered.
    Settle(BindingSid, Verdict),
    /// Its time may be over.
    Expire(BindingSid),
    /// It may have been dead for so long that nobody needs to see it any more.
    Forget(BindingSid),
}

/// What an action does to a device: the binding as it is to be, and who has it no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The binding as it is afterwards; `None`: there is none any more.
    pub binding: Option<Binding>,
    /// Who had the device before, and has it no more.
    pub leaves: Option<(Identity, BindingSid)>,
    /// In which generation the outside is told of it; `None`: in none that it was not told in already.
    pub told_in: Option<Generation>,
}

impl Action {
    /// What this does to a device that is bound like this; `None` if nothing.
    pub fn step(&self, current: Option<&Binding>, now: Timestamp) -> Option<Step> {
        // All but the first are about one binding, and nothing if the device has another by now.
        let of = |sid: &BindingSid| current.filter(|it| it.sid == *sid);
        match self {
            Self::Register { binding, generation } => Some(register(binding, current, *generation)),
            Self::Announce(sid, generation) => of(sid).map(|binding| Step {
                binding: Some(Binding { version: binding.version + 1, ..binding.clone() }),
                leaves: None,
                told_in: Some(*generation),
            }),
            Self::Unregister(sid) => of(sid).map(without),
            Self::Forget(sid) => {
                let is_over = |it: &&Binding| it.death.as_ref().is_some_and(|death| death.at.plus(KEEP_DEAD) <= now);
                of(sid).filter(is_over).map(without)
            }
            Self::Settle(sid, verdict) => changed(of(sid)?, |binding| settle(binding, verdict, now)),
            Self::Expire(sid) => changed(of(sid)?, |binding| {
                let ends_at = Registration::of(binding).ends_at();
                if ends_at <= now && binding.death.is_none() {
                    binding.death = Some(Death::expired(ends_at));
                    binding.date_updated = now;
                }
            }),
        }
    }
}

fn without(binding: &Binding) -> Step {
    Step { binding: None, leaves: Some((binding.identity.clone(), binding.sid)), told_in: None }
}

fn changed(current: &Binding, change: impl FnOnce(&mut Binding)) -> Option<Step> {
    let mut binding = current.clone();
    change(&mut binding);
    if binding == *current {
        return None;
    }
    binding.version += 1;
    Some(Step { binding: Some(binding), leaves: None, told_in: None })
}

fn register(binding: &Binding, current: Option<&Binding>, generation: Generation) -> Step {
    let mut next = binding.clone();
    let mut leaves = None;
    if let Some(known) = current {
        next.version = known.version + 1;
        if known.identity == binding.identity {
            next.date_created = known.date_created;
            // Clocks differ. A registration that is made again is later, and not the same.
            next.registered_at = binding.registered_at.max(known.registered_at.plus(Duration::from_millis(1)));
            // What another credential has found out says nothing of this one, and a dead token has to prove itself again.
            if known.credential_sid == binding.credential_sid && known.death.is_none() {
                next.confirmed_at = known.confirmed_at;
            }
        } else {
            leaves = Some((known.identity.clone(), known.sid));
        }
    }
    Step { binding: Some(next), leaves, told_in: Some(generation) }
}

/// The dead-token rule: a terminal answer, about the token as it is now, to a request that was made since the device last
/// registered, and, if the provider says since when it is dead, since then.
fn settle(binding: &mut Binding, verdict: &Verdict, now: Timestamp) {
    let asked_at = verdict.asked_at;
    match &verdict.word {
        Word::Alive => {
            if binding.confirmed_at.is_some_and(|at| asked_at <= at) {
                return;
            }
            binding.confirmed_at = Some(asked_at);
            if binding.death.as_ref().is_some_and(|death| death.at < asked_at) {
                binding.death = None;
                binding.date_updated = now;
            }
        }
        Word::Dead { reason, since } => {
            let is_of_this = verdict.registered_at == binding.registered_at;
            let is_later = |since: Timestamp| binding.registered_at < since;
            let is_overtaken = binding.confirmed_at.is_some_and(|at| asked_at < at)
                || binding.death.as_ref().is_some_and(|death| asked_at <= death.at);
            if is_of_this && since.is_none_or(is_later) && !is_overtaken {
                if binding.death.is_none() {
                    binding.date_updated = now;
                }
                binding.death = Some(Death { reason: reason.clone(), at: asked_at });
            }
        }
    }
}
