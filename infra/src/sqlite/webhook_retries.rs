//! Which dead letters go back into the webhook queue: as many of a service as there is room for. The others wait as dead
//! letters, so that no webhook is dropped for them.

use std::collections::{BTreeMap, BTreeSet};

use reachability_domain::queue::Message;
use reachability_domain::sid::ServiceSid;
use reachability_domain::webhook::message::WebhookMessage;
use rusqlite::Connection;

use super::dead_letters::{QueueName, Retry, take_retries};
use super::webhooks::Row;

/// A pass over the dead letters that are to be retried, in pieces.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// The last letter that was looked at.
    after: i64,
    /// Services for which there was no room: their later letters do not overtake those that were left.
    full: BTreeSet<ServiceSid>,
}

impl Pass {
    /// Whether all letters were looked at. Then it begins again.
    pub(super) fn is_over(&self) -> bool {
        self.after == 0
    }

    /// Takes those letters of the next piece for which there is room in the queue.
    pub(super) fn take(
        &mut self,
        connection: &Connection,
        room: impl Fn(ServiceSid) -> usize,
    ) -> rusqlite::Result<Vec<Row>> {
        let (after, full) = (self.after, &mut self.full);
        let mut left: BTreeMap<ServiceSid, usize> = BTreeMap::new();
        let retry = |body: &str| {
            let Ok(WebhookMessage { user, .. }) = WebhookMessage::parse(body.as_bytes()) else { return Retry::Never };
            let left = left.entry(user.service).or_insert_with(|| room(user.service));
            if *left == 0 || full.contains(&user.service) {
                full.insert(user.service);
                return Retry::Later;
            }
            *left -= 1;
            // Without the position of its change, up to which all were taken before.
            let (service, identity, body) = (user.service, user.identity.to_string(), body.to_owned());
            Retry::Now(Row { service, identity, body, position: None })
        };
        let (rows, last) = take_retries(connection, QueueName::Webhooks, after, retry)?;
        match last {
            Some(last) => self.after = last,
            None => *self = Self::default(),
        }
        Ok(rows)
    }
}
