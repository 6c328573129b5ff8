//! Moves messages from the queues to their handlers, as Lambda does for SQS.

use std::collections::HashSet;
use std::time::Duration;

use reachability_domain::error_chain::ErrorChain;
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::push::message::PushMessage;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::sqlite::{Delivered, SqliteQueue};
use reachability_worker::{Envelope, Failure, Pusher, Worker};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{error, warn};

/// Maximum number of messages per batch.
const BATCH: usize = 1_000;

/// Delay before the next attempt after a database error.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest backoff of a failed message.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Consumes the event queue until `stop`. The current batch is finished first.
pub(crate) async fn run_events(queue: SqliteQueue<PresenceMessage>, worker: Worker, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let now = clock::now();
        let turn = async {
            let messages = queue.due(now, BATCH).await?;
            if !messages.is_empty() {
                let failures = worker.handle(&envelopes(&messages)).await;
                acknowledge(&queue, messages, failures, now).await?;
                return Ok(None);
            }
            Ok::<_, StoreError>(Some(queue.next_due(now).await?))
        };
        match turn.await {
            Ok(None) => {}
            Ok(Some(next_due)) => tokio::select! {
                () = queue.sent() => {}
                () = until(next_due) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            },
            Err(error) => pause(&error).await,
        }
    }
}

/// Consumes the push queue until `stop`. Pushes run concurrently and each is acknowledged separately, so a provider
/// that does not answer delays no other. Pushes in flight are finished first.
pub(crate) async fn run_pushes(queue: SqliteQueue<PushMessage>, pusher: Pusher, mut stop: watch::Receiver<bool>) {
    let mut in_flight: JoinSet<(i64, Result<(), StoreError>)> = JoinSet::new();
    let mut ids: HashSet<i64> = HashSet::new();
    // Whether the queue may hold messages that are due and not in flight.
    let mut is_behind = true;
    while !*stop.borrow() {
        let now = clock::now();
        let turn = async {
            let looks = is_behind && ids.len() <= BATCH / 2;
            let due = if looks { queue.due(now, BATCH).await? } else { vec![] };
            is_behind &= !looks;
            Ok::<_, StoreError>((due, queue.next_due(now).await?))
        };
        let (due, next_due) = match turn.await {
            Ok(found) => found,
            Err(error) => {
                is_behind = true;
                pause(&error).await;
                continue;
            }
        };
        for message in due {
            if ids.insert(message.id) {
                is_behind = true;
                in_flight.spawn(push(queue.clone(), pusher.clone(), message));
            }
        }
        let mut done = Vec::new();
        tokio::select! {
            Some(first) = in_flight.join_next() => done.push(first),
            () = queue.sent() => is_behind = true,
            () = until(next_due) => is_behind = true,
            _ = stop.wait_for(|stop| *stop) => {}
        }
        done.extend(std::iter::from_fn(|| in_flight.try_join_next()));
        for done in done {
            let (id, acknowledged) = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            ids.remove(&id);
            if let Err(error) = acknowledged {
                is_behind = true;
                pause(&error).await;
            }
        }
    }
    while in_flight.join_next().await.is_some() {}
}

/// Handles and acknowledges one push. Returns the message's id, and whether acknowledging succeeded.
async fn push(queue: SqliteQueue<PushMessage>, pusher: Pusher, message: Delivered) -> (i64, Result<(), StoreError>) {
    let (id, messages) = (message.id, vec![message]);
    let failures = pusher.handle(&envelopes(&messages)).await;
    (id, acknowledge(&queue, messages, failures, clock::now()).await)
}

async fn until(due_at: Option<Timestamp>) {
    match due_at {
        Some(due_at) => sleep(due_at.since(clock::now())).await,
        None => std::future::pending().await,
    }
}

async fn pause(error: &StoreError) {
    error!(error = %ErrorChain(error), "a queue operation failed");
    sleep(PAUSE).await;
}

fn envelopes(messages: &[Delivered]) -> Vec<Envelope> {
    let envelope = |message: &Delivered| Envelope {
        id: message.id.to_string(),
        body: message.body.clone(),
        attempts: message.attempts,
        accepted_at: None,
    };
    messages.iter().map(envelope).collect()
}

/// Acknowledges the handled messages. The others are retried with backoff or become dead letters.
async fn acknowledge<M>(
    queue: &SqliteQueue<M>,
    messages: Vec<Delivered>,
    failures: Vec<(usize, Failure)>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut retry = Vec::new();
    let mut dead = Vec::new();
    let mut failed = HashSet::new();
    for (index, failure) in failures {
        let Delivered { id, attempts, .. } = messages[index];
        failed.insert(id);
        let reason = ErrorChain(&failure).to_string();
        if failure.is_permanent() {
            warn!(message.id = id, reason, "a message became a dead letter");
            dead.push((id, reason));
        } else {
            let backoff = MAX_BACKOFF.min(Duration::from_secs(1 << attempts.min(16)));
            warn!(message.id = id, reason, backoff_s = backoff.as_secs(), "a message will be retried");
            retry.push((id, now.plus(backoff)));
        }
    }
    let handled = messages.iter().map(|message| message.id).filter(|id| !failed.contains(id)).collect();
    queue.acknowledge(handled, retry, dead, now).await
}
