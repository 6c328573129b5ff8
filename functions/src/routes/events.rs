//! The route that takes events from the owner's gateway.

use axum::RequestExt;
use axum::Router;
use axum::body::HttpBody;
use axum::extract::{Extension, FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::event::Event;
use reachability_domain::presence::message::{Accepted, PresenceMessage};
use reachability_domain::queue::Queue;
use reachability_domain::sid::ServiceSid;
use reachability_domain::time::{Clock, Timestamp};
use serde::Serialize;

use crate::app::{App, Port};
use crate::http::batch::split;
use crate::http::body::Limit;
use crate::http::caller::admit;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::error_code::ErrorCode;
use crate::http::json::Json;
use crate::http::request::ApiRequest;
use crate::routes::scope::find_service;
use crate::use_cases::services::ServiceDirectory;

/// How large a batch may be, in bytes: about 40,000 events fit in.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// The route.
pub(crate) const PATH: &str = "/v1/Services/{service}/Events";

pub(crate) fn routes() -> Router<App> {
    Router::new().route(PATH, post(take)).layer(Extension(Limit(MAX_BODY)))
}

/// How many events a batch may hold.
const MAX_EVENTS: usize = 50_000;

/// Takes a JSON array of events, or one event per line. The valid events are in the queue when it answers; the worker
/// handles them soon after. If it refuses all events, the answer is an error. Events that come while reachability is
/// off bring nobody online, so the answer says whether it is on.
async fn take(
    State(directory): State<ServiceDirectory>,
    Port(queue): Port<dyn Queue<PresenceMessage>>,
    State(clock): State<Clock>,
    Admitted(request): Admitted,
) -> Result<Response, ApiError> {
    let found = find_service(&directory, &request).await?;
    let sid = found.service.sid;
    let reachability_enabled = found.service.configuration.reachability_enabled;
    // Whatever happens to the switch while the events wait, they belong to this generation.
    let acceptance = Acceptance::now(&found.service.configuration);
    let now = clock();
    let parse = move |body: &[u8]| {
        let mut messages = Vec::new();
        let mut refused = Vec::new();
        for (index, json) in split(body, MAX_EVENTS, "events")?.into_iter().enumerate() {
            match check(json, sid, now) {
                Ok(event) => messages.push(PresenceMessage::Event(Accepted::new(event, Some(acceptance)))),
                Err(reason) => refused.push(RefusedEvent { index, reason }),
            }
        }
        Ok::<_, ApiError>((messages, refused))
    };
    let (messages, refused) = request.with_body(parse).await??;
    if !messages.is_empty() {
        // The worker handles only events of stored services.
        directory.store(found).await?;
        queue.send(&messages).await?;
    } else if !refused.is_empty() {
        let error = ApiError::refused(ErrorCode::InvalidParameter, "None of the events is valid");
        let body = RefusedBody { error: error.body(), accepted: 0, refused };
        return Ok((error.status, Json(body)).into_response());
    }
    let body = AcceptedBody { accepted: messages.len(), refused, reachability_enabled };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// A request that there is room for. If there is none, a large body is not read.
struct Admitted(ApiRequest);

/// How large a body is at most that is read although it is refused, in bytes: it has probably arrived, and the connection can
/// be used again.
const SMALL_BODY: u64 = 64 * 1024;

impl FromRequest<App> for Admitted {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, app: &App) -> Result<Self, ApiError> {
        let segments: Result<Path<Vec<String>>, _> = request.extract_parts().await;
        let service = segments.ok().and_then(|Path(segments)| segments.first()?.parse().ok());
        // What is no sid is not found, later.
        let Some(Err(full)) = service.map(|service| app.ports().events.room(service)) else {
            return ApiRequest::from_request(request, app).await.map(Self);
        };
        let is_small = request.body().size_hint().upper().is_some_and(|bytes| bytes <= SMALL_BODY);
        if is_small {
            ApiRequest::from_request(request, app).await?;
            return Err(full.into());
        }
        admit(app, request.extensions(), request.headers()).await.map_err(ApiError::closing)?;
        Err(ApiError::from(full).closing())
    }
}

#[derive(Serialize)]
struct AcceptedBody {
    accepted: usize,
    refused: Vec<RefusedEvent>,
    reachability_enabled: bool,
}

#[derive(Serialize)]
struct RefusedBody<'a> {
    #[serde(flatten)]
    error: ErrorBody<'a>,
    accepted: usize,
    refused: Vec<RefusedEvent>,
}

#[derive(Serialize)]
struct RefusedEvent {
    index: usize,
    reason: String,
}

fn check(json: &[u8], service: ServiceSid, now: Timestamp) -> Result<Event, String> {
    let event = Event::parse(json).map_err(|error| error.to_string())?;
    event.check_clock(now).map_err(|error| error.to_string())?;
    if event.user.service != service {
        return Err("service_sid is not the service in the path".to_owned());
    }
    Ok(event)
}
