//! Metrics: requests over HTTP are counted here, and Prometheus reads all metrics on a listener of their own.

mod listener;
mod scrape;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, Response};
use axum::middleware::{self, Next};
use reachability_domain::metrics::{Answer, Metrics};
use reachability_functions::{OverLimit, method_name};
use tokio::time::Instant;

pub(crate) use self::listener::{MAX_CONNECTIONS, run};
pub(crate) use self::scrape::Scrape;

/// The route of a path that has none.
const NO_ROUTE: &str = "none";

/// Counts the answers of a router.
pub(crate) fn counted(router: Router, metrics: Arc<dyn Metrics>) -> Router {
    router.layer(middleware::from_fn_with_state(metrics, count))
}

async fn count(State(metrics): State<Arc<dyn Metrics>>, request: Request, next: Next) -> Response<Body> {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (method, started) = (request.method().clone(), Instant::now());
    let response = next.run(request).await;
    if let Some(OverLimit(limit)) = response.extensions().get() {
        metrics.add(*limit);
    }
    answered(&*metrics, &method, route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str), &response, started);
    response
}

/// Counts the answer to a request that began then.
pub(crate) fn answered(
    metrics: &dyn Metrics,
    method: &Method,
    route: &str,
    response: &Response<Body>,
    started: Instant,
) {
    let method = method_name(method);
    metrics.answered(&Answer { method, route, status: response.status().as_str(), took: started.elapsed() });
}
