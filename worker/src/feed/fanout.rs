//! Publishes changes, and has done what follows from them.
//!
//! What a write leads to is computed from the stored records before and after it ([`FeedEntry`]), never from the event that
//! caused the write.

use std::sync::Arc;

use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::User;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::identity::UserKey;
use reachability_domain::metrics::Metrics;
use reachability_domain::presence::change::Notice;
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::presence::sink::Sink;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::notification::Delivery;
use reachability_domain::push::report::Report;
use reachability_domain::queue::Queue;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use tracing::{info, warn};

use crate::directory::ServicesOfBatch;
use crate::webhook::WebhookOutbox;

/// Publishes changes.
#[derive(Clone)]
pub struct Fanout {
    /// The service store.
    pub services: Arc<dyn Services>,
    /// The push queue, for what follows from changes.
    pub pushes: Arc<dyn Queue<PushMessage>>,
    /// Where notices are published, besides the log.
    pub sinks: Vec<Arc<dyn Sink>>,
    /// Queues the webhooks that tell changes; `None` where there are none.
    pub webhooks: Option<WebhookOutbox>,
    /// Counts changes.
    pub metrics: Arc<dyn Metrics>,
}

/// A record before and after a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredWrite {
    /// A user's state.
    State {
        /// The user.
        user: UserKey,
        /// Before the write.
        before: Box<UserState>,
        /// After the write.
        after: Box<UserState>,
    },
    /// A user's profile, which was neither created nor deleted by the write: its state tells of that.
    Profile {
        /// Before the write.
        before: Box<User>,
        /// After the write.
        after: Box<User>,
    },
    /// A binding, which was neither created nor deleted by the write.
    Binding {
        /// Before the write.
        before: Box<Binding>,
        /// After the write.
        after: Box<Binding>,
    },
    /// The delivery of a notification, which was not created by the write.
    Delivery {
        /// Before the write.
        before: Box<Delivery>,
        /// After the write.
        after: Box<Delivery>,
    },
    /// A service, possibly created or deleted by the write.
    Service {
        /// Before the write; `None` if it did not exist.
        before: Option<Box<Service>>,
        /// After the write; `None` if it was deleted.
        after: Option<Box<Service>>,
    },
}

impl StoredWrite {
    /// The service whose configuration decides what the write leads to; `None` if none does.
    fn needs_service(&self) -> Option<ServiceSid> {
        match self {
            Self::State { user, before, after } => FeedEntry::is_possible(before, after).then_some(user.service),
            Self::Profile { after, .. } => Some(after.service_sid),
            // Who wants to be told of it is decided with the webhook.
            Self::Binding { .. } | Self::Delivery { .. } | Self::Service { .. } => None,
        }
    }
}

impl Fanout {
    /// Delivers what stored writes lead to, for a store that shows its writes and not what they lead to. Returns the index
    /// of the first write that must be handled again, with all later ones.
    pub async fn handle_writes(&self, writes: &[StoredWrite]) -> Option<usize> {
        let (mut places, mut entries) = (Vec::new(), Vec::new());
        let mut failed = None;
        // Read again for every batch: an old configuration would hide the first users who come online in a new
        // generation.
        let mut services = ServicesOfBatch::new(&*self.services);
        services.read(writes.iter().filter_map(StoredWrite::needs_service)).await;
        for (place, write) in writes.iter().enumerate() {
            match self.entry(write, &mut services).await {
                Ok(Some(entry)) => {
                    places.push(place);
                    entries.push(entry);
                }
                Ok(None) => {}
                Err(error) => {
                    warn!(error = %ErrorChain(&error), "a service could not be read; the changes will be read again");
                    failed = Some(place);
                    break;
                }
            }
        }
        let undelivered = self.deliver(&entries, &mut services).await.and_then(|index| places.get(index).copied());
        undelivered.or(failed)
    }

    /// Delivers entries of the feed, in their order: publishes the notices, and queues what follows and the webhooks. Returns
    /// the index of the first entry that must be handled again, with all later ones. An entry may be delivered twice, but is
    /// never lost.
    pub async fn handle(&self, entries: &[FeedEntry]) -> Option<usize> {
        self.deliver(entries, &mut ServicesOfBatch::new(&*self.services)).await
    }

