//! What the messages of one user do.

use std::collections::BTreeSet;

use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::{ConnectionId, UserKey};
use reachability_domain::presence::change::Change;
use reachability_domain::presence::connections::{Connection, Presence};
use reachability_domain::presence::event::{Event, EventKind};
use reachability_domain::presence::outcome::EventOutcome;
use reachability_domain::presence::ports::{Joined, Touched};
use reachability_domain::push::registration::Registrations;
use reachability_domain::queue::{Check, Message, Probe};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::ids;
use tracing::debug;

use crate::{Done, Failure, Share, Worker};

impl Worker {
    pub(crate) async fn handle_user(
        &self,
        user: UserKey,
        service: Option<&Service>,
        share: Share,
        now: Timestamp,
    ) -> Done {
        let mut done = Done::default();
        let mut taken = Vec::with_capacity(share.len());
        let mut events = Vec::with_capacity(share.len());
        let mut checks = Vec::new();
        for (index, message) in share {
            match message {
                Message::Event(event) if service.is_none() => {
                    self.metrics.count(EventOutcome::Refused);
                    done.failures.push((index, Failure::UnknownService(event.user.service)));
                }
                // Whoever accepted it has looked at that too. A clock that was set back since then is no reason to refuse it.
                Message::Event(event) => match event.check_clock(now.plus(Event::MAX_AHEAD)) {
                    Err(error) => done.failures.push((index, error.into())),
                    Ok(()) => {
                        taken.push(index);
                        events.push(event);
                    }
                },
                // Of a service that was deleted.
                Message::Check(_) if service.is_none() => {}
                Message::Check(check) => {
                    taken.push(index);
                    checks.push(check);
                }
                // Of no user.
                Message::Purge(_)
                | Message::Probe(_)
                | Message::Deliver(_)
                | Message::Sweep(_)
                | Message::Announce(_)
                | Message::Feedback(_) => {}
            }
        }
        if let Some(service) = service
            && !taken.is_empty()
        {
            match self.join(user, service, &events, &checks, now).await {
                Ok(timers) => done.follow_ups.extend(timers),
                Err(error) => done.failures.extend(Done::failed(&taken, &error.into()).failures),
            }
        }
        done
    }

    /// Adds events to what is stored. Returns the timers to be set and the registrations to be checked.
    async fn join(
        &self,
        key: UserKey,
        service: &Service,
        events: &[Event],
        checks: &[Check],
        now: Timestamp,
    ) -> Result<Vec<Message>, StoreError> {
        let configuration = &service.configuration;
        let user = User::new(ids::sid(), key, Some(service.default_roles.service_user), now);
        let enabled = configuration.reachability_enabled;
        if !enabled {
            self.create_if_missing(&user, events).await?;
        }

        let mut news = Presence::default();
        let mut said = Vec::with_capacity(events.len());
        for event in events {
            // While reachability is off, nobody comes online. That a connection ended is kept all the same: its user
            // must not seem to be there when reachability is on again.
            if enabled || !event.renews_lease() {
                let one = Presence::of_event(event, &self.rules, configuration.generation, now);
                news.join(&one);
                said.push((event, one));
            } else {
                self.metrics.count(EventOutcome::Disabled);
            }
        }
        if news == Presence::default() && checks.is_empty() {
            return Ok(vec![]);
        }
        let asked: Vec<ConnectionId> = checks.iter().map(|check| check.connection.clone()).collect();
        let joined = self.store.join(&user, &news, &asked, now).await?;
        self.account_for(&said, &joined, now);
        let mut follow_ups = Vec::new();
        if let Some(change) = Change::between(&user.key(), configuration, joined.before, joined.after) {
            if (change.before.online, change.after.online) == (Some(true), Some(false)) {
                follow_ups.extend(probes(&joined.registrations, service.sid, now));
            }
            debug!(
                service.sid = %service.sid,
                user.revision = change.revision,
                online.before = ?change.before.online,
                online.after = ?change.after.online,
                "a user's reachability changed"
            );
        }
        let touched = |id| joined.connections.get(id).copied().unwrap_or_default();
        let of_events = events.iter().filter_map(|event| {
            let Touched { before, after } = touched(&event.connection);
            wants_timer(event, &before, &after, now).then(|| timer(&user.key(), &event.connection, &after, now))
        });
        let of_checks = checks.iter().filter_map(|check| next_timer(check, &touched(&check.connection).after, now));
        // The same timer once, however many messages ask for it.
        let timers: BTreeSet<Check> = of_events.chain(of_checks).collect();
        follow_ups.extend(timers.into_iter().map(Message::Check));
        Ok(follow_ups)
    }

    /// Counts what became of events.
    fn account_for(&self, said: &[(&Event, Presence)], joined: &Joined, now: Timestamp) {
        let before = joined.connections.iter().map(|(id, touched)| (id.clone(), touched.before)).collect();
        let mut known = Presence::from_parts(before, Generation::default(), None);
        for (event, one) in said {
            let outcome = EventOutcome::of(&known.connection(&event.connection), &one.connection(&event.connection));
            self.metrics.count(outcome);
            if outcome == EventOutcome::Applied {
                self.metrics.age(now.since(event.occurred_at));
            }
            known.join(one);
        }
    }

