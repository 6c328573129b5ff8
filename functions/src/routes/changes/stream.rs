//! The stream of changes: server-sent events, each with the JSON that subscribers of AWS's topic get.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use reachability_domain::directory::service::ServiceRef;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::identity::Identity;
use reachability_domain::metrics::Counter;
use reachability_domain::presence::ports::{LoggedChanges, PositionGone};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::app::App;
use crate::event_stream::{Event, Found, Reader};
use crate::http::caller::authenticate;
use crate::http::error::ApiError;
use crate::http::request::ApiRequest;
use crate::routes::changes::Changes;
use crate::use_cases::services::ServiceDirectory;

/// The media type that asks for the stream.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// The header with which a client that was cut off says what it has seen.
const LAST_EVENT_ID: &str = "last-event-id";

/// How often a client hears something, so that it and the proxies between know that the connection lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// When it hears something first; each further time after twice as long, up to [`HEARTBEAT`]. A connection that was closed is
/// noticed when something was sent twice: those who come and go take no place for long.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(1);

/// How many changes are read from the log at a time.
const PAGE: usize = 256;

/// How many users a stream can be limited to.
const MAX_IDENTITIES: usize = 100;

/// Changes of a service, or with `Identity` of some of its users: those after the position in `Last-Event-ID`, or in
/// `After`, and then each as it happens. With neither, only those to come.
pub(super) async fn stream(
    app: App,
    directory: ServiceDirectory,
    changes: Changes,
    service: ServiceSid,
    headers: HeaderMap,
    request: &ApiRequest,
) -> Result<Response, ApiError> {
    let identities: BTreeSet<Identity> = request.query.all("Identity").map(str::parse).collect::<Result<_, _>>()?;
    if identities.len() > MAX_IDENTITIES {
        return Err(ApiError::invalid("Identity", format_args!("at most {MAX_IDENTITIES} users")));
    }
    let after: Option<u64> = request.query.parsed("After", "the cursor of an earlier answer")?;
    // A client that was cut off repeats the request that it began with.
    let after = last_event_id(&headers)?.or(after);
    let reader = changes.stream.reader(service).ok_or_else(|| ApiError::busy(Counter::RefusedStreams))?;
    let position = match after {
        Some(after) => after,
        None => changes.log.newest().await?,
    };
    let mut following = Following {
        app,
        directory,
        headers,
        changes,
        reader,
        identities,
        position,
        told: position,
        frames: VecDeque::from([Bytes::from_static(b"retry: 1000\n"), cursor(position)]),
        heartbeat_at: Instant::now() + FIRST_HEARTBEAT,
        heartbeat: FIRST_HEARTBEAT,
    };
    if after.is_some() {
        // Whether the log reaches back so far is said by the status.
        let page = following.read_log().await?;
        following.take_page(page.map_err(|gone| ApiError::gone(&gone))?);
    }
    let body = Body::from_stream(unfold(following, async |mut following| {
        let frame = following.next().await?;
        Some((Ok::<_, Infallible>(frame), following))
    }));
    Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, EVENT_STREAM)
        // Nginx would collect events otherwise.
        .header("x-accel-buffering", "no")
        .body(body)
        .map_err(ApiError::internal)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(None) };
    let id = value.to_str().ok().and_then(|value| value.parse().ok());
    id.map(Some).ok_or_else(|| ApiError::invalid("Last-Event-ID", "the id of an event"))
}

/// An event that only moves the position from which a client continues.
fn cursor(position: u64) -> Bytes {
    format!("event: cursor\nid: {position}\ndata: {{}}\n\n").into()
}

/// A client that follows the changes.
struct Following {
    app: App,
    directory: ServiceDirectory,
    /// With the client's credentials.
    headers: HeaderMap,
    changes: Changes,
    reader: Reader,
    /// Empty: all users, and the service itself.
    identities: BTreeSet<Identity>,
    /// Everything up to here was seen.
    position: u64,
    /// The last position that the client was told.
    told: u64,
    /// What is to be sent next.
    frames: VecDeque<Bytes>,
    heartbeat_at: Instant,
    /// The time between the last heartbeat and the next.
    heartbeat: Duration,
}

impl Following {
    /// What the client gets next; `None`: the stream ends. It is called when the client takes more, so whoever is slow is
    /// behind in the log and in nothing else.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.heartbeat_at <= Instant::now() {
                self.heartbeat = HEARTBEAT.min(self.heartbeat * 2);
                self.heartbeat_at = Instant::now() + self.heartbeat;
                if !self.is_still_allowed().await {
                    return None;
                }
                let frame = self.heartbeat_frame();
                self.frames.push_back(frame);
            }
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            match self.reader.after(self.position) {
                Found::Events(events) => events.into_iter().for_each(|event| self.take(event)),
                Found::Nothing(position) => {
                    self.position = position;
                    tokio::select! {
                        () = self.reader.published() => {}
                        () = sleep_until(self.heartbeat_at) => {}
                    }
                }
                Found::Older => match self.read_log().await {
                    Ok(Ok(page)) => self.take_page(page),
                    // The client connects again, and is told why it cannot continue.
                    Ok(Err(_)) => return None,
                    Err(error) => {
                        warn!(error = %ErrorChain(&error), "a stream of changes ends, since the log cannot be read");
                        return None;
                    }
                },
                Found::Closed => return None,
            }
        }
    }

    async fn read_log(&self) -> Result<Result<LoggedChanges, PositionGone>, StoreError> {
        self.changes.log.changes(self.reader.service, None, Some(self.position), PAGE).await
    }

    fn take_page(&mut self, page: LoggedChanges) {
        page.changes.iter().for_each(|change| self.take(Event::of(change.id, &change.notice)));
        self.position = page.cursor;
    }

    fn take(&mut self, event: Event) {
        self.position = event.id;
        if self.identities.is_empty() || event.identity.is_some_and(|identity| self.identities.contains(&identity)) {
            self.told = event.id;
            self.frames.push_back(event.frame);
        }
    }

    /// A client that is told nothing for long would otherwise continue from a position that the log has forgotten.
    fn heartbeat_frame(&mut self) -> Bytes {
        if self.told < self.position && self.frames.is_empty() {
            self.told = self.position;
            return cursor(self.position);
        }
        Bytes::from_static(b": heartbeat\n\n")
    }

    /// Whether the client's credentials still hold, and its service still exists.
    async fn is_still_allowed(&self) -> bool {
        let caller = authenticate(&self.app, &self.headers).await;
        let service = self.directory.find(ServiceRef::Sid(self.reader.service)).await;
        let is_refused = caller.is_err_and(|error| error.status == StatusCode::UNAUTHORIZED);
        // A store that does not work says nothing about them.
        !is_refused && !matches!(service, Ok(None))
    }
}
