//! What is told of users who are watched.

use reachability_client::{Event, Options, QueryOptions};
use serde_json::{Value, json};

use crate::server::{Server, brief, briefs, next, own, settle, soon, user, watch};

#[tokio::test]
async fn each_change_of_a_watched_user_is_an_event_with_the_whole_user() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let _page = watch(&client, &mut peer, &[user("john", 1, false)]).await;
    let mut events = client.events();
    let mut john = user("john", 2, true);
    john["status"] = "Here".into();
    peer.presence(john.clone()).await;
    let Event::PresenceChanged { user: told, at } = next(&mut events).await else { panic!() };
    assert_eq!((told.online, told.status.as_deref()), (Some(true), Some("Here")));
    assert_eq!(at.as_deref(), Some("2026-01-01T00:00:00.000Z"));
    assert_eq!(client.user("john").unwrap().user, told);

    john["revision"] = 3.into();
    john["name"] = "John".into();
    peer.send(json!({"type": "user.updated", "user": john, "at": "2026-01-01T00:00:01.000Z"})).await;
    let Event::UserUpdated { user: told, .. } = next(&mut events).await else { panic!() };
    assert_eq!(told.name.as_deref(), Some("John"));

    peer.send(json!({"type": "user.deleted", "id": "john", "at": "2026-01-01T00:00:02.000Z"})).await;
    assert_eq!(brief(&next(&mut events).await), "john deleted");
    assert_eq!(client.user("john").unwrap().user.created_at, None);
}

#[tokio::test]
async fn neither_an_older_revision_nor_the_same_again_is_told() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let _page = watch(&client, &mut peer, &[user("john", 5, false)]).await;
    let mut events = client.events();
    for revision in [5, 6, 6, 4, 8, 7, 8, 9] {
        peer.presence(user("john", revision, revision % 2 == 0)).await;
    }
    assert_eq!(briefs(&mut events, 3).await, ["john presence 6", "john presence 8", "john presence 9"]);
}

#[tokio::test]
async fn an_answer_is_not_older_than_an_event_that_was_told_before_it() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let mut events = client.events();
    let options = QueryOptions { presence: true, ..QueryOptions::default() };
    let filter = json!({"id": {"$in": ["john", "jack"]}});
    let (page, ()) = tokio::join!(client.query_users(filter, Value::Null, options), async {
        let request = peer.expect("query_users").await;
        peer.presence(user("john", 7, true)).await;
        peer.users(&request, &[user("john", 6, false), user("jack", 1, false)]).await;
        peer.presence(user("jack", 2, true)).await;
        peer.ok(&request, json!({"count": 2, "cursor": null, "index": "id"})).await;
    });
    let page = page.unwrap();
    assert_eq!(page.users.iter().map(|user| user.revision).collect::<Vec<_>>(), [7, 2]);
    assert_eq!(briefs(&mut events, 2).await, ["john presence 7", "jack presence 2"]);
}

#[tokio::test]
async fn a_query_that_sees_a_change_first_tells_it_and_the_event_does_not_again() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let _page = watch(&client, &mut peer, &[user("john", 1, false)]).await;
    let mut events = client.events();
    let (page, ()) =
        tokio::join!(client.query_users(json!({"id": "john"}), Value::Null, QueryOptions::default()), async {
            let request = peer.expect("query_users").await;
            peer.users(&request, &[user("john", 2, true)]).await;
            peer.presence(user("john", 2, true)).await;
            peer.ok(&request, json!({"count": 1, "cursor": null, "index": "id"})).await;
        });
    assert_eq!(page.unwrap().users[0].revision, 2);
    peer.presence(user("john", 3, false)).await;
    assert_eq!(briefs(&mut events, 2).await, ["john presence 2", "john presence 3"]);
}

#[tokio::test]
async fn a_stopped_watch_tells_nothing_and_others_go_on() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let both = watch(&client, &mut peer, &[user("john", 1, false), user("jack", 1, false)]).await;
    let _john = watch(&client, &mut peer, &[user("john", 1, false)]).await;
    let mut events = client.events();
    let stopped = both.watch.unwrap();
    let id = stopped.id();
    let (stopped, ()) = tokio::join!(stopped.stop(), async {
        let request = peer.expect("unwatch").await;
        assert_eq!(request, json!({"id": request["id"], "type": "unwatch", "watch": id}));
        // It was on its way.
        peer.presence(user("jack", 2, true)).await;
        peer.ok(&request, json!({})).await;
    });
    stopped.unwrap();
    assert!(client.user("jack").is_none());
    peer.presence(user("john", 2, true)).await;
    assert_eq!(briefs(&mut events, 1).await, ["john presence 2"]);
}

#[tokio::test]
async fn a_dropped_watch_is_stopped_and_so_is_one_whose_query_was_given_up() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    drop(watch(&client, &mut peer, &[user("john", 1, false)]).await);
    let request = peer.expect("unwatch").await;
    assert_eq!(request["watch"], 2);
    peer.ok(&request, json!({})).await;

    let options = QueryOptions { presence: true, ..QueryOptions::default() };
    let request = tokio::select! {
        biased;
        _ = client.query_users(json!({"id": "jack"}), Value::Null, options) => panic!("nobody answered"),
        request = peer.expect("query_users") => request,
    };
    peer.users(&request, &[user("jack", 1, true)]).await;
    peer.ok(&request, json!({"count": 1, "cursor": null, "index": "id"})).await;
    assert_eq!(peer.expect("unwatch").await["watch"], request["id"]);
    assert!(client.user("jack").is_none());
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_misses_and_others_miss_nothing() {
    let server = Server::start().await;
    let options = Options { event_capacity: 2, ..server.options() };
    let (client, mut peer) = server.client_with(options).await;
    let _page = watch(&client, &mut peer, &[user("john", 1, false)]).await;
    let (mut slow, mut quick) = (client.events(), client.events());
    for revision in 2..7 {
        peer.presence(user("john", revision, true)).await;
        assert_eq!(briefs(&mut quick, 1).await, [format!("john presence {revision}")]);
    }
    assert_eq!(briefs(&mut slow, 3).await, ["missed 3", "john presence 5", "john presence 6"]);
    assert_eq!(client.user("john").unwrap().user.revision, 6);
}

#[tokio::test]
async fn the_own_user_is_told_of_if_it_is_watched() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let _page = watch(&client, &mut peer, &[own("me", 1)]).await;
    let mut events = client.events();
    let (changed, ()) = tokio::join!(client.set_user(reachability_client::UserChange::default()), async {
        let request = peer.expect("set_user").await;
        let mut me = own("me", 2);
        me["invisible"] = true.into();
        peer.ok(&request, json!({"user": me})).await;
        peer.presence(me).await;
    });
    assert_eq!(changed.unwrap().invisible, Some(true));
    assert_eq!(briefs(&mut events, 1).await, ["me presence 2"]);
    settle(&client, &mut peer).await;
    drop(client);
    peer.expect("close").await;
    peer.close(1000, "").await;
    let last = next(&mut events).await;
    assert!(matches!(last, Event::ConnectionChanged(_)), "{last:?}");
    assert_eq!(soon(events.next()).await, None);
}
