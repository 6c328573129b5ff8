//! Services, as Conversations v1 shows them, and what Chat v2 does with them in the same way.

use axum::Json;
use axum::Router;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::{DefaultRoles, Service, ServiceRef};
use reachability_domain::ids::Ids;
use reachability_domain::paging::Page;
use reachability_domain::sid::ServiceSid;
use reachability_domain::time::Clock;
use serde_json::{Value, json};

use crate::app::{App, Port};
use crate::http::error::ApiError;
use crate::http::error_code::ErrorCode;
use crate::http::paging::Listing;
use crate::http::request::ApiRequest;
use crate::routes::scope::find_service;
use crate::use_cases::services::ServiceDirectory;

/// How long a service's name may be, in characters.
pub(super) const MAX_FRIENDLY_NAME: usize = 256;

/// How many services a page has at most.
const MAX_PAGE_SIZE: usize = 100;

/// How an API shows a service.
#[derive(Clone, Copy)]
pub(super) struct View {
    pub(super) show: fn(&ApiRequest, &Service) -> Value,
}

pub(crate) fn routes() -> Router<App> {
    routes_at("/v1/Services", View { show })
}

/// What Conversations and Chat have in common.
pub(super) fn routes_at(path: &str, view: View) -> Router<App> {
    Router::new()
        .route(path, get(list).post(create))
        .route(&format!("{path}/{{service}}"), get(fetch).delete(delete))
        .layer(Extension(view))
}

/// A service with a name and roles of its own.
async fn create(
    Extension(view): Extension<View>,
    Port(services): Port<dyn Services>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let form = request.form()?;
    form.required("FriendlyName")?;
    let friendly_name = form.text("FriendlyName", MAX_FRIENDLY_NAME, ErrorCode::FriendlyNameTooLong)?;
    let roles = DefaultRoles { conversation_creator: ids.sid(), conversation: ids.sid(), service_user: ids.sid() };
    let service = Service::new(ids.sid(), friendly_name.unwrap_or_default().to_owned(), roles, clock());
    services.create_service(&service).await?;
    Ok((StatusCode::CREATED, Json((view.show)(&request, &service))).into_response())
}

/// Lists the services that are stored. A default service into which nothing was written yet is not among them.
async fn list(
    Extension(view): Extension<View>,
    Port(services): Port<dyn Services>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let listing = Listing::<ServiceSid>::of(&request.query, MAX_PAGE_SIZE)?;
    let page: Page<Service> = services.services(listing.request).await?;
    let items = page.items.iter().map(|service| (view.show)(&request, service)).collect();
    Ok(listing.show(&request.base_url, &request.path, "services", &page, |service| service.sid, items))
}

async fn fetch(
    Extension(view): Extension<View>,
    State(directory): State<ServiceDirectory>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let found = find_service(&directory, &request).await?;
    Ok(Json((view.show)(&request, &found.service)).into_response())
}

/// Removes a service with everything in it.
async fn delete(
    State(directory): State<ServiceDirectory>,
    Port(ids): Port<dyn Ids>,
    request: ApiRequest,
) -> Result<StatusCode, ApiError> {
    // The routes of services name one.
    let ServiceRef::Sid(sid) = request.service()? else { return Err(request.not_found()) };
    request.deleted(directory.delete(&*ids, sid).await?)
}

fn show(request: &ApiRequest, service: &Service) -> Value {
    let url = format!("{}/v1/Services/{}", request.base_url, service.sid);
    json!({
        "sid": service.sid,
        "account_sid": request.account_sid,
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
