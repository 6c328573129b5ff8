//! Commands that change a registration: registering, unregistering, and verdicts of providers.
//!
//! A verdict applies to the request it answers. It counts only if the device has not registered again since that
//! request, so a new registration is safe from an older response. Of two verdicts the one for the later request wins,
//! in whatever order they arrive.

use std::time::Duration;

use crate::directory::configuration::Generation;
use crate::push::binding::{Binding, Death};
use crate::push::registration::{KEEP_DEAD, Registration};
use crate::push::transition::Transition;
use crate::push::verdict::{TokenState, Verdict};
use crate::sid::BindingSid;
use crate::time::Timestamp;

/// A command on a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindingCommand {
    /// A device registers, for the first time or again.
    Register {
        /// The new binding.
        binding: Binding,
        /// The current generation of the service's reachability.
        generation: Generation,
    },
    /// The device unregisters.
    Unregister(BindingSid),
    /// The provider has answered.
    ApplyVerdict(BindingSid, Verdict),
    /// End the registration if it has expired.
    Expire(BindingSid),
    /// Remove the binding if it has been dead for long enough.
    RemoveDead(BindingSid),
}

impl BindingCommand {
    /// Whether it registers a device. That requires the service to exist.
    pub fn registers(&self) -> bool {
        matches!(self, Self::Register { .. })
    }

    /// The change that this command makes to a device's current binding; `None` if it changes nothing.
    pub fn transition(&self, current: Option<&Binding>, now: Timestamp) -> Option<Transition> {
        // All commands except `Register` refer to one binding. They do nothing if the device has another binding by
        // now.
        let of = |sid: &BindingSid| current.filter(|it| it.sid == *sid);
        match self {
            Self::Register { binding, generation } => Some(register(binding, current, *generation)),
            Self::Unregister(sid) => of(sid).map(without),
            Self::RemoveDead(sid) => {
                let is_over = |it: &&Binding| it.death.as_ref().is_some_and(|death| death.at.plus(KEEP_DEAD) <= now);
                of(sid).filter(is_over).map(without)
            }
            Self::ApplyVerdict(sid, verdict) => changed(of(sid)?, |binding| apply_verdict(binding, verdict, now)),
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

fn without(binding: &Binding) -> Transition {
    Transition { binding: None, leaves: Some((binding.identity.clone(), binding.sid)), announced_in: None }
}

fn changed(current: &Binding, change: impl FnOnce(&mut Binding)) -> Option<Transition> {
    let mut binding = current.clone();
    change(&mut binding);
    if binding == *current {
        return None;
    }
    binding.version += 1;
    Some(Transition { binding: Some(binding), leaves: None, announced_in: None })
}

fn register(binding: &Binding, current: Option<&Binding>, generation: Generation) -> Transition {
    let mut next = binding.clone();
    let mut leaves = None;
    if let Some(known) = current {
        next.version = known.version + 1;
        if known.identity == binding.identity {
            next.date_created = known.date_created;
            // Clocks differ. A new registration must be later than the previous one, and distinct from it.
            next.registered_at = binding.registered_at.max(known.registered_at.plus(Duration::from_millis(1)));
            // A confirmation with another credential does not count for this one. A dead token must be confirmed again.
            if known.credential_sid == binding.credential_sid && known.death.is_none() {
                next.confirmed_at = known.confirmed_at;
            }
        } else {
            leaves = Some((known.identity.clone(), known.sid));
        }
    }
    Transition { binding: Some(next), leaves, announced_in: Some(generation) }
}

/// The dead-token rule. A terminal response ends the registration only if it is about the current token, answers a
/// request made after the last registration and, if the provider reports since when the token is dead, that time is
/// after the registration.
fn apply_verdict(binding: &mut Binding, verdict: &Verdict, now: Timestamp) {
    let asked_at = verdict.asked_at;
    match &verdict.token {
        TokenState::Alive => {
            if binding.confirmed_at.is_some_and(|at| asked_at <= at) {
                return;
            }
            binding.confirmed_at = Some(asked_at);
            if binding.death.as_ref().is_some_and(|death| death.at < asked_at) {
                binding.death = None;
                binding.date_updated = now;
            }
        }
        TokenState::Dead { reason, since } => {
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
