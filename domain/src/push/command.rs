//! Commands that change a registration: registering, unregistering, and verdicts of providers.
//!
//! A verdict applies to the request it answers. It counts only if the device has not registered again since that
//! request, so a new registration is safe from an older response. Of two verdicts the one for the later request wins,
//! in whatever order they arrive. What was learnt with a credential does not count once its keys are others.

use std::time::Duration;

use crate::directory::configuration::Generation;
use crate::push::binding::{Binding, Death};
use crate::push::credential::CredentialUse;
use crate::push::lifetime::Lifetime;
use crate::push::registration::Registration;
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
    /// The provider was asked at this time, and its answer, if there was one, says nothing about the registration.
    NoteAsked(BindingSid, Timestamp),
    /// The keys of the credential have changed: what was learnt with earlier ones does not count.
    ForgetCredential(BindingSid, CredentialUse),
    /// Registrations with the credential count for this long now. One that is too old for that ends.
    SetLifetime(BindingSid, Lifetime),
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
                let is_over = |it: &&Binding| it.death.as_ref().is_some_and(|death| death.is_over(now));
                of(sid).filter(is_over).map(without)
            }
            Self::NoteAsked(sid, at) => changed(of(sid)?, |binding| binding.asked_at = binding.asked_at.max(Some(*at))),
            Self::ForgetCredential(sid, credential) => {
                let is_meant = |it: &&Binding| it.credential_sid == Some(credential.sid);
                changed(of(sid).filter(is_meant)?, |binding| forget(binding, credential.since, now))
            }
            Self::ApplyVerdict(sid, verdict) => changed(of(sid)?, |binding| apply_verdict(binding, verdict, now)),
            // What ended by the old setting does not begin again by a longer one.
            Self::SetLifetime(sid, lifetime) => changed(of(sid).filter(|it| it.death_at(now).is_none())?, |binding| {
                binding.lifetime = *lifetime;
                if binding.ends_at() <= now {
                    (binding.death, binding.date_updated) = (Some(Death::expired(now)), now);
                }
            }),
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
                next.asked_at = known.asked_at;
            }
            if known.credential_sid == binding.credential_sid {
                next.learnt_with = known.learnt_with;
            }
            // The environment is a property of the token.
            next.environment = known.environment;
        } else {
            leaves = Some((known.identity.clone(), known.sid));
        }
    }
    Transition { binding: Some(next), leaves, announced_in: Some(generation) }
}

/// For how long after the registration an answer does not count by which the token was dead before: an app may register a token
/// that Apple has reported as dead a moment ago, and the owner's clock may be wrong.
const DEAD_BEFORE: Duration = Duration::from_secs(86_400);

/// The rules for answers.
///
/// * An answer by a credential that is not the registration's, or not used like this any more, does not count.
/// * A terminal answer ends the registration only if it is about the current token, and answers a request made after the last
///   registration. If the provider reports since when the token is dead, that time must be after the registration, unless the
///   request was made so much later that the answer can only be about this registration.
/// * That the token does not fit the credential means the same if this credential has confirmed it before. Otherwise either may be
///   the wrong one, and the death ends if the credential changes.
fn apply_verdict(known: &mut Binding, verdict: &Verdict, now: Timestamp) {
    let Verdict { asked_at, credential, .. } = *verdict;
    if known.credential_sid != Some(credential.sid) || credential.since < known.learnt_with {
        return;
    }
    let mut binding = known.clone();
    forget(&mut binding, credential.since, now);
    let (reason, is_mismatch) = match &verdict.token {
        TokenState::Alive => {
            if binding.confirmed_at.is_none_or(|at| at < asked_at) {
                binding.confirmed_at = Some(asked_at);
                binding.asked_at = binding.asked_at.max(Some(asked_at));
                binding.environment = verdict.environment;
                if binding.death.as_ref().is_some_and(|death| death.at < asked_at) {
                    binding.death = None;
                    binding.date_updated = now;
                }
                *known = binding;
            }
            return;
        }
        TokenState::Dead { reason, since } => {
            let counts =
                |since: Timestamp| binding.registered_at < since || binding.registered_at.plus(DEAD_BEFORE) <= asked_at;
            if !since.is_none_or(counts) {
                return;
            }
            (reason, false)
        }
        TokenState::Mismatched { reason } => (reason, binding.confirmed_at.is_none()),
    };
    let is_of_this = verdict.registered_at == binding.registered_at;
    let is_overtaken = binding.confirmed_at.is_some_and(|at| asked_at < at)
        || binding.death.as_ref().is_some_and(|death| asked_at <= death.at);
    if !is_of_this || is_overtaken {
        return;
    }
    binding.asked_at = binding.asked_at.max(Some(asked_at));
    if known.death.is_none() {
        binding.date_updated = now;
    }
    binding.death = Some(Death { reason: reason.clone(), at: asked_at, is_mismatch });
    *known = binding;
}

/// Forgets what was learnt before the credential was used as it is since then.
fn forget(binding: &mut Binding, since: Timestamp, now: Timestamp) {
    if since <= binding.learnt_with {
        return;
    }
    binding.learnt_with = since;
    (binding.confirmed_at, binding.asked_at) = (None, None);
    if binding.death.as_ref().is_some_and(Death::depends_on_credential) {
        (binding.death, binding.date_updated) = (None, now);
    }
}
