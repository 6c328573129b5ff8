//! The function `fanout`: tells of changes.

use std::sync::Arc;

use lambda_runtime::{LambdaEvent, service_fn};
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::metrics::Metrics;
use reachability_infra::sns::Topic;
use reachability_infra::sqs::{SqsQueue, Urls};
use reachability_infra::{aws, clock, environment};
use reachability_lambda::fanout::{Batch, Fanout};
use reachability_lambda::logs;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::start();
    let metrics = Arc::new(Metrics::default());
    let config = aws::config().await;
    let table = environment::text("REACHABILITY_TABLE")?;
    let fanout = Fanout {
        store: Arc::new(DynamoStore::counting(&config, table, metrics.clone())),
        queue: Arc::new(SqsQueue::new(aws_sdk_sqs::Client::new(&config), Urls::from_environment(), clock::now)),
        topic: Topic::new(aws_sdk_sns::Client::new(&config), environment::text("REACHABILITY_TOPIC_ARN")?),
        metrics: metrics.clone(),
    };
    let stack = environment::text("REACHABILITY_STACK")?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Batch>| {
        let answer = fanout.handle(&event.payload).await;
        metrics.write(&stack, clock::now());
        Ok::<_, lambda_runtime::Error>(answer)
    }))
    .await
}
