//! Handles the messages of one user.

use std::collections::BTreeMap;

use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::User;
use reachability_domain::identity::{ConnectionKey, UserKey};
use reachability_domain::metrics::Counter;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::connection::Connection;
use reachability_domain::presence::event::Event;
use reachability_domain::presence::message::{Accepted, Check, PresenceMessage};
use reachability_domain::presence::news::News;
use reachability_domain::presence::outcome::EventOutcome;
use reachability_domain::presence::ports::{Join, Joined};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::{Handled, UserBatch, Worker};

/// An event that is handled, with what it says about its connection.
type Said = (Event, ConnectionKey, Connection);

/// The messages of a user while its events are joined.
pub(super) struct Pending {
    user: UserKey,
    /// The messages that depend on the join.
    taken: Vec<usize>,
    said: Vec<Said>,
}

impl Worker {
    /// Reads the messages of one user. Returns those that failed, and what is to be joined; `None` if nothing is.
    pub(super) fn read(
        &self,
        key: UserKey,
        service: &Service,
        batch: UserBatch,
        now: Timestamp,
    ) -> (Handled, Option<(Pending, Join)>) {
        let mut handled = Handled::default();
        let mut taken: Vec<usize> = batch.checks.iter().map(|(index, _)| *index).collect();
        let fired = batch.checks.iter().map(|(_, check)| check.due_at).collect();
        let mut news = News::new(self.rules);
        if batch.is_repeated {
            news.repeat();
        }
        let mut said = Vec::with_capacity(batch.events.len());
        for (index, accepted, sent_at) in batch.events {
            let Accepted { event, acceptance, wish } = match accepted.at(now, sent_at) {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.ports.metrics.count(EventOutcome::Refused);
                    handled.failures.push((index, error.into()));
                    continue;
                }
            };
            taken.push(index);
            let acceptance = acceptance.unwrap_or_else(|| Acceptance::by_time(&service.configuration, sent_at));
            match news.add_with(&event, acceptance, wish, now) {
                Some((key, connection)) => said.push((event, key, connection)),
                None => self.ports.metrics.count(EventOutcome::Disabled),
            }
        }
        if taken.is_empty() {
            return (handled, None);
        }
        let user = User::new(self.ports.ids.sid(), key.clone(), Some(service.default_roles.service_user), now);
        (handled, Some((Pending { user: key, taken, said }, Join { user, news, fired })))
    }

    /// What follows from the result of a join.
    pub(super) fn finish(&self, pending: &Pending, joined: Result<Joined, StoreError>) -> Handled {
        match joined {
            Ok(joined) => {
                self.account_for(&pending.said, &joined);
                let timer = |due_at| PresenceMessage::Check(Check { user: pending.user.clone(), due_at });
                Handled { events: joined.timer.map(timer).into_iter().collect(), ..Handled::default() }
            }
            Err(error) => Handled::failed(&pending.taken, &error.into()),
        }
    }

    /// Counts the outcomes of events.
    fn account_for(&self, said: &[Said], joined: &Joined) {
        // Later than the time of the batch, which has waited for the write.
        let visible_at = (self.clock)();
        for _ in 0..joined.dropped {
            self.ports.metrics.count(Counter::ConnectionsDropped);
        }
        let mut known: BTreeMap<ConnectionKey, Connection> =
            joined.connections.iter().map(|(key, touched)| (*key, touched.before)).collect();
        for (event, key, one) in said {
            let known = known.entry(*key).or_default();
            let is_undone = joined.deleted_at.is_some_and(|deleted_at| event.occurred_at <= deleted_at);
            let is_forgotten = one.may_be_forgotten(event.occurred_at, joined.floor);
            if is_undone || is_forgotten && *known == Connection::default() {
                self.ports.metrics.count(EventOutcome::Stale);
                continue;
            }
            let outcome = EventOutcome::of(known, one);
            self.ports.metrics.count(outcome);
            if outcome == EventOutcome::Applied {
                self.ports.metrics.event_age(visible_at.since(event.occurred_at));
            }
            known.join(one);
        }
    }
}
