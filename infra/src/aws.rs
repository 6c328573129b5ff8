//! Shared configuration of all AWS clients.

use std::sync::Arc;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::retries::RequestAttempts;

use reachability_domain::metrics::{Counter, Metrics};

/// Maximum number of attempts per request. The backoff between them grows and is random.
const ATTEMPTS: u32 = 5;

/// The longest first backoff.
const FIRST_WAIT: Duration = Duration::from_millis(25);

/// The longest backoff.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Timeout for making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Timeout of one attempt. Healthy requests take milliseconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Timeout of a request with all its attempts: shorter than the timeout of the functions.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// The clients' configuration, from a function's environment: credentials, region and, if set, another endpoint. Load
/// it once and share it: it holds the connections and the root certificates, which take a while to load.
pub async fn config() -> SdkConfig {
    // Lambda puts the credentials into the environment. Searching other sources would take time and find none.
    loader().credentials_provider(EnvironmentVariableCredentialsProvider::new()).load().await
}

/// Settings that all configurations share: timeouts and retries.
pub fn loader() -> ConfigLoader {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(REQUEST_TIMEOUT);
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_WAIT)
        .with_max_backoff(LONGEST_WAIT);
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .timeout_config(timeouts.build())
        .retry_config(retries)
}

/// Escapes the two characters in a JSON text that SQS and SNS reject. The JSON value stays the same.
pub(crate) fn sendable(json: String) -> String {
    if !json.contains(['\u{FFFE}', '\u{FFFF}']) {
        return json;
    }
    json.replace('\u{FFFE}', "\\ufffe").replace('\u{FFFF}', "\\uffff")
}

/// Counts requests that are retried because of throttling or another error.
#[derive(Debug)]
pub(crate) struct CountRetries(pub(crate) Arc<dyn Metrics>);

impl Intercept for CountRetries {
    fn name(&self) -> &'static str {
        "CountRetries"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if bag.load::<RequestAttempts>().is_some_and(|attempts| attempts.attempts() > 1) {
            self.0.add(Counter::WriteRetries);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_characters_are_escaped() {
        let json = serde_json::json!({ "identity": "a\u{FFFE}b\u{FFFF}\u{FFFD}\u{1F600}\u{0}" }).to_string();
        let sendable = sendable(json.clone());
        assert!(!sendable.contains(['\u{FFFE}', '\u{FFFF}', '\u{0}']));
        let read = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(read(&sendable), read(&json));
    }
}
