//! The presence of users: who is here, since when, and what they say of themselves. Others see an invisible user offline, and
//! so does the owner, unless a request asks for invisible users by name.

use axum::Router;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::ports::Users;
use reachability_domain::presence::appearance::Viewer;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::public_user::PublicUser;
use reachability_domain::presence::search::UserSearch;
use reachability_domain::presence::status::Status;
use reachability_domain::query::fields::Kind;
use reachability_domain::store::StoreError;
use reachability_domain::time::{Clock, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::{App, Port};
use crate::http::audit::Written;
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::paging::CursorListing;
use crate::http::params::Params;
use crate::http::request::ApiRequest;
use crate::routes::binding_resource::encode;
use crate::routes::identities::identities;
use crate::routes::queries;
use crate::routes::scope::find_service;
use crate::use_cases::asker::Asker;
use crate::use_cases::presence::{ShownConnection, UserPresence, query_users, read_presence, set_presence};
use crate::use_cases::services::ServiceDirectory;

/// How many users a page has at most.
const MAX_PAGE_SIZE: usize = 100;

/// The parameter that asks for invisible users by name.
const INCLUDE_INVISIBLE: &str = "IncludeInvisible";

pub(crate) fn routes() -> Router<App> {
    let path = "/v1/Services/{service}/Presence";
    Router::new().route(path, get(list)).route(&format!("{path}/{{user}}"), get(fetch).post(update))
}

/// Lists users: those with an `Identity`, those whom a `Filter` matches, or who is `Online`; or everybody.
async fn list(
    State(directory): State<ServiceDirectory>,
    Port(search): Port<dyn UserSearch>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let service = find_service(&directory, &request).await?.service.sid;
    let sees_invisible = sees_invisible(&request)?;
    let repeated = ["Identity", "Online", "Filter", "Sort", INCLUDE_INVISIBLE];
    let listing = CursorListing::of(&request.query, MAX_PAGE_SIZE, &repeated)?;
    let query = queries::query(Kind::Users, &filter(&request.query)?, &request.query, &listing)?;
    let found = query_users(&*search, service, &query, &Asker::Owner { sees_invisible }, clock()).await?;
    let users = found.users.iter().map(|(view, viewer)| PublicUser::of(view, *viewer)).collect();
    Ok(listing.show(&request.base_url, &request.path, "users", users, found.cursor.as_deref()))
}

fn filter(query: &Params) -> Result<Value, ApiError> {
    let filter = queries::json(query, "Filter")?;
    let identities = identities(query)?;
    let online = query.boolean("Online")?;
    match (filter, identities.as_slice(), online) {
        (filter, [], None) => Ok(filter),
        (Value::Null, [], Some(online)) => Ok(json!({"online": online})),
        (Value::Null, identities, None) => Ok(json!({"id": {"$in": identities}})),
        _ => Err(ApiError::unfit("Filter", "only one of Identity, Online and Filter may be given")),
    }
}

async fn fetch(
    State(directory): State<ServiceDirectory>,
    Port(users): Port<dyn Users>,
    Port(states): Port<dyn States>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let service = find_service(&directory, &request).await?.service;
    let viewer = viewer(&request)?;
    let found = read_presence(&*users, &*states, &service, &request.user()?).await?;
    let found = found.ok_or_else(|| request.not_found())?;
    Ok(show(&request, &found, clock(), viewer))
}

async fn update(
    State(directory): State<ServiceDirectory>,
    Port(users): Port<dyn Users>,
    Port(states): Port<dyn States>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let form = request.form()?;
    let status = form.get("Status").map(Status::set_to).transpose().map_err(|why| ApiError::unfit("Status", why))?;
    let wish = Disclose { status, invisible: form.boolean("Invisible")? };
    let viewer = viewer(&request)?;
    let service = find_service(&directory, &request).await?.service;
    let now = clock();
    match set_presence(&*users, &*states, &service, &request.user()?, &wish, now).await {
        Ok(Some(set)) => Ok(show(&request, &set, now, viewer)),
        Ok(None) | Err(StoreError::Missing) => Err(request.not_found()),
        Err(error) => Err(error.into()),
    }
}

fn sees_invisible(request: &ApiRequest) -> Result<bool, ApiError> {
    Ok(request.query.boolean(INCLUDE_INVISIBLE)?.unwrap_or(false))
}

fn viewer(request: &ApiRequest) -> Result<Viewer, ApiError> {
    Ok(if sees_invisible(request)? { Viewer::Owner } else { Viewer::Other })
}

fn show(request: &ApiRequest, found: &UserPresence, now: Timestamp, viewer: Viewer) -> Response {
    let view = found.view(now, viewer);
    let (service, identity) = (view.user.service_sid, encode(view.user.identity.as_str()));
    let resource = PresenceResource {
        user: PublicUser::of(&view, viewer),
        connections: found.connections(now, viewer),
        url: format!("{}/v1/Services/{service}/Presence/{identity}", request.base_url),
    };
    (Extension(Written(view.user.sid.to_string())), Json(resource)).into_response()
}

#[derive(Serialize)]
struct PresenceResource<'a> {
    #[serde(flatten)]
    user: PublicUser<'a>,
    connections: Vec<ShownConnection>,
    url: String,
}
