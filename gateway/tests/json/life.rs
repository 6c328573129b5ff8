//! What keeps a session alive, and how it ends.

use std::time::Duration;

use reachability_domain::directory::access_token::TokenError;
use reachability_domain::secret::Secret;
use reachability_domain::time::Timestamp;
use reachability_gateway::json::settings::{MAX_REQUESTS, MESSAGES_AT_ONCE, MESSAGES_PER_SECOND};
use reachability_gateway::json::{Action, Cause, Closing, CommandError, Input, Refusal};
use serde_json::{Value, json};

use crate::people::at;
use crate::support::{MINUTE, SECOND, Socket, close, connect, only, sent};

fn pong() -> Value {
    json!({"type": "pong"})
}

/// How the actions close the socket, if they do.
fn closed(actions: &[Action]) -> Option<(u16, &'static str)> {
    match actions.last() {
        Some(Action::Close { code, reason }) => Some((*code, reason)),
        _ => None,
    }
}

/// What a flood leads to, and how many messages it had.
fn flood() -> (u32, Vec<Action>) {
    let mut socket = Socket::open();
    let mut messages = (1..=2 * MESSAGES_AT_ONCE).map(|n| (n, socket.send(&pong())));
    messages.find(|(_, actions)| !actions.is_empty()).unwrap()
}

/// Each way in which a socket is closed.
pub(crate) fn all_closes() -> Vec<(u16, &'static str)> {
    let refused = |refusal| {
        let mut socket = Socket::new();
        socket.send(&connect(1));
        socket.step(Input::Opened(Err(refusal)))
    };
    let end = |cause| Socket::open().step(Input::End(cause));
    let silent = || {
        let mut socket = Socket::open();
        socket.run(20 * SECOND)
    };
    let expired = || {
        let mut socket = Socket::open();
        socket.run_answering(60 * MINUTE)
    };
    let unanswered = || {
        let mut socket = Socket::new();
        socket.send(&connect(1));
        socket.run(30 * SECOND)
    };
    let ways = [
        Socket::open().send(&json!({"type": "close"})),
        end(Cause::Draining),
        flood().1,
        Socket::open().step(Input::Binary),
        Socket::open().step(Input::Text(b"{\"type\":\"\xff\"}")),
        Socket::open().text("hello"),
        Socket::open().text("{}"),
        Socket::open().step(Input::TooLarge),
        refused(Refusal::Token(TokenError::Malformed)),
        expired(),
        end(Cause::KeyDeleted),
        end(Cause::ServiceDeleted),
        end(Cause::UserDeleted),
        Socket::new().run(10 * SECOND),
        silent(),
        end(Cause::Superseded),
        refused(Refusal::Limit),
        refused(Refusal::Unavailable),
        end(Cause::Doubtful),
        unanswered(),
    ];
    ways.iter().map(|actions| closed(actions).unwrap()).collect()
}

#[test]
fn a_silent_client_is_pinged_and_closed() {
    let mut socket = Socket::open();
    assert_eq!(socket.run(13 * SECOND), []);
    assert_eq!(only(&socket.run(SECOND)), json!({"type": "ping"}));
    assert_eq!(socket.run(6 * SECOND - Duration::from_millis(1)), []);
    assert_eq!(socket.run(Duration::from_millis(1)), [close(Closing::NoAnswer)]);
    assert_eq!(socket.run(60 * MINUTE), []);
    assert_eq!(socket.send(&pong()), []);
}

#[test]
fn whatever_the_client_sends_is_a_sign_of_life() {
    let messages = [
        pong(),
        json!({"type": "ping", "id": 2}),
        json!({"type": "sing"}),
        json!({"type": "set_user", "id": 2}),
        json!({"type": "set_user", "id": "2"}),
        connect(2),
    ];
    for message in messages {
        let mut socket = Socket::open();
        socket.run(13 * SECOND);
        socket.send(&message);
        assert_eq!(socket.run(13 * SECOND), []);
        // And after a ping.
        assert_eq!(only(&socket.run(6 * SECOND)), json!({"type": "ping"}));
        socket.send(&message);
        assert_eq!(socket.run(14 * SECOND - Duration::from_millis(1)), []);
    }
    let mut socket = Socket::open();
    socket.run(19 * SECOND);
    assert_eq!(socket.step(Input::NoMessage), []);
    assert_eq!(socket.run(13 * SECOND), []);
    // So is a part of a message.
    let mut socket = Socket::open();
    socket.run(19 * SECOND);
    socket.session.hear(socket.now);
    assert_eq!(socket.run(13 * SECOND), []);
}

#[test]
fn a_late_tick_only_makes_it_later() {
    let mut socket = Socket::open();
    // The server was suspended: the client has no less time to answer.
    socket.wait(MINUTE);
    assert_eq!(only(&socket.step(Input::Tick)), json!({"type": "ping"}));
    assert_eq!(socket.run(5 * SECOND), []);
    assert_eq!(socket.step(Input::Tick), []);
}

#[test]
fn a_clock_that_goes_back_ends_nothing() {
    let mut socket = Socket::open();
    socket.run(15 * SECOND);
    socket.now = Timestamp::from_millis(socket.now.as_millis() - 3_600_000);
    assert_eq!(socket.step(Input::Tick), []);
    // The ping that was sent still waits for its answer, from now on.
    assert_eq!(socket.run(5 * SECOND), []);
    assert_eq!(socket.run(SECOND), [close(Closing::NoAnswer)]);
}

