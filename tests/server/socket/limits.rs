//! What clients can take is limited.

use reachability_tests::socket::JsonSocket;
use serde_json::{Value, json};

use super::{Setup, create, open, presence};

#[tokio::test]
async fn users_and_watches_are_so_many() {
    let setup = Setup::new(&["--max-users-per-watch", "2", "--max-connections-per-user", "1"]).await;
    create(&setup, &["a", "b", "c"]).await;
    let mut jane = open(&setup, "jane").await;
    assert_eq!(jane.connected["limits"]["users_per_watch"], 2);
    let mut second = JsonSocket::connect(setup.server.address()).await.unwrap();
    let refused = second.init(&setup.token("jane"), json!({})).await;
    assert_eq!(refused["code"], "limit_reached", "{refused}");
    assert_eq!(second.end().await, reachability_tests::twilsock::Ended::Closed(4429, "limit_reached".into()));

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

#[tokio::test]
async fn who_reads_too_slowly_is_cut_off() {
    let setup = Setup::new(&["--grace-seconds", "0", "--ping-seconds", "3600"]).await;
    let mut john = open(&setup, "john").await;
    let stream = crate::sockets::limits::from(&setup, "127.0.0.1", Some(4_096)).await;
    let mut slow = JsonSocket::over(stream).await.unwrap();
    slow.init(&setup.token("slow"), json!({})).await;
    slow.watch(&["john"]).await;
    // From now on it reads nothing.
    for n in 0..1_000 {
        let path = format!("/v1/Services/{}/Users/john", setup.service);
        setup.client.post(&path, format!("Attributes=%7B%22a%22%3A%22{}{n}%22%7D", "x".repeat(4_000))).await;
        if presence(&setup, "slow").await["online"] == Value::Bool(false) {
            john.ask("ping", json!({})).await;
            return;
        }
    }
    panic!("a client that reads nothing is still there");
}
