//! Coming back.

use reachability_tests::server::Server;
use serde_json::json;

use super::{QUIET, Setup, create, open, open_with};

/// After a restart of the server, one message brings all watches back, and what was missed.
#[tokio::test]
async fn watches_are_restored_after_a_restart() {
    let mut setup = Setup::new(&["--grace-seconds", "0", "--restart-grace-seconds", "3600"]).await;
    create(&setup, &["john", "jack", "joe"]).await;
    let mut jane = open(&setup, "jane").await;
    let jack = open(&setup, "jack").await;
    let users = jane.watch(&["john", "jack"]).await;
    let first = jane.last_id();
    let data = json!({"members": ["joe"]});
    let channel = json!({"channel_type": "team", "channel_id": "red", "data": data, "presence": true});
    let members = jane.ask("watch_channel", channel).await.ok();
    let second = jane.last_id();
    let mut known = serde_json::Map::new();
    for user in users.users.iter().chain(&members.users) {
        known.insert(user["id"].as_str().unwrap().to_owned(), user["revision"].clone());
    }
    // What happens while jane is away.
    drop(jane);
    jack.goodbye().await;
    let path = format!("/v1/Services/{}/Channels", setup.service);
    setup.client.post(&format!("{path}/team/red/Members"), "Identity=new").await;
    setup.client.post(&path, "Type=team&Id=blue&Identity=jack").await;
    setup.client.delete(&format!("/v1/Services/{}/Users/joe", setup.service)).await;
    let (status, logs) = setup.server.stop();
    assert!(status.success(), "{logs}");
    setup.server = Server::start(setup.directory.path(), &["--grace-seconds", "0"]);
    setup.client = reachability_tests::client::Client::of(&setup.server);

    let mut jane = open(&setup, "jane").await;
    jane.count_from(second);
    known.insert("jane".to_owned(), jane.connected["user"]["revision"].clone());
    let watches = json!([
        {"watch": first, "users": ["john", "jack"]},
        {"watch": second, "channels": ["team:red", "team:blue", "team:none"]},
    ]);
    let restored = jane.ask("restore", json!({"watches": watches, "known": known})).await.ok();
    assert_eq!(restored.last["gone"], json!(["team:blue", "team:none"]));
    assert_eq!(restored.members, [("team:red".to_owned(), ["jane", "joe", "new"].map(str::to_owned).to_vec())]);
    let mut ids = restored.ids();
    ids.sort_unstable();
    assert_eq!(ids, ["jack", "joe", "new"], "those who are not as they were known");
    assert_eq!(restored.user("jack")["online"], false);
    assert_eq!((&restored.user("joe")["revision"], &restored.user("joe")["created_at"]), (&json!(0), &json!(null)));

    let john = open(&setup, "john").await;
    assert_eq!(jane.event("user.presence.changed").await["user"]["id"], "john");
    let _new = open(&setup, "new").await;
    jane.until("new", Some(true)).await;
    jane.ask("unwatch", json!({"watch": first})).await.ok();
    jane.ask("unwatch", json!({"watch": second})).await.ok();
    john.goodbye().await;
    assert_eq!(jane.next_within(QUIET).await, None);
}

/// A client that comes back with its continuation token was never away.
#[tokio::test]
async fn a_newer_socket_of_the_same_client_takes_over() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let mut jane = open(&setup, "jane").await;
    let mut john = open(&setup, "john").await;
    jane.watch(&["john"]).await;
    let token = john.connected["continuation_token"].clone();
    let newer = open_with(&setup, "john", json!({"continuation_token": token})).await;
    assert_eq!(john.end().await, reachability_tests::twilsock::Ended::Closed(4409, "superseded".into()));
    assert_eq!(jane.next_within(QUIET).await, None);
    newer.goodbye().await;
    jane.until("john", Some(false)).await;
}
