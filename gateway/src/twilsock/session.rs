//! The steps of a session.

use reachability_domain::identity::UserKey;
use reachability_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::twilsock::action::Action;
use crate::twilsock::input::Input;
use crate::twilsock::settings::Settings;

/// The state of one socket's protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    since: Timestamp,
}

impl Session {
    /// A new socket. `now` must come from a clock that never goes back.
    pub fn new(now: Timestamp) -> Self {
        Self { since: now }
    }

    /// Takes an input, and returns what is to be done.
    pub fn step(&mut self, settings: &Settings, input: Input<'_>, now: Timestamp) -> Vec<Action> {
        let _ = (settings, input, now);
        Vec::new()
    }

    /// When [`Input::Tick`] is wanted; [`Timestamp::MAX`]: never.
    pub fn due_at(&self, settings: &Settings) -> Timestamp {
        self.since.plus(settings.init_within)
    }

    /// The user, once the session is open.
    pub fn user(&self) -> Option<&UserKey> {
        None
    }
}
