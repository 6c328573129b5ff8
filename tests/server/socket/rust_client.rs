//! Our own client for Rust.

use std::collections::BTreeSet;
use std::time::Duration;

use reachability_client::{
    Backoff, Client, ConnectUser, Connection, ErrorCode, Event, Events, Options, QueryOptions, TokenProvider,
    UserChange,
};
use reachability_tests::relay::Relay;
use reachability_tests::server::{PATIENCE, Server};
use reachability_tests::wait::wait;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Setup;
use super::story::{ARGUMENTS, begin, go_on};

const BURGER: &str = "Eating a veggie burger...";

async fn connect(setup: &Setup, relay: &Relay, id: &str, change: UserChange) -> Client {
    let user = ConnectUser { id: Some(id.to_owned()), status: change.status, invisible: change.invisible };
    Client::connect(Options { user, ..options(&relay.url(), setup.token(id)) }).await.unwrap()
}

/// Of a client that connects to the server, or the relay, at this URL.
pub(super) fn options(url: &str, token: impl Into<TokenProvider>) -> Options {
    // It tries often, since a relay that nobody is behind cuts it off.
    let most = Duration::from_secs(1);
    let reconnect = Some(Backoff { first: most, most });
    Options { reconnect, ..Options::new(format!("{}/v1/Socket", url.replacen("http", "ws", 1)), token) }
}

pub(super) fn status(text: &str) -> UserChange {
    UserChange { status: Some(text.to_owned()), ..UserChange::default() }
}

fn invisible(is_invisible: bool) -> UserChange {
    UserChange { invisible: Some(is_invisible), ..UserChange::default() }
}

pub(super) fn watching() -> QueryOptions {
    QueryOptions { presence: true, ..QueryOptions::default() }
}

pub(super) async fn next(events: &mut Events) -> Event {
    timeout(PATIENCE, events.next()).await.expect("an event in time").expect("the client is there")
}

/// The next event, which must be of this change. Returns whether the client was there when it happened.
pub(super) async fn hears(events: &mut Events, id: &str, online: bool, status: Option<&str>) -> bool {
    match next(events).await {
        Event::PresenceChanged { user, at } => {
            assert_eq!((&*user.id, user.online, user.status.as_deref()), (id, Some(online), status));
            at.is_some()
        }
        other => panic!("{id} {online} {status:?}: {other:?}"),
    }
}

fn ids<'a>(users: impl IntoIterator<Item = &'a std::sync::Arc<reachability_client::User>>) -> BTreeSet<&'a str> {
    users.into_iter().map(|user| &*user.id).collect()
}

