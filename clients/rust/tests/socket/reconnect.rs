//! How a client comes back.

use std::time::Duration;

use reachability_client::{CloseCode, ConnectUser, Connection, Error, Event, Options, QueryOptions, UserChange};
use serde_json::{Value, json};

use crate::server::{Server, next, settle, soon, until_online};

/// What is told when the connection is lost.
async fn offline(events: &mut reachability_client::Events) -> (reachability_client::Disconnect, Duration) {
    match next(events).await {
        Event::ConnectionChanged(Connection::Offline { why, retry_in }) => (why, retry_in),
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn a_client_that_comes_back_goes_on_where_it_was_and_leaves_the_user_as_it_is() {
    let server = Server::start().await;
    let user = ConnectUser { status: Some("Here".to_owned()), invisible: Some(true), ..ConnectUser::default() };
    let options = Options { user, device: Some("a phone".to_owned()), ..server.options() };
    let (client, mut peer) = server.client_with(options).await;
    let mut events = client.events();
    settle(&client, &mut peer).await;
    drop(peer);
    let (peer, connect) = server.accept_connect().await;
    let expected =
        json!({"id": 3, "type": "connect", "token": "a.token", "device": "a phone", "continuation_token": "CT-1"});
    assert_eq!(connect, expected);
    assert_eq!(offline(&mut events).await.0.code, None);
    let Event::ConnectionChanged(online) = next(&mut events).await else { panic!() };
    assert_eq!(online, Connection::Online { connection_id: "CN3".into() });
    assert_eq!(client.connection(), online);
    drop(peer);
    assert_eq!(server.accept_connect().await.1["continuation_token"], "CT-3");
}

#[tokio::test]
async fn what_was_asked_on_a_lost_connection_fails() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let (changed, ()) = tokio::join!(client.set_user(UserChange::default()), async {
        peer.expect("set_user").await;
        drop(peer);
    });
    assert!(matches!(changed, Err(Error::ConnectionLost)), "{changed:?}");
}

#[tokio::test]
async fn attempts_that_fail_are_told_with_when_the_next_is() {
    let server = Server::start().await;
    let (client, peer) = server.client().await;
    let mut events = client.events();
    drop(peer);
    assert_eq!(offline(&mut events).await.0.code, None);
    // Not a WebSocket; an error; a close code.
    drop(server.accept_tcp().await);
    assert_eq!(offline(&mut events).await.0.code, None);
    let mut peer = server.accept().await;
    let connect = peer.expect("connect").await;
    peer.error(&connect, "unavailable", json!({"retry_after": 0.05})).await;
    let (why, retry_in) = offline(&mut events).await;
    assert!(why.reason.contains("because of unavailable"), "{why}");
    assert!(retry_in >= Duration::from_millis(50));
    let mut peer = server.accept().await;
    peer.expect("connect").await;
    peer.close(4503, "later").await;
    let (why, _) = offline(&mut events).await;
    assert_eq!((why.code, &*why.reason), (Some(CloseCode::Unavailable), "later"));
    let _peer = server.accept_connect().await;
    until_online(&mut events).await;
}

#[tokio::test]
async fn the_server_is_asked_when_it_is_silent_and_given_up_if_it_stays_so() {
    let server = Server { ping_seconds: 0.01, answer_seconds: 0.4, ..Server::start().await };
    let (client, mut peer) = server.client().await;
    let mut events = client.events();
    let ping = peer.expect("ping").await;
    peer.send(json!({"type": "pong", "id": ping["id"]})).await;
    assert!(peer.expect("ping").await["id"].as_u64() > ping["id"].as_u64());
    let (why, _) = offline(&mut events).await;
    assert_eq!(&*why.reason, "the server was silent");
    server.accept_connect().await;
}

#[tokio::test]
async fn a_ping_is_answered() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    peer.send(json!({"type": "ping"})).await;
    assert_eq!(peer.expect("pong").await, json!({"type": "pong"}));
    drop(client);
}

#[tokio::test]
async fn a_message_that_cannot_be_understood_makes_it_come_back() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let mut events = client.events();
    for text in ["{\"type\":\"user.presence.changed\"}", "not json", "{}"] {
        peer.send_text(text).await;
        let (why, _) = offline(&mut events).await;
        assert!(why.reason.contains("not understood"), "{why}");
        (peer, _) = server.accept_connect().await;
        until_online(&mut events).await;
    }
}

#[tokio::test]
async fn aborting_cuts_the_connection_without_a_word_and_the_client_comes_back() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let mut events = client.events();
    soon(client.abort()).await;
    assert!(matches!(client.connection(), Connection::Offline { .. }));
    assert_eq!(peer.next().await, Err(None));
    let _peer = server.accept_connect().await;
    until_online(&mut events).await;
}

#[tokio::test]
async fn a_client_that_is_told_not_to_does_not_come_back() {
    let server = Server::start().await;
    let options = Options { reconnect: None, ..server.options() };
    let (client, mut peer) = server.client_with(options).await;
    let mut events = client.events();
    soon(client.abort()).await;
    assert_eq!(peer.next().await, Err(None));
    assert!(matches!(client.connection(), Connection::Closed { .. }));
    assert!(matches!(next(&mut events).await, Event::ConnectionChanged(Connection::Closed { .. })));
    assert_eq!(soon(events.next()).await, None);
    let asked = client.query_users(Value::Null, Value::Null, QueryOptions::default()).await;
    assert!(matches!(asked, Err(Error::Closed(_))), "{asked:?}");
    assert_eq!(soon(client.events().next()).await, None);
}

#[tokio::test]
async fn what_is_given_up_while_the_client_is_away_is_not_asked_later() {
    let server = Server::start().await;
    let (client, peer) = server.client().await;
    let mut events = client.events();
    drop(peer);
    offline(&mut events).await;
    tokio::select! {
        biased;
        asked = client.query_users(Value::Null, Value::Null, QueryOptions::default()) => panic!("{asked:?}"),
        () = std::future::ready(()) => {}
    }
    let (mut peer, _) = server.accept_connect().await;
    settle(&client, &mut peer).await;
}
