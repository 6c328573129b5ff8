//! Computes presence from events, and sets timers.

mod deleted;
mod user;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use reachability_domain::directory::ports::{DeletedServices, Services};
use reachability_domain::directory::service::Service;
use reachability_domain::identity::UserKey;
use reachability_domain::ids::Ids;
use reachability_domain::metrics::Metrics;
use reachability_domain::presence::connections::Rules;
use reachability_domain::presence::message::{Accepted, Check, PresenceMessage, Purge};
use reachability_domain::presence::ports::States;
use reachability_domain::queue::{Message, Queue};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::{Clock, Timestamp};

use self::deleted::Dropped;
use crate::directory::CachedServices;
use crate::envelope::{Received, open};
use crate::failure::count_retries;
use crate::{Envelope, Failure};

/// How many users of a part of a deleted service are removed at once.
const PURGED_AT_ONCE: usize = 500;

/// For how long the purges of a batch go on before messages of their own continue them: much less than a function may take.
const PURGE_FOR: Duration = Duration::from_secs(8);

/// How many purges of a batch run at the same time.
const PURGES_AT_ONCE: usize = 8;

/// The ports that the worker uses.
#[derive(Clone)]
pub struct WorkerPorts {
    /// The service store.
    pub services: Arc<dyn Services>,
    /// Removes the records that deleted services leave behind; `None` if the store leaves none.
    pub deleted_services: Option<Arc<dyn DeletedServices>>,
    /// The state store.
    pub states: Arc<dyn States>,
    /// The event queue, for timers.
    pub events: Arc<dyn Queue<PresenceMessage>>,
    /// Generates the sids of new users.
    pub ids: Arc<dyn Ids>,
    /// Counts the outcomes of events.
    pub metrics: Arc<dyn Metrics>,
}

/// Handles the messages of the event queue.
#[derive(Clone)]
pub struct Worker {
    ports: WorkerPorts,
    rules: Rules,
    services: Arc<CachedServices>,
    clock: Clock,
}

/// The result of handling messages.
#[derive(Debug, Default)]
struct Handled {
    /// The messages that failed.
    failures: Vec<(usize, Failure)>,
    /// Messages to send to the event queue before the successful ones are acknowledged.
    events: Vec<PresenceMessage>,
}

impl Handled {
    fn failed(indices: &[usize], failure: &Failure) -> Self {
        Self { failures: indices.iter().map(|index| (*index, failure.clone())).collect(), ..Self::default() }
    }
}

/// The messages of one user in a batch, with their indices.
#[derive(Debug, Default)]
struct UserBatch {
    /// With their stamps, and when the queue accepted them.
    events: Vec<(usize, Accepted, Option<Timestamp>)>,
    checks: Vec<(usize, Check)>,
    /// Whether one of them was delivered before.
    is_repeated: bool,
}

impl UserBatch {
    fn indices(&self) -> Vec<usize> {
        let events = self.events.iter().map(|(index, ..)| *index);
        events.chain(self.checks.iter().map(|(index, _)| *index)).collect()
    }
}

impl Worker {
    /// `configuration_age` is the maximum age of a service's configuration; zero reads it for every batch. A change of
    /// the configuration takes effect with that delay, but no event is lost.
    pub fn new(ports: WorkerPorts, rules: Rules, configuration_age: Duration, clock: Clock) -> Self {
        let services = Arc::new(CachedServices::new(ports.services.clone(), configuration_age));
        Self { ports, rules, services, clock }
    }

    /// Handles messages as the queue delivers them. Returns the indices of messages that failed, with the reason.
    pub async fn handle(&self, envelopes: &[Envelope]) -> Vec<(usize, Failure)> {
        let now = (self.clock)();
        open(envelopes, &*self.ports.metrics, PresenceMessage::parse, async |received| {
            self.process_received(received, now).await
        })
        .await
    }

    /// Handles messages that were not delivered before ([`Worker::process_received`]).
    pub async fn process(&self, messages: Vec<PresenceMessage>, now: Timestamp) -> Vec<(usize, Failure)> {
        self.process_received(messages.into_iter().map(|message| Received::new(message, false)).collect(), now).await
    }

