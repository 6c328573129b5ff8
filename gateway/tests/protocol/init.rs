//! How a session begins.

use reachability_domain::directory::access_token::TokenError;
use reachability_domain::secret::Secret;
use reachability_gateway::twilsock::{Action, Input, Refusal};
use serde_json::{Value, json};

use crate::support::{MINUTE, SECOND, Socket, bare, frame, init, message, only, update, user};

const CLOSED_BY_CLIENT: Action = Action::Close { code: 1000, reason: "closed-by-client" };

#[test]
fn init_opens_a_session() {
    let mut socket = Socket::new();
    let header = |metadata: Value| {
        let header = json!({"method": "init", "id": "TM1", "token": "a.b.c", "continuation_token": "CT-0",
            "metadata": metadata, "tweaks": null});
        frame(header, "")
    };
    let open = |device: Option<&str>| Action::Open {
        token: Secret::new("a.b.c"),
        continuation_token: Some("CT-0".to_owned()),
        device: device.map(str::to_owned),
    };
    for (metadata, device) in [
        (Value::Null, None),
        (json!("Chrome"), None),
        (json!({"env": 5, "os": "unknown"}), None),
        (json!({"env": "Chrome", "os": ""}), Some("Chrome")),
    ] {
        assert_eq!(Socket::new().frame(&header(metadata)), [open(device)]);
    }
    let header = header(json!({"env": "Chrome", "os": "Windows"}));
    assert_eq!(socket.frame(&header), [open(Some("Chrome on Windows"))]);
    assert_eq!(socket.session.user(), None);

    let opened = socket.opened(60 * MINUTE);
    let reply = only(&socket.step(Input::Opened(Ok(opened))));
    assert_eq!(
        reply.header,
        json!({
            "method": "reply", "id": "TM1", "status": {"code": 200, "status": "OK"}, "capabilities": ["client_update"],
            "continuation_token": "CT-1", "continuation_token_status": {"reissued": true}, "payload_size": 0,
        })
    );
    assert_eq!(socket.session.user(), Some(&user("alice")));
}

#[test]
fn a_silent_stranger_is_closed() {
    let mut socket = Socket::new();
    assert_eq!(socket.run(9 * SECOND), []);
    // Acknowledgements are no reason to wait longer.
    assert_eq!(socket.frame(&bare("reply", "TM1")), []);
    assert_eq!(socket.run(SECOND), [Action::Close { code: 1000, reason: "no-init-from-client" }]);
    assert_eq!(socket.frame(&init("TM1")), []);
}

#[test]
fn init_comes_first() {
    for first in [update("TM1"), message("TM1", "GET", "/", ""), bare("telemetry.v1", "TM1"), bare("sing", "TM1")] {
        let mut socket = Socket::new();
        let reply = only(&socket.frame(&first));
        assert_eq!((&reply.header["id"], &reply.header["status"]["code"]), (&json!("TM1"), &json!(400)));
        assert_eq!(socket.frame(&init("TM2")), []);
        assert_eq!(socket.run(3 * SECOND), [Action::Close { code: 1000, reason: "refused" }]);
    }
    assert_eq!(Socket::new().frame(&bare("close", "TM1")), [CLOSED_BY_CLIENT]);
}

#[test]
fn an_open_session_takes_no_second_init() {
    let mut socket = Socket::new();
    socket.frame(&init("TM1"));
    assert_eq!(only(&socket.frame(&init("TM2"))).header["status"]["code"], 400);
    let opened = socket.opened(60 * MINUTE);
    assert_eq!(only(&socket.step(Input::Opened(Ok(opened.clone())))).header["id"], "TM1");
    let reply = only(&socket.frame(&init("TM3")));
    assert_eq!((&reply.header["id"], &reply.header["status"]["code"]), (&json!("TM3"), &json!(400)));
    assert_eq!(socket.step(Input::Opened(Ok(opened))), []);
    assert_eq!(socket.session.user(), Some(&user("alice")));
}

#[test]
fn a_refused_client_hears_why_and_is_closed() {
    let status = |code: u16, status: &str, description: &str, error: Option<u32>| {
        let mut value = json!({"code": code, "status": status, "description": description});
        if let Some(error) = error {
            value["errorCode"] = error.into();
        }
        value
    };
    let unauthorized = |error: TokenError| status(401, "UNAUTHORIZED", &error.to_string(), Some(error.code()));
    for (refusal, expected, payload) in [
        (Refusal::Token(TokenError::Expired), unauthorized(TokenError::Expired), Value::Null),
        (Refusal::Token(TokenError::Signature), unauthorized(TokenError::Signature), Value::Null),
        (
            Refusal::Limit,
            status(429, "TOO_MANY_REQUESTS", "Too many requests", Some(51202)),
            json!({"backoff_policy": {"reconnect_min_ms": 5_000}}),
        ),
        (
            Refusal::Unavailable,
            status(503, "SERVICE_UNAVAILABLE", "Service unavailable. Please try again", None),
            Value::Null,
        ),
    ] {
        let mut socket = Socket::new();
        socket.frame(&init("TM1"));
        let reply = only(&socket.step(Input::Opened(Err(refusal))));
        assert_eq!((&reply.header["id"], &reply.header["method"]), (&json!("TM1"), &json!("reply")));
        assert_eq!((&reply.header["status"], &reply.payload), (&expected, &payload));
        assert_eq!(socket.frame(&bare("close", "TM2")), []);
        assert_eq!(socket.run(SECOND * 2), []);
        assert_eq!(socket.run(SECOND), [Action::Close { code: 1000, reason: "refused" }]);
    }
    assert_eq!(TokenError::Expired.code(), 20104);

    let mut socket = Socket::new();
    let reply = only(&socket.frame(&bare("init", "TM1")));
    assert_eq!(reply.header["status"], unauthorized(TokenError::Malformed));
    assert_eq!(TokenError::Malformed.code(), 20101);
}

#[test]
fn a_goodbye_before_the_session_is_open_is_not_forgotten() {
    let mut socket = Socket::new();
    socket.frame(&init("TM1"));
    assert_eq!(socket.frame(&bare("close", "TM2")), []);
    let opened = socket.opened(60 * MINUTE);
    assert_eq!(socket.step(Input::Opened(Ok(opened))), [Action::Goodbye, CLOSED_BY_CLIENT]);

    let mut socket = Socket::new();
    socket.frame(&init("TM1"));
    socket.frame(&bare("close", "TM2"));
    assert_eq!(socket.step(Input::Opened(Err(Refusal::Limit))), [CLOSED_BY_CLIENT]);
}

#[test]
fn init_is_not_waited_for_for_ever() {
    let mut socket = Socket::new();
    socket.frame(&init("TM1"));
    assert_eq!(socket.run(29 * SECOND), []);
    assert_eq!(socket.run(SECOND), [Action::Close { code: 1000, reason: "no-answer-to-init" }]);
    let opened = socket.opened(60 * MINUTE);
    assert_eq!(socket.step(Input::Opened(Ok(opened))), []);
    assert_eq!(socket.session.user(), None);
}