    /// Users appear at their first connect, whether or not reachability is on; a deleted one does not come back by what
    /// is still heard of its connections.
    async fn create_if_missing(&self, user: &User, events: &[Event]) -> Result<(), StoreError> {
        let connects: Vec<&Event> =
            events.iter().filter(|event| matches!(event.kind, EventKind::Connect { .. })).collect();
        if connects.is_empty() {
            return Ok(());
        }
        // Asked first: a read costs less than a write that fails, and it fails nearly always.
        if self.store.user(user.service_sid, &UserRef::Identity(user.identity.clone())).await?.is_some() {
            return Ok(());
        }
        let states = self.store.states(&[user.key()]).await?;
        let is_closed =
            |event: &Event| states.iter().any(|state| state.presence.connection(&event.connection).ended.is_some());
        if connects.into_iter().all(is_closed) {
            return Ok(());
        }
        match self.store.create_user(user).await {
            Err(StoreError::Exists) => Ok(()),
            created => created,
        }
    }
}

/// Asks for a check of those registrations of a user who has just gone that nothing was heard of for long: from now on
/// they are the only way to reach the user.
fn probes(registrations: &Registrations, service: ServiceSid, now: Timestamp) -> impl Iterator<Item = Message> {
    let unproven = registrations.devices().filter(move |(_, registration)| registration.wants_check(now));
    unproven
        .map(move |(binding, _)| Message::Probe(Probe { service, binding, asked_at: now, attempts: 0, due_at: None }))
}

/// Whether an event asks for a timer of its connection. An end does: it takes effect at a time of its own, and the timer of
/// the lease stops where it finds one. A connect or a renewal does unless the connection was live before: then the timer
/// that it has finds the longer lease.
///
/// A repetition is not known to have one: the first handling of the event may have broken off between writing and this.
fn wants_timer(event: &Event, before: &Connection, after: &Connection, now: Timestamp) -> bool {
    let (was, is) = (before.live_until(), after.live_until());
    let is_repetition = before.lease.is_some_and(|opening| event.occurred_at <= opening.at);
    let has_timer = event.renews_lease() && !is_repetition && now < was && was <= is;
    now < is && is != Timestamp::MAX && !has_timer
}

/// The timer that follows one that came in; `None` if there is nothing to wait for, or another timer waits for it.
fn next_timer(check: &Check, connection: &Connection, now: Timestamp) -> Option<Check> {
    if connection.live_until() <= now || connection.live_until() == Timestamp::MAX {
        return None;
    }
    // Too early: the clock of whoever sent it is ahead of ours.
    if now < check.due_at {
        return Some(check.clone());
    }
    // An end sets a timer of its own. With the one from before the connection would have two.
    let has_another = connection.ended.is_some() && !check.ended;
    (!has_another).then(|| timer(&check.user, &check.connection, connection, now))
}

/// The next timer of a connection that is live.
fn timer(user: &UserKey, id: &ConnectionId, connection: &Connection, now: Timestamp) -> Check {
    Check {
        user: user.clone(),
        connection: id.clone(),
        due_at: next_look(id, connection.live_until(), now),
        ended: connection.ended.is_some(),
    }
}

/// How far ahead a timer is set at most, in milliseconds. A queue does not hold a message for much longer, and the timer
/// of a connection that has ended in the meantime is not left for as long as its lease was.
const MAX_AHEAD: i64 = 15 * 60 * 1_000;

/// When to look at a connection that lives until then. For a long life that is in between, at times that are the same for
/// all timers of the connection, so that they become one, and different for others, so that they do not come together.
fn next_look(id: &ConnectionId, live_until: Timestamp, now: Timestamp) -> Timestamp {
    let now = now.as_millis();
    if live_until.as_millis() - now <= MAX_AHEAD {
        return live_until;
    }
    let scatter = id.as_str().bytes().fold(0, |sum, byte| (sum * 31 + i64::from(byte)) % MAX_AHEAD);
    Timestamp::from_millis(now + MAX_AHEAD - (now - scatter).rem_euclid(MAX_AHEAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_of_a_long_life_meet() {
        let id: ConnectionId = "c-1".parse().unwrap();
        let at = Timestamp::from_millis;
        let start = 1_795_132_800_000;
        assert_eq!(next_look(&id, at(start + 120_000), at(start)), at(start + 120_000));
        assert_eq!(next_look(&id, at(start + MAX_AHEAD), at(start)), at(start + MAX_AHEAD));
        // Wherever it begins, it comes to the same moments, never later than the limit allows.
        let first = next_look(&id, at(i64::MAX - 1), at(start));
        for millis in [0, 1, 1_000, 300_000, MAX_AHEAD - 1] {
            let now = at(start + millis);
            let look = next_look(&id, at(i64::MAX - 1), now);
            assert!(now < look && look <= at(now.as_millis() + MAX_AHEAD));
            assert_eq!((look.as_millis() - first.as_millis()) % MAX_AHEAD, 0);
        }
        let other: ConnectionId = "c-2".parse().unwrap();
        assert_ne!(next_look(&other, at(i64::MAX - 1), at(start)), first);
    }
}
