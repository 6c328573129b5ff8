use std::fs;
use std::sync::Arc;

use reachability_domain::directory::ports::Services;
use reachability_domain::presence::at_commit::AtCommit;
use reachability_domain::presence::feed::FeedEntry;
use reachability_infra::sqlite::SqliteStore;
use reachability_tests::generate::service;
use reachability_tests::harness::new_service;
use reachability_tests::queues::seal;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

struct Panics;

impl AtCommit for Panics {
    fn committed(&self, _: Vec<FeedEntry>) {
        panic!("a bug on the writer's thread");
    }
}

#[tokio::test]
async fn a_panic_of_the_writer_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("test.db"), seal()).unwrap();
    let store = SqliteStore::new(database.clone()).with_at_commit(Arc::new(Panics));
    let writes = async {
        let mut new = new_service(service(1));
        store.create_service(&new).await.unwrap();
        new.configuration.set_reachability_enabled(true, reachability_infra::clock::now());
        store.replace_service(&new).await.unwrap_err();
        std::future::pending::<()>().await;
    };
    let lost = tokio::select! {
        lost = timeout(PATIENCE, run(&database)) => lost.expect("it is noticed"),
        () = writes => unreachable!(),
    };
    let DatabaseLost::Panicked(panicked) = lost else { panic!("{lost:?}") };
    assert!(panicked.to_string().contains("a bug on the writer's thread"), "{panicked}");
    store.create_service(&new_service(service(2))).await.unwrap_err();
}

#[tokio::test]
async fn a_database_that_is_gone_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let database = Database::open(&path, seal()).unwrap();
    fs::rename(&path, directory.path().join("elsewhere.db")).unwrap();
    let lost = timeout(PATIENCE, run(&database)).await.expect("it is noticed");
    assert!(matches!(&lost, DatabaseLost::File(FileLost::Database(lost)) if *lost == path), "{lost}");
}
