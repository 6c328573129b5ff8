//! What must hold of random logs, on any store.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use crate::store::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use reachability_domain::directory::user::UserRef;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::event::Event;
use reachability_domain::presence::message::{Check, PresenceMessage};
use reachability_domain::presence::timer::MAX_LATE;
use reachability_domain::sid::{ServiceSid, Sid};
use reachability_domain::time::Timestamp;

use crate::generate::{self, LENGTH, START, log_and_delivery, users};
use crate::harness::{Harness, SETTINGS};
use crate::model::{Model, Settings};

/// Runs a property in this many cases, each with its own number and generated value.
pub(crate) fn check<S: Strategy, F: Future<Output = Result<(), TestCaseError>>>(
    cases: u32,
    strategy: S,
    property: impl Fn(u128, S::Value) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let case = std::cell::Cell::new(0u128);
    let result = runner.run(&strategy, |value| {
        case.set(case.get() + 1);
        runtime.block_on(property(case.get(), value))
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// Moves an event to services that only this case uses, so that cases can share a store.
fn in_case(case: u128, mut event: Event) -> Event {
    event.user.service = service_in_case(case, event.user.service);
    event
}

pub(crate) fn service_in_case(case: u128, service: ServiceSid) -> ServiceSid {
    ServiceSid::from_bits((case << 8) + service.bits())
}

/// Switches a service of this case, and of its model.
async fn switch(case: u128, harness: &Harness, model: &mut Model, n: u128, on: bool) {
    let service = service_in_case(case, generate::service(n));
    harness.switch(service, on).await;
    model.switch(service, on);
}

/// If a log is shuffled, repeated and cut into batches in any way, the result is what the model says.
pub fn order_and_repetition_do_not_matter(store: &Arc<dyn Store>, cases: u32) {
    let unlimited = Settings { lease: None, ..SETTINGS };
    let settings = prop_oneof![4 => Just(SETTINGS), 1 => Just(unlimited)];
    check(cases, (log_and_delivery(), settings), |case, ((log, batches), settings)| async move {
        let harness = Harness::new(store.clone(), settings);
        let mut model = Model::new(settings);
        for n in [1, 2] {
            switch(case, &harness, &mut model, n, true).await;
        }
        let end = START + LENGTH;
        for batch in batches {
            let batch: Vec<Event> = batch.into_iter().map(|event| in_case(case, event)).collect();
            harness.deliver(&batch, end).await;
        }
        for event in log {
            model.arrive(&in_case(case, event));
        }
        for mut user in users() {
            user.service = service_in_case(case, user.service);
            // At the end, and while grace periods and leases run out.
            for now in [0, 1_000, 9_999, 10_000, 60_000, 119_999, 120_000, 300_000].map(|later| end + later) {
                let truth = model.truth(&user, now);
                prop_assert_eq!(harness.read(&user, now).await.online, truth.online, "{:?} at {}", user, now - end);
            }
            let presence = harness.state(&user).await.presence;
            let last_active = presence.last_active.map(Timestamp::as_millis);
            prop_assert_eq!(last_active, model.truth(&user, end).last_active);
            prop_assert_eq!(presence.openings, model.openings(&user));
            let found = harness.store.user(user.service, &UserRef::Identity(user.identity.clone())).await.unwrap();
            prop_assert_eq!(found.is_some(), model.exists(&user));
        }
        Ok(())
    });
}

/// A step in a test of switching.
#[derive(Debug, Clone)]
enum Step {
    /// Reachability of a service is switched.
    Switch(u128, bool),
    /// An event arrives that has just occurred.
    Event(Event),
    /// An event that has arrived before arrives again: from its queue, or from whoever sent it.
    Again(prop::sample::Index, bool),
    /// Time passes, in seconds.
    Pass(i64),
    /// Timers are delivered that are due within this many milliseconds: the queue's clock is ahead.
    Early(i64),
    /// A timer is lost.
    Lose(prop::sample::Index),
}

/// Reachability is switched on and off, events arrive and time passes, in any order. At every moment readers see what
/// the model says; once the timers are handled, watchers have been told the same. If a user's timer is lost, they have been
/// from the first event on that arrives when it is overdue by a minute.
pub fn switching_and_passing_time_match_the_model(store: &Arc<dyn Store>, cases: u32) {
    let step = prop_oneof![
        2 => (1..=2u128, any::<bool>()).prop_map(|(service, on)| Step::Switch(service, on)),
        8 => generate::event().prop_map(Step::Event),
        2 => any::<(prop::sample::Index, bool)>().prop_map(|(index, from_queue)| Step::Again(index, from_queue)),
        3 => prop_oneof![1..100i64, 100..1_000i64].prop_map(Step::Pass),
        1 => prop_oneof![Just(1i64), 1..20_000i64].prop_map(Step::Early),
        1 => any::<prop::sample::Index>().prop_map(Step::Lose),
    ];
    check(cases, proptest::collection::vec(step, 1..40), |case, steps| async move {
        let harness = Harness::new(store.clone(), SETTINGS);
        let mut model = Model::new(SETTINGS);
        for n in [1, 2] {
            switch(case, &harness, &mut model, n, false).await;
        }
        let mut now = START;
        let mut arrived: Vec<(Event, PresenceMessage)> = vec![];
        let mut deliveries = 0;
        // When the timers were due that were lost, by their users.
        let mut lost: BTreeMap<UserKey, Timestamp> = BTreeMap::new();
        for step in steps {
            let mut heard_of = None;
            match step {
                Step::Switch(n, on) => switch(case, &harness, &mut model, n, on).await,
                Step::Event(event) => {
                    let mut event = in_case(case, event);
                    event.occurred_at = Timestamp::from_millis(now);
                    // The id of a connection that has ended is never used again.
                    let ended = |(earlier, _): &&(Event, PresenceMessage)| {
                        !earlier.renews_lease()
                            && earlier.user == event.user
                            && earlier.connection.as_str().starts_with(event.connection.as_str())
                    };
                    let ends = arrived.iter().filter(ended).count();
                    event.connection = format!("{}-{ends}", event.connection).parse().unwrap();
                    model.arrive(&event);
                    deliveries += 1;
                    let message = harness.accept(&event).await;
                    harness.handle(vec![message.clone()], now).await;
                    heard_of = Some(event.user.clone());
                    arrived.push((event, message));
                }
                Step::Again(index, from_queue) => {
                    // Redeliveries arrive within a quarter of an hour.
                    let late = |event: &Event| event.occurred_at.as_millis() > now - 15 * 60_000;
                    let late: Vec<_> = arrived.iter().filter(|(event, _)| late(event)).collect();
                    if late.is_empty() {
                        continue;
                    }
                    deliveries += 1;
                    let (event, message) = (*index.get(&late)).clone();
                    heard_of = Some(event.user);
                    if from_queue {
                        harness.redeliver(message, now).await;
                    } else {
                        harness.handle(vec![message], now).await;
                    }
                }
                Step::Pass(seconds) => {
                    let until = now + seconds * 1_000;
                    while let Some(due) = harness.timers.next().map(Timestamp::as_millis).filter(|due| *due <= until) {
                        now = now.max(due);
                        harness.tick(now).await;
                    }
                    now = until;
                }
                Step::Early(early) => harness.tick_early(now, early).await,
                Step::Lose(index) => {
                    if let Some(check) = harness.timers.lose(|timers| index.index(timers))
                        && harness.state(&check.user).await.next_timer == Some(check.due_at)
                        && !harness.timers.contains(&check)
                    {
                        lost.insert(check.user, check.due_at);
                    }
                }
            }
            if let Some(user) = heard_of
                && let Some(due) = lost.get(&user)
                && (due.plus(MAX_LATE) <= Timestamp::from_millis(now)
                    || harness.state(&user).await.next_timer != Some(*due)
                    || harness.timers.contains(&Check { user: user.clone(), due_at: *due }))
            {
                lost.remove(&user);
            }
            for mut user in users() {
                user.service = service_in_case(case, user.service);
                let truth = model.truth(&user, now).online;
                prop_assert_eq!(harness.read(&user, now).await.online, truth, "read of {:?}", user);
                if !lost.contains_key(&user) {
                    prop_assert_eq!(harness.told(&user).await.online, truth, "told of {:?}", user);
                }
            }
            // The number of timers is limited.
            prop_assert!(harness.timers.count() <= deliveries, "{} timers of {deliveries}", harness.timers.count());
        }
        Ok(())
    });
}

/// A step in a test of acceptance.
#[derive(Debug, Clone)]
enum Moment {
    /// Reachability of a service is switched.
    Switch(u128, bool),
    /// An event that has just occurred is accepted, and waits.
    Accept(Event),
    /// A user is deleted, if it exists by now.
    Delete(usize),
    /// Some of the waiting events are handled, in a batch.
    Handle(Vec<prop::sample::Index>),
    /// Time passes, in milliseconds.
    Pass(i64),
}

/// Events are accepted, services switched and users deleted; the events are handled at any time after that, in any order
/// and grouping. What is true in the end depends on when they were accepted, not on when they were handled.
pub fn acceptance_decides_and_not_handling(store: &Arc<dyn Store>, cases: u32) {
    let indices = || proptest::collection::vec(any::<prop::sample::Index>(), 1..6);
    let moment = prop_oneof![
        2 => (1..=2u128, any::<bool>()).prop_map(|(service, on)| Moment::Switch(service, on)),
        8 => generate::event().prop_map(Moment::Accept),
        1 => (0..users().len()).prop_map(Moment::Delete),
        4 => indices().prop_map(Moment::Handle),
        2 => prop_oneof![Just(0i64), 1..20_000i64].prop_map(Moment::Pass),
    ];
    let delay = prop_oneof![Just(0i64), 1..600_000i64, Just(86_400_000)];
    let rest = proptest::collection::vec(indices(), 1..10);
    let moments = (proptest::collection::vec(moment, 1..40), delay, rest);
    check(cases, moments, |case, (moments, delay, rest)| async move {
        let harness = Harness::new(store.clone(), SETTINGS);
        let mut model = Model::new(SETTINGS);
        for n in [1, 2] {
            switch(case, &harness, &mut model, n, false).await;
        }
        let users: Vec<UserKey> =
            users().into_iter().map(|user| UserKey { service: service_in_case(case, user.service), ..user }).collect();
        let mut now = START;
        let mut waiting: Vec<PresenceMessage> = vec![];
        let take = |waiting: &mut Vec<PresenceMessage>, indices: &[prop::sample::Index]| {
            let mut taken = Vec::new();
            for index in indices {
                if !waiting.is_empty() {
                    taken.push(waiting.swap_remove(index.index(waiting.len())));
                }
            }
            taken
        };
        for moment in moments {
            now += 1;
            match moment {
                Moment::Switch(n, on) => switch(case, &harness, &mut model, n, on).await,
                Moment::Accept(event) => {
                    let mut event = in_case(case, event);
                    event.occurred_at = Timestamp::from_millis(now);
                    model.arrive(&event);
                    waiting.push(harness.accept(&event).await);
                }
                Moment::Delete(n) => {
                    let user = &users[n];
                    let by_identity = UserRef::Identity(user.identity.clone());
                    if let Some(found) = harness.store.user(user.service, &by_identity).await.unwrap() {
                        let at = Timestamp::from_millis(now);
                        prop_assert!(harness.store.delete_user(user.service, found.sid, at).await.unwrap());
                        prop_assert!(harness.store.user(user.service, &by_identity).await.unwrap().is_none());
                        model.delete(user, now);
                    }
                }
                Moment::Handle(indices) => harness.handle(take(&mut waiting, &indices), now).await,
                Moment::Pass(millis) => now += millis,
            }
        }
        now += delay;
        for indices in rest {
            harness.handle(take(&mut waiting, &indices), now).await;
        }
        harness.handle(waiting, now).await;
        for user in &users {
            for at in [0, 1, 10_000, 60_000, 120_000, 200_000].map(|later| now + later) {
                let truth = model.truth(user, at).online;
                prop_assert_eq!(harness.read(user, at).await.online, truth, "{:?} {} ms later", user, at - now);
            }
            let by_identity = UserRef::Identity(user.identity.clone());
            let found = harness.store.user(user.service, &by_identity).await.unwrap();
            prop_assert_eq!(found.is_some(), model.exists(user), "{:?} exists", user);
            let state = harness.state(user).await;
            prop_assert_eq!(found.map(|user| user.sid), state.sid);
            prop_assert_eq!(state.presence.openings, model.openings(user));
        }
        Ok(())
    });
}
