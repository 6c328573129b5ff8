//! Moves webhooks from their queue to their receivers, as Lambda does for SQS.

use std::panic::resume_unwind;
use std::time::Duration;

use reachability_infra::clock;
use reachability_infra::sqlite::{Settled, TakenWebhook, WebhookQueue};
use reachability_worker::{WebhookOutcome, Webhooks};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tracing::warn;

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

/// Delivers a webhook and settles it.
async fn deliver(queue: WebhookQueue, webhooks: Webhooks, webhook: TakenWebhook, stop: watch::Receiver<bool>) {
    // What a power cut takes back is told again, and possibly otherwise.
    let outcome = match queue.flushed().await {
        Ok(()) => webhooks.deliver(&webhook.body, webhook.attempts).await,
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

fn pass_on_panic(done: Result<(), JoinError>) {
    if let Err(error) = done
        && let Ok(panic) = error.try_into_panic()
    {
        resume_unwind(panic);
    }
}
