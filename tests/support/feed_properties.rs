//! What must hold of the changes that a store's feed tells, whatever is written, by however many writers.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use reachability_domain::directory::configuration::{Configuration, Generation};
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::UserKey;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::change::{Notice, Profile, SwitchReason};
use reachability_domain::presence::event::Event;
use reachability_domain::presence::message::{Accepted, PresenceMessage};
use reachability_domain::presence::reasons::Visible;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::reason::Reason;
use reachability_domain::push::verdict::TokenState;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_worker::{Failure, Fanout, Received, WebhookOutbox};

use crate::contract::bindings::{binding, verdict};
use crate::feed_judge::{Act, CREATED, Course, Done, Fault, Folded, told};
use crate::feeds::{Feed, Subscriber};
use crate::generate::{self, START};
use crate::harness::{Harness, SETTINGS, new_service};
use crate::ids;
use crate::model::Model;
use crate::properties::check;
use crate::store::PushStore;
use crate::webhook_judge::{self, TOLD_NAMES, asks_for_webhooks};

/// The devices of each service, which its users share.
const TOKENS: [&str; 2] = ["00aa", "00bb"];

/// The time between two steps that are not at the same time, in milliseconds.
const PAUSE: i64 = 10;

/// By how much the clocks of writers may be ahead, in milliseconds.
const CLOCKS_DIFFER_BY: i64 = 3_000;

/// How long an event waits at most before it is handled, in milliseconds.
const WAITS: i64 = 600_000;

/// A step in a case.
#[derive(Debug, Clone)]
enum Step {
    /// Something is done, by a writer whose clock is ahead by so many milliseconds.
    Do(Op, i64),
    /// Several such writers at once. If a user is given, all that they do is about it.
    Together(Option<usize>, Vec<(Op, i64)>),
    /// Time passes, in milliseconds. The timers that are due by then are handled, or not yet.
    Pass(i64, bool),
    /// Everything is delivered, though something goes wrong at first, and compared with what is stored.
    Compare(Fault),
}

