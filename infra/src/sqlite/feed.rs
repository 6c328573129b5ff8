//! The feed: each write that leads to something adds a row to a table, in its own transaction. What was delivered stays
//! there for a while as the log of changes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reachability_domain::channel::ports::MembersChange;
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::service::Service;
use reachability_domain::identity::Identity;
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::presence::ports::{ChangeLog, LoggedChange, LoggedChanges, PositionGone};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::{Connection, Row, params};
use tokio::sync::Notify;

use super::database::{Database, unavailable};
use super::rows::{Key, Rows, execute, find, read_document, write_document};
use super::store::SqliteStore;
use super::writer::Terms;

/// After how many rows those are looked for that are too many.
const ROWS_BETWEEN_COUNTS: usize = 1_000;

/// A page of the log has at most so many bytes for each change that is asked for: a few long ones make it shorter.
const BYTES_OF_CHANGE: usize = 1_024;

/// For how long the log of changes is kept. If either is zero there is no log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// For how long.
    pub age: Duration,
    /// How many rows.
    pub rows: usize,
}

impl Retention {
    /// The position up to which changes are too old at this time. Positions grow like the time.
    fn oldest(&self, now: Timestamp) -> i64 {
        now.as_millis().saturating_sub(i64::try_from(self.age.as_millis()).unwrap_or(i64::MAX))
    }

    /// Whether there is a log.
    pub fn keeps_log(&self) -> bool {
        !self.age.is_zero() && self.rows > 0
    }
}

/// A connection on which records are written, whose changes go into the feed.
pub(super) struct Writer<'a> {
    connection: &'a Connection,
    /// What was added to the feed.
    told: RefCell<Vec<FeedEntry>>,
    members: RefCell<Vec<MembersChange>>,
    writes_service: Cell<bool>,
    /// Those that were read: nobody else changes one before the write is done.
    configurations: RefCell<HashMap<ServiceSid, Option<Configuration>>>,
}

/// What a write returned, and what is to be told of it once it is committed.
struct Written<T> {
    written: T,
    told: Vec<FeedEntry>,
    members: Vec<MembersChange>,
    writes_service: bool,
}

impl Deref for Writer<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Writer<'_> {
    /// The configuration of a service; `None` if there is no such service. For writes that do not change it.
    pub(super) fn configuration(&self, sid: ServiceSid) -> Result<Option<Configuration>, StoreError> {
        if let Some(read) = self.configurations.borrow().get(&sid) {
            return Ok(*read);
        }
        let service: Option<Service> = Rows::new("services", "sid = ?1", &[&Key(sid)]).find(self)?;
        let configuration = service.map(|service| service.configuration);
        self.configurations.borrow_mut().insert(sid, configuration);
        Ok(configuration)
    }

    /// The write changes a service.
    pub(super) fn writes_service(&self) {
        self.writes_service.set(true);
    }

    /// The write changes members of a channel.
    pub(super) fn changes_members(&self, change: MembersChange) {
        if change.is_deleted || !change.added.is_empty() || !change.removed.is_empty() {
            self.members.borrow_mut().push(change);
        }
    }

    /// Adds to the feed what a write at this time leads to.
    pub(super) fn tell(
        &self,
        service: ServiceSid,
        identity: Option<&Identity>,
        entry: FeedEntry,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        if !entry.is_delivered() {
            self.told.borrow_mut().push(entry);
            return Ok(());
        }
        let follow_ups = (!entry.follow_ups.is_empty()).then_some(&entry.follow_ups);
        let webhooks = (!entry.webhooks.is_empty()).then_some(&entry.webhooks);
        execute(
            self,
            "INSERT INTO feed (id, service, identity, notice, follow_ups, webhooks, report)
             SELECT max(?1, delivered + 1, (SELECT coalesce(max(id), 0) + 1 FROM feed)), ?2, ?3, ?4, ?5, ?6, ?7
             FROM feed_position",
            params![
                at.as_millis(),
                Key(service),
                identity.map(Identity::as_str),
                entry.notice.as_ref().map(write_document).transpose()?,
                follow_ups.map(write_document).transpose()?,
                webhooks.map(write_document).transpose()?,
                entry.report.as_ref().map(write_document).transpose()?,
            ],
        )?;
        self.told.borrow_mut().push(entry);
        Ok(())
    }
}

