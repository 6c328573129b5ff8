//! The webhook queue: webhooks are rows of a table until they are delivered or given up. Of each user only the first is
//! due, so they are delivered in order. Services take turns, so that a receiver who is slow or gone delays no other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::queue::{Message, Queue, QueueError};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::message::WebhookMessage;
use rusqlite::{Connection, params};
use tokio::sync::Notify;
use tracing::warn;

use super::database::{Database, unavailable};
use super::dead_letters::QueueName;
use super::queue::AT_ONCE;
use super::rows::{Key, execute, find};
use super::webhook_retries::Pass;
use super::webhook_turns::{Plan, Turns};
use super::writer::Terms;

/// How many webhooks of one service wait at most. Of more, the oldest are dropped.
pub const MAX_WAITING_WEBHOOKS: usize = 100_000;

/// At how many pieces of dead letters one call looks, if there is no room for those in the first ones.
const PIECES_AT_ONCE: usize = 20;

/// A webhook that was taken to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenWebhook {
    /// Its id in the queue, never reused.
    pub id: i64,
    /// The service.
    pub service: ServiceSid,
    /// The user's identity.
    pub identity: String,
    /// How often it was tried before.
    pub attempts: u32,
    /// The message.
    pub body: String,
}

/// What came of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It was delivered, or nobody wants it.
    Done,
    /// An attempt failed; the next one is at this time.
    RetryAt(Timestamp),
    /// It was not tried, and no webhook of its service is until this time or a few seconds later, whichever is earlier, or
    /// until one that was under way is settled.
    HeldUntil(Timestamp),
    /// It is given up, for this reason.
    Dead(String),
}

/// The webhook queue in an SQLite database, with one consumer. Clones share it.
#[derive(Clone)]
pub struct WebhookQueue {
    database: Database,
    turns: Arc<Mutex<Turns>>,
    sent: Arc<Notify>,
    /// Held while webhooks are taken, and while others are sent. What is dropped since too many wait was not taken meanwhile.
    one_at_once: Arc<tokio::sync::Mutex<()>>,
    max_waiting: usize,
    retries: Arc<Mutex<Pass>>,
    metrics: Arc<dyn Metrics>,
}

/// What a write of webhooks has changed, by service.
#[derive(Debug, Default)]
struct Written {
    added: usize,
    dropped: usize,
    has_due: bool,
}

