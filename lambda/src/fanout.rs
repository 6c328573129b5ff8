//! From the table's stream to those who subscribed to changes: a message on the topic for each, and a line in the log.
//!
//! What is told is what the stored records say, before and after a write, never the event that was meant to cause it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::service::Service;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::ports::Store;
use reachability_domain::presence::change::{Change, Switch};
use reachability_domain::push::message::{Announce, PushMessage, Span};
use reachability_domain::queue::{Message, Queue, QueueError};
use reachability_domain::sid::{ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use reachability_infra::dynamodb::{StateError, StoredState, services, user_of_state};
use reachability_infra::metrics::Metrics;
use reachability_infra::sns::Topic;
use serde::{Deserialize, Serialize};
use serde_dynamo::{AttributeValue, Item};
use tracing::{error, info, warn};

/// Tells of changes.
pub struct Fanout {
    /// Where the services' configurations lie.
    pub store: Arc<dyn Store>,
    /// Where it is said what else there is to tell.
    pub queue: Arc<dyn Queue>,
    /// Who is told.
    pub topic: Topic,
    /// What was told.
    pub metrics: Arc<Metrics>,
}

/// A batch of a table's stream.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// What was written, in the order of writing as far as one item is concerned.
    #[serde(rename = "Records")]
    pub records: Vec<Record>,
}

/// A write.
#[derive(Debug, Deserialize)]
pub struct Record {
    /// Of which item, and how that was before and after it.
    pub dynamodb: Images,
}

/// An item before and after a write.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Images {
    /// Its primary key.
    pub keys: Item,
    /// `None` if it was not there.
    pub old_image: Option<Item>,
    /// `None` if it is not there any more.
    pub new_image: Option<Item>,
    /// Names the record in the answer.
    pub sequence_number: String,
}

/// From which record on the batch is to be delivered again.
#[derive(Debug, Default, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    /// That record. None: all were handled.
    pub batch_item_failures: Vec<ItemFailure>,
}

/// A record that was not handled.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    /// Its sequence number.
    pub item_identifier: String,
}

/// What there is to tell.
enum Notice {
    Change(Change, Option<UserSid>),
    Switch(Switch),
}

impl Fanout {
    /// Tells of what changed. A change may be told twice, and never is one lost.
    pub async fn handle(&self, batch: &Batch) -> BatchResponse {
        let (notices, mut failed) = self.notices(batch).await;
        let messages: Vec<_> = notices.iter().map(|(_, notice)| notice.to_json()).collect();
        if let Err(error) = self.topic.publish(&messages).await {
            warn!(error = %ErrorChain(&error), "changes will be told again");
            let first = error.indices.iter().filter_map(|index| notices.get(*index)).map(|(place, _)| *place).min();
            failed = [failed, first].into_iter().flatten().min();
        }
        let told = notices.iter().filter(|(place, _)| failed.is_none_or(|failed| *place < failed));
        if let Err((place, error)) = self.announce(told).await {
            warn!(error = %ErrorChain(&error), "changes will be told again");
            failed = Some(place);
        }
        // From the first one that failed on everything comes again.
        for (_, notice) in notices.iter().filter(|(place, _)| failed.is_none_or(|failed| *place < failed)) {
            notice.log();
            if let Notice::Change(change, _) = notice {
                self.metrics.count_change(change);
            }
        }
        let failure =
            |place: usize| ItemFailure { item_identifier: batch.records[place].dynamodb.sequence_number.clone() };
        BatchResponse { batch_item_failures: failed.map(failure).into_iter().collect() }
    }

    /// Where reachability was switched on, has the registrations told of that there are already. If that fails, from which
    /// place on, and why.
    async fn announce(&self, notices: impl Iterator<Item = &(usize, Notice)>) -> Result<(), (usize, QueueError)> {
        for (place, notice) in notices {
            if let Notice::Switch(switch) = notice
                && switch.reachability_enabled
            {
                let Switch { service_sid, generation, .. } = *switch;
                let announce = Announce { service: service_sid, generation, span: Span::default() };
                self.queue.send(&[PushMessage::Announce(announce)]).await.map_err(|error| (*place, error))?;
            }
        }
        Ok(())
    }

