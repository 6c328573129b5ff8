//! Judges what a feed has told by what was done.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use reachability_domain::directory::configuration::Configuration;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::change::{Change, Notice, ProfileChange, SwitchReason};
use reachability_domain::presence::change_reason::ChangeReason;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::presence::reasons::Visible;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::reason::Reason;
use reachability_domain::sid::{ServiceSid, UserSid};
use reachability_domain::time::Timestamp;

use crate::model::Settings;

/// What is done to the store. Users and services are given by their numbers in the case.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Events of a user are handled, in one batch.
    Events(usize, Vec<(Event, Acceptance)>),
    /// The due timers are handled.
    Timers,
    /// A device registers for a user: whoever takes the request has read an older configuration, or has not.
    Register { user: usize, device: usize, is_behind: bool },
    /// A device unregisters.
    Unregister { user: usize, device: usize },
    /// The provider answers about a device; `None`: its token is alive.
    Answer { user: usize, device: usize, dead: Option<&'static str> },
    /// A scan looks whether a registration has expired.
    Expire { user: usize, device: usize },
    /// A REST request creates a user.
    Create(usize),
    /// A REST request changes a profile.
    Profile(usize, u8),
    /// A REST request deletes a user.
    Delete(usize),
    /// Reachability of a service is switched on or off.
    Switch(usize, bool),
    /// The registrations are announced that are to be.
    FollowUps,
    /// The feed is delivered, so much at a time.
    Deliver(usize, Fault),
}

/// What goes wrong with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    /// Only so many notices are taken.
    Refused(usize),
    /// The push queue does not work.
    QueueDown,
    /// The consumer is killed before it remembers what it has delivered.
    Killed,
}

/// Some acts, all at once, and what there is after them.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) acts: Vec<Act>,
    /// The states of the users.
    pub(crate) states: Vec<UserState>,
    /// Whether reachability of each service is on, and in which generation.
    pub(crate) services: Vec<(bool, u32)>,
}

/// What a case did, from its beginning.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) settings: Settings,
    pub(crate) services: Vec<ServiceSid>,
    pub(crate) users: Vec<UserKey>,
    /// The first one is before anything was done.
    pub(crate) done: Vec<Done>,
    /// Each switch: the service, whether it is on, the generation, and the time.
    pub(crate) switches: Vec<(ServiceSid, bool, u32, i64)>,
}

/// The changes that were told, folded.
#[derive(Debug)]
pub struct Folded {
    users: BTreeMap<UserKey, Change>,
    profiles: BTreeMap<UserSid, ProfileChange>,
    services: BTreeMap<ServiceSid, (u32, bool)>,
}

impl Folded {
    /// Folds notices, whatever their order. Of those with the same revision the last one counts: a delivery that is
    /// repeated goes by the configuration as it is by then.
    pub fn of(notices: &[Notice]) -> Self {
        let mut this = Self { users: BTreeMap::new(), profiles: BTreeMap::new(), services: BTreeMap::new() };
        for notice in notices {
            match notice {
                Notice::User(change) => {
                    let last = this.users.entry(change.user.clone()).or_insert_with(|| change.clone());
                    if last.revision <= change.revision {
                        last.clone_from(change);
                    }
                }
                Notice::Profile(change) => {
                    let last = this.profiles.entry(change.user_sid).or_insert_with(|| change.clone());
                    if last.revision <= change.revision {
                        last.clone_from(change);
                    }
                }
                Notice::Service(switch) => {
                    let now = (switch.after.generation.0, !switch.after.reachability_enabled);
                    let last = this.services.entry(switch.service_sid).or_default();
                    *last = (*last).max(now);
                }
            }
        }
        this
    }

    /// What a subscriber believes of a user.
    pub fn visible(&self, user: &UserKey) -> Visible {
        let Some(change) = self.users.get(user) else { return Visible::default() };
        let (generation, is_off) = self.services.get(&user.service).copied().unwrap_or((0, true));
        let is_known = !is_off && generation == change.generation.0;
        Visible {
            reachability: if is_known { change.after.reachability } else { Reachability::UNKNOWN },
            ..change.after.clone()
        }
    }

