//! Channels and their members.

use reachability_client::{ErrorCode, QueryOptions, WatchedChannel};
use serde_json::{Value, json};

use crate::server::{Peer, Server, briefs, channel, settle, user};

/// Watches a channel with these members.
pub(crate) async fn watch_channel(
    client: &reachability_client::Client,
    peer: &mut Peer,
    id: &str,
    members: &[&str],
) -> WatchedChannel {
    let reference = client.channel("messaging", id, Value::Null);
    let (watched, ()) = tokio::join!(reference.watch(true), async {
        let request = peer.expect("watch_channel").await;
        let users: Vec<Value> = members.iter().map(|id| user(id, 1, true)).collect();
        peer.users(&request, &users).await;
        peer.ok(&request, json!({"channel": channel(id, members), "created": false})).await;
    });
    watched.unwrap()
}

#[tokio::test]
async fn watch_creates_the_channel_and_answers_with_its_members() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let data = json!({"members": ["john", "jack"], "color": "green"});
    let reference = client.channel("messaging", "general", data.clone());
    let (watched, request) = tokio::join!(reference.watch(true), async {
        let request = peer.expect("watch_channel").await;
        peer.users(&request, &[user("john", 1, true), user("jack", 0, false)]).await;
        peer.ok(&request, json!({"channel": channel("general", &["john", "jack"]), "created": true})).await;
        request
    });
    let watched = watched.unwrap();
    let expected = json!({
        "id": 2, "type": "watch_channel", "channel_type": "messaging", "channel_id": "general", "data": data, "presence": true,
    });
    assert_eq!(request, expected);
    assert!(watched.created);
    assert_eq!(watched.watch.as_ref().map(reachability_client::Watch::id), Some(2));
    assert_eq!(
        (&*watched.channel.cid, &*watched.channel.kind, &*watched.channel.id),
        ("messaging:general", "messaging", "general")
    );
    assert_eq!(watched.channel.members, ["john".into(), "jack".into()]);
    assert_eq!(watched.channel.custom["color"], "green");
    assert_eq!(watched.users.iter().map(|user| &*user.id).collect::<Vec<_>>(), ["john", "jack"]);
    assert!(client.user("jack").is_some());
}

#[tokio::test]
async fn without_presence_a_channel_is_fetched_and_nobody_is_watched() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let reference = client.channel("messaging", "general", Value::Null);
    let (watched, request) = tokio::join!(reference.watch(false), async {
        let request = peer.expect("watch_channel").await;
        peer.users(&request, &[user("john", 1, true)]).await;
        peer.ok(&request, json!({"channel": channel("general", &["john"]), "created": false})).await;
        request
    });
    assert!(watched.unwrap().watch.is_none());
    assert!(!request["presence"].as_bool().unwrap_or_default());
    assert!(client.user("john").is_none());
}

#[tokio::test]
async fn long_lists_of_members_come_in_parts() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let options = QueryOptions { presence: true, limit: Some(2), cursor: None };
    let filter = json!({"members": {"$in": ["john"]}});
    let (page, request) =
        tokio::join!(client.query_channels(filter.clone(), json!({"last_message_at": -1}), options), async {
            let request = peer.expect("query_channels").await;
            peer.users(&request, &[user("john", 1, true), user("jack", 1, true)]).await;
            peer.users(&request, &[user("jill", 1, true)]).await;
            let id = &request["id"];
            peer.send(json!({"type": "part", "id": id, "channel": "messaging:large", "members": ["john", "jack"]}))
                .await;
            peer.send(json!({"type": "part", "id": id, "channel": "messaging:large", "members": ["jill"]})).await;
            let mut large = channel("large", &[]);
            large["member_count"] = 3.into();
            let channels = [large, channel("small", &["john"])];
            peer.ok(&request, json!({"channels": channels, "cursor": "after", "index": "members"})).await;
            request
        });
    let page = page.unwrap();
    let expected = json!({
        "id": 2, "type": "query_channels", "filter": filter, "sort": {"last_message_at": -1}, "limit": 2, "presence": true,
    });
    assert_eq!(request, expected);
    assert_eq!(page.channels[0].members, ["john".into(), "jack".into(), "jill".into()]);
    assert_eq!(page.channels[1].members, ["john".into()]);
    assert_eq!(page.users.len(), 3);
    assert_eq!((page.cursor.as_deref(), page.index.as_deref()), (Some("after"), Some("members")));

    // They are of the watch: who leaves the one channel is still in the other.
    let mut events = client.events();
    for id in ["john", "jill"] {
        peer.send(json!({"type": "member.removed", "cid": "messaging:large", "id": id})).await;
    }
    settle(&client, &mut peer).await;
    assert_eq!(briefs(&mut events, 2).await, ["john left messaging:large", "jill left messaging:large"]);
    assert!(client.user("john").is_some());
    assert!(client.user("jill").is_none());
}

