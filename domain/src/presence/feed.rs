//! The feed: what each write means to the outside, from the stored record before and after it.
//!
//! It is never derived from the event that was meant to cause the write. So a change that is stored is told, whatever
//! happened to whoever wrote it, and a change that is not stored is not.

use serde::{Deserialize, Serialize};

use crate::directory::configuration::Configuration;
use crate::directory::service::{Service, WebhookEvent};
use crate::directory::user::User;
use crate::identity::UserKey;
use crate::presence::appearance::{Appearance, Viewer};
use crate::presence::change::{Change, Notice, ProfileChange, Switch};
use crate::presence::change_reason::ChangeReason;
use crate::presence::sequence::{self, sequence};
use crate::presence::state::UserState;
use crate::push::message::{Announce, AnnounceUser, Probe, ProbeCause, PushMessage};
use crate::push::report::{PushReport, Report};
use crate::sid::{ServiceSid, UserSid};
use crate::time::Timestamp;

/// What a write leads to. It is delivered at least once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FeedEntry {
    /// What subscribers are told; `None` if nothing visible changed.
    pub notice: Option<Notice>,
    /// What is to be done next, in the push queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follow_ups: Vec<PushMessage>,
    /// What is reported of a device, by webhooks alone; `None` if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<Report>>,
    /// The webhooks that tell the notice or the report, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookEvent>,
    /// Where the entry is in the feed: later ones have greater positions. `None` before it is there, and in a feed without
    /// positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    /// Orders what watchers of the user hear ([`sequence()`]). Two entries of one write have the same. Zero where the entry was
    /// stored and read again: only who hears of a write as it is made needs it.
    #[serde(skip)]
    pub sequence: u64,
    /// What readers see of the user after the write of a state: registrations at once, of which the notice tells nothing before
    /// they are announced. `None` where the entry was stored and read again, like [`FeedEntry::sequence`].
    #[serde(skip)]
    pub seen: Option<Box<Seen>>,
}

/// What is seen of a user after a write of its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The user.
    pub user: UserKey,
    /// The user's sid; that of before the write if the user was deleted.
    pub sid: UserSid,
    /// Time of the write.
    pub at: Timestamp,
    /// What others see.
    pub by_others: Sight,
    /// What the user itself sees.
    pub by_user: Sight,
}

/// What one kind of viewer sees of a user after a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// What is seen.
    pub appearance: Appearance,
    /// Orders it among all that this viewer hears of the user ([`sequence()`]).
    pub sequence: u64,
    /// Whether reachability is another than the viewer was last told.
    pub is_reachability_changed: bool,
    /// Whether anything is. That time alone has changed [`Appearance::last_active`] is no change.
    pub is_changed: bool,
}

impl Seen {
    /// Combines this with what is seen of the user after a later write. Those hear of it who would have heard of either.
    pub fn absorb(&mut self, later: Self) {
        let both = |was: &Sight, is: Sight| Sight {
            is_reachability_changed: was.is_reachability_changed || is.is_reachability_changed,
            is_changed: was.is_changed || is.is_changed,
            ..is
        };
        let (by_others, by_user) = (both(&self.by_others, later.by_others), both(&self.by_user, later.by_user));
        *self = Self { by_others, by_user, ..later };
    }