    /// The user's sid; `None` if there is no such user.
    pub fn user_sid(&self, user: &UserKey) -> Option<UserSid> {
        self.users.get(user).filter(|change| change.after.exists).and_then(|change| change.user_sid)
    }

    /// The last change of a profile.
    pub fn profile(&self, user: UserSid) -> Option<&ProfileChange> {
        self.profiles.get(&user)
    }

    /// Whether a service is on, and in which generation.
    pub fn service(&self, service: ServiceSid) -> (bool, u32) {
        let (generation, is_off) = self.services.get(&service).copied().unwrap_or((0, true));
        (!is_off, generation)
    }
}

/// What subscribers must have been told once everything is delivered: each state at the time of its last write.
pub(crate) fn told(configuration: &Configuration, state: &UserState) -> Visible {
    let Appearance { mut reachability, status, .. } = Appearance::of(configuration, state, state.as_of, Viewer::Other);
    if state.registrations.announced_in() != Some(configuration.generation) {
        reachability.notifiable = None;
    }
    Visible { exists: state.sid.is_some(), reachability, status }
}

impl Course {
    /// Judges all notices so far, in the order of their arrival.
    pub(crate) fn judge(&self, notices: &[Notice]) -> Result<(), String> {
        for notice in notices {
            let is_ours = match notice.identity() {
                None => self.services.contains(&notice.service()),
                Some(identity) => {
                    self.users.contains(&UserKey { service: notice.service(), identity: identity.clone() })
                }
            };
            if !is_ours {
                return Err(format!("nobody here: {notice:?}"));
            }
        }
        for writes in self.done.windows(2) {
            for (before, after) in writes[0].states.iter().zip(&writes[1].states) {
                // Only a timer is set without one.
                let is_same = *after == UserState { next_timer: after.next_timer, ..before.clone() };
                if after.revision < before.revision || after.revision == before.revision && !is_same {
                    return Err(format!("no new revision: {after:?} after {before:?}, by {:?}", writes[1].acts));
                }
            }
        }
        self.judge_switches(notices)?;
        for (number, user) in self.users.iter().enumerate() {
            let changes = notices.iter().filter_map(|notice| match notice {
                Notice::User(change) if change.user == *user => Some((change.revision, change)),
                _ => None,
            });
            self.judge_user(number, &in_order(changes)?)?;
            let profiles = notices.iter().filter_map(|notice| match notice {
                Notice::Profile(change) if change.user == *user => Some((change.revision, change)),
                _ => None,
            });
            self.judge_profiles(number, &in_order(profiles)?)?;
        }
        Ok(())
    }

    fn judge_switches(&self, notices: &[Notice]) -> Result<(), String> {
        for service in &self.services {
            let mut told = vec![];
            let mut last = (false, 0);
            for notice in notices {
                let Notice::Service(switch) = notice else { continue };
                if switch.service_sid != *service || switch.reason == SwitchReason::Deleted {
                    continue;
                }
                let [was, is] = [switch.before, switch.after].map(|it| (it.reachability_enabled, it.generation.0));
                let at = switch.at.map_or(-1, Timestamp::as_millis);
                if told.contains(&(*service, is.0, is.1, at)) {
                    continue;
                }
                if was != last {
                    return Err(format!("it was {last:?}: {switch:?}"));
                }
                last = is;
                told.push((*service, is.0, is.1, at));
            }
            let done: Vec<_> = self.switches.iter().copied().filter(|(of, ..)| of == service).collect();
            if told != done {
                return Err(format!("switches {told:?}, not {done:?}"));
            }
        }
        Ok(())
    }

