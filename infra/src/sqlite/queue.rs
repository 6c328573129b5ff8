//! The queue: messages wait in a table until they are due, and are deleted when they are acknowledged.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::push::message::PushMessage;
use reachability_domain::queue::{Message, Queue, QueueError};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::{OptionalExtension, params};
use tokio::sync::Notify;

use super::database::{Database, unavailable};

/// The due time of messages without delay: zero, so that it holds even if the clock is set back.
const AT_ONCE: i64 = 0;

/// A queue in an SQLite database, with one consumer. Clones share it.
pub struct SqliteQueue<M> {
    database: Database,
    lane: i64,
    sent: Arc<Notify>,
    message: PhantomData<fn() -> M>,
}

impl<M> Clone for SqliteQueue<M> {
    fn clone(&self) -> Self {
        Self { database: self.database.clone(), lane: self.lane, sent: self.sent.clone(), message: PhantomData }
    }
}

impl SqliteQueue<PresenceMessage> {
    /// The event queue.
    pub fn events(database: Database) -> Self {
        Self::in_lane(0, database)
    }
}

impl SqliteQueue<PushMessage> {
    /// The push queue.
    pub fn pushes(database: Database) -> Self {
        Self::in_lane(1, database)
    }
}

/// A message that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The message's id in the queue, never reused.
    pub id: i64,
    /// Number of failed attempts.
    pub attempts: u32,
    /// The message's body.
    pub body: String,
}

/// A message that could not be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message's body.
    pub body: String,
    /// Why the last attempt failed.
    pub reason: String,
}

impl<M> SqliteQueue<M> {
    /// All queues share one table; each has its own lane.
    fn in_lane(lane: i64, database: Database) -> Self {
        Self { database, lane, sent: Arc::default(), message: PhantomData }
    }

    /// Returns due messages, the longest-waiting first, without removing them. Timers are at most one half, so that
    /// neither timers nor events starve.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Delivered>, StoreError> {
        let lane = self.lane;
        self.database
            .read(move |connection| {
                let select = |from: i64, to: i64, limit: usize| -> rusqlite::Result<Vec<Delivered>> {
                    connection
                        .prepare_cached(
                            "SELECT id, attempts, body FROM messages WHERE lane = ?1 AND due_at BETWEEN ?2 AND ?3
                             ORDER BY due_at, id LIMIT ?4",
                        )?
                        .query_map(params![lane, from, to, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                            Ok(Delivered { id: row.get(0)?, attempts: row.get(1)?, body: row.get(2)? })
                        })?
                        .collect()
                };
                let read = || {
                    let mut due = select(AT_ONCE + 1, now.as_millis(), limit / 2)?;
                    due.extend(select(AT_ONCE, AT_ONCE, limit - due.len())?);
                    Ok(due)
                };
                read().map_err(unavailable)
            })
            .await
    }

    /// When the next message after this time is due; `None` if there is none.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn next_due(&self, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let lane = self.lane;
        self.database
            .read(move |connection| {
                let due: Option<i64> = connection
                    .prepare_cached(
                        "SELECT due_at FROM messages WHERE lane = ?1 AND due_at > ?2 ORDER BY due_at LIMIT 1",
                    )
                    .and_then(|mut it| it.query_row(params![lane, after.as_millis()], |row| row.get(0)).optional())
                    .map_err(unavailable)?;
                Ok(due.map(Timestamp::from_millis))
            })
            .await
    }

    /// Waits until a message was sent since the last wait.
    pub async fn sent(&self) {
        self.sent.notified().await;
    }

    /// Acknowledges handled messages, delays failed ones until `retry.1`, and moves hopeless ones to the dead letters
    /// with their reason.
    ///
    /// # Errors
    /// If the database fails; then nothing has changed.
    pub async fn acknowledge(
        &self,
        handled: Vec<i64>,
        retry: Vec<(i64, Timestamp)>,
        dead: Vec<(i64, String)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.database
            .write(move |connection| {
                let run = || -> rusqlite::Result<()> {
                    let mut delete = connection.prepare_cached("DELETE FROM messages WHERE id = ?1")?;
                    for id in &handled {
                        delete.execute([id])?;
                    }
                    let mut wait = connection
                        .prepare_cached("UPDATE messages SET attempts = attempts + 1, due_at = ?2 WHERE id = ?1")?;
                    for (id, until) in &retry {
                        wait.execute(params![id, until.as_millis()])?;
                    }
                    let mut dead_letter = connection.prepare_cached(
                        "INSERT INTO dead_letters (id, died_at, reason, body)
                         SELECT id, ?2, ?3, body FROM messages WHERE id = ?1",
                    )?;
                    for (id, reason) in &dead {
                        dead_letter.execute(params![id, now.as_millis(), reason])?;
                        delete.execute([id])?;
                    }
                    Ok(())
                };
                run().map_err(unavailable)
            })
            .await
    }

    /// The dead letters of all queues, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        self.database
            .read(|connection| {
                let mut statement = connection
                    .prepare_cached("SELECT body, reason FROM dead_letters ORDER BY id")
                    .map_err(unavailable)?;
                let rows = statement
                    .query_map([], |row| Ok(DeadLetter { body: row.get(0)?, reason: row.get(1)? }))
                    .map_err(unavailable)?;
                rows.collect::<rusqlite::Result<_>>().map_err(unavailable)
            })
            .await
    }
}

#[async_trait]
impl<M: Message> Queue<M> for SqliteQueue<M> {
    async fn send(&self, messages: &[M]) -> Result<(), QueueError> {
        let lane = self.lane;
        let row = |message: &M| (message.due_at().map_or(AT_ONCE, Timestamp::as_millis), message.to_json());
        let rows: Vec<(i64, String)> = messages.iter().map(row).collect();
        self.database
            .write(move |connection| {
                let run = || -> rusqlite::Result<()> {
                    let mut insert =
                        connection.prepare_cached("INSERT INTO messages (lane, due_at, body) VALUES (?1, ?2, ?3)")?;
                    for (due_at, body) in &rows {
                        insert.execute(params![lane, due_at, body])?;
                    }
                    Ok(())
                };
                run().map_err(unavailable)
            })
            .await
            .map_err(|error| QueueError(Box::new(error)))?;
        self.sent.notify_one();
        Ok(())
    }
}
