//! The table of the queues: messages wait in it until they are due, and are deleted when they are acknowledged. Each queue
//! has its own lane. The push queue, which works on the table alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use reachability_domain::push::message::PushMessage;
use reachability_domain::queue::{Message, Queue, QueueError};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::Notify;

use super::ages::Ages;
use super::database::{Database, unavailable};
use super::dead_letters::{QueueName, Retry, take_retries};
use super::writer::Terms;
use crate::clock;

/// The due time of messages without delay: zero, so that it holds even if the clock is set back.
pub(super) const AT_ONCE: i64 = 0;

/// The lane of pushes in the table.
pub(super) const LANE: i64 = 1;

/// Of how many pushes it is known since when they wait.
const MAX_AGES: usize = 1_000_000;

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

/// What came of messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Those that were handled.
    pub handled: Vec<i64>,
    /// Those that failed, and when they are due again.
    pub retry: Vec<(i64, Timestamp)>,
    /// Those that cannot be handled, and why.
    pub dead: Vec<(i64, String)>,
}

impl Outcome {
    /// Deletes what was handled, delays what failed, and moves the rest to the dead letters.
    pub(super) fn write(&self, connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let mut delete = connection.prepare_cached("DELETE FROM messages WHERE id = ?1")?;
        for id in &self.handled {
            delete.execute([id])?;
        }
        let mut wait =
            connection.prepare_cached("UPDATE messages SET attempts = attempts + 1, due_at = ?2 WHERE id = ?1")?;
        for (id, until) in &self.retry {
            wait.execute(params![id, until.as_millis()])?;
        }
        // A message's lane is its queue.
        let mut dead_letter = connection.prepare_cached(
            "INSERT INTO dead_letters (queue, died_at, reason, body)
             SELECT lane, ?2, ?3, body FROM messages WHERE id = ?1",
        )?;
        for (id, reason) in &self.dead {
            dead_letter.execute(params![id, now.as_millis(), reason])?;
            delete.execute([id])?;
        }
        Ok(())
    }
}

/// The push queue in an SQLite database, with one consumer. Clones share it.
#[derive(Clone)]
pub struct PushQueue {
    database: Database,
    sent: Arc<Notify>,
    /// Since when those wait that came without delay.
    ages: Arc<Mutex<Ages>>,
    /// They wait since then if they were there before.
    started_at: Timestamp,
}

impl PushQueue {
    /// The queue in this database.
    pub fn new(database: Database) -> Self {
        let ages = Arc::new(Mutex::new(Ages::new(MAX_AGES)));
        Self { database, sent: Arc::default(), ages, started_at: clock::now() }
    }

    /// Returns due messages, the longest-waiting first, without removing them. Delayed ones are at most one half, so that
    /// neither they nor the others starve.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Delivered>, StoreError> {
        self.database
            .read(move |connection| {
                let select = |from: i64, to: i64, limit: usize| -> rusqlite::Result<Vec<Delivered>> {
                    connection
                        .prepare_cached(
                            "SELECT id, attempts, body FROM messages
                             WHERE lane = ?1 AND service IS NULL AND due_at BETWEEN ?2 AND ?3
                             ORDER BY due_at, id LIMIT ?4",
                        )?
                        .query_map(params![LANE, from, to, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
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
        self.database
            .read(move |connection| {
                let due: Option<i64> = connection
                    .prepare_cached(
                        "SELECT due_at FROM messages WHERE lane = ?1 AND service IS NULL AND due_at > ?2
                         ORDER BY due_at LIMIT 1",
                    )
                    .and_then(|mut it| it.query_row(params![LANE, after.as_millis()], |row| row.get(0)).optional())
                    .map_err(unavailable)?;
                Ok(due.map(Timestamp::from_millis))
            })
            .await
    }

    /// Waits until a message was sent since the last wait.
    pub async fn sent(&self) {
        self.sent.notified().await;
    }

    /// Looks again when messages are due: they may be due sooner, or the time of day may be another one.
    pub fn look_again(&self) {
        self.sent.notify_one();
    }

    /// Acknowledges messages.
    ///
    /// # Errors
    /// If the database fails; then nothing has changed.
    pub async fn acknowledge(&self, outcome: Outcome, now: Timestamp) -> Result<(), StoreError> {
        let ids = outcome.handled.iter().chain(outcome.retry.iter().map(|(id, _)| id));
        let settled: Vec<i64> = ids.chain(outcome.dead.iter().map(|(id, _)| id)).copied().collect();
        self.database.write(move |connection| outcome.write(connection, now).map_err(unavailable)).await?;
        let mut ages = lock(&self.ages);
        settled.into_iter().for_each(|id| ages.remove(id));
        Ok(())
    }

    /// Since when a message waits that came without delay.
    pub(super) fn since(&self, id: i64) -> Timestamp {
        lock(&self.ages).since(id).unwrap_or(self.started_at)
    }

    /// Writes messages and notes since when those without delay wait. Returns how many there are.
    async fn store(
        &self,
        terms: Terms,
        rows: impl FnOnce(&Connection) -> rusqlite::Result<Vec<(i64, String)>> + Send + 'static,
    ) -> Result<usize, StoreError> {
        let write = move |connection: &Connection| -> rusqlite::Result<(usize, Vec<i64>)> {
            let rows = rows(connection)?;
            let mut insert =
                connection.prepare_cached("INSERT INTO messages (lane, due_at, body) VALUES (?1, ?2, ?3)")?;
            let mut at_once = Vec::new();
            for (due_at, body) in &rows {
                let id = insert.insert(params![LANE, due_at, body])?;
                at_once.extend((*due_at == AT_ONCE).then_some(id));
            }
            Ok((rows.len(), at_once))
        };
        let ages = self.ages.clone();
        // Before it can be acknowledged.
        let then = move |(stored, at_once): (usize, Vec<i64>)| {
            let (mut ages, now) = (lock(&ages), clock::now());
            at_once.into_iter().for_each(|id| ages.add(id, now));
            stored
        };
        let write = move |connection: &Connection| write(connection).map_err(unavailable);
        let stored = self.database.write_then(terms, write, then).await?;
        self.sent.notify_one();
        Ok(stored)
    }

    /// Puts some dead letters that are to be retried back into the queue. Returns how many there were.
    ///
    /// # Errors
    /// If the database fails; then nothing has changed.
    pub async fn retry_dead_letters(&self) -> Result<usize, StoreError> {
        if !self.database.has_retries(QueueName::Pushes)? {
            return Ok(0);
        }
        let row = |body: &str| Retry::Now((AT_ONCE, body.to_owned()));
        let rows = move |connection: &Connection| Ok(take_retries(connection, QueueName::Pushes, 0, row)?.0);
        // If it is lost, they are dead letters as before.
        self.store(Terms::DERIVED, rows).await
    }
}

#[async_trait]
impl Queue<PushMessage> for PushQueue {
    async fn send(&self, messages: &[PushMessage]) -> Result<(), QueueError> {
        let row = |message: &PushMessage| (message.due_at().map_or(AT_ONCE, Timestamp::as_millis), message.to_json());
        let rows: Vec<(i64, String)> = messages.iter().map(row).collect();
        let stored = self.store(Terms::PROMISED, move |_| Ok(rows)).await;
        stored.map(drop).map_err(|error| QueueError::Unavailable(Box::new(error)))
    }
}

fn lock(ages: &Mutex<Ages>) -> MutexGuard<'_, Ages> {
    ages.lock().unwrap_or_else(PoisonError::into_inner)
}
