//! The errors of the API, with the vendor's codes, texts and statuses, in the format that its helper libraries read.

use std::error::Error;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::identity::{Identity, InvalidIdentity};
use reachability_domain::metrics::Counter;
use reachability_domain::queue::{Full, QueueError};
use reachability_domain::store::StoreError;
use serde::Serialize;

use crate::http::error_code::ErrorCode;
use crate::http::json::Json;

/// The vendor's text for 503.
const UNAVAILABLE: &str = "Service unavailable. Please try again";

/// An error that the client is told.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    code: ErrorCode,
    message: String,
    /// The internal cause. It is logged, and is not part of the answer.
    source: Option<Box<dyn Error + Send + Sync>>,
    /// Whether the answer closes the connection, since a part of the request was not read.
    closes: bool,
    /// After how many seconds the client may try again; `None` if the answer does not say.
    retry_after: Option<u32>,
    /// What counts the limit that the request is over; `None` if it is over none.
    limit: Option<Counter>,
}

/// A request was refused since it is over a limit: an extension of its answer, with what counts the limit.
#[derive(Debug, Clone, Copy)]
pub struct OverLimit(pub Counter);

/// After how many seconds it is worth trying again when a queue is full: by then some of it is handled.
const ROOM_AFTER: u32 = 2;

impl ApiError {
    fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), source: None, closes: false, retry_after: None, limit: None }
    }

    /// 400/20001: a required parameter is missing.
    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            ErrorCode::InvalidParameter,
            format!("Missing required parameter {parameter} in the post body"),
        )
    }

    /// 400/20001: a parameter has an invalid value. `expected` describes the valid ones.
    pub(crate) fn invalid(parameter: &str, expected: impl std::fmt::Display) -> Self {
        Self::unfit(parameter, format_args!("expected {expected}"))
    }

    /// As [`ApiError::invalid`], with the reason instead of the valid values.
    pub(crate) fn unfit(parameter: &str, why: impl std::fmt::Display) -> Self {
        Self::refused(ErrorCode::InvalidParameter, format!("Invalid value for parameter {parameter}: {why}"))
    }

    /// 400/20001: the vendor's API has the parameter, and this one does not.
    pub(crate) fn not_built(parameter: &str) -> Self {
        Self::refused(ErrorCode::InvalidParameter, format!("The parameter {parameter} is not supported"))
    }

    /// 400 with a specific code.
    pub(crate) fn refused(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 400/20001: the request cannot be read.
    pub(crate) fn unreadable(why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidParameter, format!("The request cannot be read: {why}"))
    }

    /// 408/20001: the body did not arrive in time.
    pub(crate) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::InvalidParameter, "The request body did not arrive in time")
    }

    /// 413/20001: the request has more than `limit` of something.
    pub(crate) fn too_large(limit: usize, of: &str) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::InvalidParameter,
            format!("The request has more than {limit} {of}"),
        )
    }

    /// Any 4xx/20001: the request is not valid HTTP.
    pub(crate) fn malformed(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let reason = status.canonical_reason().unwrap_or("Bad Request");
        Self::new(status, ErrorCode::InvalidParameter, format!("The request cannot be read as HTTP: {reason}"))
    }

    /// 401/20003: the credentials are missing or wrong.
    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, "Authenticate")
    }

    /// 429/20429: too many credentials from the caller's address were wrong, as these are. The answer closes the connection.
    pub(crate) fn too_many_failures(wait: Duration) -> Self {
        let message = "Too many failed authentications: try again later";
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message);
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let limit = Some(Counter::RefusedFailures);
        Self { retry_after: Some(seconds), limit, ..error }.closing()
    }

    /// 403/20403: the caller is not allowed to do this.
    pub(crate) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Forbidden, message)
    }

    /// 404/20404. The resource is the path without its version, as in the vendor's errors.
    pub(crate) fn not_found(resource: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            ErrorCode::NotFound,
            format!("The requested resource {resource} was not found"),
        )
    }

    /// 404/54200: there is no such map, as the vendor's Sync says it.
    pub(crate) fn no_map() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::MapNotFound, "Map not found")
    }

    /// 403/50107: the profile is another user's.
    pub(crate) fn not_own() -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorCode::NotAuthorized, "User not authorized for command")
    }

    /// 410/20404: what was there is not kept any more.
    pub(crate) fn gone(why: &impl std::fmt::Display) -> Self {
        Self::new(StatusCode::GONE, ErrorCode::NotFound, why.to_string())
    }

    /// 405/20004: the path does not have this method.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::MethodNotAllowed, "Method not allowed")
    }

    /// 409/20001: an earlier request with the same idempotency key was another one.
    pub(crate) fn other_request() -> Self {
        let message = "Another request was sent with this Idempotency-Key";
        Self::new(StatusCode::CONFLICT, ErrorCode::InvalidParameter, message)
    }

    /// 409/50201: the identity is taken.
    pub(crate) fn user_exists() -> Self {
        Self::new(StatusCode::CONFLICT, ErrorCode::UserExists, "User already exists")
    }

    /// 500/20500: an internal error.
    pub(crate) fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error =
            Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal, "An internal server error has occurred");
        Self { source: Some(source.into()), ..error }
    }

    /// 501/20500: this deployment does not have it.
    pub(crate) fn not_supported(message: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, ErrorCode::Internal, message)
    }

    /// 409/50307: there is such a channel.
    pub(crate) fn channel_exists() -> Self {
        Self::new(StatusCode::CONFLICT, ErrorCode::ChannelExists, "Channel already exists")
    }

    /// 503/20503: the store or a queue is not available.
    fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, UNAVAILABLE);
        Self { source: Some(source.into()), ..error }
    }

    /// 503/20503: too much is going on to take the request, by the limit that this counts. The client may try again soon.
    pub(crate) fn busy(limit: Counter) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, UNAVAILABLE);
        Self { retry_after: Some(1), limit: Some(limit), ..error }
    }

    /// The body of the answer.
    pub(crate) fn body(&self) -> ErrorBody<'_> {
        let code = self.code.number();
        ErrorBody {
            code,
            message: &self.message,
            more_info: format!("https://www.twilio.com/docs/errors/{code}"),
            status: self.status.as_u16(),
        }
    }

    /// The same error, with an answer that closes the connection.
    pub(crate) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }
}