    /// Each change follows from the one before, with nothing in between except switches.
    fn judge_user(&self, user: usize, changes: &[&Change]) -> Result<(), String> {
        let service = self.services.iter().position(|service| *service == self.users[user].service).unwrap_or_default();
        let is_off = |generation: u32| {
            self.switches.iter().any(|(of, on, it, _)| *of == self.users[user].service && !on && *it == generation)
        };
        let mut last: Option<&Change> = None;
        for change in changes {
            let fail = |what: &str| Err(format!("{what}: {change:?}, after {last:?}"));
            follows(last, change, is_off)?;
            let generation = change.generation.0;
            let is_silent = is_unknown(&change.before) && is_unknown(&change.after);
            let at = self.done.iter().position(|done| change.revision <= done.states[user].revision);
            let Some(at) = at.filter(|at| *at > 0) else { return fail("there was no such write") };
            let configurations = [at - 1, at].map(|at| self.done[at].services[service]);
            if !is_silent && !configurations.contains(&(true, generation)) {
                return fail("reachability was off");
            }
            let [was, is] = [at - 1, at].map(|at| self.done[at].states[user].sid);
            // With several writes at once, the user may have come and gone in between.
            let is_alone = self.done[at].acts.len() == 1;
            if change.user_sid.is_none() || is_alone && change.user_sid != is.or(was) {
                return fail("it is somebody else");
            }
            self.judge_reasons(user, at, change)?;
            last = Some(*change);
        }
        Ok(())
    }

    /// Each reason is one that what was done gives.
    fn judge_reasons(&self, user: usize, at: usize, change: &Change) -> Result<(), String> {
        let (was, is) = (&change.before, &change.after);
        let (online, notifiable) = (
            (was.reachability.online, is.reachability.online),
            (was.reachability.notifiable, is.reachability.notifiable),
        );
        for (field, given, right) in [
            (
                "exists",
                &change.reasons.exists,
                (was.exists != is.exists).then(|| self.of_existence(user, at, is.exists)),
            ),
            (
                "is_online",
                &change.reasons.is_online,
                (online.0 != online.1).then(|| self.of_online(user, at, online.1)),
            ),
            (
                "is_notifiable",
                &change.reasons.is_notifiable,
                (notifiable.0 != notifiable.1).then(|| self.of_notifiable(user, at, change)),
            ),
        ] {
            let is_right = match (given, &right) {
                (None, None) => true,
                (Some(given), Some(right)) => right.contains(&given.to_string()),
                _ => false,
            };
            if !is_right {
                let acts = &self.done[at].acts;
                return Err(format!("{field}: {given:?}, not {right:?}: {change:?}, by {acts:?}"));
            }
        }
        Ok(())
    }

    fn of_existence(&self, user: usize, at: usize, exists: bool) -> BTreeSet<String> {
        let word = |act: &Act| match act {
            Act::Events(of, events) if *of == user && exists => {
                events.iter().any(|(it, _)| it.renews_lease()).then_some("connect")
            }
            Act::Register { user: of, .. } if *of == user && exists => Some("registered"),
            Act::Create(of) if *of == user && exists => Some("profile"),
            Act::Delete(of) if *of == user && !exists => Some("deleted"),
            _ => None,
        };
        self.done[at].acts.iter().filter_map(word).map(str::to_owned).collect()
    }

    fn of_online(&self, user: usize, at: usize, online: Option<bool>) -> BTreeSet<String> {
        let acts = &self.done[at].acts;
        let word = match online {
            Some(true) => acts
                .iter()
                .any(|act| matches!(act, Act::Events(of, events) if *of == user && events.iter().any(|(it, _)| it.renews_lease())))
                .then_some("connect"),
            Some(false) => return self.ends(user, at),
            None => acts.iter().any(|act| matches!(act, Act::Delete(of) if *of == user)).then_some("deleted"),
        };
        word.into_iter().map(str::to_owned).collect()
    }

