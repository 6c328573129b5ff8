//! The records of deleted services go in parts, and other writes come in between.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::sid::{ServiceSid, Sid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::sqlite::{Database, SqliteStore};
use reachability_tests::generate::{START, service};
use reachability_tests::harness::new_service;
use reachability_tests::mass::{RECORDS, fill, left};
use reachability_tests::queues::seal;
use rusqlite::Connection;

const USERS: usize = 5_000;

/// How many rows one write may remove.
const AT_MOST: usize = 2_000;

#[tokio::test]
async fn the_records_of_a_service_go_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("test.db");
    let store = SqliteStore::new(Database::open(&file, seal()).unwrap());
    let [gone, also_gone, stays] = [1, 2, 3].map(service);
    let raw = Connection::open(&file).unwrap();
    for sid in [gone, also_gone, stays] {
        store.create_service(&new_service(sid)).await.unwrap();
        fill(&raw, sid, USERS);
    }
    let rows = |sid: ServiceSid| left(&raw, sid);
    let all = RECORDS * USERS;
    assert_eq!(store.purge_some().await.unwrap(), None, "no service was deleted");
    for sid in [gone, also_gone] {
        assert!(store.delete_service(sid).await.unwrap());
        assert_eq!(rows(sid), all, "the deletion itself removes nothing else");
        assert!(store.service(sid).await.unwrap().is_none());
        assert!(!store.delete_service(sid).await.unwrap());
    }
    let refused = store.create_service(&new_service(gone)).await;
    assert!(matches!(refused, Err(StoreError::Exists)), "{refused:?}");
    let (mut removed, mut parts) = (0, 0);
    while let Some(part) = store.purge_some().await.unwrap() {
        assert!(part <= AT_MOST, "{part} rows in one write");
        removed += part;
        assert_eq!(removed, 2 * all - rows(gone) - rows(also_gone));
        // A user is a row, and so is its state.
        let key = UserKey { service: stays, identity: format!("between-{removed}").parse().unwrap() };
        let user = User::new(Sid::from_bits(removed as u128), key, None, Timestamp::from_millis(START));
        store.create_user(&user).await.unwrap();
        parts += 1;
    }
    assert_eq!((rows(gone), rows(also_gone), rows(stays)), (0, 0, all + 2 * parts));
    store.create_service(&new_service(gone)).await.unwrap();
    let noted: usize = raw.query_row("SELECT count(*) FROM deleted_services", [], |row| row.get(0)).unwrap();
    assert_eq!(noted, 0);
}