impl WebhookQueue {
    /// The queue in this database, in which so many webhooks of one service wait at most.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn open(database: Database, max_waiting: usize, metrics: Arc<dyn Metrics>) -> Result<Self, StoreError> {
        let read = |connection: &Connection| -> rusqlite::Result<Turns> {
            let mut turns = Turns::default();
            let mut services = connection.prepare("SELECT service, count(*) FROM webhooks GROUP BY service")?;
            let mut services = services.query([])?;
            while let Some(row) = services.next()? {
                let Key(service) = row.get(0)?;
                turns.added(service, row.get(1)?);
                turns.is_due(service, AT_ONCE);
            }
            Ok(turns)
        };
        let turns = database.read(move |connection| read(connection).map_err(unavailable)).await?;
        let (turns, sent, one_at_once) = (Arc::new(Mutex::new(turns)), Arc::default(), Arc::default());
        Ok(Self { database, turns, sent, one_at_once, max_waiting, retries: Arc::default(), metrics })
    }

    /// Takes due webhooks to deliver, as many as there is room for. What is taken does not come again until it is settled.
    ///
    /// # Errors
    /// If the database fails; then nothing was taken.
    pub async fn take(&self, now: Timestamp) -> Result<Vec<TakenWebhook>, StoreError> {
        let _turn = self.one_at_once.lock().await;
        let plans = lock(&self.turns).plan(now);
        if plans.is_empty() {
            return Ok(vec![]);
        }
        let services: Vec<ServiceSid> = plans.iter().map(|plan| plan.service).collect();
        let read = self.database.read(move |connection| {
            plans.iter().map(|plan| due(connection, plan, now).map_err(unavailable)).collect::<Result<Vec<_>, _>>()
        });
        let found = match read.await {
            Ok(found) => found,
            Err(error) => {
                let mut turns = lock(&self.turns);
                services.into_iter().for_each(|service| turns.is_due(service, AT_ONCE));
                return Err(error);
            }
        };
        let mut turns = lock(&self.turns);
        let mut all = Vec::new();
        for (service, (taken, next_due)) in services.into_iter().zip(found) {
            turns.taken(service, taken.iter().map(|webhook: &TakenWebhook| webhook.id));
            if let Some(next_due) = next_due {
                turns.is_due(service, next_due);
            }
            all.extend(taken);
        }
        Ok(all)
    }

    /// When there may be something to take, as far as there is room; `None` if not before something is sent or settled.
    pub fn next_due(&self) -> Option<Timestamp> {
        lock(&self.turns).next_due()
    }

    /// How many webhooks wait.
    pub(super) fn messages(&self) -> usize {
        lock(&self.turns).all()
    }

    /// Looks again when webhooks are due: they may be due sooner, or the time of day may be another one. No service is held
    /// back until a time of the old one.
    pub fn look_again(&self) {
        lock(&self.turns).look_again();
        self.sent.notify_one();
    }

    /// Waits until a webhook was sent since the last wait.
    pub async fn sent(&self) {
        self.sent.notified().await;
    }

    /// Waits until what was taken before survives a power cut: before it leaves the machine.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn flushed(&self) -> Result<(), StoreError> {
        self.database.flushed().await
    }

    /// Settles a webhook that was taken. Once it is done, the next one of the same user is due. That it is done survives a
    /// power cut before that one is sent: otherwise it would be sent again after it.
    ///
    /// # Errors
    /// If the database fails; then nothing has changed.
    pub async fn settle(&self, webhook: &TakenWebhook, settled: Settled, now: Timestamp) -> Result<(), StoreError> {
        let (id, service) = (webhook.id, webhook.service);
        let mut turns = match settled {
            Settled::Done | Settled::Dead(_) => {
                let identity = webhook.identity.clone();
                let write = move |connection: &Connection| {
                    if let Settled::Dead(reason) = &settled {
                        execute(
                            connection,
                            "INSERT INTO dead_letters (queue, died_at, reason, body)
                             SELECT ?4, ?2, ?3, body FROM webhooks WHERE id = ?1",
                            params![id, now.as_millis(), reason, QueueName::Webhooks],
                        )?;
                    }
                    let gone = execute(connection, "DELETE FROM webhooks WHERE id = ?1", [id])?;
                    Ok((gone, promote(connection, service, &identity)?))
                };
                let (gone, is_next_due) = self.database.write(write).await?;
                let mut turns = lock(&self.turns);
                turns.removed(service, gone);
                if is_next_due {
                    turns.is_due(service, AT_ONCE);
                }
                turns.release(service);
                turns
            }
            Settled::RetryAt(at) => {
                let due_at = at.as_millis().max(AT_ONCE + 1);
                let write = move |connection: &Connection| {
                    let wait = "UPDATE webhooks SET attempts = attempts + 1, due_at = ?2 WHERE id = ?1";
                    execute(connection, wait, [id, due_at])
                };
                self.database.write_unflushed(write).await?;
                let mut turns = lock(&self.turns);
                turns.is_due(service, due_at);
                turns.release(service);
                turns
            }
            Settled::HeldUntil(until) => {
                let mut turns = lock(&self.turns);
                turns.is_due(service, AT_ONCE);
                turns.hold(service, until, now);
                turns
            }
        };
        turns.settled(service, id);
        Ok(())
    }

    /// Puts some dead letters that are to be retried back into the queue: behind what waits of their users, and of a service
    /// only while the queue is less than half full. The others wait. Returns how many it has put back. One that is no
    /// webhook, for whatever reason, stays a dead letter.
    ///
    /// # Errors
    /// If the database fails; then nothing has changed.
    pub async fn retry_dead_letters(&self) -> Result<usize, StoreError> {
        if !self.database.has_retries(QueueName::Webhooks)? {
            return Ok(0);
        }
        for _ in 0..PIECES_AT_ONCE {
            let retried = self.retry_piece().await.inspect_err(|_| *lock(&self.retries) = Pass::default())?;
            if retried > 0 || lock(&self.retries).is_over() {
                return Ok(retried);
            }
        }
        Ok(0)
    }

    /// Looks at the next piece of the dead letters that are to be retried.
    async fn retry_piece(&self) -> Result<usize, StoreError> {
        // The other half is for new webhooks: they would drop the oldest, which were never tried.
        let (retries, turns, at_most) = (self.retries.clone(), self.turns.clone(), self.max_waiting / 2);
        let rows = move |connection: &Connection| {
            let room = |service| at_most.saturating_sub(lock(&turns).waiting(service).0);
            lock(&retries).take(connection, room).map_err(unavailable)
        };
        // If it is lost, they are dead letters as before.
        self.store(Terms::DERIVED, rows).await
    }

    /// Stores the webhooks that this write finds, and drops the oldest if too many wait. Returns how many were added.
    async fn store(
        &self,
        terms: Terms,
        rows: impl FnOnce(&Connection) -> Result<Vec<Row>, StoreError> + Send + 'static,
    ) -> Result<usize, StoreError> {
        let (turns, max_waiting) = (self.turns.clone(), self.max_waiting);
        let write = move |connection: &Connection| {
            let mut written = add(connection, &rows(connection)?)?;
            for (service, of_service) in &mut written {
                let (waiting, under_way) = lock(&turns).waiting(*service);
                let excess = (waiting + of_service.added).saturating_sub(max_waiting);
                if excess > 0 {
                    of_service.dropped = drop_oldest(connection, *service, excess, &under_way)?;
                    of_service.has_due = true;
                }
            }
            Ok(written)
        };
        let turns = self.turns.clone();
        let then = move |written: BTreeMap<ServiceSid, Written>| {
            let mut turns = lock(&turns);
            for (service, of_service) in &written {
                turns.added(*service, of_service.added);
                turns.removed(*service, of_service.dropped);
                if of_service.has_due {
                    turns.is_due(*service, AT_ONCE);
                }
            }
            written
        };
        let _turn = self.one_at_once.lock().await;
        let written = self.database.write_then(terms, write, then).await?;
        let added = written.values().map(|written| written.added).sum();
        for (service, Written { dropped, .. }) in written.into_iter().filter(|(_, written)| written.dropped > 0) {
            (0..dropped).for_each(|_| self.metrics.add(Counter::WebhooksDropped));
            warn!(service.sid = %service, dropped, "too many webhooks of a service wait, and the oldest were dropped");
        }
        self.sent.notify_one();
        Ok(added)
    }
}

