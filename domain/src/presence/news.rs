//! What events say about one user, before it is joined to the stored state.

use std::collections::BTreeSet;

use crate::directory::configuration::Generation;
use crate::identity::ConnectionId;
use crate::presence::acceptance::Acceptance;
use crate::presence::connections::{Presence, Rules};
use crate::presence::event::Event;
use crate::time::Timestamp;

/// What events say about one user. Each event is kept apart, since a deletion undoes some of them and not others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct News {
    said: Vec<Said>,
}

/// What one event says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    occurred_at: Timestamp,
    /// Whether it is a connect or a renewal.
    renews_lease: bool,
    /// What it says about the connection; nothing if it is a connect or renewal from a time when reachability was off.
    presence: Presence,
}

impl News {
    /// Adds an event that is handled at `now`. Returns what it says about its connection; `None` if nothing, since it
    /// would open a connection and was accepted while reachability was off. It creates its user all the same.
    pub fn add(&mut self, event: &Event, acceptance: Acceptance, rules: &Rules, now: Timestamp) -> Option<Presence> {
        let renews_lease = event.renews_lease();
        let presence = match acceptance {
            Acceptance::In(generation) => Some(Presence::of_event(event, rules, generation, now)),
            // A disconnect counts while reachability is off too, or its user would be online later.
            Acceptance::Off if !renews_lease => Some(Presence::of_event(event, rules, Generation::default(), now)),
            Acceptance::Off => None,
        };
        let said = presence.clone().unwrap_or_default();
        self.said.push(Said { occurred_at: event.occurred_at, renews_lease, presence: said });
        presence
    }

    /// Whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// When the earliest event occurred; `None` if there are no events.
    pub fn earliest(&self) -> Option<Timestamp> {
        self.said.iter().map(|said| said.occurred_at).min()
    }

    /// The connections that the events are about, except connects and renewals that open nothing.
    pub fn connections(&self) -> BTreeSet<&ConnectionId> {
        self.said.iter().flat_map(|said| said.presence.connections()).map(|(id, _)| id).collect()
    }

    /// What the events say about the connections of a user who was last deleted at this time: events from before the
    /// deletion say nothing.
    pub fn presence(&self, deleted_at: Option<Timestamp>) -> Presence {
        let mut presence = Presence::default();
        for said in self.after(deleted_at) {
            presence.join(&said.presence);
        }
        presence
    }

    /// Whether the events create the user, if it does not exist and was last deleted at this time: a connect or a renewal
    /// from after the deletion does, even if its connection has ended, or if reachability was off.
    pub fn creates_user(&self, deleted_at: Option<Timestamp>) -> bool {
        self.after(deleted_at).any(|said| said.renews_lease)
    }

    fn after(&self, deleted_at: Option<Timestamp>) -> impl Iterator<Item = &Said> {
        self.said.iter().filter(move |said| deleted_at.is_none_or(|deleted_at| deleted_at < said.occurred_at))
    }
}
