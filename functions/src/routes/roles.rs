//! Roles, which can only be read. Conversations v1 shows the roles of a service and those of the account's default
//! service. Chat v2 shows the same roles.

use axum::Router;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::role::{Role, RoleKind};
use reachability_domain::directory::service::Service;
use reachability_domain::sid::{AccountSid, RoleSid, ServiceSid};
use serde::Serialize;

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::paging::Listing;
use crate::http::request::ApiRequest;
use crate::routes::scope::find_service;
use crate::use_cases::services::ServiceDirectory;

/// Which API shows the roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// Conversations: the roles of a service.
    Service,
    /// Conversations: the roles of the default service.
    Account,
    /// Chat: the roles of a service.
    Chat,
}

pub(crate) fn routes() -> Router<App> {
    [
        (View::Service, "/v1/Services/{service}/Roles"),
        (View::Account, "/v1/Roles"),
        (View::Chat, "/v2/Services/{service}/Roles"),
    ]
    .into_iter()
    .fold(Router::new(), |router, (view, path)| {
        let routes = Router::new().route(path, get(list)).route(&format!("{path}/{{role}}"), get(fetch));
        router.merge(routes.layer(Extension(view)))
    })
}

impl View {
    fn max_page_size(self) -> usize {
        match self {
            Self::Service | Self::Account => 100,
            Self::Chat => 50,
        }
    }

    /// The view's word for a role of this kind.
    fn role_type(self, kind: RoleKind) -> &'static str {
        match (self, kind) {
            (Self::Chat, RoleKind::ServiceUser) => "deployment",
            (Self::Chat, _) => "channel",
            (_, RoleKind::ServiceUser) => "service",
            (_, _) => "conversation",
        }
    }

    fn show(self, request: &ApiRequest, service: &Service, role: Role) -> RoleResource {
        let (base_url, sid) = (&request.base_url, role.sid);
        // A role is never changed.
        let date = service.date_created.to_seconds();
        RoleResource {
            sid,
            account_sid: request.account_sid,
            friendly_name: role.kind.friendly_name(),
            role_type: self.role_type(role.kind),
            permissions: role.kind.permissions(),
            date_created: date.clone(),
            date_updated: date,
            service: match self {
                Self::Service | Self::Account => ServiceMember::Conversations { chat_service_sid: service.sid },
                Self::Chat => ServiceMember::Chat { service_sid: service.sid },
            },
            url: match self {
                Self::Service => format!("{base_url}/v1/Services/{}/Roles/{sid}", service.sid),
                Self::Account => format!("{base_url}/v1/Roles/{sid}"),
                Self::Chat => format!("{base_url}/v2/Services/{}/Roles/{sid}", service.sid),
            },
        }
    }
}

#[derive(Serialize)]
struct RoleResource {
    sid: RoleSid,
    account_sid: AccountSid,
    friendly_name: &'static str,
    #[serde(rename = "type")]
    role_type: &'static str,
    permissions: &'static [&'static str],
    date_created: String,
    date_updated: String,
    #[serde(flatten)]
    service: ServiceMember,
    url: String,
}

/// The member that names the service.
#[derive(Serialize)]
#[serde(untagged)]
enum ServiceMember {
    Conversations { chat_service_sid: ServiceSid },
    Chat { service_sid: ServiceSid },
}

async fn list(
    Extension(view): Extension<View>,
    State(directory): State<ServiceDirectory>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let service = find_service(&directory, &request).await?.service;
    let listing = Listing::<RoleSid>::of(&request.query, view.max_page_size())?;
    let page = listing.request.page_of_all(service.roles(), |role| role.sid);
    let items = page.items.iter().map(|role| view.show(&request, &service, *role)).collect();
    Ok(listing.show(&request.base_url, &request.path, "roles", &page, |role| role.sid, items))
}

async fn fetch(
    Extension(view): Extension<View>,
    State(directory): State<ServiceDirectory>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let service = find_service(&directory, &request).await?.service;
    let sid = request.role()?;
    let role = service.roles().into_iter().find(|role| role.sid == sid).ok_or_else(|| request.not_found())?;
    Ok(Json(view.show(&request, &service, role)).into_response())
}
