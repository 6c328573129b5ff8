//! The function `fanout`: publishes changes.

use std::sync::Arc;

use lambda_runtime::{LambdaEvent, service_fn};
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::sns::Topic;
use reachability_infra::sqs::{SqsQueue, SqsWebhooks};
use reachability_infra::{aws, clock, environment};
use reachability_lambda::{logs, stream};
use reachability_worker::{Fanout, WebhookOutbox};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::start();
    let metrics = Arc::new(EmfMetrics::default());
    let config = aws::config().await;
    let queue = aws_sdk_sqs::Client::new(&config);
    let topic = aws_sdk_sns::Client::new(&config);
    let store = Arc::new(DynamoStore::counting(&config, environment::text("REACHABILITY_TABLE")?, metrics.clone()));
    let webhooks = WebhookOutbox {
        accounts: store.clone(),
        users: store.clone(),
        snapshots: store.clone(),
        queue: Arc::new(SqsWebhooks::new(queue.clone(), environment::text("REACHABILITY_WEBHOOK_QUEUE_URL")?)),
        clock: clock::now,
    };
    let fanout = Fanout {
        services: store,
        pushes: Arc::new(SqsQueue::new(queue, environment::text("REACHABILITY_PUSH_QUEUE_URL")?, clock::now)),
        sinks: vec![Arc::new(Topic::new(topic, environment::text("REACHABILITY_TOPIC_ARN")?))],
        webhooks: Some(webhooks),
        metrics: metrics.clone(),
    };
    let stack = environment::text("REACHABILITY_STACK")?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<stream::Batch>| {
        let answer = stream::handle(&fanout, event.payload).await;
        metrics.write(&stack, clock::now());
        Ok::<_, lambda_runtime::Error>(answer)
    }))
    .await
}
