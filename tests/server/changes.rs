//! The log of changes, over REST.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::changes::{Known, changes_after, shown};
use reachability_tests::client::Client;
use reachability_tests::events::event;
use reachability_tests::raw::encode;
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

/// Waits until a service has this many changes. Returns them.
async fn changes(client: &Client, service: &str, count: usize) -> Vec<Value> {
    let read = async || Some(changes_after(client, service, None).await.0).filter(|read| read.len() >= count);
    let read = wait("so many changes", read).await;
    assert_eq!(read.len(), count, "{:#?}", read.iter().map(brief).collect::<Vec<_>>());
    read
}

/// A change in a line: `user --- > TT- exists: connect, is_online: connect`.
fn brief(change: &Value) -> String {
    let words = |reasons: &Value| {
        let reasons = reasons.as_object().unwrap().iter();
        reasons.map(|(field, reason)| format!("{field}: {}", reason.as_str().unwrap())).collect::<Vec<_>>().join(", ")
    };
    let marks = |visible: &Value| {
        ["exists", "is_online", "is_notifiable"]
            .map(|field| visible[field].as_bool().map_or("-", |is| if is { "T" } else { "F" }))
            .concat()
    };
    let switch = |value: &Value| format!("{} {}", value["reachability_enabled"], value["generation"]);
    let profile = |value: &Value| {
        assert_eq!(value.as_object().unwrap().len(), 3, "{value}");
        assert!(value["role_sid"].is_string(), "{value}");
        format!("{} {}", value["friendly_name"], value["attributes"])
    };
    let before = &change["before"];
    match change["type"].as_str().unwrap() {
        "user" => format!("user {} > {} {}", marks(before), marks(change), words(&change["reasons"])),
        "profile" => format!("profile {} > {} {}", profile(before), profile(&change["profile"]), change["reason"]),
        "service" => format!("service {} > {} {}", switch(before), switch(change), change["reason"].as_str().unwrap()),
        other => panic!("{other}"),
    }
}

async fn send(client: &Client, event: &Value) {
    let service = event["service_sid"].as_str().unwrap();
    client.post(&format!("/v1/Services/{service}/Events"), event.to_string()).await;
}

fn connect(service: &str, connection: &str) -> Value {
    let mut event = event(service, "alice", "connect");
    event["connection_id"] = json!(connection);
    event
}

fn disconnect(service: &str, connection: &str, reason: &str) -> Value {
    let mut event = event(service, "alice", "disconnect");
    (event["connection_id"], event["reason"]) = (json!(connection), json!(reason));
    event
}