    /// `None` if nobody sees anything else than before.
    fn between(
        user: &UserKey,
        configuration: &Configuration,
        (before, after): (&UserState, &UserState),
        change: Option<&Change>,
    ) -> Option<Box<Self>> {
        let by = |viewer, is_changed: [bool; 2]| {
            let as_of = if viewer == Viewer::Other { after.as_of_for_others() } else { after.as_of };
            let appearance = Appearance::of(configuration, after, as_of, viewer);
            let [is_reachability_changed, is_changed] = is_changed;
            Sight {
                sequence: sequence(configuration, appearance.revision),
                appearance,
                is_reachability_changed,
                is_changed,
            }
        };
        // The end of the last connection has come, and nobody was told: the timer is late. Who has read the user since then knows
        // it as offline, though nothing has changed for those who were told of it last.
        let end = before.presence.live_until();
        let may_be_seen_offline = before.as_of < end && end <= after.as_of && after.sid.is_some();
        // Others were told what was published, of which registrations are no part before they are announced.
        let is_reachability_changed = change.is_some_and(|it| it.before.reachability != it.after.reachability);
        let is_hidden = before.disclosure.hidden.is_some() || after.disclosure.hidden.is_some();
        // Of who is hidden, others do not see the end either.
        let is_seen_again = may_be_seen_offline && !is_hidden;
        let to_others = [is_reachability_changed || is_seen_again, change.is_some() || is_seen_again];
        let to_user = if is_hidden {
            let of = |state: &UserState| Appearance::of(configuration, state, state.as_of, Viewer::User);
            let (was, is) = (of(before), of(after));
            let is_reachability_changed = was.reachability != is.reachability || may_be_seen_offline;
            let is_changed = was.status != is.status || was.invisible != is.invisible || before.sid != after.sid;
            [is_reachability_changed, is_reachability_changed || is_changed]
        } else {
            to_others
        };
        let sid = after.sid.or(before.sid).filter(|_| to_others[1] || to_user[1])?;
        let (by_others, by_user) = (by(Viewer::Other, to_others), by(Viewer::User, to_user));
        Some(Box::new(Self { user: user.clone(), sid, at: after.as_of, by_others, by_user }))
    }
}

impl FeedEntry {
    /// Whether a write of a user's state can lead to anything at all, whatever the service's configuration is. Most writes
    /// renew a lease, and cannot.
    pub fn is_possible(before: &UserState, after: &UserState) -> bool {
        let visible = |state: &UserState| {
            let presence = &state.presence;
            (state.sid.is_some(), presence.online_generation, state.as_of < presence.live_until())
        };
        visible(before) != visible(after)
            || before.disclosure != after.disclosure
            || before.registrations != after.registrations
            || {
                let is_deliverable = |state: &UserState| state.as_of < state.registrations.deliverable_until();
                is_deliverable(before) != is_deliverable(after)
            }
    }

    /// What a write of a user's state leads to; `None` if nothing, as always where [`FeedEntry::is_possible`] is false.
    pub fn of_state(
        user: &UserKey,
        configuration: &Configuration,
        before: &UserState,
        after: &UserState,
    ) -> Option<Self> {
        let change = Change::between(user, configuration, before, after);
        let mut follow_ups = Vec::new();
        if let Some(change) = &change
            && change.before.reachability.online == Some(true)
            && change.after.reachability.online == Some(false)
        {
            follow_ups.extend(probes(user.service, after));
        }
        // Whoever registered by an older configuration may have done so after the announcement passed.
        let is_behind = after.registrations.announced_in().is_some_and(|it| it < configuration.generation);
        if configuration.reachability_enabled && is_behind && before.registrations != after.registrations {
            let generation = configuration.generation;
            follow_ups.push(PushMessage::AnnounceUser(AnnounceUser { user: user.clone(), generation }));
        }
        let webhooks = change.as_ref().map(|change| webhooks(change, after)).unwrap_or_default();
        let seen = Seen::between(user, configuration, (before, after), change.as_ref());
        let is_something = change.is_some() || !follow_ups.is_empty() || seen.is_some();
        let notice = change.map(Notice::User);
        let sequence = sequence(configuration, after.revision_for_others());
        is_something.then(|| Self { notice, follow_ups, webhooks, sequence, seen, ..Self::default() })
    }

    /// Whether there is anything to deliver. Otherwise only those who hear of a write as it is made are concerned.
    pub fn is_delivered(&self) -> bool {
        self.notice.is_some() || !self.follow_ups.is_empty() || self.report.is_some()
    }

