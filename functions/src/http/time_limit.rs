//! The time limit of requests.

use std::future::Future;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use reachability_domain::metrics::Counter;
use tokio::time::timeout;

use crate::http::error::ApiError;

/// How long a request may take, from its head to its answer. At most 30 seconds of it are for the body.
const LIMIT: Duration = Duration::from_secs(50);

/// Answers a request that takes too long. A write that the store has begun is finished all the same, as it is when the
/// client goes away.
pub(crate) async fn in_time(answer: impl Future<Output = Response>) -> Response {
    match timeout(LIMIT, answer).await {
        Ok(response) => response,
        Err(_) => ApiError::busy(Counter::RefusedSlowRequests).closing().into_response(),
    }
}
