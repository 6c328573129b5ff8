//! Tells of changes.
//!
//! What is told is what the stored records say, before and after a write, never the event that was meant to cause it.

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

/// Tells of changes.
#[derive(Clone)]
pub struct Fanout {
    /// Where services lie.
    pub services: Arc<dyn Services>,
    /// Takes what follows from changes.
    pub pushes: Arc<dyn Queue<PushMessage>>,
    /// Who is told.
    pub sink: Arc<dyn Sink>,
    /// Counts changes.
    pub metrics: Arc<dyn Metrics>,
}

/// A record before and after a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredWrite {
    /// A user's state.
    State {
        /// Whose.
        user: UserKey,
        /// The user's sid; `None` if there is no such user.
        sid: Option<UserSid>,
        /// As stored before.
        before: StateSummary,
        /// As stored now.
        after: StateSummary,
    },
    /// A service, which may be new or gone.
    Service {
        /// As stored before; `None` if it was not there.
        before: Option<Box<Service>>,
        /// As stored now; `None` if it is not there any more.
        after: Option<Box<Service>>,
    },
}

impl Fanout {
    /// Tells of what changed, in the order of writing. Returns the index of the first write that was not told of: from there
    /// on they are to be handled again. A change may be told twice, and never is one lost.
    pub async fn handle(&self, writes: &[StoredWrite]) -> Option<usize> {
        let (notices, mut failed) = self.notices(writes).await;
        let (places, notices): (Vec<usize>, Vec<Notice>) = notices.into_iter().unzip();
        if let Err(error) = self.sink.tell(&notices).await {
            warn!(error = %ErrorChain(&error), "changes will be told again");
            let first = error.indices.iter().filter_map(|index| places.get(*index)).min();
            failed = [failed, first.copied()].into_iter().flatten().min();
        }
        let told = |failed: Option<usize>| {
            let told = places.iter().zip(&notices);
            told.take_while(move |(place, _)| failed.is_none_or(|failed| **place < failed))
        };
        if let Err((place, error)) = self.announce(told(failed)).await {
            warn!(error = %ErrorChain(&error), "changes will be told again");
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

    /// Where reachability was switched on, has the registrations told of that there are already. If that fails, from which
    /// write on, and why.
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

    /// What writes have to tell, each with its index; and the index from which on it could not be found out.
    async fn notices(&self, writes: &[StoredWrite]) -> (Vec<(usize, Notice)>, Option<usize>) {
        let mut notices = Vec::new();
        // Read for every batch: an old one would hide who came online first in a new generation.
        let mut configurations: HashMap<ServiceSid, Option<Configuration>> = HashMap::new();
        for (place, write) in writes.iter().enumerate() {
            match self.notice(write, &mut configurations).await {
                Ok(notice) => notices.extend(notice.map(|notice| (place, notice))),
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
        // Of a service that was deleted.
        let Some(configuration) = configuration else { return Ok(None) };
        let change = Change::between(user, &configuration, *before, *after);
        Ok(change.map(|change| Notice::Change(change, *sid)))
    }
}

/// What was switched between two states of a service. One that is deleted is off.
fn switch(before: Option<&Service>, after: Option<&Service>) -> Option<Switch> {
    let sid = after.or(before)?.sid;
    let before = before.map(|service| service.configuration).unwrap_or_default();
    let after = after.map_or(Configuration { reachability_enabled: false, ..before }, |service| service.configuration);
    Switch::between(sid, &before, &after)
}

/// Identities may be names of people, or their addresses: the log has sids.
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
