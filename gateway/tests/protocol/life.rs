//! What keeps a session alive, and how it ends.

use std::time::Duration;

use reachability_domain::directory::access_token::TokenError;
use reachability_domain::secret::Secret;
use reachability_domain::sid::Sid;
use reachability_domain::time::Timestamp;
use reachability_gateway::session::Timing;
use reachability_gateway::twilsock::settings::{FRAMES_AT_ONCE, MAX_REQUESTS, REQUESTS_AT_ONCE};
use reachability_gateway::twilsock::{Action, Cause, Expiry, Input, Refusal, RequestNumber};
use serde_json::{Value, json};

use crate::support::{MINUTE, SECOND, Sent, Socket, bare, init, message, only, read, response, sent, update, user};

/// The packets that were sent but pings.
fn without_pings(actions: &[Action]) -> Vec<Sent> {
    sent(actions).into_iter().filter(|sent| sent.header["method"] != "ping").collect()
}

/// A client that answers every ping, for a while.
fn run_answering(socket: &mut Socket, duration: Duration) -> Vec<Action> {
    let end = socket.now.plus(duration);
    let mut actions = vec![];
    while socket.now < end {
        let new = socket.run(SECOND);
        for ping in sent(&new).iter().filter(|sent| sent.header["method"] == "ping") {
            assert_eq!(socket.frame(&bare("reply", ping.header["id"].as_str().unwrap())), []);
        }
        actions.extend(new);
    }
    actions
}

/// The status of a `close` packet, after which the socket is closed.
fn closed_with(actions: &[Action], reason: &str) -> Value {
    let [Action::Send(frame), Action::Close { reason: given, .. }] = actions else { panic!("{actions:?}") };
    assert_eq!(*given, reason);
    let Sent { header, payload } = read(frame);
    assert_eq!((&header["method"], payload), (&json!("close"), Value::Null));
    header["status"].clone()
}

#[test]
fn a_silent_client_is_pinged_and_closed() {
    let mut socket = Socket::open();
    assert_eq!(socket.run(13 * SECOND), []);
    let ping = only(&socket.run(SECOND));
    assert_eq!(ping.header["method"], "ping");
    assert_eq!(socket.run(6 * SECOND - Duration::from_millis(1)), []);
    let closed = [Action::Close { code: 1001, reason: "no-answer-to-ping" }];
    assert_eq!(socket.run(Duration::from_millis(1)), closed);
    assert_eq!(socket.run(60 * MINUTE), []);
    assert_eq!(socket.settings.timing.silence(), 20 * SECOND);
}

#[test]
fn whatever_the_client_sends_is_a_sign_of_life() {
    for frame in [bare("reply", "TM1"), bare("sing", "TM1"), init("TM1"), message("TM1", "GET", "/", "")] {
        let mut socket = Socket::open();
        socket.run(13 * SECOND);
        socket.frame(&frame);
        assert_eq!(socket.run(13 * SECOND), []);
        // And after a ping.
        assert_eq!(only(&socket.run(6 * SECOND)).header["method"], "ping");
        socket.frame(&frame);
        assert_eq!(socket.run(14 * SECOND - Duration::from_millis(1)), []);
    }
    let mut socket = Socket::open();
    let pings = run_answering(&mut socket, 10 * MINUTE);
    assert_eq!(pings.len(), 600 / 14);
}

#[test]
fn the_wait_for_an_answer_follows_the_ping() {
    for (ping, answer) in [(4_000, 1_714), (14_000, 6_000), (60_000, 10_000)] {
        let timing = Timing::with_ping(Duration::from_millis(ping));
        assert_eq!(timing.answer.as_millis(), answer);
    }
}

#[test]
fn a_late_tick_only_makes_it_later() {
    let mut socket = Socket::open();
    // The server was suspended: the client has no less time to answer.
    socket.wait(MINUTE);
    assert_eq!(only(&socket.step(Input::Tick)).header["method"], "ping");
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
    assert_eq!(socket.run(SECOND).len(), 1);
}

#[test]
fn a_client_is_not_silent_while_nothing_is_read_from_it() {
    let mut socket = Socket::open();
    for n in 0..MAX_REQUESTS {
        socket.frame(&message(&format!("TM{n}"), "GET", "/", ""));
    }
    assert_eq!(socket.session.requests(), MAX_REQUESTS);
    assert_eq!(socket.run(29 * SECOND), []);
    // From the first answer on it has as long as any other.
    let mut answered = Socket { session: socket.session.clone(), ..Socket::new() };
    answered.wait(10 * SECOND);
    for mut socket in [answered, socket] {
        socket.step(Input::Answered { request: RequestNumber(3), response: response(200, &json!({})) });
        assert_eq!(socket.run(13 * SECOND), []);
        assert_eq!(only(&socket.run(SECOND)).header["method"], "ping");
        assert_eq!(socket.run(6 * SECOND).len(), 1);
    }

    // But it is not waited for ever.
    let mut socket = Socket::open();
    for n in 0..MAX_REQUESTS {
        socket.frame(&message(&format!("TM{n}"), "GET", "/", ""));
    }
    assert_eq!(only(&socket.run(30 * SECOND)).header["method"], "ping");
    assert_eq!(socket.run(6 * SECOND).len(), 1);
}

