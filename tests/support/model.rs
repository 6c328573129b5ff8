//! A model of users, computed the slow way: from the list of everything that arrived, without the product's own rules.
//! The tests compare it with the product.

use std::collections::BTreeMap;

use reachability_domain::identity::{ConnectionKey, UserKey};
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::opening::Opening;
use reachability_domain::sid::ServiceSid;

/// The settings of the model, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The time from the loss of a connection to its end.
    pub grace: i64,
    /// The lease of a connection whose events have none; `None`: no limit.
    pub lease: Option<i64>,
}

/// Everything that arrived, in the order of its arrival.
#[derive(Debug)]
pub struct Model {
    settings: Settings,
    /// For each service: whether reachability is on, and how often it was switched on.
    services: BTreeMap<ServiceSid, (bool, u32)>,
    arrived: Vec<Arrival>,
    /// When each user was last deleted.
    deleted: BTreeMap<UserKey, i64>,
}

#[derive(Debug)]
struct Arrival {
    event: Event,
    /// Whether reachability was on at the arrival, and how often it had been switched on.
    enabled: bool,
    generation: u32,
}

/// What is true of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truth {
    /// The value of `is_online`.
    pub online: Option<bool>,
    /// The time of the user's latest event that counts, in milliseconds.
    pub last_active: Option<i64>,
}

impl Model {
    /// A model in which nothing has happened yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, services: BTreeMap::new(), arrived: vec![], deleted: BTreeMap::new() }
    }

    /// Reachability of a service is switched on or off.
    pub fn switch(&mut self, service: ServiceSid, on: bool) {
        let (enabled, generation) = self.services.entry(service).or_default();
        if on && !*enabled {
            *generation += 1;
        }
        *enabled = on;
    }

    /// A user is deleted.
    pub fn delete(&mut self, user: &UserKey, now: i64) {
        self.deleted.insert(user.clone(), now);
    }

    /// Whether an event counts: it is of this user, and occurred after its deletion.
    fn is_of(&self, user: &UserKey, event: &Event) -> bool {
        event.user == *user && self.deleted.get(user).is_none_or(|deleted| *deleted < event.occurred_at.as_millis())
    }

    /// An event is accepted. When it is handled makes no difference.
    pub fn arrive(&mut self, event: &Event) {
        let (enabled, generation) = self.services.get(&event.user.service).copied().unwrap_or_default();
        self.arrived.push(Arrival { event: event.clone(), enabled, generation });
    }

    /// Whether a user exists: it connected or renewed at least once since its deletion, whether reachability was on or
    /// not.
    pub fn exists(&self, user: &UserKey) -> bool {
        self.arrived.iter().any(|arrival| self.is_of(user, &arrival.event) && is_opening(&arrival.event))
    }

    /// How the connections of a user began that are not known to have ended: the earliest connect of each.
    pub fn openings(&self, user: &UserKey) -> BTreeMap<ConnectionKey, Opening> {
        let mut openings = BTreeMap::new();
        let of_user = || self.arrived.iter().filter(|arrival| self.is_of(user, &arrival.event));
        for Arrival { event, .. } in of_user().filter(|arrival| arrival.enabled) {
            if let EventKind::Connect { device, .. } = &event.kind {
                let opening = Opening { at: event.occurred_at, device: device.as_deref().map(Into::into) };
                let first = openings.entry(event.connection.key()).or_insert_with(|| opening.clone());
                *first = opening.min(first.clone());
            }
        }
        for Arrival { event, .. } in of_user().filter(|arrival| !is_opening(&arrival.event)) {
            openings.remove(&event.connection.key());
        }
        openings
    }

    /// What is true of a user at this time, in milliseconds.
    pub fn truth(&self, user: &UserKey, now: i64) -> Truth {
        let (enabled, generation) = self.services.get(&user.service).copied().unwrap_or_default();
        let mut any_live = false;
        let mut counted = false;
        let mut last_active = None;
        let mut connections: BTreeMap<&str, Vec<&Arrival>> = BTreeMap::new();
        for arrival in &self.arrived {
            // While reachability is off, only disconnects count.
            let heard = arrival.enabled || !is_opening(&arrival.event);
            if self.is_of(user, &arrival.event) && heard {
                connections.entry(arrival.event.connection.as_str()).or_default().push(arrival);
                last_active = last_active.max(Some(arrival.event.occurred_at.as_millis()));
            }
        }
        for arrivals in connections.values() {
            let mut is_open = false;
            let mut lease_end = i64::MIN;
            let mut end = i64::MAX;
            for arrival in arrivals {
                let at = arrival.event.occurred_at.as_millis();
                match &arrival.event.kind {
                    EventKind::Connect { lease, .. } | EventKind::Renew { lease } => {
                        is_open = true;
                        counted |= arrival.generation == generation;
                        let until = match (self.settings.lease, lease) {
                            (None, _) => i64::MAX,
                            (Some(_), Some(lease)) => at + lease.as_millis() as i64,
                            (Some(setting), None) => at + setting,
                        };
                        lease_end = lease_end.max(until);
                    }
                    EventKind::Disconnect { reason: EndReason::ClientClosed } => end = end.min(at),
                    EventKind::Disconnect { .. } => end = end.min(at + self.settings.grace),
                }
            }
            any_live |= is_open && now < lease_end && now < end;
        }
        Truth { online: (enabled && counted).then_some(any_live), last_active }
    }
}

fn is_opening(event: &Event) -> bool {
    matches!(event.kind, EventKind::Connect { .. } | EventKind::Renew { .. })
}
