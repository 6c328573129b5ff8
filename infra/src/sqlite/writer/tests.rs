use std::pin::Pin;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};
use tempfile::TempDir;

use super::log::MAX_LOG_PAGES;
use super::*;

/// A writer on a table of numbers, on a connection that is prepared for the test.
fn writer(prepare: impl FnOnce(&mut Connection)) -> (WriterThread, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let mut connection = Connection::open(directory.path().join("test.db")).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "journal_size_limit", 64 << 20).unwrap();
    let tables = "CREATE TABLE numbers (n INTEGER PRIMARY KEY, padding BLOB);
                  CREATE TABLE feed_position (flushes INTEGER); INSERT INTO feed_position VALUES (0);";
    connection.execute_batch(tables).unwrap();
    prepare(&mut connection);
    let pages = watch_log(&mut connection).unwrap();
    (WriterThread::start(connection, pages, None).unwrap(), directory)
}

fn insert(connection: &Connection, n: i64, bytes: usize) -> Result<i64, StoreError> {
    let inserted = connection.execute("INSERT INTO numbers VALUES (?1, zeroblob(?2))", (n, bytes));
    inserted.map(|_| n).map_err(unavailable)
}

fn numbers(directory: &TempDir) -> Vec<i64> {
    let reader = Connection::open(directory.path().join("test.db")).unwrap();
    let mut select = reader.prepare("SELECT n FROM numbers ORDER BY n").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

/// Runs writes in one transaction: they are queued while another one runs that is not flushed, and they are.
async fn batch<F>(writer: &WriterThread, writes: Vec<F>) -> Vec<Result<i64, StoreError>>
where
    F: FnOnce(&Connection) -> Result<i64, StoreError> + Send + 'static,
{
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (started, has_started) = oneshot::channel();
    let first = move |_: &Connection| {
        let _ = started.send(());
        let _ = wait.recv();
        Ok(())
    };
    let mut first = Box::pin(writer.write(Terms::DERIVED, first, |()| ()));
    assert!(is_pending(&mut first).await);
    has_started.await.unwrap();
    let mut writes: Vec<_> =
        writes.into_iter().map(|write| Box::pin(writer.write(Terms::PROMISED, write, |n| n))).collect();
    for write in &mut writes {
        assert!(is_pending(write).await);
    }
    go.send(()).unwrap();
    first.await.unwrap();
    let mut results = Vec::new();
    for write in writes {
        results.push(write.await);
    }
    results
}

/// Polls a future once, which queues its write. Returns whether it is pending.
async fn is_pending<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending()))
        .await
}

fn done(results: &[Result<i64, StoreError>]) -> Vec<i64> {
    results.iter().filter_map(|result| result.as_ref().ok().copied()).collect()
}

/// With a full disk, SQLite undoes the whole transaction by itself.
#[tokio::test]
async fn a_transaction_that_sqlite_undid_is_answered_as_undone() {
    let (writer, directory) = writer(|connection| connection.pragma_update(None, "max_page_count", 40).unwrap());
    let sizes = [10, 10, 1 << 20, 10, 1 << 20, 10, 10];
    let writes = (1..).zip(sizes).map(|(n, bytes)| move |connection: &Connection| insert(connection, n, bytes));
    let results = batch(&writer, writes.collect()).await;
    // Those before the one that failed were undone with it. The rest was run again.
    assert_eq!(done(&results), [6, 7]);
    assert_eq!(numbers(&directory), [6, 7]);
    assert!(format!("{:?}", results[2]).contains("full"), "{:?}", results[2]);
    let is_full = |result: &Result<i64, StoreError>| result.as_ref().is_err_and(is_disk_full);
    assert_eq!(results.iter().map(is_full).collect::<Vec<_>>(), [false, false, true, false, true, false, false]);
}

