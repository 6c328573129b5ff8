//! The recorded logs on the domain's rules alone, and on the stores. `serverless.rs` runs them on the deployed stack.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::memory::MemoryStore;
use reachability_infra::sqlite::{Database, SqliteStore};
use reachability_tests::external::dynamodb_local::DynamoDbLocal;
use reachability_tests::queues::seal;
use reachability_tests::store::Store;
use reachability_tests::{aws, replays};

#[test]
fn there_are_recorded_logs() {
    let logs = replays::all();
    assert_eq!(logs.len(), 8, "{:?}", logs.keys());
    for (name, log) in logs {
        assert!(log.iter().any(|line| matches!(line, replays::Line::Expect(_))), "{name} expects nothing");
    }
}

#[tokio::test]
async fn on_the_domain() {
    replays::run(async || Arc::new(MemoryStore::default()) as Arc<dyn Store>).await;
}

#[tokio::test]
async fn in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let databases = std::cell::Cell::new(0);
    replays::run(async || {
        databases.set(databases.get() + 1);
        let path = directory.path().join(format!("{}.db", databases.get()));
        Arc::new(SqliteStore::new(Database::open(&path, seal()).unwrap())) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn in_dynamodb_local() {
    let client = Client::new(&aws::config(&DynamoDbLocal::shared().url()).await);
    replays::run(async || {
        let table = aws::create_table(&client).await;
        Arc::new(DynamoStore::new(client.clone(), table)) as Arc<dyn Store>
    })
    .await;
}
