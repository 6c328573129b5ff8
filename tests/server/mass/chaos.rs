//! Random clients of several services: once all is quiet, each has seen the truth of everybody it watches, and until then
//! nobody was shown online for longer than is stated, nor offline while connected.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::future::{join, join_all};
use reachability_tests::client::Client as Owner;
use reachability_tests::server::{PATIENCE, Server};
use reachability_tests::tokens::Signer;
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::{Client, NoSession};
use super::plan::{Blow, Deed, Leave, Plan, Visit};
use super::truth::{Bounds, End, Number, Truth};
use super::views::{News, Reachability, Views};

const SERVICES: usize = 3;

/// In each service.
const USERS: usize = 6;

/// More than users: some have two devices.
const CLIENTS: usize = 30;

/// How many users each client watches from the beginning, its own among them.
const WATCHED: usize = 4;

/// Everything is quicker than it should be for people, so that more happens.
const BOUNDS: Bounds = Bounds { ping: 2, grace: 2, restart_grace: 4 };

/// How much later than stated is still in time, on a machine that does other things too.
const SLACK: Duration = Duration::from_secs(1);

/// For how long the clients come and go after the last restart.
const AFTER: Duration = Duration::from_secs(4);

/// 2026-01-01, from which the ids of changes count milliseconds.
const EPOCH: u64 = 1_767_225_600_000;

/// A change that was shown as `false`.
struct Offline {
    user: usize,
    /// When it was written.
    written: Instant,
    seen: Instant,
    /// Since when reachability was on.
    enabled: Instant,
}

struct World {
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    server: RefCell<Option<Server>>,
    owner: RefCell<Owner>,
    address: RefCell<String>,
    signer: Signer,
    services: Vec<String>,
    truth: RefCell<Truth>,
    /// Since when reachability is on in each service.
    enabled: RefCell<Vec<Option<Instant>>>,
    views: Vec<RefCell<Views>>,
    /// Whose sessions are open in the end.
    open: RefCell<Vec<bool>>,
    offline: RefCell<Vec<Offline>>,
    wrong: RefCell<Vec<String>>,
    /// How late this program was, at most.
    late: Cell<Duration>,
    /// When the wall clock was at the epoch of the ids, on this program's clock.
    began: (Instant, u64),
    is_over: Cell<bool>,
    is_done: Cell<bool>,
    changes: Cell<usize>,
}

fn user_of(client: usize) -> usize {
    client % (SERVICES * USERS)
}

fn identity(user: usize) -> String {
    format!("user-{}", user / SERVICES)
}

impl World {
    async fn new() -> Self {
        let (directory, arguments) = (tempfile::tempdir().unwrap(), BOUNDS.arguments());
        let server = start(&directory, &arguments);
        let owner = Owner::of(&server);
        let signer = Signer::new(&owner, &server.account).await;
        let mut services = vec![];
        for _ in 0..SERVICES {
            let service = owner.enabled_service().await;
            for user in 0..USERS {
                owner.post(&format!("/v1/Services/{service}/Users"), format!("Identity=user-{user}")).await;
            }
            services.push(service);
        }
        let wall = UNIX_EPOCH.elapsed().unwrap().as_millis() as u64 - EPOCH;
        Self {
            address: RefCell::new(server.address().to_owned()),
            directory,
            arguments,
            server: RefCell::new(Some(server)),
            owner: RefCell::new(owner),
            signer,
            services,
            truth: RefCell::new(Truth::new(BOUNDS, SERVICES * USERS)),
            enabled: RefCell::new(vec![Some(Instant::now()); SERVICES]),
            views: (0..CLIENTS).map(|_| RefCell::default()).collect(),
            open: RefCell::new(vec![false; CLIENTS]),
            offline: RefCell::default(),
            wrong: RefCell::default(),
            late: Cell::default(),
            began: (Instant::now(), wall),
            is_over: Cell::new(false),
            is_done: Cell::new(false),
            changes: Cell::new(0),
        }
    }

    fn slack(&self) -> Duration {
        SLACK + self.late.get()
    }

