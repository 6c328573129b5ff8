//! What becomes of a registration: registering, unregistering, and a provider's word.
//!
//! A provider's word is about the request that it answers. It counts if the device has not been registered again since
//! that request was made, so a registration that overtakes an answer is safe from it; and of two answers the one to the
//! later request counts, in whichever order they come.

use std::time::Duration;

use crate::directory::configuration::Generation;
use crate::push::binding::{Binding, Death};
use crate::push::registration::{KEEP_DEAD, Registration};
use crate::push::transition::Transition;
use crate::push::verdict::{TokenState, Verdict};
use crate::sid::BindingSid;
use crate::time::Timestamp;

/// What happens to a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindingCommand {
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
    ApplyVerdict(BindingSid, Verdict),
    /// Its time may be over.
    Expire(BindingSid),
    /// It may have been dead for so long that nobody needs to see it any more.
    RemoveDead(BindingSid),
}

impl BindingCommand {
    /// Whether it registers a device, which needs the service to exist.
    pub fn registers(&self) -> bool {
        matches!(self, Self::Register { .. })
    }

    /// What this does to a device that is bound like this; `None` if nothing.
    pub fn transition(&self, current: Option<&Binding>, now: Timestamp) -> Option<Transition> {
        // All but the first are about one binding, and nothing if the device has another by now.
        let of = |sid: &BindingSid| current.filter(|it| it.sid == *sid);
        match self {
            Self::Register { binding, generation } => Some(register(binding, current, *generation)),
            Self::Announce(sid, generation) => of(sid).map(|binding| Transition {
                binding: Some(Binding { version: binding.version + 1, ..binding.clone() }),
                leaves: None,
                announced_in: Some(*generation),
            }),
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
    Transition { binding: Some(next), leaves, announced_in: Some(generation) }
}

/// The dead-token rule: a terminal answer, about the token as it is now, to a request that was made since the device last
/// registered, and, if the provider says since when it is dead, since then.
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
