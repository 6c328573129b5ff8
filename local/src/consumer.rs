//! Moves messages from the queue to who handles them, as Lambda does with SQS: each lane apart.

use std::collections::HashMap;
use std::time::Duration;

use reachability_domain::chain::Chain;
use reachability_domain::queue::Lane;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::sqlite::{Delivered, SqliteQueue};
use reachability_worker::sqs::{Attributes, Batch, BatchResponse, Record};
use reachability_worker::{Pusher, Worker};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, warn};

/// How many messages the worker gets at once.
const BATCH: usize = 1_000;

/// How long to wait when the database does not work.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a message waits at most before it is tried again.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Who handles the messages of a lane.
pub(crate) enum Handler {
    Events(Worker),
    Pushes(Pusher),
}

impl Handler {
    fn lane(&self) -> Lane {
        match self {
            Self::Events(_) => Lane::Events,
            Self::Pushes(_) => Lane::Pushes,
        }
    }

    async fn handle(&self, batch: &Batch, now: Timestamp) -> BatchResponse {
        match self {
            Self::Events(worker) => worker.handle(batch, now).await,
            Self::Pushes(pusher) => pusher.handle(batch).await,
        }
    }
}

/// Runs until it is time to stop. What is under way then is brought to its end.
pub(crate) async fn run(queue: SqliteQueue, handler: Handler, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        match turn(&queue, &handler).await {
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
    handler: &Handler,
) -> Result<Option<impl Future<Output = ()> + use<'q>>, StoreError> {
    let now = clock::now();
    let lane = handler.lane();
    let messages = queue.due(lane, now, BATCH).await?;
    if !messages.is_empty() {
        handle(queue, handler, messages, now).await?;
        return Ok(None);
    }
    let next_due = queue.next_due(lane).await?;
    Ok(Some(async move {
        let due = async {
            match next_due {
                Some(due_at) => sleep(due_at.since(clock::now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = queue.sent(lane) => {}
            () = due => {}
        }
    }))
}

fn record(message: Delivered) -> Record {
    Record { message_id: message.id.to_string(), body: message.body, attributes: Attributes::default() }
}

async fn handle(
    queue: &SqliteQueue,
    handler: &Handler,
    messages: Vec<Delivered>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut handled: HashMap<String, (i64, u32)> =
        messages.iter().map(|message| (message.id.to_string(), (message.id, message.attempts))).collect();
    let records = messages.into_iter().map(record).collect();
    let failures = handler.handle(&Batch { records }, now).await.batch_item_failures;

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
