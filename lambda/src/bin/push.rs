//! The function `push`: asks push providers.

use std::sync::Arc;

use lambda_runtime::{LambdaEvent, service_fn};
use reachability_infra::credentials::seal::Seal;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::metrics::Metrics;
use reachability_infra::push::ProviderUrls;
use reachability_infra::push::platform_applications::PlatformApplications;
use reachability_infra::push::providers::Providers;
use reachability_infra::sqs::{SqsQueue, Urls};
use reachability_infra::{aws, clock, environment, secrets_manager};
use reachability_lambda::dead_letters::DeadLetters;
use reachability_lambda::logs;
use reachability_worker::Pusher;
use reachability_worker::sqs::Batch;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::start();
    let metrics = Arc::new(Metrics::default());
    let config = aws::config().await;
    let sqs = aws_sdk_sqs::Client::new(&config);
    let key = environment::text("REACHABILITY_CREDENTIALS_KEY_SECRET")?;
    let key = secrets_manager::read(&aws_sdk_secretsmanager::Client::new(&config), &key).await?;
    let applications = PlatformApplications::new(aws_sdk_sns::Client::new(&config), clock::now);
    let endpoints = ProviderUrls::from_environment();
    let seal = Arc::new(Seal::new(&key));
    let providers = Providers::new(seal, endpoints, None, Some(Arc::new(applications)), clock::now);
    let store = DynamoStore::counting(&config, environment::text("REACHABILITY_TABLE")?, metrics.clone());
    let queue = SqsQueue::new(sqs.clone(), Urls::from_environment(), clock::now);
    let pusher = Pusher::new(Arc::new(store), Arc::new(queue), Arc::new(providers), metrics.clone(), clock::now);
    let dead_letters = DeadLetters::from_environment(sqs)?;
    let stack = environment::text("REACHABILITY_STACK")?;

    lambda_runtime::run(service_fn(async |event: LambdaEvent<Batch>| {
        let batch = event.payload;
        let mut answer = pusher.handle(&batch).await;
        dead_letters.dead_letter(&batch, &mut answer).await;
        metrics.write(&stack, clock::now());
        Ok::<_, lambda_runtime::Error>(answer)
    }))
    .await
}
