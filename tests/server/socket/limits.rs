//! What clients can take is limited.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reachability_tests::raw::encode;
use reachability_tests::socket::JsonSocket;
use reachability_tests::twilsock::Ended;
use serde_json::json;
use tokio::time::sleep;

use super::{Setup, create, open, presence, set};

#[tokio::test]
async fn users_and_watches_are_so_many() {
    let setup = Setup::new(&["--max-users-per-watch", "2", "--max-connections-per-user", "1"]).await;
    create(&setup, &["a", "b", "c"]).await;
    let mut jane = open(&setup, "jane").await;
    assert_eq!(jane.connected["limits"]["users_per_watch"], 2);
    let mut second = JsonSocket::connect(setup.server.address()).await.unwrap();
    let refused = second.init(&setup.token("jane"), json!({})).await;
    assert_eq!(refused["code"], "limit_reached", "{refused}");
    assert_eq!(second.end().await, Ended::Closed(4429, "limit_reached".into()));

    let too_many = jane.ask("query_users", json!({"limit": 3, "presence": true})).await;
    assert_eq!((too_many.code(), &too_many.last["limit"]), ("too_many_users", &json!(2)));
    assert_eq!(jane.ask("query_users", json!({"presence": true})).await.ok().ids(), ["a", "b"]);
    let mut channel =
        json!({"channel_type": "m", "channel_id": "x", "data": {"members": ["a", "b"]}, "presence": true});
    assert_eq!(jane.ask("watch_channel", channel.clone()).await.code(), "too_many_users");
    channel["presence"] = false.into();
    assert_eq!(jane.ask("watch_channel", channel).await.ok().last["created"], true, "it was not created before");
    let too_many = jane.ask("query_channels", json!({"presence": true})).await;
    assert_eq!((too_many.code(), &too_many.last["limit"]), ("too_many_users", &json!(2)));
    // Nothing is watched for what was refused.
    let _c = open(&setup, "c").await;
    assert_eq!(jane.next_within(super::QUIET).await, None);
}

#[tokio::test]
async fn a_socket_watches_so_many_users() {
    let setup = Setup::new(&["--max-users-per-watch", "10000"]).await;
    let mut jane = open(&setup, "jane").await;
    let all: Vec<String> = (0..10_001).map(|n| format!("u{n}")).collect();
    let restore = |from: usize, to: usize, watch: u64| json!([{"watch": watch, "users": all[from..to].to_vec()}]);
    jane.count_from(10);
    let restored = jane.ask("restore", json!({"watches": restore(0, 6_000, 1)})).await.ok();
    assert_eq!(restored.users.len(), 6_000);
    let too_many = jane.ask("restore", json!({"watches": restore(6_000, 10_001, 2)})).await;
    assert_eq!((too_many.code(), &too_many.last["limit"]), ("too_many_users", &json!(10_000)));
    jane.ask("restore", json!({"watches": restore(5_000, 10_000, 2)})).await.ok();
    let _user = open(&setup, "u5500").await;
    jane.until("u5500", Some(true)).await;
    assert_eq!(jane.next_within(super::QUIET).await, None, "once, by two watches");
}

/// A client that has little room for what it does not read.
async fn slow(setup: &Setup) -> JsonSocket {
    let stream = crate::sockets::limits::from(setup, "127.0.0.1", Some(4_096)).await;
    let mut slow = JsonSocket::over(stream).await.unwrap();
    assert_eq!(slow.init(&setup.token("slow"), json!({})).await["type"], "connected");
    slow
}

/// Sets attributes of so many bytes, and some.
async fn write(setup: &Setup, identity: &str, n: usize, length: usize) {
    let attributes = encode(&json!({"n": n, "x": "x".repeat(length)}).to_string());
    set(setup, identity, &format!("Attributes={attributes}")).await;
}