/// Something to do.
#[derive(Debug, Clone)]
enum Op {
    /// Events that have just occurred are accepted. They are handled at once, or wait.
    Events(usize, Vec<Event>, bool),
    /// Some event that waits, or was handled before, is handled.
    Again(prop::sample::Index),
    /// Anything else.
    Act(Act),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        1 => Just(Fault::Nothing),
        1 => (0..4usize).prop_map(Fault::Refused),
        3 => Just(Fault::QueueDown),
        1 => Just(Fault::Killed),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let users = generate::users().len();
    let user = || 0..users;
    let device = || 0..TOKENS.len();
    let events = proptest::collection::vec(generate::event(), 1..3);
    let dead = prop_oneof![Just(None), Just(Some("Unregistered")), Just(Some("BadDeviceToken"))];
    prop_oneof![
        10 => (user(), events, proptest::bool::weighted(0.2)).prop_map(|(user, events, waits)| Op::Events(user, events, waits)),
        3 => any::<prop::sample::Index>().prop_map(Op::Again),
        4 => (user(), device(), proptest::bool::weighted(0.3))
            .prop_map(|(user, device, is_behind)| Op::Act(Act::Register { user, device, is_behind })),
        2 => (user(), device()).prop_map(|(user, device)| Op::Act(Act::Unregister { user, device })),
        3 => (user(), device(), dead).prop_map(|(user, device, dead)| Op::Act(Act::Answer { user, device, dead })),
        1 => (user(), device()).prop_map(|(user, device)| Op::Act(Act::Expire { user, device })),
        1 => user().prop_map(|user| Op::Act(Act::Create(user))),
        2 => (user(), 0..3u8).prop_map(|(user, name)| Op::Act(Act::Profile(user, name))),
        1 => user().prop_map(|user| Op::Act(Act::Delete(user))),
        2 => (0..2usize, any::<bool>()).prop_map(|(service, on)| Op::Act(Act::Switch(service, on))),
        2 => Just(Op::Act(Act::FollowUps)),
        3 => (1..10usize, fault()).prop_map(|(at_most, fault)| Op::Act(Act::Deliver(at_most, fault))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let ahead = || prop_oneof![2 => Just(0), 1 => 0..CLOCKS_DIFFER_BY];
    let user = proptest::option::weighted(0.7, 0..generate::users().len());
    let pass = prop_oneof![4 => 1..20_000i64, 4 => 20_000..300_000i64, 1 => Just(365 * 86_400_000i64)];
    prop_oneof![
        8 => (op(), ahead()).prop_map(|(op, ahead)| Step::Do(op, ahead)),
        3 => (user, proptest::collection::vec((op(), ahead()), 2..5)).prop_map(|(user, ops)| Step::Together(user, ops)),
        3 => (pass, proptest::bool::weighted(0.7)).prop_map(|(pass, timers)| Step::Pass(pass, timers)),
        3 => fault().prop_map(Step::Compare),
    ]
}

/// Users connect, register devices and are deleted, services are switched and time passes, by one writer after the other
/// or by several at once, while the feed's consumer is killed and its subscribers refuse. What was told, folded, is what a
/// reader sees. Each change follows from the one before, with the right reason.
///
/// While there are writes, the network is disturbed: `disturb` is told when it may be.
pub fn what_is_told_is_what_is_seen(store: &Arc<dyn PushStore>, feed: &dyn Feed, disturb: &dyn Fn(bool), cases: u32) {
    let on = proptest::collection::vec(proptest::bool::weighted(0.8), 2);
    let steps = (on, proptest::collection::vec((any::<bool>(), step()), 1..40), proptest::bool::weighted(0.4));
    check(cases, steps, |case, (on, steps, compares_always)| async move {
        disturb(false);
        let case = Case::new(case, store.clone(), feed, &on).await;
        for (pauses, step) in steps {
            disturb(true);
            case.step(&step, pauses).await;
            disturb(false);
            if compares_always || matches!(step, Step::Compare(_)) {
                case.compare().await.map_err(TestCaseError::fail)?;
            }
        }
        case.end().await.map_err(TestCaseError::fail)
    });
}

/// Repeats what the store did not do, or may not have done.
async fn insist<T, F: Future<Output = Result<T, StoreError>>>(attempt: impl Fn() -> F) -> Result<T, StoreError> {
    for _ in 0..100 {
        match attempt().await {
            Err(StoreError::Unavailable(_)) => {}
            done => return done,
        }
    }
    panic!("the store never works");
}

/// A case, with services and users of its own.
struct Case<'a> {
    store: Arc<dyn PushStore>,
    feed: &'a dyn Feed,
    harness: Harness,
    subscriber: Arc<Subscriber>,
    fanout: Fanout,
    progress: RefCell<Progress>,
}

struct Progress {
    course: Course,
    model: Model,
    now: i64,
    /// The latest time of any writer.
    latest: i64,
    /// All events that were accepted, and whether they were handled.
    accepted: Vec<(usize, Event, Acceptance, bool)>,
}

impl<'a> Case<'a> {
    async fn new(case: u128, store: Arc<dyn PushStore>, feed: &'a dyn Feed, on: &[bool]) -> Self {
        let in_case = |service: ServiceSid| crate::properties::service_in_case(case, service);
        let services: Vec<ServiceSid> = [1, 2].map(generate::service).map(in_case).to_vec();
        let users =
            generate::users().into_iter().map(|user| UserKey { service: in_case(user.service), ..user }).collect();
        for service in &services {
            let mut service = new_service(*service);
            service.webhooks.post_webhook_url = Some("http://127.0.0.1:9/".to_owned());
            service.webhooks.filters = Some(["onUserAdded", "onUserUpdated"].map(str::to_owned).to_vec());
            store.create_service(&service).await.unwrap();
        }
        let subscriber = Arc::new(Subscriber::default());
        let fanout = Fanout {
            services: store.clone(),
            pushes: subscriber.clone(),
            sinks: vec![subscriber.clone()],
            webhooks: Some(WebhookOutbox {
                accounts: store.clone(),
                users: store.clone(),
                snapshots: store.clone(),
                queue: subscriber.clone(),
                clock: clock::now,
            }),
            metrics: Arc::new(reachability_infra::metrics::EmfMetrics::default()),
        };
        let course = Course { settings: SETTINGS, services, users, done: vec![], switches: vec![] };
        let progress = Progress { course, model: Model::new(SETTINGS), now: START, latest: START, accepted: vec![] };
        let harness = Harness::new(store.clone(), SETTINGS);
        let this = Self { store, feed, harness, subscriber, fanout, progress: RefCell::new(progress) };
        this.done(vec![]).await;
        for (service, on) in on.iter().enumerate() {
            this.together(vec![(Act::Switch(service, *on), 0)]).await;
        }
        this
    }

