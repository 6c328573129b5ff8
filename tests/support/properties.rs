//! What must hold of random logs, on any store.

use std::future::Future;
use std::sync::Arc;

use crate::store::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use reachability_domain::directory::user::UserRef;
use reachability_domain::presence::event::Event;
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

fn service_in_case(case: u128, service: ServiceSid) -> ServiceSid {
    ServiceSid::from_bits((case << 8) + service.bits())
}

/// If a log is shuffled, repeated and cut into batches in any way, the result is what the model says.
pub fn order_and_repetition_do_not_matter(store: &Arc<dyn Store>, cases: u32) {
    let unlimited = Settings { lease: None, ..SETTINGS };
    let settings = prop_oneof![4 => Just(SETTINGS), 1 => Just(unlimited)];
    check(cases, (log_and_delivery(), settings), |case, ((log, batches), settings)| async move {
        let harness = Harness::new(store.clone(), settings);
        let mut model = Model::new(settings);
        for n in [1, 2] {
            let service = service_in_case(case, generate::service(n));
            harness.switch(service, true).await;
            model.switch(service, true);
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
            let last_active = harness.state(&user).await.presence.last_active().map(Timestamp::as_millis);
            prop_assert_eq!(last_active, model.truth(&user, end).last_active);
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
    /// An event that has arrived before arrives again.
    Again(prop::sample::Index),
    /// Time passes, in seconds.
    Pass(i64),
    /// Timers are delivered that are due within this many milliseconds: the queue's clock is ahead.
    Early(i64),
}

/// Reachability is switched on and off, events arrive and time passes, in any order. At every moment readers see what
/// the model says; once the timers are handled, watchers have been told the same.
pub fn switching_and_passing_time_match_the_model(store: &Arc<dyn Store>, cases: u32) {
    let step = prop_oneof![
        2 => (1..=2u128, any::<bool>()).prop_map(|(service, on)| Step::Switch(service, on)),
        8 => generate::event().prop_map(Step::Event),
        2 => any::<prop::sample::Index>().prop_map(Step::Again),
        3 => prop_oneof![1..100i64, 100..1_000i64].prop_map(Step::Pass),
        1 => prop_oneof![Just(1i64), 1..20_000i64].prop_map(Step::Early),
    ];
    check(cases, proptest::collection::vec(step, 1..40), |case, steps| async move {
        let harness = Harness::new(store.clone(), SETTINGS);
        let mut model = Model::new(SETTINGS);
        for n in [1, 2] {
            let service = service_in_case(case, generate::service(n));
            harness.switch(service, false).await;
            model.switch(service, false);
        }
        let mut now = START;
        let mut arrived: Vec<Event> = vec![];
        let mut deliveries = 0;
        for step in steps {
            match step {
                Step::Switch(n, on) => {
                    let service = service_in_case(case, generate::service(n));
                    harness.switch(service, on).await;
                    model.switch(service, on);
                }
                Step::Event(event) => {
                    let mut event = in_case(case, event);
                    event.occurred_at = Timestamp::from_millis(now);
                    // The id of a connection that has ended is never used again.
                    let ended = |earlier: &&Event| {
                        !earlier.renews_lease()
                            && earlier.user == event.user
                            && earlier.connection.as_str().starts_with(event.connection.as_str())
                    };
                    let ends = arrived.iter().filter(ended).count();
                    event.connection = format!("{}-{ends}", event.connection).parse().unwrap();
                    model.arrive(&event);
                    deliveries += 1;
                    harness.deliver(std::slice::from_ref(&event), now).await;
                    arrived.push(event);
                }
                Step::Again(index) => {
                    // Redeliveries arrive within a quarter of an hour.
                    let late = |event: &&Event| event.occurred_at.as_millis() > now - 15 * 60_000;
                    let late: Vec<Event> = arrived.iter().filter(late).cloned().collect();
                    if late.is_empty() {
                        continue;
                    }
                    let event = index.get(&late).clone();
                    model.arrive(&event);
                    deliveries += 1;
                    harness.deliver(&[event], now).await;
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
            }
            for mut user in users() {
                user.service = service_in_case(case, user.service);
                let truth = model.truth(&user, now).online;
                prop_assert_eq!(harness.read(&user, now).await.online, truth, "read of {:?}", user);
                prop_assert_eq!(harness.told(&user).await.online, truth, "told of {:?}", user);
            }
            // The number of timers is limited.
            prop_assert!(harness.timers.count() <= deliveries, "{} timers of {deliveries}", harness.timers.count());
        }
        Ok(())
    });
}
