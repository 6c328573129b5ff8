//! Services, as Conversations v1 and Chat v2 show them. They are the same services.

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::{DefaultRoles, Service, ServiceRef};
use reachability_domain::ids::Ids;
use reachability_domain::paging::Page;
use reachability_domain::sid::{AccountSid, ServiceSid};
use reachability_domain::time::Clock;
use serde::Serialize;

use crate::app::{App, Port};
use crate::http::error::ApiError;
use crate::http::error_code::ErrorCode;
use crate::http::json::Json;
use crate::http::paging::Listing;
use crate::http::request::ApiRequest;
use crate::routes::chat::{self, ChatService};
use crate::routes::scope::find_service;
use crate::routes::settings::MAX_FRIENDLY_NAME;
use crate::use_cases::services::ServiceDirectory;

/// How many services a page has at most.
const MAX_PAGE_SIZE: usize = 100;

/// Which API shows the services.
#[derive(Debug, Clone, Copy)]
enum View {
    Conversations,
    Chat,
}

pub(crate) fn routes() -> Router<App> {
    [(View::Conversations, "/v1/Services"), (View::Chat, "/v2/Services")].into_iter().fold(
        Router::new(),
        |router, (view, path)| {
            let routes = Router::new()
                .route(path, get(list).post(create))
                .route(&format!("{path}/{{service}}"), get(fetch).delete(delete));
            router.merge(routes.layer(Extension(view)))
        },
    )
}

impl View {
    fn show<'a>(self, request: &ApiRequest, service: &'a Service) -> ServiceResource<'a> {
        match self {
            Self::Conversations => ServiceResource::Conversations(show(request, service)),
            Self::Chat => ServiceResource::Chat(chat::show(request, service)),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "there are at most a page of them, for a short time")]
enum ServiceResource<'a> {
    Conversations(ConversationsService<'a>),
    Chat(ChatService<'a>),
}

/// Creates a service with its own roles.
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
    Ok((StatusCode::CREATED, Json(view.show(&request, &service))).into_response())
}

/// Lists the stored services. The default service is stored, and listed, once something was written into it.
async fn list(
    Extension(view): Extension<View>,
    Port(services): Port<dyn Services>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let listing = Listing::<ServiceSid>::of(&request.query, MAX_PAGE_SIZE)?;
    let page: Page<Service> = services.services(listing.request).await?;
    let items = page.items.iter().map(|service| view.show(&request, service)).collect();
    Ok(listing.show(&request.base_url, &request.path, "services", &page, |service| service.sid, items))
}

async fn fetch(
    Extension(view): Extension<View>,
    State(directory): State<ServiceDirectory>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let found = find_service(&directory, &request).await?;
    Ok(Json(view.show(&request, &found.service)).into_response())
}

/// Removes a service with everything in it.
async fn delete(
    State(directory): State<ServiceDirectory>,
    Port(ids): Port<dyn Ids>,
    request: ApiRequest,
) -> Result<StatusCode, ApiError> {
    // The path of this route always names a service.
    let ServiceRef::Sid(sid) = request.service()? else { return Err(request.not_found()) };
    request.deleted(directory.delete(&*ids, sid).await?)
}

#[derive(Serialize)]
struct ConversationsService<'a> {
    sid: ServiceSid,
    account_sid: AccountSid,
    friendly_name: &'a str,
    date_created: String,
    date_updated: String,
    url: String,
    links: Links,
}

#[derive(Serialize)]
struct Links {
    conversations: String,
    users: String,
    roles: String,
    bindings: String,
    configuration: String,
    participant_conversations: String,
    conversation_with_participants: String,
}

fn show<'a>(request: &ApiRequest, service: &'a Service) -> ConversationsService<'a> {
    let url = format!("{}/v1/Services/{}", request.base_url, service.sid);
    ConversationsService {
        sid: service.sid,
        account_sid: request.account_sid,
        friendly_name: &service.friendly_name,
        date_created: service.date_created.to_seconds(),
        date_updated: service.date_updated.to_seconds(),
        links: Links {
            conversations: format!("{url}/Conversations"),
            users: format!("{url}/Users"),
            roles: format!("{url}/Roles"),
            bindings: format!("{url}/Bindings"),
            configuration: format!("{url}/Configuration"),
            participant_conversations: format!("{url}/ParticipantConversations"),
            conversation_with_participants: format!("{url}/ConversationWithParticipants"),
        },
        url,
    }
}
