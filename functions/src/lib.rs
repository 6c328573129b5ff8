//! The HTTP functions: the REST API of the vendor's Conversations v1 and Chat v2 as far as it concerns reachability, with
//! the parts of Notify v1 that registrations need, API keys, and the door for events.
//!
//! Each route decodes a request into a command (`routes`), which a use case carries out (`use_cases`) over the ports
//! that the handler's signature names ([`app::Ports`]); `http` has what concerns HTTP alone. There is one implementation
//! of every route; `router` has all of them.

pub mod app;
mod http;
mod routes;
mod use_cases;

use axum::Router;
use axum::extract::FromRef;
use axum::http::{HeaderValue, Response, header};
use axum::middleware;
use axum::routing::get;
use reachability_domain::ids::Ids;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::request::ApiRequest;
use crate::http::request_log;
use crate::use_cases::services::ServiceDirectory;

/// All routes, and `/healthz`, which answers whoever asks.
pub fn router(app: App) -> Router {
    serve(
        app,
        configuration_routes().merge(routes::users::routes()).merge(routes::events::routes()).merge(bindings_routes()),
    )
}

/// What the function `configuration` serves: services with their settings, the account with its keys and credentials, and
/// the answer to what is not there.
pub fn configuration(app: App) -> Router {
    serve(app, configuration_routes())
}

/// What the function `users` serves: users.
pub fn users(app: App) -> Router {
    serve(app, routes::users::routes())
}

/// What the function `events` serves: the door for events.
pub fn events(app: App) -> Router {
    serve(app, routes::events::routes())
}

/// What the function `bindings` serves: push registrations and notifications.
pub fn bindings(app: App) -> Router {
    serve(app, bindings_routes())
}

fn configuration_routes() -> Router<App> {
    Router::new()
        .merge(routes::account::routes())
        .merge(routes::chat::routes())
        .merge(routes::configuration::routes())
        .merge(routes::credentials::routes())
        .merge(routes::keys::routes())
        .merge(routes::services::routes())
        .route("/healthz", get(async || "ok\n"))
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

/// The answer to what cannot be read as a request, with a status of 4xx: for the listener, which is the only one to see it.
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
/// If the store does not work.
pub async fn store_default_service(app: &App) -> Result<ServiceSid, StoreError> {
    let directory: ServiceDirectory = FromRef::from_ref(app);
    directory.store_default((app.settings().clock)()).await
}
