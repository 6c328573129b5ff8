//! Reading a request's body, within limits.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use reachability_domain::metrics::Counter;
use tokio::time::timeout;

use crate::http::error::ApiError;
use crate::http::room::{Room, Share};

/// The largest body, unless a route has another limit. A form with every field at its limit fits in.
pub(crate) const DEFAULT_LIMIT: Limit = Limit(256 * 1024);

/// How many bytes over the limit are read and discarded. Many clients read the answer only after they have sent the
/// whole body.
const DISCARD: usize = 32 * 1024 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client for whose body there is no room may go on sending before it is answered. A client that sends all
/// the time is done by then, and will read the answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// The largest body of a route, in bytes: an extension of its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(pub(crate) usize);

/// Reads the whole body. Returns it with its share of the room, which must be kept as long as the body or anything made
/// of it.
pub(crate) async fn read(body: Body, Limit(limit): Limit, room: &Room) -> Result<(Bytes, Share), ApiError> {
    match timeout(BODY_TIMEOUT, collect(body, limit, room)).await {
        Err(_) => Err(ApiError::too_slow().closing()),
        Ok(Err(_)) => Err(ApiError::unreadable("the body is incomplete").closing()),
        Ok(Ok(Collected::Whole(bytes, share))) => Ok((bytes, share)),
        Ok(Ok(Collected::TooLarge)) => Err(ApiError::too_large(limit, "bytes")),
        Ok(Ok(Collected::Endless)) => Err(ApiError::too_large(limit, "bytes").closing()),
        Ok(Ok(Collected::NoRoom(rest))) => {
            let _ = timeout(REFUSAL_TIMEOUT, skip(rest, 0)).await;
            Err(ApiError::busy(Counter::RefusedBodies).closing())
        }
    }
}

/// Reads the body and discards it. Returns whether all of it was read.
pub(crate) async fn discard(body: Body) -> bool {
    matches!(timeout(BODY_TIMEOUT, skip(body, 0)).await, Ok(Ok(true)))
}

enum Collected {
    Whole(Bytes, Share),
    /// The body is over the limit. It was read to its end.
    TooLarge,
    /// The body is far over the limit. The rest of it was not read.
    Endless,
    /// There is no room for the body. The rest of it was not read.
    NoRoom(Body),
}

async fn collect(mut body: Body, limit: usize, room: &Room) -> Result<Collected, axum::Error> {
    let mut share = Share::default();
    // No more than a small body: a client may announce what it never sends.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::with_capacity(announced.min(limit).min(DEFAULT_LIMIT.0));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > limit {
            drop((bytes, share));
            return Ok(if skip(body, length - limit).await? { Collected::TooLarge } else { Collected::Endless });
        }
        if !share.grow(room, length) {
            return Ok(Collected::NoRoom(body));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Collected::Whole(bytes.freeze(), share))
}

/// Reads and discards the rest of a body of which this many bytes were discarded already. Returns whether that is all.
async fn skip(mut body: Body, mut skipped: usize) -> Result<bool, axum::Error> {
    while skipped <= DISCARD {
        let Some(frame) = body.frame().await else { return Ok(true) };
        skipped += frame?.into_data().map_or(0, |data| data.len());
    }
    Ok(false)
}