    fn user(&self, number: usize) -> UserKey {
        self.progress.borrow().course.users[number].clone()
    }

    fn users(&self) -> Vec<UserKey> {
        self.progress.borrow().course.users.clone()
    }

    fn service(&self, number: usize) -> ServiceSid {
        self.progress.borrow().course.services[number]
    }

    fn now(&self) -> i64 {
        self.progress.borrow().now
    }

    async fn configuration(&self, service: ServiceSid) -> Configuration {
        insist(|| self.store.service(service)).await.unwrap().unwrap().configuration
    }

    async fn states(&self) -> Vec<UserState> {
        let users = self.users();
        insist(|| self.store.states(&users)).await.unwrap()
    }

    async fn found(&self, user: usize) -> Option<User> {
        let key = self.user(user);
        let by_identity = UserRef::Identity(key.identity);
        insist(|| self.store.user(key.service, &by_identity)).await.unwrap()
    }

    /// A registration of a device at this time. The user is only used if there is none yet.
    fn binding(&self, user: usize, device: usize, now: Timestamp) -> (User, Binding) {
        let user = User::new(ids::sid(), self.user(user), None, now);
        let binding = binding(&user, Channel::Apn, TOKENS[device], now);
        (user, binding)
    }

    /// Does a step, at the same time as the one before or a moment after it.
    async fn step(&self, step: &Step, pauses: bool) {
        if pauses {
            self.progress.borrow_mut().now += PAUSE;
        }
        match step {
            Step::Do(op, ahead) => {
                if let Some(act) = self.prepared(op, None).await {
                    self.together(vec![(act, *ahead)]).await;
                }
            }
            Step::Together(user, ops) => {
                let mut acts = vec![];
                let mut switched = BTreeSet::new();
                for (op, ahead) in ops {
                    match self.prepared(op, *user).await {
                        // Nobody could tell which of two was first.
                        Some(Act::Switch(service, _)) if !switched.insert(service) => {}
                        Some(act) => acts.push((act, *ahead)),
                        None => {}
                    }
                }
                self.together(acts).await;
            }
            Step::Pass(millis, with_timers) => self.pass(*millis, *with_timers).await,
            Step::Compare(fault) => self.deliver(100, *fault, Timestamp::from_millis(self.now())).await,
        }
    }

