//! The routes of apps' clients, as the vendor's Conversations and Chat clients request them over their socket. They act on the
//! same use cases as the owner's routes. The caller is a user of a service, so nothing of another service can be named here.

mod configuration;
mod maps;
mod registrations;
mod request;
mod users;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use reachability_domain::directory::access_token::Grant;
use reachability_domain::identity::UserKey;
use reachability_domain::sid::CredentialSid;
use tracing::{Instrument, debug, debug_span};

use crate::app::App;
pub use crate::client::configuration::MAX_WATCHED_USERS;
pub use crate::client::maps::read_maps;
use crate::client::request::ClientRequest;
use crate::http::error::ApiError;
use crate::http::time_limit::in_time;

/// Who sends the requests of a client: a user of a service. The shell puts it into the extensions of each request. A request
/// without it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The user.
    pub user: UserKey,
    /// The credential for the push registrations of the client ([`Grant::push_credential`]).
    pub push_credential: Option<CredentialSid>,
}

impl From<&Grant> for Client {
    fn from(grant: &Grant) -> Self {
        Self { user: grant.user.clone(), push_credential: grant.push_credential }
    }
}

/// All routes. They differ by their path only: the host in a client's request is a name of the vendor's, and means nothing.
pub fn router(app: App) -> Router {
    Router::new()
        .merge(configuration::routes())
        .merge(maps::routes())
        .merge(registrations::routes())
        .merge(users::routes())
        .fallback(|request: ClientRequest| async move { request.not_found() })
        .method_not_allowed_fallback(|_: ClientRequest| async { ApiError::method_not_allowed() })
        .layer(middleware::from_fn(observe))
        .with_state(app)
}

/// Answers in time. There are several requests for each connect, so the log has them only if it is asked for.
async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<axum::extract::MatchedPath>().map_or("-", |path| path.as_str());
    let span = debug_span!("client request", http.method = %request.method(), http.route = route);
    async move {
        let response = in_time(next.run(request)).await;
        debug!(http.status = response.status().as_u16(), "answered");
        response
    }
    .instrument(span)
    .await
}
