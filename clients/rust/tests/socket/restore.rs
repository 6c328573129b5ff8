//! What a client finds out when it is back.

use reachability_client::{Client, Connection, ErrorCode, Event, QueryOptions};
use serde_json::{Value, json};

use crate::channels::watch_channel;
use crate::server::{Peer, Server, brief, briefs, next, settle, until_online, user, watch};

/// The client comes back, and asks for this.
async fn restored(server: &Server) -> (Peer, Value) {
    let (mut peer, _) = server.accept_connect().await;
    let restore = peer.expect("restore").await;
    (peer, restore)
}

fn sorted(list: &Value) -> Vec<&str> {
    let mut list: Vec<&str> = list.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    list.sort_unstable();
    list
}

async fn is_online(client: &Client, peer: &mut Peer) {
    settle(client, peer).await;
    assert!(matches!(client.connection(), Connection::Online { .. }));
}

#[tokio::test]
async fn one_message_restores_all_watches_and_what_changed_meanwhile_is_told() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let _users = watch(&client, &mut peer, &[user("john", 5, true), user("jack", 6, true), user("jim", 7, true)]).await;
    let _channel = watch_channel(&client, &mut peer, "general", &["jill"]).await;
    let mut events = client.events();
    drop(peer);

    let (mut peer, restore) = restored(&server).await;
    assert_eq!(restore["watches"].as_array().unwrap().len(), 2);
    assert_eq!(restore["watches"][0]["watch"], 2);
    assert_eq!(sorted(&restore["watches"][0]["users"]), ["jack", "jim", "john"]);
    assert_eq!(restore["watches"][1], json!({"watch": 3, "channels": ["messaging:general"]}));
    assert_eq!(restore["known"], json!({"john": 5, "jack": 6, "jim": 7, "jill": 1}));
    assert!(client.user("jim").unwrap().stale && client.me().stale);

    // What the client knows comes again; john changed; of jack, the event comes first; jim has another name.
    peer.presence(user("jack", 9, false)).await;
    let mut jim = user("jim", 8, true);
    jim["name"] = "Jim".into();
    peer.users(&restore, &[user("john", 6, false), user("jack", 8, true), jim, user("jill", 1, true)]).await;
    let members = json!({"type": "part", "id": restore["id"], "channel": "messaging:general", "members": ["jill"]});
    peer.send(members).await;
    peer.ok(&restore, json!({"gone": []})).await;
    peer.presence(user("john", 6, false)).await;
    peer.presence(user("john", 7, true)).await;

    let told: Vec<String> = until_online(&mut events).await.iter().map(brief).collect();
    assert_eq!(told, ["jack presence 9", "john presence 6", "jim updated 8"]);
    assert_eq!(briefs(&mut events, 1).await, ["john presence 7"]);
    assert!(!client.user("jim").unwrap().stale && !client.me().stale);
}

#[tokio::test]
async fn what_changed_meanwhile_has_no_time() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let _users = watch(&client, &mut peer, &[user("john", 5, true)]).await;
    let mut events = client.events();
    drop(peer);
    let (mut peer, restore) = restored(&server).await;
    peer.users(&restore, &[user("john", 6, false)]).await;
    peer.ok(&restore, json!({"gone": []})).await;
    let told = until_online(&mut events).await;
    assert!(matches!(&told[..], [Event::PresenceChanged { at: None, .. }]), "{told:?}");
}

#[tokio::test]
async fn with_nobody_to_watch_there_is_nothing_to_restore() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let _nobody = watch(&client, &mut peer, &[]).await;
    drop(peer);
    let (mut peer, _) = server.accept_connect().await;
    is_online(&client, &mut peer).await;
}

#[tokio::test]
async fn members_channels_and_users_that_are_gone_are_told() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let _general = watch_channel(&client, &mut peer, "general", &["john", "jack"]).await;
    let _closed = watch_channel(&client, &mut peer, "closed", &["john", "joe"]).await;
    let mut events = client.events();
    drop(peer);

    let (mut peer, restore) = restored(&server).await;
    let mut absent = user("john", 0, false);
    absent["created_at"] = Value::Null;
    peer.users(&restore, &[absent, user("jill", 3, true)]).await;
    let cid = "messaging:general";
    peer.send(json!({"type": "part", "id": restore["id"], "channel": cid, "members": ["john"]})).await;
    // Whom the list does not have yet joined while it was on its way.
    peer.send(json!({"type": "member.added", "cid": cid, "user": user("jim", 2, true)})).await;
    peer.send(json!({"type": "part", "id": restore["id"], "channel": cid, "members": ["jill"]})).await;
    peer.ok(&restore, json!({"gone": ["messaging:closed"]})).await;

    let mut told: Vec<String> = until_online(&mut events).await.iter().map(brief).collect();
    told.sort_unstable();
    let expected = [
        "jack left messaging:general",
        "jill joined messaging:general",
        "jim joined messaging:general",
        "john deleted",
        "messaging:closed deleted",
    ];
    assert_eq!(told, expected);
    assert!(client.user("joe").is_none() && client.user("jack").is_none());
    assert_eq!(client.user("john").unwrap().user.created_at, None);
}

