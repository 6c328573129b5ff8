//! People with devices, gateways and sockets, and an owner who sends notifications, by a clock of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, header};
use fastrand::Rng;
use http_body_util::BodyExt;
use reachability_domain::channel::ports::Channels;
use reachability_domain::directory::user::UserRef;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::connections::{LeasePolicy, Rules};
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::search::UserSearch;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::notification::{Delivery, Notification};
use reachability_domain::push::recipient::Recipient;
use reachability_domain::queue::Message;
use reachability_domain::sid::NotificationSid;
use reachability_domain::time::{Clock, Timestamp};
use reachability_functions::app::{App, Settings};
use reachability_infra::memory::MemoryStore;
use reachability_tests::app::{ports, settings};
use reachability_tests::harness::{Harness, Kept, SETTINGS, rules, unstamped, worker};
use reachability_tests::push_harness::PushHarness;
use reachability_tests::store::PushStore;
use reachability_worker::Worker;
use serde_json::Value;
use tower::ServiceExt;

const START: i64 = 1_795_132_800_000;

/// The users of a random life, with so many devices each.
const USERS: [(&str, usize); 6] = [("a", 2), ("b", 1), ("c", 3), ("d", 0), ("e", 1), ("f", 1)];

/// The time of a world, and how it is read.
pub(super) struct Time(AtomicI64);

impl Time {
    pub(super) const fn new() -> Self {
        Self(AtomicI64::new(START))
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    /// The clock of one of the worlds.
    fn clock(&'static self) -> Clock {
        let clocks: [Clock; 5] = [
            || super::TIME[0].now(),
            || super::TIME[1].now(),
            || super::TIME[2].now(),
            || super::TIME[3].now(),
            || super::TIME[4].now(),
        ];
        clocks[super::TIME.iter().position(|time| std::ptr::eq(time, self)).unwrap()]
    }
}

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// At an owner's gateway, which renews leases.
    Gateway,
    /// At this server.
    Socket,
}

pub(super) struct World {
    pub(super) pushes: PushHarness,
    presence: Harness,
    sockets: Worker,
    api: Router,
    authorization: String,
    time: &'static Time,
    /// What waits in the push queue.
    waiting: Vec<(Timestamp, PushMessage)>,
    /// By how much messages are late, and whether one comes twice.
    faults: Option<Rng>,
    /// Whether others see a user online, from each time on.
    seen: BTreeMap<String, Vec<(Timestamp, bool)>>,
    /// When somebody showed that it is there.
    pub(super) alive: BTreeMap<String, Vec<Timestamp>>,
    pub(super) notifications: Vec<NotificationSid>,
}

impl World {
    /// On a store in memory.
    pub(super) async fn new(time: &'static Time) -> Self {
        Self::on(Arc::new(MemoryStore::default()), time).await
    }

