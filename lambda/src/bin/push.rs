//! The function `push`: calls push providers.

use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::{LambdaEvent, service_fn};
use reachability_domain::time::Timestamp;
use reachability_infra::credentials::seal::Seal;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::ids::Uuids;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::push::ProviderUrls;
use reachability_infra::push::platform_applications::PlatformApplications;
use reachability_infra::push::providers::Providers;
use reachability_infra::sqs::{SqsConsumer, SqsQueue};
use reachability_infra::{aws, clock, environment, secrets_manager};
use reachability_lambda::consumer::Consumer;
use reachability_lambda::dead_letters::DeadLetters;
use reachability_lambda::{logs, sqs};
use reachability_worker::{Pusher, PusherPorts};

/// How long before its end the function begins nothing more: as long as a push takes at most, and the writes after it.
const RESERVE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::start();
    let metrics = Arc::new(EmfMetrics::default());
    let config = aws::config().await;
    let client = aws_sdk_sqs::Client::new(&config);
    let key = environment::text("REACHABILITY_CREDENTIALS_KEY_SECRET")?;
    let key = secrets_manager::read(&aws_sdk_secretsmanager::Client::new(&config), &key).await?;
    let applications = PlatformApplications::new(aws_sdk_sns::Client::new(&config), clock::now);
    let endpoints = ProviderUrls::from_environment();
    let seal = Arc::new(Seal::new(&key));
    let providers = Providers::new(seal, endpoints, None, Some(Arc::new(applications)), clock::now);
    let store = Arc::new(DynamoStore::counting(&config, environment::text("REACHABILITY_TABLE")?, metrics.clone()));
    let pushes = SqsQueue::new(client.clone(), environment::text("REACHABILITY_PUSH_QUEUE_URL")?, clock::now);
    let (pushes, providers) = (Arc::new(pushes), Arc::new(providers));
    let ports = PusherPorts::of(store, pushes, providers, Arc::new(Uuids), metrics.clone());
    let pusher = Pusher::new(ports, clock::now);
    let consumer = Consumer {
        queue: SqsConsumer::new(client.clone(), environment::text("REACHABILITY_PUSH_QUEUE_URL")?),
        dead_letters: DeadLetters::from_environment(client)?,
    };
    let stack = environment::text("REACHABILITY_STACK")?;

    lambda_runtime::run(service_fn(async |event: LambdaEvent<sqs::Batch>| {
        let deadline = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        let ends_at = Timestamp::from_millis(deadline.saturating_sub(RESERVE.as_millis() as i64));
        let pusher = pusher.beginning_until(ends_at);
        let answer = consumer.handle(event.payload, async |envelopes| pusher.handle(envelopes).await).await;
        metrics.write(&stack, clock::now());
        Ok::<_, lambda_runtime::Error>(answer)
    }))
    .await
}
