//! The HTTP functions: the REST API of the vendor's Conversations v1 and Chat v2 as far as it concerns reachability,
//! with the parts of Notify v1 that push registrations and notifications need, API keys, and the route that takes
//! events.
//!
//! Each route decodes a request into a command (`routes`), which a use case carries out (`use_cases`) over the ports
//! that the handler's signature names ([`app::Ports`]); `http` has what all routes share. There is one implementation
//! of every route; `router` has all of them.

pub mod access_token;
pub mod app;
pub mod client;
pub mod event_stream;
mod http;
mod routes;
pub mod use_cases;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::http::{HeaderValue, Response, header};
use axum::middleware;
use axum::routing::get;
use reachability_domain::ids::Ids;
use reachability_domain::readiness::ReadinessCheck;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;

use crate::app::App;
use crate::http::error::ApiError;
pub use crate::http::error::OverLimit;
use crate::http::request::ApiRequest;
use crate::http::request_log;
pub use crate::http::request_log::method_name;
pub use crate::http::source::Source;
pub use crate::routes::changes::Changes;
use crate::use_cases::services::ServiceDirectory;

/// All routes, and `/healthz` and `/readyz`, which need no authentication. Those of the log of changes are there if there is a
/// log, and `/readyz` if there is something to check.
pub fn router(app: App, changes: Option<Changes>, readiness: Option<Arc<dyn ReadinessCheck>>) -> Router {
    let routes = configuration_routes()
        .merge(users_routes())
        .merge(routes::events::routes())
        .merge(bindings_routes())
        .merge(changes.map(routes::changes::routes).unwrap_or_default())
        .merge(readiness.map(routes::readiness::routes).unwrap_or_default());
    serve(app, routes)
}

/// The function `configuration`: services with their settings and roles, the account with its keys and credentials,
/// channels, and lists that are always empty. It also answers requests for unknown paths.
pub fn configuration(app: App) -> Router {
    serve(app, configuration_routes())
}

/// The function `users`: users with their reachability, and their presence.
pub fn users(app: App) -> Router {
    serve(app, users_routes())
}

/// The function `events`: takes events from the owner's gateway.
pub fn events(app: App) -> Router {
    serve(app, routes::events::routes())
}

/// The function `bindings`: push registrations and notifications.
pub fn bindings(app: App) -> Router {
    serve(app, bindings_routes())
}

fn configuration_routes() -> Router<App> {
    Router::new()
        .merge(routes::account::routes())
        .merge(routes::channels::routes())
        .merge(routes::chat::routes())
        .merge(routes::configuration::routes())
        .merge(routes::credentials::routes())
        .merge(routes::empty_lists::routes())
        .merge(routes::keys::routes())
        .merge(routes::roles::routes())
        .merge(routes::services::routes())
        .route("/healthz", get(async || "ok\n"))
}

fn users_routes() -> Router<App> {
    routes::users::routes().merge(routes::presence::routes())
}

fn bindings_routes() -> Router<App> {
    routes::bindings::routes().merge(routes::notifications::routes())
}

fn serve(app: App, routes: Router<App>) -> Router {
    routes
        .fallback(|request: ApiRequest| async move { request.not_found() })
        .method_not_allowed_fallback(|_: ApiRequest| async { ApiError::method_not_allowed() })
        .layer(middleware::from_fn_with_state(app.clone(), request_log::log))
        .with_state(app)
}

/// The answer to bytes that are not an HTTP request, with a 4xx status. Only the listener sees such bytes.
pub fn malformed_request(ids: &dyn Ids, status: u16) -> Response<String> {
    let error = ApiError::malformed(status);
    let mut response = Response::new(serde_json::to_string(&error.body()).unwrap_or_default());
    *response.status_mut() = error.status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    request_log::set_request_id(response.headers_mut(), ids.random_sid());
    response
}

/// Stores the account's default service, if it is not stored yet, for a deployment that shows its sid when it starts.
/// Returns its sid.
///
/// # Errors
/// If the store fails.
pub async fn store_default_service(app: &App) -> Result<ServiceSid, StoreError> {
    let directory: ServiceDirectory = FromRef::from_ref(app);
    directory.store_default((app.settings().clock)()).await
}