    /// What an operation does now; `None` if nothing.
    async fn prepared(&self, op: &Op, about: Option<usize>) -> Option<Act> {
        match op {
            Op::Events(user, events, waits) => {
                let user = about.unwrap_or(*user);
                let configuration = self.configuration(self.user(user).service).await;
                let acceptance = Acceptance::now(&configuration);
                let mut progress = self.progress.borrow_mut();
                let mut said = vec![];
                for event in events {
                    let mut event = event.clone();
                    event.user = progress.course.users[user].clone();
                    event.occurred_at = Timestamp::from_millis(progress.now);
                    // The id of a connection that has ended is never used again.
                    let is_end = |(_, earlier, ..): &&(usize, Event, Acceptance, bool)| {
                        !earlier.renews_lease()
                            && earlier.user == event.user
                            && earlier.connection.as_str().starts_with(event.connection.as_str())
                    };
                    let ends = progress.accepted.iter().filter(is_end).count();
                    event.connection = format!("{}-{ends}", event.connection).parse().unwrap();
                    progress.model.arrive(&event);
                    progress.accepted.push((user, event.clone(), acceptance, !waits));
                    said.push((event, acceptance));
                }
                (!waits).then_some(Act::Events(user, said))
            }
            Op::Again(index) => {
                let mut progress = self.progress.borrow_mut();
                let now = progress.now;
                let mut recent: Vec<&mut (usize, Event, Acceptance, bool)> = progress
                    .accepted
                    .iter_mut()
                    .filter(|(_, event, ..)| now - event.occurred_at.as_millis() <= WAITS)
                    .collect();
                if recent.is_empty() {
                    return None;
                }
                let place = index.index(recent.len());
                let (user, event, acceptance, is_handled) = &mut *recent[place];
                *is_handled = true;
                Some(Act::Events(*user, vec![(event.clone(), *acceptance)]))
            }
            Op::Act(act) => {
                let mut act = act.clone();
                if let (Some(about), Some(user)) = (about, user_of(&mut act)) {
                    *user = about;
                }
                Some(act)
            }
        }
    }

    /// Does all of this at once.
    async fn together(&self, acts: Vec<(Act, i64)>) {
        let now = self.now();
        for (_, ahead) in &acts {
            let mut progress = self.progress.borrow_mut();
            progress.latest = progress.latest.max(now + ahead);
        }
        join_all(acts.iter().map(|(act, ahead)| self.act(act, Timestamp::from_millis(now + ahead)))).await;
        self.done(acts.into_iter().map(|(act, _)| act).collect()).await;
    }

    /// Remembers what was done.
    async fn done(&self, acts: Vec<Act>) {
        let states = self.states().await;
        let mut services = vec![];
        for number in [0, 1] {
            let configuration = self.configuration(self.service(number)).await;
            services.push((configuration.reachability_enabled, configuration.generation.0));
        }
        let mut progress = self.progress.borrow_mut();
        let Progress { course, model, .. } = &mut *progress;
        for (user, state) in course.users.iter().zip(&states) {
            if let Some(at) = state.deleted_at {
                model.delete(user, at.as_millis());
            }
        }
        course.done.push(Done { acts, states, services });
    }

