//! Finding users and channels, for each who may ask, and the limits of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::cell::Cell;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt;
use reachability_domain::channel::key::ChannelKey;
use reachability_domain::channel::ports::{Channels, OverLimit};
use reachability_domain::channel::{MAX_CREATED, MAX_MEMBERS};
use reachability_domain::directory::ports::Users;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::presence::appearance::Viewer;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::event::EventKind;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::search::UserSearch;
use reachability_domain::presence::snapshot::UserSnapshot;
use reachability_domain::query::Query;
use reachability_domain::query::fields::Kind;
use reachability_domain::sid::{ServiceSid, Sid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_functions::app::{App, Ports};
use reachability_functions::use_cases::asker::Asker;
use reachability_functions::use_cases::channels::{
    ChannelError, CreateChannel, FoundChannels, add_members, query_channels, remove_members, watch_channel,
};
use reachability_functions::use_cases::presence::{FoundUsers, query_users};
use reachability_functions::use_cases::scan::{MAX_SCANNED, QueryError};
use reachability_infra::memory::MemoryStore;
use reachability_tests::app::{ports, settings};
use reachability_tests::generate::{START, event_of, service};
use reachability_tests::harness::{Harness, Kept, SETTINGS};
use serde_json::{Value, json};
use tower::ServiceExt;

const NOW: Timestamp = Timestamp::from_millis(START);
const OWNER: Asker = Asker::Owner { sees_invisible: false };

fn identity(name: &str) -> Identity {
    name.parse().unwrap()
}

fn client(name: &str) -> Asker {
    Asker::User(identity(name))
}

fn user(n: usize, name: &str) -> User {
    let key = UserKey { service: service(1), identity: identity(name) };
    User::new(Sid::from_bits(n as u128 + 1), key, None, Timestamp::from_millis(START + n as i64))
}

async fn store() -> (Arc<MemoryStore>, Harness) {
    let store = Arc::new(MemoryStore::default());
    let harness = Harness::new(store.clone(), SETTINGS);
    harness.switch(service(1), true).await;
    (store, harness)
}

fn query(kind: Kind, filter: &Value, sort: &Value, limit: usize, cursor: Option<&str>) -> Query {
    Query::parse(kind, filter, sort, limit, cursor).unwrap()
}

async fn users(store: &MemoryStore, asker: &Asker, filter: Value) -> FoundUsers {
    let query = query(Kind::Users, &filter, &json!(null), 100, None);
    query_users(store, service(1), &query, asker, NOW).await.unwrap()
}

fn names(found: &FoundUsers) -> String {
    found.users.iter().map(|(view, _)| view.user.identity.as_str()).collect::<Vec<_>>().join(" ")
}

/// A query that compares many values lets others go on, and counts as several.
#[tokio::test]
async fn a_long_query_lets_others_go_on() {
    let (store, _) = store().await;
    for n in 0..300 {
        store.create_user(&user(n, &format!("user-{n}"))).await.unwrap();
    }
    let values: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let filter = json!({ "$or": vec![json!({"team": {"$in": values}}); 50] });
    let (is_done, turns) = (Cell::new(false), Cell::new(0));
    let query = async {
        let found = users(&store, &OWNER, filter).await;
        is_done.set(true);
        found
    };
    let others = async {
        while !is_done.get() {
            turns.set(turns.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    let (found, ()) = tokio::join!(query, others);
    assert_eq!((names(&found).as_str(), found.looked_at), ("", 300 * 100));
    assert!(turns.get() >= 300, "{turns:?}");
    // Those that are not there are looked for as well.
    let found = users(&store, &OWNER, json!({"id": {"$in": ["a", "b", "user-1"]}})).await;
    assert_eq!((names(&found).as_str(), found.looked_at), ("user-1", 3));
}

/// Each asker finds by what others see, but for the owner who asks for invisible users, and sees its own user as it is.
#[tokio::test]
async fn an_invisible_user_is_found_as_one_who_is_offline() {
    let (store, harness) = store().await;
    for name in ["gone", "here", "hidden"] {
        harness.deliver(&[event_of(name, "c", START, EventKind::Connect { lease: None, device: None })], START).await;
    }
    let end = EventKind::Disconnect { reason: reachability_domain::presence::event::EndReason::ClientClosed };
    harness.deliver(&[event_of("gone", "c", START, end)], START).await;
    let wish = Disclose { invisible: Some(true), ..Disclose::default() };
    let hidden = store.user(service(1), &UserRef::Identity(identity("hidden"))).await.unwrap().unwrap();
    assert!(store.disclose(&hidden, &wish, NOW).await.unwrap().is_some());

    let sees_all = Asker::Owner { sees_invisible: true };
    for asker in [OWNER, client("here"), client("hidden"), client("nobody")] {
        for (filter, expected) in [
            (json!({"online": true}), "here"),
            (json!({"online": false}), "gone hidden"),
            (json!({"$nor": [{"online": true}]}), "gone hidden"),
            (json!({"online": true, "id": "hidden"}), ""),
            (json!({"last_active": {"$exists": true}}), "gone here hidden"),
        ] {
            assert_eq!(names(&users(&store, &asker, filter.clone()).await), expected, "{asker:?} {filter}");
        }
        for (view, viewer) in users(&store, &asker, json!(null)).await.users {
            let name = view.user.identity.as_str();
            let is_own = asker == client(name);
            assert_eq!(viewer, if is_own { Viewer::User } else { Viewer::Other });
            let online = name == "here" || (name == "hidden" && is_own);
            assert_eq!(view.appearance.reachability.online, Some(online), "{asker:?} {name}");
            assert_eq!(view.appearance.invisible, name == "hidden" && is_own);
        }
    }
    assert_eq!(names(&users(&store, &sees_all, json!({"online": true})).await), "here hidden");
    let all = users(&store, &sees_all, json!(null)).await;
    assert!(all.users.iter().all(|(_, viewer)| *viewer == Viewer::Owner));

    let index = async |asker: &Asker, filter| users(&store, asker, filter).await.index;
    assert_eq!(index(&OWNER, json!({"online": true})).await, Some("online"));
    assert_eq!(index(&sees_all, json!({"online": true})).await, Some("id"));
}

/// With more users than a query may look at: by keys it goes on, and otherwise it is refused.
#[tokio::test]
async fn a_query_looks_at_so_many_rows() {
    let (store, _harness) = store().await;
    let name = |n: usize| format!("u{n:05}");
    for n in 0..MAX_SCANNED {
        store.create_user(&user(n, &name(n))).await.unwrap();
    }
    let ask = async |filter: Value, sort: Value, cursor: Option<&str>| {
        let query = query(Kind::Users, &filter, &sort, 2, cursor);
        query_users(&*store, service(1), &query, &OWNER, NOW).await
    };
    let last = json!({"created_at": -1});
    let found = ask(json!(null), last.clone(), None).await.unwrap();
    assert_eq!((names(&found).as_str(), found.index), ("u09999 u09998", None));
    store.create_user(&user(MAX_SCANNED, &name(MAX_SCANNED))).await.unwrap();
    for sort in [last.clone(), json!({"id": -1}), json!({"x": 1})] {
        let refused = ask(json!({"name": null}), sort, None).await;
        assert!(matches!(refused, Err(QueryError::TooBroad)), "{refused:?}");
    }
    // What an index answers is not too broad.
    assert_eq!(
        names(&ask(json!({"id": {"$in": ["u00001", "u00003", "x"]}}), last.clone(), None).await.unwrap()),
        "u00003 u00001"
    );
    assert_eq!(names(&ask(json!({"online": true}), last, None).await.unwrap()), "");

    // The only one that matches is beyond what one query looks at.
    let only_last = json!({"created_at": {"$gte": user(MAX_SCANNED, "x").date_created.to_string()}});
    let first = ask(only_last.clone(), json!(null), None).await.unwrap();
    assert_eq!((names(&first).as_str(), first.index), ("", Some("id")));
    let second = ask(only_last, json!(null), first.cursor.as_deref()).await.unwrap();
    assert_eq!((names(&second).as_str(), second.cursor), ("u10000", None));

    let (mut found, mut cursor) = (0, None::<String>);
    loop {
        let query = query(Kind::Users, &json!(null), &json!(null), 999, cursor.as_deref());
        let page = query_users(&*store, service(1), &query, &OWNER, NOW).await.unwrap();
        for (n, (view, _)) in page.users.iter().enumerate() {
            assert_eq!(view.user.identity.as_str(), name(found + n));
        }
        found += page.users.len();
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, MAX_SCANNED + 1);
}

fn key(cid: &str) -> ChannelKey {
    ChannelKey { service: service(1), cid: cid.parse().unwrap() }
}

fn command(cid: &str, members: &[&str]) -> CreateChannel {
    let custom = json!({"n": cid.len()}).as_object().unwrap().clone();
    let members = members.iter().map(|name| identity(name)).collect();
    CreateChannel { key: key(cid), custom, last_message_at: None, members }
}

async fn watch(store: &MemoryStore, name: &str, cid: &str, members: &[&str]) -> Result<(usize, bool), ChannelError> {
    let (channel, created) = watch_channel(store, command(cid, members), &identity(name), NOW).await?;
    Ok((channel.member_count, created))
}

async fn channels(store: &MemoryStore, asker: &Asker, filter: &Value) -> FoundChannels {
    let query = query(Kind::Channels, filter, &json!(null), 100, None);
    query_channels(store, service(1), &query, asker).await.unwrap()
}

fn cids(found: &FoundChannels) -> String {
    found.channels.iter().map(|channel| channel.key.cid.to_string()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_channel_is_watched_by_its_members() {
    let (store, _harness) = store().await;
    assert_eq!(watch(&store, "john", "m:general", &["jack"]).await.unwrap(), (2, true), "who creates it is a member");
    assert_eq!(
        watch(&store, "jack", "m:general", &["jill"]).await.unwrap(),
        (2, false),
        "what is there stays as it is"
    );
    let refused = watch(&store, "jill", "m:general", &["jill"]).await;
    assert!(matches!(refused, Err(ChannelError::Forbidden)), "{refused:?}");
    assert_eq!(store.channel(&key("m:general")).await.unwrap().unwrap().created_by, Some(identity("john")));

    let (jane, general) = ([identity("jane")], key("m:general"));
    let refused = add_members(&*store, &general, &jane, &client("jane")).await;
    assert!(matches!(refused, Err(ChannelError::Forbidden)), "{refused:?}");
    let nowhere = add_members(&*store, &key("m:x"), &jane, &client("jane")).await;
    assert!(matches!(nowhere, Err(ChannelError::NotFound)), "{nowhere:?}");
    let (added, channel) = add_members(&*store, &general, &jane, &client("jack")).await.unwrap();
    assert_eq!((added.as_slice(), channel.member_count), (jane.as_slice(), 3));
    let refused = remove_members(&*store, &general, &jane, &client("jill")).await;
    assert!(matches!(refused, Err(ChannelError::Forbidden)), "{refused:?}");
    let (removed, channel) = remove_members(&*store, &general, &jane, &client("jane")).await.unwrap();
    assert_eq!((removed.as_slice(), channel.member_count), (jane.as_slice(), 2), "anybody may leave");
    let refused = remove_members(&*store, &general, &jane, &client("jane")).await;
    assert!(matches!(refused, Err(ChannelError::Forbidden)), "{refused:?}");
    assert_eq!(add_members(&*store, &general, &jane, &OWNER).await.unwrap().0, jane);

    let many: Vec<String> = (0..MAX_MEMBERS).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let full = watch(&store, "john", "m:all", &many).await;
    assert!(matches!(full, Err(ChannelError::OverLimit(OverLimit::Members))), "{full:?}");
    for n in 1..MAX_CREATED {
        watch(&store, "john", &format!("m:{n}"), &[]).await.unwrap();
    }
    let full = watch(&store, "john", "m:one-more", &[]).await;
    assert!(matches!(full, Err(ChannelError::OverLimit(OverLimit::Created))), "{full:?}");
    assert_eq!(watch(&store, "john", "m:1", &[]).await.unwrap(), (1, false));
}

/// Of several requests that create the same channel, one does.
#[tokio::test]
async fn a_channel_is_created_once() {
    let (store, _harness) = store().await;
    let watches = (0..20).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { watch(&store, &format!("u{}", n % 2), "m:general", &["u0", "u1"]).await.unwrap() })
    });
    let mut created = 0;
    for watch in watches.collect::<Vec<_>>() {
        created += usize::from(watch.await.unwrap().1);
    }
    assert_eq!(created, 1);
}

/// A client finds the channels of its user, and nothing of any other, however it asks.
#[tokio::test]
async fn channels_are_found_by_their_members() {
    let (store, _harness) = store().await;
    for (name, cid, members) in
        [("john", "m:a", &["jack"][..]), ("john", "m:bb", &[]), ("jack", "m:c", &["jill"]), ("jill", "n:a", &[])]
    {
        watch(&store, name, cid, members).await.unwrap();
    }
    for (filter, of_owner, of_john, of_jack) in [
        (json!(null), "m:a m:bb m:c n:a", "m:a m:bb", "m:a m:c"),
        (json!({"members": "john"}), "m:a m:bb", "m:a m:bb", "m:a"),
        (json!({"members": {"$in": ["jill", "jack"]}}), "m:a m:c n:a", "m:a", "m:a m:c"),
        (json!({"members": {"$ne": "john"}}), "m:c n:a", "", "m:c"),
        (json!({"$and": [{"members": "john"}, {"members": "jack"}]}), "m:a", "m:a", "m:a"),
        (json!({"$or": [{"members": "jill"}, {"id": "bb"}]}), "m:bb m:c n:a", "m:bb", "m:c"),
        (json!({"cid": {"$in": ["m:a", "n:a", "m:x", "?"]}}), "m:a n:a", "m:a", "m:a"),
        (json!({"type": "m", "id": {"$in": ["a", "c"]}}), "m:a m:c", "m:a", "m:a m:c"),
        (json!({"cid": "m:c", "members": {"$ne": "jack"}}), "", "", ""),
        (json!({"n": 4, "created_by": "john", "member_count": 1}), "m:bb", "m:bb", ""),
        (json!({"members": "\u{0}"}), "", "", ""),
        (json!({"members": "x".repeat(300)}), "", "", ""),
    ] {
        for (asker, expected) in [(OWNER, of_owner), (client("john"), of_john), (client("jack"), of_jack)] {
            assert_eq!(cids(&channels(&store, &asker, &filter).await), expected, "{asker:?} {filter}");
        }
        assert_eq!(cids(&channels(&store, &client("nobody"), &filter).await), "", "{filter}");
    }
    let index = async |asker: &Asker, filter| channels(&store, asker, &filter).await.index;
    assert_eq!(index(&OWNER, json!({"members": "john"})).await, Some("members"));
    assert_eq!(index(&client("john"), json!(null)).await, Some("members"));
    assert_eq!(index(&client("john"), json!({"cid": "m:a"})).await, Some("cid"));

    let by_count = |cursor: Option<&str>| query(Kind::Channels, &json!(null), &json!({"member_count": -1}), 3, cursor);
    let first = query_channels(&*store, service(1), &by_count(None), &OWNER).await.unwrap();
    assert_eq!(cids(&first), "m:a m:c m:bb");
    let second = query_channels(&*store, service(1), &by_count(first.cursor.as_deref()), &OWNER).await.unwrap();
    assert_eq!((cids(&second).as_str(), second.cursor), ("n:a", None));
}

/// A store that knows users by their identities only.
struct ByIdentity(Arc<MemoryStore>);

#[async_trait]
impl UserSearch for ByIdentity {
    async fn users_by_identity(
        &self,
        service: ServiceSid,
        identities: &[Identity],
    ) -> Result<Vec<UserSnapshot>, StoreError> {
        self.0.users_by_identity(service, identities).await
    }

    async fn users_after(
        &self,
        _: ServiceSid,
        _: Option<&Identity>,
        _: usize,
    ) -> Result<Vec<UserSnapshot>, StoreError> {
        Err(StoreError::NotSupported)
    }

    async fn online_after(
        &self,
        _: ServiceSid,
        _: Option<&Identity>,
        _: usize,
    ) -> Result<Vec<UserSnapshot>, StoreError> {
        Err(StoreError::NotSupported)
    }
}

/// As on AWS.
#[tokio::test]
async fn what_a_deployment_does_not_have_is_answered_with_501() {
    let (store, _harness) = store().await;
    store.create_user(&user(0, "john")).await.unwrap();
    let ports = ports(store.clone(), Arc::new(Kept::default()), Arc::new(Kept::default()));
    let ports = Ports { search: Arc::new(ByIdentity(store)), channels: None, ..ports };
    let (settings, authorization) = settings();
    let router = reachability_functions::router(App::new(ports, settings), None, None);
    let send = async |method: &str, path: &str, is_owner: bool| {
        let request = Request::builder().method(method).uri(format!("/v1/Services/{}/{path}", service(1)));
        let request = if is_owner { request.header(header::AUTHORIZATION, &authorization) } else { request };
        let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, found) = send("GET", "Presence?Identity=john&Identity=jack", true).await;
    assert_eq!((status, &found["users"][0]["id"], found["users"].as_array().unwrap().len()), (200, &json!("john"), 1));
    for (method, path) in [
        ("GET", "Presence"),
        ("GET", "Presence?Online=true"),
        ("GET", "Presence?Filter=%7B%22name%22%3A%22x%22%7D"),
        ("GET", "Channels"),
        ("POST", "Channels"),
        ("GET", "Channels/m/general"),
        ("POST", "Channels/m/general"),
        ("DELETE", "Channels/m/general"),
        ("GET", "Channels/m/general/Members"),
        ("POST", "Channels/m/general/Members"),
        ("DELETE", "Channels/m/general/Members/john"),
    ] {
        let (status, error) = send(method, path, true).await;
        assert_eq!((status, &error["status"], &error["code"]), (501, &json!(501), &json!(20500)), "{path}: {error}");
        assert!(error["message"].as_str().unwrap().contains("AWS"), "{error}");
        assert_eq!(send(method, path, false).await.0, 401, "{method} {path}");
    }
}