#[test]
fn a_client_hears_of_expiry_three_minutes_before_once() {
    let mut socket = Socket::open();
    assert_eq!(without_pings(&run_answering(&mut socket, 57 * MINUTE - SECOND)), []);
    let told = without_pings(&run_answering(&mut socket, SECOND));
    let [Sent { header, payload: Value::Null }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(
        (&header["method"], &header["client_update_type"]),
        (&json!("client_update"), &json!("token_about_to_expire"))
    );
    assert_eq!(without_pings(&run_answering(&mut socket, 3 * MINUTE - SECOND)), []);
}

#[test]
fn a_short_token_is_told_at_once() {
    let mut socket = Socket::new();
    socket.frame(&init("TM1"));
    let opened = socket.opened(MINUTE);
    let packets = sent(&socket.step(Input::Opened(Ok(opened))));
    assert_eq!(packets.iter().map(|sent| &sent.header["method"]).collect::<Vec<_>>(), ["reply", "client_update"]);
    assert_eq!(without_pings(&run_answering(&mut socket, MINUTE - SECOND)), []);
}

#[test]
fn a_token_expires_with_a_packet_or_without() {
    let expired = |expiry| {
        let mut socket = Socket::open();
        socket.settings.expiry = expiry;
        run_answering(&mut socket, 60 * MINUTE - SECOND);
        let actions = socket.run(SECOND);
        assert_eq!(socket.due_at(), Timestamp::MAX);
        actions
    };
    assert_eq!(
        closed_with(&expired(Expiry::Packet), "token-expired"),
        json!({"code": 410, "status": "TOKEN_EXPIRED", "description": "Token expired", "errorCode": 51207})
    );
    assert_eq!(expired(Expiry::Socket), [Action::Close { code: 1000, reason: "token-expired" }]);
}

#[test]
fn a_new_token_takes_the_place_of_the_old_one() {
    let mut socket = Socket::open();
    run_answering(&mut socket, 58 * MINUTE);
    assert_eq!(socket.frame(&update("TM1")), [Action::Verify { token: Secret::new("another") }]);
    let grant = socket.grant("alice", 10 * MINUTE);
    let actions = socket.step(Input::Verified(Ok(grant.clone())));
    assert_eq!(actions[0], Action::Renewed(grant.clone()));
    let reply = only(&actions[1..]);
    assert_eq!((&reply.header["id"], &reply.header["status"]["code"]), (&json!("TM1"), &json!(200)));
    // What nobody asked for has no effect.
    assert_eq!(socket.step(Input::Verified(Ok(grant))), []);

    assert_eq!(without_pings(&run_answering(&mut socket, 7 * MINUTE - SECOND)), []);
    assert_eq!(without_pings(&run_answering(&mut socket, SECOND)).len(), 1, "the new one is told as well");
}

#[test]
fn a_new_token_must_be_valid_and_of_the_same_user() {
    let mut socket = Socket::open();
    let mut other_service = socket.grant("alice", 60 * MINUTE);
    other_service.user.service = Sid::from_bits(9);
    for (result, code, error) in [
        (Ok(socket.grant("bob", 60 * MINUTE)), 403, json!(51232)),
        (Ok(other_service), 403, json!(51232)),
        (Err(Refusal::Token(TokenError::Expired)), 401, json!(20104)),
        (Err(Refusal::Unavailable), 503, Value::Null),
    ] {
        socket.frame(&update("TM1"));
        let reply = only(&socket.step(Input::Verified(result)));
        assert_eq!((&reply.header["status"]["code"], &reply.header["status"]["errorCode"]), (&json!(code), &error));
        assert_eq!(socket.session.user(), Some(&user("alice")));
    }
    assert_eq!(only(&socket.frame(&bare("update", "TM1"))).header["status"]["errorCode"], 20101);
    // The old token still ends the session.
    run_answering(&mut socket, 60 * MINUTE - SECOND);
    closed_with(&socket.run(SECOND), "token-expired");
}

#[test]
fn a_token_that_expires_while_a_new_one_is_verified_ends_nothing() {
    let mut socket = Socket::open();
    run_answering(&mut socket, 60 * MINUTE - SECOND);
    socket.frame(&update("TM1"));
    let second = only(&socket.frame(&update("TM2")));
    assert_eq!((&second.header["id"], &second.header["status"]["code"]), (&json!("TM2"), &json!(429)));
    assert_eq!(socket.run(5 * SECOND), []);
    let grant = socket.grant("alice", 60 * MINUTE);
    assert_eq!(socket.step(Input::Verified(Ok(grant))).len(), 2);

    run_answering(&mut socket, 60 * MINUTE - SECOND);
    socket.frame(&update("TM3"));
    closed_with(&socket.run(6 * SECOND), "token-expired");
}

#[test]
fn too_many_tokens_are_refused() {
    let mut socket = Socket::open();
    for _ in 0..REQUESTS_AT_ONCE {
        assert!(matches!(socket.frame(&update("TM1"))[..], [Action::Verify { .. }]));
        socket.step(Input::Verified(Err(Refusal::Unavailable)));
    }
    assert_eq!(only(&socket.frame(&update("TM1"))).header["status"]["code"], 429);
    socket.wait(SECOND);
    assert!(matches!(socket.frame(&update("TM1"))[..], [Action::Verify { .. }]));
}

#[test]
fn a_goodbye_ends_the_connection_at_once() {
    let mut socket = Socket::open();
    let closed = Action::Close { code: 1000, reason: "closed-by-client" };
    assert_eq!(socket.frame(&bare("close", "TM1")), [Action::Goodbye, closed]);
    assert_eq!(socket.frame(&bare("close", "TM1")), []);
    assert_eq!(socket.session.user(), None);
}

#[test]
fn the_server_can_end_a_session() {
    assert_eq!(
        Socket::open().step(Input::End(Cause::Superseded)),
        [Action::Close { code: 1000, reason: "superseded" }]
    );
    let doubtful = [Action::Close { code: 1000, reason: "come-back" }];
    assert_eq!(Socket::open().step(Input::End(Cause::Doubtful)), doubtful, "no reason to stay away");
    for mut socket in [Socket::open(), Socket::new()] {
        let stops = [Action::Close { code: 1001, reason: "server-stops" }];
        assert_eq!(socket.step(Input::End(Cause::Draining)), stops);
        assert_eq!(socket.step(Input::End(Cause::Draining)), []);
    }
    for (cause, error) in
        [(Cause::KeyDeleted, json!(20103)), (Cause::ServiceDeleted, json!(20106)), (Cause::UserDeleted, Value::Null)]
    {
        let status = closed_with(&Socket::open().step(Input::End(cause)), "revoked");
        assert_eq!((&status["code"], &status["errorCode"]), (&json!(401), &error));
    }
}

#[test]
fn what_is_no_packet_ends_the_session() {
    for mut socket in [Socket::open(), Socket::new()] {
        let status = closed_with(&socket.frame(b"{\"method\":\"ping\"}"), "not-acceptable-message");
        assert_eq!((&status["code"], &status["errorCode"]), (&json!(406), &json!(51214)));
    }
}

#[test]
fn a_flood_ends_the_session() {
    let mut socket = Socket::open();
    let acknowledgement = bare("reply", "TM1");
    let last =
        (1..=2 * FRAMES_AT_ONCE).map(|n| (n, socket.frame(&acknowledgement))).find(|(_, actions)| !actions.is_empty());
    // One was `init`.
    let (n, actions) = last.unwrap();
    assert_eq!(n, FRAMES_AT_ONCE);
    let status = closed_with(&actions, "too-many-messages");
    assert_eq!((&status["code"], &status["errorCode"]), (&json!(429), &json!(51128)));
}

#[test]
fn what_is_no_message_counts_among_the_packets() {
    for mut socket in [Socket::open(), Socket::new()] {
        let mut frames = (1..=2 * FRAMES_AT_ONCE).map(|_| socket.step(Input::NoMessage));
        let last = frames.find(|actions| !actions.is_empty());
        closed_with(&last.expect("an end"), "too-many-messages");
    }
}

#[test]
fn a_client_with_a_slow_network_is_alive() {
    // It sends a frame for minutes, and has no other to answer a ping with.
    let mut socket = Socket::open();
    for _ in 0..30 {
        assert_eq!(socket.run(10 * SECOND), []);
        socket.session.hear(socket.now);
        assert_eq!(socket.run(10 * SECOND), []);
        socket.step(Input::NoMessage);
    }
    assert_eq!(only(&socket.run(14 * SECOND)).header["method"], "ping");
    socket.session.hear(socket.now);
    assert_eq!(socket.run(14 * SECOND - Duration::from_millis(1)), []);
}

#[test]
fn a_shell_that_reads_nothing_knows_when_the_token_ends_the_session() {
    let mut socket = Socket::new();
    assert_eq!(socket.session.expires_at(), Timestamp::MAX);
    socket.frame(&init("TM1"));
    let opened = socket.opened(MINUTE);
    let expires_at = opened.grant.expires_at;
    socket.step(Input::Opened(Ok(opened)));
    assert_eq!(socket.session.expires_at(), expires_at);
    socket.frame(&update("TM2"));
    assert_eq!(socket.session.expires_at(), expires_at.plus(5 * SECOND), "another may come");
    let grant = socket.grant("alice", 60 * MINUTE);
    socket.step(Input::Verified(Ok(grant.clone())));
    assert_eq!(socket.session.expires_at(), grant.expires_at);
}