#[test]
fn a_client_is_not_silent_while_nothing_is_read_from_it() {
    let full = || {
        let mut socket = Socket::open();
        for n in 0..MAX_REQUESTS {
            socket.send(&json!({"type": "set_user", "id": n + 2}));
        }
        socket
    };
    let mut socket = full();
    assert_eq!(socket.run(29 * SECOND), []);
    // From the first answer on it has as long as any other.
    socket.done(3, Err(CommandError::Unavailable));
    assert_eq!(socket.run(13 * SECOND), []);
    assert_eq!(only(&socket.run(SECOND)), json!({"type": "ping"}));

    // But it is not waited for ever.
    let mut socket = full();
    assert_eq!(only(&socket.run(30 * SECOND)), json!({"type": "ping"}));
    assert_eq!(socket.run(6 * SECOND), [close(Closing::NoAnswer)]);
}

#[test]
fn a_client_hears_of_expiry_three_minutes_before_once() {
    let mut socket = Socket::open();
    assert_eq!(socket.run_answering(57 * MINUTE - SECOND), []);
    let told = only(&socket.run_answering(SECOND));
    assert_eq!(told, json!({"type": "token.expiring", "expires_at": "2026-11-22T11:00:00.000Z"}));
    assert_eq!(socket.run_answering(3 * MINUTE - SECOND), []);
    assert_eq!(socket.session.expires_at(), at("11:00:00"));
    assert_eq!(socket.run(SECOND), [close(Closing::TokenExpired)]);
    assert_eq!(socket.due_at(), Timestamp::MAX);
}

#[test]
fn a_short_token_is_told_at_once() {
    let mut socket = Socket::new();
    socket.send(&connect(1));
    let connected = socket.connected(MINUTE);
    let messages = sent(&socket.step(Input::Opened(Ok(connected))));
    assert_eq!(messages.iter().map(|message| &message["type"]).collect::<Vec<_>>(), ["connected", "token.expiring"]);
    assert_eq!(socket.run_answering(MINUTE - SECOND), []);
}

#[test]
fn a_new_token_takes_the_place_of_the_old_one() {
    let mut socket = Socket::open();
    socket.run_answering(58 * MINUTE);
    let token = json!({"type": "token", "id": 2, "token": "new"});
    assert_eq!(socket.send(&token), [Action::Verify { token: Secret::new("new") }]);
    let grant = socket.grant("jane", 10 * MINUTE);
    let actions = socket.step(Input::Verified(Ok(grant.clone())));
    assert_eq!(actions[0], Action::Renewed(grant.clone()));
    assert_eq!(only(&actions[1..]), json!({"type": "ok", "id": 2, "expires_at": "2026-11-22T11:08:00.000Z"}));
    // What nobody asked for has no effect.
    assert_eq!(socket.step(Input::Verified(Ok(grant))), []);

    assert_eq!(socket.run_answering(7 * MINUTE - SECOND), []);
    let told = only(&socket.run_answering(SECOND));
    assert_eq!(told["type"], "token.expiring", "the new one is told as well");
}

#[test]
fn a_token_that_expires_while_a_new_one_is_verified_ends_nothing() {
    let mut socket = Socket::open();
    socket.run_answering(60 * MINUTE - SECOND);
    socket.send(&json!({"type": "token", "id": 2, "token": "new"}));
    assert_eq!(socket.run(5 * SECOND), []);
    let grant = socket.grant("jane", 60 * MINUTE);
    assert_eq!(socket.step(Input::Verified(Ok(grant))).len(), 2);

    socket.run_answering(60 * MINUTE - SECOND);
    socket.send(&json!({"type": "token", "id": 3, "token": "new"}));
    assert_eq!(socket.run(6 * SECOND), [close(Closing::TokenExpired)]);
}

#[test]
fn a_goodbye_ends_the_connection_at_once() {
    let mut socket = Socket::open();
    let goodbye = json!({"type": "close"});
    assert_eq!(socket.send(&goodbye), [Action::Goodbye, close(Closing::Goodbye)]);
    assert_eq!(socket.send(&goodbye), []);
    assert_eq!(socket.session.user(), None);
    // Of a stranger nothing has begun that could end.
    assert_eq!(Socket::new().send(&goodbye), [close(Closing::Goodbye)]);
}

#[test]
fn the_server_can_end_a_session() {
    for mut socket in [Socket::open(), Socket::new()] {
        assert_eq!(socket.step(Input::End(Cause::Draining)), [close(Closing::ServerStops)]);
        assert_eq!(socket.step(Input::End(Cause::Superseded)), []);
    }
}

#[test]
fn a_flood_ends_the_session() {
    let (n, actions) = flood();
    // One was `connect`.
    assert_eq!((n, actions), (MESSAGES_AT_ONCE, vec![close(Closing::TooManyMessages)]));
    let mut socket = Socket::open();
    for _ in 0..100 {
        for _ in 0..MESSAGES_PER_SECOND {
            assert_eq!(socket.send(&pong()), []);
        }
        socket.wait(SECOND);
    }
}

#[test]
fn what_is_no_message_counts_among_the_messages() {
    for mut socket in [Socket::open(), Socket::new()] {
        let mut frames = (1..=2 * MESSAGES_AT_ONCE).map(|_| socket.step(Input::NoMessage));
        let last = frames.find(|actions| !actions.is_empty());
        assert_eq!(last, Some(vec![close(Closing::TooManyMessages)]));
    }
}
