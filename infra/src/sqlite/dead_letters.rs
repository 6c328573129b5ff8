//! Dead letters: messages that could not be handled, until their owner retries or drops them, or they are too old.
//!
//! A letter is only marked as one to retry. The server, which alone knows what of its queues is in memory, puts it back into its
//! queue: soon, or when it starts.

use std::fmt;

use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::push::message::PushMessage;
use reachability_domain::queue::Message;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::message::WebhookMessage;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::database::{Database, unavailable};
use super::rows::{execute, find};
use super::{events, queue};

/// How many letters one write changes, so that others come in between.
const PIECE: i64 = 500;

/// A queue of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueName {
    /// Events and timers.
    Events,
    /// Work for push providers.
    Pushes,
    /// Webhooks.
    Webhooks,
}

impl QueueName {
    const ALL: [Self; 3] = [Self::Events, Self::Pushes, Self::Webhooks];

    /// Its number in the table. That of a queue in the table of messages is its lane there.
    fn number(self) -> i64 {
        match self {
            Self::Events => events::LANE,
            Self::Pushes => queue::LANE,
            Self::Webhooks => 2,
        }
    }
}

impl ToSql for QueueName {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.number().into())
    }
}

impl FromSql for QueueName {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = i64::column_result(value)?;
        Self::ALL.into_iter().find(|name| name.number() == number).ok_or(FromSqlError::OutOfRange(number))
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Events => "events",
            Self::Pushes => "pushes",
            Self::Webhooks => "webhooks",
        })
    }
}

/// A message that could not be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number, never used again.
    pub id: i64,
    /// The queue that it was in.
    pub queue: QueueName,
    /// When the last attempt failed.
    pub died_at: Timestamp,
    /// Why the last attempt failed.
    pub reason: String,
    /// The message's body.
    pub body: String,
    /// Whether the server is to put it back into its queue.
    pub is_to_retry: bool,
}

impl DeadLetter {
    /// The service that the message is about; `None` if it is about all, or cannot be read.
    pub fn service(&self) -> Option<ServiceSid> {
        fn of<M: Message>(body: &str) -> Option<ServiceSid> {
            M::parse(body.as_bytes()).ok()?.service()
        }
        match self.queue {
            QueueName::Events => of::<PresenceMessage>(&self.body),
            QueueName::Pushes => of::<PushMessage>(&self.body),
            QueueName::Webhooks => of::<WebhookMessage>(&self.body),
        }
    }
}

/// Dead letters to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Letters {
    /// All that there are.
    All,
    /// Those with these ids.
    These(Vec<i64>),
}

/// There is no dead letter with this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no dead letter {0}")]
pub struct NoSuchLetter(pub i64);

const SELECT: &str = "SELECT id, queue, died_at, reason, body, retry IS NOT NULL FROM dead_letters";

