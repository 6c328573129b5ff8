//! Moves messages from the queues to their handlers, as Lambda does for SQS.

use std::collections::{BTreeMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::panics;
use reachability_domain::queue::backoff::backoff;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::sqlite::{Delivered, EventQueue, Outcome, PushQueue, Receipt, Taken};
use reachability_worker::{Envelope, Failure, Pusher, Received, Worker};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tracing::{error, warn};

/// Maximum number of events per batch: enough that their writes are few, and no more, since under a flood an event of a
/// quiet service waits for the batch before its own.
const EVENTS_PER_BATCH: usize = 500;

/// Maximum number of pushes per batch.
const BATCH: usize = 1_000;

/// Delay before the next attempt after a database error.
const PAUSE: Duration = Duration::from_secs(1);

/// How long nobody looks at the clock at most: it may be set ahead.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Consumes the event queue until `stop`. The current batch is finished first.
pub(crate) async fn run_events(queue: EventQueue, worker: Worker, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let now = clock::now();
        match queue.take(now, EVENTS_PER_BATCH).await {
            Ok(taken) if taken.is_empty() => tokio::select! {
                () = queue.sent() => {}
                () = until(queue.next_due()) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            },
            Ok(taken) => {
                let (receipts, outcome) = handle(&worker, taken, now).await;
                // What was handled is not handled again because that cannot be written down now.
                while let Err(error) = queue.acknowledge(&receipts, outcome.clone(), now).await {
                    if *stop.borrow() {
                        return;
                    }
                    pause(&error).await;
                }
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Handles messages of the event queue.
async fn handle(worker: &Worker, taken: Vec<Taken>, now: Timestamp) -> (Vec<Receipt>, Outcome) {
    let (mut receipts, mut unread, mut messages, mut bodies) = (vec![], vec![], vec![], vec![]);
    for Taken { receipt, message } in taken {
        match message {
            Ok(message) => {
                receipts.push(receipt);
                messages.push(Received::new(message, receipt.is_repeated));
            }
            Err(body) => {
                unread.push(receipt);
                bodies.push(Delivered { id: receipt.id, attempts: receipt.attempts, body });
            }
        }
    }
    let mut failures = worker.process_received(messages, now).await;
    if !bodies.is_empty() {
        let refused = worker.handle(&envelopes(&bodies)).await.into_iter();
        failures.extend(refused.map(|(index, failure)| (receipts.len() + index, failure)));
    }
    receipts.append(&mut unread);
    let handled: Vec<(i64, u32)> = receipts.iter().map(|receipt| (receipt.id, receipt.attempts)).collect();
    let outcome = outcome(&handled, failures, now);
    (receipts, outcome)
}

/// Consumes the push queue until `stop`. Pushes run concurrently, so a provider that does not answer delays no other. Those that
/// are done are acknowledged together, in one write at a time. Pushes in flight are finished first.
pub(crate) async fn run_pushes(queue: PushQueue, pusher: Pusher, mut stop: watch::Receiver<bool>) {
    let mut in_flight: JoinSet<(i64, Outcome)> = JoinSet::new();
    let mut acknowledging: JoinSet<(HashSet<i64>, Result<(), StoreError>)> = JoinSet::new();
    let mut ids: HashSet<i64> = HashSet::new();
    let mut done: Vec<(i64, Outcome)> = Vec::new();
    // Whether the queue may hold messages that are due and not in flight, and when it has more.
    let (mut is_behind, mut next_due) = (true, None);
    while !*stop.borrow() {
        if is_behind && ids.len() <= BATCH / 2 {
            let now = clock::now();
            let look = async { Ok::<_, StoreError>((queue.due(now, BATCH).await?, queue.next_due(now).await?)) };
            let due = match look.await {
                Ok((due, next)) => {
                    (is_behind, next_due) = (false, next);
                    due
                }
                Err(error) => {
                    pause(&error).await;
                    continue;
                }
            };
            for message in due {
                if ids.insert(message.id) {
                    is_behind = true;
                    in_flight.spawn(push(pusher.clone(), message));
                }
            }
        }
        if acknowledging.is_empty() && !done.is_empty() {
            acknowledging.spawn(acknowledge(queue.clone(), std::mem::take(&mut done)));
        }
        let mut acknowledged = None;
        tokio::select! {
            Some(first) = in_flight.join_next() => done.push(unless_panicked(first)),
            Some(all) = acknowledging.join_next() => acknowledged = Some(unless_panicked(all)),
            () = queue.sent() => is_behind = true,
            () = until(next_due) => (is_behind, next_due) = (true, None),
            _ = stop.wait_for(|stop| *stop) => {}
        }
        done.extend(std::iter::from_fn(|| in_flight.try_join_next()).map(unless_panicked));
        if let Some((settled, acknowledged)) = acknowledged {
            ids.retain(|id| !settled.contains(id));
            // Some may be due again.
            is_behind = true;
            if let Err(error) = acknowledged {
                pause(&error).await;
            }
        }
    }
    while let Some(last) = in_flight.join_next().await {
        done.push(unless_panicked(last));
    }
    while acknowledging.join_next().await.is_some() {}
    if !done.is_empty()
        && let (_, Err(error)) = acknowledge(queue, done).await
    {
        error!(error = %ErrorChain(&error), "a queue operation failed");
    }
}

/// Handles one push, which has failed if its handling panics. Returns the message's id, and what came of it.
async fn push(pusher: Pusher, message: Delivered) -> (i64, Outcome) {
    let (id, attempts) = (message.id, message.attempts);
    let envelopes = envelopes(&[message]);
    // What is shared with others is in the store, or behind locks under which nothing panics.
    let handled = AssertUnwindSafe(pusher.handle(&envelopes)).catch_unwind().await;
    let now = clock::now();
    let outcome = match handled {
        Ok(failures) => outcome(&[(id, attempts)], failures, now),
        Err(panic) => {
            let (reason, backoff) = (panics::message(&*panic), backoff(attempts));
            error!(message.id = id, reason, backoff_s = backoff.as_secs(), "a message panicked, and will be retried");
            Outcome { retry: vec![(id, now.plus(backoff))], ..Outcome::default() }
        }
    };
    (id, outcome)
}

/// Acknowledges pushes in one write. Returns their ids, and whether that succeeded.
async fn acknowledge(queue: PushQueue, done: Vec<(i64, Outcome)>) -> (HashSet<i64>, Result<(), StoreError>) {
    let (ids, outcomes): (HashSet<i64>, Vec<Outcome>) = done.into_iter().unzip();
    let mut all = Outcome::default();
    for Outcome { handled, retry, dead } in outcomes {
        all.handled.extend(handled);
        all.retry.extend(retry);
        all.dead.extend(dead);
    }
    (ids, queue.acknowledge(all, clock::now()).await)
}

/// What a task returned. If it panicked, so does this.
fn unless_panicked<T>(returned: Result<T, JoinError>) -> T {
    returned.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Waits until it is that time of day, whatever the clock is set to meanwhile; for ever if it is `None`.
pub(crate) async fn until(due_at: Option<Timestamp>) {
    let Some(due_at) = due_at else { return std::future::pending().await };
    let rest = || due_at.since(clock::now());
    sleep(rest().min(LOOK_EVERY)).await;
    while !rest().is_zero() {
        sleep(rest().min(LOOK_EVERY)).await;
    }
}

pub(crate) async fn pause(error: &StoreError) {
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

/// What came of messages, of which the ids and the numbers of attempts are given. Those that failed for a passing cause are
/// retried with backoff. Those that can never be handled become dead letters: one warning for each reason, since a flood of
/// them must not flood the log.
fn outcome(messages: &[(i64, u32)], failures: Vec<(usize, Failure)>, now: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    let mut failed = HashSet::new();
    let mut dead: BTreeMap<String, usize> = BTreeMap::new();
    for (index, failure) in failures {
        let (id, attempts) = messages[index];
        failed.insert(id);
        let reason = ErrorChain(&failure).to_string();
        if failure.is_permanent() {
            *dead.entry(reason.clone()).or_default() += 1;
            outcome.dead.push((id, reason));
        } else {
            let backoff = backoff(attempts);
            warn!(message.id = id, reason, backoff_s = backoff.as_secs(), "a message will be retried");
            outcome.retry.push((id, now.plus(backoff)));
        }
    }
    for (reason, messages) in dead {
        warn!(messages, reason, "messages became dead letters");
    }
    outcome.handled = messages.iter().map(|(id, _)| *id).filter(|id| !failed.contains(id)).collect();
    outcome
}

#[cfg(test)]
mod tests;
