//! Judges the webhooks that a feed has led to by what else it has told.

use std::collections::{BTreeMap, BTreeSet};

use reachability_domain::directory::service::WebhookEvent;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::change::Notice;
use reachability_domain::presence::change_reason::ChangeReason;
use reachability_domain::webhook::message::{UserTold, WebhookMessage};

use crate::webhook_messages::of_user;

/// The numbers of names that requests set who ask for webhooks.
pub(crate) const TOLD_NAMES: [u8; 2] = [0, 2];

/// Whether the request that creates this user asks for webhooks.
pub(crate) fn asks_for_webhooks(user: &UserKey) -> bool {
    user.identity.as_str() == "alice"
}

/// What a webhook tells: the user, the revision, the event, and the reason.
type Told = (UserKey, u64, &'static str, String);

/// The webhooks that tell a notice.
fn expected(notice: &Notice) -> Vec<Told> {
    match notice {
        Notice::User(change) if change.after.exists => {
            let is_silent = change.reasons.exists == Some(ChangeReason::Profile) && !asks_for_webhooks(&change.user);
            let added = (!change.before.exists && !is_silent).then_some(WebhookEvent::UserAdded);
            let is_changed = change.before.reachability != change.after.reachability;
            let updated = is_changed.then_some(WebhookEvent::UserUpdated);
            let told = |event: WebhookEvent, reason: &Option<ChangeReason>| {
                reason.as_ref().map(|reason| (change.user.clone(), change.revision, event.name(), reason.to_string()))
            };
            let reasons = &change.reasons;
            let updated_by = if reasons.is_online.is_some() { &reasons.is_online } else { &reasons.is_notifiable };
            let added = added.and_then(|added| told(added, &reasons.exists));
            added.into_iter().chain(updated.and_then(|updated| told(updated, updated_by))).collect()
        }
        Notice::Profile(change) => {
            let is_told = |name: &str| TOLD_NAMES.iter().any(|told| name == format!("name {told}"));
            let is_told = change.profile.friendly_name.as_deref().is_some_and(is_told);
            let event = WebhookEvent::UserUpdated.name();
            let told = (change.user.clone(), change.revision, event, change.reason.to_string());
            if is_told { vec![told] } else { vec![] }
        }
        Notice::User(_) | Notice::Service(_) => vec![],
    }
}

/// Every change that is to be told is, and nothing else; of each user in order, apart from repetitions, which are the same.
pub(crate) fn judge(notices: &[Notice], webhooks: &[WebhookMessage]) -> Result<(), String> {
    let mut told: BTreeMap<Told, String> = BTreeMap::new();
    let mut last: BTreeMap<&UserKey, u64> = BTreeMap::new();
    for webhook in webhooks {
        let UserTold { revision, reason, .. } = of_user(webhook);
        let key = (webhook.user.clone(), *revision, webhook.event.name(), reason.to_string());
        let token = webhook.token();
        match told.get(&key) {
            Some(known) if *known == token => continue,
            Some(known) => return Err(format!("{webhook:?} has the token {token} and {known}")),
            None => {}
        }
        if told.values().any(|known| *known == token) {
            return Err(format!("{webhook:?} has the token of another"));
        }
        told.insert(key, token);
        let last = last.entry(&webhook.user).or_default();
        if revision < last {
            return Err(format!("{webhook:?} comes after revision {last}"));
        }
        *last = *revision;
    }
    // A change that is told again is read again, and may be told by another configuration: then the last counts.
    let all: BTreeSet<Told> = notices.iter().flat_map(expected).collect();
    let mut versions: BTreeMap<(Option<ServiceAndUser>, &str), &Notice> = BTreeMap::new();
    for notice in notices {
        versions.insert((key(notice), notice.kind()), notice);
    }
    let last: BTreeSet<Told> = versions.into_values().flat_map(expected).collect();
    let told: BTreeSet<Told> = told.into_keys().collect();
    if let Some(lost) = last.difference(&told).next() {
        return Err(format!("no webhook tells {lost:?}"));
    }
    match told.difference(&all).next() {
        Some(made_up) => Err(format!("a webhook tells {made_up:?}, which nobody else was told")),
        None => Ok(()),
    }
}

type ServiceAndUser = (UserKey, u64);

/// The user and the revision of a change.
fn key(notice: &Notice) -> Option<ServiceAndUser> {
    match notice {
        Notice::User(change) => Some((change.user.clone(), change.revision)),
        Notice::Profile(change) => Some((change.user.clone(), change.revision)),
        Notice::Service(_) => None,
    }
}