/// What a write that failed had done may not stay.
#[tokio::test]
async fn a_transaction_with_remains_of_a_failed_write_is_undone() {
    let deny = |context: AuthContext<'_>| match context.action {
        AuthAction::Savepoint { operation: TransactionOperation::Rollback, .. } => Authorization::Deny,
        _ => Authorization::Allow,
    };
    let (writer, directory) = writer(|connection| connection.authorizer(Some(deny)).unwrap());
    let writes = (1..=5).map(|n| {
        move |connection: &Connection| {
            insert(connection, n, 10)?;
            if n == 3 { Err(StoreError::Conflict) } else { Ok(n) }
        }
    });
    let results = batch(&writer, writes.collect()).await;
    assert_eq!(done(&results), [4, 5]);
    assert_eq!(numbers(&directory), [4, 5]);
}

#[tokio::test]
async fn a_write_that_fails_affects_no_other() {
    let (writer, directory) = writer(|_| {});
    let writes = (1..=5).map(|n| {
        move |connection: &Connection| {
            insert(connection, n, 10)?;
            if n == 3 { Err(StoreError::Conflict) } else { Ok(n) }
        }
    });
    let results = batch(&writer, writes.collect()).await;
    assert_eq!((done(&results), numbers(&directory)), (vec![1, 2, 4, 5], vec![1, 2, 4, 5]));
    assert!(matches!(results[2], Err(StoreError::Conflict)));
}

/// How many pages of the log there are, and how many are flushed.
fn log(writer: &WriterThread, directory: &TempDir) -> (u64, u64) {
    let bytes = std::fs::metadata(directory.path().join("test.db-wal")).unwrap().len();
    ((bytes - 32) / (4_096 + 24), u64::try_from(writer.flushed_pages()).unwrap())
}

#[tokio::test]
async fn only_what_is_owed_is_flushed_and_a_flush_covers_all_before_it() {
    let (writer, directory) = writer(|_| {});
    let write = async |terms, n| writer.write(terms, move |connection| insert(connection, n, 10), |n| n).await.unwrap();
    write(Terms::PROMISED, 1).await;
    let (all, flushed) = log(&writer, &directory);
    assert_eq!(all, flushed);
    write(Terms::DERIVED, 2).await;
    write(Terms::DERIVED, 3).await;
    let (all, still) = log(&writer, &directory);
    assert!(still == flushed && flushed < all);
    // A commit of nothing flushes nothing.
    writer.write(Terms::PROMISED, |_| Ok(()), |()| ()).await.unwrap();
    let same = "UPDATE feed_position SET flushes = flushes";
    let same = move |connection: &Connection| connection.execute(same, []).map_err(unavailable);
    writer.write(Terms::PROMISED, same, drop).await.unwrap();
    assert_eq!(log(&writer, &directory), (all, flushed));
    writer.flushed().await.unwrap();
    let (all, flushed) = log(&writer, &directory);
    assert_eq!(all, flushed);
    // There is nothing to flush.
    writer.flushed().await.unwrap();
    assert_eq!(log(&writer, &directory), (all, flushed));
    write(Terms::DERIVED, 4).await;
    write(Terms::PROMISED, 5).await;
    let (all, flushed) = log(&writer, &directory);
    assert_eq!(all, flushed);
}

/// There is always a reader that needs the log, so a commit cannot start it from its beginning.
#[tokio::test]
async fn a_log_that_readers_keep_is_cut() {
    let (writer, directory) = writer(|_| {});
    let limit = u64::try_from(MAX_LOG_PAGES).unwrap() * 4_096;
    let write = async |n: i64| {
        let sql = "INSERT OR REPLACE INTO numbers VALUES (?1, randomblob(8388608))";
        let write = move |connection: &Connection| connection.execute(sql, [n % 2]).map_err(unavailable);
        writer.write(Terms::DERIVED, write, drop).await.unwrap();
        std::fs::metadata(directory.path().join("test.db-wal")).unwrap().len()
    };
    write(0).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (path, stopped) = (directory.path().join("test.db"), stop.clone());
    let readers = std::thread::spawn(move || {
        let [one, other] = [(); 2].map(|()| Connection::open(&path).unwrap());
        let begin = |reader: &Connection| reader.execute_batch("BEGIN; SELECT count(*) FROM numbers;").unwrap();
        begin(&one);
        while !stopped.load(Ordering::SeqCst) {
            for (old, new) in [(&one, &other), (&other, &one)] {
                begin(new);
                std::thread::sleep(Duration::from_millis(1));
                old.execute_batch("COMMIT").unwrap();
            }
        }
    });
    for n in 1..50 {
        let bytes = write(n).await;
        assert!(bytes < limit + (64 << 20), "{bytes} bytes after {n} writes of 8 MiB");
    }
    stop.store(true, Ordering::SeqCst);
    readers.join().unwrap();
}

