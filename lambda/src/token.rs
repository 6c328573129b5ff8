//! The auth tokens, which the owner may change at any time.

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use reachability_domain::directory::auth_tokens::AuthTokens;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::time::{Clock, Timestamp};
use reachability_infra::secrets_manager::{self, SecretError};
use tokio::sync::{Mutex, watch};
use tracing::warn;

/// How long the tokens are cached.
const MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// The account's auth tokens.
#[derive(Debug)]
pub struct Tokens {
    client: Client,
    id: String,
    current: watch::Sender<AuthTokens>,
    read_at: Mutex<Timestamp>,
    clock: Clock,
}

impl Tokens {
    /// Reads the tokens from the secret with this id.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn read(client: Client, id: String, clock: Clock) -> Result<Self, SecretError> {
        let current = read(&client, &id).await?;
        Ok(Self { client, id, current: watch::Sender::new(current), read_at: Mutex::new(clock()), clock })
    }

    /// Shows the current tokens.
    pub fn subscribe(&self) -> watch::Receiver<AuthTokens> {
        self.current.subscribe()
    }

    /// Reads the tokens again if they were read five minutes ago or earlier. If that fails, the old ones stay in use.
    pub async fn refresh(&self) {
        let (mut read_at, now) = (self.read_at.lock().await, (self.clock)());
        if now < read_at.plus(MAX_AGE) {
            return;
        }
        *read_at = now;
        match read(&self.client, &self.id).await {
            Ok(tokens) => {
                self.current.send_replace(tokens);
            }
            Err(error) => warn!(error = %ErrorChain(&error), "the auth tokens could not be refreshed"),
        }
    }
}

async fn read(client: &Client, id: &str) -> Result<AuthTokens, SecretError> {
    AuthTokens::parse(&secrets_manager::read(client, id).await?).ok_or(SecretError::Empty)
}
