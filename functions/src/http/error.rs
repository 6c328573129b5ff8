//! The errors of the API: the vendor's codes, texts and statuses, in the one form that its helper libraries understand.

use std::error::Error;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::identity::{Identity, InvalidIdentity};
use reachability_domain::queue::QueueError;
use reachability_domain::store::StoreError;
use serde::Serialize;

use crate::http::error_code::ErrorCode;

/// An answer that says no.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    code: ErrorCode,
    message: String,
    /// What went wrong behind the scenes: for the log, not for the answer.
    source: Option<Box<dyn Error + Send + Sync>>,
    /// A part of the request was not read, so the connection cannot be used for another one.
    closes: bool,
}

impl ApiError {
    fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), source: None, closes: false }
    }

    /// 400/20001: a parameter without which it cannot be done.
    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            ErrorCode::InvalidParameter,
            format!("Missing required parameter {parameter} in the post body"),
        )
    }

    /// 400/20001: a parameter's value is not one it can have.
    pub(crate) fn invalid(parameter: &str, expected: impl std::fmt::Display) -> Self {
        Self::unfit(parameter, format_args!("expected {expected}"))
    }

    /// As [`ApiError::invalid`], where more can be said than what is expected.
    pub(crate) fn unfit(parameter: &str, why: impl std::fmt::Display) -> Self {
        Self::refused(ErrorCode::InvalidParameter, format!("Invalid value for parameter {parameter}: {why}"))
    }

    /// 400 with a code of its own.
    pub(crate) fn refused(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 400/20001: the request cannot be read.
    pub(crate) fn unreadable(why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidParameter, format!("The request cannot be read: {why}"))
    }

    /// 408/20001: the body did not come.
    pub(crate) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::InvalidParameter, "The request body did not come in time")
    }

    /// 413/20001: there is more than `limit` of something.
    pub(crate) fn too_large(limit: usize, of: &str) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::InvalidParameter,
            format!("The request has more than {limit} {of}"),
        )
    }

    /// Any 4xx/20001: what came is not a request.
    pub(crate) fn malformed(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let reason = status.canonical_reason().unwrap_or("Bad Request");
        Self::new(status, ErrorCode::InvalidParameter, format!("The request cannot be read as HTTP: {reason}"))
    }

    /// 401/20003: who is asking is not known.
    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, "Authenticate")
    }

    /// 403/20403: who is asking may not.
    pub(crate) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Forbidden, message)
    }

    /// 404/20404. The resource is the path without its version, as the vendor says it.
    pub(crate) fn not_found(resource: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            ErrorCode::NotFound,
            format!("The requested resource {resource} was not found"),
        )
    }

    /// 405/20004.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::MethodNotAllowed, "Method not allowed")
    }

    /// 409/50201: the identity is taken.
    pub(crate) fn user_exists() -> Self {
        Self::new(StatusCode::CONFLICT, ErrorCode::UserExists, "User already exists")
    }

    /// 500/20500.
    pub(crate) fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error =
            Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal, "An internal server error has occurred");
        Self { source: Some(source.into()), ..error }
    }

    /// 503/20503.
    fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, "Service unavailable. Please try again");
        Self { source: Some(source.into()), ..error }
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

    /// With the connection closed behind it.
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
            // Somebody else was faster, again and again.
            StoreError::Conflict => {
                Self::new(StatusCode::CONFLICT, ErrorCode::ConflictingModification, "Conflicting modification")
            }
            StoreError::Unavailable(_) => Self::unavailable(error),
            // Where these can happen, the handler has an answer of its own.
            StoreError::Exists | StoreError::Missing | StoreError::Corrupt(_) => Self::internal(error),
        }
    }
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        Self::unavailable(error)
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
            // The one place that knows both what went wrong and what was answered.
            tracing::error!(http.status = self.status.as_u16(), error = %ErrorChain(source.as_ref()), "a request failed");
        }
        let mut response = (self.status, Json(self.body())).into_response();
        if self.closes {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"Reachability\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
