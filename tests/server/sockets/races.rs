//! What happens at once: sockets that come while others go, and while what allows them is deleted.

use std::cell::Cell;

use futures_util::future::{join, join_all};
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::events::event;
use reachability_tests::tokens::Signer;
use reachability_tests::twilsock::{Ended, Twilsock};
use reachability_tests::wait::wait;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Setup, text};

/// What was sent on other sockets before waits for the store, when this returns.
async fn arrived(witness: &mut Twilsock) {
    for _ in 0..5 {
        assert_eq!(witness.request("GET", "/Client/v2/Configuration", None).await.0, 200);
    }
}

/// An open socket, and its continuation token.
async fn open(setup: &Setup, token: &str) -> (Twilsock, String) {
    let mut socket = setup.connect().await;
    let reply = socket.init(token, None).await;
    (socket, text(&reply.header, "continuation_token"))
}

/// There are twice as many then as a record has room for, for a moment.
#[tokio::test]
async fn all_sockets_of_a_user_can_be_replaced_at_once() {
    const USERS: usize = 8;
    const EACH: usize = 5;
    let setup = Setup::new(&["--max-connections-per-user", "5"]).await;
    let mut witness = setup.open("witness").await;
    let tokens: Vec<String> = (0..USERS * EACH).map(|n| setup.token(&format!("user-{}", n / EACH))).collect();
    let older: Vec<_> = join_all(tokens.iter().map(|token| open(&setup, token))).await;
    let mut newer = join_all(tokens.iter().map(|_| setup.connect())).await;
    let held = setup.hold();
    let inits = newer.iter_mut().zip(&tokens).zip(&older);
    let inits = inits.map(|((socket, token), (_, older))| socket.init(token, Some(older)));
    let release = async {
        arrived(&mut witness).await;
        drop(held);
    };
    let (replies, ()) = join(join_all(inits), release).await;
    assert!(replies.iter().all(|reply| reply.status() == 200), "{replies:?}");
    for (mut older, _) in older {
        assert_eq!(older.end().await, Ended::Closed(1000, "superseded".into()));
    }
    for user in (0..USERS).map(|user| format!("user-{user}")) {
        let last = newer.remove(0);
        join_all(newer.drain(..EACH - 1).map(Twilsock::goodbye)).await;
        assert_eq!(setup.shown(&user).await, true, "one socket of {user} is open");
        last.goodbye().await;
        assert_eq!(setup.shown(&user).await, false, "{user}");
    }
}

/// Its disconnects are later than whatever a socket says for a while, and more than a record remembers.
#[tokio::test]
async fn a_gateway_whose_clock_is_ahead_hides_no_socket() {
    let setup = Setup::new(&[]).await;
    let later = |millis: i64| Timestamp::from_millis(clock::now().as_millis() + 50_000 + millis).to_string();
    let mut events = vec![];
    for n in 0..45 {
        for (kind, millis) in [("connect", 0), ("disconnect", 1)] {
            let mut event = event(&setup.service, "alice", kind);
            event["connection_id"] = format!("r-{n}").into();
            event["occurred_at"] = later(millis).into();
            events.push(event);
        }
    }
    setup.client.post(&format!("/v1/Services/{}/Events", setup.service), Value::from(events).to_string()).await;
    let is_offline = async || (setup.shown("alice").await == false).then_some(());
    wait("they are stored", is_offline).await;
    let alice = setup.open("alice").await;
    assert_eq!(setup.shown("alice").await, true);
    alice.goodbye().await;
    assert_eq!(setup.shown("alice").await, false);
}

/// A client comes back on a new socket, which ends while it opens.
#[tokio::test]
async fn an_older_socket_ends_even_if_the_newer_one_does_not_begin() {
    let setup = Setup::new(&[]).await;
    let mut witness = setup.open("witness").await;
    for round in 0..4 {
        let doomed = Signer::new(&setup.client, &setup.server.account).await;
        let token = doomed.token(&setup.service, &format!("user-{round}"));
        let (mut older, continuation) = open(&setup, &token).await;
        let mut newer = setup.connect().await;
        let held = setup.hold();
        let opening = newer.try_init(&token, Some(&continuation));
        let deleting = async {
            arrived(&mut witness).await;
            let (path, release) = (doomed.path(), async {
                arrived(&mut witness).await;
                drop(held);
            });
            join(setup.client.delete(&path), release).await
        };
        join(opening, deleting).await;
        assert_eq!(newer.end().await, Ended::Closed(1000, "revoked".into()), "its key is deleted");
        older.end().await;
    }
}

#[tokio::test]
async fn who_renews_a_token_outlives_the_keys_of_others() {
    let setup = Setup::new(&[]).await;
    let mut sockets = join_all((0..24).map(|_| setup.open("alice"))).await;
    let (token, is_done) = (setup.token("alice"), Cell::new(false));
    let renewing = join_all(sockets.iter_mut().map(async |socket| {
        while !is_done.get() {
            assert_eq!(socket.update(&token).await.status(), 200);
        }
    }));
    let deleting = async {
        for _ in 0..120 {
            let other = Signer::new(&setup.client, &setup.server.account).await;
            setup.client.delete(&other.path()).await;
        }
        is_done.set(true);
    };
    join(renewing, deleting).await;
    for mut socket in sockets {
        assert_eq!(socket.request("GET", "/Client/v2/Users/alice", None).await.0, 200);
    }
}

/// A socket that opens while its user is deleted goes with the user, or the user is back with it.
#[tokio::test]
async fn a_user_is_there_again_with_a_socket_or_not_at_all() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let mut witness = setup.open("witness").await;
    for round in 0..6 {
        let identity = format!("user-{round}");
        let (token, path) = (setup.token(&identity), format!("/v1/Services/{}/Users/{identity}", setup.service));
        let mut older = setup.open(&identity).await;
        let mut newer = setup.connect().await;
        let held = setup.hold();
        let deleting = setup.client.request(Method::DELETE, &path).send();
        let opening = async {
            arrived(&mut witness).await;
            let release = async {
                arrived(&mut witness).await;
                drop(held);
            };
            join(newer.try_init(&token, None), release).await.0
        };
        let (deleted, opened) = join(deleting, opening).await;
        assert_eq!(deleted.unwrap().status(), 204);
        older.end().await;
        let is_open = opened.is_some_and(|reply| reply.status() == 200)
            && newer.ask(json!({"method": "ping"}), "").await.is_some();
        assert_eq!(setup.shown(&identity).await, if is_open { true.into() } else { Value::Null }, "{identity}");
    }
}
