//! Garbage collection.

use std::time::Duration;

use reachability_domain::presence::connections::KEEP_DELETION;
use reachability_domain::push::notification::Notification;
use reachability_domain::sid::NotificationSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::{Connection, params};
use tracing::warn;

use super::database::unavailable;
use super::dead_letters;
use super::rows::{Key, Rows, execute, find};
use super::store::SqliteStore;

/// For how long dead letters are kept: as long as SQS keeps a message at most.
const KEEP_DEAD_LETTERS: Duration = Duration::from_secs(14 * 86_400);

/// How many rows one write removes at most: other writes come in between.
const PIECE: usize = 2_000;

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
        let states = self.remove_old_states(before(KEEP_DELETION.as_secs())).await?;
        let sent = self.remove_old_notifications(before(Notification::KEPT_SECONDS)).await?;
        Ok(states + sent + self.remove_old_dead_letters(before(KEEP_DEAD_LETTERS.as_secs())).await?)
    }

    /// Removes the states of users that do not exist and were last written before this time.
    async fn remove_old_states(&self, oldest: i64) -> Result<usize, StoreError> {
        let mut removed = 0;
        let mut after = (vec![], String::new());
        loop {
            // Looked for beside the writer: they may lie far apart.
            let look = move |connection: &Connection| old_states(connection, &after, oldest);
            let found = self.database.read(look).await?;
            let Some(last) = found.last().cloned() else { return Ok(removed) };
            after = last;
            let delete = move |connection: &Connection| {
                let delete = "DELETE FROM states WHERE service = ?1 AND identity = ?2 AND as_of < ?3 AND user IS NULL";
                let delete = |(service, identity)| execute(connection, delete, params![service, identity, oldest]);
                found.iter().map(|(service, identity)| delete((service, identity))).sum::<Result<usize, _>>()
            };
            removed += self.database.write_unflushed(delete).await?;
        }
    }

    /// Removes the notifications from before this time, with what is stored of them. Returns how many.
    async fn remove_old_notifications(&self, oldest: i64) -> Result<usize, StoreError> {
        let mut removed = 0;
        loop {
            let delete = move |connection: &Connection| delete_old_notifications(connection, oldest);
            let (of_piece, is_all) = self.database.write_unflushed(delete).await?;
            removed += of_piece;
            if is_all {
                return Ok(removed);
            }
        }
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

/// The keys of the next states after this one that were last written before `oldest`, of users that do not exist.
fn old_states(
    connection: &Connection,
    (service, identity): &(Vec<u8>, String),
    oldest: i64,
) -> Result<Vec<(Vec<u8>, String)>, StoreError> {
    let sql =
        "SELECT service, identity FROM states WHERE (service, identity) > (?1, ?2) AND as_of < ?3 AND user IS NULL
         ORDER BY service, identity LIMIT ?4";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let rows = statement.query_map(params![service, identity, oldest, PIECE], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.map_err(unavailable)?.map(|row| row.map_err(unavailable)).collect()
}

/// Deletes some rows of the notifications from before this time. Returns how many of these are gone, and whether all are.
fn delete_old_notifications(connection: &Connection, oldest: i64) -> Result<(usize, bool), StoreError> {
    let (mut removed, mut left) = (0, PIECE);
    while left > 0 {
        let first = "SELECT sid FROM notifications WHERE made_at < ?1 ORDER BY made_at LIMIT 1";
        let Some(sid) = find(connection, first, [oldest], |row| row.get::<_, Key<NotificationSid>>(0))? else {
            return Ok((removed, true));
        };
        for (table, key) in [("deliveries", "sid"), ("recipients", "identity")] {
            let some = format!("SELECT {key} FROM {table} WHERE notification = ?1 LIMIT ?2");
            let delete = format!("DELETE FROM {table} WHERE notification = ?1 AND {key} IN ({some})");
            left -= execute(connection, &delete, params![sid, left])?;
        }
        // It goes last: what is left of it is found by it.
        if left > 0 {
            removed += Rows::new("notifications", "sid = ?1", &[&sid]).delete(connection)?;
            left -= 1;
        }
    }
    Ok((removed, false))
}
