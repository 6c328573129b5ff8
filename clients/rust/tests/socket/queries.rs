//! Requests and answers.

use std::time::Duration;

use reachability_client::{
    Client, ConnectUser, Connection, Error, ErrorCode, Event, Options, QueryOptions, UserChange,
};
use serde_json::{Value, json};

use crate::server::{Server, brief, next, own, settle, soon, user, watch};

#[tokio::test]
async fn connect_says_what_the_options_say_and_the_answer_is_known() {
    let server = Server::start().await;
    let options = Options {
        user: ConnectUser { id: Some("me".to_owned()), status: Some("Here".to_owned()), invisible: Some(true) },
        device: Some("a phone".to_owned()),
        ..server.options()
    };
    let (client, (_peer, connect)) = tokio::join!(Client::connect(options), server.accept_connect());
    let client = client.unwrap();
    let expected = json!({
        "id": 1, "type": "connect", "token": "a.token", "status": "Here", "invisible": true, "device": "a phone",
    });
    assert_eq!(connect, expected);
    assert_eq!(client.connection(), Connection::Online { connection_id: "CN1".into() });
    let me = client.me();
    assert_eq!((&*me.user.id, me.user.invisible, me.stale), ("me", Some(false), false));
    assert_eq!(client.user("me"), Some(me));
}

#[tokio::test]
async fn connect_leaves_out_what_is_to_stay() {
    let server = Server::start().await;
    let (_client, (_peer, connect)) = tokio::join!(Client::connect(server.options()), server.accept_connect());
    assert_eq!(connect, json!({"id": 1, "type": "connect", "token": "a.token"}));
}

#[tokio::test]
async fn set_user_sets_or_clears_the_status_and_invisible_together_or_apart() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let text = |status: &str| Some(status.to_owned());
    for (status, invisible, fields) in [
        (text("Here"), Some(true), json!({"status": "Here", "invisible": true})),
        (text(""), None, json!({"status": null})),
        (None, Some(false), json!({"invisible": false})),
    ] {
        let answer = async {
            let request = peer.expect("set_user").await;
            let mut said = request.clone();
            said.as_object_mut().unwrap().retain(|name, _| name != "id" && name != "type");
            assert_eq!(said, fields);
            let mut own = own("me", request["id"].as_u64().unwrap());
            own["status"] = request["status"].clone();
            peer.ok(&request, json!({"user": own})).await;
        };
        let (user, ()) = tokio::join!(client.set_user(UserChange { status: status.clone(), invisible }), answer);
        let user = user.unwrap();
        assert_eq!(user.status, status.filter(|status| !status.is_empty()));
        assert_eq!(client.me().user, user);
    }
}

#[tokio::test]
async fn a_query_for_users_comes_in_parts_and_pages() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let filter = json!({"online": true});
    let sort = json!([{"last_active": -1}, {"id": 1}]);
    let options = QueryOptions { presence: false, limit: Some(3), cursor: Some("before".to_owned()) };
    let (page, request) = tokio::join!(client.query_users(filter.clone(), sort.clone(), options), async {
        let request = peer.expect("query_users").await;
        let mut john = user("john", 7, true);
        john["custom"] = json!({"team": "blue"});
        john["status"] = "Eating a veggie burger...".into();
        john["last_active"] = "2019-01-07T13:17:42.375Z".into();
        peer.users(&request, &[john, user("jack", 8, true)]).await;
        peer.users(&request, &[user("amy", 9, true)]).await;
        peer.ok(&request, json!({"count": 3, "cursor": "after", "index": "online"})).await;
        request
    });
    let page = page.unwrap();
    let expected = json!({
        "id": 2, "type": "query_users", "filter": filter, "sort": sort, "limit": 3, "cursor": "before", "presence": false,
    });
    assert_eq!(request, expected);
    assert_eq!(page.users.iter().map(|user| &*user.id).collect::<Vec<_>>(), ["john", "jack", "amy"]);
    assert_eq!(page.users[0].custom["team"], "blue");
    assert_eq!(page.users[0].status.as_deref(), Some("Eating a veggie burger..."));
    assert_eq!(page.users[0].last_active.as_deref(), Some("2019-01-07T13:17:42.375Z"));
    assert_eq!((page.cursor.as_deref(), page.index.as_deref()), (Some("after"), Some("online")));
    assert!(page.watch.is_none());
    assert_eq!(client.user("john"), None, "nobody watches it");
}

