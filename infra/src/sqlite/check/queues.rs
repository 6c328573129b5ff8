//! The queues and the feed: what waits can be read, and is where it is looked for.

use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::push::message::PushMessage;
use reachability_domain::queue::Message;
use reachability_domain::sid::ServiceSid;
use reachability_domain::webhook::message::WebhookMessage;

use super::{Check, Table, unless, unreadable};
use crate::sqlite::dead_letters::QueueName;
use crate::sqlite::events::timer_of;
use crate::sqlite::feed::feed_row;
use crate::sqlite::rows::Key;

impl Check<'_> {
    /// Events, timers and pushes; and the queues of dead letters, which may be in any form.
    pub(super) fn messages(&mut self) {
        let select = "SELECT id, lane, service, body, timer_of FROM messages";
        self.each(&Table::new("messages", &[""]), select, |row, checked| {
            let (queue, service): (QueueName, Option<Key<ServiceSid>>) = (row.get(1)?, row.get(2)?);
            let body = row.get_ref(3)?.as_bytes()?;
            let problem = match queue {
                QueueName::Events => match PresenceMessage::parse(body) {
                    Ok(message) => {
                        let is_event = matches!(message, PresenceMessage::Event(_));
                        *(if is_event { &mut checked.events } else { &mut checked.timers }) += 1;
                        // Timers of which an index knows the user, so that each has one.
                        let of = row.get_ref(4)?.as_str_or_null()?;
                        unless(message.service() == service.map(|Key(sid)| sid), "it is of another service")
                            .or_else(|| unless(timer_of(&message) == of, "it is no timer of that user"))
                    }
                    Err(error) => Some(unreadable(&error)),
                },
                QueueName::Pushes => {
                    checked.pushes += 1;
                    PushMessage::parse(body).err().map(|error| unreadable(&error))
                }
                QueueName::Webhooks => Some("webhooks are in a table of their own".to_owned()),
            };
            Ok(problem.into_iter().collect())
        });
        self.each(&Table::new("dead_letters", &[""]), "SELECT id, queue FROM dead_letters", |row, checked| {
            checked.dead_letters += 1;
            row.get::<_, QueueName>(1).map(|_| vec![])
        });
    }

    /// Of each user the first one is due, and no other.
    pub(super) fn webhooks(&mut self) {
        let select = "SELECT id, service, identity, due_at IS NOT NULL, body FROM webhooks
            ORDER BY service, identity, id";
        let mut previous: Option<(ServiceSid, String)> = None;
        self.each(&Table::new("webhooks", &[""]), select, |row, checked| {
            checked.webhooks += 1;
            let (Key(service), identity, is_due): (Key<ServiceSid>, String, bool) =
                (row.get(1)?, row.get(2)?, row.get(3)?);
            let message = match WebhookMessage::parse(row.get_ref(4)?.as_bytes()?) {
                Ok(WebhookMessage { user, .. }) => {
                    unless(user.service == service && user.identity.as_str() == identity, "it is of another user")
                }
                Err(error) => Some(unreadable(&error)),
            };
            let user = Some((service, identity));
            let order = (is_due == (user == previous)).then(|| match is_due {
                true => "it is due before an earlier one of its user".to_owned(),
                false => "it is the first one of its user, and never due".to_owned(),
            });
            previous = user;
            Ok(message.into_iter().chain(order).collect())
        });
    }

    pub(super) fn feed(&mut self) {
        let select = "SELECT id, notice, follow_ups, webhooks, report FROM feed";
        self.each(&Table::new("feed", &[""]), select, |row, _| {
            let row = feed_row(row)?;
            Ok(row.err().map(|error| unreadable(&error)).into_iter().collect())
        });
        self.each(&Table::new("feed_position", &[]), "SELECT count(*) FROM feed_position", |row, _| {
            let rows: u64 = row.get(0)?;
            Ok((rows != 1).then(|| format!("it has {rows} rows instead of one")).into_iter().collect())
        });
    }
}