    /// What a write of a user's profile leads to; `None` if nothing.
    pub fn of_profile(configuration: &Configuration, before: &User, after: &User) -> Option<Self> {
        let change = ProfileChange::between(configuration, before, after)?;
        let webhooks = if after.webhook_enabled { vec![WebhookEvent::UserUpdated] } else { vec![] };
        let sequence = sequence(configuration, after.revision);
        Some(Self { notice: Some(Notice::Profile(change)), webhooks, sequence, ..Self::default() })
    }

    /// What follows from a report: a webhook, and nothing that subscribers see.
    pub fn of_report(report: Report) -> Self {
        let webhooks = vec![match report.push {
            PushReport::DeliveryFailed { .. } => WebhookEvent::NotificationFailed,
            PushReport::BindingDied { .. } => WebhookEvent::BindingDead,
        }];
        Self { report: Some(Box::new(report)), webhooks, ..Self::default() }
    }

    /// The service that it is about; `None` if it is only work for the push queue.
    pub fn service(&self) -> Option<ServiceSid> {
        let of_report = || self.report.as_ref().map(|report| report.user.service);
        self.notice.as_ref().map(Notice::service).or_else(of_report)
    }

    /// What a write of a service leads to (`None`: it was not there, or is not there any more); `None` if nothing.
    pub fn of_service(before: Option<&Service>, after: Option<&Service>) -> Option<Self> {
        let switch = Switch::between(before, after)?;
        let announce = PushMessage::Announce(Announce {
            service: switch.service_sid,
            generation: switch.after.generation,
            after_user: None,
        });
        let follow_ups = if switch.after.reachability_enabled { vec![announce] } else { vec![] };
        let sequence = sequence::of_switch(switch.after);
        Some(Self { notice: Some(Notice::Service(switch)), follow_ups, sequence, ..Self::default() })
    }
}

/// The webhooks that tell a change. A REST request that creates a user asks for one or not; everything else is always told.
/// There is none for a deletion, as with the vendor.
fn webhooks(change: &Change, after: &UserState) -> Vec<WebhookEvent> {
    let (was, is) = (&change.before, &change.after);
    if !is.exists {
        return vec![];
    }
    let is_asked_for = after.created_by != Some(ChangeReason::Profile) || after.webhook_enabled;
    let added = (!was.exists && is_asked_for).then_some(WebhookEvent::UserAdded);
    let is_updated = was.reachability != is.reachability || was.status != is.status;
    let updated = is_updated.then_some(WebhookEvent::UserUpdated);
    added.into_iter().chain(updated).collect()
}

