//! What waits in the queues until a time of day, when the clock is set back: messages, and webhooks to be tried again.

use std::time::Duration;

use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::database::{Database, unavailable};
use super::events::LANE;
use super::queue::AT_ONCE;

/// How many rows are moved in one write, so that others come in between.
const ROWS_PER_WRITE: i64 = 2_000;

/// How far ahead a message of the event queue is due at most: timers are set for no more than 15 minutes, and retries come sooner.
const FARTHEST: Duration = Duration::from_secs(16 * 60);

/// Rows up to which everything was made due sooner.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    messages: i64,
    webhooks: i64,
}

impl Database {
    /// Makes everything that waits, but what was done before, due so much sooner. What comes too soon by that is harmless: a timer
    /// waits for the rest, and what failed is tried again. The queues in memory are to be told.
    ///
    /// # Errors
    /// If the database fails; then some may be due sooner, and others not.
    pub async fn make_due_sooner(&self, by: Duration, done: Done) -> Result<Done, StoreError> {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Ok(Done {
            messages: self.make_rows_due_sooner("messages", by, done.messages).await?,
            webhooks: self.make_rows_due_sooner("webhooks", by, done.webhooks).await?,
        })
    }

    async fn make_rows_due_sooner(&self, table: &'static str, by: i64, after: i64) -> Result<i64, StoreError> {
        let last = format!("SELECT coalesce(max(id), 0) FROM {table}");
        let read = move |connection: &Connection| connection.query_row(&last, [], |row| row.get(0));
        let last: i64 = self.read(move |connection| read(connection).map_err(unavailable)).await?;
        let mut done = after;
        while done < last {
            let write = move |connection: &Connection| piece(connection, table, done, last, by);
            done = self.write_unflushed(move |connection| write(connection).map_err(unavailable)).await?;
        }
        Ok(done)
    }

    /// Makes those messages of the event queue due now that are due later than any can be by this time, but for those that were
    /// made due sooner: they are of a clock that was set back. Returns how many there were. The queue in memory is to be told,
    /// if it is open.
    ///
    /// # Errors
    /// If the database fails; then nothing has changed.
    pub async fn make_late_ones_due(&self, now: Timestamp, done: Done) -> Result<usize, StoreError> {
        let farthest = now.plus(FARTHEST).as_millis();
        let (now, after) = (now.as_millis().max(AT_ONCE + 1), done.messages);
        let late = "SELECT EXISTS (SELECT 1 FROM messages WHERE id > ?1 AND +lane = ?2 AND due_at > ?3)";
        let read = move |connection: &Connection| connection.query_row(late, [after, LANE, farthest], |row| row.get(0));
        if !self.read(move |connection| read(connection).map_err(unavailable)).await? {
            return Ok(0);
        }
        let sql = "UPDATE messages SET due_at = ?4 WHERE id > ?1 AND +lane = ?2 AND due_at > ?3";
        let write = move |connection: &Connection| connection.execute(sql, [after, LANE, farthest, now]);
        self.write_unflushed(move |connection| write(connection).map_err(unavailable)).await
    }
}

/// Moves some rows after this one. Returns up to which.
fn piece(connection: &Connection, table: &str, after: i64, last: i64, by: i64) -> rusqlite::Result<i64> {
    let up_to = format!("SELECT id FROM {table} WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT 1 OFFSET ?3");
    let up_to = connection
        .prepare_cached(&up_to)?
        .query_row([after, last, ROWS_PER_WRITE - 1], |row| row.get(0))
        .optional()?
        .unwrap_or(last);
    let sql = format!("UPDATE {table} SET due_at = max(due_at - ?3, ?4) WHERE id > ?1 AND id <= ?2 AND due_at > ?5");
    connection.prepare_cached(&sql)?.execute(params![after, up_to, by, AT_ONCE + 1, AT_ONCE])?;
    Ok(up_to)
}
