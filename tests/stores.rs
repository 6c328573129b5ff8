//! The contract of the store port, and random logs, on every store.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;

use reachability_domain::event::{Event, EventKind};
use reachability_domain::push_store::PushStore;
use reachability_domain::reachability::UserState;
use reachability_domain::store::Store;
use reachability_domain::time::Timestamp;
use reachability_domain::user::UserRef;
use reachability_infra::memory::MemoryStore;
use reachability_infra::sqlite::{Database, SqliteStore};
use reachability_tests::generate::{self, START};
use reachability_tests::stage::{SETTINGS, Stage};
use reachability_tests::{properties, push_properties};
use tempfile::TempDir;

fn sqlite() -> (Arc<dyn PushStore>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("test.db")).unwrap();
    (Arc::new(SqliteStore::new(database)), directory)
}

mod memory {
    use super::*;

    async fn fresh() -> (Arc<dyn PushStore>, ()) {
        (Arc::new(MemoryStore::default()), ())
    }

    reachability_tests::store_contract!(fresh());
    reachability_tests::push_store_contract!(fresh());

    #[test]
    fn a_registration_is_dead_when_it_is_and_not_before() {
        let store: Arc<dyn PushStore> = Arc::new(MemoryStore::default());
        push_properties::a_registration_is_dead_when_it_is_and_not_before(&store, 10_000);
    }
}

mod in_sqlite {
    use super::*;

    async fn fresh() -> (Arc<dyn PushStore>, TempDir) {
        sqlite()
    }

    reachability_tests::store_contract!(fresh());
    reachability_tests::push_store_contract!(fresh());

    #[tokio::test]
    async fn what_is_left_of_the_deleted_is_removed_in_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::new(Database::open(&directory.path().join("test.db")).unwrap());
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let stage = Stage::new(shared, SETTINGS);
        stage.switch(generate::service(1), true).await;
        let users = &generate::users()[..2];
        for user in users {
            let event = Event {
                user: user.clone(),
                connection: "c".parse().unwrap(),
                occurred_at: Timestamp::from_millis(START),
                kind: EventKind::Connect { lease: None, device: None },
            };
            stage.deliver(&[event], START).await;
        }
        let gone = UserRef::Identity(users[0].identity.clone());
        let gone = store.user(users[0].service, &gone).await.unwrap().unwrap();
        store.delete_user(users[0].service, gone.sid, Timestamp::from_millis(START + 1)).await.unwrap();
        let day = |n: i64| Timestamp::from_millis(START + n * 86_400_000);
        assert_eq!(store.tidy(day(15)).await.unwrap(), 0);
        assert_eq!(store.tidy(day(16)).await.unwrap(), 1);
        assert_eq!(stage.state(&users[0]).await, UserState::default());
        assert_ne!(stage.state(&users[1]).await, UserState::default());
    }

    // The ten thousand cases are run in memory; these are for what a store can do wrong.
    #[test]
    fn order_and_repetition_do_not_matter() {
        let (store, _directory) = sqlite();
        let store: Arc<dyn Store> = store;
        properties::order_and_repetition_do_not_matter(&store, 200);
    }

    #[test]
    fn switching_and_time_tell_the_truth() {
        let (store, _directory) = sqlite();
        let store: Arc<dyn Store> = store;
        properties::switching_and_time_tell_the_truth(&store, 100);
    }

    #[test]
    fn a_registration_is_dead_when_it_is_and_not_before() {
        let (store, _directory) = sqlite();
        push_properties::a_registration_is_dead_when_it_is_and_not_before(&store, 100);
    }
}