#[tokio::test]
async fn every_change_is_told_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--grace-seconds", "1"]);
    let client = Client::of(&server);
    let started = clock::now();
    let service = client.enabled_service().await;
    let path = |rest: &str| format!("/v1/Services/{service}/{rest}");
    let mut expected: Vec<String> = vec!["service false 0 > true 1 switched".to_owned()];
    // What is behind a step is waited for, so that the next one is a write of its own.
    let step = async |expected: &mut Vec<String>, more: &[&str]| {
        expected.extend(more.iter().map(|line| (*line).to_owned()));
        let read = changes(&client, &service, expected.len()).await;
        assert_eq!(read.iter().map(brief).collect::<Vec<_>>(), *expected);
        read
    };

    send(&client, &connect(&service, "c-1")).await;
    step(&mut expected, &["user F-- > TT- exists: connect, is_online: connect"]).await;
    for (n, reason) in ["client_closed", "connection_lost", "server_closed"].into_iter().enumerate() {
        if n > 0 {
            send(&client, &connect(&service, &format!("c-{}", n + 1))).await;
            step(&mut expected, &["user TF- > TT- is_online: connect"]).await;
        }
        send(&client, &disconnect(&service, &format!("c-{}", n + 1), reason)).await;
        step(&mut expected, &[&format!("user TT- > TF- is_online: {reason}")]).await;
    }
    let mut short = connect(&service, "c-4");
    short["lease_seconds"] = json!(1);
    send(&client, &short).await;
    step(&mut expected, &["user TF- > TT- is_online: connect", "user TT- > TF- is_online: lease_ended"]).await;

    let form = [("Identity", "alice"), ("BindingType", "fcm"), ("Address", "token")];
    let (status, binding) = client.send(Method::POST, &path("Bindings"), &form).await;
    assert_eq!(status, 201, "{binding}");
    step(&mut expected, &["user TF- > TFT is_notifiable: registered"]).await;
    client.delete(&path(&format!("Bindings/{}", binding["sid"].as_str().unwrap()))).await;
    step(&mut expected, &["user TFT > TFF is_notifiable: unregistered"]).await;

    let user = client.get(&path("Users/alice")).await;
    for _ in 0..2 {
        // The second time it changes nothing.
        client.post(&path("Users/alice"), "FriendlyName=Alice&Attributes=%7B%22a%22%3A1%7D").await;
    }
    step(&mut expected, &[r#"profile null "{}" > "Alice" "{\"a\":1}" "profile""#]).await;

    client.post(&path("Configuration"), "ReachabilityEnabled=false").await;
    client.post(&path("Configuration"), "ReachabilityEnabled=false").await;
    step(&mut expected, &["service true 1 > false 1 switched"]).await;
    client.post(&path("Configuration"), "ReachabilityEnabled=true").await;
    let lines = ["service false 1 > true 2 switched", "user T-- > T-F is_notifiable: switched"];
    step(&mut expected, &lines).await;
    client.delete(&path("Users/alice")).await;
    let read = step(&mut expected, &["user T-F > F-- exists: deleted, is_notifiable: deleted"]).await;

    // Users that are created over REST, by a profile and by a registration.
    let (status, _) = client.send(Method::POST, &path("Users"), &[("Identity", "bob")]).await;
    assert_eq!(status, 201);
    step(&mut expected, &["user F-- > T-- exists: profile"]).await;
    let form = [("Identity", "carol"), ("BindingType", "fcm"), ("Address", "another")];
    client.send(Method::POST, &path("Bindings"), &form).await;
    let all = step(&mut expected, &["user F-- > T-T exists: registered, is_notifiable: registered"]).await;

    assert_eq!(Known::of(&all).users(), shown(&client, &service).await);
    let mut generation = 0;
    for change in &read {
        assert_eq!(change["service_sid"], *service, "{change}");
        if change["type"] == "service" {
            generation = change["generation"].as_u64().unwrap();
        } else {
            assert_eq!((&change["identity"], &change["user_sid"]), (&json!("alice"), &user["sid"]), "{change}");
            assert_eq!(change["generation"], generation, "{change}");
        }
        let at: Timestamp = change["at"].as_str().unwrap().parse().unwrap();
        assert!(started <= at && at <= clock::now(), "{change}");
        // Ids grow like the time.
        assert!(change["id"].as_u64().unwrap() >= at.as_millis().unsigned_abs(), "{change}");
    }
    let (status, logs) = server.stop();
    assert!(status.success());
    for words in ["\"online.reason\":\"lease_ended\"", "\"exists.reason\":\"deleted\"", "a user's profile changed"] {
        assert!(logs.contains(words), "{words}: {logs}");
    }
    assert!(!logs.contains("alice") && !logs.contains("Alice"), "{logs}");
}

#[tokio::test]
async fn a_deleted_service_has_no_log() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let (service, other) = (client.enabled_service().await, client.enabled_service().await);
    send(&client, &connect(&service, "c-1")).await;
    send(&client, &connect(&other, "c-1")).await;
    changes(&client, &service, 2).await;
    let before = changes(&client, &other, 2).await;
    client.delete(&format!("/v1/Services/{service}")).await;
    let (status, error) = client.send(Method::GET, &format!("/v1/Services/{service}/Changes"), &[]).await;
    assert_eq!((status, &error["code"]), (404, &json!(20404)));
    assert_eq!(changes(&client, &other, 2).await, before);
    assert!(server.stop().0.success());
    // It was told all the same.
    let database = Connection::open(directory.path().join("reachability.db")).unwrap();
    let last: String =
        database.query_row("SELECT notice FROM feed ORDER BY id DESC LIMIT 1", [], |row| row.get(0)).unwrap();
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!((brief(&last), &last["at"]), ("service true 1 > false 1 deleted".to_owned(), &Value::Null));
    assert_eq!(last["service_sid"], *service);
}