    /// Handles messages, all of one user in one write. Returns the indices of messages that failed, with the reason. All others
    /// are stored, and their timers are queued.
    pub async fn process_received(
        &self,
        received: Vec<Received<PresenceMessage>>,
        now: Timestamp,
    ) -> Vec<(usize, Failure)> {
        let mut batches: HashMap<UserKey, UserBatch> = HashMap::new();
        let mut purges = Vec::new();
        let mut renewing: HashMap<ServiceSid, bool> = HashMap::new();
        for (index, Received { message, accepted_at, is_repeated }) in received.into_iter().enumerate() {
            match message {
                PresenceMessage::Event(accepted) => {
                    let event = &accepted.event;
                    let goes_by_present = accepted.acceptance.is_none() && event.renews_lease();
                    *renewing.entry(event.user.service).or_default() |= goes_by_present;
                    let batch = batches.entry(event.user.clone()).or_default();
                    batch.is_repeated |= is_repeated;
                    batch.events.push((index, accepted, accepted_at));
                }
                PresenceMessage::Check(check) => {
                    renewing.entry(check.user.service).or_default();
                    let batch = batches.entry(check.user.clone()).or_default();
                    batch.is_repeated |= is_repeated;
                    batch.checks.push((index, check));
                }
                PresenceMessage::Purge(purge) => purges.push((index, purge)),
            }
        }
        let mut services: HashMap<ServiceSid, Result<Option<Arc<Service>>, Failure>> = HashMap::new();
        for (sid, comes_online) in renewing {
            services.insert(sid, self.services.get(sid, comes_online, now).await.map_err(Failure::from));
        }

        let mut handled = Vec::with_capacity(batches.len());
        let (mut pending, mut joins, mut dropped) = (vec![], vec![], Dropped::default());
        for (user, batch) in batches {
            let indices = batch.indices();
            let (done, waiting) = match &services[&user.service] {
                Ok(Some(service)) => self.read(user, service, batch, now),
                Ok(None) => (self.without_service(user.service, &batch, &mut dropped), None),
                Err(failure) => (Handled::failed(&indices, failure), None),
            };
            handled.push((indices, done));
            if let Some((waiting, join)) = waiting {
                pending.push((handled.len() - 1, waiting));
                joins.push(join);
            }
        }
        dropped.log();
        let joined = self.ports.states.join_all(joins, now).await;
        for ((place, waiting), joined) in pending.iter().zip(joined) {
            let Handled { failures, events } = self.finish(waiting, joined);
            handled[*place].1.failures.extend(failures);
            handled[*place].1.events.extend(events);
        }
        // Before the purges, which take longer: a timer that is due meanwhile would be late.
        let mut failures = self.follow_up(handled.into_iter()).await;
        let until = (self.clock)().plus(PURGE_FOR);
        let purged =
            stream::iter(purges).map(async |(index, purge)| (vec![index], self.purge(index, purge, until).await));
        let purged: Vec<_> = purged.buffered(PURGES_AT_ONCE).collect().await;
        failures.extend(self.follow_up(purged.into_iter()).await);
        count_retries(&failures, &*self.ports.metrics);
        failures
    }

    /// Sends the timers and what else follows. A message counts as handled only when that is queued: sending it twice is
    /// harmless, losing it is not.
    async fn follow_up(&self, handled: impl Iterator<Item = (Vec<usize>, Handled)>) -> Vec<(usize, Failure)> {
        let (mut failures, mut events, mut waiting) = (vec![], vec![], vec![]);
        for (indices, handled) in handled {
            failures.extend(handled.failures);
            if !handled.events.is_empty() {
                waiting.extend(indices);
            }
            events.extend(handled.events);
        }
        if events.is_empty() {
            return failures;
        }
        if let Err(error) = self.ports.events.send(&events).await {
            let failure = Failure::Queue(Arc::new(error));
            failures.extend(waiting.into_iter().map(|index| (index, failure.clone())));
            failures.sort_by_key(|(index, _)| *index);
            failures.dedup_by_key(|(index, _)| *index);
        }
        failures
    }

    /// Removes records of a deleted service until this time. Messages of their own remove the rest.
    async fn purge(&self, index: usize, purge: Purge, until: Timestamp) -> Handled {
        let purged = async {
            let Some(deleted_services) = &self.ports.deleted_services else { return Ok(vec![]) };
            // The message is sent before the deletion, which may have failed.
            if self.services.read(purge.service, (self.clock)()).await?.is_some() {
                return Ok(vec![]);
            }
            let Some(part) = purge.part else { return Ok((0..deleted_services.parts()).collect()) };
            while deleted_services.purge(purge.service, part, PURGED_AT_ONCE).await? {
                if until <= (self.clock)() {
                    return Ok(vec![part]);
                }
            }
            Ok(vec![])
        };
        let purged: Result<Vec<u8>, StoreError> = purged.await;
        match purged {
            Ok(rest) => {
                let due_at = (self.clock)();
                let rest = rest.into_iter().map(|part| Purge { due_at, part: Some(part), ..purge });
                Handled { events: rest.map(PresenceMessage::Purge).collect(), ..Handled::default() }
            }
            Err(error) => Handled::failed(&[index], &error.into()),
        }
    }
}
