//! The event queue: messages are rows of a table until they are acknowledged. What is due waits in memory as well, where
//! services and their users take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::queue::{Full, Message, Queue, QueueError};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::{Connection, params};
use tokio::sync::{Notify, Semaphore};

use super::database::{Database, unavailable};
use super::dead_letters::{QueueName, Retry, take_retries};
use super::loading::{Loaded, read};
use super::queue::{AT_ONCE, Outcome};
use super::rows::Key;
use super::waiting::{Receipt, Scope, Taken, Waiting, WaitingLimits};
use super::writer::Terms;
use crate::clock;

/// The lane of events in the table.
pub(super) const LANE: i64 = 0;

/// How many messages are stored in one write: other writes come in between those of a large request.
const PIECE: usize = 500;

/// How many messages a write stores at most that does not wait for its turn among large ones.
const SMALL_PIECE: usize = 100;

/// How many large pieces wait for the writer at most. What the worker writes, and what others send, is behind no more.
const LARGE_PIECES: usize = 2;

/// The event queue in an SQLite database, with one consumer. Clones share it.
#[derive(Clone)]
pub struct EventQueue {
    database: Database,
    waiting: Arc<Mutex<Waiting>>,
    sent: Arc<Notify>,
    /// The last message that was there at the start. Later ones without delay are in memory from their commit on.
    last_at_start: i64,
    large_pieces: Arc<Semaphore>,
}

