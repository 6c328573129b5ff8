//! Garbage collection.

use reachability_domain::presence::connections::KEEP_DELETION;
use reachability_domain::push::notification::Notification;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::rows::{Rows, execute};
use super::store::SqliteStore;

impl SqliteStore {
    /// Removes states of users that do not exist (deleted, or known only from a disconnect) once their tombstones no
    /// longer matter, and expired notifications. Returns how many rows were removed.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn collect_garbage(&self, now: Timestamp) -> Result<usize, StoreError> {
        let before = |seconds: u64| {
            now.as_millis().saturating_sub(i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX))
        };
        let (oldest, oldest_sent) = (before(KEEP_DELETION.as_secs()), before(Notification::KEPT_SECONDS));
        self.database
            .write_unflushed(move |connection| {
                let states = execute(connection, "DELETE FROM states WHERE as_of < ?1 AND user IS NULL", [oldest])?;
                execute(
                    connection,
                    "DELETE FROM deliveries WHERE notification IN (SELECT sid FROM notifications WHERE made_at < ?1)",
                    [oldest_sent],
                )?;
                let sent = Rows::new("notifications", "made_at < ?1", &[&oldest_sent]).delete(connection)?;
                Ok(states + sent)
            })
            .await
    }
}
