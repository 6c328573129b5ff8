//! Secrets Manager: stores the auth token and the credentials key of a deployment on AWS.

use std::error::Error;

use aws_sdk_secretsmanager::Client;
use reachability_domain::secret::Secret;

/// A secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The request failed.
    #[error("the secret is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The secret exists, but has no text value.
    #[error("the secret holds no text")]
    Empty,
}

/// Reads the current value of a secret.
///
/// # Errors
/// If the request fails, or the secret has no text value.
pub async fn read(client: &Client, id: &str) -> Result<Secret, SecretError> {
    let answer = client.get_secret_value().secret_id(id).send().await;
    let answer = answer.map_err(|error| SecretError::Unavailable(error.into()))?;
    let text = answer.secret_string.filter(|text| !text.is_empty());
    text.map(Secret::new).ok_or(SecretError::Empty)
}
