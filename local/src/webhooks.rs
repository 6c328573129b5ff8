//! Moves webhooks from their queue to their receivers, as Lambda does for SQS.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures_util::FutureExt;
use reachability_domain::ids::Ids;
use reachability_domain::panics;
use reachability_domain::queue::Message;
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::message::WebhookMessage;
use reachability_domain::webhook::schedule::Undelivered;
use reachability_infra::clock;
use reachability_infra::ids::Uuids;
use reachability_infra::sqlite::{Settled, TakenWebhook, WebhookQueue};
use reachability_worker::{WebhookOutcome, Webhooks};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tracing::{error, warn};

use crate::consumer::{pause, until};

/// How long those under way may take at the end. The others are delivered after the next start.
const LAST_ONES: Duration = Duration::from_secs(5);

/// Delivers webhooks until `stop`. Each is settled by itself, so that a slow receiver delays no other.
pub(crate) async fn run(queue: WebhookQueue, webhooks: Webhooks, mut stop: watch::Receiver<bool>) {
    let mut under_way: JoinSet<()> = JoinSet::new();
    while !*stop.borrow() {
        match queue.take(clock::now()).await {
            Ok(taken) => {
                for webhook in taken {
                    under_way.spawn(deliver(queue.clone(), webhooks.clone(), webhook, stop.clone()));
                }
            }
            Err(error) => {
                pause(&error).await;
                continue;
            }
        }
        tokio::select! {
            Some(done) = under_way.join_next() => pass_on_panic(done),
            () = queue.sent() => {}
            () = until(queue.next_due()) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        while let Some(done) = under_way.try_join_next() {
            pass_on_panic(done);
        }
    }
    let last_ones = async {
        while let Some(done) = under_way.join_next().await {
            pass_on_panic(done);
        }
    };
    let _ = timeout(LAST_ONES, last_ones).await;
}

/// Delivers a webhook and settles it. If its delivery panics, that was an attempt that failed.
async fn deliver(queue: WebhookQueue, webhooks: Webhooks, webhook: TakenWebhook, stop: watch::Receiver<bool>) {
    // What a power cut takes back is told again, and possibly otherwise.
    let outcome = match queue.flushed().await {
        Ok(()) => {
            let delivered = AssertUnwindSafe(webhooks.deliver(&webhook.body, webhook.attempts)).catch_unwind().await;
            delivered.unwrap_or_else(|panic| panicked(&webhook, panics::message(&*panic), clock::now()))
        }
        Err(error) => {
            pause(&error).await;
            WebhookOutcome::Held(Duration::ZERO)
        }
    };
    let now = clock::now();
    let settled = match outcome {
        WebhookOutcome::Done => Settled::Done,
        WebhookOutcome::Retry(wait) => Settled::RetryAt(now.plus(wait)),
        WebhookOutcome::Held(wait) => Settled::HeldUntil(now.plus(wait)),
        WebhookOutcome::Dead(reason) => {
            warn!(message.id = webhook.id, service.sid = %webhook.service, reason, "a webhook became a dead letter");
            Settled::Dead(reason)
        }
    };
    // What was delivered is not delivered again because that cannot be written down now.
    while let Err(error) = queue.settle(&webhook, settled.clone(), now).await {
        if *stop.borrow() {
            return;
        }
        pause(&error).await;
    }
}

/// What comes of a webhook whose delivery panicked: it is tried again as long as one whose receiver does not take it.
fn panicked(webhook: &TakenWebhook, reason: &str, now: Timestamp) -> WebhookOutcome {
    error!(message.id = webhook.id, service.sid = %webhook.service, reason, "the delivery of a webhook panicked");
    let message = WebhookMessage::parse(webhook.body.as_bytes());
    let undelivered = message.map(|message| Undelivered {
        queued_at: message.queued_at,
        attempts: webhook.attempts.saturating_add(1),
        retries: 0,
        retry_after: None,
    });
    let jitter = |most| (&Uuids as &dyn Ids).jitter(most);
    let wait = undelivered.ok().and_then(|undelivered| undelivered.next_wait(now, jitter));
    wait.map_or_else(|| WebhookOutcome::Dead("its delivery panicked".to_owned()), WebhookOutcome::Retry)
}

fn pass_on_panic(done: Result<(), JoinError>) {
    if let Err(error) = done
        && let Ok(panic) = error.try_into_panic()
    {
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests;