impl Database {
    /// The newest dead letters of all queues, at most so many, the oldest of them first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn dead_letters(&self, at_most: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
        let read = move |connection: &Connection| -> rusqlite::Result<Vec<DeadLetter>> {
            let mut newest = connection.prepare(&format!("{SELECT} ORDER BY id DESC LIMIT ?1"))?;
            let mut letters: Vec<DeadLetter> = newest.query_map([limit], letter)?.collect::<rusqlite::Result<_>>()?;
            letters.reverse();
            Ok(letters)
        };
        self.read(move |connection| read(connection).map_err(unavailable)).await
    }

    /// How many dead letters there are.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn count_dead_letters(&self) -> Result<usize, StoreError> {
        let count = "SELECT count(*) FROM dead_letters";
        self.read(move |connection| connection.query_row(count, [], |row| row.get(0)).map_err(unavailable)).await
    }

    /// A dead letter; `None` if there is none with this id.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, StoreError> {
        let select = format!("{SELECT} WHERE id = ?1");
        self.read(move |connection| connection.query_row(&select, [id], letter).optional().map_err(unavailable)).await
    }

    /// Has dead letters put back into their queues: by the server that runs, or by the next one. Returns how many.
    ///
    /// # Errors
    /// If the database fails. The inner error: if one that is named does not exist; then nothing has changed.
    pub async fn retry_dead_letters(&self, letters: Letters) -> Result<Result<usize, NoSuchLetter>, StoreError> {
        self.change_dead_letters(letters, "UPDATE dead_letters SET retry = 1 WHERE id BETWEEN ?1 AND ?2").await
    }

    /// Deletes dead letters. Returns how many.
    ///
    /// # Errors
    /// As of [`Database::retry_dead_letters`].
    pub async fn drop_dead_letters(&self, letters: Letters) -> Result<Result<usize, NoSuchLetter>, StoreError> {
        self.change_dead_letters(letters, "DELETE FROM dead_letters WHERE id BETWEEN ?1 AND ?2").await
    }

    /// Runs a statement on dead letters with ids in a range.
    async fn change_dead_letters(
        &self,
        letters: Letters,
        change: &'static str,
    ) -> Result<Result<usize, NoSuchLetter>, StoreError> {
        let Letters::These(mut ids) = letters else { return self.change_all_dead_letters(change).await.map(Ok) };
        ids.sort_unstable();
        ids.dedup();
        self.write(move |connection| {
            let exists = "SELECT 1 FROM dead_letters WHERE id = ?1";
            for id in &ids {
                if find(connection, exists, [id], |_| Ok(()))?.is_none() {
                    return Ok(Err(NoSuchLetter(*id)));
                }
            }
            let changed = ids.iter().map(|id| execute(connection, change, [id, id]));
            changed.sum::<Result<usize, StoreError>>().map(Ok)
        })
        .await
    }

    /// Those that there are now, piece by piece.
    async fn change_all_dead_letters(&self, change: &'static str) -> Result<usize, StoreError> {
        let last = "SELECT coalesce(max(id), 0) FROM dead_letters";
        let last: i64 =
            self.look_up(|connection| connection.query_row(last, [], |row| row.get(0)).map_err(unavailable))?;
        let (mut after, mut changed) = (i64::MIN, 0);
        while after < last {
            let (up_to, of_piece) = self
                .write(move |connection| {
                    let piece = "SELECT max(id) FROM
                        (SELECT id FROM dead_letters WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3)";
                    let up_to: Option<Option<i64>> = find(connection, piece, [after, last, PIECE], |row| row.get(0))?;
                    // None is left of those that there were.
                    let Some(up_to) = up_to.flatten() else { return Ok((last, 0)) };
                    Ok((up_to, execute(connection, change, [after.saturating_add(1), up_to])?))
                })
                .await?;
            (after, changed) = (up_to, changed + of_piece);
        }
        Ok(changed)
    }

    /// Whether dead letters of a queue are to be put back into it.
    pub(super) fn has_retries(&self, queue: QueueName) -> Result<bool, StoreError> {
        let first =
            "SELECT 1 FROM dead_letters INDEXED BY dead_letters_to_retry WHERE retry = 1 AND queue = ?1 LIMIT 1";
        self.look_up(|connection| Ok(find(connection, first, [queue], |_| Ok(()))?.is_some()))
    }
}

/// What becomes of a dead letter that is to be retried.
pub(super) enum Retry<T> {
    /// It is put back into its queue, as this.
    Now(T),
    /// It waits until there is room for it.
    Later,
    /// It stays dead.
    Never,
}

/// Takes some dead letters of a queue that are to be put back into it, of those after this id. Returns what is to be put
/// there, in their order, and the id of the last one that was looked at; `None` if there are no more.
pub(super) fn take_retries<T>(
    connection: &Connection,
    queue: QueueName,
    after: i64,
    mut retry: impl FnMut(&str) -> Retry<T>,
) -> rusqlite::Result<(Vec<T>, Option<i64>)> {
    let mut select = connection.prepare_cached(
        "SELECT id, body FROM dead_letters INDEXED BY dead_letters_to_retry WHERE retry = 1 AND queue = ?1
         AND id > ?2 ORDER BY id LIMIT ?3",
    )?;
    let found = select.query_map(params![queue, after, PIECE], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found: Vec<(i64, String)> = found.collect::<rusqlite::Result<_>>()?;
    let mut delete = connection.prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?;
    let mut keep = connection.prepare_cached("UPDATE dead_letters SET retry = NULL WHERE id = ?1")?;
    let mut rows = Vec::with_capacity(found.len());
    for (id, body) in &found {
        match retry(body) {
            Retry::Now(row) => {
                delete.execute([id])?;
                rows.push(row);
            }
            Retry::Later => {}
            Retry::Never => {
                keep.execute([id])?;
            }
        }
    }
    let last = found.last().map(|(id, _)| *id);
    Ok((rows, last))
}

/// Deletes some dead letters that are older than this. Returns how many.
pub(super) fn delete_old(connection: &Connection, oldest: i64) -> Result<usize, StoreError> {
    let delete = "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE died_at < ?1 LIMIT ?2)";
    execute(connection, delete, [oldest, PIECE])
}

fn letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        id: row.get(0)?,
        queue: row.get(1)?,
        died_at: Timestamp::from_millis(row.get(2)?),
        reason: row.get(3)?,
        body: row.get(4)?,
        is_to_retry: row.get(5)?,
    })
}
