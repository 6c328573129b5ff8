//! Access tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use reachability_client::{
    Client, CloseCode, ConnectUser, Connection, Error, ErrorCode, Event, Options, TokenProvider,
};
use serde_json::json;

use crate::server::{Server, next, settle, soon, until_online};

/// Gives `token.1`, then `token.2`, and so on.
fn counting() -> (TokenProvider, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let given = Arc::clone(&count);
    let provider = TokenProvider::new(move || {
        let number = given.fetch_add(1, Ordering::Relaxed) + 1;
        async move { Ok::<_, std::io::Error>(format!("token.{number}")) }
    });
    (provider, count)
}

fn options(server: &Server, token: TokenProvider) -> Options {
    Options { token, ..server.options() }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires_and_used_from_then_on() {
    let server = Server::start().await;
    let (client, mut peer) = server.client_with(options(&server, counting().0)).await;
    peer.send(json!({"type": "token.expiring", "expires_at": "2026-01-01T00:03:00.000Z"})).await;
    let renewed = peer.expect("token").await;
    assert_eq!(renewed, json!({"id": 2, "type": "token", "token": "token.2"}));
    peer.ok(&renewed, json!({"expires_at": "2026-01-01T01:00:00.000Z"})).await;
    settle(&client, &mut peer).await;
    drop(peer);
    assert_eq!(server.accept_connect().await.1["token"], "token.2");
}

#[tokio::test]
async fn a_token_that_expired_meanwhile_is_replaced() {
    let server = Server::start().await;
    let (client, peer) = server.client_with(options(&server, counting().0)).await;
    let mut events = client.events();
    drop(peer);
    let mut peer = server.accept().await;
    let connect = peer.expect("connect").await;
    assert_eq!(connect["token"], "token.1");
    peer.error(&connect, "invalid_token", json!({"twilio_code": 20_104})).await;
    let (_peer, connect) = server.accept_connect().await;
    assert_eq!(connect["token"], "token.2");
    assert_eq!(connect["continuation_token"], "CT-1");
    until_online(&mut events).await;
}

#[tokio::test]
async fn a_connection_whose_token_expired_comes_back_with_a_new_one() {
    let server = Server::start().await;
    let (_client, peer) = server.client_with(options(&server, counting().0)).await;
    peer.close(4401, "token expired").await;
    assert_eq!(server.accept_connect().await.1["token"], "token.2");
}

#[tokio::test]
async fn a_new_token_that_is_refused_ends_the_client() {
    let server = Server::start().await;
    let (provider, count) = counting();
    let (client, peer) = server.client_with(options(&server, provider)).await;
    let mut events = client.events();
    drop(peer);
    for _ in 0..2 {
        let mut peer = server.accept().await;
        let connect = peer.expect("connect").await;
        peer.error(&connect, "invalid_token", json!({"twilio_code": 20_101})).await;
    }
    loop {
        if let Event::ConnectionChanged(Connection::Closed { why }) = next(&mut events).await {
            assert!(why.reason.contains("invalid_token"), "{why}");
            break;
        }
    }
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_fixed_token_that_expires_ends_the_client() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let mut events = client.events();
    peer.send(json!({"type": "token.expiring", "expires_at": "2026-01-01T00:03:00.000Z"})).await;
    settle(&client, &mut peer).await;
    peer.close(4401, "token expired").await;
    let Event::ConnectionChanged(Connection::Closed { why }) = next(&mut events).await else { panic!() };
    assert_eq!((why.code, &*why.reason), (Some(CloseCode::TokenRefused), "token expired"));
}

#[tokio::test]
async fn the_first_token_that_is_refused_fails_connect() {
    let server = Server::start().await;
    let (provider, count) = counting();
    let (client, ()) = tokio::join!(Client::connect(options(&server, provider)), async {
        let mut peer = server.accept().await;
        let connect = peer.expect("connect").await;
        peer.error(&connect, "invalid_token", json!({"twilio_code": 20_101})).await;
        peer.close(4401, "invalid_token").await;
    });
    let error = client.unwrap_err();
    assert_eq!(error.code(), Some(&ErrorCode::InvalidToken));
    let Error::Refused(refusal) = error else { panic!() };
    assert_eq!(refusal.twilio_code, Some(20_101));
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_provider_that_fails_fails_connect_but_is_asked_again_by_a_client_that_comes_back() {
    let server = Server::start().await;
    let count = Arc::new(AtomicU32::new(0));
    let asked = Arc::clone(&count);
    // Only every second time.
    let provider = TokenProvider::new(move || {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        async move { if number.is_multiple_of(2) { Err("out of tokens") } else { Ok(format!("token.{number}")) } }
    });
    let error = soon(Client::connect(options(&server, provider.clone()))).await.unwrap_err();
    assert!(matches!(&error, Error::Token(why) if why.to_string() == "out of tokens"), "{error}");

    let (client, peer) = server.client_with(options(&server, provider)).await;
    let mut events = client.events();
    peer.close(4401, "token expired").await;
    let mut reasons = Vec::new();
    for _ in 0..2 {
        let Event::ConnectionChanged(Connection::Offline { why, .. }) = next(&mut events).await else { panic!() };
        reasons.push(why.reason);
    }
    assert_eq!(reasons, ["token expired".into(), "no access token: out of tokens".into()]);
    assert_eq!(server.accept_connect().await.1["token"], "token.3");
}

#[tokio::test]
async fn a_token_of_somebody_else_is_not_used() {
    let server = Server::start().await;
    let user = ConnectUser { id: Some("john".to_owned()), ..ConnectUser::default() };
    let (client, ()) = tokio::join!(Client::connect(Options { user, ..server.options() }), async {
        let (mut peer, _) = server.accept_connect().await;
        peer.expect("close").await;
        peer.close(1000, "").await;
    });
    assert!(matches!(&client, Err(Error::OtherUser(id)) if &**id == "me"), "{client:?}");
}
