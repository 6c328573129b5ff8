//! Handles the messages of one user.

use std::collections::BTreeSet;

use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::{ConnectionId, UserKey};
use reachability_domain::presence::change::Change;
use reachability_domain::presence::connections::Presence;
use reachability_domain::presence::event::{Event, EventKind};
use reachability_domain::presence::message::{Check, PresenceMessage};
use reachability_domain::presence::outcome::EventOutcome;
use reachability_domain::presence::ports::{Joined, Touched};
use reachability_domain::push::message::{Probe, PushMessage};
use reachability_domain::push::registration::Registrations;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use tracing::debug;

use super::timers::{next_timer, timer, wants_timer};
use super::{Handled, UserBatch, Worker};
use crate::Failure;

/// Messages for the event queue and the push queue.
type FollowUps = (Vec<PresenceMessage>, Vec<PushMessage>);

impl Worker {
    pub(super) async fn handle_user(
        &self,
        user: UserKey,
        service: Option<&Service>,
        batch: UserBatch,
        now: Timestamp,
    ) -> Handled {
        let Some(service) = service else { return self.refuse(&batch) };
        let mut handled = Handled::default();
        let mut taken: Vec<usize> = batch.checks.iter().map(|(index, _)| *index).collect();
        let checks: Vec<Check> = batch.checks.into_iter().map(|(_, check)| check).collect();
        let mut events = Vec::with_capacity(batch.events.len());
        for (index, event) in batch.events {
            // The receiver of the event has checked this too. A clock that was set back since must not refuse the
            // event, so the limit is doubled here.
            match event.check_clock(now.plus(Event::MAX_AHEAD)) {
                Err(error) => handled.failures.push((index, error.into())),
                Ok(()) => {
                    taken.push(index);
                    events.push(event);
                }
            }
        }
        if taken.is_empty() {
            return handled;
        }
        match self.join(user, service, &events, &checks, now).await {
            Ok((events, pushes)) => (handled.events, handled.pushes) = (events, pushes),
            Err(error) => handled.failures.extend(Handled::failed(&taken, &error.into()).failures),
        }
        handled
    }

    /// For a service that does not exist: refuses events and drops timers.
    fn refuse(&self, batch: &UserBatch) -> Handled {
        let refused = batch.events.iter().map(|(index, event)| {
            self.ports.metrics.count(EventOutcome::Refused);
            (*index, Failure::UnknownService(event.user.service))
        });
        Handled { failures: refused.collect(), ..Handled::default() }
    }

    /// Joins events to the stored state. Returns the timers to set and the registrations to check.
    async fn join(
        &self,
        key: UserKey,
        service: &Service,
        events: &[Event],
        checks: &[Check],
        now: Timestamp,
    ) -> Result<FollowUps, StoreError> {
        let configuration = &service.configuration;
        let user = User::new(self.ports.ids.sid(), key, Some(service.default_roles.service_user), now);
        let enabled = configuration.reachability_enabled;
        if !enabled {
            self.create_if_missing(&user, events).await?;
        }

        let mut news = Presence::default();
        let mut said = Vec::with_capacity(events.len());
        for event in events {
            // While reachability is off, nobody comes online. Disconnects are stored all the same, so that the user
            // does not appear online when reachability is on again.
            if enabled || !event.renews_lease() {
                let one = Presence::of_event(event, &self.rules, configuration.generation, now);
                news.join(&one);
                said.push((event, one));
            } else {
                self.ports.metrics.count(EventOutcome::Disabled);
            }
        }
        if news == Presence::default() && checks.is_empty() {
            return Ok(FollowUps::default());
        }
        let asked: Vec<ConnectionId> = checks.iter().map(|check| check.connection.clone()).collect();
        let joined = self.ports.states.join(&user, &news, &asked, now).await?;
        self.account_for(&said, &joined, now);
        let mut pushes = Vec::new();
        if let Some(change) = Change::between(&user.key(), configuration, joined.before, joined.after) {
            if (change.before.online, change.after.online) == (Some(true), Some(false)) {
                pushes.extend(probes(&joined.registrations, service.sid, now));
            }
            debug!(
                service.sid = %service.sid,
                user.revision = change.revision,
                online.before = ?change.before.online,
                online.after = ?change.after.online,
                "a user's reachability changed"
            );
        }
        Ok((timers(&user.key(), events, checks, &joined, now), pushes))
    }

    /// Counts the outcomes of events.
    fn account_for(&self, said: &[(&Event, Presence)], joined: &Joined, now: Timestamp) {
        let before = joined.connections.iter().map(|(id, touched)| (id.clone(), touched.before)).collect();
        let mut known = Presence::from_parts(before, Generation::default(), None);
        for (event, one) in said {
            let outcome = EventOutcome::of(&known.connection(&event.connection), &one.connection(&event.connection));
            self.ports.metrics.count(outcome);
            if outcome == EventOutcome::Applied {
                self.ports.metrics.event_age(now.since(event.occurred_at));
            }
            known.join(one);
        }
    }

    /// Creates a user at its first connect, even while reachability is off. Late events of a deleted user's connections
    /// do not recreate the user.
    async fn create_if_missing(&self, user: &User, events: &[Event]) -> Result<(), StoreError> {
        let connects: Vec<&Event> =
            events.iter().filter(|event| matches!(event.kind, EventKind::Connect { .. })).collect();
        if connects.is_empty() {
            return Ok(());
        }
        // A read costs less than a failed write, and the user nearly always exists.
        if self.ports.users.user(user.service_sid, &UserRef::Identity(user.identity.clone())).await?.is_some() {
            return Ok(());
        }
        let states = self.ports.states.states(&[user.key()]).await?;
        let is_closed =
            |event: &Event| states.iter().any(|state| state.presence.connection(&event.connection).ended.is_some());
        if connects.into_iter().all(is_closed) {
            return Ok(());
        }
        match self.ports.users.create_user(user).await {
            Err(StoreError::Exists) => Ok(()),
            created => created,
        }
    }
}

/// The timers to set, without duplicates.
fn timers(user: &UserKey, events: &[Event], checks: &[Check], joined: &Joined, now: Timestamp) -> Vec<PresenceMessage> {
    let touched = |id| joined.connections.get(id).copied().unwrap_or_default();
    let of_events = events.iter().filter_map(|event| {
        let Touched { before, after } = touched(&event.connection);
        wants_timer(event, &before, &after, now).then(|| timer(user, &event.connection, &after, now))
    });
    let of_checks = checks.iter().filter_map(|check| next_timer(check, &touched(&check.connection).after, now));
    let timers: BTreeSet<Check> = of_events.chain(of_checks).collect();
    timers.into_iter().map(PresenceMessage::Check).collect()
}

/// Messages to check the registrations of a user who has just gone offline, if their last confirmation is old: a push
/// is now the only way to reach the user.
fn probes(registrations: &Registrations, service: ServiceSid, now: Timestamp) -> impl Iterator<Item = PushMessage> {
    let unproven = registrations.devices().filter(move |(_, registration)| registration.wants_check(now));
    unproven.map(move |(binding, _)| {
        PushMessage::Probe(Probe { service, binding, asked_at: now, attempts: 0, due_at: None })
    })
}
