//! Whether this process can do its work now, for whoever sends requests to it: a load balancer, a process manager.

use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::readiness::{ReadinessCheck, Unready};
use serde::Serialize;

use crate::app::App;
use crate::http::json::Json;

pub(crate) fn routes(readiness: Arc<dyn ReadinessCheck>) -> Router<App> {
    Router::new().route("/readyz", get(read)).layer(Extension(readiness))
}

async fn read(Extension(readiness): Extension<Arc<dyn ReadinessCheck>>) -> Response {
    let found = readiness.check().await;
    let status = if found.unready.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = ReadinessBody {
        ready: found.unready.is_none(),
        reason: found.unready.map(reason),
        checked: checked(found.unready),
        oldest_waiting_event_seconds: found.oldest_waiting_event.map(|age| age.as_secs()),
    };
    (status, Json(body)).into_response()
}

#[derive(Serialize)]
struct ReadinessBody {
    ready: bool,
    /// `null` if it is ready.
    reason: Option<&'static str>,
    checked: &'static [&'static str],
    /// `null` if no event waits.
    oldest_waiting_event_seconds: Option<u64>,
}

fn reason(unready: Unready) -> &'static str {
    match unready {
        Unready::Stopping => "stopping",
        Unready::DiskFull => "disk_full",
        Unready::WriteFailed => "write_failed",
        Unready::WriteTimedOut => "write_timed_out",
    }
}

/// What was checked until the first failure.
fn checked(unready: Option<Unready>) -> &'static [&'static str] {
    if unready == Some(Unready::Stopping) { &["stop"] } else { &["stop", "write"] }
}
