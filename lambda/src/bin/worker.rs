//! The worker as a Lambda: a batch from SQS goes to the worker, and what nobody can handle is laid aside.

use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::{LambdaEvent, service_fn};
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::presence::connections::{LeasePolicy, Rules};
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::metrics::Metrics;
use reachability_infra::sqs::{SqsQueue, Urls};
use reachability_infra::{aws, clock, environment};
use reachability_lambda::dead_letters::DeadLetters;
use reachability_lambda::logs;
use reachability_worker::Worker;
use reachability_worker::sqs::Batch;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::start();
    let seconds = |name| environment::parsed(name).map(Duration::from_secs);
    let rules = Rules {
        grace: seconds("REACHABILITY_GRACE_SECONDS")?,
        lease: LeasePolicy::For(seconds("REACHABILITY_LEASE_SECONDS")?),
    };
    let metrics = Arc::new(Metrics::default());
    let config = aws::config().await;
    let sqs = aws_sdk_sqs::Client::new(&config);
    let table = environment::text("REACHABILITY_TABLE")?;
    let store = Arc::new(DynamoStore::counting(&config, table, metrics.clone()));
    let queue = SqsQueue::new(sqs.clone(), Urls::from_environment(), clock::now);
    let worker = Worker::new(store, Arc::new(queue), rules, Configuration::MAX_AGE, metrics.clone());
    let dead_letters = DeadLetters::from_environment(sqs)?;
    let stack = environment::text("REACHABILITY_STACK")?;

    lambda_runtime::run(service_fn(async |event: LambdaEvent<Batch>| {
        let batch = event.payload;
        let mut answer = worker.handle(&batch, clock::now()).await;
        dead_letters.dead_letter(&batch, &mut answer).await;
        metrics.write(&stack, clock::now());
        Ok::<_, lambda_runtime::Error>(answer)
    }))
    .await
}
