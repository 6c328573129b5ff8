//! What waits in the queues, and how much is stored: for those who watch the server.

use std::time::Duration;

use reachability_domain::metrics::{Backlog, DeadLetters, Queued};
use reachability_domain::queue::Message;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::message::WebhookMessage;
use rusqlite::{Connection, OptionalExtension};

use super::database::{Database, unavailable};
use super::dead_letters::QueueName;
use super::events::EventQueue;
use super::queue::{AT_ONCE, PushQueue};
use super::webhooks::WebhookQueue;
use super::{events, queue};

/// What the tables say.
#[derive(Debug)]
struct Tables {
    /// When the timer was due that is overdue for longest.
    timer_due_at: Option<i64>,
    pushes: u64,
    timers: u64,
    /// The oldest push without delay.
    oldest_push: Option<i64>,
    /// When the first of the other pushes is due.
    push_due_at: Option<i64>,
    /// The body of the oldest webhook.
    oldest_webhook: Option<String>,
    dead_letters: DeadLetters,
}

impl Database {
    /// What waits at this time, and how much is stored. It reads a few rows, and counts the timers in their index, and
    /// the pushes and the dead letters, of which there are few as long as all is well.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn backlog(
        &self,
        (events, pushes, webhooks): (&EventQueue, &PushQueue, &WebhookQueue),
        now: Timestamp,
    ) -> Result<Backlog, StoreError> {
        let upkeep = self.upkeep.clone();
        let read = move |connection: &Connection| {
            let sizes = upkeep.sizes().map_err(|error| StoreError::Unavailable(error.into()))?;
            Ok((read(connection).map_err(unavailable)?, sizes))
        };
        let (tables, (database_bytes, log_bytes)) = self.read(read).await?;
        let age = |since: Option<Timestamp>| since.map_or(Duration::ZERO, |since| now.since(since));
        let due = |due_at: Option<i64>| due_at.map(Timestamp::from_millis);
        let since = tables.oldest_push.map(|id| pushes.since(id));
        let webhook = tables.oldest_webhook.and_then(|body| WebhookMessage::parse(body.as_bytes()).ok());
        Ok(Backlog {
            events: Queued { messages: events.waiting_events() as u64, oldest: age(events.oldest_event()) },
            timers: Queued { messages: tables.timers, oldest: age(due(tables.timer_due_at)) },
            pushes: Queued { messages: tables.pushes, oldest: age(since).max(age(due(tables.push_due_at))) },
            webhooks: Queued {
                messages: webhooks.messages() as u64,
                oldest: age(webhook.map(|message| message.queued_at)),
            },
            dead_letters: tables.dead_letters,
            database_bytes,
            log_bytes,
        })
    }
}

fn read(connection: &Connection) -> rusqlite::Result<Tables> {
    // The index has the messages of each service in the order in which they are due: one look for each service.
    let timers = "WITH RECURSIVE services (service) AS (
             SELECT min(service) FROM messages WHERE lane = ?1
             UNION ALL
             SELECT (SELECT min(service) FROM messages WHERE lane = ?1 AND service > services.service)
             FROM services WHERE service IS NOT NULL
         )
         SELECT min((SELECT min(due_at) FROM messages
                     WHERE lane = ?1 AND messages.service IS services.service AND due_at > ?2)) FROM services";
    let count = "SELECT count(*) FROM messages WHERE timer_of IS NOT NULL";
    let pushes = "SELECT count(*) FROM messages WHERE lane = ?1";
    let at_once = "SELECT id FROM messages WHERE lane = ?1 AND service IS NULL AND due_at = ?2 ORDER BY id LIMIT 1";
    let delayed = "SELECT min(due_at) FROM messages WHERE lane = ?1 AND service IS NULL AND due_at > ?2";
    let webhook = "SELECT body FROM webhooks ORDER BY id LIMIT 1";
    let mut dead_letters = DeadLetters::default();
    let mut by_queue = connection.prepare_cached("SELECT queue, count(*) FROM dead_letters GROUP BY queue")?;
    let mut by_queue = by_queue.query([])?;
    while let Some(row) = by_queue.next()? {
        let letters = row.get(1)?;
        match row.get(0)? {
            QueueName::Events => dead_letters.events = letters,
            QueueName::Pushes => dead_letters.pushes = letters,
            QueueName::Webhooks => dead_letters.webhooks = letters,
        }
    }
    let number = |sql, lane| connection.prepare_cached(sql)?.query_row([lane, AT_ONCE], |row| row.get(0));
    Ok(Tables {
        timers: connection.prepare_cached(count)?.query_row([], |row| row.get(0))?,
        timer_due_at: number(timers, events::LANE)?,
        pushes: connection.prepare_cached(pushes)?.query_row([queue::LANE], |row| row.get(0))?,
        oldest_push: connection
            .prepare_cached(at_once)?
            .query_row([queue::LANE, AT_ONCE], |row| row.get(0))
            .optional()?,
        push_due_at: number(delayed, queue::LANE)?,
        oldest_webhook: connection.prepare_cached(webhook)?.query_row([], |row| row.get(0)).optional()?,
        dead_letters,
    })
}
