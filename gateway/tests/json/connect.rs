//! How a session begins.

use std::time::Duration;

use reachability_domain::directory::access_token::TokenError;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::status::Status;
use reachability_domain::secret::Secret;
use reachability_gateway::json::settings::MAX_MESSAGE;
use reachability_gateway::json::{Action, Closing, Input, Refusal, Settings};
use reachability_gateway::session::Timing;
use serde_json::{Value, json};

use crate::support::{MINUTE, SECOND, Socket, close, connect, only, sent, user};

#[test]
fn connect_opens_a_session() {
    let mut socket = Socket::new();
    let message = json!({
        "type": "connect", "id": 4_000_000_000_000_000_u64, "token": "a.b.c", "status": "Eating", "invisible": true,
        "device": "phone", "continuation_token": "CT-0", "color": "green",
    });
    let open = Action::Open {
        token: Secret::new("a.b.c"),
        continuation_token: Some("CT-0".to_owned()),
        disclose: Disclose { status: Some(Status::set_to("Eating").unwrap()), invisible: Some(true) },
        device: Some("phone".to_owned()),
    };
    assert_eq!(socket.send(&message), [open]);
    assert_eq!(socket.session.user(), None);
    let connected = socket.connected(60 * MINUTE);
    assert_eq!(only(&socket.step(Input::Opened(Ok(connected.clone()))))["id"], 4_000_000_000_000_000_u64);
    assert_eq!(socket.session.user(), Some(&user("jane")));
    assert_eq!(socket.step(Input::Opened(Ok(connected))), []);
}

#[test]
fn what_a_user_shows_stays_unless_it_is_said() {
    let disclose = |fields: Value| {
        let mut message = connect(1);
        message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        match Socket::new().send(&message).remove(0) {
            Action::Open { disclose, .. } => disclose,
            action => panic!("{action:?}"),
        }
    };
    assert_eq!(disclose(json!({})), Disclose::default());
    assert_eq!(disclose(json!({"invisible": null})), Disclose::default());
    for nothing in [Value::Null, json!("")] {
        assert_eq!(disclose(json!({"status": nothing})), Disclose { status: Some(None), invisible: None });
    }
    assert_eq!(disclose(json!({"invisible": false})), Disclose { status: None, invisible: Some(false) });
    let longest = "é".repeat(128);
    let status = Some(Status::set_to(&longest).unwrap());
    assert_eq!(disclose(json!({"status": longest})), Disclose { status, invisible: None });
}

#[test]
fn the_answer_has_the_settings() {
    let mut socket = Socket::new();
    let timing = Timing { ping: Duration::from_millis(500), answer: 2 * SECOND, init_within: SECOND };
    socket.settings = Settings { timing, users_per_watch: 10, watched_users: 20 };
    socket.send(&connect(1));
    let connected = socket.connected(60 * MINUTE);
    let message = only(&socket.step(Input::Opened(Ok(connected))));
    assert_eq!((&message["ping_seconds"], &message["answer_seconds"]), (&json!(0.5), &json!(2)));
    assert_eq!(message["limits"], json!({"users_per_watch": 10, "watched_users": 20}));
}

#[test]
fn a_silent_stranger_is_closed() {
    let mut socket = Socket::new();
    assert_eq!(socket.run(9 * SECOND), []);
    // Nothing else is a reason to wait longer.
    assert_eq!(socket.send(&json!({"type": "pong"})), []);
    socket.refused(&json!({"type": "ping", "id": 1}));
    socket.refused(&json!({"type": "connect", "id": 2}));
    socket.session.hear(socket.now);
    assert_eq!(socket.run(SECOND), [close(Closing::NoConnect)]);
    assert_eq!(socket.send(&connect(3)), []);
}