impl SqliteStore {
    /// Runs a write of records that may change what is visible, for somebody who is promised that it survives a power cut.
    pub(super) async fn write<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Writer<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_on(Terms::PROMISED, write).await
    }

    /// Runs such a write on these terms. Of one that can be derived again, a power cut that takes it back also takes back that
    /// it was done.
    pub(super) async fn write_on<T, F>(&self, terms: Terms, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Writer<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let run = |connection: &Connection| {
            let writer = Writer {
                connection,
                told: RefCell::default(),
                members: RefCell::default(),
                writes_service: Cell::new(false),
                configurations: RefCell::default(),
            };
            let written = write(&writer)?;
            Ok(Written {
                written,
                told: writer.told.into_inner(),
                members: writer.members.into_inner(),
                writes_service: writer.writes_service.get(),
            })
        };
        let (feed_written, services) = (self.feed_written.clone(), self.database.services.clone());
        let at_commit = self.at_commit.clone();
        let then = move |Written { written, told, members, writes_service }: Written<T>| {
            if writes_service {
                services.forget();
            }
            if !told.is_empty() {
                feed_written.notify_one();
                if let Some(at_commit) = &at_commit {
                    at_commit.committed(told);
                }
            }
            if let Some(at_commit) = &at_commit {
                members.iter().for_each(|change| at_commit.members_changed(change));
            }
            written
        };
        self.database.write_then(terms, run, then).await
    }

    /// The feed of this store's writes, for one consumer.
    pub fn feed(&self, retention: Retention) -> SqliteFeed {
        SqliteFeed {
            database: self.database.clone(),
            written: self.feed_written.clone(),
            retention,
            uncounted: Arc::new(AtomicUsize::new(ROWS_BETWEEN_COUNTS)),
        }
    }
}

/// The feed of a store's writes. Clones share it.
#[derive(Clone)]
pub struct SqliteFeed {
    database: Database,
    written: Arc<Notify>,
    retention: Retention,
    /// How many rows were acknowledged since those were looked for that are too many.
    uncounted: Arc<AtomicUsize>,
}

/// How many rows one write deletes at most: other writes come in between. More than are acknowledged at a time, so that the
/// log does not grow.
const PIECE: usize = 4_000;

/// A row of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedRow {
    /// Its position.
    pub id: i64,
    /// What the write led to.
    pub entry: FeedEntry,
}

impl SqliteFeed {
    /// Waits until something was written since the last wait.
    pub async fn written(&self) {
        self.written.notified().await;
    }

    /// What was written after this position (`None`: the last one that was acknowledged), in the order of writing.
    ///
    /// # Errors
    /// If the database does not work.
    pub async fn undelivered(&self, after: Option<i64>, at_most: usize) -> Result<Vec<FeedRow>, StoreError> {
        self.database
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached(
                        "SELECT id, notice, follow_ups, webhooks, report FROM feed
                         WHERE id > coalesce(?1, (SELECT delivered FROM feed_position)) ORDER BY id LIMIT ?2",
                    )
                    .map_err(unavailable)?;
                let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
                let rows = statement.query_map(params![after, limit], feed_row).map_err(unavailable)?;
                rows.map(|row| row.map_err(unavailable)?).collect()
            })
            .await
    }

    /// Waits until what was read before survives a power cut. Whoever is told of it earlier may believe for ever what never
    /// was.
    ///
    /// # Errors
    /// If the database does not work.
    pub async fn flushed(&self) -> Result<(), StoreError> {
        self.database.flushed().await
    }

    /// Deletes the changes that are too old, also while nothing new is acknowledged.
    ///
    /// # Errors
    /// If the database does not work.
    pub async fn delete_old(&self, now: Timestamp) -> Result<(), StoreError> {
        let oldest = self.retention.oldest(now);
        loop {
            let delete = move |connection: &Connection| {
                let delivered = "SELECT delivered FROM feed_position";
                let delivered: Option<i64> = find(connection, delivered, [], |row| row.get(0))?;
                delete(connection, oldest.min(delivered.unwrap_or_default()))
            };
            if self.database.write_unflushed(delete).await? < PIECE {
                return Ok(());
            }
        }
    }

    /// Acknowledges so many rows, up to this position, and deletes those that are not kept any longer.
    ///
    /// # Errors
    /// If the database does not work; then nothing was acknowledged.
    pub async fn acknowledge(&self, id: i64, rows: usize, now: Timestamp) -> Result<(), StoreError> {
        let retention = self.retention;
        let uncounted = self.uncounted.fetch_add(rows, Ordering::Relaxed) + rows;
        let counts = uncounted >= ROWS_BETWEEN_COUNTS;
        if counts {
            self.uncounted.store(0, Ordering::Relaxed);
        }
        self.database
            .write_unflushed(move |connection| {
                execute(connection, "UPDATE feed_position SET delivered = max(delivered, ?1)", [id])?;
                let mut up_to = id;
                if retention.keeps_log() {
                    up_to = retention.oldest(now);
                    if counts {
                        let sql = "SELECT id FROM feed ORDER BY id DESC LIMIT 1 OFFSET ?1";
                        let rows = i64::try_from(retention.rows).unwrap_or(i64::MAX);
                        let too_many: Option<i64> = find(connection, sql, [rows], |row| row.get(0))?;
                        up_to = up_to.max(too_many.unwrap_or(up_to));
                    }
                }
                delete(connection, up_to.min(id)).map(drop)
            })
            .await
    }
}

