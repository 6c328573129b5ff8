//! Consumes the queues: [`Worker`] turns events into presence, and keeps the timers; [`Pusher`] asks push providers.
//!
//! `handle` takes a batch in the shape that Lambda gives it from SQS. `process` is what it does, for callers that have
//! messages at hand.

mod presence;
mod pusher;
mod services;
pub mod sqs;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use reachability_domain::directory::service::Service;
use reachability_domain::identity::UserKey;
use reachability_domain::ports::Store;
use reachability_domain::presence::connections::Rules;
use reachability_domain::presence::event::InvalidEvent;
use reachability_domain::push::provider::Unreachable;
use reachability_domain::queue::{Message, Purge, Queue, QueueError};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::metrics::Metrics;

pub use crate::pusher::Pusher;
use crate::services::Services;

/// How many users are worked on side by side: enough to fill a commit, few enough not to flood a store.
const USERS_AT_ONCE: usize = 512;

/// Why a message was not handled. It stays in the queue, and ends in the dead-letter queue if it fails again and again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Its body says nothing that can be understood.
    #[error("it is malformed")]
    Malformed(#[source] Arc<InvalidEvent>),
    /// It names a service that does not exist.
    #[error("there is no service {0}")]
    UnknownService(ServiceSid),
    /// The store did not work.
    #[error("it could not be stored")]
    Store(#[source] Arc<StoreError>),
    /// It is in a queue where nobody can do what it says.
    #[error("it does not belong into this queue")]
    Misplaced,
    /// A push provider cannot be asked.
    #[error("its device cannot be found out")]
    Provider(#[source] Arc<Unreachable>),
    /// The queue did not take what it leads to.
    #[error("what follows from it could not be queued")]
    Queue(#[source] Arc<QueueError>),
}

impl Failure {
    /// Whether trying again can help.
    pub fn is_permanent(&self) -> bool {
        match self {
            // Time heals it.
            Self::Malformed(error) => !matches!(error.as_ref(), InvalidEvent::Future),
            Self::UnknownService(_) | Self::Misplaced => true,
            Self::Store(error) => matches!(error.as_ref(), StoreError::Corrupt(_)),
            Self::Provider(_) | Self::Queue(_) => false,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        Self::Queue(Arc::new(error))
    }
}

impl From<Unreachable> for Failure {
    fn from(error: Unreachable) -> Self {
        Self::Provider(Arc::new(error))
    }
}

impl From<InvalidEvent> for Failure {
    fn from(error: InvalidEvent) -> Self {
        Self::Malformed(Arc::new(error))
    }
}

/// How many users of a deleted service one message removes.
const PURGED_AT_ONCE: usize = 500;

/// Handles messages.
#[derive(Clone)]
pub struct Worker {
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    rules: Rules,
    services: Arc<Services>,
    metrics: Arc<Metrics>,
}

/// What a message leads to before it counts as handled.
#[derive(Debug, Default)]
struct Done {
    /// The messages that were not handled.
    failures: Vec<(usize, Failure)>,
    /// What is to be sent before the others count as handled.
    follow_ups: Vec<Message>,
}

impl Done {
    fn failed(indices: &[usize], failure: &Failure) -> Self {
        Self { failures: indices.iter().map(|index| (*index, failure.clone())).collect(), follow_ups: vec![] }
    }
}

/// The messages of one user in a batch, with their places in it.
type Share = Vec<(usize, Message)>;

impl Worker {
    /// A worker on this store. Timers go to the queue. A service's configuration is never older than
    /// `configuration_age`, and zero reads it for every batch; it takes effect that late, but loses no event.
    pub fn new(
        store: Arc<dyn Store>,
        queue: Arc<dyn Queue>,
        rules: Rules,
        configuration_age: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let services = Arc::new(Services::new(store.clone(), configuration_age));
        Self { store, queue, rules, services, metrics }
    }

    /// Handles a batch from SQS. What it answers stays in the queue; everything else is done for good.
    pub async fn handle(&self, batch: &sqs::Batch, now: Timestamp) -> sqs::BatchResponse {
        batch.handle(&self.metrics, Message::parse, async |messages| self.process(messages, now).await).await
    }

    /// Handles messages: users side by side, all messages of one user in one write. Returns the indices of those that
    /// were not handled, with the reason. All others are stored, and what follows from them is in the queue.
    pub async fn process(&self, messages: Vec<Message>, now: Timestamp) -> Vec<(usize, Failure)> {
        let mut shares: HashMap<UserKey, Share> = HashMap::new();
        let mut purges = Vec::new();
        let mut failures = Vec::new();
        for (index, message) in messages.into_iter().enumerate() {
            let user = match &message {
                Message::Event(event) => &event.user,
                Message::Check(check) => &check.user,
                Message::Purge(purge) => {
                    purges.push((index, *purge));
                    continue;
                }
                Message::Probe(_)
                | Message::Deliver(_)
                | Message::Sweep(_)
                | Message::Announce(_)
                | Message::Feedback(_) => {
                    failures.push((index, Failure::Misplaced));
                    continue;
                }
            };
            shares.entry(user.clone()).or_default().push((index, message));
        }
        let mut comes_online: HashMap<ServiceSid, bool> = HashMap::new();
        for (user, share) in &shares {
            let opens =
                |(_, message): &(usize, Message)| matches!(message, Message::Event(event) if event.renews_lease());
            *comes_online.entry(user.service).or_default() |= share.iter().any(opens);
        }
        let mut services: HashMap<ServiceSid, Result<Option<Arc<Service>>, Failure>> = HashMap::new();
        for (sid, comes_online) in comes_online {
            services.insert(sid, self.services.get(sid, comes_online, now).await.map_err(Failure::from));
        }

        let services = &services;
        let done: Vec<(Vec<usize>, Done)> = stream::iter(shares)
            .map(|(user, share)| async move {
                let indices: Vec<usize> = share.iter().map(|(index, _)| *index).collect();
                let done = match &services[&user.service] {
                    Ok(service) => self.handle_user(user, service.as_deref(), share, now).await,
                    Err(failure) => Done::failed(&indices, failure),
                };
                (indices, done)
            })
            .buffer_unordered(USERS_AT_ONCE)
            .collect()
            .await;

        let mut follow_ups = Vec::new();
        let mut waiting = Vec::new();
        let purged =
            stream::iter(purges).then(async |(index, purge)| (vec![index], self.purge(index, purge, now).await));
        for (indices, done) in done.into_iter().chain(purged.collect::<Vec<_>>().await) {
            failures.extend(done.failures);
            if !done.follow_ups.is_empty() {
                follow_ups.extend(done.follow_ups);
                waiting.extend(indices);
            }
        }
        // A message is handled when what follows from it is in the queue. Having it there twice is harmless, losing it
        // is not.
        if !follow_ups.is_empty()
            && let Err(error) = self.queue.send(&follow_ups).await
        {
            let failure = Failure::from(error);
            failures.extend(waiting.into_iter().map(|index| (index, failure.clone())));
            failures.sort_by_key(|(index, _)| *index);
            failures.dedup_by_key(|(index, _)| *index);
        }
        failures
    }

    /// Removes what is left of a deleted service, a part at a time.
    async fn purge(&self, index: usize, purge: Purge, now: Timestamp) -> Done {
        let purged = async {
            // Whoever asked for it may have failed to delete the service.
            if self.services.get_afresh(purge.service, now).await?.is_some() {
                return Ok(false);
            }
            self.store.purge(purge.service, PURGED_AT_ONCE).await
        };
        match purged.await {
            Ok(false) => Done::default(),
            Ok(true) => Done { follow_ups: vec![Message::Purge(Purge { due_at: now, ..purge })], ..Done::default() },
            Err(error) => Done::failed(&[index], &error.into()),
        }
    }
}
