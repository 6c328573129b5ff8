//! Our own client for Rust, when servers die, networks freeze, and tokens expire. `tests/clients/presence/faults.mjs` is the same
//! for JavaScript.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reachability_client::{Client, CloseCode, Connection, Event, Events, Options, TokenProvider};
use reachability_tests::server::Server;
use serde_json::{Value, json};

use super::rust_client::{hears, next, options, status, watching};
use super::story::{WITH_FAULTS, begin, go_on};
use super::{Setup, presence};

/// A client that connects directly to the server.
async fn connect(setup: &Setup, user: &str) -> Client {
    Client::connect(options(&setup.server.url, setup.token(user))).await.unwrap()
}

/// What a client hears until it is there again, besides attempts that failed.
async fn until_online(events: &mut Events) -> Vec<Event> {
    let mut heard = vec![];
    loop {
        match next(events).await {
            Event::ConnectionChanged(Connection::Offline { .. }) => {}
            Event::ConnectionChanged(Connection::Online { .. }) => return heard,
            other => heard.push(other),
        }
    }
}

/// Fails unless this is all that was heard: a status of a user who is online, of which nobody knows when it was set.
fn is_missed(heard: &[Event], id: &str, status: &str) {
    let [Event::PresenceChanged { user, at: None }] = heard else { panic!("{heard:?}") };
    assert_eq!((&*user.id, user.online, user.status.as_deref()), (id, Some(true), Some(status)));
}

async fn is_away(events: &mut Events) {
    let event = next(events).await;
    assert!(matches!(event, Event::ConnectionChanged(Connection::Offline { .. })), "{event:?}");
}

#[tokio::test]
async fn a_killed_server_comes_back() {
    let (mut setup, relay) = begin(&WITH_FAULTS).await;
    let open = async |user: &str| Client::connect(options(&relay.url(), setup.token(user))).await.unwrap();
    let (jane, john, jack) = (open("jane").await, open("john").await, open("jack").await);
    let watch =
        jane.query_users(json!({"id": {"$in": ["john", "jack", "joe"]}}), Value::Null, watching()).await.unwrap();
    let mut events = jane.events();
    for _ in 0..2 {
        setup.server.end("KILL");
        relay.refuse();
        is_away(&mut events).await;
        let is_stale = |id: &str| jane.user(id).unwrap().stale;
        assert!(["john", "jack", "joe"].into_iter().all(is_stale), "who knows");
        assert_eq!(jane.user("john").unwrap().user.online, Some(true), "as it was when it was last heard of");
        setup.server = Server::start(setup.directory.path(), &WITH_FAULTS);
        go_on(&mut setup, &relay).await;
        // Nobody flickers, whoever comes back first.
        is_missed(&until_online(&mut events).await, "john", "Missed");
        assert!(!["john", "jack", "joe"].into_iter().any(is_stale));
        john.set_user(status("Here")).await.unwrap();
        hears(&mut events, "john", true, Some("Here")).await;
        jack.set_user(status("Back")).await.unwrap();
        hears(&mut events, "jack", true, Some("Back")).await;
        jack.set_user(status("At work")).await.unwrap();
        hears(&mut events, "jack", true, Some("At work")).await;
    }
    jack.goodbye().await;
    hears(&mut events, "jack", false, Some("At work")).await;
    drop(watch);
}

#[tokio::test]
async fn a_frozen_network_is_noticed_at_both_ends() {
    let (setup, relay) = begin(&WITH_FAULTS).await;
    let (john, joe) = (connect(&setup, "john").await, connect(&setup, "joe").await);
    // It gives up what does not come about, and tries again.
    let impatient = Options { request_timeout: Duration::from_secs(2), ..options(&relay.url(), setup.token("jane")) };
    let jane = Client::connect(impatient).await.unwrap();
    let (of_jane, of_john) = (json!({"id": "john"}), json!({"id": "jane"}));
    let watches = (
        jane.query_users(of_jane, Value::Null, watching()).await.unwrap(),
        john.query_users(of_john, Value::Null, watching()).await.unwrap(),
    );
    let (mut events, mut of_john) = (jane.events(), john.events());
    relay.freeze();
    // She is told by nobody, and neither is the server.
    is_away(&mut events).await;
    assert!(jane.user("john").unwrap().stale);
    hears(&mut of_john, "jane", false, None).await;
    assert_eq!(presence(&setup, "jane").await["online"], false);
    john.set_user(status("Missed")).await.unwrap();
    relay.thaw();
    is_missed(&until_online(&mut events).await, "john", "Missed");
    hears(&mut of_john, "jane", true, None).await;
    assert!(!jane.user("john").unwrap().stale);
    joe.goodbye().await;
    drop(watches);
}

