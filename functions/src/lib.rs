//! The HTTP functions: the REST API of the vendor's Conversations v1 and Chat v2 as far as it concerns reachability, with
//! the parts of Notify v1 that registrations need, API keys, and the door for events.
//!
//! A handler takes a `Call`, which is a request that has been authenticated, read and decoded, and answers with a
//! response or an `ApiError`. There is one implementation of every route; [`router`] has all of them.

pub mod account;
mod answer;
pub mod app;
mod auth;
mod bindings;
mod body;
mod call;
mod chat;
mod configuration;
mod credentials;
mod error;
mod events;
mod ids;
mod keys;
mod notifications;
mod paging;
mod params;
mod services;
mod update;
mod users;

use axum::Router;
use axum::http::{HeaderValue, Response, header};
use axum::middleware;
use axum::routing::get;

use crate::app::App;
use crate::call::Call;
use crate::error::ApiError;

/// All routes, and `/healthz`, which answers whoever asks.
pub fn router(app: App) -> Router {
    serve(app, configuration_routes().merge(users::routes()).merge(events::routes()).merge(bindings_routes()))
}

/// What the function `configuration` serves: services with their settings, the account with its keys and credentials, and
/// the answer to what is not there.
pub fn configuration(app: App) -> Router {
    serve(app, configuration_routes())
}

/// What the function `users` serves: users.
pub fn users(app: App) -> Router {
    serve(app, users::routes())
}

/// What the function `events` serves: the door for events.
pub fn events(app: App) -> Router {
    serve(app, events::routes())
}

/// What the function `bindings` serves: push registrations and notifications.
pub fn bindings(app: App) -> Router {
    serve(app, bindings_routes())
}

fn configuration_routes() -> Router<App> {
    Router::new()
        .merge(account::routes())
        .merge(chat::routes())
        .merge(configuration::routes())
        .merge(credentials::routes())
        .merge(keys::routes())
        .merge(services::routes())
        .route("/healthz", get(async || "ok\n"))
}

fn bindings_routes() -> Router<App> {
    bindings::routes().merge(notifications::routes())
}

fn serve(app: App, routes: Router<App>) -> Router {
    routes
        .fallback(|call: Call| async move { call.not_found() })
        .method_not_allowed_fallback(|_: Call| async { ApiError::method_not_allowed() })
        .layer(middleware::from_fn(answer::finish))
        .with_state(app)
}

/// The answer to what cannot be read as a request, with a status of 4xx: for the listener, which is the only one to see it.
pub fn malformed_request(status: u16) -> Response<String> {
    let error = ApiError::malformed(status);
    let mut response = Response::new(error.body().to_string());
    *response.status_mut() = error.status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    answer::set_request_id(response.headers_mut(), ids::random_sid());
    response
}