    async fn act(&self, act: &Act, now: Timestamp) {
        match act {
            Act::Events(_, events) => {
                let stamped = |(event, acceptance): &(Event, Acceptance)| {
                    PresenceMessage::Event(Accepted::new(event.clone(), Some(*acceptance)))
                };
                self.handle(events.iter().map(stamped).collect(), now).await;
            }
            Act::Timers => {
                let due = self.harness.timers.take_due(now);
                self.handle(due.into_iter().map(PresenceMessage::Check).collect(), now).await;
            }
            Act::Register { user, device, is_behind } => {
                let (owner, binding) = self.binding(*user, *device, now);
                let generation = self.configuration(owner.service_sid).await.generation.0;
                let generation = Generation(generation.saturating_sub(u32::from(*is_behind)));
                let command = BindingCommand::Register { binding: binding.clone(), generation };
                self.apply(&binding, &command, Some(&owner), now).await;
            }
            Act::Unregister { user, device } => {
                let (_, binding) = self.binding(*user, *device, now);
                self.apply(&binding, &BindingCommand::Unregister(binding.sid), None, now).await;
            }
            Act::Answer { user, device, dead } => {
                let (_, binding) = self.binding(*user, *device, now);
                let found = insist(|| self.store.binding(binding.service_sid, binding.sid)).await.unwrap();
                let Some(found) = found else { return };
                let token =
                    dead.map_or(TokenState::Alive, |word| TokenState::Dead { reason: Reason::new(word), since: None });
                let verdict = verdict(found.registered_at, now, token);
                self.apply(&binding, &BindingCommand::ApplyVerdict(binding.sid, verdict), None, now).await;
            }
            Act::Expire { user, device } => {
                let (_, binding) = self.binding(*user, *device, now);
                self.apply(&binding, &BindingCommand::Expire(binding.sid), None, now).await;
            }
            Act::Create(user) => {
                let mut user = User::new(ids::sid(), self.user(*user), None, now);
                user.friendly_name = Some(CREATED.to_owned());
                user.webhook_enabled = asks_for_webhooks(&user.key());
                match insist(|| self.store.create_user(&user)).await {
                    Ok(()) | Err(StoreError::Exists) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Act::Profile(user, name) => {
                let Some(found) = self.found(*user).await else { return };
                let (friendly_name, webhook_enabled) = (Some(format!("name {name}")), TOLD_NAMES.contains(name));
                let next = User { friendly_name, webhook_enabled, date_updated: now, ..found };
                match insist(|| self.store.replace_user(&next)).await {
                    Ok(()) | Err(StoreError::Conflict | StoreError::Missing) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Act::Delete(user) => {
                let Some(found) = self.found(*user).await else { return };
                insist(|| self.store.delete_user(found.service_sid, found.sid, now)).await.unwrap();
            }
            Act::Switch(service, on) => self.switch(*service, *on, now).await,
            Act::FollowUps => self.follow_up(now).await,
            Act::Deliver(at_most, fault) => self.deliver(*at_most, *fault, now).await,
        }
    }

    async fn deliver(&self, at_most: usize, fault: Fault, now: Timestamp) {
        match fault {
            Fault::Refused(after) => self.subscriber.take_only(after),
            Fault::QueueDown => self.subscriber.refuse_follow_ups(),
            Fault::Nothing | Fault::Killed => {}
        }
        self.feed.deliver(&self.fanout, at_most, fault == Fault::Killed, now).await;
    }

    /// Handles messages; those that fail are delivered again.
    async fn handle(&self, messages: Vec<PresenceMessage>, now: Timestamp) {
        let mut messages: Vec<_> = messages.into_iter().map(|message| Received::new(message, false)).collect();
        for _ in 0..100 {
            let failed = self.harness.worker.process_received(messages.clone(), now).await;
            let again = |(index, _): &(usize, Failure)| Received::new(messages[*index].message.clone(), true);
            messages = failed.iter().map(again).collect();
            if messages.is_empty() {
                return;
            }
        }
        panic!("never handled: {messages:?}");
    }

    async fn apply(&self, binding: &Binding, command: &BindingCommand, user: Option<&User>, now: Timestamp) {
        insist(|| self.store.apply(binding.service_sid, binding.device(), command, user, now)).await.unwrap();
    }

    async fn switch(&self, service: usize, on: bool, now: Timestamp) {
        let sid = self.service(service);
        let mut is_new = false;
        let configuration = loop {
            let mut found = insist(|| self.store.service(sid)).await.unwrap().unwrap();
            if found.configuration.reachability_enabled == on {
                break found.configuration;
            }
            is_new = true;
            found.configuration.set_reachability_enabled(on, now);
            match insist(|| self.store.replace_service(&found)).await {
                Ok(()) | Err(StoreError::Conflict) => {}
                Err(error) => panic!("{error}"),
            }
        };
        let mut progress = self.progress.borrow_mut();
        progress.model.switch(sid, on);
        if is_new {
            progress.course.switches.push((sid, on, configuration.generation.0, now.as_millis()));
        }
    }

    /// Announces the registrations as the pusher does.
    async fn follow_up(&self, now: Timestamp) {
        for message in self.subscriber.take_follow_ups() {
            let (service, generation) = match &message {
                PushMessage::Announce(announce) => (announce.service, announce.generation),
                PushMessage::AnnounceUser(announce) => (announce.user.service, announce.generation),
                _ => continue,
            };
            let configuration = self.configuration(service).await;
            if !configuration.reachability_enabled || configuration.generation != generation {
                continue;
            }
            let users = match message {
                PushMessage::AnnounceUser(announce) => vec![announce.user],
                _ => {
                    let page = PageRequest { position: Cursor::Start, limit: 100 };
                    let page = insist(|| self.store.users(service, page)).await.unwrap();
                    page.items.iter().map(User::key).collect()
                }
            };
            for user in users {
                insist(|| self.store.announce(&user, generation, now)).await.unwrap();
            }
        }
    }

    /// Time passes. No event waits for too long.
    async fn pass(&self, millis: i64, with_timers: bool) {
        let until = self.now() + millis;
        if millis > WAITS / 4 {
            self.handle_waiting(0).await;
        }
        while with_timers
            && let Some(due) = self.harness.timers.next().map(Timestamp::as_millis).filter(|due| *due <= until)
        {
            let now = self.now().max(due);
            self.progress.borrow_mut().now = now;
            self.together(vec![(Act::Timers, 0)]).await;
        }
        self.progress.borrow_mut().now = until;
        self.handle_waiting(WAITS / 2).await;
    }

    /// Handles the events that have waited for so long.
    async fn handle_waiting(&self, longer_than: i64) {
        let mut acts = vec![];
        {
            let mut progress = self.progress.borrow_mut();
            let now = progress.now;
            for (user, event, acceptance, is_handled) in &mut progress.accepted {
                if !*is_handled && now - event.occurred_at.as_millis() >= longer_than {
                    *is_handled = true;
                    acts.push(Act::Events(*user, vec![(event.clone(), *acceptance)]));
                }
            }
        }
        for act in acts {
            self.together(vec![(act, 0)]).await;
        }
    }

    /// Delivers everything.
    async fn deliver_all(&self) {
        self.subscriber.recover();
        while self.feed.deliver(&self.fanout, 100, false, Timestamp::from_millis(self.now())).await {}
    }

    /// Compares what was told with what is stored, as of the last write of each user.
    async fn compare(&self) -> Result<(), String> {
        self.deliver_all().await;
        let notices = self.subscriber.notices();
        let folded = Folded::of(&notices);
        let states = self.states().await;
        for (user, state) in self.users().iter().zip(&states) {
            let stored = told(&self.configuration(user.service).await, state);
            if folded.visible(user) != stored {
                return Err(format!("{user:?}: told {:?}, stored {stored:?}: {state:?}", folded.visible(user)));
            }
        }
        webhook_judge::judge(&notices, &self.subscriber.webhooks())?;
        self.progress.borrow().course.judge(&notices)
    }

    /// The end: what readers see is what was told, now and when all connections have ended.
    async fn end(&self) -> Result<(), String> {
        {
            let mut progress = self.progress.borrow_mut();
            progress.now = progress.now.max(progress.latest) + PAUSE;
        }
        self.handle_waiting(0).await;
        self.compare_with_readers().await?;
        while let Some(due) = self.harness.timers.next() {
            let now = self.now().max(due.as_millis());
            self.progress.borrow_mut().now = now;
            self.together(vec![(Act::Timers, 0)]).await;
        }
        self.compare_with_readers().await?;
        self.compare_with_log().await?;
        self.delete_service(1).await
    }

    async fn compare_with_readers(&self) -> Result<(), String> {
        while self.harness.timers.next().is_some_and(|due| due.as_millis() <= self.now()) {
            self.together(vec![(Act::Timers, 0)]).await;
        }
        for user in 0..self.users().len() {
            for device in 0..TOKENS.len() {
                self.together(vec![(Act::Expire { user, device }, 0)]).await;
            }
        }
        // What follows from what was told may be told too.
        for _ in 0..2 {
            self.deliver_all().await;
            self.together(vec![(Act::FollowUps, 0)]).await;
        }
        self.compare().await?;
        let folded = Folded::of(&self.subscriber.notices());
        let states = self.states().await;
        let now = Timestamp::from_millis(self.now());
        for (number, (user, state)) in self.users().iter().zip(&states).enumerate() {
            let configuration = self.configuration(user.service).await;
            let found = self.found(number).await;
            let Appearance { reachability, status, .. } = match &found {
                Some(_) => Appearance::of(&configuration, state, now, Viewer::Other),
                None => Appearance::default(),
            };
            let seen = Visible { exists: found.is_some(), reachability, status };
            if folded.visible(user) != seen || folded.user_sid(user) != found.as_ref().map(|found| found.sid) {
                return Err(format!("{user:?}: told {:?}, seen {seen:?}", folded.visible(user)));
            }
            let truth = self.progress.borrow().model.truth(user, self.now()).online;
            if seen.reachability.online != truth {
                return Err(format!("{user:?}: seen {seen:?}, truth {truth:?}"));
            }
            let service = (configuration.reachability_enabled, configuration.generation.0);
            if folded.service(user.service) != service {
                return Err(format!("{:?}: told {:?}, seen {service:?}", user.service, folded.service(user.service)));
            }
            if let Some(found) = &found {
                let told = folded.profile(found.sid).map(|change| change.profile.clone());
                let is_new = found.friendly_name.as_deref().is_none_or(|name| name == CREATED);
                if told.as_ref().map_or(!is_new, |told| *told != Profile::from(found)) {
                    return Err(format!("{user:?}: told {told:?}, seen {found:?}"));
                }
            }
        }
        Ok(())
    }

    /// The log has what was told, once.
    async fn compare_with_log(&self) -> Result<(), String> {
        let notices = self.subscriber.notices();
        let mut told: Vec<&Notice> = vec![];
        for notice in &notices {
            if !told.contains(&notice) {
                told.push(notice);
            }
        }
        for user in self.users() {
            for identity in [None, Some(&user.identity)] {
                let is_wanted = |notice: &&&Notice| {
                    notice.service() == user.service && (identity.is_none() || notice.identity() == identity)
                };
                let expected: Vec<&Notice> = told.iter().filter(is_wanted).copied().collect();
                if let Some(log) = self.feed.log(user.service, identity).await
                    && log.iter().collect::<Vec<_>>() != expected
                {
                    return Err(format!("the log has {log:?}, told was {expected:?}"));
                }
            }
        }
        Ok(())
    }

    /// A service is deleted, which tells of all its users at once.
    async fn delete_service(&self, number: usize) -> Result<(), String> {
        let sid = self.service(number);
        let (was_on, before) = (self.configuration(sid).await.reachability_enabled, self.subscriber.notices().len());
        insist(|| self.store.delete_service(sid)).await.unwrap();
        while insist(|| self.store.purge(sid, 1_000)).await.unwrap() {}
        self.deliver_all().await;
        let told = self.subscriber.notices().split_off(before);
        let is_deletion = |notice: &Notice| {
            matches!(notice, Notice::Service(switch) if switch.service_sid == sid
                && switch.reason == SwitchReason::Deleted && !switch.after.reachability_enabled)
        };
        if told.len() != usize::from(was_on) || !told.iter().all(is_deletion) {
            return Err(format!("a deleted service that was on ({was_on}): {told:?}"));
        }
        Ok(())
    }
}

/// The user that an act is about; `None` if it is about no single one.
fn user_of(act: &mut Act) -> Option<&mut usize> {
    match act {
        Act::Register { user, .. }
        | Act::Unregister { user, .. }
        | Act::Answer { user, .. }
        | Act::Expire { user, .. }
        | Act::Events(user, _)
        | Act::Create(user)
        | Act::Profile(user, _)
        | Act::Delete(user) => Some(user),
        Act::Timers | Act::Switch(..) | Act::FollowUps | Act::Deliver(..) => None,
    }
}
