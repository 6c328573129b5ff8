//! Users who do something all the time: they keep nobody else waiting, and nothing grows.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reachability_tests::server::PATIENCE;
use reachability_tests::socket::JsonSocket;
use serde_json::json;
use tokio::time::timeout;

use super::{Setup, create, open};

/// The status in a change of presence, as a number.
fn status(message: &serde_json::Value) -> Option<u64> {
    message["user"]["status"].as_str().and_then(|status| status.parse().ok())
}

/// Ten sockets of a user change its status as fast as they may, and many watch it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_flickers_is_seen_as_it_is_in_the_end_and_delays_nobody() {
    const WATCHERS: usize = 150;
    const WRITES: u64 = 100;
    let setup = Setup::new(&["--grace-seconds", "0", "--max-connections-per-user", "12"]).await;
    create(&setup, &["jane"]).await;
    let mut watchers = vec![];
    for n in 0..WATCHERS {
        let mut watcher = open(&setup, &format!("watcher-{n}")).await;
        watcher.watch(&["jane"]).await;
        watchers.push(watcher);
    }
    let janes = join_all((0..10).map(|_| open(&setup, "jane"))).await;
    let storm = async {
        let storming = janes.into_iter().zip(0..).map(async |(mut jane, socket): (JsonSocket, u64)| {
            for n in 0..WRITES {
                jane.ask("set_user", json!({"status": (socket * WRITES + n).to_string()})).await.ok();
            }
            jane
        });
        let mut janes = join_all(storming).await;
        janes[0].ask("set_user", json!({"status": "1000000"})).await.ok();
        janes
    };
    // Each sees the end, and what it sees on the way is in order.
    let watched = join_all(watchers.iter_mut().map(async |watcher| {
        let (mut heard, mut last) = (0, 0);
        loop {
            let message = watcher.next().await.unwrap_or_else(|| panic!("{:?}", watcher.ended));
            let revision = message["user"]["revision"].as_u64().unwrap();
            assert!(last < revision, "{message}");
            (heard, last) = (heard + 1, revision);
            if status(&message) == Some(1_000_000) {
                return heard;
            }
        }
    }));
    // Meanwhile those of another service hear each other.
    let service = setup.client.enabled_service().await;
    let address = setup.server.address();
    let others = async {
        let token = |identity| setup.signer.token(&service, identity);
        let mut john = JsonSocket::open(address, &token("john"), json!({})).await;
        let mut joe = JsonSocket::open(address, &token("joe"), json!({})).await;
        john.watch(&["joe"]).await;
        let mut slowest = Duration::ZERO;
        for n in 0..50 {
            let begun = Instant::now();
            joe.ask("set_user", json!({"status": n.to_string()})).await.ok();
            let message = timeout(PATIENCE, john.event("user.presence.changed")).await.expect("a change in time");
            assert_eq!(status(&message), Some(n), "each is heard");
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };
    let (janes, heard, slowest) = tokio::join!(storm, watched, others);
    drop(janes);
    let all: u64 = heard.iter().sum();
    let (each, changes) = (all / WATCHERS as u64, WRITES * 10 + 1);
    println!("watchers heard {each} of {changes} changes; the slowest of another service took {slowest:?}");
}

#[tokio::test]
async fn a_user_opens_only_so_many_sockets() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let mut john = open(&setup, "john").await;
    create(&setup, &["jane"]).await;
    john.watch(&["jane"]).await;
    // It opens one, and closes it, over and over.
    let mut opened = 0;
    let refused = loop {
        let mut jane = JsonSocket::connect(setup.server.address()).await.unwrap();
        let answer = jane.init(&setup.token("jane"), json!({})).await;
        if answer["type"] != "connected" {
            break answer;
        }
        opened += 1;
        assert!(opened < 10_000, "nobody stops it");
    };
    assert!(opened >= 100, "{opened}");
    assert_eq!(refused["code"], "limit_reached", "{refused}");
    assert!(refused["retry_after"].as_u64().is_some(), "{refused}");
    // Others are not affected, and soon it may again.
    open(&setup, "jack").await;
    let again = async || {
        let mut jane = JsonSocket::connect(setup.server.address()).await.ok()?;
        let answer = jane.init(&setup.token("jane"), json!({})).await;
        (answer["type"] == "connected").then_some(jane)
    };
    let _jane = reachability_tests::wait::wait("she may again", again).await;
    john.until("jane", Some(true)).await;
}
