//! Properties of registrations, in any order of registering, unregistering and answers of the provider.

use std::time::Duration;

use proptest::prelude::*;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::ports::States;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::credential::CredentialUse;
use reachability_domain::push::environment::Environment;
use reachability_domain::push::lifetime::Lifetime;
use reachability_domain::push::ports::Bindings;
use reachability_domain::push::reason::Reason;
use reachability_domain::push::verdict::{TokenState, Verdict};
use reachability_domain::sid::{ServiceSid, Sid, UserSid};
use reachability_domain::time::Timestamp;

use crate::contract::bindings::{binding, verdict};
use crate::generate::START;
use crate::harness::new_service;
use crate::properties::check;

/// From then on after a registration, an answer is about it, though the token be dead since before.
const A_DAY: Duration = Duration::from_secs(86_400);

/// A step in the life of one device, which two users share. Time passes with every step.
#[derive(Debug, Clone)]
enum Step {
    /// An app registers the device for a user, with a valid token of the provider.
    Register(usize),
    /// A user unregisters it.
    Unregister(usize),
    /// The app is removed from the device: from now on the provider reports the token as dead. The provider's clock may
    /// be behind by this many milliseconds.
    Uninstall(i64),
    /// A process asks the provider about a user's registration. The answer does not arrive yet.
    Ask(usize),
    /// Any of the answers so far arrives, so it may be late, overtaken, or a repetition.
    Answer(prop::sample::Index),
    /// A scan looks for registrations that have expired.
    Sweep,
    /// A scan finds that registrations count for so many days now.
    SetLifetime(u16),
    /// Time passes, in seconds.
    Pass(u64),
}

/// An answer of the provider.
#[derive(Debug, Clone)]
struct Answer {
    /// The user whose registration it is about.
    user: usize,
    verdict: Verdict,
}

/// The real device, and what can be known of it. Unlike the product, the model remembers everything.
#[derive(Debug, Default)]
struct Model {
    /// The user who has it, and the time of the last registration.
    registered: Option<(usize, Timestamp)>,
    /// For how long that registration counts.
    lifetime: Lifetime,
    /// The users who have had it at some time.
    ever: [bool; 2],
    /// Since when its token is dead, by the provider's clock.
    dead_since: Option<Timestamp>,
    /// The answers that have arrived.
    heard: Vec<Answer>,
}

impl Model {
    /// What readers see as `is_notifiable`.
    fn notifiable(&self, user: usize, now: Timestamp) -> Option<bool> {
        if !self.ever[user] {
            return None;
        }
        let Some((owner, at)) = self.registered.filter(|(owner, _)| *owner == user) else { return Some(false) };
        let kills = |answer: &Answer| match &answer.verdict.token {
            TokenState::Alive | TokenState::Mismatched { .. } => false,
            TokenState::Dead { since, .. } => {
                answer.user == owner
                    && at == answer.verdict.registered_at
                    && since.is_none_or(|since| at < since || at.plus(A_DAY) <= answer.verdict.asked_at)
            }
        };
        Some(now < self.lifetime.end(at) && !self.heard.iter().any(kills))
    }
}