/// The body of an error's answer.
#[derive(Serialize)]
pub(crate) struct ErrorBody<'a> {
    code: u32,
    message: &'a str,
    more_info: String,
    status: u16,
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            // Others changed the same record at every attempt.
            StoreError::Conflict => {
                Self::new(StatusCode::CONFLICT, ErrorCode::ConflictingModification, "Conflicting modification")
            }
            StoreError::Unavailable(_) => Self::unavailable(error),
            StoreError::NotSupported => Self::not_supported("On AWS, users are found by their identities only"),
            // A handler that expects one of these answers it itself.
            StoreError::Exists | StoreError::Missing | StoreError::Corrupt(_) => Self::internal(error),
        }
    }
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Full(full) => full.into(),
            QueueError::Unavailable(_) => Self::unavailable(error),
        }
    }
}

/// 429/20429 or 503/20503: too much waits already.
impl From<Full> for ApiError {
    fn from(full: Full) -> Self {
        let (status, code, limit) = match full {
            Full::Service(_) => {
                (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, Counter::RefusedEventsOfService)
            }
            Full::All(_) => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, Counter::RefusedEvents),
        };
        let error = Self::new(status, code, format!("Try again later: {full}"));
        Self { retry_after: Some(ROOM_AFTER), limit: Some(limit), ..error }
    }
}

impl From<InvalidIdentity> for ApiError {
    fn from(error: InvalidIdentity) -> Self {
        match error {
            InvalidIdentity::Empty => Self::missing("Identity"),
            InvalidIdentity::TooLong => Self::refused(
                ErrorCode::IdentityTooLong,
                format!("Identity is longer than {} characters", Identity::MAX_CHARS),
            ),
            InvalidIdentity::LooksLikeSid => Self::refused(
                ErrorCode::IdentityLooksLikeSid,
                "Identity should not match user SID pattern ^US[0-9a-f]{32}$",
            ),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Some(source) = &self.source {
            // Only this place knows both the cause and the answer.
            tracing::error!(http.status = self.status.as_u16(), error = %ErrorChain(source.as_ref()), "a request failed");
        }
        let mut response = (self.status, Json(self.body())).into_response();
        if self.closes {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(limit) = self.limit {
            response.extensions_mut().insert(OverLimit(limit));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"Reachability\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
