//! Clients that send more than they should, or read less.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reachability_tests::server::PATIENCE;
use reachability_tests::twilsock::{Ended, Twilsock, frame, packet};
use reachability_tests::wait::wait;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::limits::from;
use super::{Setup, text};

/// An acknowledgement of this size.
fn acknowledgement(size: usize) -> Vec<u8> {
    packet(&json!({"method": "reply", "id": "TM0"}), &"x".repeat(size))
}

#[tokio::test]
async fn what_is_no_message_counts_too() {
    let setup = Setup::new(&[]).await;
    for (name, begins, floods) in [
        ("pings", vec![], frame(0x9, b"")),
        ("pongs", vec![], frame(0xA, b"")),
        // No part but the first has anything in it, and none is the last one.
        ("parts", vec![0x02, 0x81, 0, 0, 0, 0, b'T'], vec![0x00, 0x80, 0, 0, 0, 0]),
    ] {
        let mut alice = setup.open("alice").await;
        let flood = [begins, floods.repeat(60_000)].concat();
        // The server may close it before the end.
        let _ = alice.stream().write_all(&flood).await;
        let packet = alice.next().await.unwrap_or_else(|| panic!("{name}: a reason"));
        assert_eq!((packet.status(), packet.error_code()), (429, 51128), "{name}");
        assert!(matches!(alice.end().await, Ended::Closed(1008, _)), "{name}");
    }
}

/// There is always something to read from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_floods_ends_with_the_token() {
    let setup = Setup::new(&[]).await;
    let token = setup.signer.token_for(&setup.service, "alice", Duration::from_secs(2));
    let mut alice = Twilsock::open(setup.server.address(), &token).await;
    let (started, acknowledgement) = (Instant::now(), acknowledgement(64_000));
    let last = loop {
        assert!(started.elapsed() < PATIENCE, "it lives on");
        for _ in 0..10 {
            alice.send(acknowledgement.clone()).await;
        }
        match alice.next_within(Duration::ZERO).await {
            Some(packet) if packet.method() == "close" => break packet,
            _ => assert_eq!(alice.ended, None, "without a reason"),
        }
    };
    assert_eq!((last.status(), last.error_code()), (410, 51207));
}

#[tokio::test]
async fn who_reads_slowly_ends_with_the_token() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let mut alice = setup.watcher("alice").await;
    let path = format!("/v1/Services/{}/Users/alice", setup.service);
    setup.client.post(&path, format!("Attributes=%7B%22a%22%3A%22{}%22%7D", "x".repeat(4_000))).await;
    let (_, user) = alice.socket.request("GET", "/Client/v2/Users/alice", None).await;
    let map = text(&user["sync_objects"], "user_info_map");

    let mut slow = Twilsock::over(from(&setup, "127.0.0.1", Some(4_096)).await).await.expect("a socket");
    let token = setup.signer.token_for(&setup.service, "slow", Duration::from_secs(3));
    assert_eq!(slow.init(&token, None).await.status(), 200);
    alice.watch("slow").await;
    // Some megabytes.
    let requests = vec![json!({"object_sid": map, "object_type": "map"}); 500];
    let http = json!({"host": "x", "path": "/v4/Subscriptions", "method": "POST", "params": {}, "headers": {}});
    for n in 0..4 {
        let header = json!({"method": "message", "id": format!("TM{n}"), "payload_type": "application/json", "http_request": http});
        let body = json!({"action": "establish", "correlation_id": n, "requests": requests});
        slow.send(packet(&header, &body.to_string())).await;
    }
    // It reads all the time, so it is not cut off for that.
    let mut replies = 0;
    let reads = async {
        while let Some(packet) = slow.next().await {
            replies += usize::from(packet.method() == "reply");
            sleep(Duration::from_millis(25)).await;
        }
    };
    tokio::select! {
        () = reads => panic!("the watcher hears of it before"),
        changes = alice.until("slow", Some(false)) => assert_eq!(changes, 1),
    }
    // At least all that follows one of them still waits.
    assert!(replies < 4, "it was closed when it had caught up");
}

/// From one address: others have the places that are left, and the memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_shut_nobody_out() {
    const STRANGERS: usize = 1_024;
    let setup = Setup::new(&[]).await;
    let mut alice = setup.open("alice").await;
    let stranger = async || Twilsock::over(from(&setup, "127.0.0.2", None).await).await;
    let mut strangers = vec![];
    for _ in 0..STRANGERS / 32 {
        strangers
            .extend(join_all((0..32).map(|_| stranger())).await.into_iter().map(|opened| opened.expect("a place")));
    }
    assert_eq!(stranger().await.err(), Some(503));
    let mut bob = setup.open("bob").await;

    // Each sends most of a long message. Together they are too long.
    let message = frame(2, &[b'x'; 81_900]);
    for stranger in &mut strangers {
        let _ = stranger.stream().write_all(&message[..message.len() - 1]).await;
    }
    let strangers = tokio::sync::Mutex::new(strangers);
    let are_closed = async || {
        let mut strangers = strangers.lock().await;
        for stranger in strangers.iter_mut() {
            assert_eq!(stranger.next_within(Duration::ZERO).await, None);
        }
        let closed = strangers.iter().filter(|stranger| stranger.ended == Some(Ended::Closed(1013, String::new())));
        (closed.count() >= 10).then_some(())
    };
    wait("some are closed", are_closed).await;
    // Clients with short messages do not notice, even if those come in parts.
    let header = json!({"method": "ping", "id": "TM9"});
    let ping = frame(2, &packet(&header, &"x".repeat(3_000)));
    let (begin, end) = ping.split_at(2_500);
    bob.stream().write_all(begin).await.unwrap();
    let (status, user): (u16, Value) = alice.request("GET", "/Client/v2/Users/bob", None).await;
    assert_eq!((status, &user["identity"]), (200, &"bob".into()));
    bob.stream().write_all(end).await.unwrap();
    assert_eq!(bob.next().await.expect("a reply").status(), 200);
}