    fn complain(&self, what: String) {
        let since = self.began.0.elapsed().as_secs_f64();
        self.wrong.borrow_mut().push(format!("after {since:.1} s: {what}"));
    }

    /// When the change with this id was written.
    fn written(&self, id: u64) -> Instant {
        let (began, wall) = self.began;
        let revision = id % (1 << 40);
        if revision >= wall {
            began + Duration::from_millis(revision - wall)
        } else {
            began.checked_sub(Duration::from_millis(wall - revision)).unwrap_or(began)
        }
    }

    fn note(&self, client: usize, news: Vec<News>) {
        for News { user, online, id } in news {
            self.changes.set(self.changes.get() + 1);
            let (now, written) = (Instant::now(), self.written(id));
            match online {
                Some(true) if !self.truth.borrow().may_be_online(user, now, self.slack()) => {
                    self.complain(format!("client {client} heard that user {user} is online"));
                }
                Some(false) => {
                    if let Some(enabled) = self.enabled.borrow()[user % SERVICES] {
                        self.offline.borrow_mut().push(Offline { user, written, seen: now, enabled });
                    }
                }
                _ => {}
            }
        }
    }

    /// Looks at what clients see, again and again.
    async fn look(&self) {
        const EVERY: Duration = Duration::from_millis(50);
        while !self.is_done.get() {
            let due = Instant::now() + EVERY;
            sleep_until(due).await;
            self.late.set(self.late.get().max(due.elapsed()));
            let (now, slack) = (Instant::now(), self.slack());
            let Some(while_ago) = now.checked_sub(slack) else { continue };
            let truth = self.truth.borrow();
            if !truth.ran(while_ago, now) {
                continue;
            }
            for (client, views) in self.views.iter().enumerate() {
                for view in views.borrow().0.values().filter(|view| view.current_since.is_some()) {
                    let (user, online) = (view.user, view.reachability.0);
                    if online == Some(true) && !truth.may_be_online(user, now, slack) {
                        self.complain(format!("client {client} sees user {user} online: a ghost"));
                    }
                    let is_settled = |since: Option<Instant>| since.is_some_and(|since| since < while_ago);
                    let enabled = self.enabled.borrow()[user % SERVICES].filter(|since| is_settled(Some(*since)));
                    let is_held = |enabled| truth.was_held(user, while_ago, now, enabled);
                    if online != Some(true) && is_settled(view.current_since) && enabled.is_some_and(is_held) {
                        self.complain(format!("client {client} sees user {user} as {online:?}, who is connected"));
                    }
                }
            }
        }
    }

    /// What the server shows of everybody.
    async fn shown(&self) -> BTreeMap<usize, (Reachability, Option<String>)> {
        let owner = self.owner.borrow().clone();
        let mut shown = BTreeMap::new();
        for (number, service) in self.services.iter().enumerate() {
            let page = owner.get(&format!("/v1/Services/{service}/Users?Reachability=true&PageSize=100")).await;
            for user in page["users"].as_array().unwrap() {
                let name = user["identity"].as_str().unwrap().strip_prefix("user-").unwrap();
                let reachability = (user["is_online"].as_bool(), user["is_notifiable"].as_bool());
                let friendly_name = user["friendly_name"].as_str().map(str::to_owned);
                shown.insert(name.parse::<usize>().unwrap() * SERVICES + number, (reachability, friendly_name));
            }
        }
        shown
    }

    /// What is not yet as it should be.
    async fn differences(&self) -> Vec<String> {
        let shown = self.shown().await;
        let mut differences = vec![];
        for (user, ((online, _), _)) in &shown {
            let is_open = (0..CLIENTS).any(|client| user_of(client) == *user && self.open.borrow()[client]);
            let is_enabled = self.enabled.borrow()[user % SERVICES].is_some();
            if (*online == Some(true)) != (is_open && is_enabled) {
                differences.push(format!("user {user} is shown as {online:?}, open: {is_open}, enabled: {is_enabled}"));
            }
        }
        for (client, views) in self.views.iter().enumerate().filter(|(client, _)| self.open.borrow()[*client]) {
            for view in views.borrow().0.values() {
                let (reachability, name) = &shown[&view.user];
                let same_name = name.is_none() || *name == view.friendly_name;
                if view.reachability != *reachability || !same_name || view.current_since.is_none() {
                    differences.push(format!("client {client} sees {view:?}, and it is {reachability:?} {name:?}"));
                }
            }
        }
        differences
    }
}

