//! Watching users, and being one.

use reachability_tests::socket::JsonSocket;
use serde_json::{Value, json};

use super::{QUIET, Setup, create, open, open_with, presence, set};

#[tokio::test]
async fn a_client_connects_and_says_what_it_does() {
    let setup = Setup::new(&[]).await;
    let mut jane = open_with(&setup, "jane", json!({"status": "Eating a veggie burger...", "device": "phone"})).await;
    let connected = jane.connected.clone();
    let own = &connected["user"];
    assert_eq!((&own["id"], &own["online"], &own["invisible"]), (&json!("jane"), &json!(true), &json!(false)), "{own}");
    assert_eq!(own["status"], "Eating a veggie burger...");
    assert_eq!(connected["limits"], json!({"users_per_watch": 1_000, "watched_users": 10_000}));
    assert!(connected["connection_id"].is_string() && connected["continuation_token"].is_string(), "{connected}");

    // What is left out stays.
    let user = jane.ask("set_user", json!({"invisible": true})).await.ok().last["user"].clone();
    assert_eq!((&user["invisible"], &user["status"]), (&json!(true), &own["status"]), "{user}");
    let user = jane.ask("set_user", json!({"invisible": false, "status": null})).await.ok().last["user"].clone();
    assert_eq!((&user["invisible"], &user["status"]), (&json!(false), &Value::Null), "{user}");
    assert!(own["revision"].as_u64() < user["revision"].as_u64());
    let seen = presence(&setup, "jane").await;
    assert_eq!((&seen["online"], &seen["revision"]), (&json!(true), &user["revision"]), "{seen}");
    let long = jane.ask("set_user", json!({"status": "x".repeat(257)})).await;
    assert_eq!((long.code(), &long.last["limit"]), ("invalid_status", &json!(256)));

    let answer = jane.ask("ping", json!({})).await;
    assert_eq!(answer.last["type"], "pong");
    let renewed = jane.ask("token", json!({"token": setup.token("jane")})).await.ok();
    assert!(renewed.last["expires_at"].is_string());
    jane.goodbye().await;
    assert_eq!(setup.shown("jane").await, false);
}

#[tokio::test]
async fn a_watcher_hears_each_change_once() {
    let setup = Setup::new(&["--grace-seconds", "3600"]).await;
    create(&setup, &["john", "jack"]).await;
    let mut jane = open(&setup, "jane").await;
    let mut stranger = open(&setup, "stranger").await;
    // Twice, and john a third time.
    let found = jane.watch(&["john", "jack"]).await;
    assert_eq!(found.ids(), ["jack", "john"]);
    assert_eq!((&found.last["count"], &found.last["index"]), (&json!(2), &json!("id")), "{}", found.last);
    assert_eq!(found.user("john")["online"], Value::Null);
    assert_eq!(found.user("john")["invisible"], Value::Null, "that is nobody else's business");
    jane.watch(&["john", "jack"]).await;
    jane.watch(&["john"]).await;
    let first = jane.last_id() - 2;

    let mut john = open(&setup, "john").await;
    let event = jane.event("user.presence.changed").await;
    assert_eq!((&event["user"]["id"], &event["user"]["online"]), (&json!("john"), &json!(true)), "{event}");
    assert!(event["user"]["last_active"].is_string() && event["at"].is_string(), "{event}");
    assert_eq!(event["user"]["created_at"], found.user("john")["created_at"], "the whole public user");
    john.ask("set_user", json!({"status": "here"})).await.ok();
    let event = jane.event("user.presence.changed").await;
    assert_eq!((&event["user"]["status"], &event["user"]["online"]), (&json!("here"), &json!(true)));
    assert_eq!(event["user"], presence(&setup, "john").await, "REST says the same");
    // The same again is no change.
    john.ask("set_user", json!({"status": "here"})).await.ok();
    set(&setup, "john", "FriendlyName=John&Attributes=%7B%22color%22%3A%22green%22%7D").await;
    let event = jane.event("user.updated").await;
    assert_eq!((&event["user"]["name"], &event["user"]["custom"]), (&json!("John"), &json!({"color": "green"})));
    john.goodbye().await;
    let event = jane.event("user.presence.changed").await;
    assert_eq!((&event["user"]["online"], &event["user"]["name"]), (&json!(false), &json!("John")));
    setup.client.delete(&format!("/v1/Services/{}/Users/john", setup.service)).await;
    let deleted = jane.event("user.deleted").await;
    assert_eq!(deleted["id"], "john");
    // Whoever comes back is watched still, and is newer.
    let mut john = open(&setup, "john").await;
    let again = jane.until("john", Some(true)).await;
    assert_eq!(again["name"], Value::Null);
    let revisions = [&event["user"], &deleted, &again].map(|it| it["revision"].as_u64().unwrap());
    assert!(revisions.is_sorted_by(|one, next| one < next), "{revisions:?}");

    // The other watches have it still, and then none has.
    jane.ask("unwatch", json!({"watch": first})).await.ok();
    jane.ask("unwatch", json!({"watch": first})).await.ok();
    john.ask("set_user", json!({"status": "one"})).await.ok();
    assert_eq!(jane.event("user.presence.changed").await["user"]["status"], "one");
    for watch in [first + 1, first + 2] {
        jane.ask("unwatch", json!({"watch": watch})).await.ok();
    }
    john.ask("set_user", json!({"status": "two"})).await.ok();
    assert_eq!(jane.next_within(QUIET).await, None);
    assert_eq!(stranger.next_within(QUIET).await, None, "who watches nobody hears nothing");
}

