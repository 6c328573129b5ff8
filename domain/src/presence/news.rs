//! What events say about one user, before it is joined to the stored state.

use crate::directory::configuration::Generation;
use crate::identity::{ConnectionId, ConnectionKey};
use crate::presence::acceptance::Acceptance;
use crate::presence::connection::Connection;
use crate::presence::connections::{Presence, Rules};
use crate::presence::disclosure::Disclose;
use crate::presence::event::{Event, EventKind};
use crate::presence::opening::Opening;
use crate::time::Timestamp;

/// What events say about one user. Each event is kept apart, since a deletion undoes some of them and not others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    rules: Rules,
    said: Vec<Said>,
    is_repeated: bool,
}

/// What one event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its connection.
    pub id: ConnectionId,
    /// When it occurred.
    pub occurred_at: Timestamp,
    /// Whether it is a connect or a renewal.
    pub renews_lease: bool,
    /// How a connect opens its connection; `None` if it is none.
    pub opening: Option<Opening>,
    /// What it says of its connection; `None` if nothing, since it is a connect or renewal from a time when reachability was off.
    pub connection: Option<(ConnectionKey, Connection)>,
    /// The generation in which a connect or renewal was accepted; the default value for a disconnect.
    pub generation: Generation,
    /// What its user wants to show from then on.
    pub wish: Disclose,
}

impl News {
    /// No news, under these rules.
    pub fn new(rules: Rules) -> Self {
        Self { rules, said: vec![], is_repeated: false }
    }

    /// Notes that a message of the user is handled that was delivered before: its first handling may have failed after the
    /// write.
    pub fn repeat(&mut self) {
        self.is_repeated = true;
    }

    /// Whether [`News::repeat`] was called.
    pub fn is_repeated(&self) -> bool {
        self.is_repeated
    }

    /// The rules by which the events were read.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What each event says.
    pub fn said(&self) -> &[Said] {
        &self.said
    }

    /// The connections that are said to have no end ([`Connection::is_unending`]).
    pub fn unending(&self) -> impl Iterator<Item = &ConnectionId> {
        let is_unending = |said: &&Said| said.connection.is_some_and(|(_, connection)| connection.is_unending());
        self.said.iter().filter(is_unending).map(|said| &said.id)
    }

    /// Adds an event that is handled at `now`. Returns what it says of its connection ([`Said::connection`]); `None` if
    /// nothing, since it would open a connection and was accepted while reachability was off. It creates its user all the
    /// same.
    pub fn add(
        &mut self,
        event: &Event,
        acceptance: Acceptance,
        now: Timestamp,
    ) -> Option<(ConnectionKey, Connection)> {
        self.add_with(event, acceptance, Disclose::default(), now)
    }

    /// The same of a connect with which its user wants to show something else.
    pub fn add_with(
        &mut self,
        event: &Event,
        acceptance: Acceptance,
        wish: Disclose,
        now: Timestamp,
    ) -> Option<(ConnectionKey, Connection)> {
        let renews_lease = event.renews_lease();
        // A disconnect counts while reachability is off too, or its user would be online later.
        let (counts, generation) = match acceptance {
            Acceptance::In(generation) if renews_lease => (true, generation),
            Acceptance::In(_) => (true, Generation::default()),
            Acceptance::Off => (!renews_lease, Generation::default()),
        };
        let connection = counts.then(|| (event.connection.key(), self.rules.connection(event, now)));
        let id = event.connection.clone();
        let occurred_at = event.occurred_at;
        let opening = match &event.kind {
            EventKind::Connect { device, .. } => Some(Opening::new(occurred_at, device.as_deref())),
            EventKind::Renew { .. } | EventKind::Disconnect { .. } => None,
        };
        self.said.push(Said { id, occurred_at, renews_lease, opening, connection, generation, wish });
        connection
    }

    /// The same news in parts of at most so many events each; at least one part.
    pub fn parts(&self, events: usize) -> Vec<Self> {
        let part = |said: &[Said]| Self { said: said.to_vec(), ..*self };
        if self.said.is_empty() { vec![part(&[])] } else { self.said.chunks(events).map(part).collect() }
    }

    /// Joins what the events say about a user who was last deleted at this time: events from before the deletion say
    /// nothing. Returns whether anything changed.
    pub fn join_to(&self, presence: &mut Presence, deleted_at: Option<Timestamp>) -> bool {
        let before = (presence.online_generation, presence.last_active, presence.connected_at);
        let mut is_changed = false;
        for said in self.after(deleted_at) {
            let Some((key, connection)) = &said.connection else { continue };
            is_changed |= presence.join(*key, said.occurred_at, connection);
            presence.online_generation = presence.online_generation.max(said.generation);
            presence.last_active = presence.last_active.max(Some(said.occurred_at));
            if let Some(opening) = &said.opening {
                is_changed |= presence.join_opening(*key, opening);
                presence.connected_at = presence.connected_at.max(Some(opening.at));
            }
        }
        is_changed || before != (presence.online_generation, presence.last_active, presence.connected_at)
    }

    /// Whether the events create the user, if it does not exist and was last deleted at this time: a connect or a renewal
    /// from after the deletion does, even if its connection has ended, or if reachability was off.
    pub fn creates_user(&self, deleted_at: Option<Timestamp>) -> bool {
        self.after(deleted_at).any(|said| said.renews_lease)
    }

    /// Whether a user wants to show something else.
    pub fn has_wishes(&self) -> bool {
        self.said.iter().any(|said| said.wish != Disclose::default())
    }

    /// What a user with these connections, who was last deleted at this time, wants to show now. A wish counts when its
    /// connection begins, and not again if the event is repeated: the user may have set something else since. (While
    /// reachability is off no connection begins, and it always counts.)
    pub fn wishes(&self, presence: &Presence, deleted_at: Option<Timestamp>) -> Vec<&Disclose> {
        let begins = |said: &&Said| said.connection.is_none_or(|(key, it)| presence.begins(key, said.occurred_at, &it));
        let wished = self.after(deleted_at).filter(|said| said.wish != Disclose::default());
        wished.filter(begins).map(|said| &said.wish).collect()
    }

    fn after(&self, deleted_at: Option<Timestamp>) -> impl Iterator<Item = &Said> {
        self.said.iter().filter(move |said| deleted_at.is_none_or(|deleted_at| deleted_at < said.occurred_at))
    }
}
