//! Loading messages of the event queue from the table.

use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::queue::Message;
use reachability_domain::time::Timestamp;
use rusqlite::{Connection, params};

use super::events::LANE;
use super::queue::AT_ONCE;
use super::rows::Key;
use super::waiting::Scope;

/// How many messages of one service are loaded together.
pub(super) const CHUNK: usize = 256;

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) attempts: u32,
    pub(super) message: Result<PresenceMessage, String>,
}

/// What is to be loaded: messages of one service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) scope: Scope,
    /// How many of the rows are in memory already.
    pub(super) known: usize,
    /// Whether there are rows from before the start.
    pub(super) has_backlog: bool,
}

/// What was loaded.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) load: Load,
    /// Delayed messages, those that are known among them.
    pub(super) delayed: Vec<Row>,
    /// When the first of the others is due.
    pub(super) next_due: Option<i64>,
    /// Messages from before the start, those that are known among them.
    pub(super) backlog: Vec<Row>,
    /// Whether these are all that there are.
    pub(super) is_whole_backlog: bool,
}

/// Reads messages of one service: those from before the start, and delayed ones that are due, neither at the other's cost.
pub(super) fn read(
    connection: &Connection,
    load: Load,
    now: Timestamp,
    last_at_start: i64,
) -> rusqlite::Result<Loaded> {
    let scope = load.scope.map(Key);
    let delayed_at_most = load.known + if load.has_backlog { CHUNK / 2 } else { CHUNK };
    let mut delayed = Vec::new();
    let mut next_due = None;
    let mut statement = connection.prepare_cached(
        "SELECT id, due_at, attempts, body FROM messages WHERE lane = ?1 AND service IS ?2 AND due_at > ?3
         ORDER BY due_at, id LIMIT ?4",
    )?;
    let limit = i64::try_from(delayed_at_most + 1).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![LANE, scope, AT_ONCE, limit])?;
    while let Some(row) = rows.next()? {
        let due_at: i64 = row.get(1)?;
        if due_at > now.as_millis() || delayed.len() == delayed_at_most {
            next_due = Some(due_at);
            break;
        }
        delayed.push(message(row)?);
    }
    let mut backlog = Vec::new();
    let limit = load.known + CHUNK.saturating_sub(delayed.len()).max(CHUNK / 2);
    if load.has_backlog {
        let mut statement = connection.prepare_cached(
            "SELECT id, due_at, attempts, body FROM messages WHERE lane = ?1 AND service IS ?2 AND due_at = ?3
             AND id <= ?4 ORDER BY id LIMIT ?5",
        )?;
        let sql_limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![LANE, scope, AT_ONCE, last_at_start, sql_limit], message)?;
        backlog = rows.collect::<rusqlite::Result<_>>()?;
    }
    let is_whole_backlog = load.has_backlog && backlog.len() < limit;
    Ok(Loaded { load, delayed, next_due, backlog, is_whole_backlog })
}

fn message(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let body = row.get_ref(3)?.as_str()?;
    let message = PresenceMessage::parse(body.as_bytes()).map_err(|_| body.to_owned());
    Ok(Row { id: row.get(0)?, attempts: row.get(2)?, message })
}