#[tokio::test]
async fn answers_may_come_in_another_order() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let query = |id: &str| client.query_users(json!({"id": id}), Value::Null, QueryOptions::default());
    let (john, jack, ()) = tokio::join!(query("john"), query("jack"), async {
        let requests = [peer.expect("query_users").await, peer.expect("query_users").await];
        for request in requests.iter().rev() {
            peer.users(request, &[user(request["filter"]["id"].as_str().unwrap(), 1, true)]).await;
        }
        for request in &requests {
            peer.ok(request, json!({"count": 1, "cursor": null, "index": "id"})).await;
        }
    });
    assert_eq!((&*john.unwrap().users[0].id, &*jack.unwrap().users[0].id), ("john", "jack"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_on_other_threads_share_a_client() {
    let server = Server::start().await;
    let options = server.options();
    let client = tokio::spawn(async move { Client::connect(options).await.unwrap() });
    let (mut peer, _) = server.accept_connect().await;
    let client = client.await.unwrap();
    let tasks = (0..8).map(|n| {
        let client = client.clone();
        tokio::spawn(async move {
            let options = QueryOptions { presence: true, ..QueryOptions::default() };
            let page = client.query_users(json!({"id": format!("user-{n}")}), Value::Null, options).await.unwrap();
            assert_eq!(&*page.users[0].id, format!("user-{n}"));
            page.watch.unwrap().stop().await.unwrap();
        })
    });
    let tasks = futures_util::future::join_all(tasks);
    let serve = async {
        for _ in 0..16 {
            let request = peer.next().await.unwrap();
            if request["type"] == "query_users" {
                peer.users(&request, &[user(request["filter"]["id"].as_str().unwrap(), 1, true)]).await;
            }
            peer.ok(&request, json!({"count": 1, "cursor": null, "index": "id"})).await;
        }
    };
    let (tasks, ()) = soon(async { tokio::join!(tasks, serve) }).await;
    assert!(tasks.iter().all(Result::is_ok));
    assert!((0..8).all(|n| client.user(&format!("user-{n}")).is_none()));
}

#[tokio::test]
async fn four_requests_are_under_way_at_most_and_the_others_follow_in_their_order() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let queries = (0..10).map(|n| client.query_users(json!({"n": n}), Value::Null, QueryOptions::default()));
    let queries = futures_util::future::join_all(queries);
    let (answers, ()) = tokio::join!(queries, async {
        let mut under_way = Vec::new();
        for n in 0..4 {
            under_way.push(peer.expect("query_users").await);
            assert_eq!(under_way[n]["filter"]["n"], n);
        }
        // A ping is none of them, and so comes at once.
        settle(&client, &mut peer).await;
        for n in 4..10 {
            // In another order, and some are refused.
            let request = under_way.swap_remove(n % 4);
            match n % 2 {
                0 => peer.ok(&request, json!({"count": 0, "cursor": null, "index": null})).await,
                _ => peer.error(&request, "invalid_filter", json!({})).await,
            }
            under_way.push(peer.expect("query_users").await);
            assert_eq!(under_way[3]["filter"]["n"], n);
        }
        settle(&client, &mut peer).await;
        for request in under_way {
            peer.ok(&request, json!({"count": 0, "cursor": null, "index": null})).await;
        }
    });
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 7);
}

