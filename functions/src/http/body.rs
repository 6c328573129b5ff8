//! Reading a request's body, within limits.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::http::error::ApiError;

/// The largest body, unless a route has another limit. A form with every field at its limit fits in.
pub(crate) const DEFAULT_LIMIT: Limit = Limit(256 * 1024);

/// How many bytes over the limit are read and discarded. Many clients read the answer only after they have sent the
/// whole body.
const DISCARD: usize = 32 * 1024 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest body of a route, in bytes: an extension of its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(pub(crate) usize);

/// Reads the whole body.
pub(crate) async fn read(body: Body, Limit(limit): Limit) -> Result<Bytes, ApiError> {
    match timeout(BODY_TIMEOUT, collect(body, limit)).await {
        Err(_) => Err(ApiError::too_slow().closing()),
        Ok(Err(_)) => Err(ApiError::unreadable("the body is incomplete").closing()),
        Ok(Ok(Collected::Whole(bytes))) => Ok(bytes),
        Ok(Ok(Collected::TooLarge)) => Err(ApiError::too_large(limit, "bytes")),
        Ok(Ok(Collected::Endless)) => Err(ApiError::too_large(limit, "bytes").closing()),
    }
}

/// Reads the body and discards it. Returns whether all of it was read.
pub(crate) async fn discard(body: Body) -> bool {
    let collected = timeout(BODY_TIMEOUT, collect(body, 0)).await;
    matches!(collected, Ok(Ok(Collected::Whole(_) | Collected::TooLarge)))
}

enum Collected {
    Whole(Bytes),
    /// The body is over the limit. It was read to its end.
    TooLarge,
    /// The body is far over the limit. The rest of it was not read.
    Endless,
}

async fn collect(mut body: Body, limit: usize) -> Result<Collected, axum::Error> {
    let mut wanted = BytesMut::new();
    let mut unwanted = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if unwanted == 0 && wanted.len() + data.len() <= limit {
            wanted.extend_from_slice(&data);
            continue;
        }
        unwanted += data.len();
        if unwanted > DISCARD {
            return Ok(Collected::Endless);
        }
    }
    Ok(if unwanted == 0 { Collected::Whole(wanted.freeze()) } else { Collected::TooLarge })
}
