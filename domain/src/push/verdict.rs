//! What a provider's answer says of a registration.

use crate::push::binding::Binding;
use crate::push::outcome::{Fault, PushOutcome};
use crate::push::reason::Reason;
use crate::time::Timestamp;

/// What a provider's answer says of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Of which registration: when it was made. Not by comparing times, since clocks differ.
    pub registered_at: Timestamp,
    /// When the request was made that it answers.
    pub asked_at: Timestamp,
    /// What it says.
    pub token: TokenState,
}

/// What a provider says of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenState {
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
    pub fn of(outcome: &PushOutcome, binding: &Binding, asked_at: Timestamp) -> Option<Self> {
        let token = match outcome {
            PushOutcome::Accepted { .. } => TokenState::Alive,
            PushOutcome::Rejected(rejection) => match rejection.fault {
                Fault::Token { since } => TokenState::Dead { reason: rejection.reason.clone(), since },
                Fault::Credential | Fault::Push => return None,
            },
            PushOutcome::Unavailable { .. } => return None,
        };
        Some(Self { registered_at: binding.registered_at, asked_at, token })
    }
}
