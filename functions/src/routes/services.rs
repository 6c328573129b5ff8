//! Services, as Conversations v1 shows them, and what Chat v2 does with them in the same way.

use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::service::{DefaultRoles, Service};
use reachability_domain::paging::Page;
use reachability_domain::presence::message::{PresenceMessage, Purge};
use reachability_domain::sid::ServiceSid;
use reachability_infra::ids;
use serde_json::{Value, json};

use crate::app::App;
use crate::call::Call;
use crate::error::ApiError;
use crate::paging::Listing;

/// How long a service's name may be, in characters.
pub(crate) const MAX_FRIENDLY_NAME: usize = 256;

/// How many services a page has at most.
const MAX_PAGE_SIZE: usize = 100;

/// How long after a service was deleted what is left of it is removed: when nobody takes it for one that exists.
const PURGE_AFTER: Duration = Duration::from_secs(60);

/// How an API shows a service.
pub(crate) type Show = fn(&Call, &Service) -> Value;

pub(crate) fn routes() -> Router<App> {
    routes_at("/v1/Services", show)
}

/// What Conversations and Chat have in common.
pub(crate) fn routes_at(path: &str, show: Show) -> Router<App> {
    Router::new()
        .route(path, get(move |call| list(show, call)).post(move |call| create(show, call)))
        .route(&format!("{path}/{{service}}"), get(move |call| fetch(show, call)).delete(delete))
}

async fn create(show: Show, call: Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    form.required("FriendlyName")?;
    let friendly_name = form.text("FriendlyName", MAX_FRIENDLY_NAME, 50003)?.unwrap_or_default();
    let service = new_service(&call.app, friendly_name);
    call.app.store.create_service(&service).await?;
    Ok((StatusCode::CREATED, Json(show(&call, &service))).into_response())
}

async fn list(show: Show, call: Call) -> Result<Response, ApiError> {
    let page = Listing::<ServiceSid>::of(&call, MAX_PAGE_SIZE)?;
    let slice: Page<Service> = call.app.store.services(page.request).await?;
    let items = slice.items.iter().map(|service| show(&call, service)).collect();
    Ok(page.show(&call, &call.path, "services", &slice, |service| service.sid, items))
}

async fn fetch(show: Show, call: Call) -> Result<Response, ApiError> {
    Ok(Json(show(&call, &call.service().await?)).into_response())
}

/// Removes a service with everything in it.
async fn delete(call: Call) -> Result<Response, ApiError> {
    let service: ServiceSid = call.sid("service")?;
    // Asked for first: it does nothing as long as the service is there, and nobody would ask for it later.
    let due_at = (call.app.clock)().plus(PURGE_AFTER);
    call.app.queue.send(&[PresenceMessage::Purge(Purge { service, due_at })]).await?;
    if call.app.store.delete_service(service).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(call.not_found())
    }
}

/// A service with a name and roles of its own.
pub(crate) fn new_service(app: &App, friendly_name: &str) -> Service {
    let roles = DefaultRoles { conversation_creator: ids::sid(), conversation: ids::sid(), service_user: ids::sid() };
    Service::new(ids::sid(), friendly_name.to_owned(), roles, (app.clock)())
}

fn show(call: &Call, service: &Service) -> Value {
    let url = format!("{}/v1/Services/{}", call.base_url, service.sid);
    json!({
        "sid": service.sid,
        "account_sid": call.app.account_sid,
        "friendly_name": service.friendly_name,
        "date_created": service.date_created.to_seconds(),
        "date_updated": service.date_updated.to_seconds(),
        "url": url,
        "links": {
            "conversations": format!("{url}/Conversations"),
            "users": format!("{url}/Users"),
            "roles": format!("{url}/Roles"),
            "bindings": format!("{url}/Bindings"),
            "configuration": format!("{url}/Configuration"),
            "participant_conversations": format!("{url}/ParticipantConversations"),
            "conversation_with_participants": format!("{url}/ConversationWithParticipants"),
        },
    })
}
