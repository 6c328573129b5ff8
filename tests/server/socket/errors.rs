//! Requests that are refused, and sockets that are closed: with the words and the codes of `docs/socket.md`.

use std::fs;
use std::path::Path;

use reachability_tests::events::event;
use reachability_tests::socket::JsonSocket;
use reachability_tests::twilsock::Ended;
use reachability_tests::wait::wait;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{Setup, create, open};

/// The most users that are looked at without an index.
const MOST: usize = 10_000;

/// Users who connect, and many of them.
async fn connect_many(setup: &Setup, count: usize) {
    let names: Vec<String> = (0..count).map(|n| format!("user-{n:05}")).collect();
    let connects: Vec<Value> = names.iter().map(|name| event(&setup.service, name, "connect")).collect();
    for some in connects.chunks(500) {
        setup.client.post(&format!("/v1/Services/{}/Events", setup.service), Value::from(some).to_string()).await;
    }
    let path = |name: &str| format!("/v1/Services/{}/Presence/{name}", setup.service);
    for name in [&names[0], &names[count - 1]] {
        let is_online = async || (setup.client.get(&path(name)).await["online"] == true).then_some(());
        wait(&format!("{name} is online"), is_online).await;
    }
}

#[tokio::test]
async fn queries_are_bounded_and_paid_for() {
    let setup = Setup::new(&[]).await;
    connect_many(&setup, MOST).await;
    let mut jane = open(&setup, "jane").await;
    let broad = json!({"sort": {"name": 1}, "limit": 1});
    assert_eq!(jane.ask("query_users", broad.clone()).await.code(), "query_too_broad");
    // What an index answers is answered all the same, and so is what can go on from where it ended.
    let named = jane.ask("query_users", json!({"filter": {"id": "user-09999"}, "sort": {"name": 1}})).await.ok();
    assert_eq!(named.ids(), ["user-09999"]);
    let found = jane.ask("query_users", json!({"filter": {"color": "green"}})).await.ok();
    assert_eq!((found.users.len(), found.last["cursor"].is_string()), (0, true), "{}", found.last);

    // It costs as much as a hundred others.
    let mut asked = 0;
    let refused = loop {
        let answer = jane.ask("query_users", broad.clone()).await;
        if answer.code() != "query_too_broad" {
            break answer;
        }
        asked += 1;
        assert!(asked < 200, "it costs nothing");
    };
    assert_eq!(refused.code(), "too_many_requests");
    assert!(refused.last["retry_after"].is_u64(), "{}", refused.last);
    assert_eq!(jane.ask("ping", json!({})).await.last["type"], "pong");
    // Each socket pays for itself.
    let mut joe = open(&setup, "joe").await;
    assert_eq!(joe.ask("query_users", broad).await.code(), "query_too_broad");
}

