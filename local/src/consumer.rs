//! Moves messages from the queues to who handles them, as Lambda does with SQS.

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

/// How many messages the worker gets at once.
const BATCH: usize = 1_000;

/// How long to wait when the database does not work.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a message waits at most before it is tried again.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Moves events until it is time to stop. What is under way then is brought to its end.
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

/// Moves pushes until it is time to stop, side by side: each is acknowledged when it is done, so that a provider that does not
/// answer holds up nobody else. What is under way when it is time is brought to its end.
pub(crate) async fn run_pushes(queue: SqliteQueue<PushMessage>, pusher: Pusher, mut stop: watch::Receiver<bool>) {
    let mut under_way: JoinSet<(i64, Result<(), StoreError>)> = JoinSet::new();
    let mut ids: HashSet<i64> = HashSet::new();
    // There may be messages that are due and not under way.
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
                under_way.spawn(push(queue.clone(), pusher.clone(), message));
            }
        }
        let mut done = Vec::new();
        tokio::select! {
            Some(first) = under_way.join_next() => done.push(first),
            () = queue.sent() => is_behind = true,
            () = until(next_due) => is_behind = true,
            _ = stop.wait_for(|stop| *stop) => {}
        }
        done.extend(std::iter::from_fn(|| under_way.try_join_next()));
        for done in done {
            let (id, acknowledged) = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            ids.remove(&id);
            if let Err(error) = acknowledged {
                is_behind = true;
                pause(&error).await;
            }
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// Has one push handled and acknowledged. Returns its id, and whether it was acknowledged.
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
    error!(error = %ErrorChain(error), "the queue does not work");
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

/// Takes what was handled out of the queue. The rest is tried again, or becomes a dead letter.
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
            warn!(message.id = id, reason, "a message was laid aside");
            dead.push((id, reason));
        } else {
            let backoff = MAX_BACKOFF.min(Duration::from_secs(1 << attempts.min(16)));
            warn!(message.id = id, reason, backoff_s = backoff.as_secs(), "a message will be tried again");
            retry.push((id, now.plus(backoff)));
        }
    }
    let handled = messages.iter().map(|message| message.id).filter(|id| !failed.contains(id)).collect();
    queue.acknowledge(handled, retry, dead, now).await
}
