//! How often a webhook was tried in vain. SQS counts deliveries, and not every delivery leads to an attempt.

use std::time::Duration;

use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::key::Key;
use super::store::DynamoStore;
use super::table::{document, unavailable};

/// How long a count is kept: longer than a webhook is tried.
const KEPT: Duration = Duration::from_secs(24 * 3_600);

/// A count.
#[derive(Serialize, Deserialize)]
struct Attempts {
    attempts: u32,
    /// When to remove it, in seconds since the epoch.
    ttl: i64,
}

impl DynamoStore {
    /// How often the webhook with this message id was tried in vain.
    ///
    /// # Errors
    /// If the table is not available.
    pub async fn webhook_attempts(&self, message: &str) -> Result<u32, StoreError> {
        let found: Option<Attempts> = self.table.find(Key::webhook(message)).await?;
        Ok(found.map_or(0, |found| found.attempts))
    }

    /// Records how often it was tried in vain. Only one consumer has a message at a time.
    ///
    /// # Errors
    /// If the table is not available.
    pub async fn set_webhook_attempts(&self, message: &str, attempts: u32, now: Timestamp) -> Result<(), StoreError> {
        let count = Attempts { attempts, ttl: now.plus(KEPT).as_millis() / 1_000 };
        let item = document(Key::webhook(message), &count)?;
        let put = self.table.client.put_item().table_name(&self.table.name).set_item(Some(item));
        put.send().await.map(drop).map_err(unavailable)
    }
}