    /// What a batch has to tell, each with its place in it; and the place from which on it could not be found out.
    async fn notices(&self, batch: &Batch) -> (Vec<(usize, Notice)>, Option<usize>) {
        let mut notices = Vec::new();
        // Read for every batch: an old one would hide who came online first in a new generation.
        let mut configurations: HashMap<ServiceSid, Option<Configuration>> = HashMap::new();
        for (place, record) in batch.records.iter().enumerate() {
            match self.notice(&record.dynamodb, &mut configurations).await {
                Ok(notice) => notices.extend(notice.map(|notice| (place, notice))),
                Err(error @ StoreError::Corrupt(_)) => {
                    // It will not get better, and others wait behind it.
                    error!(error = %ErrorChain(&error), record = record.dynamodb.sequence_number, "a record was left out");
                }
                Err(error) => {
                    warn!(error = %ErrorChain(&error), "changes will be looked for again");
                    return (notices, Some(place));
                }
            }
        }
        (notices, None)
    }

    async fn notice(
        &self,
        images: &Images,
        configurations: &mut HashMap<ServiceSid, Option<Configuration>>,
    ) -> Result<Option<Notice>, StoreError> {
        let pk = match images.keys.get("pk") {
            Some(AttributeValue::S(pk)) => pk.as_str(),
            _ => return Ok(None),
        };
        if services::lie_at(pk) {
            let [before, after] = [&images.old_image, &images.new_image].map(|image| image.clone().map(services::read));
            let (before, after) = (before.transpose()?, after.transpose()?);
            return Ok(switch(before, after).map(Notice::Switch));
        }
        // A state that is removed had nothing more to tell: its user was deleted before, or its service was.
        let (Some(user), Some(after)) = (user_of_state(pk), &images.new_image) else { return Ok(None) };
        let configuration = match configurations.entry(user.service) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unread) => {
                let service = self.store.service(user.service).await?;
                *unread.insert(service.map(|service| service.configuration))
            }
        };
        // Of a service that was deleted.
        let Some(configuration) = configuration else { return Ok(None) };
        let read = |image: Item| StoredState::read(image.into_inner()).map_err(corrupt);
        let before = read(images.old_image.clone().unwrap_or_default())?;
        let after = read(after.clone())?;
        let sid = after.sid.or(before.sid);
        let change = Change::between(&user, &configuration, &before.state, &after.state);
        Ok(change.map(|change| Notice::Change(change, sid)))
    }
}

fn corrupt(error: StateError) -> StoreError {
    StoreError::Corrupt(error.into())
}

/// What was switched between two states of a service. One that is deleted is off.
fn switch(before: Option<Service>, after: Option<Service>) -> Option<Switch> {
    let sid = after.as_ref().or(before.as_ref())?.sid;
    let before = before.map(|service| service.configuration).unwrap_or_default();
    let after = after.map_or(Configuration { reachability_enabled: false, ..before }, |service| service.configuration);
    Switch::between(sid, &before, &after)
}

impl Notice {
    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Change(change, _) => change.to_json(),
            Self::Switch(switch) => switch.to_json(),
        }
    }

    /// Identities may be names of people, or their addresses: the log has sids.
    fn log(&self) {
        match self {
            Self::Change(change, sid) => info!(
                service.sid = %change.user.service,
                user.sid = sid.map(tracing::field::display),
                user.revision = change.revision,
                online.before = change.before.online,
                online.after = change.after.online,
                notifiable.before = change.before.notifiable,
                notifiable.after = change.after.notifiable,
                "a user's reachability changed"
            ),
            Self::Switch(switch) => info!(
                service.sid = %switch.service_sid,
                reachability_enabled = switch.reachability_enabled,
                generation = switch.generation.0,
                "a service's reachability was switched"
            ),
        }
    }
}
