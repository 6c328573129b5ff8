//! The contracts of the stores' ports, and random logs, on the stores in memory and in SQLite.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;
use std::time::Duration;

use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::UserKey;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::event::{Event, EventKind};
use reachability_domain::presence::message::{Check, PresenceMessage};
use reachability_domain::presence::ports::{ChangeLog, PositionGone, States};
use reachability_domain::presence::sockets::Sockets;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::ports::{Bindings, Credentials};
use reachability_domain::queue::Message;
use reachability_domain::sid::Sid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::memory::MemoryStore;
use reachability_infra::sqlite::{Database, EventQueue, PushQueue, Retention, SqliteStore};
use reachability_tests::feeds::SqliteConsumer;
use reachability_tests::generate::{self, START};
use reachability_tests::harness::{Harness, SETTINGS, new_service};
use reachability_tests::queues::{ANY_NUMBER, seal};
use reachability_tests::store::{PushStore, Store};
use reachability_tests::{contract, feed_properties, properties, push_properties};
use tempfile::TempDir;

fn sqlite() -> (Arc<SqliteStore>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("test.db"), seal()).unwrap();
    (Arc::new(SqliteStore::new(database)), directory)
}

mod memory {
    use super::*;

    async fn fresh() -> (Arc<MemoryStore>, ()) {
        (Arc::new(MemoryStore::default()), ())
    }

    reachability_tests::store_contract!(fresh());
    reachability_tests::push_store_contract!(fresh());
    reachability_tests::local_store_contract!(fresh());
    reachability_tests::contract_tests!(fresh(); snapshots: a_snapshot_is_of_one_moment;);

    #[test]
    fn a_registration_is_dead_exactly_when_its_token_is() {
        push_properties::a_registration_is_dead_exactly_when_its_token_is(&MemoryStore::default(), 10_000);
    }

    #[test]
    fn a_registration_counts_as_its_provider_would_take_it() {
        push_properties::a_registration_counts_as_its_provider_would_take_it(&MemoryStore::default(), 10_000);
    }
}

mod in_sqlite {
    use super::*;

    async fn fresh() -> (Arc<SqliteStore>, TempDir) {
        sqlite()
    }

    reachability_tests::store_contract!(fresh());
    reachability_tests::push_store_contract!(fresh());
    reachability_tests::local_store_contract!(fresh());
    reachability_tests::contract_tests!(fresh();
        snapshots: a_snapshot_is_of_one_moment;
        sockets: sockets_are_remembered_until_they_close;
    );

    /// Otherwise nobody would end it after a restart.
    #[tokio::test]
    async fn a_socket_whose_row_cannot_be_written_is_not_joined() {
        let (store, directory) = sqlite();
        store.create_service(&new_service(generate::service(1))).await.unwrap();
        let raw = rusqlite::Connection::open(directory.path().join("test.db")).unwrap();
        raw.execute_batch("CREATE TRIGGER full BEFORE INSERT ON sockets BEGIN SELECT RAISE(ABORT, 'full'); END")
            .unwrap();
        let (socket, accepted) = (contract::sockets::socket(1), Acceptance::In(Generation(1)));
        contract::sockets::join(&*store, &socket, accepted).await.unwrap_err();
        assert_eq!(store.states(std::slice::from_ref(&socket.user)).await.unwrap(), [UserState::default()]);
        raw.execute_batch("DROP TRIGGER full").unwrap();
        contract::sockets::join(&*store, &socket, accepted).await.unwrap();
        assert_eq!(store.open(10).await.unwrap(), [socket]);
    }

    /// A binding that cannot be read keeps no other from being changed with it.
    #[tokio::test]
    async fn one_of_several_devices_cannot_be_changed() {
        let (store, directory) = sqlite();
        let (service, at) = (generate::service(1), Timestamp::from_millis(START));
        store.create_service(&new_service(service)).await.unwrap();
        let user = UserKey { service, identity: "alice".parse().unwrap() };
        let user = User::new(Sid::from_bits(1), user, None, at);
        let mut commands = Vec::new();
        for token in ["one", "two", "three"] {
            let binding = contract::bindings::binding(&user, Channel::Fcm, token, at);
            let unregister = BindingCommand::Unregister(binding.sid);
            let register = BindingCommand::Register { binding: binding.clone(), generation: Generation(1) };
            store.apply(service, binding.device(), &register, Some(&user), at).await.unwrap();
            commands.push((binding.device(), unregister));
        }
        let raw = rusqlite::Connection::open(directory.path().join("test.db")).unwrap();
        raw.execute("UPDATE bindings SET document = '{}' WHERE json_extract(document, '$.address') = 'two'", [])
            .unwrap();
        let applied = store.apply_all(service, &commands, at).await;
        assert!(matches!(applied[..], [Ok(_), Err(StoreError::Corrupt(_)), Ok(_)]), "{applied:?}");
        let left: i64 = raw.query_row("SELECT count(*) FROM bindings", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 1);
    }