fn start(directory: &tempfile::TempDir, arguments: &[String]) -> Server {
    Server::start(directory.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What a client keeps when it is cut off.
struct Device<'a> {
    world: &'a World,
    number: usize,
    user: usize,
    /// What its last connection was, and what the server called the session.
    last: Option<(Number, Option<String>)>,
}

impl Device<'_> {
    async fn live(mut self, visits: &[Visit]) {
        for visit in visits.iter().cycle() {
            let now = Instant::now();
            while !self.world.is_over.get() && now.elapsed() < Duration::from_millis(visit.after) {
                sleep(Duration::from_millis(20)).await;
            }
            if self.world.is_over.get() {
                break;
            }
            let Some(mut client) = self.open(visit.continues).await else { continue };
            let end = self.visit(&mut client, visit).await;
            self.leave(client, visit.leaves, end).await;
        }
        // In the end most are there.
        while self.number % 4 != 3 && !self.world.is_done.get() {
            let Some(mut client) = self.open(true).await else { continue };
            self.world.open.borrow_mut()[self.number] = true;
            let mut end = Some(());
            while !self.world.is_done.get() && end.is_some() {
                end = self.listen(&mut client, Duration::from_millis(50)).await;
            }
            self.world.open.borrow_mut()[self.number] = false;
            self.leave(client, Leave::Cut, end).await;
        }
    }

    /// Opens a session, and watches on. Tries until there is one, unless it is over; then once.
    async fn open(&mut self, continues: bool) -> Option<Client> {
        let world = self.world;
        let mut wait = 50;
        loop {
            let began = Instant::now();
            let number = world.truth.borrow_mut().begin(self.user);
            let service = &world.services[self.user % SERVICES];
            let token = world.signer.token(service, &identity(self.user));
            let continued = self.last.as_ref().filter(|(_, token)| continues && token.is_some());
            let address = world.address.borrow().clone();
            let opened = Client::open(&address, &token, continued.and_then(|(_, token)| token.as_deref())).await;
            if opened.is_ok() {
                world.truth.borrow_mut().joined(number);
            }
            if let Some((earlier, _)) = continued {
                world.truth.borrow_mut().replaced(*earlier, number);
            }
            match opened {
                Ok(mut client) => {
                    self.last = Some((number, client.continuation.clone()));
                    let views = world.views[self.number].borrow().clone();
                    if client.resume(&views).await.is_some() {
                        return Some(client);
                    }
                    self.ended(End::Lost);
                }
                Err(why) => {
                    world.truth.borrow_mut().ended(number, End::Lost);
                    if let NoSession::Refused(status) = why {
                        world.complain(format!("client {} is refused with {status}", self.number));
                    } else if world.truth.borrow().ran(began, Instant::now()) {
                        world.complain(format!("client {} finds no server", self.number));
                    }
                }
            }
            sleep(Duration::from_millis(wait)).await;
            wait = (wait * 2).min(400);
        }
    }

    fn ended(&self, end: End) {
        if let Some((number, _)) = self.last {
            self.world.truth.borrow_mut().ended(number, end);
        }
        self.world.views[self.number].borrow_mut().cut();
    }

    /// Does what there is to do on a visit. `None` if the socket ended.
    async fn visit(&mut self, client: &mut Client, visit: &Visit) -> Option<()> {
        if self.world.views[self.number].borrow().0.is_empty() {
            for user in 0..WATCHED {
                self.watch(client, self.user / SERVICES + user).await?;
            }
        }
        let registration = json!({"binding_type": "fcm", "address": format!("token-{}", self.user)});
        match visit.does {
            Deed::Nothing => {}
            Deed::Watch(user) => self.watch(client, user).await?,
            Deed::Rename => {
                let path = format!("/Client/v2/Users/{}", identity(self.user));
                client.request("POST", &path, Some(json!({"friendly_name": format!("after {}", visit.stays)}))).await?;
            }
            Deed::Register => {
                let body = json!({"endpoint_platform": "web", "channel_type": "fcm", "version": "3",
                    "message_types": ["twilio.conversations.new_message"],
                    "data": {"registration_id": format!("token-{}", self.user)}});
                client.request("POST", "/v1/registrations?productId=ip_messaging", Some(body)).await?;
            }
            Deed::Unregister => {
                client.request("DELETE", "/v1/registrations?productId=ip_messaging", Some(registration)).await?;
            }
        }
        self.listen(client, Duration::from_millis(visit.stays)).await
    }

    /// Watches one of its service.
    async fn watch(&self, client: &mut Client, user: usize) -> Option<()> {
        let user = user % USERS * SERVICES + self.user % SERVICES;
        // What came before is applied first: reading a user's map begins it anew.
        self.apply(client.heard().await);
        let mut views = self.world.views[self.number].borrow().clone();
        let known = views.0.len();
        let news = client.watch(&mut views, user, &identity(user)).await?;
        if views.0.len() > known {
            self.world.views[self.number].replace(views);
        }
        self.world.note(self.number, news);
        Some(())
    }

    /// Listens for so long, or until it is over. `None` if the socket ended.
    async fn listen(&self, client: &mut Client, time: Duration) -> Option<()> {
        let end = Instant::now() + time;
        while Instant::now() < end && !(self.world.is_over.get() && time > Duration::from_millis(50)) {
            let until = end.min(Instant::now() + Duration::from_millis(50));
            if let Some(packet) = client.hear(until).await.ok()? {
                self.apply([packet]);
            }
        }
        Some(())
    }

    fn apply(&self, packets: impl IntoIterator<Item = reachability_tests::twilsock::Packet>) {
        for packet in packets.into_iter().filter(|packet| packet.method() == "notification") {
            let news = self.world.views[self.number].borrow_mut().apply(&packet.payload);
            self.world.note(self.number, news);
        }
    }

    async fn leave(&mut self, mut client: Client, leave: Leave, was_open: Option<()>) {
        let world = self.world;
        if was_open.is_none() {
            // The server closed it.
            let now = Instant::now();
            let late = Duration::from_millis(500) + world.late.get();
            if world.late.get() < Duration::from_millis(300)
                && now.checked_sub(late).is_some_and(|before| world.truth.borrow().ran(before, now))
            {
                world.complain(format!("client {} was cut off: {:?}", self.number, client.socket.ended));
            }
            return self.ended(End::Lost);
        }
        match leave {
            Leave::Goodbye => {
                self.ended(End::Goodbye);
                client.socket.goodbye().await;
                // The session is over on purpose.
                self.last = None;
            }
            Leave::Close => {
                self.ended(End::Lost);
                client.socket.close().await;
            }
            Leave::Cut => self.ended(End::Lost),
            Leave::Freeze { lasts, thaws } => {
                self.ended(End::Frozen);
                sleep(Duration::from_millis(lasts)).await;
                if thaws && self.thaw(&mut client).await.is_some() {
                    let end = self.listen(&mut client, Duration::from_secs(1)).await;
                    Box::pin(self.leave(client, Leave::Cut, end)).await;
                }
            }
            Leave::Stay => {
                let end = self.listen(&mut client, Duration::from_secs(1)).await;
                Box::pin(self.leave(client, Leave::Cut, end)).await;
            }
        }
    }

    /// Goes on where it was. `None` if the server has cut it meanwhile.
    async fn thaw(&mut self, client: &mut Client) -> Option<()> {
        let number = self.world.truth.borrow_mut().begin(self.user);
        let path = format!("/Client/v2/Users/{}", identity(self.user));
        if client.request("GET", &path, None).await.is_none() {
            self.world.truth.borrow_mut().ended(number, End::Lost);
            return None;
        }
        self.world.truth.borrow_mut().joined(number);
        self.last = Some((number, client.continuation.clone()));
        self.apply(client.heard().await);
        for view in self.world.views[self.number].borrow_mut().0.values_mut() {
            view.current_since = Some(Instant::now());
        }
        Some(())
    }
}

