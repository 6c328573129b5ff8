//! Consumes the event queue: turns events into presence, and keeps the timers.
//!
//! [`Worker::handle`] takes a batch in the shape that Lambda gives it from SQS. [`Worker::process`] is what it does, for
//! callers that have messages at hand.

mod presence;
pub mod sqs;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use reachability_domain::event::InvalidEvent;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::Rules;
use reachability_domain::queue::{Message, Queue, QueueError};
use reachability_domain::service::Service;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::{Store, StoreError};
use reachability_domain::time::Timestamp;

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
    /// The queue did not take the timers that it needs.
    #[error("its timer could not be set")]
    Queue(#[source] Arc<QueueError>),
}

impl Failure {
    /// Whether trying again can help.
    pub fn is_permanent(&self) -> bool {
        match self {
            // Time heals it.
            Self::Malformed(error) => !matches!(error.as_ref(), InvalidEvent::Future),
            Self::UnknownService(_) => true,
            Self::Store(error) => matches!(error.as_ref(), StoreError::Corrupt(_)),
            Self::Queue(_) => false,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<InvalidEvent> for Failure {
    fn from(error: InvalidEvent) -> Self {
        Self::Malformed(Arc::new(error))
    }
}

/// Handles messages.
#[derive(Clone)]
pub struct Worker {
    /// Where presence lies.
    pub store: Arc<dyn Store>,
    /// Where timers go.
    pub queue: Arc<dyn Queue>,
    /// The deployment's settings.
    pub rules: Rules,
}

/// The messages of one user in a batch, with their places in it.
type Share = Vec<(usize, Message)>;

impl Worker {
    /// Handles a batch from SQS. What it answers stays in the queue; everything else is done for good.
    pub async fn handle(&self, batch: sqs::Batch, now: Timestamp) -> sqs::BatchResponse {
        let mut failures = Vec::new();
        let mut places = Vec::with_capacity(batch.records.len());
        let mut messages = Vec::with_capacity(batch.records.len());
        for (place, record) in batch.records.iter().enumerate() {
            match Message::parse(record.body.as_bytes()) {
                Ok(message) => {
                    places.push(place);
                    messages.push(message);
                }
                Err(error) => failures.push((place, error.into())),
            }
        }
        let failed = self.process(messages, now).await;
        failures.extend(failed.into_iter().map(|(index, failure)| (places[index], failure)));

        let mut ids: Vec<String> = batch.records.into_iter().map(|record| record.message_id).collect();
        sqs::BatchResponse {
            batch_item_failures: failures
                .into_iter()
                .map(|(place, reason)| sqs::ItemFailure { item_identifier: std::mem::take(&mut ids[place]), reason })
                .collect(),
        }
    }

    /// Handles messages: users side by side, all messages of one user in one write. Returns the indices of those that
    /// were not handled, with the reason. All others are stored, and the timers that they need are set.
    pub async fn process(&self, messages: Vec<Message>, now: Timestamp) -> Vec<(usize, Failure)> {
        let mut shares: HashMap<UserKey, Share> = HashMap::new();
        let mut services: HashMap<ServiceSid, Result<Option<Service>, Failure>> = HashMap::new();
        for (index, message) in messages.into_iter().enumerate() {
            let user = match &message {
                Message::Event(event) => &event.user,
                Message::Check(check) => &check.user,
            };
            if let Entry::Vacant(unread) = services.entry(user.service) {
                // Read for every batch, so it is never the reason for taking a service for disabled that is not.
                unread.insert(self.store.service(user.service).await.map_err(Failure::from));
            }
            shares.entry(user.clone()).or_default().push((index, message));
        }

        let services = &services;
        let done: Vec<(Vec<usize>, presence::Done)> = stream::iter(shares)
            .map(|(user, share)| async move {
                let indices: Vec<usize> = share.iter().map(|(index, _)| *index).collect();
                let done = match &services[&user.service] {
                    Ok(service) => self.handle_user(user, service.as_ref(), share, now).await,
                    Err(failure) => presence::Done::failed(&indices, failure),
                };
                (indices, done)
            })
            .buffer_unordered(USERS_AT_ONCE)
            .collect()
            .await;

        let mut timers = Vec::new();
        let mut waiting_for_timers = Vec::new();
        let mut failures = Vec::new();
        for (indices, done) in done {
            failures.extend(done.failures);
            if !done.timers.is_empty() {
                timers.extend(done.timers);
                waiting_for_timers.extend(indices);
            }
        }
        // A message is handled when its timer is set. Setting a timer twice is harmless, losing one is not.
        if !timers.is_empty()
            && let Err(error) = self.queue.send(&timers).await
        {
            let failure = Failure::Queue(Arc::new(error));
            failures.extend(waiting_for_timers.into_iter().map(|index| (index, failure.clone())));
            failures.sort_by_key(|(index, _)| *index);
            failures.dedup_by_key(|(index, _)| *index);
        }
        failures
    }
}
