//! Queues the webhooks that tell changes and reports.

use std::sync::Arc;

use futures_util::future::try_join_all;
use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::ports::{Accounts, Users};
use reachability_domain::directory::service::WebhookEvent;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::change::Notice;
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::presence::snapshot::UserSnapshots;
use reachability_domain::queue::Queue;
use reachability_domain::store::StoreError;
use reachability_domain::time::{Clock, Timestamp};
use reachability_domain::webhook::message::WebhookMessage;
use reachability_domain::webhook::target::WebhookTarget;
use tracing::warn;

use crate::Failure;
use crate::directory::ServicesOfBatch;

/// How many users are read at once: those of a batch of the fanout.
const READS_AT_ONCE: usize = 100;

/// Queues the webhooks that tell changes and reports. Where no URL is configured, it reads no user and queues nothing.
#[derive(Clone)]
pub struct WebhookOutbox {
    /// The account's settings.
    pub accounts: Arc<dyn Accounts>,
    /// The user store, for profiles.
    pub users: Arc<dyn Users>,
    /// For changes of profiles, which do not tell whether their user is reachable.
    pub snapshots: Arc<dyn UserSnapshots>,
    /// The webhook queue. It must keep the order of the messages of one user.
    pub queue: Arc<dyn Queue<WebhookMessage>>,
    /// The current time.
    pub clock: Clock,
}

impl WebhookOutbox {
    /// Queues the webhooks of entries of the feed, in their order.
    ///
    /// # Errors
    /// If some may not be queued. The same entries can be handled again.
    pub(crate) async fn send(&self, entries: &[FeedEntry], services: &mut ServicesOfBatch<'_>) -> Result<(), Failure> {
        let wanted = self.wanted(entries, services).await?;
        let mut messages = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(READS_AT_ONCE) {
            let read = try_join_all(some.iter().map(|(entry, event)| self.message(entry, *event))).await?;
            messages.extend(read.into_iter().flatten());
        }
        if !messages.is_empty() {
            self.queue.send(&messages).await?;
        }
        Ok(())
    }

    /// The entries that somebody wants to be told of, with the events.
    async fn wanted<'e>(
        &self,
        entries: &'e [FeedEntry],
        services: &mut ServicesOfBatch<'_>,
    ) -> Result<Vec<(&'e FeedEntry, WebhookEvent)>, StoreError> {
        let told = entries.iter().filter(|entry| !entry.webhooks.is_empty());
        services.read(told.filter_map(FeedEntry::service)).await;
        let mut account: Option<AccountSettings> = None;
        let mut wanted = Vec::new();
        for entry in entries.iter().filter(|entry| !entry.webhooks.is_empty()) {
            let Some(service) = entry.service() else { continue };
            // A service that was deleted tells nothing any more.
            let Some(service) = services.get(service).await? else { continue };
            if service.webhooks.post_webhook_url.is_none() && account.is_none() {
                account = Some(self.accounts.account().await?);
            }
            let of_account = account.as_ref().map_or(&service.webhooks, |account| &account.webhooks);
            let is_wanted = |event: &WebhookEvent| WebhookTarget::of(&service.webhooks, of_account, *event).is_some();
            wanted.extend(entry.webhooks.iter().copied().filter(is_wanted).map(|event| (entry, event)));
        }
        Ok(wanted)
    }

    async fn message(&self, entry: &FeedEntry, event: WebhookEvent) -> Result<Option<WebhookMessage>, StoreError> {
        let now = (self.clock)();
        if let Some(report) = &entry.report {
            let message = WebhookMessage::of_report(report, event, now);
            return Ok(Some(WebhookMessage { position: entry.position, ..message }));
        }
        let Some(notice) = &entry.notice else { return Ok(None) };
        let stored = match self.stored(notice, now).await {
            // It can never be read, and what else there is to tell must not wait for it.
            Err(error @ StoreError::Corrupt(_)) => {
                warn!(service.sid = %notice.service(), error = %ErrorChain(&error), "a webhook is sent without the profile");
                None
            }
            stored => stored?,
        };
        let stored = stored.as_ref().map(|(user, reachability)| (user, *reachability));
        let message = WebhookMessage::of(notice, event, stored, now);
        Ok(message.map(|message| WebhookMessage { position: entry.position, ..message }))
    }

    /// The user of a change, and whether it is reachable; `None` if it was deleted.
    async fn stored(&self, notice: &Notice, now: Timestamp) -> Result<Option<(User, Reachability)>, StoreError> {
        Ok(match notice {
            Notice::User(change) => match change.user_sid {
                Some(sid) => {
                    let user = self.users.user(change.user.service, &UserRef::Sid(sid)).await?;
                    user.map(|user| (user, change.after.reachability))
                }
                None => None,
            },
            Notice::Profile(change) => {
                let user = UserRef::Sid(change.user_sid);
                let snapshot = self.snapshots.user_snapshot(change.user.service, &user).await?;
                snapshot.map(|it| {
                    let seen = Appearance::of(&it.configuration, it.state, now, Viewer::Other);
                    (it.user, seen.reachability)
                })
            }
            Notice::Service(_) => None,
        })
    }
}