/// Tokens of a user for so many seconds each, the last one again and again; and how many were asked for.
fn tokens(setup: &Setup, each: &[(&str, u64)]) -> (TokenProvider, Arc<AtomicUsize>) {
    let (signer, service) = (setup.signer.clone(), setup.service.clone());
    let each: Vec<(String, u64)> = each.iter().map(|(user, seconds)| ((*user).to_owned(), *seconds)).collect();
    let asked = Arc::new(AtomicUsize::default());
    let count = asked.clone();
    let provider = TokenProvider::new(move || {
        let (user, seconds) = &each[count.fetch_add(1, Ordering::SeqCst).min(each.len() - 1)];
        let token = signer.token_for(&service, user, Duration::from_secs(*seconds));
        async move { Ok::<_, std::io::Error>(token) }
    });
    (provider, asked)
}

#[tokio::test]
async fn tokens_are_renewed_in_time_or_end_the_connection() {
    let (setup, _relay) = begin(&WITH_FAULTS).await;
    let observer = connect(&setup, "joe").await;
    let everybody = json!({"id": {"$in": ["jane", "john", "jack"]}});
    let watch = observer.query_users(everybody, Value::Null, watching()).await.unwrap();
    let mut seen = observer.events();

    // Jane is given another token in time; john is given one of somebody else, which is refused; jack has only the one.
    let (provider, janes) = tokens(&setup, &[("jane", 6), ("jane", 3_600)]);
    let jane = Client::connect(options(&setup.server.url, provider)).await.unwrap();
    let mut of_jane = jane.events();
    hears(&mut seen, "jane", true, None).await;
    let (provider, johns) = tokens(&setup, &[("john", 6), ("jack", 3_600), ("john", 3_600)]);
    let john = Client::connect(options(&setup.server.url, provider)).await.unwrap();
    let mut of_john = john.events();
    hears(&mut seen, "john", true, None).await;
    let fixed = setup.signer.token_for(&setup.service, "jack", Duration::from_secs(6));
    let jack = Client::connect(options(&setup.server.url, fixed)).await.unwrap();
    let mut of_jack = jack.events();
    hears(&mut seen, "jack", true, None).await;

    let Event::ConnectionChanged(Connection::Closed { why }) = next(&mut of_jack).await else { panic!("it goes on") };
    assert_eq!((why.code, &*why.reason), (Some(CloseCode::TokenRefused), "token_expired"));
    assert_eq!(of_jack.next().await, None, "there is no other token");
    let Event::ConnectionChanged(Connection::Offline { why, .. }) = next(&mut of_john).await else {
        panic!("it goes on")
    };
    assert_eq!((why.code, &*why.reason), (Some(CloseCode::TokenRefused), "token_expired"));
    assert_eq!(until_online(&mut of_john).await, []);
    assert_eq!(johns.load(Ordering::SeqCst), 3);
    // Within the grace period nobody hears of that, and the one without a token is gone after it.
    hears(&mut seen, "jack", false, None).await;
    jane.set_user(status("Still here")).await.unwrap();
    hears(&mut seen, "jane", true, Some("Still here")).await;
    assert_eq!(janes.load(Ordering::SeqCst), 2);
    jane.goodbye().await;
    let last = next(&mut of_jane).await;
    assert!(matches!(last, Event::ConnectionChanged(Connection::Closed { .. })), "it was never away: {last:?}");
    drop(watch);
}

/// One of two tabs is closed.
#[tokio::test]
async fn a_user_is_there_until_the_last_tab_is_closed() {
    let (setup, relay) = begin(&WITH_FAULTS).await;
    let john = connect(&setup, "john").await;
    let watch = john.query_users(json!({"id": "jane"}), Value::Null, watching()).await.unwrap();
    let mut seen = john.events();
    let first = connect(&setup, "jane").await;
    hears(&mut seen, "jane", true, None).await;
    let own = first.query_users(json!({"id": "jane"}), Value::Null, watching()).await.unwrap();
    let mut of_first = first.events();
    let second = Client::connect(options(&relay.url(), setup.token("jane"))).await.unwrap();
    second.set_user(status("In two tabs")).await.unwrap();
    hears(&mut seen, "jane", true, Some("In two tabs")).await;
    hears(&mut of_first, "jane", true, Some("In two tabs")).await;
    assert_eq!(first.me().user.invisible, Some(false));
    // One loses its connection and comes back, and then it is closed. Nobody else hears of either.
    let mut of_second = second.events();
    relay.cut();
    assert_eq!(until_online(&mut of_second).await, []);
    second.goodbye().await;
    first.set_user(status("In one tab")).await.unwrap();
    hears(&mut seen, "jane", true, Some("In one tab")).await;
    hears(&mut of_first, "jane", true, Some("In one tab")).await;
    drop(own);
    first.goodbye().await;
    hears(&mut seen, "jane", false, Some("In one tab")).await;
    drop(watch);
}
