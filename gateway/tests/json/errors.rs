//! What clients are told when they cannot have what they ask for.

use std::time::Duration;

use reachability_domain::directory::access_token::TokenError;
use reachability_domain::query::cursor::InvalidCursor;
use reachability_domain::sid::Sid;
use reachability_gateway::json::settings::{
    LOOKED_AT_PER_REQUEST, MAX_REQUESTS, REQUESTS_AT_ONCE, REQUESTS_PER_SECOND,
};
use reachability_gateway::json::{Action, Answer, Closing, Command, CommandError, Input, Refusal, RequestNumber};
use serde_json::{Value, json};

use crate::support::{MINUTE, SECOND, Socket, close, command, connect, only, sent, user};

/// The error that a command is answered with which failed so.
fn failed(error: CommandError) -> Value {
    let mut socket = Socket::open();
    command(&socket.send(&json!({"type": "query_channels", "id": 2})));
    only(&socket.done(2, Err(error)))
}

/// The error that `connect` is answered with if it is refused so. The socket is closed.
fn refused(refusal: Refusal) -> Value {
    let mut socket = Socket::new();
    socket.send(&connect(1));
    let actions = socket.step(Input::Opened(Err(refusal)));
    assert!(matches!(actions[..], [Action::Send(_), Action::Close { .. }]));
    sent(&actions).remove(0)
}

/// The error that a second `token` is answered with while the first one is verified.
fn two_tokens() -> Value {
    let mut socket = Socket::open();
    socket.send(&json!({"type": "token", "id": 2, "token": "x"}));
    socket.refused(&json!({"type": "token", "id": 3, "token": "y"}))
}

/// The error that a new token is answered with of which this came.
fn not_renewed(verified: impl FnOnce(&Socket) -> Input<'static>) -> Value {
    let mut socket = Socket::open();
    socket.send(&json!({"type": "token", "id": 2, "token": "x"}));
    let verified = verified(&socket);
    only(&socket.step(verified))
}

/// At least one error of each kind.
pub(crate) fn all_errors() -> Vec<Value> {
    let open = |message: Value| Socket::open().refused(&message);
    vec![
        open(json!({"type": "set_user", "id": 2, "invisible": "yes"})),
        open(json!({"type": "sing", "id": 2})),
        Socket::new().refused(&json!({"type": "ping", "id": 2})),
        open(connect(2)),
        refused(Refusal::Token(TokenError::Signature)),
        not_renewed(|socket| Input::Verified(Ok(socket.grant("john", MINUTE)))),
        refused(Refusal::Limit),
        failed(CommandError::LimitReached { what: "watches", limit: 1_000 }),
        refused(Refusal::Unavailable),
        failed(CommandError::Unavailable),
        two_tokens(),
        failed(CommandError::TooManyRequests { retry_after: Duration::from_millis(1_500) }),
        failed(CommandError::Forbidden),
        failed(CommandError::NotFound),
        open(json!({"type": "set_user", "id": 2, "status": "x".repeat(257)})),
        open(json!({"type": "query_users", "id": 2, "filter": []})),
        open(json!({"type": "query_channels", "id": 2, "sort": 5})),
        open(json!({"type": "query_users", "id": 2, "cursor": "x"})),
        failed(CommandError::InvalidCursor(InvalidCursor)),
        failed(CommandError::QueryTooBroad),
        open(json!({"type": "query_users", "id": 2, "limit": 1_001, "presence": true})),
        failed(CommandError::TooManyUsers { limit: 1_000 }),
        failed(CommandError::TooManyMembers { limit: 10_000 }),
        open(json!({"type": "watch_channel", "id": 2, "channel_type": "a b", "channel_id": "c"})),
        open(json!({
            "type": "add_members", "id": 2, "channel_type": "messaging", "channel_id": "general", "members": [""],
        })),
        failed(CommandError::NotSupported),
    ]
}

#[test]
fn every_error_names_its_request_and_says_when_to_try_again() {
    for error in all_errors() {
        assert!(error["id"].is_u64(), "{error}");
    }
    let waits = [
        (refused(Refusal::Limit), 5),
        (two_tokens(), 1),
        (failed(CommandError::TooManyRequests { retry_after: Duration::from_millis(1_500) }), 2),
        (failed(CommandError::TooManyRequests { retry_after: Duration::ZERO }), 1),
    ];
    for (error, seconds) in waits {
        assert_eq!(error["retry_after"], seconds, "{error}");
    }
    let limits = [
        (failed(CommandError::TooManyUsers { limit: 10 }), 10),
        (failed(CommandError::TooManyMembers { limit: 10_000 }), 10_000),
    ];
    for (error, limit) in limits {
        assert_eq!(error["limit"], limit, "{error}");
    }
}

