//! What a client asks for first: its configuration, and its conversations, of which there are none.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::identity::Identity;
use reachability_domain::presence::map::UserMap;
use reachability_domain::presence::snapshot::UserSnapshots;
use reachability_domain::sid::MapSid;
use serde::Serialize;

use crate::app::{App, Port};
use crate::client::request::ClientRequest;
use crate::http::error::ApiError;
use crate::http::json::Json;

/// How many users a client watches at a time; of more, it forgets the one that it has watched for longest. A socket must be
/// allowed to watch two maps more: the client's own.
pub const MAX_WATCHED_USERS: usize = 998;

pub(super) fn routes() -> Router<App> {
    // Conversations asks for the second one, Chat for the first. Both read the same.
    ["/Client/v1", "/Client/v2"].into_iter().fold(Router::new(), |router, prefix| {
        router
            .route(&format!("{prefix}/Configuration"), get(fetch))
            .route(&format!("{prefix}/MyConversations"), get(list_conversations))
    })
}

async fn fetch(Port(snapshots): Port<dyn UserSnapshots>, request: ClientRequest) -> Result<Response, ApiError> {
    let found = snapshots.user_snapshot(request.client.user.service, &request.own()).await?;
    let found = found.ok_or_else(|| request.not_found())?;
    let (base_url, user) = (&request.base_url, found.user.sid);
    let url = |path: &str| format!("{base_url}/Client/v2/{path}");
    let resource = Configuration {
        identity: &found.user.identity,
        url: format!("{base_url}{}", request.path),
        options: Options {
            reachability_enabled: found.configuration.reachability_enabled,
            user_infos_to_subscribe: MAX_WATCHED_USERS,
            consumption_report_interval: "PT5S",
            http_cache_interval: "PT5S",
            my_conversations_page_size: 50,
            media_attachments_count_limit: 10,
            media_attachment_size_limit_in_mb: 150,
            media_attachments_total_size_limit_in_mb: 150,
            email_histories_allowed_mime_types: ["text/html"],
            email_bodies_allowed_mime_types: ["text/html"],
        },
        sync_objects: SyncObjects {
            my_conversations: UserMap::Conversations(user).to_string(),
            my_user_info: UserMap::Info(user).sid(),
        },
        links: Links {
            my_conversations: url("MyConversations"),
            conversations: url("Conversations"),
            users: url("Users"),
            current_user: url(&format!("Users/{user}")),
            typing: url("TypingIndicator"),
            media_service: url("Media"),
            media_set_service: url("MediaSet"),
            messages_receipts: url("Conversations/%s/Messages/%s/Receipts"),
        },
    };
    Ok(Json(resource).into_response())
}

async fn list_conversations(_: ClientRequest) -> Json<Conversations> {
    Json(Conversations { conversations: [], meta: NoMore::default() })
}

#[derive(Serialize)]
struct Configuration<'a> {
    identity: &'a Identity,
    url: String,
    options: Options,
    sync_objects: SyncObjects,
    links: Links,
}

/// What the vendor shows. Of it, only the first two mean anything here.
#[derive(Serialize)]
struct Options {
    reachability_enabled: bool,
    user_infos_to_subscribe: usize,
    consumption_report_interval: &'static str,
    http_cache_interval: &'static str,
    my_conversations_page_size: u32,
    media_attachments_count_limit: u32,
    media_attachment_size_limit_in_mb: u32,
    media_attachments_total_size_limit_in_mb: u32,
    email_histories_allowed_mime_types: [&'static str; 1],
    email_bodies_allowed_mime_types: [&'static str; 1],
}

#[derive(Serialize)]
struct SyncObjects {
    my_conversations: String,
    my_user_info: MapSid,
}

/// Clients do not begin without them. What is not built answers 404.
#[derive(Serialize)]
struct Links {
    my_conversations: String,
    conversations: String,
    users: String,
    current_user: String,
    typing: String,
    media_service: String,
    media_set_service: String,
    messages_receipts: String,
}

#[derive(Serialize)]
struct Conversations {
    conversations: [(); 0],
    meta: NoMore,
}

/// There are no other pages.
#[derive(Debug, Default, Serialize)]
pub(super) struct NoMore {
    next_token: Option<()>,
    previous_token: Option<()>,
}
