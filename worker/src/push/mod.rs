//! Asks push providers, and keeps what they say: checks of registrations, and notifications.
//!
//! A provider's answer says something of the registration ([`Verdict`]), of the credential, or of neither. One that is
//! down or busy is asked again later, by a delayed message. That says nothing of the registration, and of the credential
//! only that it cannot be used now.

mod announce;
mod credentials;
mod deliver;
mod feedback;
mod pages;
mod probe;
mod scan;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use reachability_domain::directory::ports::Services;
use reachability_domain::ids::Ids;
use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::presence::ports::States;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::credential::Credential;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::outcome::PushOutcome;
use reachability_domain::push::payload::Push;
use reachability_domain::push::ports::{Bindings, Credentials, Notifications};
use reachability_domain::push::provider::PushProvider;
use reachability_domain::push::verdict::{TokenState, Verdict};
use reachability_domain::queue::Queue;
use reachability_domain::store::StoreError;
use reachability_domain::time::{Clock, Timestamp};
use tracing::info;

use self::credentials::CachedCredentials;
use crate::envelope::open;
use crate::{Envelope, Failure};

/// How many messages are worked on side by side: as many as one connection to APNs usually carries.
const AT_ONCE: usize = 1_000;

/// How many records one message writes at a time.
const WRITES_AT_ONCE: usize = 32;

/// How often a provider that does not answer is asked in all, before a check is left for another occasion and a delivery
/// is given up: for about half an hour.
const MAX_ATTEMPTS: u32 = 8;

/// How long the first wait is, half of it by chance. Each one after it is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(15);

/// How long a wait is at most: as long as a queue holds a message.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// A registration that was confirmed no longer than this ago is not written again for being confirmed. If its provider
/// contradicts itself within that time, the word of death counts.
const CONFIRMED_ANEW: Duration = Duration::from_secs(86_400);

/// What the pusher works with.
#[derive(Clone)]
pub struct PusherPorts {
    /// Where services lie.
    pub services: Arc<dyn Services>,
    /// Where users' states lie.
    pub states: Arc<dyn States>,
    /// Where bindings lie.
    pub bindings: Arc<dyn Bindings>,
    /// Where credentials lie.
    pub credentials: Arc<dyn Credentials>,
    /// Where notifications lie.
    pub notifications: Arc<dyn Notifications>,
    /// Takes what is to be done later.
    pub pushes: Arc<dyn Queue<PushMessage>>,
    /// Who is asked.
    pub provider: Arc<dyn PushProvider>,
    /// Spreads retries.
    pub ids: Arc<dyn Ids>,
    /// Counts what providers answer.
    pub metrics: Arc<dyn Metrics>,
}

/// Handles the messages of the push queue.
#[derive(Clone)]
pub struct Pusher {
    ports: PusherPorts,
    credentials: Arc<CachedCredentials>,
    clock: Clock,
}

/// What a message leads to before it counts as handled.
type FollowUps = Result<Vec<PushMessage>, Failure>;

impl Pusher {
    /// What is to be done later goes to the queue.
    pub fn new(ports: PusherPorts, clock: Clock) -> Self {
        let (store, metrics) = (ports.credentials.clone(), ports.metrics.clone());
        let credentials = Arc::new(CachedCredentials::new(store, ports.provider.clone(), metrics));
        Self { ports, credentials, clock }
    }

    /// Handles messages as the queue delivers them. Returns the indices of those that were not handled, with the reason.
    pub async fn handle(&self, envelopes: &[Envelope]) -> Vec<(usize, Failure)> {
        open(envelopes, &*self.ports.metrics, feedback::parse, async |messages| self.process(messages).await).await
    }

    /// Handles messages side by side. Returns the indices of those that were not handled, with the reason.
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
        handled.buffer_unordered(AT_ONCE).filter_map(async |failure| failure).collect().await
    }

    async fn take(&self, message: PushMessage) -> FollowUps {
        match message {
            PushMessage::Probe(probe) => self.probe(probe).await,
            PushMessage::Deliver(deliver) => match deliver.binding {
                None => self.deliver_to_all(deliver).await,
                Some(binding) => self.deliver_to(binding, deliver).await,
            },
            PushMessage::ScanServices(scan) => self.scan_services(scan).await,
            PushMessage::ScanBindings(scan) => self.scan_bindings(scan).await,
            PushMessage::Announce(announce) => self.announce(announce).await,
            PushMessage::Feedback(feedback) => self.follow(feedback).await,
        }
    }

    /// Sends something to a device. Returns the answer, and when it was asked for.
    async fn ask(&self, credential: &Credential, binding: &Binding, push: &Push) -> (PushOutcome, Timestamp) {
        let asked_at = (self.clock)();
        let outcome = self.ports.provider.push(credential, binding, push).await;
        self.ports.metrics.count(match &outcome {
            PushOutcome::Accepted { .. } => Counter::PushesAccepted,
            PushOutcome::Rejected(_) => Counter::PushesRejected,
            PushOutcome::Unavailable { .. } => Counter::PushesUnavailable,
        });
        (outcome, asked_at)
    }

    /// Keeps what an answer says of the registration and of the credential.
    async fn learn(
        &self,
        credential: &Credential,
        binding: &Binding,
        outcome: &PushOutcome,
        asked_at: Timestamp,
    ) -> Result<(), StoreError> {
        if let Some(verdict) = Verdict::of(outcome, binding, asked_at) {
            self.store_verdict(binding, verdict).await?;
        }
        self.credentials.learn(credential, outcome, (self.clock)()).await
    }

    /// Adds a provider's word to what is stored.
    async fn store_verdict(&self, binding: &Binding, verdict: Verdict) -> Result<(), StoreError> {
        let is_known = |at: Timestamp| verdict.asked_at.since(at) < CONFIRMED_ANEW;
        if verdict.token == TokenState::Alive && binding.death.is_none() && binding.confirmed_at.is_some_and(is_known) {
            return Ok(());
        }
        let action = BindingCommand::ApplyVerdict(binding.sid, verdict);
        let now = (self.clock)();
        let bound = self.ports.bindings.apply(binding.service_sid, binding.device(), &action, None, now).await?;
        let was_alive = bound.before.as_ref().is_some_and(|before| before.death.is_none());
        match (&action, bound.after.and_then(|after| after.death)) {
            (_, Some(death)) if was_alive => {
                self.ports.metrics.count(&death);
                info!(service.sid = %binding.service_sid, binding.sid = %binding.sid, reason = %death.reason, "a registration is dead");
            }
            // Registered again in the meantime, or gone, or known.
            (BindingCommand::ApplyVerdict(_, Verdict { token: TokenState::Dead { reason, .. }, .. }), _) => {
                self.ports.metrics.count(Counter::DeathsIgnored);
                info!(service.sid = %binding.service_sid, binding.sid = %binding.sid, %reason, "a registration was made after it was dead");
            }
            _ => {}
        }
        Ok(())
    }

    /// When to try again after so many attempts; `None` if it is not worth it.
    fn next_attempt(&self, attempts: u32, retry_after: Option<Duration>) -> Option<Timestamp> {
        if attempts >= MAX_ATTEMPTS {
            return None;
        }
        let wait = LONGEST_WAIT.min(FIRST_WAIT * (1 << attempts.min(16).saturating_sub(1)));
        let wait = wait / 2 + self.ports.ids.jitter(wait / 2);
        Some((self.clock)().plus(retry_after.map_or(wait, |asked| wait.max(asked + self.ports.ids.jitter(asked / 4)))))
    }
}