#[tokio::test]
async fn the_changes_of_one_user_are_selected() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let identities = ["alice", "a b&c=d/é+?#", "100%", "100%25", "a", "Alice"];
    for identity in identities {
        let form = [("Identity", identity)];
        let users = format!("/v1/Services/{service}/Users");
        assert_eq!(client.send(Method::POST, &users, &form).await.0, 201, "{identity}");
    }
    for n in 0..4 {
        for identity in identities {
            let user = format!("/v1/Services/{service}/Users/{}", encode(identity));
            client.post(&user, format!("FriendlyName={n}")).await;
        }
    }
    let all = changes(&client, &service, 1 + identities.len() * 5).await;
    for identity in identities {
        let expected: Vec<Value> = all.iter().filter(|change| change["identity"] == identity).cloned().collect();
        assert_eq!(expected.len(), 5, "{identity}");
        let mut next = json!(format!("/v1/Services/{service}/Changes?PageSize=2&Identity={}", encode(identity)));
        let (mut found, mut sizes) = (vec![], vec![]);
        while let Some(url) = next.as_str() {
            let page = client.get(url).await;
            let some = page["changes"].as_array().unwrap();
            sizes.push(some.len());
            found.extend(some.iter().cloned());
            next = page["next_page_url"].clone();
        }
        assert_eq!((found, sizes), (expected, vec![2, 2, 1]), "{identity}");
    }
    let nobody = client.get(&format!("/v1/Services/{service}/Changes?Identity=nobody")).await;
    assert_eq!((&nobody["changes"], &nobody["next_page_url"]), (&json!([]), &Value::Null));
    assert!(nobody["cursor"].as_u64() >= all.last().unwrap()["id"].as_u64());
}

#[tokio::test]
async fn pages_follow_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let (service, other) = (client.enabled_service().await, client.enabled_service().await);
    let path = format!("/v1/Services/{service}/Changes");
    let create = async |service: &str, identity: String| {
        let form = [("Identity", identity.as_str())];
        assert_eq!(client.send(Method::POST, &format!("/v1/Services/{service}/Users"), &form).await.0, 201);
    };
    for n in 0..119 {
        create(&service, format!("user-{n:03}")).await;
        if n % 3 == 0 {
            create(&other, format!("stranger-{n:03}")).await;
        }
    }
    let (mut found, mut sizes, mut next) = (vec![], vec![], json!(format!("{path}?PageSize=50")));
    let mut cursor = json!(0);
    while let Some(url) = next.as_str() {
        assert!(sizes.is_empty() || url.starts_with(&format!("{}{path}?", server.url)), "{url}");
        let page = client.get(url).await;
        let members: BTreeSet<&str> = page.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, BTreeSet::from(["changes", "cursor", "next_page_url"]));
        let some = page["changes"].as_array().unwrap();
        sizes.push(some.len());
        found.extend(some.iter().cloned());
        (cursor, next) = (page["cursor"].clone(), page["next_page_url"].clone());
    }
    assert_eq!(sizes, [50, 50, 20]);
    let names: Vec<String> = (0..119).map(|n| format!("user-{n:03}")).collect();
    assert_eq!(found[1..].iter().map(|change| change["identity"].as_str().unwrap()).collect::<Vec<_>>(), names);
    Known::of(&found);
    // Fifty is also what a page has if the request does not say.
    assert_eq!(client.get(&path).await["changes"].as_array().unwrap().len(), 50);
    // From the middle: only what is after that one.
    let middle = found[60]["id"].as_u64();
    assert_eq!(changes_after(&client, &service, middle).await.0, found[61..]);

    // The cursor is good for as long as nothing happens, and afterwards.
    for _ in 0..2 {
        let nothing = client.get(&format!("{path}?After={cursor}")).await;
        assert_eq!(nothing, json!({"changes": [], "cursor": cursor, "next_page_url": null}));
    }
    for identity in ["one", "two", "three"] {
        create(&other, format!("not-{identity}")).await;
        create(&service, identity.to_owned()).await;
    }
    let more = client.get(&format!("{path}?After={cursor}&PageSize=3")).await;
    let of = |it: &Value| it["identity"].as_str().unwrap().to_owned();
    let identities: Vec<String> = more["changes"].as_array().unwrap().iter().map(of).collect();
    assert_eq!(
        (identities, &more["next_page_url"]),
        (["one", "two", "three"].map(str::to_owned).to_vec(), &Value::Null)
    );
    let end = more["cursor"].as_u64().unwrap();
    assert_eq!(client.send(Method::GET, &format!("{path}?After={end}"), &[]).await.0, 200);
    // Nobody can have read what is not there yet.
    let (status, error) = client.send(Method::GET, &format!("{path}?After={}", end + 1), &[]).await;
    assert_eq!((status, &error["status"], &error["code"]), (410, &json!(410), &json!(20404)), "{error}");
    assert!(error["message"].as_str().unwrap().contains("does not reach back"), "{error}");
}

