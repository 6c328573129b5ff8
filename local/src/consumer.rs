//! Moves messages from the queue to who handles them, as Lambda does with SQS: each lane apart.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use reachability_domain::error_chain::ErrorChain;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::sqlite::{Delivered, SqliteQueue};
use reachability_worker::sqs::{Attributes, Batch, BatchResponse, Record};
use reachability_worker::{Pusher, Worker};
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
pub(crate) async fn run_events(queue: SqliteQueue, worker: Worker, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let now = clock::now();
        let turn = async {
            let messages = queue.due(Lane::Events, now, BATCH).await?;
            if !messages.is_empty() {
                let (batch, handled) = batch(messages);
                let answer = worker.handle(&batch, now).await;
                settle(&queue, handled, answer, now).await?;
                return Ok(None);
            }
            Ok::<_, StoreError>(Some(queue.next_due(Lane::Events, now).await?))
        };
        match turn.await {
            Ok(None) => {}
            Ok(Some(next_due)) => tokio::select! {
                () = queue.sent(Lane::Events) => {}
                () = until(next_due) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            },
            Err(error) => pause(&error).await,
        }
    }
}

/// Moves pushes until it is time to stop, side by side: each is settled when it is done, so that a provider that does not
/// answer holds up nobody else. What is under way when it is time is brought to its end.
pub(crate) async fn run_pushes(queue: SqliteQueue, pusher: Pusher, mut stop: watch::Receiver<bool>) {
    let mut under_way: JoinSet<(i64, Result<(), StoreError>)> = JoinSet::new();
    let mut ids: HashSet<i64> = HashSet::new();
    // There may be messages that are due and not under way.
    let mut is_behind = true;
    while !*stop.borrow() {
        let now = clock::now();
        let turn = async {
            let looks = is_behind && ids.len() <= BATCH / 2;
            let due = if looks { queue.due(Lane::Pushes, now, BATCH).await? } else { vec![] };
            is_behind &= !looks;
            Ok::<_, StoreError>((due, queue.next_due(Lane::Pushes, now).await?))
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
            () = queue.sent(Lane::Pushes) => is_behind = true,
            () = until(next_due) => is_behind = true,
            _ = stop.wait_for(|stop| *stop) => {}
        }
        done.extend(std::iter::from_fn(|| under_way.try_join_next()));
        for done in done {
            let (id, settled) = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            ids.remove(&id);
            if let Err(error) = settled {
                is_behind = true;
                pause(&error).await;
            }
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// Has one push handled and settled. Returns its id, and whether it was settled.
async fn push(queue: SqliteQueue, pusher: Pusher, message: Delivered) -> (i64, Result<(), StoreError>) {
    let id = message.id;
    let (batch, handled) = batch(vec![message]);
    let answer = pusher.handle(&batch).await;
    (id, settle(&queue, handled, answer, clock::now()).await)
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

/// Messages as a batch, and of each, by its name in the batch, its id and how often its handling has failed.
fn batch(messages: Vec<Delivered>) -> (Batch, HashMap<String, (i64, u32)>) {
    let handled = messages.iter().map(|message| (message.id.to_string(), (message.id, message.attempts))).collect();
    let record = |message: Delivered| Record {
        message_id: message.id.to_string(),
        body: message.body,
        attributes: Attributes::default(),
    };
    (Batch { records: messages.into_iter().map(record).collect() }, handled)
}

/// Takes what was handled out of the queue. The rest is tried again, or laid aside.
async fn settle(
    queue: &SqliteQueue,
    mut handled: HashMap<String, (i64, u32)>,
    answer: BatchResponse,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut retry = Vec::new();
    let mut dead = Vec::new();
    for failure in answer.batch_item_failures {
        let Some((id, attempts)) = handled.remove(&failure.item_identifier) else { continue };
        let reason = ErrorChain(&failure.reason).to_string();
        if failure.reason.is_permanent() {
            warn!(message.id = id, reason, "a message was laid aside");
            dead.push((id, reason));
        } else {
            let backoff = MAX_BACKOFF.min(Duration::from_secs(1 << attempts.min(16)));
            warn!(message.id = id, reason, backoff_s = backoff.as_secs(), "a message will be tried again");
            retry.push((id, now.plus(backoff)));
        }
    }
    let handled = handled.into_values().map(|(id, _)| id).collect();
    queue.settle(handled, retry, dead, now).await
}