    async fn deliver(&self, entries: &[FeedEntry], services: &mut ServicesOfBatch<'_>) -> Option<usize> {
        let notices = entries.iter().enumerate().filter_map(|(place, entry)| Some((place, entry.notice.clone()?)));
        let (places, notices): (Vec<usize>, Vec<Notice>) = notices.unzip();
        let mut failed: Option<usize> = None;
        for sink in &self.sinks {
            if let Err(error) = sink.tell(&notices).await {
                warn!(error = %ErrorChain(&error), "changes will be published again");
                let first = error.indices.iter().filter_map(|index| places.get(*index)).min();
                failed = [failed, first.copied()].into_iter().flatten().min();
            }
        }
        let follow_ups = entries[..failed.unwrap_or(entries.len())].iter().flat_map(|entry| &entry.follow_ups);
        let follow_ups: Vec<PushMessage> = follow_ups.cloned().collect();
        if !follow_ups.is_empty()
            && let Err(error) = self.pushes.send(&follow_ups).await
        {
            warn!(error = %ErrorChain(&error), "what follows from changes will be queued again");
            failed = entries.iter().position(|entry| !entry.follow_ups.is_empty());
        }
        let delivered = &entries[..failed.unwrap_or(entries.len())];
        if let Some(webhooks) = &self.webhooks
            && let Err(error) = webhooks.send(delivered, services).await
        {
            warn!(error = %ErrorChain(&error), "webhooks will be queued again");
            failed = delivered.iter().position(|entry| !entry.webhooks.is_empty()).or(failed);
        }
        let is_delivered = |place: usize| failed.is_none_or(|failed| place < failed);
        for (_, notice) in places.iter().zip(&notices).filter(|(place, _)| is_delivered(**place)) {
            log(notice);
            if let Notice::User(change) = notice {
                self.metrics.count_change(change);
            }
        }
        failed
    }

    /// What a write leads to; `None` if nothing.
    async fn entry(
        &self,
        write: &StoredWrite,
        services: &mut ServicesOfBatch<'_>,
    ) -> Result<Option<FeedEntry>, StoreError> {
        match write {
            StoredWrite::Service { before, after } => {
                return Ok(FeedEntry::of_service(before.as_deref(), after.as_deref()));
            }
            StoredWrite::Binding { before, after } => {
                return Ok(Report::of_binding(Some(before), Some(after)).map(FeedEntry::of_report));
            }
            StoredWrite::Delivery { before, after } => {
                return Ok(Report::of_delivery(Some(before), after).map(FeedEntry::of_report));
            }
            StoredWrite::State { .. } | StoredWrite::Profile { .. } => {}
        }
        let Some(service) = write.needs_service() else { return Ok(None) };
        // The service was deleted.
        let Some(service) = services.get(service).await? else { return Ok(None) };
        let configuration = &service.configuration;
        Ok(match write {
            StoredWrite::State { user, before, after } => FeedEntry::of_state(user, configuration, before, after),
            StoredWrite::Profile { before, after } => FeedEntry::of_profile(configuration, before, after),
            StoredWrite::Binding { .. } | StoredWrite::Delivery { .. } | StoredWrite::Service { .. } => None,
        })
    }
}

/// Logs sids only: identities may be personal names or email addresses, and so may profiles.
fn log(notice: &Notice) {
    match notice {
        Notice::User(change) => {
            let (before, after) = (change.before.reachability, change.after.reachability);
            info!(
                service.sid = %change.user.service,
                user.sid = change.user_sid.map(tracing::field::display),
                user.revision = change.revision,
                exists.before = change.before.exists,
                exists.after = change.after.exists,
                exists.reason = change.reasons.exists.as_ref().map(tracing::field::display),
                online.before = before.online,
                online.after = after.online,
                online.reason = change.reasons.is_online.as_ref().map(tracing::field::display),
                notifiable.before = before.notifiable,
                notifiable.after = after.notifiable,
                notifiable.reason = change.reasons.is_notifiable.as_ref().map(tracing::field::display),
                "a user changed"
            );
        }
        Notice::Profile(change) => info!(
            service.sid = %change.user.service,
            user.sid = %change.user_sid,
            user.revision = change.revision,
            "a user's profile changed"
        ),
        Notice::Service(switch) => info!(
            service.sid = %switch.service_sid,
            reachability_enabled = switch.after.reachability_enabled,
            generation = switch.after.generation.0,
            "a service's reachability was switched"
        ),
    }
}