#[test]
fn a_new_token_must_be_valid_and_of_the_same_user() {
    let mut other_service = Socket::open().grant("jane", 60 * MINUTE);
    other_service.user.service = Sid::from_bits(9);
    let other_user = Socket::open().grant("john", 60 * MINUTE);
    let mut socket = Socket::open();
    for (id, result, code, number) in [
        (2, Ok(other_user), "invalid_token", json!(51232)),
        (3, Ok(other_service), "invalid_token", json!(51232)),
        (4, Err(Refusal::Token(TokenError::Expired)), "invalid_token", json!(20104)),
        (5, Err(Refusal::Unavailable), "unavailable", Value::Null),
    ] {
        let actions = socket.send(&json!({"type": "token", "id": id, "token": "x"}));
        assert!(matches!(actions[..], [Action::Verify { .. }]));
        let error = only(&socket.step(Input::Verified(result)));
        assert_eq!((&error["id"], &error["code"], &error["twilio_code"]), (&json!(id), &json!(code), &number));
        assert_eq!(socket.session.user(), Some(&user("jane")));
    }
    // The old token still ends the session.
    assert_eq!(sent(&socket.run_answering(60 * MINUTE - SECOND)).len(), 1);
    assert_eq!(socket.run(SECOND), [close(Closing::TokenExpired)]);
}

#[test]
fn no_more_than_four_requests_are_under_way() {
    let mut socket = Socket::open();
    for id in 2..6 {
        command(&socket.send(&json!({"type": "set_user", "id": id})));
    }
    assert_eq!(socket.session.requests(), MAX_REQUESTS);
    let error = socket.refused(&json!({"type": "set_user", "id": 6}));
    assert_eq!((&error["code"], &error["retry_after"]), (&json!("too_many_requests"), &json!(1)));
    // Neither a ping nor a new token takes the place of a request.
    assert_eq!(only(&socket.send(&json!({"type": "ping", "id": 7})))["type"], "pong");
    assert!(matches!(socket.send(&json!({"type": "token", "id": 8, "token": "x"}))[..], [Action::Verify { .. }]));

    assert_eq!(only(&socket.done(4, Err(CommandError::NotFound)))["id"], 4);
    assert_eq!(*command(&socket.send(&json!({"type": "unwatch", "id": 9, "watch": 1}))), unwatch(1));
    // What is not under way is not answered.
    for request in [4, 6, 7, 100] {
        assert_eq!(socket.done(request, Err(CommandError::NotFound)), [], "{request}");
    }
}

fn unwatch(watch: u64) -> Command {
    Command::Unwatch { watch: RequestNumber(watch) }
}

#[test]
fn a_query_costs_what_it_looks_at() {
    let mut socket = Socket::open();
    let query = |id: u64| json!({"type": "query_users", "id": id});
    // What fails costs the same.
    let results = [|| Ok(Answer::Users { count: 0, cursor: None, index: None }), || Err(CommandError::QueryTooBroad)];
    let mut asked = 0;
    while asked < 9 {
        command(&socket.send(&query(asked + 2)));
        socket.done_after(10_000, asked + 2, results[asked as usize % 2]());
        asked += 1;
    }
    // Nine of them count as 909.
    for id in 100..191 {
        command(&socket.send(&query(id)));
        socket.done_after(LOOKED_AT_PER_REQUEST - 1, id, Err(CommandError::NotFound));
    }
    assert_eq!(socket.refused(&query(200))["code"], "too_many_requests");
    // The last that is allowed may use up more than there is.
    socket.wait(SECOND / REQUESTS_PER_SECOND);
    command(&socket.send(&query(201)));
    socket.done_after(10_000, 201, Err(CommandError::QueryTooBroad));
    assert_eq!(socket.refused(&query(202))["retry_after"], 3);
    socket.wait(2 * SECOND);
    socket.refused(&query(203));
    socket.wait(SECOND);
    command(&socket.send(&query(204)));
}

#[test]
fn too_many_requests_are_refused_for_a_while() {
    let mut socket = Socket::open();
    for id in 2..2 + u64::from(REQUESTS_AT_ONCE) {
        command(&socket.send(&json!({"type": "set_user", "id": id})));
        socket.done(id, Err(CommandError::Unavailable));
    }
    let error = socket.refused(&json!({"type": "set_user", "id": 5_000}));
    assert_eq!((&error["code"], &error["retry_after"]), (&json!("too_many_requests"), &json!(1)));
    // What keeps the socket alive, or relieves the server, is not.
    assert_eq!(only(&socket.send(&json!({"type": "ping", "id": 5_001})))["type"], "pong");
    command(&socket.send(&json!({"type": "unwatch", "id": 5_002, "watch": 2})));
    socket.done(5_002, Ok(Answer::Unwatched));
    let renewal = socket.send(&json!({"type": "token", "id": 5_003, "token": "x"}));
    assert!(matches!(renewal[..], [Action::Verify { .. }]), "{renewal:?}");
    socket.wait(SECOND);
    for id in 6_000..6_000 + u64::from(REQUESTS_PER_SECOND) {
        command(&socket.send(&json!({"type": "set_user", "id": id})));
        socket.done(id, Err(CommandError::Unavailable));
    }
    socket.refused(&json!({"type": "set_user", "id": 7_000}));
}
