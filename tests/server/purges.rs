//! A service of very many users is deleted, and the server is killed meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::path::Path;

use reachability_domain::sid::ServiceSid;
use reachability_tests::client::Client;
use reachability_tests::command::{reachability, run};
use reachability_tests::mass::{RECORDS, fill, left};
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use reqwest::Method;
use rusqlite::{Connection, OpenFlags};

const USERS: usize = 60_000;

/// `reachability check` finds nothing wrong.
fn is_in_order(directory: &Path) {
    let outcome = run(&mut reachability(&["check", "--data-dir", directory.to_str().unwrap()]), b"");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[tokio::test]
async fn a_kill_does_not_end_the_removal_of_a_service() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("reachability.db");
    let server = Server::start(directory.path(), &[]);
    let service = Client::of(&server).enabled_service().await;
    let stays = Client::of(&server).enabled_service().await;
    let sid: ServiceSid = service.parse().unwrap();
    assert!(server.stop().0.success());
    let database = Connection::open(&file).unwrap();
    fill(&database, sid, USERS);
    database.close().unwrap();

    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let path = format!("/v1/Services/{service}");
    client.delete(&path).await;
    for path in [path.clone(), format!("{path}/Users"), format!("{path}/Users/user-1")] {
        assert_eq!(client.send(Method::GET, &path, &[]).await.0, 404, "it is gone at once");
    }
    // Others write meanwhile.
    let users = format!("/v1/Services/{stays}/Users");
    assert_eq!(client.send(Method::POST, &users, &[("Identity", "alice")]).await.0, 201);
    server.kill();
    let database = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let rows = left(&database, sid);
    assert!(rows > 0 && rows < RECORDS * USERS, "it was killed while {rows} rows were left");
    database.close().unwrap();
    is_in_order(directory.path());

    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let database = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    wait("everything is gone", async || (left(&database, sid) == 0).then_some(())).await;
    assert_eq!(client.get(&format!("{users}/alice")).await["identity"], "alice");
    database.close().unwrap();
    assert!(server.stop().0.success());
    is_in_order(directory.path());
}