#[tokio::test]
async fn a_watch_that_is_stopped_meanwhile_is_not_restored_and_what_is_asked_waits() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let mut john = watch(&client, &mut peer, &[user("john", 5, true)]).await;
    let mut jack = watch(&client, &mut peer, &[user("jack", 5, true)]).await;
    let mut joe = watch(&client, &mut peer, &[user("joe", 5, true)]).await;
    let _jill = watch(&client, &mut peer, &[user("jill", 5, true)]).await;
    let mut events = client.events();
    drop(peer);
    assert!(matches!(next(&mut events).await, Event::ConnectionChanged(Connection::Offline { .. })));
    john.watch.take().unwrap().stop().await.unwrap();

    let (mut peer, restore) = restored(&server).await;
    assert_eq!(restore["known"], json!({"jack": 5, "joe": 5, "jill": 5}));
    // These the server restores, and has to be told after it did.
    drop(joe.watch.take());
    let stop = jack.watch.take().unwrap().stop();
    let (stopped, ()) = tokio::join!(stop, async {
        peer.presence(user("jill", 6, false)).await;
        while brief_of_presence(&mut events).await != Some(6) {}
        assert!(client.user("jill").unwrap().stale);
        peer.ok(&restore, json!({"gone": []})).await;
        assert_eq!(peer.expect("unwatch").await["watch"], 4);
        let unwatch = peer.expect("unwatch").await;
        assert_eq!(unwatch["watch"], 3);
        peer.ok(&unwatch, json!({})).await;
    });
    stopped.unwrap();
    assert!(client.user("jack").is_none() && !client.user("jill").unwrap().stale);
}

async fn brief_of_presence(events: &mut reachability_client::Events) -> Option<u64> {
    match next(events).await {
        Event::PresenceChanged { user, .. } => Some(user.revision),
        _ => None,
    }
}

#[tokio::test]
async fn a_restore_that_cannot_be_now_is_tried_again() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let _users = watch(&client, &mut peer, &[user("john", 5, true)]).await;
    drop(peer);
    for word in ["unavailable", "too_many_requests"] {
        let (mut peer, restore) = restored(&server).await;
        peer.error(&restore, word, json!({"retry_after": 0.001})).await;
    }
    let (mut peer, restore) = restored(&server).await;
    assert_eq!(restore["known"], json!({"john": 5}));
    peer.ok(&restore, json!({"gone": []})).await;
    is_online(&client, &mut peer).await;
}

#[tokio::test]
async fn watches_that_are_refused_for_good_are_told_as_lost() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let _users = watch(&client, &mut peer, &[user("john", 5, true)]).await;
    let mut events = client.events();
    drop(peer);
    let (mut peer, restore) = restored(&server).await;
    peer.error(&restore, "too_many_users", json!({"limit": 10})).await;
    let told = until_online(&mut events).await;
    let [Event::WatchesLost { refusal }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&refusal.code, refusal.limit), (&ErrorCode::TooManyUsers, Some(10)));
    assert!(client.user("john").is_none());
    is_online(&client, &mut peer).await;
}

#[tokio::test]
async fn what_is_too_large_for_one_message_is_restored_with_several() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let users: Vec<Value> = (0..9_000).map(|n| user(&format!("{n:060}"), 1_795_132_800_123, true)).collect();
    let options = QueryOptions { presence: true, ..QueryOptions::default() };
    let (page, ()) = tokio::join!(client.query_users(json!({"online": true}), Value::Null, options), async {
        let request = peer.expect("query_users").await;
        for part in users.chunks(200) {
            peer.users(&request, part).await;
        }
        peer.ok(&request, json!({"count": users.len(), "cursor": null, "index": "online"})).await;
    });
    let page = page.unwrap();
    let mut events = client.events();
    drop(peer);
    let (mut peer, mut restore) = restored(&server).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        assert!(restore.to_string().len() <= 1_048_576);
        let watches = restore["watches"].as_array().unwrap();
        assert_eq!((watches.len(), &watches[0]["watch"]), (1, &page.watch.as_ref().unwrap().id().into()));
        let users = sorted(&watches[0]["users"]);
        assert!(users.iter().all(|id| restore["known"][id] == 1_795_132_800_123_u64));
        ids.extend(users.into_iter().map(str::to_owned));
        assert!(client.me().stale);
        peer.ok(&restore, json!({"gone": []})).await;
        if ids.len() < 9_000 {
            restore = peer.expect("restore").await;
        }
    }
    ids.sort_unstable();
    assert!(ids.iter().map(String::as_str).eq(users.iter().map(|user| user["id"].as_str().unwrap())));
    assert!(until_online(&mut events).await.is_empty());
    is_online(&client, &mut peer).await;
}

#[tokio::test]
async fn a_connection_that_is_lost_again_before_the_watches_are_restored_restores_them_the_next_time() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let _users = watch(&client, &mut peer, &[user("john", 5, true), user("jack", 5, true)]).await;
    let mut events = client.events();
    drop(peer);
    let (mut peer, restore) = restored(&server).await;
    peer.users(&restore, &[user("john", 6, false)]).await;
    loop {
        if let Event::PresenceChanged { .. } = next(&mut events).await {
            break;
        }
    }
    drop(peer);
    let (mut peer, restore) = restored(&server).await;
    assert_eq!(restore["known"], json!({"john": 6, "jack": 5}));
    peer.ok(&restore, json!({"gone": []})).await;
    assert!(until_online(&mut events).await.is_empty());
}
