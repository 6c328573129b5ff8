//! Calls push providers and records their answers: checks of registrations, and notifications.
//!
//! An answer can affect the registration ([`Verdict`]), the credential, or neither. If a provider is down or busy, a
//! delayed message retries later; that does not affect the registration, and marks the credential only as currently
//! unusable.

mod announce;
mod attempt;
mod credentials;
mod deliver;
mod faults;
mod feedback;
mod learn;
mod pages;
mod probe;
mod recipients;
mod scan;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::ids::Ids;
use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::presence::ports::States;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::credential::Credential;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::outcome::{Fault, PushOutcome};
use reachability_domain::push::payload::Push;
use reachability_domain::push::ports::{Applied, Bindings, Credentials, Notifications};
use reachability_domain::push::provider::PushProvider;
use reachability_domain::push::reason::Reason;
use reachability_domain::push::retry;
use reachability_domain::push::verdict::Verdict;
use reachability_domain::queue::Queue;
use reachability_domain::store::StoreError;
use reachability_domain::time::{Clock, Timestamp};
use tokio::sync::Semaphore;

use self::credentials::CachedCredentials;
use self::faults::Faults;
use crate::directory::CachedServices;
use crate::envelope::open;
use crate::failure::count_retries;
use crate::{Envelope, Failure};

/// How many messages are processed concurrently, and to how many devices notifications are sent concurrently: as many as one
/// connection to APNs usually carries.
const AT_ONCE: usize = 1_000;

/// How many records one message writes concurrently.
const WRITES_AT_ONCE: usize = 32;

/// Maximum number of attempts of a check while a provider does not answer, over about half an hour. Then it waits for its
/// next trigger.
const MAX_CHECKS: u32 = 8;

/// The ports that the pusher uses.
#[derive(Clone)]
pub struct PusherPorts {
    /// The service store.
    pub services: Arc<dyn Services>,
    /// The user store.
    pub users: Arc<dyn Users>,
    /// The state store.
    pub states: Arc<dyn States>,
    /// The binding store.
    pub bindings: Arc<dyn Bindings>,
    /// The credential store.
    pub credentials: Arc<dyn Credentials>,
    /// The notification store.
    pub notifications: Arc<dyn Notifications>,
    /// The push queue, for follow-up messages.
    pub pushes: Arc<dyn Queue<PushMessage>>,
    /// Sends pushes to providers.
    pub provider: Arc<dyn PushProvider>,
    /// Randomises retries.
    pub ids: Arc<dyn Ids>,
    /// Counts the answers of providers.
    pub metrics: Arc<dyn Metrics>,
}

impl PusherPorts {
    /// The ports of a store that has everything, and what else there is.
    pub fn of<S>(
        store: Arc<S>,
        pushes: Arc<dyn Queue<PushMessage>>,
        provider: Arc<dyn PushProvider>,
        ids: Arc<dyn Ids>,
        metrics: Arc<dyn Metrics>,
    ) -> Self
    where
        S: Services + Users + States + Bindings + Credentials + Notifications + 'static,
    {
        Self {
            services: store.clone(),
            users: store.clone(),
            states: store.clone(),
            bindings: store.clone(),
            credentials: store.clone(),
            notifications: store,
            pushes,
            provider,
            ids,
            metrics,
        }
    }
}

/// Handles the messages of the push queue.
#[derive(Clone)]
pub struct Pusher {
    ports: PusherPorts,
    credentials: Arc<CachedCredentials>,
    services: Arc<CachedServices>,
    faults: Arc<Faults>,
    /// One for each device that a notification is being sent to.
    places: Arc<Semaphore>,
    clock: Clock,
    /// From when on nothing is begun.
    ends_at: Timestamp,
}

/// A provider's answer to a push.
struct Answer {
    /// The registration that was asked about, with the environment that was asked.
    binding: Binding,
    outcome: PushOutcome,
    asked_at: Timestamp,
}

impl Answer {
    /// What it says about the registration; `None` if nothing.
    fn verdict(&self, credential: &Credential) -> Option<Verdict> {
        Verdict::of(&self.outcome, &self.binding, credential, self.asked_at)
    }
}

/// The follow-up messages of a message: they are queued before it is acknowledged.
type FollowUps = Result<Vec<PushMessage>, Failure>;

impl Pusher {
    /// Creates a pusher with empty caches.
    pub fn new(ports: PusherPorts, clock: Clock) -> Self {
        let (store, metrics) = (ports.credentials.clone(), ports.metrics.clone());
        let credentials = Arc::new(CachedCredentials::new(store, ports.provider.clone(), metrics));
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let services = Arc::new(CachedServices::new(ports.services.clone(), Configuration::MAX_AGE));
        Self { ports, credentials, services, faults: Arc::default(), places, clock, ends_at: Timestamp::MAX }
    }