#[tokio::test]
async fn errors_are_typed() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let words = [
        ("invalid_message", ErrorCode::InvalidMessage),
        ("unknown_type", ErrorCode::UnknownType),
        ("not_connected", ErrorCode::NotConnected),
        ("already_connected", ErrorCode::AlreadyConnected),
        ("invalid_token", ErrorCode::InvalidToken),
        ("limit_reached", ErrorCode::LimitReached),
        ("unavailable", ErrorCode::Unavailable),
        ("too_many_requests", ErrorCode::TooManyRequests),
        ("forbidden", ErrorCode::Forbidden),
        ("not_found", ErrorCode::NotFound),
        ("invalid_status", ErrorCode::InvalidStatus),
        ("invalid_filter", ErrorCode::InvalidFilter),
        ("invalid_sort", ErrorCode::InvalidSort),
        ("invalid_cursor", ErrorCode::InvalidCursor),
        ("query_too_broad", ErrorCode::QueryTooBroad),
        ("too_many_users", ErrorCode::TooManyUsers),
        ("too_many_members", ErrorCode::TooManyMembers),
        ("invalid_channel", ErrorCode::InvalidChannel),
        ("invalid_identity", ErrorCode::InvalidIdentity),
        ("not_supported", ErrorCode::NotSupported),
        ("out_of_coffee", ErrorCode::Other("out_of_coffee".to_owned())),
    ];
    for (word, code) in words {
        let (page, ()) = tokio::join!(client.query_users(Value::Null, Value::Null, QueryOptions::default()), async {
            let request = peer.expect("query_users").await;
            assert!(request.get("filter").is_none() && request.get("sort").is_none(), "{request}");
            let fields = json!({"limit": 1_000, "retry_after": 1.5, "twilio_code": 20_101});
            peer.error(&request, word, fields).await;
        });
        let error = page.unwrap_err();
        assert_eq!(error.code(), Some(&code));
        let Error::Refused(refusal) = error else { panic!("{error}") };
        assert_eq!(refusal.message, format!("because of {word}"));
        assert_eq!((refusal.limit, refusal.twilio_code), (Some(1_000), Some(20_101)));
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(1_500)));
        assert_eq!(code.as_str(), word);
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_not_sent() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let filter = json!({"name": "x".repeat(65_536)});
    let error = soon(client.query_users(filter, Value::Null, QueryOptions::default())).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 65_536, .. }), "{error}");
    settle(&client, &mut peer).await;
}

#[tokio::test]
async fn a_watch_that_is_answered_too_late_is_stopped() {
    let server = Server::start().await;
    let options = Options { request_timeout: Duration::from_millis(500), ..server.options() };
    let (client, mut peer) = server.client_with(options).await;
    let options = QueryOptions { presence: true, ..QueryOptions::default() };
    let error = client.query_users(json!({"id": "john"}), Value::Null, options).await.unwrap_err();
    assert!(matches!(error, Error::Timeout), "{error}");
    let request = peer.expect("query_users").await;
    peer.users(&request, &[user("john", 1, true)]).await;
    peer.ok(&request, json!({"count": 1, "cursor": null, "index": "id"})).await;
    assert_eq!(peer.expect("unwatch").await["watch"], request["id"]);
    assert_eq!(client.user("john"), None);
}

#[tokio::test]
async fn what_is_asked_while_the_client_is_away_is_asked_when_it_is_back() {
    let server = Server::start().await;
    let (client, peer) = server.client().await;
    let mut events = client.events();
    drop(peer);
    assert!(matches!(next(&mut events).await, Event::ConnectionChanged(Connection::Offline { .. })));
    let (page, ()) =
        tokio::join!(client.query_users(json!({"id": "john"}), Value::Null, QueryOptions::default()), async {
            let (mut peer, connect) = server.accept_connect().await;
            let request = peer.expect("query_users").await;
            assert!(request["id"].as_u64() > connect["id"].as_u64());
            peer.ok(&request, json!({"count": 0, "cursor": null, "index": "id"})).await;
        });
    assert!(page.unwrap().users.is_empty());
}

#[tokio::test]
async fn after_a_ping_everything_before_it_was_told() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    let _page = watch(&client, &mut peer, &[user("john", 1, true)]).await;
    let mut events = client.events();
    let before = client.frames();
    for revision in 2..12 {
        peer.presence(user("john", revision, revision % 2 == 0)).await;
    }
    settle(&client, &mut peer).await;
    assert_eq!(client.user("john").unwrap().user.revision, 11);
    for revision in 2..12 {
        assert_eq!(brief(&next(&mut events).await), format!("john presence {revision}"));
    }
    let after = client.frames();
    assert_eq!((after.sent - before.sent, after.received - before.received, after.events - before.events), (1, 11, 10));
    assert!(after.bytes_received > before.bytes_received + 1_000);
}

#[tokio::test]
async fn what_a_later_server_says_besides_is_ignored() {
    let server = Server::start().await;
    let (client, mut peer) = server.client().await;
    peer.send(json!({"type": "weather.changed", "id": {"a": 1}, "sunny": true})).await;
    let mut john = user("john", 1, true);
    john["shoe_size"] = 44.into();
    let page = watch(&client, &mut peer, &[john]).await;
    assert_eq!(page.users.len(), 1);
    assert!(matches!(client.connection(), Connection::Online { .. }));
}