/// Reads a row of the feed from its id, notice, follow-ups, webhooks and report.
pub(super) fn feed_row(row: &Row<'_>) -> rusqlite::Result<Result<FeedRow, StoreError>> {
    let id = row.get(0)?;
    let [notice, follow_ups, webhooks, report]: [Option<String>; 4] =
        [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
    // What does not parse is no error of SQLite's.
    let parse = || {
        let entry = FeedEntry {
            notice: notice.as_deref().map(read_document).transpose()?,
            follow_ups: follow_ups.as_deref().map(read_document).transpose()?.unwrap_or_default(),
            report: report.as_deref().map(read_document).transpose()?,
            webhooks: webhooks.as_deref().map(read_document).transpose()?.unwrap_or_default(),
            position: Some(id),
            sequence: 0,
            seen: None,
        };
        Ok(FeedRow { id, entry })
    };
    Ok(parse())
}

/// Deletes some of the oldest rows up to this position. Returns how many.
fn delete(connection: &Connection, up_to: i64) -> Result<usize, StoreError> {
    let last = "SELECT max(id) FROM (SELECT id FROM feed WHERE id <= ?1 ORDER BY id LIMIT ?2)";
    let last: Option<Option<i64>> = find(connection, last, params![up_to, PIECE], |row| row.get(0))?;
    let Some(last) = last.flatten() else { return Ok(0) };
    // The position is that of the last row that goes, and not the limit: who has read that row has missed nothing, even if
    // no other was written until the limit had passed it.
    execute(connection, "UPDATE feed_position SET deleted = ?1", [last])?;
    execute(connection, "DELETE FROM feed WHERE id <= ?1", [last])
}

#[async_trait]
impl ChangeLog for SqliteFeed {
    async fn changes(
        &self,
        service: ServiceSid,
        identity: Option<&Identity>,
        after: Option<u64>,
        at_most: usize,
    ) -> Result<Result<LoggedChanges, PositionGone>, StoreError> {
        let identity = identity.cloned();
        let read = self
            .database
            .read(move |connection| {
                // One view: rows may be deleted in between.
                let connection = &*connection.unchecked_transaction().map_err(unavailable)?;
                let (oldest, newest) = bounds(connection)?;
                let after = after.unwrap_or(oldest);
                if after < oldest || newest < after {
                    return Ok(Err(PositionGone));
                }
                let mut statement = connection
                    .prepare_cached(
                        "SELECT id, notice FROM feed WHERE id > ?1 AND id <= ?2 AND service = ?3
                         AND (?4 IS NULL OR identity = ?4) AND notice IS NOT NULL ORDER BY id LIMIT ?5",
                    )
                    .map_err(unavailable)?;
                let limit = i64::try_from(at_most + 1).unwrap_or(i64::MAX);
                let parameters = params![after, newest, Key(service), identity.as_ref().map(Identity::as_str), limit];
                let columns = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
                let rows = statement.query_map(parameters, columns).map_err(unavailable)?;
                let (mut changes, mut bytes, mut more) = (Vec::new(), 0, false);
                for row in rows {
                    let (id, notice): (u64, String) = row.map_err(unavailable)?;
                    bytes += notice.len();
                    more = changes.len() == at_most || (bytes > at_most * BYTES_OF_CHANGE && !changes.is_empty());
                    if more {
                        break;
                    }
                    changes.push(LoggedChange { id, notice: read_document(&notice)? });
                }
                let last = changes.last().map(|change| change.id);
                let cursor = if more { last.unwrap_or(newest) } else { newest };
                Ok(Ok(LoggedChanges { changes, cursor, more }))
            })
            .await?;
        self.flushed().await?;
        Ok(read)
    }

    async fn newest(&self) -> Result<u64, StoreError> {
        let (_, newest) = self.database.read(bounds).await?;
        self.flushed().await?;
        Ok(newest)
    }
}

/// The positions of the last row that was deleted and of the last one that was written.
fn bounds(connection: &Connection) -> Result<(u64, u64), StoreError> {
    let sql = "SELECT deleted, max(delivered, (SELECT coalesce(max(id), 0) FROM feed)) FROM feed_position";
    let bounds: Option<(u64, u64)> = find(connection, sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(bounds.unwrap_or_default())
}