#[tokio::test]
async fn channels_and_answers_with_them_have_so_many_members() {
    let setup = Setup::new(&[]).await;
    let mut jane = open(&setup, "jane").await;
    let large = |members: Value| json!({"channel_type": "m", "channel_id": "large", "members": members});
    jane.ask("watch_channel", large(json!([]))).await.ok();
    let names = |from: usize, to: usize| (from..to).map(|n| format!("user-{n:05}")).collect::<Vec<_>>();
    let too_many = jane.ask("add_members", large(json!(names(0, 101)))).await;
    assert_eq!((too_many.code(), &too_many.last["limit"]), ("too_many_members", &json!(100)));
    for from in (0..9_900).step_by(100) {
        jane.ask("add_members", large(json!(names(from, from + 100)))).await.ok();
    }
    jane.ask("add_members", large(json!(names(9_900, 9_999)))).await.ok();
    let full = jane
        .ask("add_members", large(json!(names(0, 1).into_iter().chain(["one-more".into()]).collect::<Vec<_>>())))
        .await;
    assert_eq!((full.code(), &full.last["limit"]), ("too_many_members", &json!(MOST)));

    let all: Vec<String> = ["jane".to_owned()].into_iter().chain(names(0, 9_999)).collect();
    let one = jane.ask("watch_channel", large(json!([]))).await.ok();
    assert_eq!(one.members, [("m:large".to_owned(), all.clone())]);
    assert_eq!((&one.last["channel"]["member_count"], one.last["channel"].get("members")), (&json!(MOST), None));
    assert_eq!(one.ids(), all[..100]);
    // There may be thirty of them.
    let several = jane.ask("query_channels", json!({})).await.ok();
    assert!(several.members.is_empty());
    let channel = &several.last["channels"][0];
    assert_eq!((&channel["member_count"], &channel["members"]), (&json!(MOST), &json!(all[..100])));
    assert_eq!(several.ids(), all[..100]);
    let too_many =
        jane.ask("watch_channel", json!({"channel_type": "m", "channel_id": "large", "presence": true})).await;
    assert_eq!((too_many.code(), &too_many.last["limit"]), ("too_many_users", &json!(1_000)));
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let setup = Setup::new(&[]).await;
    let mut jane = open(&setup, "jane").await;
    assert_eq!(jane.ask("connect", json!({"token": setup.token("jane")})).await.code(), "already_connected");
    assert_eq!(jane.ask("subscribe", json!({})).await.code(), "unknown_type");
    let channel = |more: Value| {
        let mut fields = json!({"channel_type": "m", "channel_id": "x"});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    for (kind, fields) in [
        ("watch_channel", channel(json!({"data": {"members": [""]}}))),
        ("add_members", channel(json!({"members": ["US0123456789abcdef0123456789abcdef"]}))),
        ("remove_members", channel(json!({"members": ["x".repeat(600)]}))),
        ("restore", json!({"watches": [{"watch": 1, "users": ["john", ""]}]})),
    ] {
        assert_eq!(jane.ask(kind, fields.clone()).await.code(), "invalid_identity", "{kind} {fields}");
    }
    assert_eq!(jane.ask("watch_channel", channel(json!({}))).await.ok().last["created"], true, "it was not created");
}

#[tokio::test]
async fn a_socket_has_so_many_watches() {
    let setup = Setup::new(&[]).await;
    create(&setup, &["john", "jack"]).await;
    let mut jane = open(&setup, "jane").await;
    jane.count_from(2_000);
    let watches = |count: u64| (1..=count).map(|watch| json!({"watch": watch, "users": ["john"]})).collect::<Vec<_>>();
    let too_many = jane.ask("restore", json!({"watches": watches(1_001)})).await;
    assert_eq!((too_many.code(), &too_many.last["limit"]), ("limit_reached", &json!(1_000)));
    let restored = jane.ask("restore", json!({"watches": watches(1_000)})).await.ok();
    assert_eq!(restored.ids(), ["john"], "once");
    let jack = json!({"filter": {"id": "jack"}, "presence": true});
    let too_many = jane.ask("query_users", jack.clone()).await;
    assert_eq!((too_many.code(), &too_many.last["limit"]), ("limit_reached", &json!(1_000)));
    // Of a restore that is too much in part, nothing is begun.
    jane.ask("unwatch", json!({"watch": 1_000})).await.ok();
    let both = json!([{"watch": 1_500, "users": ["jack"]}, {"watch": 1_501, "users": ["jack"]}]);
    assert_eq!(jane.ask("restore", json!({"watches": both})).await.code(), "limit_reached");
    let of_jack = open(&setup, "jack").await;
    assert_eq!(jane.next_within(super::QUIET).await, None);
    jane.ask("query_users", jack).await.ok();
    of_jack.goodbye().await;
    jane.until("jack", Some(false)).await;
}

/// What the store cannot do, the client may try again.
#[tokio::test]
async fn a_store_that_fails_makes_nothing_worse() {
    let setup = Setup::new(&[]).await;
    let mut jane = open(&setup, "jane").await;
    let intruder = Connection::open(setup.directory.path().join("reachability.db")).unwrap();
    intruder.execute_batch("ALTER TABLE channels RENAME TO hidden; ALTER TABLE services RENAME TO secret").unwrap();
    let channel = json!({"channel_type": "m", "channel_id": "x", "presence": true});
    assert_eq!(jane.ask("watch_channel", channel.clone()).await.code(), "unavailable");
    let mut john = JsonSocket::connect(setup.server.address()).await.unwrap();
    assert_eq!(john.init(&setup.token("john"), json!({})).await["code"], "unavailable");
    assert_eq!(john.end().await, Ended::Closed(4503, "unavailable".into()));
    intruder.execute_batch("ALTER TABLE hidden RENAME TO channels; ALTER TABLE secret RENAME TO services").unwrap();
    assert_eq!(jane.ask("watch_channel", channel).await.ok().last["created"], true);
    open(&setup, "john").await;
}

#[tokio::test]
async fn a_silent_stranger_is_sent_away() {
    let setup = Setup::new(&[]).await;
    let mut polite = JsonSocket::connect(setup.server.address()).await.unwrap();
    polite.send(&json!({"type": "close"})).await;
    assert_eq!(polite.end().await, Ended::Closed(1000, "goodbye".into()));
    let mut stranger = JsonSocket::connect(setup.server.address()).await.unwrap();
    assert_eq!(stranger.end().await, Ended::Closed(4408, "no_connect".into()));
}

/// The real server is made to say each word, and to close with each reason.
#[test]
fn every_error_and_every_close_is_tested() {
    const DOCUMENT: &str = include_str!("../../../docs/socket.md");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("server/socket");
    let tests: String =
        fs::read_dir(directory).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    // One process has channels.
    let elsewhere = ["not_supported"];
    let rows = |section: &str, column: usize| {
        let section = DOCUMENT.split_once(&format!("\n## {section}\n")).unwrap().1.split("\n## ").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| "));
        let cells = rows.filter_map(|row| row.split(" | ").nth(column)).map(|cell| cell.trim_matches(['|', ' ']));
        cells.filter_map(|cell| cell.strip_prefix('`')?.strip_suffix('`')).collect::<Vec<_>>()
    };
    let (errors, closes) = (rows("Errors", 0), rows("Closes", 1));
    assert!(errors.len() >= 20 && closes.len() >= 17, "{errors:?} {closes:?}");
    for word in errors.into_iter().chain(closes).filter(|word| !elsewhere.contains(word)) {
        assert!(tests.contains(&format!("\"{word}\"")), "no test has the server say {word}");
    }
}