#[test]
fn connect_comes_first_and_once() {
    let mut socket = Socket::new();
    let code = |error: Value| error["code"].clone();
    assert_eq!(code(socket.refused(&json!({"type": "set_user", "id": 1}))), "not_connected");
    assert_eq!(code(socket.refused(&json!({"type": "token", "id": 2, "token": "x"}))), "not_connected");
    // What is wrong with `connect` can be mended.
    assert_eq!(code(socket.refused(&json!({"type": "connect", "id": 3}))), "invalid_message");
    let mut long = connect(4);
    long["status"] = "x".repeat(257).into();
    assert_eq!(code(socket.refused(&long)), "invalid_status");
    let mut long = connect(5);
    long["device"] = "x".repeat(65).into();
    assert_eq!(socket.refused(&long)["message"], "`device` is longer than 64 bytes");

    assert_eq!(socket.send(&connect(6)).len(), 1);
    assert_eq!(code(socket.refused(&connect(7))), "already_connected");
    assert_eq!(code(socket.refused(&json!({"type": "ping", "id": 8}))), "not_connected");
    let connected = socket.connected(60 * MINUTE);
    assert_eq!(only(&socket.step(Input::Opened(Ok(connected))))["id"], 6);
    assert_eq!(code(socket.refused(&connect(9))), "already_connected");
    assert_eq!(only(&socket.send(&json!({"type": "ping", "id": 10})))["type"], "pong");
}

#[test]
fn a_refused_client_hears_why_and_is_closed() {
    for (refusal, code, more, closing) in [
        (Refusal::Token(TokenError::Expired), "invalid_token", ("twilio_code", 20104), Closing::InvalidToken),
        (Refusal::Token(TokenError::Malformed), "invalid_token", ("twilio_code", 20101), Closing::InvalidToken),
        (Refusal::Limit, "limit_reached", ("retry_after", 5), Closing::LimitReached),
        (Refusal::Unavailable, "unavailable", ("id", 1), Closing::Unavailable),
    ] {
        let mut socket = Socket::new();
        socket.send(&connect(1));
        let actions = socket.step(Input::Opened(Err(refusal)));
        assert_eq!(actions[1..], [close(closing)]);
        let error = &sent(&actions)[0];
        assert_eq!((&error["id"], &error["code"], &error[more.0]), (&json!(1), &json!(code), &json!(more.1)));
        assert_eq!(socket.send(&connect(2)), []);
    }
}

#[test]
fn a_goodbye_before_the_session_is_open_is_not_forgotten() {
    let goodbye = json!({"type": "close"});
    let mut socket = Socket::new();
    socket.send(&connect(1));
    assert_eq!(socket.send(&goodbye), []);
    let connected = socket.connected(60 * MINUTE);
    assert_eq!(socket.step(Input::Opened(Ok(connected))), [Action::Goodbye, close(Closing::Goodbye)]);

    let mut socket = Socket::new();
    socket.send(&connect(1));
    socket.send(&goodbye);
    assert_eq!(socket.step(Input::Opened(Err(Refusal::Limit))), [close(Closing::Goodbye)]);
}

#[test]
fn connect_is_not_waited_for_for_ever() {
    let mut socket = Socket::new();
    socket.send(&connect(1));
    assert_eq!(socket.run(29 * SECOND), []);
    let actions = socket.run(SECOND);
    assert_eq!(
        (&sent(&actions)[0]["code"], &actions[1..]),
        (&json!("unavailable"), &[close(Closing::Unavailable)][..])
    );
    let connected = socket.connected(60 * MINUTE);
    assert_eq!(socket.step(Input::Opened(Ok(connected))), []);
    assert_eq!(socket.session.user(), None);
}

#[test]
fn a_stranger_sends_no_large_message() {
    let large = |kind: &str| format!("{{\"type\":\"{kind}\",\"id\":2{}}}", " ".repeat(MAX_MESSAGE));
    assert_eq!(Socket::new().text(&large("restore")), [close(Closing::TooLarge)]);
    assert_eq!(Socket::new().session.max_message(), MAX_MESSAGE);
}