    fn of_notifiable(&self, user: usize, at: usize, change: &Change) -> BTreeSet<String> {
        let acts = &self.done[at].acts;
        let (was, is) = (change.before.reachability.notifiable, change.after.reachability.notifiable);
        let of_act = |act: &Act| -> Option<String> {
            let word = match (act, was, is) {
                (Act::Delete(of), _, None) if *of == user => "deleted",
                (Act::FollowUps, None, Some(_)) => "switched",
                (Act::Register { user: of, .. }, _, Some(true)) if *of == user => "registered",
                (Act::Answer { user: of, dead: None, .. }, Some(false), Some(true)) if *of == user => "confirmed",
                (Act::Unregister { user: of, .. }, Some(true), Some(false)) if *of == user => "unregistered",
                // It has the device now.
                (Act::Register { user: of, .. }, Some(true), Some(false)) if *of != user => "unregistered",
                (Act::Answer { user: of, dead: Some(word), .. }, Some(true), Some(false)) if *of == user => {
                    return Some(ChangeReason::Provider(Reason::new(word)).to_string());
                }
                (Act::Expire { user: of, .. }, Some(true), Some(false)) if *of == user => "expired",
                _ => return None,
            };
            Some(word.to_owned())
        };
        let mut words: BTreeSet<String> = acts.iter().filter_map(of_act).collect();
        // By then the registrations had ended by themselves.
        if (was, is) == (Some(true), Some(false))
            && self.done[at - 1].states[user].registrations.deliverable_until() <= change.at
        {
            if acts.len() == 1 {
                words.clear();
            }
            words.insert("expired".to_owned());
        }
        words
    }

    /// Why a user can have gone offline: how the last connection ended, of those that were heard of before, and with any
    /// part of what was done at once.
    fn ends(&self, user: usize, at: usize) -> BTreeSet<String> {
        let heard = |done: &Done| -> Vec<Vec<(Event, Acceptance)>> {
            let of = |act: &Act| match act {
                Act::Events(of, events) if *of == user => Some(events.clone()),
                _ => None,
            };
            done.acts.iter().filter_map(of).collect()
        };
        let earlier: Vec<(Event, Acceptance)> = self.done[..at].iter().flat_map(heard).flatten().collect();
        let now = heard(&self.done[at]);
        let is_alone = self.done[at].acts.len() == 1;
        let parts = if is_alone { (1 << now.len()) - 1..1 << now.len() } else { 0..1 << now.len() };
        let mut ends = BTreeSet::new();
        for part in parts {
            let part = now.iter().enumerate().filter(|(n, _)| part >> n & 1 == 1).flat_map(|(_, events)| events);
            let all: Vec<&(Event, Acceptance)> = earlier.iter().chain(part).collect();
            for at in if is_alone { at..=at } else { at - 1..=at } {
                // A state forgets it after a while.
                let deleted = self.done[..=at].iter().filter_map(|done| done.states[user].deleted_at).max();
                let deleted = deleted.map_or(i64::MIN, Timestamp::as_millis);
                ends.extend(
                    self.last_ends(all.iter().copied().filter(|(event, _)| deleted < event.occurred_at.as_millis())),
                );
            }
        }
        ends
    }

    /// How the last of all connections ended. It may be several that ended at once.
    fn last_ends<'a>(&self, events: impl Iterator<Item = &'a (Event, Acceptance)>) -> BTreeSet<String> {
        #[derive(Default)]
        struct Known {
            lease_end: Option<i64>,
            ends: Vec<(i64, EndReason)>,
        }
        let mut connections: BTreeMap<&str, Known> = BTreeMap::new();
        for (event, acceptance) in events {
            let at = event.occurred_at.as_millis();
            let known = connections.entry(event.connection.as_str()).or_default();
            match &event.kind {
                EventKind::Connect { lease, .. } | EventKind::Renew { lease } => {
                    if *acceptance != Acceptance::Off {
                        let lease = lease.map(|lease| lease.as_millis() as i64).or(self.settings.lease);
                        known.lease_end = known.lease_end.max(Some(lease.map_or(i64::MAX, |lease| at + lease)));
                    }
                }
                EventKind::Disconnect { reason: EndReason::ClientClosed } => {
                    known.ends.push((at, EndReason::ClientClosed));
                }
                EventKind::Disconnect { reason } => known.ends.push((at + self.settings.grace, *reason)),
            }
        }
        let opened = connections.values().filter_map(|known| {
            let lease_end = known.lease_end?;
            let end = known.ends.iter().map(|(at, _)| *at).min().unwrap_or(i64::MAX);
            let at_end = known.ends.iter().filter(|(at, _)| *at == end && end <= lease_end);
            let words: BTreeSet<String> = at_end.map(|(_, reason)| ChangeReason::from(*reason).to_string()).collect();
            let words = if words.is_empty() { BTreeSet::from(["lease_ended".to_owned()]) } else { words };
            Some((lease_end.min(end), words))
        });
        let opened: Vec<(i64, BTreeSet<String>)> = opened.collect();
        let last = opened.iter().map(|(end, _)| *end).max();
        opened.into_iter().filter(|(end, _)| Some(*end) == last).flat_map(|(_, words)| words).collect()
    }

    fn judge_profiles(&self, user: usize, changes: &[&ProfileChange]) -> Result<(), String> {
        let mut last: Option<&ProfileChange> = None;
        for change in changes {
            let follows = match last.filter(|last| last.user_sid == change.user_sid) {
                Some(last) => change.before == last.profile,
                None => {
                    let name = change.before.friendly_name.as_deref();
                    name.is_none_or(|name| name == CREATED) && change.before.attributes == "{}"
                }
            };
            let at = self.done.iter().position(|done| change.revision <= done.states[user].revision);
            let acts = at.map_or(&[][..], |at| &self.done[at].acts);
            let is_done = acts.iter().any(|act| matches!(act, Act::Profile(of, _) if *of == user));
            if change.before == change.profile || !follows || !is_done || change.reason != ChangeReason::Profile {
                return Err(format!("{change:?} does not follow {last:?}, by {acts:?}"));
            }
            last = Some(*change);
        }
        Ok(())
    }
}

