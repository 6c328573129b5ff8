//! How a client ends, and how connections do.

use std::time::Duration;

use reachability_client::{Client, CloseCode, Connection, Error, ErrorCode, Event, Options};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{Server, next, soon, until_online, user, watch};

#[tokio::test]
async fn each_close_code_is_told_and_decides_whether_the_client_comes_back() {
    let server = Server::start().await;
    let codes = [
        (1000, CloseCode::Goodbye, true),
        (1001, CloseCode::ServerStops, true),
        (1008, CloseCode::TooManyMessages, true),
        (4400, CloseCode::NotUnderstood, true),
        (4401, CloseCode::TokenRefused, false),
        (4403, CloseCode::Revoked, false),
        (4408, CloseCode::Silent, true),
        (4409, CloseCode::Superseded, false),
        (4429, CloseCode::TooManySockets, true),
        (4503, CloseCode::Unavailable, true),
        (4999, CloseCode::Other(4999), true),
    ];
    for (number, code, comes_back) in codes {
        let (client, peer) = server.client().await;
        let mut events = client.events();
        peer.close(number, "because").await;
        let Event::ConnectionChanged(changed) = next(&mut events).await else { panic!("{number}") };
        let (Connection::Offline { why, .. } | Connection::Closed { why }) = &changed else { panic!("{changed:?}") };
        assert_eq!((why.code, &*why.reason), (Some(code), "because"));
        assert_eq!(matches!(changed, Connection::Offline { .. }), comes_back, "{number}");
        if comes_back {
            let (mut peer, _) = server.accept_connect().await;
            until_online(&mut events).await;
            tokio::join!(client.goodbye(), async {
                peer.expect("close").await;
                peer.close(1000, "").await;
            });
        }
        assert!(matches!(client.ping().await, Err(Error::Closed(_))), "{number}");
    }
}

#[tokio::test]
async fn goodbye_is_said_and_waits_until_the_server_has_closed() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let page = watch(&client, &mut peer, &[user("john", 1, true)]).await;
    let mut events = client.events();
    let (asked, (), ()) = tokio::join!(client.ping(), client.goodbye(), async {
        // What was asked before is still answered.
        let ping = peer.expect("ping").await;
        assert_eq!(peer.expect("close").await, json!({"type": "close"}));
        assert!(matches!(client.connection(), Connection::Online { .. }));
        peer.send(json!({"type": "pong", "id": ping["id"]})).await;
        peer.close(1000, "goodbye").await;
    });
    asked.unwrap();
    let Event::ConnectionChanged(Connection::Closed { why }) = next(&mut events).await else { panic!() };
    assert_eq!(why.code, Some(CloseCode::Goodbye));
    assert_eq!(soon(events.next()).await, None);
    // There is nothing left to stop, or to end.
    page.watch.unwrap().stop().await.unwrap();
    soon(client.goodbye()).await;
    soon(client.abort()).await;
}

#[tokio::test]
async fn goodbye_does_not_wait_for_ever() {
    let server = Server::start().await;
    let options = Options { request_timeout: Duration::from_millis(500), ..server.options() };
    let (client, mut peer) = server.client_with(options).await;
    soon(client.goodbye()).await;
    assert!(matches!(client.connection(), Connection::Closed { .. }));
    peer.expect("close").await;
}

#[tokio::test]
async fn disconnecting_ends_the_client_without_goodbye() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    soon(client.disconnect()).await;
    assert!(matches!(client.connection(), Connection::Closed { .. }));
    let frame = peer.next().await.unwrap_err().expect("a close frame");
    assert_eq!(u16::from(frame.code), 1001);
}

#[tokio::test]
async fn the_last_handle_that_is_dropped_says_goodbye_and_watches_do_not_keep_the_client() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let page = watch(&client, &mut peer, &[user("john", 1, true)]).await;
    let other = client.clone();
    drop(client);
    other.abort().await;
    let (mut peer, _) = server.accept_connect().await;
    let restore = peer.expect("restore").await;
    peer.ok(&restore, json!({"gone": []})).await;
    drop(other);
    peer.expect("close").await;
    peer.close(1000, "").await;
    drop(page);
}

#[tokio::test]
async fn a_client_that_is_away_can_end() {
    let server = Server::start().await;
    for how in ["goodbye", "disconnect", "drop"] {
        let (client, peer) = server.client().await;
        let mut events = client.events();
        drop(peer);
        assert!(matches!(next(&mut events).await, Event::ConnectionChanged(Connection::Offline { .. })));
        // It is connecting, and nobody answers.
        let mut peer = server.accept().await;
        peer.expect("connect").await;
        match how {
            "goodbye" => soon(client.goodbye()).await,
            "disconnect" => soon(client.disconnect()).await,
            _ => drop(client),
        }
        assert_eq!(peer.next().await, Err(None), "{how}");
        assert!(matches!(next(&mut events).await, Event::ConnectionChanged(Connection::Closed { .. })), "{how}");
        assert_eq!(soon(events.next()).await, None);
    }
}

#[tokio::test]
async fn connect_tells_why_there_is_no_connection() {
    let server = Server::start().await;
    let (client, ()) = tokio::join!(Client::connect(server.options()), async {
        let mut peer = server.accept().await;
        let connect = peer.expect("connect").await;
        peer.error(&connect, "limit_reached", json!({"limit": 100})).await;
        peer.close(4429, "").await;
    });
    assert_eq!(client.unwrap_err().code(), Some(&ErrorCode::LimitReached));

    let (client, ()) = tokio::join!(Client::connect(server.options()), async {
        let mut peer = server.accept().await;
        peer.expect("connect").await;
        peer.close(4503, "stopping").await;
    });
    assert!(matches!(&client, Err(Error::Ended(end)) if end.code == Some(CloseCode::Unavailable)), "{client:?}");

    let (client, ()) = tokio::join!(Client::connect(server.options()), async {
        let mut stream = server.accept_tcp().await;
        let mut request = [0; 1_024];
        let length = stream.read(&mut request).await.unwrap();
        assert!(request[..length].starts_with(b"GET /v1/Socket HTTP/1.1\r\n"));
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    });
    assert!(matches!(client, Err(Error::WebSocket(_))), "{client:?}");

    for url in ["http://127.0.0.1/v1/Socket", "nowhere", "ws://"] {
        let client = Client::connect(Options::new(url, "a.token")).await;
        assert!(matches!(client, Err(Error::Url(_))), "{url}: {client:?}");
    }
    let url = server.url();
    drop(server);
    let client = Client::connect(Options::new(url, "a.token")).await;
    assert!(matches!(client, Err(Error::Io(_))), "{client:?}");

    // One that accepts, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", silent.local_addr().unwrap());
    let options = Options { request_timeout: Duration::from_millis(50), ..Options::new(url, "a.token") };
    let client = soon(Client::connect(options)).await;
    assert!(matches!(client, Err(Error::Timeout)), "{client:?}");
}