/// The positions of all rows of the feed, of whatever service.
fn positions(directory: &Path) -> Vec<u64> {
    let database = Connection::open(directory.join("reachability.db")).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    let mut statement = database.prepare("SELECT id FROM feed ORDER BY id").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn changes_beyond_the_number_that_is_kept_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let rows = ["--change-log-rows", "20"];
    let server = Server::start(directory.path(), &rows);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let path = format!("/v1/Services/{service}/Changes");
    let (first, cursor) = changes_after(&client, &service, None).await;
    assert_eq!(brief(&first[0]), "service false 0 > true 1 switched");
    let events: Vec<Value> = (0..1_200).map(|n| event(&service, &format!("user-{n}"), "connect")).collect();
    client.post(&format!("/v1/Services/{service}/Events"), Value::from(events).to_string()).await;
    let all = async || Some(client.everybody(&service).await).filter(|all| all.len() == 1_200);
    wait("they are there", all).await;
    // They are counted once in a thousand rows, so there may be that many more than asked for.
    let oldest_is_gone = async || {
        let (status, error) = client.send(Method::GET, &format!("{path}?After={cursor}"), &[]).await;
        (status == 410).then_some(error)
    };
    let error = wait("the oldest is gone", oldest_is_gone).await;
    assert_eq!(error["code"], 20404);
    assert_eq!(client.send(Method::GET, &format!("{path}?After=0"), &[]).await.0, 410);
    all_delivered(directory.path()).await;
    assert!(server.stop().0.success());

    // The first delivery after a start counts too: then there are exactly as many.
    let server = Server::start(directory.path(), &rows);
    let client = Client::of(&server);
    let before = positions(directory.path());
    assert!((20..1_200).contains(&before.len()), "{}", before.len());
    let (status, _) =
        client.send(Method::POST, &format!("/v1/Services/{service}/Users"), &[("Identity", "last")]).await;
    assert_eq!(status, 201);
    let kept = async || Some(positions(directory.path())).filter(|kept| kept.len() == 20);
    let kept = wait("twenty are kept", kept).await;
    let (read, end) = changes_after(&client, &service, None).await;
    assert_eq!(read.iter().map(|change| change["id"].as_u64().unwrap()).collect::<Vec<_>>(), kept);
    assert_eq!((read[19]["identity"].as_str(), end), (Some("last"), kept[19]));
    let last_gone = before[before.len() - 20];
    for (after, expected) in [(last_gone - 1, 410), (last_gone, 200), (kept[0], 200), (end, 200), (end + 1, 410)] {
        assert_eq!(client.send(Method::GET, &format!("{path}?After={after}"), &[]).await.0, expected, "{after}");
    }
    assert_eq!(changes_after(&client, &service, Some(last_gone)).await.0, read);
}

