//! The packets that a server sends.

use std::fmt;

use bytes::Bytes;
use reachability_domain::directory::access_token::TokenError;
use serde::Serialize;
use serde_json::json;

use crate::twilsock::codec::encode;
use crate::twilsock::input::Response;
use crate::twilsock::settings::{EXPIRES_SOON, RETRY_AFTER};

const JSON: &str = "application/json";

/// How a packet was taken, or why the server ends a session.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    code: u16,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(rename = "errorCode", skip_serializing_if = "Option::is_none")]
    error_code: Option<u32>,
}

impl Status {
    pub(crate) const OK: Self = Self { code: 200, status: "OK", description: None, error_code: None };

    fn error(code: u16, status: &'static str, description: impl fmt::Display, error_code: Option<u32>) -> Self {
        Self { code, status, description: Some(description.to_string()), error_code }
    }

    /// A packet that does not belong there. The session goes on.
    pub(crate) fn bad_request(description: &str) -> Self {
        Self::error(400, "BAD_REQUEST", description, None)
    }

    /// The client must have a valid token: it stops, and tells its app.
    pub(crate) fn unauthorized(error: TokenError) -> Self {
        Self::error(401, "UNAUTHORIZED", error, Some(error.code()))
    }

    /// What the client's token was for is gone.
    pub(crate) fn revoked(description: &str, error: Option<TokenError>) -> Self {
        Self::error(401, "UNAUTHORIZED", description, error.map(TokenError::code))
    }

    /// The new token is of somebody else.
    pub(crate) fn other_user() -> Self {
        Self::error(403, "FORBIDDEN", "The new token is of another identity or service", Some(51232))
    }

    /// What the client sent is not a packet.
    pub(crate) fn not_acceptable(why: impl fmt::Display) -> Self {
        Self::error(406, "NOT_ACCEPTABLE_MESSAGE", why, Some(51214))
    }

    /// The token has expired while it was in use.
    pub(crate) fn token_expired() -> Self {
        Self::error(410, "TOKEN_EXPIRED", "Token expired", Some(51207))
    }

    /// There are too many sockets, or a second new token comes before the first one is verified.
    pub(crate) fn too_many_requests() -> Self {
        Self::error(429, "TOO_MANY_REQUESTS", "Too many requests", Some(51202))
    }

    /// The client sends too many packets.
    pub(crate) fn too_many_messages() -> Self {
        Self::error(429, "TOO_MANY_REQUESTS", "Too many messages per connection", Some(51128))
    }

    /// The server cannot do it now.
    pub(crate) fn unavailable() -> Self {
        Self::error(503, "SERVICE_UNAVAILABLE", "Service unavailable. Please try again", None)
    }

    fn is_too_many(&self) -> bool {
        self.code == 429
    }
}

/// The header of a packet.
#[derive(Serialize)]
struct Header<'a, More> {
    method: &'static str,
    id: &'a str,
    #[serde(flatten)]
    more: More,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_type: Option<&'a str>,
    payload_size: usize,
}

/// A packet without a payload.
fn bare(method: &'static str, id: &str, more: impl Serialize) -> Bytes {
    encode(&Header { method, id, more, payload_type: None, payload_size: 0 }, &[])
}

#[derive(Serialize)]
struct WithStatus<'a> {
    status: &'a Status,
}

/// The answer to a packet.
pub(crate) fn reply(id: &str, status: &Status) -> Bytes {
    if !status.is_too_many() {
        return bare("reply", id, WithStatus { status });
    }
    let wait = u64::try_from(RETRY_AFTER.as_millis()).unwrap_or(u64::MAX);
    let payload = json!({"backoff_policy": {"reconnect_min_ms": wait}}).to_string();
    let more = WithStatus { status };
    let header = Header { method: "reply", id, more, payload_type: Some(JSON), payload_size: payload.len() };
    encode(&header, payload.as_bytes())
}

/// The answer to `init`.
pub(crate) fn opened(id: &str, continuation_token: &str, reissued: bool) -> Bytes {
    let more = json!({
        "status": Status::OK,
        "capabilities": ["client_update"],
        "continuation_token": continuation_token,
        "continuation_token_status": {"reissued": reissued},
    });
    bare("reply", id, more)
}

/// The answer to a request.
pub(crate) fn answer(id: &str, response: &Response) -> Bytes {
    #[derive(Serialize)]
    struct Answer<'a> {
        status: Status,
        http_status: HttpStatus<'a>,
        http_headers: HttpHeaders<'a>,
    }

    #[derive(Serialize)]
    struct HttpStatus<'a> {
        code: u16,
        status: &'a str,
    }

    #[derive(Serialize)]
    struct HttpHeaders<'a> {
        #[serde(rename = "content-type", skip_serializing_if = "Option::is_none")]
        content_type: Option<&'a str>,
    }

    // A client takes a payload without a type for JSON.
    let content_type = response.content_type.as_deref().or(Some("application/octet-stream"));
    let content_type = content_type.filter(|_| !response.body.is_empty());
    let text = error_text(response);
    let more = Answer {
        status: Status::OK,
        http_status: HttpStatus {
            code: response.status,
            status: text.as_deref().unwrap_or_else(|| name(response.status)),
        },
        http_headers: HttpHeaders { content_type },
    };
    let header = Header { method: "reply", id, more, payload_type: content_type, payload_size: response.body.len() };
    encode(&header, &response.body)
}

/// What an error says. The clients show their app the text of the status, and not the body.
fn error_text(response: &Response) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Error {
        message: String,
    }

    let is_error = response.status >= 400;
    is_error.then(|| serde_json::from_slice(&response.body).ok()).flatten().map(|Error { message }| message)
}

fn name(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        _ if status < 400 => "OK",
        _ => "Error",
    }
}

/// Asks the client for a sign of life.
pub(crate) fn ping(id: &str) -> Bytes {
    #[derive(Serialize)]
    struct Nothing {}

    bare("ping", id, Nothing {})
}

/// Tells the client that its token expires soon.
pub(crate) fn token_about_to_expire(id: &str) -> Bytes {
    #[derive(Serialize)]
    struct ClientUpdate {
        client_update_type: &'static str,
        client_update_message: String,
    }

    let millis = EXPIRES_SOON.as_millis();
    let message = format!("Your token is about to expire. Time left: less than {millis} ms");
    let client_update_type = "token_about_to_expire";
    bare("client_update", id, ClientUpdate { client_update_type, client_update_message: message })
}

/// Tells the client why the server ends the session.
pub(crate) fn close(id: &str, status: &Status) -> Bytes {
    bare("close", id, WithStatus { status })
}

/// Tells the client that something happened.
pub(crate) fn notification(id: &str, message_type: &'static str, payload: &[u8]) -> Bytes {
    #[derive(Serialize)]
    struct Notification {
        message_type: &'static str,
        notification_ctx_id: &'static str,
    }

    let more = Notification { message_type, notification_ctx_id: "" };
    encode(&Header { method: "notification", id, more, payload_type: Some(JSON), payload_size: payload.len() }, payload)
}