#[tokio::test]
async fn who_reads_too_slowly_is_cut_off_and_misses_nothing() {
    let setup = Setup::new(&["--grace-seconds", "0", "--ping-seconds", "3600"]).await;
    let mut john = open(&setup, "john").await;
    let mut reader = slow(&setup).await;
    let known = reader.watch(&["john"]).await.user("john")["revision"].clone();
    let watch = reader.last_id();
    // From now on it reads nothing.
    let mut written = 0;
    while presence(&setup, "slow").await["online"] != false {
        write(&setup, "john", written, 4_000).await;
        written += 1;
        assert!(written < 1_000, "a client that reads nothing is still there");
    }
    john.ask("ping", json!({})).await;
    // What it has got by then is in order, and the rest it learns when it is back.
    let mut last = 0;
    while let Some(message) = reader.next().await {
        let n = message["user"]["custom"]["n"].as_u64().unwrap_or_else(|| panic!("{message}"));
        assert_eq!(n, last, "{message}");
        last += 1;
    }
    assert_eq!(reader.ended, Some(Ended::Broken));
    assert!((last as usize) < written, "{last} of {written}");
    let mut reader = slow(&setup).await;
    reader.count_from(watch);
    let watches = json!([{"watch": watch, "users": ["john"]}]);
    let restored = reader.ask("restore", json!({"watches": watches, "known": {"john": known}})).await.ok();
    assert_eq!(restored.user("john")["custom"]["n"], written - 1);
    write(&setup, "john", written, 10).await;
    assert_eq!(reader.event("user.updated").await["user"]["custom"]["n"], written);
}

/// So many users of whom much is to be told, and one more.
async fn large_users(setup: &Setup, many: usize, one: &str) -> Vec<String> {
    let names: Vec<String> = (0..many).map(|n| format!("user-{n}")).chain([one.into()]).collect();
    for some in names.chunks(20) {
        create(setup, &some.iter().map(String::as_str).collect::<Vec<_>>()).await;
        join_all(some.iter().map(|name| write(setup, name, 0, 4_000))).await;
    }
    names
}

/// What changes is told while a long answer is on its way, and a client that takes its time for that is not cut off.
#[tokio::test]
async fn a_long_answer_waits_for_its_reader() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let names = large_users(&setup, 400, "john").await;
    let (mut john, mut jane) = (open(&setup, "john").await, open(&setup, "jane").await);
    jane.watch(&["john"]).await;
    let mut reader = slow(&setup).await;
    let watches = json!([{"watch": 1, "users": names}]);
    reader.send(&json!({"type": "restore", "id": 10, "watches": watches})).await;
    let mut part = reader.event("part").await;
    // There is far more than may wait for a client, and while nothing more is read, this happens.
    for n in 0..20 {
        john.ask("set_user", json!({"status": format!("status {n}")})).await.ok();
        assert_eq!(jane.event("user.presence.changed").await["user"]["status"], format!("status {n}"));
    }
    let (mut told, mut statuses) = (BTreeSet::new(), vec![]);
    loop {
        match part["type"].as_str().unwrap() {
            "part" => {
                let users = part["users"].as_array().unwrap();
                told.extend(users.iter().map(|user| user["id"].as_str().unwrap().to_owned()));
            }
            "user.presence.changed" => statuses.push(part["user"]["status"].as_str().unwrap().to_owned()),
            "ok" => break,
            other => panic!("{other}"),
        }
        part = reader.next().await.unwrap_or_else(|| panic!("{:?}", reader.ended));
    }
    assert_eq!(told, names.into_iter().collect());
    assert_eq!(statuses, (0..20).map(|n| format!("status {n}")).collect::<Vec<_>>(), "in between");
}

/// How many requests of a client may be under way.
const MAX_REQUESTS: usize = 4;

/// While as many requests are under way as may be, nothing is read from the socket, answers to pings included. That a client takes
/// what it asked for shows that it is there.
#[tokio::test]
async fn who_reads_slowly_what_it_asked_for_is_not_lost() {
    let setup = Setup::new(&["--ping-seconds", "2"]).await;
    let names = large_users(&setup, 150, "john").await;
    let mut reader = slow(&setup).await;
    for n in 1..=MAX_REQUESTS {
        let watches = json!([{"watch": n, "users": names}]);
        reader.send(&json!({"type": "restore", "id": 10 + n, "watches": watches})).await;
    }
    let begun = Instant::now();
    let mut answered = 0;
    while answered < MAX_REQUESTS {
        // This takes it longer than a client may be silent.
        sleep(Duration::from_millis(100)).await;
        let message = reader.next().await.unwrap_or_else(|| panic!("{:?} after {answered}", reader.ended));
        assert_ne!(message["type"], "error", "{message}");
        answered += usize::from(message["type"] == "ok");
    }
    assert!(begun.elapsed() > Duration::from_secs(5), "{:?}", begun.elapsed());
    reader.count_from(20);
    reader.ask("ping", json!({})).await;
}