    /// More than are removed in one write.
    #[tokio::test]
    async fn dead_letters_are_removed_after_14_days() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("test.db"), seal()).unwrap();
        let raw = rusqlite::Connection::open(directory.path().join("test.db")).unwrap();
        let day = |n: i64| START + n * 86_400_000;
        let insert = "WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < ?2)
            INSERT INTO dead_letters (queue, died_at, reason, body) SELECT 0, ?1, 'why', '{}' FROM counter";
        raw.execute(insert, (day(0), 1_200)).unwrap();
        raw.execute(insert, (day(1), 1)).unwrap();
        let store = SqliteStore::new(database.clone());
        for (at, left) in [(day(14), 1_201), (day(14) + 1, 1), (day(15), 1), (day(15) + 1, 0)] {
            store.collect_garbage(Timestamp::from_millis(at)).await.unwrap();
            assert_eq!(database.count_dead_letters().await.unwrap(), left);
        }
    }

    /// Other writes come in between: what was removed before one that fails stays removed.
    #[tokio::test]
    async fn garbage_is_removed_piece_by_piece() {
        let (store, directory) = sqlite();
        let service = new_service(generate::service(1));
        store.create_service(&service).await.unwrap();
        let raw = rusqlite::Connection::open(directory.path().join("test.db")).unwrap();
        let (count, late) = (9_000, Timestamp::from_millis(START + 30 * 86_400_000));
        let counter = "WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < ?1)";
        let states = format!(
            "{counter} INSERT INTO states (service, identity, revision, as_of, presence)
             SELECT (SELECT sid FROM services), format('gone-%05d', n), 1, {START}, '{{}}' FROM counter"
        );
        let deliveries = format!(
            "{counter} INSERT INTO deliveries SELECT x'00000000000000000000000000000001', CAST(format('%016d', n) AS BLOB), '{{}}' FROM counter"
        );
        let changes =
            format!("{counter} INSERT INTO feed (id, service) SELECT n, (SELECT sid FROM services) FROM counter");
        let sent = format!(
            "INSERT OR IGNORE INTO notifications VALUES (x'00000000000000000000000000000001', zeroblob(16), {START}, '{{}}')"
        );
        raw.execute("DELETE FROM feed", []).unwrap();
        raw.execute("UPDATE feed_position SET delivered = ?1", [count]).unwrap();
        for (table, insert, last) in [
            ("states", states, "old.identity = 'gone-09000'"),
            ("deliveries", deliveries, "old.sid = CAST('0000000000009000' AS BLOB)"),
            ("feed", changes, "old.id = 9000"),
        ] {
            raw.execute(&sent, []).unwrap();
            raw.execute(&insert, [count]).unwrap();
            let stop = format!(
                "CREATE TRIGGER stop BEFORE DELETE ON {table} WHEN {last} BEGIN SELECT raise(ABORT, 'no'); END"
            );
            raw.execute_batch(&stop).unwrap();
            let left =
                || raw.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap();
            let feed = store.feed(Retention { age: Duration::ZERO, rows: 1 });
            let collect = async || match table {
                "feed" => feed.delete_old(late).await,
                _ => store.collect_garbage(late).await.map(drop),
            };
            assert!(collect().await.is_err(), "{table}: {}", left());
            assert!((1..=4_000).contains(&left()), "{table}: {}", left());
            raw.execute_batch("DROP TRIGGER stop").unwrap();
            collect().await.unwrap();
            assert_eq!(left(), 0, "{table}");
        }
        assert!(store.service(service.sid).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn notifications_are_removed_after_a_week() {
        let (store, directory) = sqlite();
        contract::notifications::the_first_decision_about_a_user_stays(store.clone()).await;
        let raw = rusqlite::Connection::open(directory.path().join("test.db")).unwrap();
        let week = START + 7 * 86_400_000;
        for (at, are_left) in [(week, true), (week + 1, false)] {
            store.collect_garbage(Timestamp::from_millis(at)).await.unwrap();
            for table in ["notifications", "deliveries", "recipients"] {
                let exist = format!("SELECT EXISTS (SELECT 1 FROM {table})");
                assert_eq!(raw.query_row(&exist, [], |row| row.get(0)), Ok(are_left), "{table}");
            }
        }
    }

    #[tokio::test]
    async fn leftovers_of_deleted_users_are_removed_eventually() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::new(Database::open(&directory.path().join("test.db"), seal()).unwrap());
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let harness = Harness::new(shared, SETTINGS);
        harness.switch(generate::service(1), true).await;
        let users = &generate::users()[..2];
        for user in users {
            let event = Event {
                user: user.clone(),
                connection: "c".parse().unwrap(),
                occurred_at: Timestamp::from_millis(START),
                kind: EventKind::Connect { lease: None, device: None },
            };
            harness.deliver(&[event], START).await;
        }
        let gone = UserRef::Identity(users[0].identity.clone());
        let gone = store.user(users[0].service, &gone).await.unwrap().unwrap();
        store.delete_user(users[0].service, gone.sid, Timestamp::from_millis(START + 1)).await.unwrap();
        let day = |n: i64| Timestamp::from_millis(START + n * 86_400_000);
        assert_eq!(store.collect_garbage(day(15)).await.unwrap(), 0);
        assert_eq!(store.collect_garbage(day(16)).await.unwrap(), 1);
        assert_eq!(harness.state(&users[0]).await, UserState::default());
        assert_ne!(harness.state(&users[1]).await, UserState::default());
    }

    /// A database of the version before pushes, with data.
    #[tokio::test]
    async fn an_older_database_is_brought_up_to_date() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let old = rusqlite::Connection::open(&path).unwrap();
        old.execute_batch(include_str!("../../infra/src/sqlite/schema/1.sql")).unwrap();
        let user = &generate::users()[0];
        let service = new_service(user.service);
        let bits = service.sid.bits().to_be_bytes().to_vec();
        let document = serde_json::to_string(&service).unwrap();
        old.execute("INSERT INTO services VALUES (?1, 0, ?2)", (&bits, document)).unwrap();
        let presence = r#"{"c":{"c-1":{"o":{"a":1000,"l":121000}}},"g":1,"t":1000}"#;
        let state = (&bits, user.identity.as_str(), presence);
        old.execute("INSERT INTO states VALUES (?1, ?2, 7, 1000, ?3)", state).unwrap();
        let check = PresenceMessage::Check(Check { user: user.clone(), due_at: Timestamp::from_millis(5) });
        // Each connection had timers.
        for due in [9, 5, 7] {
            let body =
                check.to_json().replace(r#","due_at":5"#, &format!(r#","connection_id":"c-{due}","due_at":{due}"#));
            old.execute("INSERT INTO messages (due_at, body) VALUES (?1, ?2)", (due, body)).unwrap();
        }
        old.pragma_update(None, "user_version", 1).unwrap();
        drop(old);

        for _ in 0..2 {
            let database = Database::open(&path, seal()).unwrap();
            let store = SqliteStore::new(database.clone());
            let pushes = PushQueue::new(database.clone());
            let queue = EventQueue::open(database, ANY_NUMBER).await.unwrap();
            let state = store.states(std::slice::from_ref(user)).await.unwrap().remove(0);
            assert_eq!((state.revision, state.presence.connections.len()), (7, 1));
            assert!(!state.registrations.ever());
            assert_eq!(queue.next_due(), Some(Timestamp::from_millis(5)));
            let due = queue.take(Timestamp::from_millis(5), 10).await.unwrap();
            assert_eq!((due.len(), due[0].message.as_ref()), (1, Ok(&check)));
            assert!(queue.take(Timestamp::MAX, 10).await.unwrap().is_empty(), "the first one sees to the user");
            assert!(pushes.due(Timestamp::MAX, 10).await.unwrap().is_empty());
            let page = PageRequest { position: Cursor::Start, limit: 10 };
            assert!(store.credentials(page).await.unwrap().items.is_empty());
        }
    }

    /// They are from the version before outages were stored.
    #[tokio::test]
    async fn older_credentials_and_deliveries_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let store = Arc::new(SqliteStore::new(Database::open(&path, seal()).unwrap()));
        let raw = rusqlite::Connection::open(&path).unwrap();
        let (one, two) = (1_u128.to_be_bytes(), 2_u128.to_be_bytes());
        let [credential, delivery] = contract::older_documents::OLDER_DOCUMENTS;
        raw.execute("INSERT INTO credentials VALUES (?1, 3, ?2)", (one, credential)).unwrap();
        raw.execute("INSERT INTO deliveries VALUES (?1, ?2, ?3)", (one, two, delivery)).unwrap();
        contract::older_documents::older_documents_are_read(store).await;
    }

    // The store in memory has ten thousand cases; these find mistakes of this store.
    #[test]
    fn order_and_repetition_do_not_matter() {
        let (store, _directory) = sqlite();
        let store: Arc<dyn Store> = store;
        properties::order_and_repetition_do_not_matter(&store, 200);
    }

    #[test]
    fn switching_and_passing_time_match_the_model() {
        let (store, _directory) = sqlite();
        let store: Arc<dyn Store> = store;
        properties::switching_and_passing_time_match_the_model(&store, 100);
    }

    #[test]
    fn acceptance_decides_and_not_handling() {
        let (store, _directory) = sqlite();
        let store: Arc<dyn Store> = store;
        properties::acceptance_decides_and_not_handling(&store, 100);
    }

    /// With a log of changes or without.
    fn the_feed_tells_what_is_seen(retention: Retention, cases: u32) {
        let (store, _directory) = sqlite();
        let feed = SqliteConsumer::new(store.feed(retention), retention.keeps_log());
        let store: Arc<dyn PushStore> = store;
        feed_properties::what_is_told_is_what_is_seen(&store, &feed, &|_| {}, cases);
    }

    /// Nothing new is written meanwhile.
    #[tokio::test]
    async fn changes_of_a_quiet_server_are_deleted_when_they_are_old() {
        let (store, _directory) = sqlite();
        let harness = Harness::new(store.clone(), SETTINGS);
        harness.switch(generate::service(1), false).await;
        let alice = generate::event_of("alice", "c", START, EventKind::Renew { lease: None });
        harness.deliver(&[alice], START).await;
        let at = |minutes: u64| Timestamp::from_millis(START).plus(Duration::from_secs(minutes * 60));
        let feed = store.feed(Retention { age: Duration::from_secs(3_600), rows: 100 });
        let rows = feed.undelivered(None, 10).await.unwrap();
        let last = rows.last().unwrap().id;
        let changes = async |after: u64| feed.changes(generate::service(1), None, Some(after), 10).await.unwrap();
        // What is not delivered stays, however old it is.
        feed.delete_old(at(90)).await.unwrap();
        assert_eq!(changes(0).await.unwrap().changes.len(), 1);
        feed.acknowledge(last, rows.len(), at(1)).await.unwrap();
        feed.delete_old(at(59)).await.unwrap();
        assert_eq!(changes(0).await.unwrap().changes.len(), 1);
        feed.delete_old(at(61)).await.unwrap();
        assert_eq!(changes(0).await, Err(PositionGone));
        let end = changes(last.try_into().unwrap()).await.unwrap();
        assert_eq!((end.changes.len(), end.more), (0, false), "whoever has read it goes on");
    }

    #[test]
    fn the_feed_tells_what_is_seen_with_a_log() {
        let a_century = Duration::from_secs(100 * 365 * 86_400);
        the_feed_tells_what_is_seen(Retention { age: a_century, rows: 1_000_000 }, 150);
    }

    #[test]
    fn the_feed_tells_what_is_seen_without_a_log() {
        the_feed_tells_what_is_seen(Retention { age: Duration::ZERO, rows: 0 }, 150);
    }

    #[test]
    fn a_registration_is_dead_exactly_when_its_token_is() {
        let (store, _directory) = sqlite();
        push_properties::a_registration_is_dead_exactly_when_its_token_is(&*store, 100);
    }
}
