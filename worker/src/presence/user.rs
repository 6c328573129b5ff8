//! Handles the messages of one user.

use std::collections::{BTreeMap, BTreeSet};

use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::User;
use reachability_domain::identity::{ConnectionKey, UserKey};
use reachability_domain::metrics::Counter;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::connection::Connection;
use reachability_domain::presence::event::Event;
use reachability_domain::presence::message::{Check, PresenceMessage};
use reachability_domain::presence::news::News;
use reachability_domain::presence::outcome::EventOutcome;
use reachability_domain::presence::ports::{Joined, Touched};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::timers::{next_timer, timer, wants_timer};
use super::{Handled, UserBatch, Worker};
use crate::Failure;

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
        for (index, accepted, sent_at) in batch.events {
            // The receiver of the event has checked this too. A clock that was set back since must not refuse the
            // event, so the limit is doubled here.
            match accepted.event.check_clock(now.plus(Event::MAX_AHEAD)) {
                Err(error) => handled.failures.push((index, error.into())),
                Ok(()) => {
                    taken.push(index);
                    let by_time = || Acceptance::by_time(&service.configuration, sent_at);
                    events.push((accepted.event, accepted.acceptance.unwrap_or_else(by_time)));
                }
            }
        }
        if taken.is_empty() {
            return handled;
        }
        match self.join(user, service, &events, &checks, now).await {
            Ok(timers) => handled.events = timers,
            Err(error) => handled.failures.extend(Handled::failed(&taken, &error.into()).failures),
        }
        handled
    }

    /// For a service that does not exist: refuses events and drops timers.
    fn refuse(&self, batch: &UserBatch) -> Handled {
        let refused = batch.events.iter().map(|(index, accepted, _)| {
            self.ports.metrics.count(EventOutcome::Refused);
            (*index, Failure::UnknownService(accepted.event.user.service))
        });
        Handled { failures: refused.collect(), ..Handled::default() }
    }

    /// Joins events to the stored state. Returns the timers to set.
    async fn join(
        &self,
        key: UserKey,
        service: &Service,
        events: &[(Event, Acceptance)],
        checks: &[Check],
        now: Timestamp,
    ) -> Result<Vec<PresenceMessage>, StoreError> {
        let user = User::new(self.ports.ids.sid(), key, Some(service.default_roles.service_user), now);
        let mut news = News::new(self.rules);
        let mut said = Vec::with_capacity(events.len());
        for (event, acceptance) in events {
            match news.add(event, *acceptance, now) {
                Some(connection) => said.push((event, event.connection.key(), connection)),
                None => self.ports.metrics.count(EventOutcome::Disabled),
            }
        }
        let asked: Vec<ConnectionKey> = checks.iter().map(|check| check.connection.key()).collect();
        let joined = self.ports.states.join(&user, &news, &asked, now).await?;
        self.account_for(&said, &joined, now);
        Ok(timers(&user.key(), &said, checks, &joined, now))
    }

    /// Counts the outcomes of events.
    fn account_for(&self, said: &[(&Event, ConnectionKey, Connection)], joined: &Joined, now: Timestamp) {
        for _ in 0..joined.dropped {
            self.ports.metrics.count(Counter::ConnectionsDropped);
        }
        let mut known: BTreeMap<ConnectionKey, Connection> =
            joined.connections.iter().map(|(key, touched)| (*key, touched.before)).collect();
        for (event, key, one) in said {
            if joined.deleted_at.is_some_and(|deleted_at| event.occurred_at <= deleted_at) {
                self.ports.metrics.count(EventOutcome::Stale);
                continue;
            }
            let known = known.entry(*key).or_default();
            let outcome = EventOutcome::of(known, one);
            self.ports.metrics.count(outcome);
            if outcome == EventOutcome::Applied {
                self.ports.metrics.event_age(now.since(event.occurred_at));
            }
            known.join(one);
        }
    }
}

/// The timers to set, without duplicates.
fn timers(
    user: &UserKey,
    said: &[(&Event, ConnectionKey, Connection)],
    checks: &[Check],
    joined: &Joined,
    now: Timestamp,
) -> Vec<PresenceMessage> {
    let touched = |key: &ConnectionKey| joined.connections.get(key).copied().unwrap_or_default();
    let of_events = said.iter().filter_map(|(event, key, said)| {
        let Touched { before, after } = touched(key);
        wants_timer(said, &before, &after, now).then(|| timer(user, &event.connection, &after, now))
    });
    let of_checks = checks.iter().filter_map(|check| next_timer(check, &touched(&check.connection.key()).after, now));
    let timers: BTreeSet<Check> = of_events.chain(of_checks).collect();
    timers.into_iter().map(PresenceMessage::Check).collect()
}