/// A write of a batch that owes no flush does not wait for the flush of one that comes meanwhile, which still is flushed.
#[tokio::test]
async fn what_comes_during_a_transaction_joins_it_or_the_next() {
    let (writer, directory) = writer(|_| {});
    let (started, has_started) = oneshot::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let first = move |connection: &Connection| {
        let _ = started.send(());
        let _ = wait.recv();
        insert(connection, 1, 10)
    };
    let mut first = Box::pin(writer.write(Terms::DERIVED, first, |n| n));
    assert!(is_pending(&mut first).await);
    has_started.await.unwrap();
    let write = |terms, n| Box::pin(writer.write(terms, move |connection| insert(connection, n, 10), |n| n));
    let mut joins = write(Terms::DERIVED, 2);
    let mut owed = write(Terms::PROMISED, 3);
    assert!(is_pending(&mut joins).await && is_pending(&mut owed).await);
    go.send(()).unwrap();
    assert_eq!((first.await.unwrap(), joins.await.unwrap(), owed.await.unwrap()), (1, 2, 3));
    let (all, flushed) = log(&writer, &directory);
    assert_eq!(all, flushed);
    assert_eq!(numbers(&directory), [1, 2, 3]);
    assert_eq!(writer.progress.begun.load(Ordering::SeqCst), 2, "commits");
}

#[tokio::test]
async fn a_write_that_panics_ends_the_thread_and_is_told() {
    let (writer, directory) = writer(|_| {});
    writer.write(Terms::PROMISED, |connection| insert(connection, 1, 10), drop).await.unwrap();
    let bug = |connection: &Connection| -> Result<i64, StoreError> {
        insert(connection, 2, 10)?;
        panic!("a bug in write {}", 2);
    };
    let (panics, panicked) = tokio::join!(writer.write(Terms::PROMISED, bug, drop), writer.panicked());
    panics.unwrap_err();
    assert!(panicked.to_string().contains("a bug in write 2"), "{panicked}");
    // Who asks later is told as well.
    writer.write(Terms::PROMISED, |connection| insert(connection, 3, 10), drop).await.unwrap_err();
    assert_eq!(writer.panicked().await.to_string(), panicked.to_string());
    writer.close().await.unwrap_err();
    assert_eq!(numbers(&directory), [1]);
}

#[tokio::test]
async fn what_was_asked_for_before_the_end_is_done_and_needs_no_log() {
    let (writer, directory) = writer(|_| {});
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let first = move |connection: &Connection| {
        let _ = wait.recv();
        insert(connection, 0, 10)
    };
    let mut writes = vec![Box::pin(writer.write(Terms::DERIVED, first, |n| n)) as Pin<Box<dyn Future<Output = _>>>];
    for n in 1..=1_500 {
        writes.push(Box::pin(writer.write(Terms::DERIVED, move |connection| insert(connection, n, 10), |n| n)));
    }
    for write in &mut writes {
        assert!(is_pending(write).await);
        // So much at once is not done otherwise.
        tokio::task::yield_now().await;
    }
    let mut close = Box::pin(writer.close());
    assert!(is_pending(&mut close).await);
    go.send(()).unwrap();
    close.await.unwrap();
    for (n, write) in (0..).zip(writes) {
        assert_eq!(write.await.unwrap(), n);
    }
    assert!(!directory.path().join("test.db-wal").exists(), "the last connection is closed");
    assert_eq!(numbers(&directory), (0..=1_500).collect::<Vec<_>>());
    writer.write(Terms::PROMISED, |connection| insert(connection, 3_000, 10), drop).await.unwrap_err();
    writer.close().await.unwrap();
}
