//! What clients request through their sockets.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use reachability_domain::presence::map::FoundMap;
use reachability_functions::app::App;
use reachability_functions::client::{Client, read_maps};
use reachability_gateway::twilsock::{Asked, Response, UpstreamRequest};
use tower::ServiceExt;
use tracing::warn;

/// The longest answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Answers a request, as the client's router does.
pub(super) async fn answer(router: Router, client: Client, request: UpstreamRequest) -> Response {
    let UpstreamRequest { method, path, query, content_type, body } = request;
    let uri = if query.is_empty() { path } else { format!("{path}?{query}") };
    let mut builder = Request::builder().method(method.as_str()).uri(uri).extension(client);
    if let Some(content_type) = content_type {
        builder = builder.header(header::CONTENT_TYPE, content_type);
    }
    let Ok(request) = builder.body(Body::from(body)) else { return empty(StatusCode::BAD_REQUEST) };
    // A router always answers.
    let Ok(response) = router.oneshot(request).await;
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.map(str::to_owned);
    match to_bytes(response.into_body(), MAX_ANSWER).await {
        Ok(body) => Response { status: status.as_u16(), content_type, body },
        Err(error) => {
            warn!(%error, "an answer to a client cannot be sent");
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn empty(status: StatusCode) -> Response {
    Response { status: status.as_u16(), content_type: None, body: Bytes::new() }
}

/// Reads the maps that a client subscribes to, of which these are watched.
pub(super) async fn read(app: App, client: Client, asked: Vec<(Asked, bool)>) -> Vec<(Asked, FoundMap)> {
    let watched = asked.iter().filter(|(_, is_watched)| *is_watched);
    let names: Vec<String> = watched.map(|(asked, _)| asked.object_sid.clone()).collect();
    let mut found = read_maps(&app, &client, &names).await.into_iter();
    let found = |(asked, is_watched)| {
        let map = if is_watched { found.next().unwrap_or(FoundMap::Unavailable) } else { FoundMap::TooMany };
        (asked, map)
    };
    asked.into_iter().map(found).collect()
}
