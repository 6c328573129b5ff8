//! Conversations, channels and their participants. There are none here, but libraries and scripts list them: the lists
//! are empty.

use axum::Router;
use axum::extract::{Extension, State};
use axum::response::Response;
use axum::routing::get;
use reachability_domain::sid::ConversationSid;

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::paging::Listing;
use crate::http::request::ApiRequest;
use crate::routes::scope::find_service;
use crate::use_cases::services::ServiceDirectory;

/// What a list is called, and how many items a page has at most.
#[derive(Debug, Clone, Copy)]
struct List {
    key: &'static str,
    max_page_size: usize,
}

const CONVERSATIONS: List = List { key: "conversations", max_page_size: 100 };
const PARTICIPANT_CONVERSATIONS: List = List { key: "conversations", max_page_size: 50 };
const CHANNELS: List = List { key: "channels", max_page_size: 100 };

pub(crate) fn routes() -> Router<App> {
    [
        ("/v1/Conversations", CONVERSATIONS),
        ("/v1/ParticipantConversations", PARTICIPANT_CONVERSATIONS),
        ("/v1/Services/{service}/Conversations", CONVERSATIONS),
        ("/v1/Services/{service}/ParticipantConversations", PARTICIPANT_CONVERSATIONS),
        ("/v2/Services/{service}/Channels", CHANNELS),
    ]
    .into_iter()
    .fold(Router::new(), |router, (path, shown)| {
        let routes = Router::new().route(path, get(list));
        router.merge(routes.layer(Extension(shown)))
    })
}

async fn list(
    Extension(shown): Extension<List>,
    State(directory): State<ServiceDirectory>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    find_service(&directory, &request).await?;
    empty(&request, &request.path, shown.key, shown.max_page_size)
}

/// An empty list at this path.
pub(super) fn empty(request: &ApiRequest, path: &str, key: &str, max_page_size: usize) -> Result<Response, ApiError> {
    let listing = Listing::<ConversationSid>::of(&request.query, max_page_size)?;
    Ok(listing.show_empty(&request.base_url, path, key))
}