fn is_unknown(visible: &Visible) -> bool {
    visible.reachability == Reachability::UNKNOWN
}

/// A change follows from the one before, with nothing in between except switches.
fn follows(last: Option<&Change>, change: &Change, is_off: impl Fn(u32) -> bool) -> Result<(), String> {
    let (known, in_generation) = last.map_or((Visible::default(), 0), |last| (last.after.clone(), last.generation.0));
    let reset = Visible { reachability: Reachability::UNKNOWN, ..known.clone() };
    let generation = change.generation.0;
    let follows = match generation.cmp(&in_generation) {
        Ordering::Less => false,
        Ordering::Greater => change.before == reset,
        Ordering::Equal => {
            let is_silent = is_unknown(&change.before) && is_unknown(&change.after);
            change.before == known || is_off(generation) && is_silent && change.before == reset
        }
    };
    let is_later = last.is_none_or(|last| last.at <= change.at);
    if follows && is_later && change.before != change.after {
        return Ok(());
    }
    Err(format!("{change:?} does not follow from {last:?}"))
}

/// Whether the changes of each user follow from each other, in whatever order they arrived.
pub fn follow_from_each_other(notices: &[Notice]) -> Result<(), String> {
    let mut users: BTreeMap<&UserKey, BTreeMap<u64, &Change>> = BTreeMap::new();
    for notice in notices {
        if let Notice::User(change) = notice {
            users.entry(&change.user).or_default().insert(change.revision, change);
        }
    }
    for changes in users.into_values() {
        let mut last = None;
        for change in changes.into_values() {
            let is_off = |generation: u32| {
                notices.iter().any(|notice| {
                    matches!(notice, Notice::Service(switch) if switch.service_sid == change.user.service
                        && switch.after.generation.0 == generation && !switch.after.reachability_enabled)
                })
            };
            follows(last, change, is_off)?;
            last = Some(change);
        }
    }
    Ok(())
}

/// The friendly name of users that REST requests create.
pub(crate) const CREATED: &str = "created";

/// What was told, without repetitions: each revision arrives for the first time after all earlier ones. Of what arrives
/// again, the last counts.
fn in_order<T>(told: impl Iterator<Item = (u64, T)>) -> Result<Vec<T>, String> {
    let mut known: BTreeMap<u64, T> = BTreeMap::new();
    for (revision, one) in told {
        let last = known.last_key_value().map(|(last, _)| *last);
        if known.insert(revision, one).is_none() && last.is_some_and(|last| revision < last) {
            return Err(format!("revision {revision} arrives after {last:?}"));
        }
    }
    Ok(known.into_values().collect())
}
