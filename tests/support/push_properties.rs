//! Properties of registrations, in any order of registering, unregistering and answers of the provider.

use std::time::Duration;

use proptest::prelude::*;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::ports::States;
use reachability_domain::push::binding::REGISTERED_FOR;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::ports::Bindings;
use reachability_domain::push::reason::Reason;
use reachability_domain::push::verdict::{TokenState, Verdict};
use reachability_domain::sid::{ServiceSid, Sid, UserSid};
use reachability_domain::time::Timestamp;

use crate::contract::bindings::binding;
use crate::generate::START;
use crate::harness::new_service;
use crate::properties::check;

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
            TokenState::Alive => false,
            TokenState::Dead { since, .. } => {
                answer.user == owner && at == answer.verdict.registered_at && since.is_none_or(|since| at < since)
            }
        };
        Some(now < at.plus(REGISTERED_FOR) && !self.heard.iter().any(kills))
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
        1 => prop_oneof![1..100u64, Just(364 * 86_400), Just(365 * 86_400)].prop_map(Step::Pass),
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
                    given.push(Answer { user, verdict: Verdict { registered_at, asked_at: now, token: word } });
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
                Step::Pass(seconds) => now = now.plus(Duration::from_secs(seconds)),
            }
            let keys = users.each_ref().map(User::key);
            let states = store.states(&keys).await.unwrap();
            for (user, state) in states.iter().enumerate() {
                let registrations = &state.registrations;
                let seen = registrations.ever().then(|| registrations.deliverable(now).next().is_some());
                prop_assert_eq!(seen, model.notifiable(user, now), "user {}", user);
                let is_good = model.dead_since.is_none()
                    && model.registered.is_some_and(|(owner, at)| owner == user && now < at.plus(REGISTERED_FOR));
                prop_assert!(!is_good || seen == Some(true), "user {} is reachable", user);
            }
        }
        Ok(())
    });
}