    pub(super) async fn on<S>(store: Arc<S>, time: &'static Time) -> Self
    where
        S: PushStore + UserSearch + Channels + 'static,
    {
        let clock = time.clock();
        let pushes = PushHarness::with_clock_on(store.clone(), clock).await;
        let presence = Harness::new(store.clone(), SETTINGS);
        let of_sockets = Rules { lease: LeasePolicy::Unlimited, ..rules(SETTINGS) };
        let timers = presence.timers.clone();
        let sockets = worker(store.clone(), timers, of_sockets, Duration::ZERO, Arc::default());
        let ports = ports(store, Arc::new(Kept::default()), pushes.queue.clone());
        let (of_owner, authorization) = settings();
        let app = App::new(ports, Settings { clock, ..of_owner });
        let api = reachability_functions::router(app, None, None);
        Self {
            pushes,
            presence,
            sockets,
            api,
            authorization,
            time,
            waiting: vec![],
            faults: None,
            seen: BTreeMap::new(),
            alive: BTreeMap::new(),
            notifications: vec![],
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// Of this world, rounded down.
    pub(super) fn second(&self, at: Timestamp) -> i64 {
        (at.as_millis() - START) / 1_000
    }

    /// The second of this world, as the API shows it.
    pub(super) fn shown(&self, second: i64) -> String {
        Timestamp::from_millis(START + second * 1_000).to_seconds()
    }

    fn key(&self, user: &str) -> UserKey {
        UserKey { service: self.pushes.service, identity: user.parse().unwrap() }
    }

    pub(super) async fn register(&mut self, user: &str, token: &str) {
        self.pushes.register(user, Channel::Apn, token).await;
        self.seen.entry(user.to_owned()).or_default();
    }

    async fn say(&mut self, user: &str, connection: &str, place: Place, kind: EventKind) {
        // Nothing else happens in this millisecond.
        self.time.0.fetch_add(1, Ordering::SeqCst);
        self.look().await;
        let now = self.now();
        if !matches!(kind, EventKind::Disconnect { .. }) {
            self.alive.entry(user.to_owned()).or_default().push(now);
        }
        self.seen.entry(user.to_owned()).or_default();
        let connection = format!("{place:?}-{connection}").parse().unwrap();
        let event = unstamped(&Event { user: self.key(user), connection, occurred_at: now, kind });
        match place {
            Place::Gateway => self.presence.handle(vec![event], now.as_millis()).await,
            Place::Socket => assert!(self.sockets.process(vec![event], now).await.is_empty()),
        }
        self.look().await;
    }

    pub(super) async fn connect(&mut self, user: &str, connection: &str, place: Place) {
        self.say(user, connection, place, EventKind::Connect { lease: None, device: None }).await;
    }

    pub(super) async fn renew(&mut self, user: &str, connection: &str) {
        self.say(user, connection, Place::Gateway, EventKind::Renew { lease: None }).await;
    }

    pub(super) async fn end(&mut self, user: &str, connection: &str, place: Place, reason: EndReason) {
        self.say(user, connection, place, EventKind::Disconnect { reason }).await;
    }

    /// The user wants to be invisible, or visible.
    pub(super) async fn show(&mut self, user: &str, invisible: bool) {
        self.time.0.fetch_add(1, Ordering::SeqCst);
        self.look().await;
        let (key, now) = (self.key(user), self.now());
        let store = &self.pushes.store;
        let Some(known) = store.user(key.service, &UserRef::Identity(key.identity)).await.unwrap() else { return };
        let wish = Disclose { invisible: Some(invisible), ..Disclose::default() };
        store.disclose(&known, &wish, now).await.unwrap();
        if !invisible {
            self.alive.entry(user.to_owned()).or_default().push(now);
        }
        self.look().await;
    }

    /// Notes who is online as others see it. Timers that are due have come.
    async fn look(&mut self) {
        let now = self.now();
        self.presence.tick(now.as_millis()).await;
        for user in self.seen.keys().cloned().collect::<Vec<_>>() {
            let online = self.presence.read(&self.key(&user), now.as_millis()).await.online == Some(true);
            let seen = self.seen.get_mut(&user).unwrap();
            if seen.last().is_none_or(|(_, last)| *last != online) {
                seen.push((now, online));
            }
        }
    }

    /// Whether others saw a user online then, after all that happened at that time.
    pub(super) fn was_online(&self, user: &str, at: Timestamp) -> bool {
        let seen = self.seen.get(user).map_or(&[][..], Vec::as_slice);
        seen.iter().take_while(|(since, _)| *since <= at).last().is_some_and(|(_, online)| *online)
    }

    /// When a user was offline: from, until.
    pub(super) fn absences(&self, user: &str) -> Vec<(Timestamp, Timestamp)> {
        let seen = self.seen.get(user).map_or(&[][..], Vec::as_slice);
        let ends = seen.iter().skip(1).map(|(since, _)| *since).chain([self.now()]);
        seen.iter().zip(ends).filter(|((_, online), _)| !online).map(|((since, _), end)| (*since, end)).collect()
    }

    /// Sends a notification over the API, for those who are offline.
    pub(super) async fn post(&mut self, users: &[&str], ttl: Option<u32>) -> NotificationSid {
        self.time.0.fetch_add(1, Ordering::SeqCst);
        self.look().await;
        let mut form = "Body=Hello&When=offline".to_owned();
        users.iter().for_each(|user| form.push_str(&format!("&Identity={}", user.replace(' ', "+"))));
        ttl.iter().for_each(|ttl| form.push_str(&format!("&Ttl={ttl}")));
        let made = self.ask(Method::POST, "", form).await;
        assert_eq!(made["when"], "offline", "{made}");
        let sid = made["sid"].as_str().unwrap().parse().unwrap();
        self.notifications.push(sid);
        self.take();
        sid
    }

    async fn ask(&self, method: Method, path: &str, form: String) -> Value {
        let path = match path.strip_prefix("http://reachability.test") {
            Some(path) => path.to_owned(),
            None => format!("/v1/Services/{}/Notifications{path}", self.pushes.service),
        };
        let request = Request::builder().method(method).uri(path).header(header::HOST, "reachability.test");
        let request = request.header(header::AUTHORIZATION, &self.authorization);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = self.api.clone().oneshot(request.body(Body::from(form)).unwrap()).await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    /// What is told of the users, in pages of this size.
    pub(super) async fn list(&self, notification: NotificationSid, page_size: usize) -> Vec<Value> {
        let (mut all, mut next) = (vec![], Value::from(format!("/{notification}/Recipients?PageSize={page_size}")));
        while let Some(path) = next.as_str() {
            let page = self.ask(Method::GET, path, String::new()).await;
            let recipients = page["recipients"].as_array().unwrap();
            assert!((1..=page_size).contains(&recipients.len()), "{page}");
            all.extend(recipients.iter().cloned());
            next = page["meta"]["next_page_url"].clone();
        }
        all
    }

    pub(super) async fn notification(&self, sid: NotificationSid) -> Notification {
        self.pushes.store.notification(self.pushes.service, sid).await.unwrap().unwrap()
    }

    /// What is known of a user.
    pub(super) async fn recipient(&self, notification: NotificationSid, user: &str) -> Recipient {
        let identity = self.key(user).identity;
        let settled = self.pushes.store.settled(notification, std::slice::from_ref(&identity)).await.unwrap().remove(0);
        match settled {
            Some(settled) => settled,
            None => self.notification(notification).await.undecided(&identity),
        }
    }

    pub(super) async fn deliveries(&self, notification: NotificationSid, user: &str) -> Vec<Delivery> {
        let all = self.pushes.deliveries(notification).await;
        all.into_iter().filter(|delivery| delivery.identity.as_str() == user).collect()
    }

    /// Takes what was queued, which comes a moment later.
    fn take(&mut self) {
        for message in self.pushes.queue.take() {
            let due = message.due_at().unwrap_or(Timestamp::MIN).max(self.now());
            let late = self.faults.as_mut().map_or(1, |rng| if rng.bool() { rng.u64(1..3_000) } else { 1 });
            self.waiting.push((due.plus(Duration::from_millis(late)), message));
        }
    }

    /// Handles the message of each notification that finds its devices.
    pub(super) async fn fan_out(&mut self) {
        let all = |message: &PushMessage| matches!(message, PushMessage::Deliver(deliver) if deliver.binding.is_none());
        let messages = self.waiting.extract_if(.., |(_, message)| all(message)).map(|(_, message)| message).collect();
        self.handle(messages).await;
    }

    /// Handles what waits while a user comes and goes so many times. It says goodbye last.
    pub(super) async fn handle_while_flapping(&mut self, user: &str, times: usize) {
        let messages = self.waiting.drain(..).map(|(_, message)| message).collect();
        let flap = async |kind: EventKind, connection: usize| {
            self.time.0.fetch_add(1, Ordering::SeqCst);
            let (user, occurred_at) = (self.key(user), self.now());
            // The time is another one in each round.
            let connection = format!("c-{connection}-{}", occurred_at.as_millis() / 1_000).parse().unwrap();
            let event = unstamped(&Event { user, connection, occurred_at, kind });
            assert!(self.sockets.process(vec![event], occurred_at).await.is_empty());
        };
        let connect = || EventKind::Connect { lease: None, device: None };
        let disconnect = || EventKind::Disconnect { reason: EndReason::ClientClosed };
        if times.is_multiple_of(2) {
            flap(connect(), 0).await;
        }
        let flaps = async {
            for n in 0..times {
                flap(disconnect(), n).await;
                flap(connect(), n + 1).await;
            }
            flap(disconnect(), times).await;
        };
        let (failures, ()) = tokio::join!(self.pushes.pusher.process(messages), flaps);
        assert!(failures.is_empty(), "{failures:?}");
        self.take();
    }

    async fn handle(&mut self, messages: Vec<PushMessage>) {
        let failures = self.pushes.pusher.process(messages).await;
        assert!(failures.is_empty(), "{failures:?}");
        self.take();
    }

    /// So many seconds pass.
    pub(super) async fn pass(&mut self, seconds: i64) {
        self.pass_millis(seconds * 1_000, true).await;
    }

    /// So many seconds pass, in which no push is handled.
    pub(super) async fn pass_without_pushes(&mut self, seconds: i64) {
        self.pass_millis(seconds * 1_000, false).await;
    }

    async fn pass_millis(&mut self, millis: i64, with_pushes: bool) {
        let until = Timestamp::from_millis(self.now().as_millis() + millis);
        loop {
            let message = self.waiting.iter().map(|(due, _)| *due).min().filter(|_| with_pushes);
            let next = self.presence.timers.next().into_iter().chain(message).chain([until]).min().unwrap();
            self.time.0.fetch_max(next.as_millis(), Ordering::SeqCst);
            let now = self.now();
            self.look().await;
            if with_pushes {
                let due = self.waiting.extract_if(.., |(due, _)| *due <= now).map(|(_, message)| message);
                let mut due: Vec<PushMessage> = due.collect();
                if let Some(rng) = &mut self.faults {
                    let again: Vec<_> = due.iter().filter(|_| rng.u8(..8) == 0).cloned().collect();
                    due.extend(again);
                    rng.shuffle(&mut due);
                }
                self.handle(due).await;
            }
            let is_more = self.waiting.iter().any(|(due, _)| with_pushes && *due <= until);
            if now == until && !is_more && self.presence.timers.next().is_none_or(|timer| until < timer) {
                return;
            }
        }
    }

    /// A random life of so many steps, and then as long as it takes until all is decided.
    pub(super) async fn play(&mut self, seed: u64, steps: usize) {
        let mut rng = Rng::with_seed(seed);
        self.faults = Some(rng.fork());
        let mut token = 0;
        for (user, devices) in USERS {
            self.seen.entry(user.to_owned()).or_default();
            for _ in 0..devices {
                token += 1;
                self.register(user, &format!("{token:02x}")).await;
            }
        }
        let (mut open, mut invisible) = (BTreeSet::<(&str, usize, Place)>::new(), BTreeSet::new());
        let mut races = None;
        for step in 0..steps {
            // Much happens just after a notification was accepted, to somebody whom it is for.
            let millis = if races.is_some() || rng.bool() { rng.i64(1..1_500) } else { rng.i64(1..20_000) };
            self.pass_millis(millis, true).await;
            let user = races.take().unwrap_or_else(|| USERS[rng.usize(..USERS.len())].0);
            let mine: Vec<(&str, usize, Place)> = open.iter().filter(|(of, ..)| *of == user).copied().collect();
            match rng.u8(..10) {
                0..=2 => {
                    let users: Vec<&str> = USERS.iter().map(|(user, _)| *user).filter(|_| rng.bool()).collect();
                    let ttl = [None, None, Some(3_600), Some(20), Some(0)][rng.usize(..5)];
                    if !users.is_empty() {
                        self.post(&users, ttl).await;
                        races = Some(users[rng.usize(..users.len())]);
                    }
                }
                3..=5 if mine.len() < 2 => {
                    let place = if rng.bool() { Place::Gateway } else { Place::Socket };
                    self.connect(user, &step.to_string(), place).await;
                    open.insert((user, step, place));
                }
                6 => {
                    for (user, connection, _) in mine.iter().filter(|(.., place)| *place == Place::Gateway) {
                        self.renew(user, &connection.to_string()).await;
                    }
                }
                7..=8 => {
                    if let Some((user, connection, place)) = mine.first() {
                        let reason = if rng.bool() { EndReason::ClientClosed } else { EndReason::ConnectionLost };
                        self.end(user, &connection.to_string(), *place, reason).await;
                        open.remove(&mine[0]);
                    }
                }
                9 if rng.u8(..3) == 0 => {
                    let hides = invisible.insert(user);
                    if !hides {
                        invisible.remove(user);
                    }
                    self.show(user, hides).await;
                }
                _ => {}
            }
        }
        self.pass(400).await;
        assert!(self.waiting.is_empty(), "{:?}", self.waiting);
    }
}
