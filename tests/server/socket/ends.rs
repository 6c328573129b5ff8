//! How sockets end.

use std::time::Duration;

use reachability_tests::socket::JsonSocket;
use reachability_tests::tokens::Signer;
use reachability_tests::twilsock::Ended;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{Setup, open};

fn closed(code: u16, reason: &str) -> Ended {
    Ended::Closed(code, reason.to_owned())
}

#[tokio::test]
async fn sockets_end_with_their_key_service_and_user() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let mut jane = open(&setup, "jane").await;
    let doomed = Signer::new(&setup.client, &setup.server.account).await;
    let mut of_key = open(&setup, "bob").await;
    of_key.ask("token", json!({"token": doomed.token(&setup.service, "bob")})).await.ok();
    let mut of_user = open(&setup, "carol").await;
    let other = setup.client.enabled_service().await;
    let mut of_service =
        JsonSocket::open(setup.server.address(), &setup.signer.token(&other, "alice"), json!({})).await;
    jane.watch(&["bob", "carol"]).await;

    setup.client.delete(&doomed.path()).await;
    assert_eq!(of_key.end().await, closed(4403, "key_deleted"));
    jane.until("bob", Some(false)).await;
    setup.client.delete(&format!("/v1/Services/{}/Users/carol", setup.service)).await;
    assert_eq!(of_user.end().await, closed(4403, "user_deleted"));
    assert_eq!(jane.event("user.deleted").await["id"], "carol");
    setup.client.delete(&format!("/v1/Services/{other}")).await;
    assert_eq!(of_service.end().await, closed(4403, "service_deleted"));
    let mut refused = JsonSocket::connect(setup.server.address()).await.unwrap();
    let answer = refused.init(&doomed.token(&setup.service, "bob"), json!({})).await;
    assert_eq!((&answer["code"], &answer["twilio_code"]), (&json!("invalid_token"), &json!(20103)), "{answer}");
    assert_eq!(refused.end().await, closed(4401, "invalid_token"));
    // The others stay.
    jane.ask("ping", json!({})).await;
    let (status, logs) = setup.server.stop();
    assert!(status.success(), "{logs}");
    assert_eq!(jane.end().await, closed(1001, "server_stops"));
}

#[tokio::test]
async fn what_is_no_message_ends_the_socket() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    for (message, reason) in [
        (Message::text("x"), "not_json"),
        (Message::text("{}"), "no_type"),
        (Message::binary(b"{}".as_slice()), "not_text"),
        (Message::text(format!("{{\"type\":\"ping\",\"x\":\"{}\"}}", "x".repeat(70_000))), "too_large"),
        (Message::text(format!("{{\"type\":\"restore\",\"x\":\"{}\"}}", "x".repeat(1 << 20))), "too_large"),
    ] {
        let mut socket = open(&setup, "bob").await;
        socket.send_as(message).await;
        assert_eq!(socket.end().await, closed(4400, reason));
    }
    let mut stranger = JsonSocket::connect(setup.server.address()).await.unwrap();
    assert_eq!(stranger.ask("ping", json!({})).await.code(), "not_connected");
    stranger.send_as(Message::text(format!("{{\"type\":\"connect\",\"x\":\"{}\"}}", "x".repeat(70_000)))).await;
    assert_eq!(stranger.end().await, closed(4400, "too_large"));
    let mut flood = open(&setup, "flood").await;
    for _ in 0..3_000 {
        flood.send_as(Message::Ping(vec![].into())).await;
    }
    assert_eq!(flood.end().await, closed(1008, "too_many_messages"));
}

/// A client that does not answer, one whose connection breaks, and one whose token expires.
#[tokio::test]
async fn who_is_gone_is_offline() {
    let setup = Setup::new(&["--grace-seconds", "0", "--ping-seconds", "1"]).await;
    let mut jane = open(&setup, "jane").await;
    let (mut frozen, broken) = (open(&setup, "frozen").await, open(&setup, "broken").await);
    let short = setup.signer.token_for(&setup.service, "short", Duration::from_secs(3));
    let mut short = JsonSocket::open(setup.server.address(), &short, json!({})).await;
    jane.watch(&["frozen", "broken", "short"]).await;
    drop(broken);
    jane.until("broken", Some(false)).await;
    short.event("token.expiring").await;
    let (ended, _) = tokio::join!(short.end(), jane.until("short", Some(false)));
    assert_eq!(ended, closed(4401, "token_expired"));
    // Nothing was awaited of it, so it answered nothing.
    assert_eq!(frozen.end().await, closed(4408, "no_answer"));
}