/// Reads the due webhooks of a service that are not under way. Those that were tried before are at most one half, so that
/// neither they nor the others starve. Returns them with the time when others are due; `None` if there are none.
fn due(connection: &Connection, plan: &Plan, now: Timestamp) -> rusqlite::Result<(Vec<TakenWebhook>, Option<i64>)> {
    let mut select = connection.prepare_cached(
        "SELECT id, identity, attempts, body FROM webhooks INDEXED BY webhooks_by_due
         WHERE service = ?1 AND due_at BETWEEN ?2 AND ?3 ORDER BY due_at, id LIMIT ?4",
    )?;
    let mut read = |from: i64, to: i64, at_most: usize| -> rusqlite::Result<Vec<TakenWebhook>> {
        // What is under way may be among them.
        let limit = i64::try_from(at_most + plan.under_way.len()).unwrap_or(i64::MAX);
        let rows = select.query_map(params![Key(plan.service), from, to, limit], |row| taken(plan.service, row))?;
        rows.filter(|row| is_new(plan, row)).take(at_most).collect()
    };
    if plan.is_trial
        && let Some(newest) = newest(connection, plan)?
    {
        return Ok((vec![newest], Some(AT_ONCE)));
    }
    let mut found = read(AT_ONCE + 1, now.as_millis(), plan.room.div_ceil(2))?;
    found.extend(read(AT_ONCE, AT_ONCE, plan.room - found.len())?);
    if found.len() < plan.room {
        let more = read(AT_ONCE + 1, now.as_millis(), plan.room)?;
        let new = more.into_iter().filter(|it| found.iter().all(|known| known.id != it.id));
        let new: Vec<TakenWebhook> = new.take(plan.room - found.len()).collect();
        found.extend(new);
    }
    if found.len() == plan.room {
        return Ok((found, Some(AT_ONCE)));
    }
    let next_due = connection
        .prepare_cached(
            "SELECT min(due_at) FROM webhooks INDEXED BY webhooks_by_due WHERE service = ?1 AND due_at > ?2",
        )?
        .query_row(params![Key(plan.service), now.as_millis()], |row| row.get(0))?;
    Ok((found, next_due))
}

/// The newest webhook of a service that was never tried. A receiver may fail for some users only: if the oldest were tried
/// whenever the receiver is tried again, it could be one of theirs each time, and it would seem to be gone for all.
fn newest(connection: &Connection, plan: &Plan) -> rusqlite::Result<Option<TakenWebhook>> {
    let mut select = connection.prepare_cached(
        "SELECT id, identity, attempts, body FROM webhooks INDEXED BY webhooks_by_due
         WHERE service = ?1 AND due_at = ?2 ORDER BY id DESC LIMIT ?3",
    )?;
    let limit = i64::try_from(1 + plan.under_way.len()).unwrap_or(i64::MAX);
    let mut rows = select.query_map(params![Key(plan.service), AT_ONCE, limit], |row| taken(plan.service, row))?;
    rows.find(|row| is_new(plan, row)).transpose()
}

