//! Garbage collection.

use std::time::Duration;

use reachability_domain::presence::connections::KEEP_DELETION;
use reachability_domain::push::notification::Notification;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::Connection;
use tracing::warn;

use super::dead_letters;
use super::rows::{Rows, execute};
use super::store::SqliteStore;

/// For how long dead letters are kept: as long as SQS keeps a message at most.
const KEEP_DEAD_LETTERS: Duration = Duration::from_secs(14 * 86_400);

impl SqliteStore {
    /// Removes states of users that do not exist (deleted, or known only from a disconnect) once their tombstones no
    /// longer matter, expired notifications, and old dead letters. Returns how many rows were removed.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn collect_garbage(&self, now: Timestamp) -> Result<usize, StoreError> {
        let before = |seconds: u64| {
            now.as_millis().saturating_sub(i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX))
        };
        let (oldest, oldest_sent) = (before(KEEP_DELETION.as_secs()), before(Notification::KEPT_SECONDS));
        let removed = self
            .database
            .write_unflushed(move |connection| {
                let states = execute(connection, "DELETE FROM states WHERE as_of < ?1 AND user IS NULL", [oldest])?;
                for table in ["deliveries", "recipients"] {
                    let old = "SELECT sid FROM notifications WHERE made_at < ?1";
                    let delete = format!("DELETE FROM {table} WHERE notification IN ({old})");
                    execute(connection, &delete, [oldest_sent])?;
                }
                let sent = Rows::new("notifications", "made_at < ?1", &[&oldest_sent]).delete(connection)?;
                Ok(states + sent)
            })
            .await?;
        Ok(removed + self.remove_old_dead_letters(before(KEEP_DEAD_LETTERS.as_secs())).await?)
    }

    /// Removes the dead letters from before this time, which nobody has retried or dropped.
    async fn remove_old_dead_letters(&self, oldest: i64) -> Result<usize, StoreError> {
        let mut removed = 0;
        loop {
            let delete = move |connection: &Connection| dead_letters::delete_old(connection, oldest);
            match self.database.write_unflushed(delete).await? {
                0 => break,
                of_piece => removed += of_piece,
            }
        }
        if removed > 0 {
            warn!(removed, "dead letters that are older than 14 days were removed");
        }
        Ok(removed)
    }
}