#[tokio::test]
async fn members_are_added_and_removed() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let reference = client.channel("messaging", "general", Value::Null);
    for kind in ["add_members", "remove_members"] {
        let change = async {
            match kind {
                "add_members" => reference.add_members(["jack", "jill"]).await,
                _ => reference.remove_members(["jack", "jill"]).await,
            }
        };
        let (changed, request) = tokio::join!(change, async {
            let request = peer.expect(kind).await;
            let mut channel = channel("general", &[]);
            channel.as_object_mut().unwrap().remove("members");
            channel["member_count"] = 4.into();
            peer.ok(&request, json!({"channel": channel})).await;
            request
        });
        let changed = changed.unwrap();
        assert_eq!((changed.member_count, changed.members.len()), (4, 0));
        let expected = json!({
            "id": request["id"], "type": kind, "channel_type": "messaging", "channel_id": "general", "members": ["jack", "jill"],
        });
        assert_eq!(request, expected);
    }
    let (refused, ()) = tokio::join!(reference.add_members(["x"]), async {
        let request = peer.expect("add_members").await;
        peer.error(&request, "forbidden", json!({})).await;
    });
    assert_eq!(refused.unwrap_err().code(), Some(&ErrorCode::Forbidden));
}

#[tokio::test]
async fn what_happens_to_a_watched_channel_is_told() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let _watched = watch_channel(&client, &mut peer, "general", &["john"]).await;
    let mut events = client.events();
    let cid = "messaging:general";
    // Each twice: the second says nothing new.
    for _ in 0..2 {
        peer.send(json!({"type": "member.added", "cid": cid, "user": user("jack", 3, true)})).await;
    }
    peer.presence(user("jack", 4, false)).await;
    for _ in 0..2 {
        peer.send(json!({"type": "member.removed", "cid": cid, "id": "jack"})).await;
    }
    // It comes late: jack is not watched any more.
    peer.presence(user("jack", 5, true)).await;
    for _ in 0..2 {
        peer.send(json!({"type": "channel.deleted", "cid": cid})).await;
    }
    peer.send(json!({"type": "member.added", "cid": cid, "user": user("jill", 3, true)})).await;
    settle(&client, &mut peer).await;
    let expected = [
        "jack joined messaging:general",
        "jack presence 4",
        "jack left messaging:general",
        "messaging:general deleted",
    ];
    assert_eq!(briefs(&mut events, expected.len()).await, expected);
    assert!(["john", "jack", "jill"].iter().all(|id| client.user(id).is_none()));

    // Nothing else was told.
    let _watched = watch_channel(&client, &mut peer, "other", &["joe"]).await;
    peer.presence(user("joe", 2, false)).await;
    assert_eq!(briefs(&mut events, 1).await, ["joe presence 2"]);
}

#[tokio::test]
async fn who_joins_while_the_answer_is_on_its_way_is_in_it() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let reference = client.channel("messaging", "general", Value::Null);
    let (watched, ()) = tokio::join!(reference.watch(true), async {
        let request = peer.expect("watch_channel").await;
        peer.users(&request, &[user("john", 1, true)]).await;
        let cid = "messaging:general";
        peer.send(json!({"type": "member.added", "cid": cid, "user": user("jack", 3, true)})).await;
        peer.ok(&request, json!({"channel": channel("general", &["john"]), "created": false})).await;
    });
    let watched = watched.unwrap();
    assert_eq!(watched.channel.members, ["john".into(), "jack".into()]);
    assert_eq!(client.user("jack").unwrap().user.revision, 3);
}
