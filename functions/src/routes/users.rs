//! Users. Conversations v1 shows the users of a service and those of the account's default service. Chat v2 shows the
//! same users.

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::ports::Users;
use reachability_domain::directory::user::User;
use reachability_domain::identity::Identity;
use reachability_domain::ids::Ids;
use reachability_domain::paging::Page;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::presence::snapshot::UserSnapshots;
use reachability_domain::sid::{AccountSid, RoleSid, ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Clock;
use serde::Serialize;

use crate::app::{App, Port};
use crate::http::audit::Written;
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::paging::Listing;
use crate::http::params::Params;
use crate::http::profile;
use crate::http::request::ApiRequest;
use crate::routes::empty_lists::empty;
use crate::routes::scope::{find_service, find_user};
use crate::routes::settings::role;
use crate::use_cases::services::ServiceDirectory;
use crate::use_cases::users::{
    CreateUser, ProfileChange, UpdateUser, Writer, create_user, fetch_user, read_reachability, update_user,
};

/// How many of a user's conversations a page has at most.
const MAX_CONVERSATIONS: usize = 50;

/// Which API shows the users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// Conversations: the users of a service.
    Service,
    /// Conversations: the users of the default service.
    Account,
    /// Chat: the users of a service.
    Chat,
}

pub(crate) fn routes() -> Router<App> {
    [
        (View::Service, "/v1/Services/{service}/Users"),
        (View::Account, "/v1/Users"),
        (View::Chat, "/v2/Services/{service}/Users"),
    ]
    .into_iter()
    .fold(Router::new(), |router, (view, path)| {
        let routes = Router::new()
            .route(path, get(list).post(create))
            .route(&format!("{path}/{{user}}"), get(fetch).post(update).delete(delete))
            .route(&format!("{path}/{{user}}/{}", view.conversations()), get(list_conversations));
        router.merge(routes.layer(Extension(view)))
    })
}

impl View {
    fn max_page_size(self) -> usize {
        match self {
            Self::Service | Self::Account => 50,
            Self::Chat => 100,
        }
    }

    /// The view's word for conversations.
    fn conversations(self) -> &'static str {
        match self {
            Self::Service | Self::Account => "Conversations",
            Self::Chat => "Channels",
        }
    }

    fn path(self, user: &User) -> String {
        match self {
            Self::Service => format!("/v1/Services/{}/Users/{}", user.service_sid, user.sid),
            Self::Account => format!("/v1/Users/{}", user.sid),
            Self::Chat => format!("/v2/Services/{}/Users/{}", user.service_sid, user.sid),
        }
    }

    /// As [`View::show`], with the reachability that was read for this user alone.
    fn show_one<'a>(self, request: &ApiRequest, user: &'a User, reachability: &[Reachability]) -> UserResource<'a> {
        self.show(request, user, reachability.first().copied().unwrap_or(Reachability::UNKNOWN))
    }

    fn show<'a>(self, request: &ApiRequest, user: &'a User, reachability: Reachability) -> UserResource<'a> {
        let url = [request.base_url.as_str(), &self.path(user)].concat();
        let below = |name: &str| [&url, "/", name].concat();
        let view = match self {
            Self::Service | Self::Account => ViewMembers::Conversations {
                chat_service_sid: user.service_sid,
                links: ConversationsLinks { user_conversations: below("Conversations") },
            },
            Self::Chat => ViewMembers::Chat {
                service_sid: user.service_sid,
                joined_channels_count: 0,
                links: ChatLinks { user_channels: below("Channels"), user_bindings: below("Bindings") },
            },
        };
        UserResource {
            sid: user.sid,
            account_sid: request.account_sid,
            role_sid: user.role_sid,
            identity: &user.identity,
            friendly_name: user.friendly_name.as_deref(),
            attributes: &user.attributes,
            is_online: reachability.online,
            is_notifiable: reachability.notifiable,
            date_created: user.date_created.to_seconds(),
            date_updated: user.date_updated.to_seconds(),
            view,
            url,
        }
    }
}

#[derive(Serialize)]
struct UserResource<'a> {
    sid: UserSid,
    account_sid: AccountSid,
    role_sid: Option<RoleSid>,
    identity: &'a Identity,
    friendly_name: Option<&'a str>,
    attributes: &'a str,
    is_online: Option<bool>,
    is_notifiable: Option<bool>,
    date_created: String,
    date_updated: String,
    #[serde(flatten)]
    view: ViewMembers,
    url: String,
}

/// The members by which the views differ.
#[derive(Serialize)]
#[serde(untagged)]
enum ViewMembers {
    Conversations { chat_service_sid: ServiceSid, links: ConversationsLinks },
    Chat { service_sid: ServiceSid, joined_channels_count: u32, links: ChatLinks },
}

