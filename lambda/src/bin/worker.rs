//! The function `worker`: handles events and timers.

use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::{LambdaEvent, service_fn};
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::presence::connections::{LeasePolicy, Limits, Rules};
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::ids::Uuids;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::sqs::{SqsConsumer, SqsQueue};
use reachability_infra::{aws, clock, environment};
use reachability_lambda::consumer::Consumer;
use reachability_lambda::dead_letters::DeadLetters;
use reachability_lambda::{logs, sqs};
use reachability_worker::{Worker, WorkerPorts};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::start();
    let seconds = |name| environment::parsed(name).map(Duration::from_secs);
    let rules = Rules {
        grace: seconds("REACHABILITY_GRACE_SECONDS")?,
        lease: LeasePolicy::For(seconds("REACHABILITY_LEASE_SECONDS")?),
        limits: Limits { live: environment::parsed("REACHABILITY_MAX_CONNECTIONS_PER_USER")?, ..Limits::DEFAULT },
    };
    let metrics = Arc::new(EmfMetrics::default());
    let config = aws::config().await;
    let client = aws_sdk_sqs::Client::new(&config);
    let store = Arc::new(DynamoStore::counting(&config, environment::text("REACHABILITY_TABLE")?, metrics.clone()));
    let ports = WorkerPorts {
        services: store.clone(),
        deleted_services: Some(store.clone()),
        states: store,
        events: Arc::new(SqsQueue::new(client.clone(), environment::text("REACHABILITY_QUEUE_URL")?, clock::now)),
        ids: Arc::new(Uuids),
        metrics: metrics.clone(),
    };
    let worker = Worker::new(ports, rules, Configuration::MAX_AGE, clock::now);
    let consumer = Consumer {
        queue: SqsConsumer::new(client.clone(), environment::text("REACHABILITY_QUEUE_URL")?),
        dead_letters: DeadLetters::from_environment(client)?,
    };
    let stack = environment::text("REACHABILITY_STACK")?;

    lambda_runtime::run(service_fn(async |event: LambdaEvent<sqs::Batch>| {
        let answer = consumer.handle(event.payload, async |envelopes| worker.handle(envelopes).await).await;
        metrics.write(&stack, clock::now());
        Ok::<_, lambda_runtime::Error>(answer)
    }))
    .await
}
