//! Moves messages from the queue to the worker, as Lambda does with SQS.

use std::collections::HashMap;
use std::time::Duration;

use reachability_domain::chain::Chain;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::sqlite::{Delivered, SqliteQueue};
use reachability_worker::Worker;
use reachability_worker::sqs::{Attributes, Batch, Record};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, warn};

/// How many messages the worker gets at once.
const BATCH: usize = 1_000;

/// How long to wait when the database does not work.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a message waits at most before it is tried again.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Runs until it is time to stop. What is under way then is brought to its end.
pub(crate) async fn run(queue: SqliteQueue, worker: Worker, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        match turn(&queue, &worker).await {
            Ok(None) => {}
            Ok(Some(idle)) => tokio::select! {
                () = idle => {}
                _ = stop.wait_for(|stop| *stop) => return,
            },
            Err(error) => {
                error!(error = %Chain(&error), "the queue does not work");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Handles what is due. If nothing is, returns what to wait for.
async fn turn<'q>(
    queue: &'q SqliteQueue,
    worker: &Worker,
) -> Result<Option<impl Future<Output = ()> + use<'q>>, StoreError> {
    let now = clock::now();
    let messages = queue.due(now, BATCH).await?;
    if !messages.is_empty() {
        handle(queue, worker, messages, now).await?;
        return Ok(None);
    }
    let next_due = queue.next_due().await?;
    Ok(Some(async move {
        let due = async {
            match next_due {
                Some(due_at) => sleep(due_at.since(clock::now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = queue.sent() => {}
            () = due => {}
        }
    }))
}

fn record(message: Delivered) -> Record {
    Record { message_id: message.id.to_string(), body: message.body, attributes: Attributes::default() }
}

async fn handle(
    queue: &SqliteQueue,
    worker: &Worker,
    messages: Vec<Delivered>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut handled: HashMap<String, (i64, u32)> =
        messages.iter().map(|message| (message.id.to_string(), (message.id, message.attempts))).collect();
    let records = messages.into_iter().map(record).collect();
    let failures = worker.handle(&Batch { records }, now).await.batch_item_failures;

    let mut retry = Vec::new();
    let mut dead = Vec::new();
    for failure in failures {
        let Some((id, attempts)) = handled.remove(&failure.item_identifier) else { continue };
        let reason = Chain(&failure.reason).to_string();
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
