//! Invisible users.

use std::time::Duration;

use reachability_tests::socket::JsonSocket;
use serde_json::{Value, json};
use tokio::join;
use tokio::time::sleep;

use super::{QUIET, Setup, create, open, open_with, presence};

#[tokio::test]
async fn who_connects_invisible_is_seen_by_nobody() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    create(&setup, &["john"]).await;
    let mut jane = open(&setup, "jane").await;
    let mut alice = setup.watcher("alice").await;
    alice.watch("john").await;
    let before = jane.watch(&["john"]).await.user("john").clone();
    let mut john = open_with(&setup, "john", json!({"invisible": true, "status": "secret"})).await;
    let own = john.connected["user"].clone();
    assert_eq!((&own["online"], &own["invisible"], &own["status"]), (&json!(true), &json!(true), &json!("secret")));
    john.watch(&["john"]).await;
    let mut phone = open(&setup, "john").await;
    assert_eq!(phone.connected["user"]["invisible"], true, "it stays so");
    phone.ask("set_user", json!({"status": "more secret"})).await.ok();
    assert_eq!(john.event("user.presence.changed").await["user"]["status"], "more secret", "it sees itself");
    phone.goodbye().await;
    assert_eq!(jane.next_within(QUIET).await, None);
    assert_eq!(jane.watch(&["john"]).await.user("john"), &before, "nothing shows, not even a revision");
    assert_eq!(presence(&setup, "john").await, before);
    assert_eq!(alice.changes_within(QUIET).await, []);

    john.ask("set_user", json!({"invisible": false})).await.ok();
    let event = jane.event("user.presence.changed").await;
    assert_eq!((&event["user"]["online"], &event["user"]["status"]), (&json!(true), &json!("more secret")));
    assert_eq!(alice.until("john", Some(true)).await, 1);
}

/// What a client wants to show from its connect on comes in one change with it, or not at all.
#[tokio::test]
async fn what_is_set_with_a_connect_is_one_change() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    create(&setup, &["john"]).await;
    let mut jane = open(&setup, "jane").await;
    let mut alice = setup.watcher("alice").await;
    alice.watch("john").await;
    jane.watch(&["john"]).await;
    let hears = async |jane: &mut JsonSocket, online: bool, status: &str| {
        let event = jane.event("user.presence.changed").await;
        assert_eq!((&event["user"]["online"], &event["user"]["status"]), (&json!(online), &json!(status)), "{event}");
        assert_eq!(event["user"], presence(&setup, "john").await);
        assert_eq!(jane.next_within(QUIET).await, None, "once");
    };
    let john = open_with(&setup, "john", json!({"status": "here"})).await;
    assert_eq!(john.connected["user"]["status"], "here");
    hears(&mut jane, true, "here").await;
    assert_eq!(alice.until("john", Some(true)).await, 1);
    john.goodbye().await;
    hears(&mut jane, false, "here").await;
    assert_eq!(alice.until("john", Some(false)).await, 1);

    let before = presence(&setup, "john").await;
    let hidden = open_with(&setup, "john", json!({"invisible": true, "status": "secret"})).await;
    let own = &hidden.connected["user"];
    assert_eq!((&own["online"], &own["invisible"], &own["status"]), (&json!(true), &json!(true), &json!("secret")));
    assert_eq!(jane.next_within(QUIET).await, None);
    hidden.goodbye().await;
    assert_eq!(jane.next_within(QUIET).await, None);
    assert_eq!(presence(&setup, "john").await, before, "nothing shows, not even a revision");

    let john = open_with(&setup, "john", json!({"invisible": false, "status": "back"})).await;
    let own = &john.connected["user"];
    assert_eq!((&own["online"], &own["invisible"], &own["status"]), (&json!(true), &json!(false), &json!("back")));
    hears(&mut jane, true, "back").await;
    assert_eq!(alice.until("john", Some(true)).await, 1);
    // Another device makes both invisible, and this is a goodbye.
    let hidden = open_with(&setup, "john", json!({"invisible": true})).await;
    hears(&mut jane, false, "back").await;
    drop((john, hidden));
    assert_eq!(jane.next_within(QUIET).await, None);
}

#[tokio::test]
async fn becoming_invisible_looks_like_a_goodbye() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let (mut hidden, gone) = (open(&setup, "hidden").await, open(&setup, "gone").await);
    let mut jane = open(&setup, "jane").await;
    jane.watch(&["hidden", "gone"]).await;
    hidden.watch(&["hidden"]).await;
    gone.goodbye().await;
    let expected = jane.event("user.presence.changed").await;
    hidden.ask("set_user", json!({"invisible": true})).await.ok();
    let event = jane.event("user.presence.changed").await;
    let fields = |event: &Value| {
        let names: Vec<String> = event["user"].as_object().unwrap().keys().cloned().collect();
        (names, event["user"]["online"].clone(), event["user"]["status"].clone(), event["user"]["notifiable"].clone())
    };
    assert_eq!(fields(&event), fields(&expected));
    assert_eq!(event["user"]["last_active"], event["at"], "it was active until then");
    assert_eq!(hidden.event("user.presence.changed").await["user"]["online"], true, "it is there for itself");
    let seen = presence(&setup, "hidden").await;
    assert_eq!(seen, event["user"]);
    // Nothing that it does is seen, and its real end is not either.
    hidden.ask("set_user", json!({"status": "x"})).await.ok();
    hidden.goodbye().await;
    assert_eq!(jane.next_within(QUIET).await, None);
    assert_eq!(presence(&setup, "hidden").await, seen);
}

/// Reachability is switched on while users connect with a wish, and off again.
#[tokio::test]
async fn a_wish_beside_a_switch_is_kept() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    create(&setup, &["john"]).await;
    let mut jane = open(&setup, "jane").await;
    let mut shown = jane.watch(&["john"]).await.user("john").clone();
    let configuration = format!("/v1/Services/{}/Configuration", setup.service);
    let mut last_visible = Value::Null;
    for round in 0..12 {
        setup.client.post(&configuration, "ReachabilityEnabled=false").await;
        let (status, invisible) = (format!("round {round}"), round % 3 == 0);
        let switched = async {
            sleep(Duration::from_micros(500 * round)).await;
            setup.client.post(&configuration, "ReachabilityEnabled=true").await
        };
        let connected = open_with(&setup, "john", json!({"invisible": invisible, "status": status}));
        let (_, mut john) = join!(switched, connected);
        let own = &john.connected["user"];
        assert_eq!((&own["invisible"], &own["status"]), (&json!(invisible), &json!(status)), "{own}");
        john.ask("ping", json!({})).await;
        while let Some(message) = jane.next_within(QUIET).await {
            shown = message["user"].clone();
        }
        // Others have not seen an invisible one since reachability was switched on.
        assert_eq!(shown["online"], if invisible { Value::Null } else { true.into() }, "{round}: {shown}");
        // A switch alone is not told if it shows nothing else.
        let mut read = presence(&setup, "john").await;
        assert!(shown["revision"].as_u64() <= read["revision"].as_u64(), "{round}: {shown}, {read}");
        read["revision"] = shown["revision"].clone();
        assert_eq!(shown, read, "{round}");
        if !invisible {
            last_visible = status.into();
        }
        assert_eq!(shown["status"], last_visible, "{round}: {shown}");
        john.goodbye().await;
        jane.ask("ping", json!({})).await;
    }
}
