//! What all clients of AWS share.

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

/// How often a request is made at most. Waits between them grow and are random.
const ATTEMPTS: u32 = 5;

/// How long the first wait is at most.
const FIRST_WAIT: Duration = Duration::from_millis(25);

/// How long any wait is at most.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an attempt may take. What is asked here takes milliseconds; what takes longer is lost.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long a request may take with all its attempts: less than the functions that make it may.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// The configuration of clients, from a function's environment: credentials, region and, if it says so, another endpoint
/// than that of AWS. Made once, and shared: connections, and the roots of trust that take a while to read, are kept in it.
pub async fn config() -> SdkConfig {
    // A function has its credentials there. Looking for others would take time, and find none.
    loader().credentials_provider(EnvironmentVariableCredentialsProvider::new()).load().await
}

/// What all configurations have in common: how long is waited, and how often it is tried.
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

/// A JSON text without the two characters that SQS and SNS refuse: escaped, which says the same.
pub(crate) fn sendable(json: String) -> String {
    if !json.contains(['\u{FFFE}', '\u{FFFF}']) {
        return json;
    }
    json.replace('\u{FFFE}', "\\ufffe").replace('\u{FFFF}', "\\uffff")
}

/// Counts the requests that are made again, because they were throttled or something else went wrong on the way.
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
    fn what_cannot_be_sent_is_escaped() {
        let json = serde_json::json!({ "identity": "a\u{FFFE}b\u{FFFF}\u{FFFD}\u{1F600}\u{0}" }).to_string();
        let sendable = sendable(json.clone());
        assert!(!sendable.contains(['\u{FFFE}', '\u{FFFF}', '\u{0}']));
        let read = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(read(&sendable), read(&json));
    }
}
