//! The queue: messages wait in a table until they are due, and are gone once they are handled.

use std::sync::Arc;

use async_trait::async_trait;
use reachability_domain::queue::{Lane, Message, Queue, QueueError};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::{OptionalExtension, params};
use tokio::sync::Notify;

use super::database::{Database, unavailable};

/// When messages are due that are to be delivered at once: also if the clock is set back in the meantime.
const AT_ONCE: i64 = 0;

/// A queue in an SQLite database, for one consumer of each lane.
#[derive(Clone)]
pub struct SqliteQueue {
    database: Database,
    /// For each lane.
    sent: Arc<[Notify; 2]>,
}

/// As it is stored, and its place in [`SqliteQueue::sent`].
fn number(lane: Lane) -> usize {
    match lane {
        Lane::Events => 0,
        Lane::Pushes => 1,
    }
}

/// A message that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its number in the queue, never used twice.
    pub id: i64,
    /// How often its handling has failed.
    pub attempts: u32,
    /// What was sent.
    pub body: String,
}

/// A message that nobody could handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// What was sent.
    pub body: String,
    /// Why its last handling failed.
    pub reason: String,
}

impl SqliteQueue {
    /// A queue in this database.
    pub fn new(database: Database) -> Self {
        Self { database, sent: Arc::default() }
    }

    /// The messages of a lane that are due, the longest-waiting first: timers at most one half of them, so that neither they nor
    /// events wait for ever. They stay in the queue until they are settled.
    ///
    /// # Errors
    /// If the database does not work.
    pub async fn due(&self, lane: Lane, now: Timestamp, limit: usize) -> Result<Vec<Delivered>, StoreError> {
        self.database
            .read(move |connection| {
                let select = |from: i64, to: i64, limit: usize| -> rusqlite::Result<Vec<Delivered>> {
                    connection
                        .prepare_cached(
                            "SELECT id, attempts, body FROM messages WHERE lane = ?1 AND due_at BETWEEN ?2 AND ?3
                             ORDER BY due_at, id LIMIT ?4",
                        )?
                        .query_map(params![number(lane), from, to, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
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

    /// When the next message of a lane will be due that is not yet at this time; `None` if there is none.
    ///
    /// # Errors
    /// If the database does not work.
    pub async fn next_due(&self, lane: Lane, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.database
            .read(move |connection| {
                let due: Option<i64> = connection
                    .prepare_cached(
                        "SELECT due_at FROM messages WHERE lane = ?1 AND due_at > ?2 ORDER BY due_at LIMIT 1",
                    )
                    .and_then(|mut it| {
                        it.query_row(params![number(lane), after.as_millis()], |row| row.get(0)).optional()
                    })
                    .map_err(unavailable)?;
                Ok(due.map(Timestamp::from_millis))
            })
            .await
    }

    /// Waits until something was sent to a lane since the last wait.
    pub async fn sent(&self, lane: Lane) {
        self.sent[number(lane)].notified().await;
    }

    /// Takes handled messages out of the queue, lets failed ones wait until `retry.1`, and lays the hopeless ones aside
    /// with the reason.
    ///
    /// # Errors
    /// If the database does not work; then nothing was settled.
    pub async fn settle(
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
                    let mut bury = connection.prepare_cached(
                        "INSERT INTO dead_letters (id, died_at, reason, body)
                         SELECT id, ?2, ?3, body FROM messages WHERE id = ?1",
                    )?;
                    for (id, reason) in &dead {
                        bury.execute(params![id, now.as_millis(), reason])?;
                        delete.execute([id])?;
                    }
                    Ok(())
                };
                run().map_err(unavailable)
            })
            .await
    }

    /// The messages laid aside, the oldest first.
    ///
    /// # Errors
    /// If the database does not work.
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
impl Queue for SqliteQueue {
    async fn send(&self, messages: &[Message]) -> Result<(), QueueError> {
        let row = |message: &Message| {
            let due_at = message.deliver_at().map_or(AT_ONCE, Timestamp::as_millis);
            (number(message.lane()), due_at, message.to_json())
        };
        let rows: Vec<(usize, i64, String)> = messages.iter().map(row).collect();
        self.database
            .write(move |connection| {
                let run = || -> rusqlite::Result<()> {
                    let mut insert =
                        connection.prepare_cached("INSERT INTO messages (lane, due_at, body) VALUES (?1, ?2, ?3)")?;
                    for row in &rows {
                        insert.execute(params![row.0, row.1, row.2])?;
                    }
                    Ok(())
                };
                run().map_err(unavailable)
            })
            .await
            .map_err(|error| QueueError(Box::new(error)))?;
        for lane in [Lane::Events, Lane::Pushes] {
            if messages.iter().any(|message| message.lane() == lane) {
                self.sent[number(lane)].notify_one();
            }
        }
        Ok(())
    }
}