impl EventQueue {
    /// The queue in this database. What waits in it is loaded later, little by little.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn open(database: Database, limits: WaitingLimits) -> Result<Self, StoreError> {
        let read = move |connection: &Connection| -> rusqlite::Result<(i64, Waiting)> {
            let last = "SELECT coalesce(max(id), 0) FROM messages";
            let last = connection.query_row(last, [], |row| row.get(0))?;
            let mut waiting = Waiting::new(limits);
            let mut services = connection.prepare(
                "SELECT service, min(due_at), count(*) FILTER (WHERE due_at = ?2), min(id) FILTER (WHERE due_at = ?2)
                 FROM messages WHERE lane = ?1 GROUP BY service",
            )?;
            let mut first = connection.prepare("SELECT id, body FROM messages WHERE id = ?1")?;
            let mut services = services.query([LANE, AT_ONCE])?;
            while let Some(row) = services.next()? {
                let scope: Option<Key<ServiceSid>> = row.get(0)?;
                waiting.find(scope.map(|Key(service)| service), row.get(1)?, row.get(2)?);
                let mut first = first.query([row.get::<_, Option<i64>>(3)?])?;
                if let Some(first) = first.next()?
                    && let Ok(message) = PresenceMessage::parse(first.get_ref(1)?.as_str()?.as_bytes())
                {
                    waiting.found(first.get(0)?, &message);
                }
            }
            Ok((last, waiting))
        };
        let (last_at_start, waiting) = database.read(move |connection| read(connection).map_err(unavailable)).await?;
        Ok(Self {
            database,
            waiting: Arc::new(Mutex::new(waiting)),
            sent: Arc::default(),
            last_at_start,
            large_pieces: Arc::new(Semaphore::new(LARGE_PIECES)),
        })
    }

    /// Takes due messages to handle. Services take turns, and within a service its users. What is taken does not come again
    /// before it is acknowledged.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn take(&self, now: Timestamp, at_most: usize) -> Result<Vec<Taken>, StoreError> {
        let loads = lock(&self.waiting).loads(now);
        if !loads.is_empty() {
            let (last_at_start, to_load) = (self.last_at_start, loads.clone());
            let read = move |connection: &Connection| {
                let loaded = to_load.into_iter().map(|load| read(connection, load, now, last_at_start));
                loaded.collect::<rusqlite::Result<Vec<Loaded>>>().map_err(unavailable)
            };
            match self.database.read(read).await {
                Ok(loaded) => loaded.into_iter().for_each(|loaded| lock(&self.waiting).load(loaded)),
                Err(error) => {
                    lock(&self.waiting).postpone(&loads);
                    return Err(error);
                }
            }
        }
        Ok(lock(&self.waiting).take(at_most, self.last_at_start))
    }

    /// When a delayed message will be due; `None` if there is none.
    pub fn next_due(&self) -> Option<Timestamp> {
        lock(&self.waiting).next_due()
    }

    /// Looks again when messages are due: they may be due sooner, or the time of day may be another one.
    pub fn look_again(&self) {
        lock(&self.waiting).look_again();
        self.sent.notify_one();
    }

    /// Since when the event waits that is not handled yet and waits the longest; `None` if none waits. For what waited before
    /// the start, that is when it happened.
    pub fn oldest_event(&self) -> Option<Timestamp> {
        lock(&self.waiting).oldest_event()
    }

    /// How many events wait, without those that are tried again later.
    pub(super) fn waiting_events(&self) -> usize {
        lock(&self.waiting).events()
    }

    /// Waits until a message was sent since the last wait.
    pub async fn sent(&self) {
        self.sent.notified().await;
    }

    /// Acknowledges messages that were taken, as handled unless the outcome says otherwise.
    ///
    /// # Errors
    /// If the database fails; then nothing has changed.
    pub async fn acknowledge(&self, taken: &[Receipt], outcome: Outcome, now: Timestamp) -> Result<(), StoreError> {
        let retry: BTreeMap<i64, Timestamp> = outcome.retry.iter().copied().collect();
        let write = move |connection: &Connection| outcome.write(connection, now).map_err(unavailable);
        // What is lost here is handled again, with what came of it: the joins are lost with it.
        self.database.write_unflushed(write).await?;
        let mut waiting = lock(&self.waiting);
        taken.iter().for_each(|receipt| waiting.settle(receipt, retry.get(&receipt.id).copied()));
        Ok(())
    }

    /// Puts some dead letters that are to be retried back into the queue. Returns how many there were.
    ///
    /// # Errors
    /// If the database fails; then nothing has changed.
    pub async fn retry_dead_letters(&self, now: Timestamp) -> Result<usize, StoreError> {
        if !self.database.has_retries(QueueName::Events)? {
            return Ok(0);
        }
        // As if they had been delayed until now: so they are loaded little by little, however many there are.
        let due_at = now.as_millis().max(AT_ONCE + 1);
        let write = move |connection: &Connection| -> rusqlite::Result<(usize, BTreeSet<Scope>)> {
            let bodies = take_retries(connection, QueueName::Events, 0, |body| Retry::Now(body.to_owned()))?.0;
            // If the user has another timer by now, that one will do.
            let sql =
                "INSERT OR IGNORE INTO messages (lane, due_at, service, timer_of, body) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut insert = connection.prepare_cached(sql)?;
            let mut scopes = BTreeSet::new();
            for body in &bodies {
                let message = PresenceMessage::parse(body.as_bytes()).ok();
                let service = message.as_ref().and_then(Message::service);
                insert.execute(params![LANE, due_at, service.map(Key), message.as_ref().and_then(timer_of), body])?;
                scopes.insert(service);
            }
            Ok((bodies.len(), scopes))
        };
        let (waiting, sent) = (self.waiting.clone(), self.sent.clone());
        let then = move |(retried, scopes): (usize, BTreeSet<Scope>)| {
            lock(&waiting).add_delayed(scopes, due_at);
            sent.notify_one();
            retried
        };
        // If it is lost, they are dead letters as before.
        let write = move |connection: &Connection| write(connection).map_err(unavailable);
        self.database.write_then(Terms::DERIVED, write, then).await
    }

    /// Stores messages, and then puts them into memory.
    async fn store(
        &self,
        messages: &[PresenceMessage],
        admitted: Admitted,
        owes_flush: bool,
    ) -> Result<(), StoreError> {
        let mut turn = None;
        if messages.len() > SMALL_PIECE {
            let acquired = self.large_pieces.clone().acquire_owned().await;
            turn = Some(acquired.map_err(|error| StoreError::Unavailable(error.into()))?);
        }
        let rows: Vec<NewRow> = messages.iter().map(NewRow::of).collect();
        let terms = Terms { owes_flush, bytes: rows.iter().map(|row| row.body.len()).sum() };
        let write = move |connection: &Connection| -> rusqlite::Result<Vec<Option<(i64, i64)>>> {
            // The turn ends with the write, also if its caller is gone.
            let _turn = turn;
            rows.iter().map(|row| Ok(row.insert(connection)?.map(|id| (id, row.due_at)))).collect()
        };
        let (messages, sent) = (messages.to_vec(), self.sent.clone());
        let then = move |stored: Vec<Option<(i64, i64)>>| {
            let now = clock::now();
            admitted.keep(|waiting| {
                for (stored, message) in stored.into_iter().zip(messages) {
                    let Some((id, due_at)) = stored else { continue };
                    waiting.add(id, due_at, message, now);
                }
            });
            sent.notify_one();
        };
        self.database.write_then(terms, |connection| write(connection).map_err(unavailable), then).await
    }
}