/// Checks the registrations of a user who has just gone offline that were not confirmed for long: from now on they are the
/// only way to reach the user.
fn probes(service: ServiceSid, state: &UserState) -> impl Iterator<Item = PushMessage> {
    let asked_at = state.as_of;
    let unproven = state.registrations.devices().filter(move |(_, registration)| registration.wants_check(asked_at));
    let cause = ProbeCause::Offline;
    unproven.map(move |(binding, _)| {
        PushMessage::Probe(Probe { service, binding, asked_at, attempts: 0, due_at: None, cause })
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::directory::configuration::Generation;
    use crate::presence::acceptance::Acceptance;
    use crate::presence::connections::{LeasePolicy, Limits, Rules};
    use crate::presence::disclosure::Disclose;
    use crate::presence::event::{EndReason, Event, EventKind};
    use crate::presence::news::News;
    use crate::presence::reachability::Reachability;
    use crate::push::lifetime::Lifetime;
    use crate::push::reason::Reason;
    use crate::push::registration::Registration;
    use crate::sid::{BindingSid, Sid, UserSid};
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);
    const RULES: Rules = Rules {
        grace: Duration::from_secs(10),
        lease: LeasePolicy::For(Duration::from_secs(120)),
        limits: Limits::DEFAULT,
    };
    const ON: Configuration = Configuration {
        reachability_enabled: true,
        generation: Generation(2),
        enabled_at: Some(NOW),
        disabled_at: None,
        switches_on: false,
    };

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn alice() -> UserKey {
        UserKey { service: Sid::from_bits(1), identity: "alice".parse().unwrap() }
    }

    /// What a REST request creates.
    fn profile(webhook_enabled: bool) -> User {
        User { webhook_enabled, ..User::new(UserSid::from_bits(7), alice(), None, NOW) }
    }

    fn after_event(before: &UserState, id: &str, kind: EventKind, now: Timestamp) -> UserState {
        let mut news = News::new(RULES);
        let event = Event { user: alice(), connection: id.parse().unwrap(), occurred_at: now, kind };
        news.add(&event, Acceptance::In(Generation(2)), now);
        let mut after = before.clone();
        after.join(&news, UserSid::from_bits(7), now);
        after
    }

    fn connected(before: &UserState, id: &str, now: Timestamp) -> UserState {
        after_event(before, id, EventKind::Connect { lease: None, device: None }, now)
    }

    fn disconnected(before: &UserState, id: &str, reason: EndReason, now: Timestamp) -> UserState {
        after_event(before, id, EventKind::Disconnect { reason }, now)
    }

    /// As when a timer is due.
    fn looked_at(before: &UserState, now: Timestamp) -> UserState {
        let mut after = before.clone();
        after.join(&News::new(RULES), UserSid::from_bits(7), now);
        after
    }

    fn device(registered_at: Timestamp, death: Option<&str>) -> Registration {
        Registration {
            registered_at,
            lifetime: Lifetime::YEAR,
            confirmed_at: None,
            asked_at: None,
            is_dead: death.is_some(),
            death_reason: death.map(Reason::new),
        }
    }

    fn with_device(before: &UserState, device: Registration, generation: u32, now: Timestamp) -> UserState {
        let mut after = before.clone();
        after.add_device(BindingSid::from_bits(9), device, Some(Generation(generation)), now);
        after
    }

    fn entry(before: &UserState, after: &UserState) -> Option<FeedEntry> {
        FeedEntry::of_state(&alice(), &ON, before, after)
    }

    /// The reasons in the notice of a write, as JSON.
    fn reasons(before: &UserState, after: &UserState) -> Value {
        let notice = entry(before, after).and_then(|entry| entry.notice);
        notice.map_or(Value::Null, |notice| serde_json::to_value(notice).unwrap()["reasons"].clone())
    }

    /// The grace period of a connection ends, the timer is late, and the client is back before it is handled.
    #[test]
    fn who_was_read_as_offline_is_told_to_be_online() {
        let away =
            disconnected(&connected(&UserState::default(), "c-1", NOW), "c-1", EndReason::ConnectionLost, later(1));
        let back = connected(&away, "c-2", later(12));
        let late = entry(&away, &back).unwrap();
        assert_eq!(late.notice, None, "for those who are told, it was online all the time");
        let seen = late.seen.unwrap();
        for sight in [&seen.by_others, &seen.by_user] {
            assert!(sight.is_changed && sight.is_reachability_changed);
            assert_eq!(sight.appearance.reachability.online, Some(true));
        }
        // Others do not hear of who is invisible.
        let mut hidden = away.clone();
        hidden.disclose(&Disclose { invisible: Some(true), ..Disclose::default() }, later(2));
        let seen = entry(&hidden, &connected(&hidden, "c-2", later(12))).unwrap().seen.unwrap();
        assert!(!seen.by_others.is_changed && seen.by_user.is_reachability_changed);
        // In time, nobody can have seen it.
        let back = connected(&away, "c-2", later(10));
        assert_eq!(entry(&away, &back).and_then(|entry| entry.seen), None);
    }

    #[test]
    fn a_notice_says_what_changed_and_why() {
        let before = UserState::default();
        let after = connected(&before, "c-1", NOW);
        let notice = entry(&before, &after).unwrap().notice.unwrap();
        let expected = json!({
            "type": "user",
            "service_sid": "IS00000000000000000000000000000001",
            "identity": "alice",
            "user_sid": "US00000000000000000000000000000007",
            "exists": true,
            "is_online": true,
            "is_notifiable": null,
            "before": {"exists": false, "is_online": null, "is_notifiable": null},
            "reasons": {"exists": "connect", "is_online": "connect"},
            "at": "2026-11-20T00:00:00.000Z",
            "revision": 1_795_132_800_000_u64,
            "generation": 2,
        });
        assert_eq!(serde_json::from_str::<Value>(&notice.to_json()).unwrap(), expected);
        assert_eq!(serde_json::from_str::<Notice>(&notice.to_json()).unwrap(), notice);
        // A renewal changes nothing.
        let renewed = after_event(&after, "c-1", EventKind::Renew { lease: None }, later(60));
        assert!(renewed.revision > after.revision);
        assert_eq!(entry(&after, &renewed), None);
        assert!(!FeedEntry::is_possible(&after, &renewed));
    }

    #[test]
    fn the_last_connection_says_why_a_user_is_offline() {
        let one = connected(&UserState::default(), "c-1", NOW);
        let closed = disconnected(&one, "c-1", EndReason::ClientClosed, later(1));
        assert_eq!(reasons(&one, &closed), json!({"is_online": "client_closed"}));
        for (reason, word) in
            [(EndReason::ConnectionLost, "connection_lost"), (EndReason::ServerClosed, "server_closed")]
        {
            let in_grace = disconnected(&one, "c-1", reason, later(1));
            assert_eq!(reasons(&one, &in_grace), Value::Null);
            assert_eq!(reasons(&in_grace, &looked_at(&in_grace, later(11))), json!({"is_online": word}));
        }
        assert_eq!(reasons(&one, &looked_at(&one, later(120))), json!({"is_online": "lease_ended"}));
        // However late somebody looks.
        let a_year_later = looked_at(&one, later(365 * 86_400));
        assert_eq!(reasons(&one, &a_year_later), json!({"is_online": "lease_ended"}));
        // An end that comes after the lease is over did not end it.
        let late = disconnected(&one, "c-1", EndReason::ClientClosed, later(200));
        assert_eq!(reasons(&one, &late), json!({"is_online": "lease_ended"}));

        let two = connected(&one, "c-2", later(1));
        let first_gone = disconnected(&two, "c-1", EndReason::ClientClosed, later(2));
        assert_eq!(reasons(&two, &first_gone), Value::Null, "the other is still there");
        let both_gone = disconnected(&first_gone, "c-2", EndReason::ServerClosed, later(3));
        let seen = looked_at(&both_gone, later(13));
        assert_eq!(reasons(&both_gone, &seen), json!({"is_online": "server_closed"}));
        assert_eq!(reasons(&seen, &connected(&seen, "c-3", later(14))), json!({"is_online": "connect"}));
    }

    #[test]
    fn a_device_says_why_a_user_is_notifiable_or_not() {
        let mut nobody = UserState::default();
        nobody.create(&profile(false));
        assert_eq!(reasons(&UserState::default(), &nobody), json!({"exists": "profile"}));
        let registered = with_device(&nobody, device(NOW, None), 2, NOW);
        assert_eq!(reasons(&nobody, &registered), json!({"is_notifiable": "registered"}));
        for (word, reason) in [("Unregistered", "provider:Unregistered"), ("Expired", "expired")] {
            let dead = with_device(&registered, device(NOW, Some(word)), 2, later(1));
            assert_eq!(reasons(&registered, &dead), json!({"is_notifiable": reason}));
            let again = with_device(&dead, device(later(2), None), 2, later(2));
            assert_eq!(reasons(&dead, &again), json!({"is_notifiable": "registered"}));
            let alive = with_device(&dead, device(NOW, None), 2, later(2));
            assert_eq!(reasons(&dead, &alive), json!({"is_notifiable": "confirmed"}));
        }
        let mut unregistered = registered.clone();
        unregistered.remove_device(BindingSid::from_bits(9), later(1));
        assert_eq!(reasons(&registered, &unregistered), json!({"is_notifiable": "unregistered"}));
        // A year passes, and something else is written.
        let a_year_later = connected(&registered, "c-1", later(365 * 86_400));
        assert_eq!(reasons(&registered, &a_year_later), json!({"is_online": "connect", "is_notifiable": "expired"}));
        // What happens to it after that did not end it.
        let mut too_late = registered.clone();
        too_late.remove_device(BindingSid::from_bits(9), later(365 * 86_400));
        assert_eq!(reasons(&registered, &too_late), json!({"is_notifiable": "expired"}));
        let mut deleted = registered.clone();
        deleted.delete(later(1));
        assert_eq!(reasons(&registered, &deleted), json!({"exists": "deleted", "is_notifiable": "deleted"}));
    }

    #[test]
    fn registrations_are_announced_in_every_generation() {
        let mut nobody = UserState::default();
        nobody.create(&profile(false));
        // Whoever registered it had read the configuration before the switch.
        let registered = with_device(&nobody, device(NOW, None), 1, NOW);
        let announce = PushMessage::AnnounceUser(AnnounceUser { user: alice(), generation: Generation(2) });
        let told = |follow_up, after: &UserState| FeedEntry {
            notice: None,
            follow_ups: vec![follow_up],
            report: None,
            webhooks: vec![],
            position: None,
            sequence: sequence(&ON, after.revision),
            seen: None,
        };
        assert_eq!(entry(&nobody, &registered), Some(told(announce.clone(), &registered)));
        let mut unregistered = registered.clone();
        unregistered.remove_device(BindingSid::from_bits(9), later(1));
        assert_eq!(
            entry(&registered, &unregistered),
            Some(told(announce.clone(), &unregistered)),
            "the last one is gone before it was announced"
        );
        for (state, notifiable) in [(registered, true), (unregistered, false)] {
            let mut announced = state.clone();
            assert!(announced.announce(Generation(2), later(2)));
            let entry = entry(&state, &announced).unwrap();
            let Some(Notice::User(change)) = &entry.notice else { panic!("{entry:?}") };
            assert_eq!(change.after.reachability.notifiable, Some(notifiable));
            assert_eq!(change.reasons.is_notifiable, Some(ChangeReason::Switched));
            assert!(!announced.announce(Generation(2), later(3)));
        }
        assert!(!UserState::default().announce(Generation(2), NOW), "there never was one");
    }

    #[test]
    fn what_is_read_does_not_wait_for_the_announcement() {
        let mut registered = UserState::default();
        registered.create(&profile(false));
        registered.add_device(BindingSid::from_bits(9), device(NOW, None), Some(Generation(1)), NOW);
        let online = connected(&registered, "c-1", later(1));
        let entry = entry(&registered, &online).unwrap();
        let Some(Notice::User(change)) = &entry.notice else { panic!("{entry:?}") };
        assert_eq!(change.after.reachability, Reachability { online: Some(true), notifiable: None });
        let seen = entry.seen.unwrap();
        let read = Reachability { online: Some(true), notifiable: Some(true) };
        assert_eq!((seen.by_others.appearance.reachability, seen.by_user.appearance.reachability), (read, read));
    }

    #[test]
    fn a_user_who_goes_offline_has_old_registrations_checked() {
        let mut one = connected(&UserState::default(), "c-1", NOW);
        one.add_device(BindingSid::from_bits(9), device(NOW, None), Some(Generation(2)), NOW);
        let confirmed = Registration { confirmed_at: Some(NOW), ..device(NOW, None) };
        one.add_device(BindingSid::from_bits(10), confirmed, Some(Generation(2)), NOW);
        let gone = disconnected(&one, "c-1", EndReason::ClientClosed, later(1));
        let follow_ups = entry(&one, &gone).unwrap().follow_ups;
        let probe = Probe {
            service: Sid::from_bits(1),
            binding: BindingSid::from_bits(9),
            asked_at: later(1),
            attempts: 0,
            due_at: None,
            cause: ProbeCause::Offline,
        };
        assert_eq!(follow_ups, [PushMessage::Probe(probe)]);
        let entry = entry(&one, &gone).unwrap();
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<FeedEntry>(&json).unwrap(), FeedEntry { sequence: 0, seen: None, ..entry });
    }

    #[test]
    fn while_reachability_is_off_only_existence_changes() {
        let off = Configuration { reachability_enabled: false, ..ON };
        let one = connected(&UserState::default(), "c-1", NOW);
        let entry = FeedEntry::of_state(&alice(), &off, &UserState::default(), &one).unwrap();
        let Some(Notice::User(change)) = entry.notice else { panic!() };
        assert_eq!((change.before.exists, change.after.exists), (false, true));
        assert_eq!(change.reasons.is_online, None);
        let gone = disconnected(&one, "c-1", EndReason::ClientClosed, later(1));
        assert_eq!(FeedEntry::of_state(&alice(), &off, &one, &gone), None);
    }

    fn webhooks(before: &UserState, after: &UserState) -> Vec<WebhookEvent> {
        entry(before, after).map(|entry| entry.webhooks).unwrap_or_default()
    }

    #[test]
    fn webhooks_tell_what_was_asked_for_and_every_change_of_reachability() {
        use WebhookEvent::{UserAdded, UserUpdated};
        let nobody = UserState::default();
        let online = connected(&nobody, "c-1", NOW);
        assert_eq!(webhooks(&nobody, &online), [UserAdded, UserUpdated]);
        assert_eq!(webhooks(&online, &after_event(&online, "c-1", EventKind::Renew { lease: None }, later(60))), []);
        let offline = disconnected(&online, "c-1", EndReason::ClientClosed, later(1));
        assert_eq!(webhooks(&online, &offline), [UserUpdated]);
        assert_eq!(webhooks(&online, &looked_at(&online, later(120))), [UserUpdated], "the lease is over");
        let registered = with_device(&offline, device(NOW, None), 2, later(2));
        assert_eq!(webhooks(&offline, &registered), [UserUpdated]);
        for before in [&online, &registered] {
            let mut deleted = before.clone();
            deleted.delete(later(3));
            assert!(entry(before, &deleted).is_some(), "subscribers are told");
            assert_eq!(webhooks(before, &deleted), []);
        }
        for (webhook_enabled, expected) in [(true, vec![UserAdded]), (false, vec![])] {
            let mut created = nobody.clone();
            created.create(&profile(webhook_enabled));
            assert!(entry(&nobody, &created).is_some());
            assert_eq!(webhooks(&nobody, &created), expected);
            let online = connected(&created, "c-1", later(1));
            assert_eq!(webhooks(&created, &online), [UserUpdated], "it says nothing about what comes later");
            let mut deleted = online;
            deleted.delete(later(2));
            assert_eq!(webhooks(&deleted, &connected(&deleted, "c-2", later(3))), [UserAdded, UserUpdated]);
        }
        // While reachability is off, users still come to exist.
        let off = Configuration { reachability_enabled: false, ..ON };
        let created = FeedEntry::of_state(&alice(), &off, &nobody, &online).unwrap();
        assert_eq!(created.webhooks, [UserAdded]);
    }

    #[test]
    fn a_webhook_tells_a_change_of_a_profile_if_it_was_asked_for() {
        let before = profile(true);
        for webhook_enabled in [true, false] {
            let same = User { webhook_enabled, version: 1, ..before.clone() };
            assert_eq!(FeedEntry::of_profile(&ON, &before, &same), None);
            let renamed = User { friendly_name: Some("Alice".to_owned()), ..same };
            let entry = FeedEntry::of_profile(&ON, &before, &renamed).unwrap();
            assert_eq!(!entry.webhooks.is_empty(), webhook_enabled);
        }
    }
}