/// Registrations, unregistrations, expiries and the provider's answers interleave, arrive late and arrive twice. A user
/// is notifiable as far as the product can know, and a user with a good device never counts as unreachable.
pub fn a_registration_is_dead_exactly_when_its_token_is(store: &(impl Services + States + Bindings), cases: u32) {
    let step = prop_oneof![
        3 => (0..2usize).prop_map(Step::Register),
        1 => (0..2usize).prop_map(Step::Unregister),
        2 => (0..4i64).prop_map(Step::Uninstall),
        4 => (0..2usize).prop_map(Step::Ask),
        6 => any::<prop::sample::Index>().prop_map(Step::Answer),
        1 => Just(Step::Sweep),
        1 => prop_oneof![Just(1), Just(364), Just(365), 1..=365u16].prop_map(Step::SetLifetime),
        1 => prop_oneof![1..100u64, Just(86_400), Just(364 * 86_400), Just(365 * 86_400)].prop_map(Step::Pass),
    ];
    check(cases, proptest::collection::vec(step, 1..40), |case, steps| async move {
        let service = new_service(ServiceSid::from_bits(1 << 100 | case));
        store.create_service(&service).await.unwrap();
        let user = |n: usize| {
            let key = UserKey { service: service.sid, identity: format!("user {n}").parse().unwrap() };
            User::new(UserSid::from_bits(case << 8 | n as u128), key, None, Timestamp::from_millis(START))
        };
        let users = [user(0), user(1)];
        let mut model = Model::default();
        let mut given: Vec<Answer> = Vec::new();
        let mut now = Timestamp::from_millis(START);
        for step in steps {
            now = now.plus(Duration::from_millis(1));
            let bindings = users.each_ref().map(|user| binding(user, Channel::Apn, "00ff", now));
            let act = async |user: usize, action: BindingCommand| {
                store.apply(service.sid, bindings[0].device(), &action, Some(&users[user]), now).await.unwrap()
            };
            match step {
                Step::Register(user) => {
                    act(user, BindingCommand::Register { binding: bindings[user].clone(), generation: Generation(1) })
                        .await;
                    model.registered = Some((user, now));
                    model.lifetime = Lifetime::YEAR;
                    model.ever[user] = true;
                    model.dead_since = None;
                }
                Step::Unregister(user) => {
                    act(user, BindingCommand::Unregister(bindings[user].sid)).await;
                    model.registered = model.registered.filter(|(owner, _)| *owner != user);
                }
                Step::Uninstall(behind) => {
                    let since = Timestamp::from_millis(now.as_millis() - behind);
                    model.dead_since = model.dead_since.or(Some(since));
                }
                Step::Ask(user) => {
                    let word = match model.dead_since {
                        None => TokenState::Alive,
                        // Some providers report the time of death, others do not.
                        since => TokenState::Dead {
                            reason: Reason::new("Unregistered"),
                            since: since.filter(|since| since.as_millis() % 2 == 0),
                        },
                    };
                    // The product asks only about registrations, or about one that was removed a moment ago.
                    let registered = model.registered.filter(|(owner, _)| *owner == user);
                    let registered_at = registered.map_or(now, |(_, at)| at);
                    given.push(Answer { user, verdict: verdict(registered_at, now, word) });
                }
                Step::Answer(_) if given.is_empty() => {}
                Step::Answer(index) => {
                    let answer = index.get(&given).clone();
                    act(answer.user, BindingCommand::ApplyVerdict(bindings[answer.user].sid, answer.verdict.clone()))
                        .await;
                    model.heard.push(answer);
                }
                Step::Sweep => {
                    for (user, binding) in bindings.iter().enumerate() {
                        act(user, BindingCommand::Expire(binding.sid)).await;
                    }
                }
                Step::SetLifetime(days) => {
                    let lifetime = Lifetime::new(Channel::Apn, days).unwrap();
                    for (user, binding) in bindings.iter().enumerate() {
                        let counts = model.notifiable(user, now) == Some(true);
                        act(user, BindingCommand::SetLifetime(binding.sid, lifetime)).await;
                        if counts {
                            model.lifetime = lifetime;
                        }
                    }
                }
                Step::Pass(seconds) => now = now.plus(Duration::from_secs(seconds)),
            }
            let keys = users.each_ref().map(User::key);
            let states = store.states(&keys).await.unwrap();
            for (user, state) in states.iter().enumerate() {
                let registrations = &state.registrations;
                let seen = registrations.ever().then(|| registrations.deliverable(now).next().is_some());
                prop_assert_eq!(seen, model.notifiable(user, now), "user {}", user);
                let is_good = model.dead_since.is_none()
                    && model.registered.is_some_and(|(owner, at)| owner == user && now < model.lifetime.end(at));
                prop_assert!(!is_good || seen == Some(true), "user {} is reachable", user);
            }
        }
        Ok(())
    });
}

/// A step in the life of a device that can be of either environment, and of its credential. Time passes with every step.
#[derive(Debug, Clone)]
enum Turn {
    Register,
    Uninstall,
    /// The owner changes the credential: whether it is a signing key, and for which environment.
    Change(bool, Environment),
    /// A process asks the provider about the registration, with the credential as it is, or as it was before the last change. The
    /// answer does not arrive yet.
    Ask(bool),
    /// Any of the answers so far arrives.
    Answer(prop::sample::Index),
    /// A scan finds that the credential has changed.
    Scan,
}

/// The keys of the credential from one change to the next.
#[derive(Debug, Clone, Copy)]
struct Keys {
    since: Timestamp,
    is_signing_key: bool,
    environment: Environment,
}

/// What APNs says of a token, asked in an environment.
fn apns(asked_in: Environment, of: Environment, is_installed: bool) -> TokenState {
    match (asked_in == of, is_installed) {
        (false, _) => TokenState::Mismatched { reason: Reason::new(Reason::BAD_DEVICE_TOKEN) },
        (true, true) => TokenState::Alive,
        (true, false) => TokenState::Dead { reason: Reason::new("Unregistered"), since: None },
    }
}

