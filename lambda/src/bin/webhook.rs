//! The function `webhook`: sends webhooks.

use std::sync::Arc;

use lambda_runtime::{LambdaEvent, service_fn};
use reachability_domain::directory::configuration::Configuration;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::ids::Uuids;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::sqs::SqsConsumer;
use reachability_infra::webhook::{AddressRules, HttpWebhooks};
use reachability_infra::{aws, clock, environment};
use reachability_lambda::dead_letters::DeadLetters;
use reachability_lambda::token::Tokens;
use reachability_lambda::webhooks::Consumer;
use reachability_lambda::{logs, sqs};
use reachability_worker::{WebhookPorts, Webhooks};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::start();
    let metrics = Arc::new(EmfMetrics::default());
    let config = aws::config().await;
    let client = aws_sdk_sqs::Client::new(&config);
    let secrets = aws_sdk_secretsmanager::Client::new(&config);
    let tokens = Tokens::read(secrets, environment::text("REACHABILITY_AUTH_TOKEN_SECRET")?, clock::now).await?;
    let rules = AddressRules { private: environment::parsed("REACHABILITY_WEBHOOK_PRIVATE_ADDRESSES")? };
    let store = Arc::new(DynamoStore::counting(&config, environment::text("REACHABILITY_TABLE")?, metrics.clone()));
    let ports = WebhookPorts {
        accounts: store.clone(),
        services: store.clone(),
        sender: Arc::new(HttpWebhooks::new(tokens.subscribe(), rules, None, clock::now)),
        ids: Arc::new(Uuids),
        metrics: metrics.clone(),
    };
    let account = environment::parsed("REACHABILITY_ACCOUNT_SID")?;
    let consumer = Consumer {
        webhooks: Webhooks::new(ports, account, Configuration::MAX_AGE, clock::now),
        store,
        queue: SqsConsumer::new(client.clone(), environment::text("REACHABILITY_WEBHOOK_QUEUE_URL")?),
        dead_letters: DeadLetters::from_environment(client)?,
        clock: clock::now,
    };
    let stack = environment::text("REACHABILITY_STACK")?;

    lambda_runtime::run(service_fn(async |event: LambdaEvent<sqs::Batch>| {
        tokens.refresh().await;
        let answer = consumer.handle(event.payload).await;
        metrics.write(&stack, clock::now());
        Ok::<_, lambda_runtime::Error>(answer)
    }))
    .await
}