#[derive(Serialize)]
struct ConversationsLinks {
    user_conversations: String,
}

#[derive(Serialize)]
struct ChatLinks {
    user_channels: String,
    user_bindings: String,
}

async fn create(
    Extension(view): Extension<View>,
    State(directory): State<ServiceDirectory>,
    Port(users): Port<dyn Users>,
    Port(states): Port<dyn States>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let form = request.form()?;
    let identity: Identity = form.required("Identity")?.parse()?;
    let service = find_service(&directory, &request).await?;
    let command =
        CreateUser { service, identity, profile: profile_of(&form)?, webhook_enabled: request.webhook_enabled };
    let (service, user) = match create_user(&directory, &*users, &*ids, clock, command).await {
        Err(StoreError::Exists) => return Err(ApiError::user_exists()),
        Err(StoreError::Missing) => return Err(request.not_found()),
        created => created?,
    };
    let users = std::slice::from_ref(&user);
    let reachability = read_reachability(&*states, clock, &service, users).await?;
    Ok((StatusCode::CREATED, Json(view.show_one(&request, &user, &reachability))).into_response())
}

/// Lists users. It shows their reachability only if the request asks for it.
async fn list(
    Extension(view): Extension<View>,
    State(directory): State<ServiceDirectory>,
    Port(users): Port<dyn Users>,
    Port(states): Port<dyn States>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let service = find_service(&directory, &request).await?.service;
    let asked = request.query.boolean("Reachability")?.unwrap_or(false);
    let filters = if asked { "&Reachability=true" } else { "" };
    let listing = Listing::<UserSid>::of(&request.query, view.max_page_size())?.with_filters(filters.to_owned());
    let page: Page<User> = users.users(service.sid, listing.request).await?;
    let reachability = if asked {
        read_reachability(&*states, clock, &service, &page.items).await?
    } else {
        vec![Reachability::UNKNOWN; page.items.len()]
    };
    let items = page.items.iter().zip(reachability);
    let items = items.map(|(user, reachability)| view.show(&request, user, reachability)).collect();
    Ok(listing.show(&request.base_url, &request.path, "users", &page, |user| user.sid, items))
}

async fn fetch(
    Extension(view): Extension<View>,
    State(directory): State<ServiceDirectory>,
    Port(snapshots): Port<dyn UserSnapshots>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let found = fetch_user(&directory, &*snapshots, clock, request.service()?, &request.user()?).await?;
    let (user, reachability) = found.ok_or_else(|| request.not_found())?;
    Ok(Json(view.show(&request, &user, reachability)).into_response())
}

async fn update(
    Extension(view): Extension<View>,
    State(directory): State<ServiceDirectory>,
    Port(users): Port<dyn Users>,
    Port(states): Port<dyn States>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let form = request.form()?;
    let service = find_service(&directory, &request).await?.service;
    let user = find_user(&*users, service.sid, &request).await?;
    let writer = Writer::Owner { webhook_enabled: request.webhook_enabled };
    let command = UpdateUser { user, profile: profile_of(&form)?, writer };
    let user = update_user(&*users, &*ids, clock, command).await?.ok_or_else(|| request.not_found())?;
    let reachability = read_reachability(&*states, clock, &service, std::slice::from_ref(&user)).await?;
    Ok(Json(view.show_one(&request, &user, &reachability)).into_response())
}

async fn delete(
    State(directory): State<ServiceDirectory>,
    Port(users): Port<dyn Users>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let service = find_service(&directory, &request).await?.service.sid;
    let user = find_user(&*users, service, &request).await?;
    let deleted = request.deleted(users.delete_user(service, user.sid, clock()).await?)?;
    // The path may name the user by its identity.
    Ok((Extension(Written(user.sid.to_string())), deleted).into_response())
}

/// Always lists nothing, since conversations are not stored here.
async fn list_conversations(
    Extension(view): Extension<View>,
    State(directory): State<ServiceDirectory>,
    Port(users): Port<dyn Users>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let service = find_service(&directory, &request).await?.service.sid;
    let user = find_user(&*users, service, &request).await?;
    let path = format!("{}/{}", view.path(&user), view.conversations());
    empty(&request, &path, &view.conversations().to_lowercase(), MAX_CONVERSATIONS)
}

/// The parameters that creating and updating have in common. Clients cannot set `IsOnline` and `IsNotifiable`.
fn profile_of(form: &Params) -> Result<ProfileChange, ApiError> {
    let friendly_name = form.get("FriendlyName").map(|name| profile::friendly_name("FriendlyName", name));
    let attributes = form.get("Attributes").map(|attributes| profile::attributes("Attributes", attributes));
    Ok(ProfileChange {
        friendly_name: friendly_name.transpose()?,
        attributes: attributes.transpose()?,
        role_sid: role(form, "RoleSid")?,
    })
}
