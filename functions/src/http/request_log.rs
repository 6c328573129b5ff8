//! The request log: every answer gets the request's id and a line in the log.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use reachability_domain::ids::Ids;
use reachability_domain::sid::RequestSid;
use tracing::{Instrument, info, info_span};

use crate::http::audit::Write;
use crate::http::time_limit::in_time;

/// Gives the request an id, which its answer and its log lines have, and logs the answer, and what the owner wrote.
pub(crate) async fn log(State(ids): State<Arc<dyn Ids>>, mut request: Request, next: Next) -> Response {
    let id: RequestSid = ids.random_sid();
    // The route and not the path, since a path can contain a user's identity.
    let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str).to_owned();
    let method = method_name(request.method());
    let span = info_span!("request", request.id = %id);
    let started = std::time::Instant::now();
    async move {
        let write = Write::of(&mut request, id, &route).await;
        let mut response = in_time(next.run(request)).await;
        if let Some(write) = write {
            response = write.answered(response).await;
        }
        let duration = started.elapsed();
        info!(
            http.method = method,
            http.route = route,
            http.status = response.status().as_u16(),
            duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
        let headers = response.headers_mut();
        set_request_id(headers, id);
        set(headers, "twilio-request-duration", format!("{:.3}", duration.as_secs_f64()));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }
    .instrument(span)
    .await
}

/// The name of a method in log lines and metrics: clients can make up methods, of any length.
pub fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

/// Sets the request's id in the headers of an answer.
pub(crate) fn set_request_id(headers: &mut HeaderMap, id: RequestSid) {
    set(headers, "twilio-request-id", id.to_string());
}

fn set(headers: &mut HeaderMap, name: &'static str, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
