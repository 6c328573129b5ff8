//! The worker as a Lambda: a batch from SQS goes to the worker, and what nobody can handle is laid aside.

use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::{LambdaEvent, service_fn};
use reachability_domain::chain::Chain;
use reachability_domain::presence::{Lease, Rules};
use reachability_domain::reachability::Configuration;
use reachability_functions_lambda::logs;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::metrics::Metrics;
use reachability_infra::sqs::{DeadLetterQueue, SqsQueue};
use reachability_infra::{aws, clock, environment};
use reachability_worker::Worker;
use reachability_worker::sqs::{Batch, BatchResponse, ItemFailure};
use tracing::{error, warn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::start();
    let seconds = |name| environment::parsed(name).map(Duration::from_secs);
    let rules = Rules {
        grace: seconds("REACHABILITY_GRACE_SECONDS")?,
        lease: Lease::For(seconds("REACHABILITY_LEASE_SECONDS")?),
    };
    let metrics = Arc::new(Metrics::default());
    let config = aws::config().await;
    let sqs = aws_sdk_sqs::Client::new(&config);
    let table = environment::text("REACHABILITY_TABLE")?;
    let store = Arc::new(DynamoStore::counting(&config, table, metrics.clone()));
    let queue = SqsQueue::new(sqs.clone(), environment::text("REACHABILITY_QUEUE_URL")?, clock::now);
    let worker = Worker::new(store, Arc::new(queue), rules, Configuration::MAX_AGE, metrics.clone());
    let dead_letters = DeadLetterQueue::new(sqs, environment::text("REACHABILITY_DEAD_LETTER_QUEUE_URL")?);
    let max_deliveries: u32 = environment::parsed("REACHABILITY_MAX_RECEIVES")?;
    let stack = environment::text("REACHABILITY_STACK")?;

    lambda_runtime::run(service_fn(async |event: LambdaEvent<Batch>| {
        let batch = event.payload;
        let mut answer = worker.handle(&batch, clock::now()).await;
        lay_aside(&dead_letters, &batch, &mut answer, max_deliveries).await;
        metrics.write(&stack, clock::now());
        Ok::<_, lambda_runtime::Error>(answer)
    }))
    .await
}

/// Moves what nobody can handle, and what has failed for the last time, out of the way, with the reason. Left to itself
/// the queue would do so too, and say nothing of why.
async fn lay_aside(queue: &DeadLetterQueue, batch: &Batch, answer: &mut BatchResponse, max_deliveries: u32) {
    let mut again: Vec<ItemFailure> = Vec::new();
    for failure in answer.batch_item_failures.drain(..) {
        let reason = Chain(&failure.reason).to_string();
        let Some(record) = batch.records.iter().find(|record| record.message_id == failure.item_identifier) else {
            continue;
        };
        let (message, deliveries) = (record.message_id.as_str(), record.deliveries());
        if !failure.reason.is_permanent() && deliveries < max_deliveries {
            warn!(message.id = message, deliveries, reason, "a message will be tried again");
            again.push(failure);
            continue;
        }
        match queue.send(&record.body, &reason).await {
            Ok(()) => warn!(message.id = message, deliveries, reason, "a message was laid aside"),
            Err(error) => {
                error!(message.id = message, reason, %error, "a message could not be laid aside");
                again.push(failure);
            }
        }
    }
    answer.batch_item_failures = again;
}
