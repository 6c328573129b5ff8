//! The auth token, which the owner may change at any time.

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::secret::Secret;
use reachability_domain::time::{Clock, Timestamp};
use reachability_infra::secrets_manager::{self, SecretError};
use tokio::sync::{Mutex, watch};
use tracing::warn;

/// How long the token is cached.
const MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// The account's auth token.
#[derive(Debug)]
pub struct Token {
    client: Client,
    id: String,
    current: watch::Sender<Secret>,
    read_at: Mutex<Timestamp>,
    clock: Clock,
}

impl Token {
    /// Reads the token from the secret with this id.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn read(client: Client, id: String, clock: Clock) -> Result<Self, SecretError> {
        let current = secrets_manager::read(&client, &id).await?;
        Ok(Self { client, id, current: watch::Sender::new(current), read_at: Mutex::new(clock()), clock })
    }

    /// Shows the current token.
    pub fn subscribe(&self) -> watch::Receiver<Secret> {
        self.current.subscribe()
    }

    /// Reads the token again if it was read five minutes ago or earlier. If that fails, the old one stays in use.
    pub async fn refresh(&self) {
        let (mut read_at, now) = (self.read_at.lock().await, (self.clock)());
        if now < read_at.plus(MAX_AGE) {
            return;
        }
        *read_at = now;
        match secrets_manager::read(&self.client, &self.id).await {
            Ok(secret) => {
                self.current.send_replace(secret);
            }
            Err(error) => warn!(error = %ErrorChain(&error), "the auth token could not be refreshed"),
        }
    }
}