/// Does to the server what is planned.
async fn strike(world: &World, blows: &[(u64, Blow)]) {
    for (after, blow) in blows {
        sleep(Duration::from_millis(*after)).await;
        match *blow {
            Blow::Switch { service, off } => {
                switch(world, service, false).await;
                sleep(Duration::from_millis(off)).await;
                switch(world, service, true).await;
            }
            Blow::Stop | Blow::Kill => {
                let server = world.server.take().unwrap();
                world.truth.borrow_mut().stopped();
                if matches!(blow, Blow::Kill) {
                    spawn_blocking(move || server.kill()).await.unwrap();
                } else {
                    let (status, logs) = spawn_blocking(move || server.stop()).await.unwrap();
                    assert!(status.success(), "{logs}");
                }
                world.truth.borrow_mut().started();
                let (path, arguments) = (world.directory.path().to_owned(), world.arguments.clone());
                let start = move || Server::start(&path, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
                let server = spawn_blocking(start).await.unwrap();
                server.address().clone_into(&mut world.address.borrow_mut());
                world.owner.replace(Owner::of(&server));
                world.server.replace(Some(server));
                world.truth.borrow_mut().ready();
            }
        }
    }
    sleep(AFTER).await;
    // In one service it stays off.
    switch(world, 0, false).await;
}

async fn switch(world: &World, service: usize, on: bool) {
    let owner = world.owner.borrow().clone();
    world.enabled.borrow_mut()[service] = None;
    let path = format!("/v1/Services/{}/Configuration", world.services[service]);
    owner.post(&path, format!("ReachabilityEnabled={on}")).await;
    world.enabled.borrow_mut()[service] = on.then(Instant::now);
}

async fn run(seed: u64) {
    println!("seed {seed}");
    let (grace, lost) = (BOUNDS.grace().as_millis() as u64, BOUNDS.lost().as_millis() as u64);
    let plan = Plan::of(seed, CLIENTS, SERVICES, USERS, grace, lost);
    let world = World::new().await;
    let device = |(number, visits): (usize, &Vec<Visit>)| {
        let (world, visits) = (&world, visits.clone());
        async move { Device { world, number, user: user_of(number), last: None }.live(&visits).await }
    };
    let devices = join_all(plan.clients.iter().enumerate().map(device));
    let conduct = async {
        strike(&world, &plan.blows).await;
        world.is_over.set(true);
        let settled = async {
            while !world.differences().await.is_empty() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(PATIENCE, settled).await.is_err() {
            for difference in world.differences().await {
                world.complain(difference);
            }
        }
        world.is_done.set(true);
    };
    join(join(devices, conduct), world.look()).await;
    let truth = world.truth.borrow();
    for Offline { user, written, seen, enabled } in &*world.offline.borrow() {
        let from = written.checked_sub(world.slack()).unwrap_or(*written);
        if truth.was_held(*user, from, *seen, *enabled) {
            let at = (*seen - world.began.0).as_secs_f64();
            world.complain(format!("user {user} was shown offline at {at:.1} s while connected"));
        }
    }
    let wrong = world.wrong.borrow();
    println!("{} changes were seen; this program was {:?} late at most", world.changes.get(), world.late.get());
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
    assert!(world.changes.get() > 200, "too little happened");
}

#[tokio::test]
async fn clients_see_the_truth_whatever_happens() {
    // More with `REACHABILITY_CHAOS_RUNS`, or a certain one with `REACHABILITY_CHAOS_SEED`.
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let runs = number("REACHABILITY_CHAOS_RUNS").unwrap_or(1);
    let first = number("REACHABILITY_CHAOS_SEED").unwrap_or_else(|| UNIX_EPOCH.elapsed().unwrap().as_micros() as u64);
    for seed in first..first + runs {
        run(seed).await;
    }
}
