//! The messages that a server sends to one client.

use std::time::Duration;

use bytes::Bytes;
use reachability_domain::channel::key::Cid;
use reachability_domain::channel::public_channel::PublicChannel;
use reachability_domain::presence::public_user::PublicUser;
use reachability_domain::time::{Timestamp, rfc3339};
use serde::{Serialize, Serializer};

use crate::json::answer::Answer;
use crate::json::error::Failure;
use crate::json::input::{Connected, RequestNumber};
use crate::json::kinds::ServerKind;
use crate::json::settings::Settings;

/// A message without an id.
pub(crate) fn event(kind: ServerKind, body: &impl Serialize) -> Bytes {
    #[derive(Serialize)]
    struct Event<'a, B> {
        r#type: ServerKind,
        #[serde(flatten)]
        body: &'a B,
    }

    // The messages are our own structs, and none of them can fail to be written.
    serde_json::to_vec(&Event { r#type: kind, body }).unwrap_or_default().into()
}

/// A message that answers a request. `None`: one that has no number which could be told.
fn answer(kind: ServerKind, id: Option<RequestNumber>, body: &impl Serialize) -> Bytes {
    #[derive(Serialize)]
    struct Numbered<'a, B> {
        id: Option<RequestNumber>,
        #[serde(flatten)]
        body: &'a B,
    }

    event(kind, &Numbered { id, body })
}

/// What a message has that has nothing but its type, and its number.
#[derive(Serialize)]
struct Nothing {}

/// Seconds, as a client reads them: a whole number if they are whole.
fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    match duration.subsec_millis() {
        0 => serializer.serialize_u64(duration.as_secs()),
        _ => serializer.serialize_f64(duration.as_secs_f64()),
    }
}

/// The answer to `connect`.
pub(crate) fn connected(request: RequestNumber, connected: &Connected<'_>, settings: &Settings) -> Bytes {
    #[derive(Serialize)]
    struct Body<'a> {
        connection_id: &'a str,
        continuation_token: &'a str,
        user: &'a PublicUser<'a>,
        #[serde(with = "rfc3339")]
        expires_at: Timestamp,
        #[serde(serialize_with = "seconds")]
        ping_seconds: Duration,
        #[serde(serialize_with = "seconds")]
        answer_seconds: Duration,
        limits: Limits,
    }

    #[derive(Serialize)]
    struct Limits {
        users_per_watch: u32,
        watched_users: u32,
    }

    let Settings { timing, users_per_watch, watched_users } = *settings;
    let Connected { opened, connection, user } = connected;
    let body = Body {
        connection_id: connection.as_str(),
        continuation_token: &opened.continuation_token,
        user,
        expires_at: opened.grant.expires_at,
        ping_seconds: timing.ping,
        answer_seconds: timing.answer,
        limits: Limits { users_per_watch, watched_users },
    };
    answer(ServerKind::Connected, Some(request), &body)
}

/// The answer to a request that failed. `None`: one that has no number which could be told.
pub(crate) fn error(request: Option<RequestNumber>, failure: &Failure) -> Bytes {
    answer(ServerKind::Error, request, failure)
}

/// The answer to a client's ping.
pub(crate) fn pong(request: RequestNumber) -> Bytes {
    answer(ServerKind::Pong, Some(request), &Nothing {})
}

/// Asks the client for a sign of life.
pub(crate) fn ping() -> Bytes {
    event(ServerKind::Ping, &Nothing {})
}

#[derive(Serialize)]
struct Expiry {
    #[serde(with = "rfc3339")]
    expires_at: Timestamp,
}

/// Tells the client that its token expires soon.
pub(crate) fn token_expiring(expires_at: Timestamp) -> Bytes {
    event(ServerKind::TokenExpiring, &Expiry { expires_at })
}

/// The answer to a new token.
pub(crate) fn renewed(request: RequestNumber, expires_at: Timestamp) -> Bytes {
    ok(request, &Expiry { expires_at })
}

#[derive(Serialize)]
struct OfUser<'a> {
    user: PublicUser<'a>,
}

#[derive(Serialize)]
struct OfUsers {
    count: usize,
    cursor: Option<String>,
    index: Option<&'static str>,
}

#[derive(Serialize)]
struct OfChannels<'a> {
    channels: Vec<PublicChannel<'a>>,
    cursor: Option<String>,
    index: Option<&'static str>,
}

#[derive(Serialize)]
struct OfChannel<'a> {
    channel: PublicChannel<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<bool>,
}

#[derive(Serialize)]
struct OfRestore {
    gone: Vec<String>,
}

/// The answer to a request, after its parts.
pub(crate) fn answered(request: RequestNumber, answer: Answer<'_>) -> Bytes {
    match answer {
        Answer::User(user) => ok(request, &OfUser { user }),
        Answer::Users { count, cursor, index } => ok(request, &OfUsers { count, cursor, index }),
        Answer::Channels { channels, cursor, index } => ok(request, &OfChannels { channels, cursor, index }),
        Answer::Channel { channel, created } => ok(request, &OfChannel { channel, created: Some(created) }),
        Answer::Members(channel) => {
            let channel = PublicChannel { members: None, ..channel };
            ok(request, &OfChannel { channel, created: None })
        }
        Answer::Unwatched => ok(request, &Nothing {}),
        Answer::Restored { gone } => ok(request, &OfRestore { gone: gone.into_iter().map(Cid::to_string).collect() }),
    }
}

fn ok(request: RequestNumber, body: &impl Serialize) -> Bytes {
    answer(ServerKind::Ok, Some(request), body)
}
