//! Publishes changes.
//!
//! A notice is computed from the stored records before and after a write, never from the event that caused the write.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::Service;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::identity::UserKey;
use reachability_domain::metrics::Metrics;
use reachability_domain::presence::change::{Change, Switch};
use reachability_domain::presence::notice::{Notice, Sink};
use reachability_domain::presence::state::StateSummary;
use reachability_domain::push::message::{Announce, PushMessage, Span};
use reachability_domain::queue::{Queue, QueueError};
use reachability_domain::sid::{ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use tracing::{info, warn};

/// Publishes changes.
#[derive(Clone)]
pub struct Fanout {
    /// The service store.
    pub services: Arc<dyn Services>,
    /// The push queue, for announcements of registrations.
    pub pushes: Arc<dyn Queue<PushMessage>>,
    /// Publishes the notices.
    pub sink: Arc<dyn Sink>,
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
        /// The user's sid; `None` if the user does not exist.
        sid: Option<UserSid>,
        /// Before the write.
        before: StateSummary,
        /// After the write.
        after: StateSummary,
    },
    /// A service, possibly created or deleted by the write.
    Service {
        /// Before the write; `None` if it did not exist.
        before: Option<Box<Service>>,
        /// After the write; `None` if it was deleted.
        after: Option<Box<Service>>,
    },
}

impl Fanout {
    /// Publishes the changes, in the order of the writes. Returns the index of the first write whose change was not
    /// published; that write and all later ones must be handled again. A change may be published twice, but is never
    /// lost.
    pub async fn handle(&self, writes: &[StoredWrite]) -> Option<usize> {
        let (notices, mut failed) = self.notices(writes).await;
        let (places, notices): (Vec<usize>, Vec<Notice>) = notices.into_iter().unzip();
        if let Err(error) = self.sink.tell(&notices).await {
            warn!(error = %ErrorChain(&error), "changes will be published again");
            let first = error.indices.iter().filter_map(|index| places.get(*index)).min();
            failed = [failed, first.copied()].into_iter().flatten().min();
        }
        let told = |failed: Option<usize>| {
            let told = places.iter().zip(&notices);
            told.take_while(move |(place, _)| failed.is_none_or(|failed| **place < failed))
        };
        if let Err((place, error)) = self.announce(told(failed)).await {
            warn!(error = %ErrorChain(&error), "changes will be published again");
            failed = Some(place);
        }
        for (_, notice) in told(failed) {
            log(notice);
            if let Notice::Change(change, _) = notice {
                self.metrics.count_change(change);
            }
        }
        failed
    }

    /// Queues the announcement of existing registrations for each service that was switched on. On failure, returns the
    /// index of the write and the error.
    async fn announce(&self, notices: impl Iterator<Item = (&usize, &Notice)>) -> Result<(), (usize, QueueError)> {
        for (place, notice) in notices {
            if let Notice::Switch(switch) = notice
                && switch.reachability_enabled
            {
                let Switch { service_sid, generation, .. } = *switch;
                let announce = Announce { service: service_sid, generation, span: Span::default() };
                let sent = self.pushes.send(&[PushMessage::Announce(announce)]).await;
                sent.map_err(|error| (*place, error))?;
            }
        }
        Ok(())
    }

    /// The notices of the writes, each with the index of its write. If a read fails, also the index of the write at
    /// which it failed.
    async fn notices(&self, writes: &[StoredWrite]) -> (Vec<(usize, Notice)>, Option<usize>) {
        let mut notices = Vec::new();
        // Read again for every batch: an old configuration would hide the first users who come online in a new
        // generation.
        let mut configurations: HashMap<ServiceSid, Option<Configuration>> = HashMap::new();
        for (place, write) in writes.iter().enumerate() {
            match self.notice(write, &mut configurations).await {
                Ok(notice) => notices.extend(notice.map(|notice| (place, notice))),
                Err(error) => {
                    warn!(error = %ErrorChain(&error), "a service could not be read; the changes will be read again");
                    return (notices, Some(place));
                }
            }
        }
        (notices, None)
    }

    async fn notice(
        &self,
        write: &StoredWrite,
        configurations: &mut HashMap<ServiceSid, Option<Configuration>>,
    ) -> Result<Option<Notice>, StoreError> {
        let (user, sid, before, after) = match write {
            StoredWrite::Service { before, after } => {
                return Ok(switch(before.as_deref(), after.as_deref()).map(Notice::Switch));
            }
            StoredWrite::State { user, sid, before, after } => (user, sid, before, after),
        };
        let configuration = match configurations.entry(user.service) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unread) => {
                let service = self.services.service(user.service).await?;
                *unread.insert(service.map(|service| service.configuration))
            }
        };
        // The service was deleted.
        let Some(configuration) = configuration else { return Ok(None) };
        let change = Change::between(user, &configuration, *before, *after);
        Ok(change.map(|change| Notice::Change(change, *sid)))
    }
}

/// The switch between two states of a service. A deleted service counts as off.
fn switch(before: Option<&Service>, after: Option<&Service>) -> Option<Switch> {
    let sid = after.or(before)?.sid;
    let before = before.map(|service| service.configuration).unwrap_or_default();
    let after = after.map_or(Configuration { reachability_enabled: false, ..before }, |service| service.configuration);
    Switch::between(sid, &before, &after)
}

/// Logs sids only: identities may be personal names or email addresses.
fn log(notice: &Notice) {
    match notice {
        Notice::Change(change, sid) => info!(
            service.sid = %change.user.service,
            user.sid = sid.map(tracing::field::display),
            user.revision = change.revision,
            online.before = change.before.online,
            online.after = change.after.online,
            notifiable.before = change.before.notifiable,
            notifiable.after = change.after.notifiable,
            "a user's reachability changed"
        ),
        Notice::Switch(switch) => info!(
            service.sid = %switch.service_sid,
            reachability_enabled = switch.reachability_enabled,
            generation = switch.generation.0,
            "a service's reachability was switched"
        ),
    }
}