#[async_trait]
impl Queue<PresenceMessage> for EventQueue {
    /// Events survive a power cut when it returns. Timers need not: what they are derived from is lost with them.
    async fn send(&self, messages: &[PresenceMessage]) -> Result<(), QueueError> {
        let mut admitted = Admitted::new(&self.waiting, messages)?;
        let owes_flush = !admitted.events.is_empty();
        let mut pieces = messages.chunks(PIECE).peekable();
        while let Some(piece) = pieces.next() {
            let part = admitted.split(piece);
            // The last flush covers all before it.
            let stored = self.store(piece, part, owes_flush && pieces.peek().is_none()).await;
            stored.map_err(|error| QueueError::Unavailable(Box::new(error)))?;
        }
        Ok(())
    }

    fn room(&self, service: ServiceSid) -> Result<(), Full> {
        lock(&self.waiting).room(Some(service))
    }
}

/// The identity of the user whose timer a message is; `None` if it is none.
pub(super) fn timer_of(message: &PresenceMessage) -> Option<&str> {
    match message {
        PresenceMessage::Check(check) => Some(check.user.identity.as_str()),
        PresenceMessage::Event(_) | PresenceMessage::Purge(_) => None,
    }
}

/// A message that is to be stored.
struct NewRow {
    due_at: i64,
    service: Option<Key<ServiceSid>>,
    timer_of: Option<String>,
    body: String,
}

impl NewRow {
    fn of(message: &PresenceMessage) -> Self {
        Self {
            due_at: message.due_at().map_or(AT_ONCE, |due_at| due_at.as_millis().max(AT_ONCE)),
            service: message.service().map(Key),
            timer_of: timer_of(message).map(str::to_owned),
            body: message.to_json(),
        }
    }

    /// Returns the id of the new row; `None` if there is none, since the message is a timer, and the user has another one by
    /// now. A timer replaces an earlier one of its user. It has a new id all the same, since that one may be under way.
    fn insert(&self, connection: &Connection) -> rusqlite::Result<Option<i64>> {
        let Self { due_at, service, timer_of, body } = self;
        let sql = if timer_of.is_none() {
            "INSERT INTO messages (lane, due_at, service, timer_of, body) VALUES (?1, ?2, ?3, ?4, ?5)"
        } else {
            "INSERT OR REPLACE INTO messages (lane, due_at, service, timer_of, body)
             SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS
             (SELECT 1 FROM states WHERE service = ?3 AND identity = ?4 AND next_timer IS NOT ?2)"
        };
        let mut insert = connection.prepare_cached(sql)?;
        let inserted = insert.execute(params![LANE, due_at, service, timer_of, body])?;
        Ok((inserted > 0).then(|| connection.last_insert_rowid()))
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Events that count as waiting. If they are not stored, they count no longer.
struct Admitted {
    waiting: Arc<Mutex<Waiting>>,
    events: BTreeMap<Scope, usize>,
}

impl Admitted {
    fn new(waiting: &Arc<Mutex<Waiting>>, messages: &[PresenceMessage]) -> Result<Self, Full> {
        let events = events(messages);
        lock(waiting).admit(&events)?;
        Ok(Self { waiting: waiting.clone(), events })
    }

    /// The part for some of the messages.
    fn split(&mut self, messages: &[PresenceMessage]) -> Self {
        let part = events(messages);
        for (scope, events) in &part {
            if let Some(all) = self.events.get_mut(scope) {
                *all -= events;
            }
        }
        Self { waiting: self.waiting.clone(), events: part }
    }

    /// The events are stored.
    fn keep(mut self, store: impl FnOnce(&mut Waiting)) {
        self.events.clear();
        store(&mut lock(&self.waiting));
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        lock(&self.waiting).dismiss(&self.events);
    }
}

/// How many events of each service are among these messages.
fn events(messages: &[PresenceMessage]) -> BTreeMap<Scope, usize> {
    let mut events = BTreeMap::new();
    for message in messages.iter().filter(|message| matches!(message, PresenceMessage::Event(_))) {
        *events.entry(message.service()).or_default() += 1;
    }
    events
}
