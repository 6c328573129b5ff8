//! The store on DynamoDB.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use reachability_domain::metrics::Metrics;

use super::table::Table;
use crate::aws::CountRetries;

/// The store of a deployment on AWS. Clones share the client.
#[derive(Debug, Clone)]
pub struct DynamoStore {
    pub(super) table: Table,
}

impl DynamoStore {
    /// A store in this table.
    pub fn new(client: Client, table: String) -> Self {
        Self { table: Table { client, name: table } }
    }

    /// A store in this table, with its own client that counts retries.
    pub fn counting(config: &SdkConfig, table: String, metrics: Arc<dyn Metrics>) -> Self {
        let config = Builder::from(config).interceptor(CountRetries(metrics)).build();
        Self::new(Client::from_conf(config), table)
    }
}