    /// The same pusher, which begins no message and no push from this time on. It hands those back
    /// ([`Failure::OutOfTime`]).
    #[must_use]
    pub fn beginning_until(&self, ends_at: Timestamp) -> Self {
        Self { ends_at, ..self.clone() }
    }

    fn has_time(&self) -> Result<(), Failure> {
        if (self.clock)() < self.ends_at { Ok(()) } else { Err(Failure::OutOfTime) }
    }

    /// Handles messages as the queue delivers them. Returns the indices of messages that failed, with the reason.
    pub async fn handle(&self, envelopes: &[Envelope]) -> Vec<(usize, Failure)> {
        open(envelopes, &*self.ports.metrics, feedback::parse, async |received| {
            self.process(received.into_iter().map(|received| received.message).collect()).await
        })
        .await
    }

    /// Handles messages concurrently. Returns the indices of messages that failed, with the reason.
    pub async fn process(&self, messages: Vec<PushMessage>) -> Vec<(usize, Failure)> {
        let handled = stream::iter(messages.into_iter().enumerate()).map(async |(index, message)| {
            let handled: Result<(), Failure> = async {
                let follow_ups = self.take(message).await?;
                if !follow_ups.is_empty() {
                    self.ports.pushes.send(&follow_ups).await?;
                }
                Ok(())
            }
            .await;
            handled.err().map(|failure| (index, failure))
        });
        let failures: Vec<_> = handled.buffer_unordered(AT_ONCE).filter_map(async |failure| failure).collect().await;
        count_retries(&failures, &*self.ports.metrics);
        failures
    }

    async fn take(&self, message: PushMessage) -> FollowUps {
        self.has_time()?;
        match message {
            PushMessage::Probe(probe) => self.probe(probe).await,
            PushMessage::Deliver(deliver) if deliver.devices().is_empty() => self.deliver_to_all(deliver).await,
            PushMessage::Deliver(deliver) => self.deliver_to(deliver).await,
            PushMessage::Decide(decide) => self.decide(decide).await,
            PushMessage::ScanServices(scan) => self.scan_services(scan).await,
            PushMessage::ScanBindings(scan) => self.scan_bindings(scan).await,
            PushMessage::Announce(announce) => self.announce(announce).await,
            PushMessage::AnnounceUser(announce) => self.announce_user(announce).await,
            PushMessage::Feedback(feedback) => self.follow(feedback).await,
        }
    }

    /// Sends a push to a device. If its token is of the other environment of APNs, as far as is known, sends it there: what was
    /// refused was not shown.
    ///
    /// # Errors
    /// If there is no time left.
    async fn ask(&self, credential: &Credential, binding: &Binding, push: &Push) -> Result<Answer, Failure> {
        self.has_time()?;
        let first = self.send(credential, binding, push).await;
        let known = credential.environment_of(binding.environment);
        let may_be_elsewhere = credential.has_both_environments()
            && !binding.is_confirmed_with(credential)
            && matches!(&first.outcome, PushOutcome::Rejected(it) if it.reason.as_str() == Reason::BAD_DEVICE_TOKEN);
        let Some(known) = known.filter(|_| may_be_elsewhere) else { return Ok(first) };
        let elsewhere = Binding { environment: Some(known.other()), ..binding.clone() };
        let second = self.send(credential, &elsewhere, push).await;
        // If neither takes it, the first answer is as good as the second.
        let is_neither = matches!(&second.outcome, PushOutcome::Rejected(it) if it.fault == Fault::Mismatch);
        Ok(if is_neither { first } else { second })
    }

    /// Sends a push to a device.
    async fn send(&self, credential: &Credential, binding: &Binding, push: &Push) -> Answer {
        let asked_at = (self.clock)();
        let outcome = self.ports.provider.push(credential, binding, push).await;
        self.ports.metrics.count(match &outcome {
            PushOutcome::Accepted { .. } => Counter::PushesAccepted,
            PushOutcome::Rejected(_) => Counter::PushesRejected,
            PushOutcome::Unavailable { .. } => Counter::PushesUnavailable,
        });
        self.faults.note(credential.sid, &outcome, (self.clock)());
        Answer { binding: binding.clone(), outcome, asked_at }
    }

    async fn apply(&self, binding: &Binding, command: &BindingCommand) -> Result<Applied, StoreError> {
        self.ports.bindings.apply(binding.service_sid, binding.device(), command, None, (self.clock)()).await
    }

    /// When to retry after this many attempts ([`retry::wait`]).
    fn retry_at(&self, first: Duration, attempts: u32, retry_after: Option<Duration>) -> Timestamp {
        (self.clock)().plus(retry::wait(first, attempts, retry_after, |most| self.ports.ids.jitter(most)))
    }
}