/// A webhook from a row with its id, identity, attempts and body.
fn taken(service: ServiceSid, row: &rusqlite::Row<'_>) -> rusqlite::Result<TakenWebhook> {
    let (id, identity, attempts, body) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
    Ok(TakenWebhook { id, service, identity, attempts, body })
}

/// Whether a webhook is not under way.
fn is_new(plan: &Plan, row: &rusqlite::Result<TakenWebhook>) -> bool {
    !row.as_ref().is_ok_and(|webhook| plan.under_way.contains(&webhook.id))
}

/// Makes the first webhook of a user due, unless it is. Returns whether it was not.
fn promote(connection: &Connection, service: ServiceSid, identity: &str) -> Result<bool, StoreError> {
    let promoted = execute(
        connection,
        "UPDATE webhooks SET due_at = ?3 WHERE due_at IS NULL AND id =
         (SELECT min(id) FROM webhooks INDEXED BY webhooks_by_user WHERE service = ?1 AND identity = ?2)",
        params![Key(service), identity, AT_ONCE],
    )?;
    Ok(promoted > 0)
}

/// Adds webhooks, except those of changes that come no later in the feed than what was added before: the feed tells them
/// again.
fn add(connection: &Connection, rows: &[Row]) -> Result<BTreeMap<ServiceSid, Written>, StoreError> {
    let known = "SELECT webhooks FROM feed_position";
    let known: i64 = find(connection, known, [], |row| row.get(0))?.unwrap_or_default();
    let mut written: BTreeMap<ServiceSid, Written> = BTreeMap::new();
    for Row { service, identity, body, position } in rows {
        if position.is_some_and(|position| position <= known) {
            continue;
        }
        let earlier = "SELECT 1 FROM webhooks WHERE service = ?1 AND identity = ?2 LIMIT 1";
        let is_first = find(connection, earlier, params![Key(*service), identity], |_| Ok(()))?.is_none();
        execute(
            connection,
            "INSERT INTO webhooks (service, identity, due_at, body) VALUES (?1, ?2, ?3, ?4)",
            params![Key(*service), identity, is_first.then_some(AT_ONCE), body],
        )?;
        let of_service = written.entry(*service).or_default();
        of_service.added += 1;
        of_service.has_due |= is_first;
    }
    if let Some(highest) = rows.iter().filter_map(|row| row.position).max().filter(|highest| known < *highest) {
        execute(connection, "UPDATE feed_position SET webhooks = ?1", [highest])?;
    }
    Ok(written)
}

/// Drops the oldest webhooks of a service that are not under way. Returns how many.
fn drop_oldest(
    connection: &Connection,
    service: ServiceSid,
    at_most: usize,
    under_way: &[i64],
) -> Result<usize, StoreError> {
    let limit = i64::try_from(at_most + under_way.len()).unwrap_or(i64::MAX);
    let oldest: Vec<(i64, String)> = connection
        .prepare_cached(
            "SELECT id, identity FROM webhooks INDEXED BY webhooks_by_service WHERE service = ?1 ORDER BY id LIMIT ?2",
        )
        .and_then(|mut select| {
            let rows = select.query_map(params![Key(service), limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
        .map_err(unavailable)?;
    let oldest = oldest.into_iter().filter(|(id, _)| !under_way.contains(id)).take(at_most);
    let mut dropped = 0;
    for (id, identity) in oldest {
        dropped += execute(connection, "DELETE FROM webhooks WHERE id = ?1", [id])?;
        promote(connection, service, &identity)?;
    }
    Ok(dropped)
}

/// A webhook to add.
pub(super) struct Row {
    pub(super) service: ServiceSid,
    pub(super) identity: String,
    pub(super) body: String,
    /// The position of its change in the feed; `None` if it was taken from there before.
    pub(super) position: Option<i64>,
}

#[async_trait]
impl Queue<WebhookMessage> for WebhookQueue {
    /// When it returns, they survive the end of the process. A power cut may take them back, with the acknowledgement of the
    /// changes that they tell.
    async fn send(&self, messages: &[WebhookMessage]) -> Result<(), QueueError> {
        let row = |message: &WebhookMessage| Row {
            service: message.user.service,
            identity: message.user.identity.to_string(),
            body: message.to_json(),
            position: message.position,
        };
        let rows: Vec<Row> = messages.iter().map(row).collect();
        let terms = Terms { owes_flush: false, bytes: rows.iter().map(|row| row.body.len()).sum() };
        let stored = self.store(terms, move |_| Ok(rows)).await;
        stored.map(drop).map_err(|error| QueueError::Unavailable(Box::new(error)))
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds the lock.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
