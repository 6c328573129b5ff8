//! A data directory that an earlier version has written: its database, with queued messages, and that version's answers
//! to reads (`tests/data/earlier`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use memchr::memmem;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::changes::{changes_after, shown};
use reachability_tests::client::Client;
use reachability_tests::events::event;
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const ACCOUNT: &str = "AC00000000000000000000000000000001";

fn data() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/data/earlier"))
}

fn all(database: &Connection, sql: &str) -> Vec<Value> {
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(|row| serde_json::from_str(&row.unwrap()).unwrap()).collect()
}

/// A data directory with that data, and with more rows.
fn directory(more: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let database = Connection::open(directory.path().join("reachability.db")).unwrap();
    database.execute_batch(&fs::read_to_string(data().join("database.sql")).unwrap()).unwrap();
    database.execute_batch(more).unwrap();
    fs::copy(data().join("credentials.key"), directory.path().join("credentials.key")).unwrap();
    let account = json!({ "account_sid": ACCOUNT, "auth_token": "0123456789abcdef" });
    fs::write(directory.path().join("account.json"), account.to_string()).unwrap();
    directory
}

#[tokio::test]
async fn data_of_an_earlier_version_is_read_unchanged() {
    // Dead letters are kept for 14 days.
    let dead = format!("UPDATE dead_letters SET died_at = {};", clock::now().as_millis());
    let webhook = r#"{"service_sid":"IS01a1fee6d92475ac94eb1daa22f0c027","queued_at":1}"#;
    let more = [(20, r#"{"type":"probe"}"#), (21, webhook), (22, "no message")].map(|(id, body)| {
        format!("INSERT INTO dead_letters VALUES ({id}, {}, 'why', '{body}');", clock::now().as_millis())
    });
    let directory = directory(&(dead + &more.concat()));
    let path = directory.path().join("reachability.db");
    // The queued check of a registration asks at once. It waits for an answer until everything is read, since its failure
    // would show at the credential.
    let apple = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start_with(directory.path(), &["--public-url", "http://localhost:8080"], |command| {
        command.env("REACHABILITY_APNS_URL", format!("https://{}", apple.local_addr().unwrap()));
    });
    let client = Client::of(&server);
    let answers = fs::read_to_string(data().join("answers.json")).unwrap();
    let answers: Map<String, Value> = serde_json::from_str(&answers).unwrap();
    assert_eq!(answers.len(), 26);
    for (path, earlier) in &answers {
        // New members in an answer are allowed.
        let mut now = client.get(path).await;
        keep_known(&mut now, earlier);
        assert_eq!(now.to_string(), earlier.to_string(), "{path}");
    }
    // Its bindings have no tags but the implicit ones.
    let bindings = format!("/v1/Services/{SERVICE}/Bindings");
    let listed = client.get(&bindings).await["bindings"].clone();
    let has_none = |binding: &Value| binding["tags"] == json!([]);
    assert!(listed.as_array().is_some_and(|it| !it.is_empty() && it.iter().all(has_none)), "{listed}");
    assert_eq!(client.get(&format!("{bindings}?Tag=all")).await["bindings"], listed);
    assert_eq!(client.get(&format!("{bindings}?Tag=vip")).await["bindings"], json!([]));
    drop(apple);

    // The queued messages are long due: each is handled with its original meaning.
    let database = Connection::open(&path).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let is_handled = |messages: &[Value]| {
        // The scan at the start may find the registration too.
        let messages: Vec<&Value> = messages.iter().filter(|message| message["cause"] != "scan").collect();
        let kinds: Vec<&str> = messages.iter().map(|message| message["type"].as_str().unwrap()).collect();
        // Alice's timer is not one of a connection any more.
        let is_hers = || messages[0]["connection_id"].is_null();
        kinds == ["check", "probe"] && is_hers() && messages[1]["attempts"].as_u64() > Some(1)
    };
    let mut messages = all(&database, "SELECT body FROM messages ORDER BY lane, id");
    while !is_handled(&messages) {
        assert!(Instant::now() < deadline, "{messages:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        messages = all(&database, "SELECT body FROM messages ORDER BY lane, id");
    }
    // Alice's connection lives for a century; no provider can be asked about her phone.
    assert_eq!(messages[0]["identity"], "alice");
    let timers = "SELECT json_object('stored', next_timer, 'waits', due_at) FROM states JOIN messages
        ON messages.service = states.service AND timer_of = identity";
    let timers = all(&database, timers);
    assert!(timers.len() == 1 && timers[0]["stored"] == timers[0]["waits"], "{timers:?}");
    let deliveries = all(&database, "SELECT document FROM deliveries");
    assert_eq!(deliveries[0]["status"], json!({ "status": "failed", "reason": "Expired" }));
    let mut dead = database.prepare("SELECT id, queue FROM dead_letters ORDER BY id").unwrap();
    let dead = dead.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let dead: Vec<(i64, i64)> = dead.map(Result::unwrap).collect();
    assert_eq!(dead, [(14, 0), (20, 1), (21, 2), (22, 0)], "those that were there");
    let (status, logs) = server.stop();
    assert!(status.success() && !logs.contains("ERROR"), "{logs}");
}

/// A key of the earlier version, in the clear.
fn key(sid: &str, secret: &str) -> String {
    let document = json!({
        "sid": format!("SK{sid}"), "friendly_name": "x".repeat(200), "secret": secret, "date_created": 1_795_277_904_221_i64,
    });
    format!("INSERT INTO keys VALUES (X'{sid}', '{document}');")
}

/// An API key in that data: its sid and its secret.
const KNOWN: (&str, &str) = ("SK01a1fee6d95d75fe94588f9aafccc242", "5ca36e9dbbcf834763dd60ed2ab67ee1");

/// The earlier version had them in the clear. What it had deleted was left in unused parts of the file, and what it had
/// written last only in the journal.
#[tokio::test]
async fn secrets_of_api_keys_are_sealed_and_those_of_deleted_ones_are_gone() {
    let sid = |n: usize| format!("01a1fee6d95d75fe94588f9b{n:08x}");
    let secret = |n: usize| format!("5ec2e7{n:026x}");
    // Some of many pages become free, and some stay in use.
    let mut more: String = (0..200).map(|n| key(&sid(n), &secret(n))).collect();
    more += "DELETE FROM keys WHERE document LIKE '%5ec2e7%' AND document NOT LIKE '%5ec2e7%007\"%';";
    let earlier = directory(&more);
    let journal = Connection::open(earlier.path().join("reachability.db")).unwrap();
    journal.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;").unwrap();
    journal.execute_batch(&[key(&sid(1_000), &secret(1_000)), key(&sid(1_001), &secret(1_001))].concat()).unwrap();
    journal.execute_batch(&format!("DELETE FROM keys WHERE sid = X'{}';", sid(1_001))).unwrap();
    // It was killed.
    let directory = tempfile::tempdir().unwrap();
    for name in ["reachability.db", "reachability.db-wal", "account.json", "credentials.key"] {
        fs::copy(earlier.path().join(name), directory.path().join(name)).unwrap();
    }
    drop(journal);
    let mut secrets: Vec<String> = (0..200).chain([1_000, 1_001]).map(secret).collect();
    secrets.push(KNOWN.1.to_owned());
    let found = |name: &str| -> usize {
        let content = fs::read(directory.path().join(name)).unwrap_or_default();
        secrets.iter().filter(|secret| memmem::find(&content, secret.as_bytes()).is_some()).count()
    };
    let nowhere = || {
        for entry in fs::read_dir(directory.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert_eq!(found(&name), 0, "secrets in {name}");
        }
    };
    assert!(found("reachability.db") > 20, "what was deleted is left");
    assert!(found("reachability.db-wal") >= 2, "what was written last is in the journal");

    let server = Server::start(directory.path(), &[]);
    nowhere();
    let client = Client::of(&server);
    let status = async |sid: &str, secret: &str| {
        client.with_credentials(sid, secret).send(Method::GET, "/v1/Services", &[]).await.0
    };
    assert_eq!(status(KNOWN.0, KNOWN.1).await, 200);
    assert_eq!(status(&format!("SK{}", sid(7)), &secret(7)).await, 200);
    assert_eq!(status(&format!("SK{}", sid(1_000)), &secret(1_000)).await, 200);
    assert_eq!(status(&format!("SK{}", sid(8)), &secret(8)).await, 401, "it was deleted");
    let (ended, logs) = server.stop();
    assert!(ended.success() && logs.contains("is rewritten"), "{logs}");
    nowhere();
    let (ended, logs) = Server::start(directory.path(), &[]).stop();
    assert!(ended.success() && !logs.contains("is rewritten"), "{logs}");
}

/// Removes the members from an answer that the earlier answer did not have.
fn keep_known(now: &mut Value, earlier: &Value) {
    match (now, earlier) {
        (Value::Object(now), Value::Object(earlier)) => {
            now.retain(|name, _| earlier.contains_key(name));
            now.iter_mut().for_each(|(name, value)| keep_known(value, &earlier[name]));
        }
        (Value::Array(now), Value::Array(earlier)) => {
            now.iter_mut().zip(earlier).for_each(|(now, earlier)| keep_known(now, earlier));
        }
        _ => {}
    }
}

const SERVICE: &str = "IS01a1fee6d92475ac94eb1daa22f0c027";

/// When Carol was deleted, who had a connection then.
const CAROL_DELETED_AT: i64 = 1_795_277_905_258;

/// A profile that was created over REST, of a user without events: the earlier version stored no state for it.
fn profile(sid: u32, identity: &str) -> String {
    let document = json!({
        "sid": format!("US{sid:032x}"), "service_sid": SERVICE, "identity": identity, "friendly_name": null,
        "attributes": "{}", "role_sid": null, "date_created": 1_795_277_904_252_i64,
        "date_updated": 1_795_277_904_252_i64, "version": 0,
    });
    let service = &SERVICE[2..];
    format!("INSERT INTO users VALUES (X'{service}', X'{sid:032x}', '{identity}', 0, '{document}');")
}

fn state(identity: &str, as_of: i64, presence: &Value) -> String {
    let service = &SERVICE[2..];
    format!("INSERT INTO states VALUES (X'{service}', '{identity}', {as_of}, {as_of}, '{presence}', NULL);")
}

/// An event in the queue, as the earlier version put it there: without a stamp.
fn message(identity: &str, kind: &str, connection: &str, at: i64) -> String {
    let mut event = event(SERVICE, identity, kind);
    event["occurred_at"] = json!(Timestamp::from_millis(at).to_string());
    (event["connection_id"], event["lease_seconds"]) = (json!(connection), json!(4_000_000_000_u32));
    format!("INSERT INTO messages (due_at, body) VALUES (0, '{event}');")
}

/// Users with and without a state, what deleted users left behind, and messages that wait.
#[tokio::test]
async fn users_of_an_earlier_version_go_on() {
    let gone = |at: i64| json!({"o": {"a": i64::MAX, "l": i64::MAX}, "e": {"a": at, "r": at}});
    let unseen = |at: i64| json!({"e": {"a": at, "r": at}});
    let long_ago = 1_780_000_000_000;
    let more = [
        profile(0xd1, "dave"),
        profile(0xd2, "dora"),
        profile(0xd3, "old"),
        // A user whose events are long over.
        state(
            "old",
            long_ago,
            &json!({"c": {"c-1": {"o": {"a": long_ago, "l": long_ago + 1}}}, "g": 1, "t": long_ago}),
        ),
        state("frank", long_ago, &json!({"c": {"c-1": gone(long_ago)}, "g": 0, "t": null})),
        // Known from a disconnect only.
        state(
            "early",
            CAROL_DELETED_AT,
            &json!({"c": {"c-1": unseen(CAROL_DELETED_AT)}, "g": 0, "t": CAROL_DELETED_AT}),
        ),
        message("carol", "connect", "c-4", CAROL_DELETED_AT - 1_000),
        message("carol", "connect", "c-5", CAROL_DELETED_AT),
        message("dora", "connect", "c-1", CAROL_DELETED_AT),
        message("erin", "connect", "c-1", CAROL_DELETED_AT),
        message("early", "connect", "c-1", CAROL_DELETED_AT - 1_000),
        message("bob", "renew", "c-9", CAROL_DELETED_AT),
        message("bob", "disconnect", "c-9", CAROL_DELETED_AT + 1_000),
        message("marker", "connect", "c-1", CAROL_DELETED_AT),
    ];
    let directory = directory(&more.concat());
    let path = directory.path().join("reachability.db");
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let handled = async || Some(shown(&client, SERVICE).await).filter(|users| users.contains_key("marker"));
    let users = wait("the messages are handled", handled).await;
    let expected = [
        ("alice", json!([true, true])),
        ("bob", json!([false, null])),
        ("dave", json!([null, null])),
        ("dora", json!([true, null])),
        ("early", json!([false, null])),
        ("erin", json!([true, null])),
        ("marker", json!([true, null])),
        ("old", json!([false, null])),
    ];
    // Carol stays deleted.
    assert_eq!(users, expected.map(|(identity, value)| (identity.to_owned(), value)).into());

    // Garbage collection keeps the states of users, however old they are.
    let database = Connection::open(&path).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    let identities = |condition: &str| -> Vec<String> {
        let sql = format!("SELECT identity FROM states WHERE {condition} ORDER BY identity");
        let mut statement = database.prepare(&sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let collected = async || (!identities("true").contains(&"frank".to_owned())).then_some(());
    wait("garbage is collected", collected).await;
    assert_eq!(identities("user IS NOT NULL"), users.keys().cloned().collect::<Vec<_>>());
    assert_eq!(identities("user IS NULL"), ["carol"]);

    // What is told: those who came, and nobody who was there.
    let (told, cursor) = changes_after(&client, SERVICE, None).await;
    let reasons = |changes: &[Value]| -> BTreeMap<String, Vec<Value>> {
        let mut reasons: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for change in changes {
            let identity = change["identity"].as_str().unwrap().to_owned();
            reasons.entry(identity).or_default().push(change["reasons"].clone());
        }
        reasons
    };
    let came = json!({"exists": "connect", "is_online": "connect"});
    // The earlier version stored no reasons of disconnects.
    let came_and_went = json!({"exists": "connect", "is_online": "connection_lost"});
    let expected = [
        ("dora", vec![json!({"is_online": "connect"})]),
        ("early", vec![came_and_went]),
        ("erin", vec![came.clone()]),
        ("marker", vec![came.clone()]),
    ];
    assert_eq!(reasons(&told), expected.map(|(identity, reasons)| (identity.to_owned(), reasons)).into());

    // Everything works on: deletions, new users with the same names, and events.
    let users = format!("/v1/Services/{SERVICE}/Users");
    for identity in ["alice", "dave", "old", "dora"] {
        client.delete(&format!("{users}/{identity}")).await;
        assert_eq!(client.send(Method::GET, &format!("{users}/{identity}"), &[]).await.0, 404, "{identity}");
    }
    for identity in ["alice", "dave", "carol"] {
        let (status, made) = client.send(Method::POST, &users, &[("Identity", identity)]).await;
        assert_eq!((status, &made["is_online"]), (201, &Value::Null), "{made}");
    }
    let events = ["old", "carol"].map(|identity| event(SERVICE, identity, "connect"));
    client.post(&format!("/v1/Services/{SERVICE}/Events"), Value::from(events.to_vec()).to_string()).await;
    let both = async || {
        let users = shown(&client, SERVICE).await;
        (users.get("old").is_some_and(|it| it[0] == true) && users["carol"][0] == true).then_some(())
    };
    wait("both are online", both).await;
    let (told, _) = changes_after(&client, SERVICE, Some(cursor)).await;
    let deleted = json!({"exists": "deleted"});
    let deleted_online = json!({"exists": "deleted", "is_online": "deleted"});
    let created = json!({"exists": "profile"});
    let expected = [
        (
            "alice",
            vec![json!({"exists": "deleted", "is_online": "deleted", "is_notifiable": "deleted"}), created.clone()],
        ),
        ("carol", vec![created.clone(), json!({"is_online": "connect"})]),
        ("dave", vec![deleted, created]),
        ("dora", vec![deleted_online.clone()]),
        ("old", vec![deleted_online, came]),
    ];
    assert_eq!(reasons(&told), expected.map(|(identity, reasons)| (identity.to_owned(), reasons)).into());
    let (status, logs) = server.stop();
    assert!(status.success() && !logs.contains("ERROR"), "{logs}");
}
