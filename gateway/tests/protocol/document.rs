//! `docs/twilsock.md` says what the code does.

use std::time::Duration;

use reachability_domain::directory::access_token::TokenError;
use reachability_domain::presence::reachability::Reachability;
use reachability_gateway::session::Timing;
use reachability_gateway::sync::{Item, changed};
use reachability_gateway::twilsock::settings::*;
use reachability_gateway::twilsock::{Cause, Input, Refusal, Settings};

use crate::support::{MINUTE, Socket, bare, init, read, sent, update};

const DOCUMENT: &str = include_str!("../../../docs/twilsock.md");

fn says(text: &str) {
    assert!(DOCUMENT.contains(text), "docs/twilsock.md does not say: {text}");
}

#[test]
fn the_document_has_the_limits() {
    let Timing { ping, answer, init_within } = Settings::default().timing;
    for row in [
        format!("| time until `init` | {} s |", init_within.as_secs()),
        format!("| header of a packet | {MAX_HEADER} bytes |"),
        format!("| payload of a packet | {MAX_PAYLOAD} bytes |"),
        format!("| `id` of a packet | {MAX_ID} bytes |"),
        format!("parts of messages | {FRAMES_AT_ONCE} at once, then {FRAMES_PER_SECOND} a second |"),
        format!("| requests of a session under way | {MAX_REQUESTS} |"),
        format!(
            "| requests and new tokens of a session | {REQUESTS_AT_ONCE} at once, then {REQUESTS_PER_SECOND} a second |"
        ),
        format!("| objects in a request for subscriptions | {MAX_BATCH} |"),
        format!("| name of an object in it | {MAX_OBJECT_SID} bytes |"),
        format!("packets of about {} KB", NOTIFICATION_SIZE / 1024),
        format!("the socket is closed {} s later", LINGER.as_secs()),
        format!("waits up to {} s for that", UPDATE_WITHIN.as_secs()),
        format!("asks to wait {} s at least", RETRY_AFTER.as_secs()),
        format!(
            "ping + answer + grace = {} + {} + 10 = {} s",
            ping.as_secs(),
            answer.as_secs(),
            (ping + answer).as_secs() + 10
        ),
    ] {
        says(&row);
    }
    assert_eq!(EXPIRES_SOON, 3 * MINUTE);
    assert_eq!(Timing::with_ping(Duration::MAX / 3).answer, Duration::from_secs(10));
}

#[test]
fn the_document_has_the_statuses() {
    let refused = |refusal| {
        let mut socket = Socket::new();
        socket.frame(&init("TM1"));
        socket.step(Input::Opened(Err(refusal)))
    };
    let other_user = || {
        let mut socket = Socket::open();
        socket.frame(&update("TM1"));
        let grant = socket.grant("bob", MINUTE);
        socket.step(Input::Verified(Ok(grant)))
    };
    let expired = || {
        let mut socket = Socket::open();
        socket.wait(60 * MINUTE);
        socket.step(Input::Tick)
    };
    let flood = || {
        let mut socket = Socket::open();
        (0..FRAMES_AT_ONCE).flat_map(|_| socket.frame(&bare("reply", "TM1"))).collect::<Vec<_>>()
    };
    let answers = [
        Socket::open().frame(&bare("ping", "TM1")),
        Socket::open().frame(&bare("sing", "TM1")),
        refused(Refusal::Token(TokenError::Malformed)),
        refused(Refusal::Token(TokenError::Expired)),
        other_user(),
        refused(Refusal::Limit),
        refused(Refusal::Unavailable),
        Socket::open().step(Input::End(Cause::KeyDeleted)),
        Socket::open().step(Input::End(Cause::ServiceDeleted)),
        Socket::open().step(Input::End(Cause::UserDeleted)),
        Socket::open().frame(b"garbage"),
        expired(),
        flood(),
    ];
    for answer in &answers {
        let header = &sent(answer)[0].header;
        let (method, status) = (header["method"].as_str().unwrap(), &header["status"]);
        let error = status["errorCode"].as_u64().map(|error| format!("{error} ")).unwrap_or_default();
        says(&format!("| `{method}` | {} | `{}` | {error}|", status["code"], status["status"].as_str().unwrap()));
    }
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `reply` | ") || line.starts_with("| `close` | "));
    // Both tables of methods have both.
    assert_eq!(rows.count(), answers.len() + 4);
}

#[test]
fn the_document_has_the_example_as_it_is_sent() {
    let map = "MP0123456789abcdef0123456789abcdef".parse().unwrap();
    let reachability = Reachability { online: Some(true), notifiable: None };
    let frame = changed(map, 1 << 50, &[Item::Reachability(reachability)], Socket::new().now);
    let payload = read(&frame).payload.to_string();
    assert!(DOCUMENT.replace(char::is_whitespace, "").contains(&payload));
}