/// The story of `tests/clients/presence`.
#[tokio::test]
async fn users_are_watched() {
    let (mut setup, relay) = begin(&ARGUMENTS).await;
    let hidden = UserChange { invisible: Some(true), ..status(BURGER) };
    let client = connect(&setup, &relay, "jane", hidden).await;
    let me = client.me().user;
    assert_eq!((me.online, me.invisible, me.status.as_deref()), (Some(true), Some(true), Some(BURGER)));
    let mut events = client.events();

    // The three ways to watch.
    let data = json!({"members": ["john", "jack"], "color": "green"});
    let channel = client.channel("messaging", "general", data).watch(true).await.unwrap();
    let members = BTreeSet::from(["jack", "jane", "john"]);
    assert_eq!((channel.created, ids(&channel.users)), (true, members.clone()));
    let (green, latest) = (json!({"color": "green"}), json!({"last_message_at": -1}));
    let channels = client.query_channels(green, latest, watching()).await.unwrap();
    assert_eq!((&*channels.channels[0].cid, channels.channels.len()), ("messaging:general", 1));
    assert_eq!(ids(&channels.users), members);
    let both = json!({"id": {"$in": ["john", "jack"]}});
    let users = client.query_users(both, json!({"id": 1}), watching()).await.unwrap();
    let shown: Vec<_> = users.users.iter().map(|user| (&*user.id, user.online, user.last_active.as_deref())).collect();
    assert_eq!(shown, [("jack", None, None), ("john", None, None)]);

    // Each change is heard once, though three watches have them.
    let john = connect(&setup, &relay, "john", UserChange::default()).await;
    assert!(hears(&mut events, "john", true, None).await);
    john.set_user(status("Here")).await.unwrap();
    hears(&mut events, "john", true, Some("Here")).await;
    let joe = connect(&setup, &relay, "joe", status("Not in the team")).await;
    let jack = connect(&setup, &relay, "jack", status("At work")).await;
    hears(&mut events, "jack", true, Some("At work")).await;
    john.set_user(invisible(true)).await.unwrap();
    hears(&mut events, "john", false, Some("Here")).await;
    john.set_user(status("Secret")).await.unwrap();
    for one in [john, joe, jack] {
        one.goodbye().await;
    }
    hears(&mut events, "jack", false, Some("At work")).await;
    let john = connect(&setup, &relay, "john", UserChange::default()).await;
    assert_eq!((john.me().user.online, john.me().user.invisible), (Some(true), Some(true)), "it stays so");
    let back = UserChange { invisible: Some(false), ..status("Back at work") };
    let jack = connect(&setup, &relay, "jack", back).await;
    hears(&mut events, "jack", true, Some("Back at work")).await;
    john.set_user(invisible(false)).await.unwrap();
    hears(&mut events, "john", true, Some("Secret")).await;

    // This client's own user.
    let seen = john.query_users(json!({"id": "jane"}), Value::Null, watching()).await.unwrap();
    let jane = &seen.users[0];
    assert_eq!((jane.online, jane.status.as_deref(), jane.invisible), (None, None, None));
    let mut of_john = john.events();
    client.set_user(invisible(false)).await.unwrap();
    hears(&mut of_john, "jane", true, Some(BURGER)).await;
    hears(&mut events, "jane", true, Some(BURGER)).await;

    let ask = async |limit, cursor, presence| {
        let options = QueryOptions { presence, limit: Some(limit), cursor };
        client.query_users(json!({"online": true}), json!({"id": -1}), options).await
    };
    let first = ask(1, None, false).await.unwrap();
    assert_eq!((ids(&first.users), first.index.as_deref()), (BTreeSet::from(["john"]), Some("online")));
    let rest = ask(2, first.cursor, false).await.unwrap();
    assert_eq!((ids(&rest.users), rest.cursor), (BTreeSet::from(["jack", "jane"]), None));
    let too_many = ask(1_001, None, true).await.unwrap_err();
    assert_eq!(too_many.code(), Some(&ErrorCode::TooManyUsers));

    // Who joins a watched channel is watched from then on, until leaving it.
    let general = client.channel("messaging", "general", Value::Null);
    general.add_members(["joe"]).await.unwrap();
    assert!(matches!(next(&mut events).await, Event::MemberAdded { user, .. } if &*user.id == "joe"));
    let joe = connect(&setup, &relay, "joe", UserChange::default()).await;
    hears(&mut events, "joe", true, Some("Not in the team")).await;
    general.remove_members(["joe"]).await.unwrap();
    assert!(matches!(next(&mut events).await, Event::MemberRemoved { id, .. } if &*id == "joe"));
    joe.goodbye().await;

    // The server is restarted.
    let (ended, logs) = setup.server.stop();
    assert!(ended.success(), "{logs}");
    relay.refuse();
    assert!(matches!(next(&mut events).await, Event::ConnectionChanged(Connection::Offline { .. })));
    let is_stale = |id: &str| client.user(id).unwrap().stale;
    assert!(is_stale("john") && is_stale("jack"), "who knows");
    setup.server = Server::start(setup.directory.path(), &ARGUMENTS);
    go_on(&mut setup, &relay).await;
    // Attempts may have failed before.
    let missed = loop {
        match next(&mut events).await {
            Event::ConnectionChanged(Connection::Offline { .. }) => {}
            other => break other,
        }
    };
    let Event::PresenceChanged { user, at: None } = &missed else { panic!("{missed:?}") };
    assert_eq!((&*user.id, user.online, user.status.as_deref()), ("john", Some(true), Some("Missed")));
    assert!(matches!(next(&mut events).await, Event::ConnectionChanged(Connection::Online { .. })));
    assert!(!is_stale("john") && !is_stale("jack"));
    jack.set_user(status("Back")).await.unwrap();
    assert!(hears(&mut events, "jack", true, Some("Back")).await);

    // A watch that is stopped, and those that are dropped.
    channel.watch.unwrap().stop().await.unwrap();
    jack.set_user(status("Lunch")).await.unwrap();
    hears(&mut events, "jack", true, Some("Lunch")).await;
    drop((channels.watch, users.watch));
    wait("nobody is watched", async || client.user("jack").is_none().then_some(())).await;
    client.ping().await.unwrap();
    jack.goodbye().await;
    john.goodbye().await;
    // Whatever the server had to tell, it tells before this.
    client.set_user(status("")).await.unwrap();
    client.goodbye().await;
    assert!(matches!(next(&mut events).await, Event::ConnectionChanged(Connection::Closed { .. })));
    assert_eq!(events.next().await, None);
}
