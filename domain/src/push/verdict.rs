//! What a provider's answer says about a registration.

use crate::push::binding::Binding;
use crate::push::credential::{Credential, CredentialUse};
use crate::push::environment::Environment;
use crate::push::outcome::{Fault, PushOutcome};
use crate::push::reason::Reason;
use crate::time::Timestamp;

/// What a provider's answer says about a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Identifies the registration by its time. Compared for equality only, since clocks differ.
    pub registered_at: Timestamp,
    /// When the answered request was sent.
    pub asked_at: Timestamp,
    /// The credential that the request was made with.
    pub credential: CredentialUse,
    /// The environment that was asked; `None` if the provider has none.
    pub environment: Option<Environment>,
    /// The state of the token.
    pub token: TokenState,
}

/// The state of a device token, according to its provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenState {
    /// It works.
    Alive,
    /// It is dead.
    Dead {
        /// The provider's reason.
        reason: Reason,
        /// Since when, if the provider reports it.
        since: Option<Timestamp>,
    },
    /// It does not fit the credential ([`Fault::Mismatch`]).
    Mismatched {
        /// The provider's reason.
        reason: Reason,
    },
}

impl Verdict {
    /// The verdict of an outcome; `None` if the outcome says nothing about the registration.
    pub fn of(outcome: &PushOutcome, binding: &Binding, credential: &Credential, asked_at: Timestamp) -> Option<Self> {
        let token = match outcome {
            PushOutcome::Accepted { .. } => TokenState::Alive,
            PushOutcome::Rejected(rejection) => match rejection.fault {
                Fault::Token { since } => TokenState::Dead { reason: rejection.reason.clone(), since },
                Fault::Mismatch => TokenState::Mismatched { reason: rejection.reason.clone() },
                Fault::Credential | Fault::Push => return None,
            },
            PushOutcome::Unavailable { .. } => return None,
        };
        let environment = credential.environment_of(binding.environment);
        let (registered_at, credential) = (binding.registered_at, credential.current_use());
        Some(Self { registered_at, asked_at, credential, environment, token })
    }
}