/// Waits until everything in the feed is delivered: what is not is delivered after the next start.
async fn all_delivered(directory: &Path) {
    let database = Connection::open(directory.join("reachability.db")).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    let sql = "SELECT delivered >= (SELECT max(id) FROM feed) FROM feed_position";
    let ask = async || database.query_row(sql, [], |row| row.get(0)).unwrap_or(false).then_some(());
    wait("all is delivered", ask).await;
}

/// Makes everything in the feed older, as if nothing had happened since.
fn age(directory: &Path, milliseconds: u64) {
    let database = Connection::open(directory.join("reachability.db")).unwrap();
    database.execute("UPDATE feed SET id = id - ?1", [milliseconds]).unwrap();
    database.execute("UPDATE feed_position SET delivered = delivered - ?1", [milliseconds]).unwrap();
}

#[tokio::test]
async fn old_changes_are_gone_and_whoever_has_read_them_misses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--change-log-hours", "2"]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let path = format!("/v1/Services/{service}/Changes");
    let create = async |client: &Client, identity: &str| {
        let form = [("Identity", identity)];
        assert_eq!(client.send(Method::POST, &format!("/v1/Services/{service}/Users"), &form).await.0, 201);
    };
    create(&client, "alice").await;
    create(&client, "bob").await;
    let read = changes(&client, &service, 3).await;
    all_delivered(directory.path()).await;
    assert!(server.stop().0.success());
    let three_hours = 3 * 3_600_000;
    age(directory.path(), three_hours);
    let position = |change: &Value| change["id"].as_u64().unwrap() - three_hours;

    let server = Server::start(directory.path(), &["--change-log-hours", "2"]);
    let client = Client::of(&server);
    create(&client, "carol").await;
    let only_hers = async || Some(positions(directory.path())).filter(|kept| kept.len() == 1);
    wait("the old ones are gone", only_hers).await;
    let (new, _) = changes_after(&client, &service, Some(position(&read[2]))).await;
    assert_eq!(new.iter().map(|it| it["identity"].as_str().unwrap()).collect::<Vec<_>>(), ["carol"]);
    assert_eq!(changes_after(&client, &service, None).await.0, new);
    for gone in [0, position(&read[0]), position(&read[1])] {
        assert_eq!(client.send(Method::GET, &format!("{path}?After={gone}"), &[]).await.0, 410, "{gone}");
    }
}

#[tokio::test]
async fn the_log_can_be_off() {
    for off in [["--change-log-hours", "0"], ["--change-log-rows", "0"]] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path(), &[]);
        let client = Client::of(&server);
        let service = client.enabled_service().await;
        let path = format!("/v1/Services/{service}/Changes");
        let (_, cursor) = changes_after(&client, &service, None).await;
        assert!(server.stop().0.success());

        let server = Server::start(directory.path(), &off);
        let client = Client::of(&server);
        send(&client, &connect(&service, "c-1")).await;
        for method in [Method::GET, Method::POST] {
            let (status, error) = client.send(method, &path, &[]).await;
            assert_eq!((status, &error["code"]), (404, &json!(20404)), "{off:?}: {error}");
        }
        assert_eq!(client.with_credentials("x", "y").send(Method::GET, &path, &[]).await.0, 401);
        // Changes are delivered all the same, and then forgotten.
        wait("she is there", async || client.everybody(&service).await.remove("alice").flatten()).await;
        wait("nothing is kept", async || positions(directory.path()).is_empty().then_some(())).await;
        let (_, logs) = server.stop();
        assert!(logs.contains("a user changed"), "{off:?}: {logs}");

        let server = Server::start(directory.path(), &[]);
        let client = Client::of(&server);
        assert_eq!(client.send(Method::GET, &format!("{path}?After={cursor}"), &[]).await.0, 410);
        let (none, start) = changes_after(&client, &service, None).await;
        assert!(none.is_empty(), "{none:?}");
        send(&client, &disconnect(&service, "c-1", "client_closed")).await;
        let read = async || {
            let read = changes_after(&client, &service, Some(start)).await.0;
            (!read.is_empty()).then_some(read)
        };
        let read = wait("she is gone", read).await;
        assert_eq!(read.iter().map(brief).collect::<Vec<_>>(), ["user TT- > TF- is_online: client_closed"]);
    }
}
