//! The server and what its clients see, judged by what happened.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use reachability_tests::client::Client as Owner;
use reachability_tests::map_views::{News, Reachability, Views};
use reachability_tests::server::Server;
use reachability_tests::tokens::Signer;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::truth::Truth;
use super::{BOUNDS, CLIENTS, SERVICES, USERS};

/// How much later than stated is still in time, on a machine that does other things too.
const SLACK: Duration = Duration::from_secs(1);

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

pub(super) struct World {
    pub(super) directory: tempfile::TempDir,
    pub(super) arguments: Vec<String>,
    pub(super) server: RefCell<Option<Server>>,
    pub(super) owner: RefCell<Owner>,
    pub(super) address: RefCell<String>,
    pub(super) signer: Signer,
    pub(super) services: Vec<String>,
    pub(super) truth: RefCell<Truth>,
    /// Since when reachability is on in each service.
    pub(super) enabled: RefCell<Vec<Option<Instant>>>,
    pub(super) views: Vec<RefCell<Views>>,
    /// Whose sessions are open in the end.
    pub(super) open: RefCell<Vec<bool>>,
    offline: RefCell<Vec<Offline>>,
    pub(super) wrong: RefCell<Vec<String>>,
    /// How late this program was, at most.
    pub(super) late: Cell<Duration>,
    /// When the wall clock was at the epoch of the ids, on this program's clock.
    began: (Instant, u64),
    pub(super) is_over: Cell<bool>,
    pub(super) is_done: Cell<bool>,
    pub(super) changes: Cell<usize>,
    /// How many sessions ended with their tokens.
    pub(super) expired: Cell<usize>,
}

pub(super) fn user_of(client: usize) -> usize {
    client % (SERVICES * USERS)
}

pub(super) fn identity(user: usize) -> String {
    format!("user-{}", user / SERVICES)
}

impl World {
    pub(super) async fn new() -> Self {
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
            expired: Cell::new(0),
        }
    }

    pub(super) fn slack(&self) -> Duration {
        SLACK + self.late.get()
    }

    pub(super) fn complain(&self, what: String) {
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

    pub(super) fn note(&self, client: usize, news: Vec<News>) {
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

    /// Waits for so many milliseconds, or until it is over.
    pub(super) async fn pause(&self, millis: u64) {
        let began = Instant::now();
        while !self.is_over.get() && began.elapsed() < Duration::from_millis(millis) {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Looks at what clients see, again and again.
    pub(super) async fn look(&self) {
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

    /// Who was shown offline must have been.
    pub(super) fn judge(&self) {
        let truth = self.truth.borrow();
        for Offline { user, written, seen, enabled } in &*self.offline.borrow() {
            let from = written.checked_sub(self.slack()).unwrap_or(*written);
            if truth.was_held(*user, from, *seen, *enabled) {
                let at = (*seen - self.began.0).as_secs_f64();
                self.complain(format!("user {user} was shown offline at {at:.1} s while connected"));
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
    pub(super) async fn differences(&self) -> Vec<String> {
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