/// Devices of both environments, credentials for either or for both that change, and answers that are late, overtaken or repeated:
/// a registration that the provider would take never dies, and none that it would not take stays notifiable once it is asked about.
pub fn a_registration_counts_as_its_provider_would_take_it(store: &(impl Services + States + Bindings), cases: u32) {
    let environment = || prop_oneof![Just(Environment::Production), Just(Environment::Sandbox)];
    let turn = prop_oneof![
        2 => Just(Turn::Register),
        1 => Just(Turn::Uninstall),
        2 => (any::<bool>(), environment()).prop_map(|(key, environment)| Turn::Change(key, environment)),
        4 => any::<bool>().prop_map(Turn::Ask),
        6 => any::<prop::sample::Index>().prop_map(Turn::Answer),
        2 => Just(Turn::Scan),
    ];
    let steps = (environment(), proptest::collection::vec(turn, 1..40));
    check(cases, steps, |case, (of, turns)| async move {
        let service = new_service(ServiceSid::from_bits(1 << 101 | case));
        store.create_service(&service).await.unwrap();
        let key = UserKey { service: service.sid, identity: "alice".parse().unwrap() };
        let user = User::new(UserSid::from_bits(case), key.clone(), None, Timestamp::from_millis(START));
        let mut now = Timestamp::from_millis(START);
        let template = binding(&user, Channel::Apn, "00ff", now);
        let sid = template.sid;
        let credential = template.credential_sid.unwrap();
        let mut keys = vec![Keys { since: Timestamp::default(), is_signing_key: true, environment: of }];
        let mut is_installed = false;
        let mut given: Vec<Verdict> = vec![];
        let act = async |command: BindingCommand, now| {
            store.apply(service.sid, template.device(), &command, Some(&user), now).await.unwrap()
        };
        // What the pusher does: it asks about what is not dead, and a signing key may find the other environment.
        let ask = async |keys: Keys, is_installed, now| {
            let known = store.binding(service.sid, sid).await.unwrap().filter(|known| known.death.is_none())?;
            let first = known.environment.filter(|_| keys.is_signing_key).unwrap_or(keys.environment);
            let is_confirmed = known.confirmed_at.is_some() && known.learnt_with == keys.since;
            let token = apns(first, of, is_installed);
            let is_elsewhere = matches!(token, TokenState::Mismatched { .. }) && keys.is_signing_key && !is_confirmed;
            let (environment, token) = match apns(first.other(), of, is_installed) {
                TokenState::Mismatched { .. } => (first, token),
                other if is_elsewhere => (first.other(), other),
                _ => (first, token),
            };
            let credential = CredentialUse { sid: credential, since: keys.since };
            let (registered_at, environment) = (known.registered_at, Some(environment));
            Some(Verdict { registered_at, asked_at: now, credential, environment, token })
        };
        let scan = |keys: &[Keys]| {
            let since = keys.last().map(|keys| keys.since).unwrap_or_default();
            BindingCommand::ForgetCredential(sid, CredentialUse { sid: credential, since })
        };
        let step = Duration::from_millis(1);
        for turn in turns {
            now = now.plus(step);
            match turn {
                Turn::Register => {
                    let binding = Binding { registered_at: now, date_updated: now, ..template.clone() };
                    act(BindingCommand::Register { binding, generation: Generation(1) }, now).await;
                    is_installed = true;
                }
                Turn::Uninstall => is_installed = false,
                Turn::Change(is_signing_key, environment) => {
                    keys.push(Keys { since: now, is_signing_key, environment });
                }
                Turn::Ask(is_late) => {
                    let used = keys[keys.len().saturating_sub(1 + usize::from(is_late))];
                    given.extend(ask(used, is_installed, now).await);
                }
                Turn::Answer(_) if given.is_empty() => {}
                Turn::Answer(index) => {
                    act(BindingCommand::ApplyVerdict(sid, index.get(&given).clone()), now).await;
                }
                Turn::Scan => drop(act(scan(&keys), now).await),
            }
            let Some(known) = store.binding(service.sid, sid).await.unwrap() else { continue };
            prop_assert!(!is_installed || known.status() != "dead", "a good registration is dead: {known:?}");
        }
        if store.binding(service.sid, sid).await.unwrap().is_none() {
            return Ok(());
        }
        // In the end the scan comes by, and the provider is asked once more.
        now = now.plus(step);
        act(scan(&keys), now).await;
        let current = keys[keys.len() - 1];
        if let Some(verdict) = ask(current, is_installed, now).await {
            act(BindingCommand::ApplyVerdict(sid, verdict), now).await;
        }
        let takes = is_installed && (current.is_signing_key || current.environment == of);
        let state = store.states(&[key]).await.unwrap().remove(0);
        prop_assert_eq!(state.registrations.deliverable(now).count() == 1, takes, "{:?}", current);
        Ok(())
    });
}
