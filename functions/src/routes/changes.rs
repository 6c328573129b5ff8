//! The log of changes: what changed in a service lately, and why. As pages, or as a stream of server-sent events that goes
//! on.

mod stream;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reachability_domain::identity::Identity;
use reachability_domain::presence::change::Notice;
use reachability_domain::presence::ports::ChangeLog;
use reachability_domain::sid::ServiceSid;
use serde::Serialize;

use self::stream::{EVENT_STREAM, stream};
use crate::app::App;
use crate::event_stream::EventStream;
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::paging::page_size;
use crate::http::request::ApiRequest;
use crate::routes::scope::find_service;
use crate::use_cases::services::ServiceDirectory;

/// How many changes a page has at most.
const MAX_PAGE_SIZE: usize = 1_000;

/// Where changes are read.
#[derive(Clone)]
pub struct Changes {
    /// The log of all changes.
    pub log: Arc<dyn ChangeLog>,
    /// The latest ones.
    pub stream: EventStream,
}

pub(crate) fn routes(changes: Changes) -> Router<App> {
    Router::new().route("/v1/Services/{service}/Changes", get(read)).layer(Extension(changes))
}

async fn read(
    State(app): State<App>,
    State(directory): State<ServiceDirectory>,
    Extension(changes): Extension<Changes>,
    headers: HeaderMap,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let service = find_service(&directory, &request).await?.service.sid;
    if accepts_stream(&headers) {
        return stream(app, directory, changes, service, headers, &request).await;
    }
    list(&*changes.log, service, &request).await
}

fn accepts_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let types = accepted.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
    types.map(str::trim).any(|essence| essence.eq_ignore_ascii_case(EVENT_STREAM))
}

/// Changes, the oldest first: of a service, or with `Identity` of one of its users. They begin with the oldest that is
/// kept, or behind the position in `After`.
async fn list(log: &dyn ChangeLog, service: ServiceSid, request: &ApiRequest) -> Result<Response, ApiError> {
    let after: Option<u64> = request.query.parsed("After", "the cursor of an earlier answer")?;
    // An empty one is refused: it would show everybody to a client whose variable is not set.
    let identity: Option<Identity> = request.query.get("Identity").map(str::parse).transpose()?;
    if request.query.all("Identity").count() > 1 {
        return Err(ApiError::invalid("Identity", "one user; only a stream takes several"));
    }
    let page_size = page_size(&request.query, MAX_PAGE_SIZE)?;
    let page = log.changes(service, identity.as_ref(), after, page_size).await?;
    let page = page.map_err(|gone| ApiError::gone(&gone))?;
    let next_page_url = page.more.then(|| {
        let filter =
            identity.map(|identity| format!("&Identity={}", utf8_percent_encode(identity.as_str(), NON_ALPHANUMERIC)));
        let (base, path, cursor) = (&request.base_url, &request.path, page.cursor);
        format!("{base}{path}?PageSize={page_size}&After={cursor}{}", filter.unwrap_or_default())
    });
    let changes = page.changes.iter().map(|change| ShownChange { id: change.id, notice: &change.notice }).collect();
    Ok(Json(ChangesBody { changes, cursor: page.cursor, next_page_url }).into_response())
}

#[derive(Serialize)]
struct ChangesBody<'a> {
    changes: Vec<ShownChange<'a>>,
    /// Where the next request begins, as `After`.
    cursor: u64,
    /// `null` if there are no more changes yet.
    next_page_url: Option<String>,
}

#[derive(Serialize)]
struct ShownChange<'a> {
    id: u64,
    #[serde(flatten)]
    notice: &'a Notice,
}
