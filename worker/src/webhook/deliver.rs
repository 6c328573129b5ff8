//! Delivers webhooks.

use std::sync::Arc;
use std::time::Duration;

use reachability_domain::directory::ports::{Accounts, Services};
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::ids::Ids;
use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::queue::Message;
use reachability_domain::sid::AccountSid;
use reachability_domain::time::Clock;
use reachability_domain::webhook::message::WebhookMessage;
use reachability_domain::webhook::parameters::parameters;
use reachability_domain::webhook::ports::{WebhookAnswer, WebhookRequest, WebhookSender};
use reachability_domain::webhook::schedule::{PATIENCE, Undelivered};
use tracing::{debug, warn};

use super::breakers::Breakers;
use super::targets::Targets;

/// The wait after the configuration could not be read.
const PAUSE: Duration = Duration::from_secs(5);

/// The ports that deliver webhooks.
#[derive(Clone)]
pub struct WebhookPorts {
    /// The account's settings.
    pub accounts: Arc<dyn Accounts>,
    /// The service store.
    pub services: Arc<dyn Services>,
    /// Sends requests.
    pub sender: Arc<dyn WebhookSender>,
    /// Randomises retries.
    pub ids: Arc<dyn Ids>,
    /// Counts what came of webhooks.
    pub metrics: Arc<dyn Metrics>,
}

/// Handles the messages of the webhook queue.
#[derive(Clone)]
pub struct Webhooks {
    ports: WebhookPorts,
    account: AccountSid,
    targets: Arc<Targets>,
    breakers: Arc<Breakers>,
    clock: Clock,
}

/// What came of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// It was delivered, or nobody wants it any more. The queue deletes it.
    Done,
    /// An attempt failed. The queue delivers it again after this wait, and until then no later one of the same user.
    Retry(Duration),
    /// It was not tried, since its receiver is not available. The queue delivers it again after this wait, and does not
    /// count this delivery.
    Held(Duration),
    /// It is given up, for this reason: a dead letter.
    Dead(String),
}

impl Webhooks {
    /// Delivers webhooks of this account. The configuration is cached for `max_age`.
    pub fn new(ports: WebhookPorts, account: AccountSid, max_age: Duration, clock: Clock) -> Self {
        let targets = Arc::new(Targets::new(ports.services.clone(), ports.accounts.clone(), max_age));
        Self { ports, account, targets, breakers: Arc::default(), clock }
    }

    /// Delivers one message, which was tried so many times before. The queue must keep the order of a user's messages: it
    /// delivers the next one after this one is done or dead.
    pub async fn deliver(&self, message: &str, attempts: u32) -> WebhookOutcome {
        let message = match WebhookMessage::parse(message.as_bytes()) {
            Ok(message) => message,
            Err(error) => return self.give_up(ErrorChain(&error).to_string()),
        };
        let (service, now) = (message.user.service, (self.clock)());
        let user_sid = message.user_sid().map(tracing::field::display);
        let (target, retries) = match self.targets.find(service, message.event, now).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                debug!(service.sid = %service, user.sid = user_sid, "nobody wants a webhook any more");
                return WebhookOutcome::Done;
            }
            Err(error) => {
                warn!(service.sid = %service, error = %ErrorChain(&error), "a webhook waits, since the configuration cannot be read");
                return WebhookOutcome::Held(PAUSE);
            }
        };
        if let Err(held) = self.breakers.admit(&target, now) {
            // It need not be tried: others were, for as long as it would have been.
            let is_over = [message.queued_at, held.since].into_iter().all(|since| since.plus(PATIENCE) <= now);
            return match is_over {
                true => self.give_up(format!("not delivered: {}", held.reason)),
                false => WebhookOutcome::Held(held.wait),
            };
        }
        let request = WebhookRequest { target, parameters: parameters(self.account, &message), token: message.token() };
        let answer = self.ports.sender.send(&request).await;
        let now = (self.clock)();
        self.breakers.heard(&request.target, answer.heard(), attempts > 0, now);
        let failure = match answer {
            WebhookAnswer::Delivered => {
                self.ports.metrics.count(Counter::WebhooksDelivered);
                return WebhookOutcome::Done;
            }
            WebhookAnswer::Failed(failure) => failure,
        };
        let attempts = attempts.saturating_add(1);
        let undelivered =
            Undelivered { queued_at: message.queued_at, attempts, retries, retry_after: failure.retry_after };
        let wait = undelivered.next_wait(now, |most| self.ports.ids.jitter(most));
        let (host, reason, error) = (request.target.host(), &failure.reason, failure.cause.as_deref());
        match wait {
            Some(wait) => {
                self.ports.metrics.count(Counter::WebhooksRetried);
                warn!(service.sid = %service, user.sid = user_sid, host, %reason, error, wait_s = wait.as_secs(), "a webhook will be sent again");
                WebhookOutcome::Retry(wait)
            }
            None => self.give_up(format!("not delivered after {attempts} attempts: {reason}")),
        }
    }

    /// How many URLs are held back, since their receivers failed.
    pub fn open_breakers(&self) -> usize {
        self.breakers.open()
    }

    /// The caller, who knows the message's id, logs it.
    fn give_up(&self, reason: String) -> WebhookOutcome {
        self.ports.metrics.count(Counter::WebhooksDead);
        WebhookOutcome::Dead(reason)
    }
}
