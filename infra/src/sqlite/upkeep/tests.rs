use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use reachability_domain::secret::Secret;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::super::writer::Terms;
use super::*;
use crate::credentials::seal::Seal;

/// The size of a log's header, and of a frame with its header.
const HEADER: usize = 32;
const FRAME: usize = 24 + 4_096;

/// A database with a table of numbers.
async fn database() -> (Database, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("test.db"), Arc::new(Seal::new(&Secret::new("key")))).unwrap();
    let create = |connection: &Connection| {
        connection.execute_batch("CREATE TABLE numbers (n INTEGER PRIMARY KEY, padding BLOB)").map_err(unavailable)
    };
    database.write(create).await.unwrap();
    (database, directory)
}

fn insert(connection: &Connection, n: i64) -> Result<(), StoreError> {
    let inserted = connection.execute("INSERT INTO numbers VALUES (?1, zeroblob(9000))", [n]);
    inserted.map(drop).map_err(unavailable)
}

async fn write(database: &Database, n: i64) {
    database.write_unflushed(move |connection| insert(connection, n)).await.unwrap();
}

/// A copy of files of the database. Another process makes it: whoever closes a file here gives up SQLite's locks on it.
fn copy(directory: &TempDir, names: &[&str]) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in names {
        let [from, to] = [directory, &copy].map(|directory| directory.path().join(name));
        assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
    }
    copy
}

/// The numbers in a copy.
fn numbers(directory: &TempDir) -> Vec<i64> {
    let reader = Connection::open(directory.path().join("test.db")).unwrap();
    let mut select = reader.prepare("SELECT n FROM numbers ORDER BY n").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

#[tokio::test]
async fn what_was_moved_survives_a_power_cut_without_the_log() {
    let (database, directory) = database().await;
    for n in 0..20 {
        write(&database, n).await;
    }
    assert!(database.move_log().await.unwrap());
    let first: Vec<i64> = (0..20).collect();
    assert_eq!(numbers(&copy(&directory, &["test.db"])), first);
    // The log starts from its beginning, and what was written for that is flushed.
    assert_eq!(database.flushed_pages(), 1);
    for n in 20..40 {
        write(&database, n).await;
    }
    assert!(database.flushed_pages() == 1, "nobody owed a flush");
    // A power cut leaves a prefix of the log, or nothing of it.
    let files = copy(&directory, &["test.db", "test.db-wal"]);
    let log = fs::read(files.path().join("test.db-wal")).unwrap();
    let all = numbers(&copy(&files, &["test.db", "test.db-wal"]));
    assert_eq!(all, (0..40).collect::<Vec<_>>());
    let mut lengths = vec![];
    for cut in (0..HEADER + 100 * FRAME).step_by(FRAME / 2).map(|cut| cut.min(log.len())) {
        let cut_off = copy(&files, &["test.db"]);
        fs::write(cut_off.path().join("test.db-wal"), &log[..cut]).unwrap();
        let left = numbers(&cut_off);
        assert!(left.len() >= 20 && all.starts_with(&left), "cut at {cut}: {left:?}");
        lengths.push(left.len());
    }
    assert!(lengths.is_sorted() && lengths.first() == Some(&20) && lengths.last() == Some(&40), "{lengths:?}");
    // The same again, and nothing more.
    assert!(database.move_log().await.unwrap());
    assert!(database.move_log().await.unwrap());
    assert_eq!(numbers(&copy(&directory, &["test.db"])), all);
}

#[tokio::test]
async fn the_log_is_moved_while_a_write_is_under_way() {
    let (database, directory) = database().await;
    write(&database, 1).await;
    let (started, has_started) = oneshot::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let slow = move |connection: &Connection| {
        insert(connection, 2)?;
        let _ = started.send(());
        let _ = wait.recv();
        Ok(())
    };
    let (writer, mover) = (database.clone(), database.clone());
    let slow = tokio::spawn(async move { writer.write_then(Terms::DERIVED, slow, drop).await });
    has_started.await.unwrap();
    let moved = tokio::spawn(async move { mover.move_log().await });
    // While it is copied, it may be half of what it will be.
    let has_first = || {
        let copied = copy(&directory, &["test.db"]);
        let copied = Connection::open(copied.path().join("test.db")).unwrap();
        copied.query_row("SELECT n FROM numbers", [], |row| row.get::<_, i64>(0)).is_ok()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while !has_first() {
        assert!(Instant::now() < deadline, "it is not moved");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    go.send(()).unwrap();
    slow.await.unwrap().unwrap();
    assert!(moved.await.unwrap().unwrap());
    assert_eq!(numbers(&copy(&directory, &["test.db", "test.db-wal"])), [1, 2]);
}

#[tokio::test]
async fn a_reader_keeps_what_it_reads() {
    let (database, directory) = database().await;
    write(&database, 1).await;
    let reader = Connection::open(directory.path().join("test.db")).unwrap();
    let count = || reader.query_row("SELECT count(*) FROM numbers", [], |row| row.get::<_, i64>(0)).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(count(), 1);
    write(&database, 2).await;
    assert!(!database.move_log().await.unwrap());
    assert_eq!(count(), 1);
    reader.execute_batch("COMMIT").unwrap();
    assert!(database.move_log().await.unwrap());
    assert_eq!((count(), numbers(&copy(&directory, &["test.db"]))), (2, vec![1, 2]));
}

#[tokio::test]
async fn a_database_that_was_closed_is_one_file() {
    let (database, directory) = database().await;
    for n in 0..10 {
        write(&database, n).await;
    }
    database.look_up(|_| Ok(())).unwrap();
    database.read(|_| Ok(())).await.unwrap();
    let writes = database.writes();
    assert_eq!(writes, 11);
    database.probe().await.unwrap();
    assert_eq!(database.writes(), writes, "a probe writes nothing that is to be moved");
    database.check_files().await.unwrap();
    database.close().await.unwrap();
    let files = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(files, ["test.db"]);
    assert_eq!(numbers(&copy(&directory, &["test.db"])), (0..10).collect::<Vec<_>>());
    database.probe().await.unwrap_err();
}
