//! The fields of a profile that requests can set, with their limits.

use reachability_domain::identity::is_longer_than;

use crate::http::error::ApiError;
use crate::http::error_code::ErrorCode;

/// How long a user's name may be, in characters.
const MAX_FRIENDLY_NAME: usize = 256;

/// How long a user's attributes may be, in bytes.
const MAX_ATTRIBUTES: usize = 4_096;

/// A user's name. An empty text clears it. The error names the parameter.
pub(crate) fn friendly_name(parameter: &str, text: &str) -> Result<Option<String>, ApiError> {
    if is_longer_than(text, MAX_FRIENDLY_NAME) {
        let message = format!("{parameter} is longer than {MAX_FRIENDLY_NAME} characters");
        return Err(ApiError::refused(ErrorCode::FriendlyNameTooLong, message));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// A user's attributes: JSON. An empty text clears them. The error names the parameter.
pub(crate) fn attributes(parameter: &str, text: &str) -> Result<String, ApiError> {
    if text.is_empty() {
        return Ok("{}".to_owned());
    }
    if text.len() > MAX_ATTRIBUTES {
        let message = format!("{parameter} is longer than {MAX_ATTRIBUTES} bytes");
        return Err(ApiError::refused(ErrorCode::AttributesTooLong, message));
    }
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return Err(ApiError::refused(ErrorCode::AttributesNotJson, format!("{parameter} is not valid JSON")));
    }
    Ok(text.to_owned())
}
