//! Secrets Manager: where a deployment on AWS keeps the account's password.

use std::error::Error;

use aws_sdk_secretsmanager::Client;
use reachability_domain::secret::Secret;

/// The secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager did not give it.
    #[error("the secret is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// It is there, and there is no text in it.
    #[error("the secret holds no text")]
    Empty,
}

/// Reads a secret as it is now.
///
/// # Errors
/// If it cannot be read, or there is no text in it.
pub async fn read(client: &Client, id: &str) -> Result<Secret, SecretError> {
    let answer = client.get_secret_value().secret_id(id).send().await;
    let answer = answer.map_err(|error| SecretError::Unavailable(error.into()))?;
    let text = answer.secret_string.filter(|text| !text.is_empty());
    text.map(Secret::new).ok_or(SecretError::Empty)
}