#[tokio::test]
async fn the_devices_of_a_user_are_one() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let mut jane = open(&setup, "jane").await;
    let mut phone = open_with(&setup, "john", json!({"device": "phone"})).await;
    jane.watch(&["john"]).await;
    phone.watch(&["john"]).await;
    let mut laptop = open(&setup, "john").await;
    // The owner sees them apart.
    let shown = setup.client.get(&format!("/v1/Services/{}/Presence/john", setup.service)).await;
    let shown = shown["connections"].as_array().unwrap();
    assert_eq!(
        (shown.len(), &shown[0]["device"], &shown[1]["device"]),
        (2, &json!("phone"), &Value::Null),
        "{shown:?}"
    );
    assert!(shown[0]["since"].as_str().unwrap() <= shown[1]["since"].as_str().unwrap(), "{shown:?}");
    assert_eq!((&shown[0]["until"], &shown[1]["until"]), (&Value::Null, &Value::Null), "they need no renewal");
    laptop.ask("set_user", json!({"status": "here"})).await.ok();
    // Each device that watches its own user hears it, as it is; the second connect is no change.
    let own = phone.event("user.presence.changed").await;
    assert_eq!((&own["user"]["status"], &own["user"]["invisible"]), (&json!("here"), &json!(false)), "{own}");
    let event = jane.event("user.presence.changed").await;
    assert_eq!((&event["user"]["status"], &event["user"]["invisible"]), (&json!("here"), &Value::Null), "{event}");
    phone.goodbye().await;
    assert_eq!(jane.next_within(QUIET).await, None, "there is another device");
    laptop.goodbye().await;
    jane.until("john", Some(false)).await;
}

#[tokio::test]
async fn queries_find_users_by_what_others_see() {
    let setup = Setup::new(&[]).await;
    create(&setup, &["a", "b", "c"]).await;
    set(&setup, "b", "Attributes=%7B%22color%22%3A%22green%22%7D&FriendlyName=Bertha+Blue").await;
    let _c = open(&setup, "c").await;
    let mut jane = open_with(&setup, "jane", json!({"invisible": true})).await;
    let mut ask = async |query: Value| jane.ask("query_users", query).await;
    assert_eq!(ask(json!({})).await.ok().ids(), ["a", "b", "c", "jane"]);
    let online = ask(json!({"filter": {"online": true}})).await.ok();
    assert_eq!((online.ids(), &online.last["index"]), (vec!["c"], &json!("online")));
    assert_eq!(ask(json!({"filter": {"color": "green"}})).await.ok().ids(), ["b"]);
    assert_eq!(ask(json!({"filter": {"name": {"$autocomplete": "blu"}}})).await.ok().ids(), ["b"]);
    let page = ask(json!({"sort": {"id": -1}, "limit": 3})).await.ok();
    assert_eq!(page.ids(), ["jane", "c", "b"]);
    let rest = ask(json!({"sort": {"id": -1}, "limit": 3, "cursor": page.last["cursor"]})).await.ok();
    assert_eq!((rest.ids(), &rest.last["cursor"]), (vec!["a"], &Value::Null));
    for (query, word) in [
        (json!({"filter": {"id": {"$near": 1}}}), "invalid_filter"),
        (json!({"sort": {"id": 2}}), "invalid_sort"),
        (json!({"cursor": "x"}), "invalid_cursor"),
        (json!({"limit": 0}), "invalid_message"),
    ] {
        assert_eq!(ask(query.clone()).await.code(), word, "{query}");
    }
}

#[tokio::test]
async fn a_switch_reaches_every_watcher() {
    let setup = Setup::new(&["--grace-seconds", "3600"]).await;
    let mut jane = open(&setup, "jane").await;
    let _john = open_with(&setup, "john", json!({"status": "here"})).await;
    jane.watch(&["john"]).await;
    for _ in 0..2 {
        setup.switch(false).await;
        let user = jane.until("john", None).await;
        assert_eq!((&user["last_active"], &user["status"]), (&Value::Null, &json!("here")), "{user}");
        setup.switch(true).await;
        jane.until("john", Some(true)).await;
    }
}

/// Both protocols at once, and REST.
#[tokio::test]
async fn both_protocols_see_the_same() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let mut alice = setup.watcher("alice").await;
    let mut jane = open(&setup, "jane").await;
    create(&setup, &["john"]).await;
    alice.watch("john").await;
    jane.watch(&["john"]).await;
    let mut old = setup.open("john").await;
    assert_eq!(jane.until("john", Some(true)).await["online"], true);
    assert_eq!(alice.until("john", Some(true)).await, 1);
    let new: JsonSocket = open(&setup, "john").await;
    old.request("POST", "/Client/v2/Users/john", Some(&json!({"friendly_name": "Johnny"}))).await;
    assert_eq!(jane.event("user.updated").await["user"]["name"], "Johnny");
    assert_eq!(alice.change().await.unwrap().friendly_name.as_deref(), Some("Johnny"));
    old.goodbye().await;
    new.goodbye().await;
    let seen = jane.until("john", Some(false)).await;
    assert_eq!(alice.until("john", Some(false)).await, 1);
    assert_eq!(seen, presence(&setup, "john").await);
    assert_eq!(alice.seen("john").reachability.0, Some(false));
}
