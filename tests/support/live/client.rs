//! A client of a library.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::{Library, Place, Program};

/// Friendly names that begin so mark the end of what a test asks about.
const MARK: &str = "mark ";

/// A client of a library, in a program.
pub struct Live<'a> {
    program: &'a Program,
    place: &'a Place,
    /// Its name in the program.
    name: String,
    /// Of each user, how many changes a test has been told of.
    told: Mutex<BTreeMap<String, usize>>,
}

impl<'a> Live<'a> {
    /// Constructs it for this user, with a token by the vendor's own helper. It connects by itself.
    pub async fn open(program: &'a Program, place: &'a Place, identity: &str) -> Self {
        let token = place.token(program, identity).await;
        Self::open_with(program, place, &token).await
    }

    /// Constructs it with this token.
    pub async fn open_with(program: &'a Program, place: &'a Place, token: &str) -> Self {
        Self::make(program, place, token, "open").await
    }

    /// Has the library's factory make it with this token, which waits until it is initialized.
    pub async fn create(program: &'a Program, place: &'a Place, token: &str) -> Self {
        let live = Self::make(program, place, token, "create").await;
        live.call(live.library().own_conversations(), json!([])).await.unwrap();
        live
    }

    async fn make(program: &'a Program, place: &'a Place, token: &str, act: &str) -> Self {
        static CLIENTS: AtomicU64 = AtomicU64::new(0);
        let name = format!("client-{}", CLIENTS.fetch_add(1, Ordering::Relaxed));
        let uri = format!("{}/v3/wsconnect", place.url.replacen("http", "ws", 1));
        let command = json!({ "act": act, "client": name, "token": token, "uri": uri });
        let state = program.run(command).await.unwrap();
        assert_eq!(state, if act == "open" { "unknown" } else { "connected" }, "{:?}", program.library());
        Self { program, place, name, told: Mutex::default() }
    }

    /// Constructs it for this user, and waits until it is initialized and asks for nothing more.
    pub async fn start(program: &'a Program, place: &'a Place, identity: &str) -> Self {
        let live = Self::open(program, place, identity).await;
        live.initialized().await;
        live
    }

    /// The library it is of.
    pub fn library(&self) -> Library {
        self.program.library()
    }

    /// Waits until it is initialized and asks for nothing more.
    pub async fn initialized(&self) {
        self.hears("stateChanged", "initialized").await;
        // A client that is shut down before it has read them rejects a promise that nobody handles.
        self.call(self.library().own_conversations(), json!([])).await.unwrap();
    }

    /// Calls a method of it.
    ///
    /// # Errors
    /// What it rejects with.
    pub async fn call(&self, method: &str, arguments: Value) -> Result<Value, Value> {
        self.run(json!({ "act": "call", "method": method, "args": arguments })).await
    }

    /// Reads a property of it.
    ///
    /// # Errors
    /// What it throws.
    pub async fn get(&self, property: &str) -> Result<Value, Value> {
        self.run(json!({ "act": "get", "method": property })).await
    }

    /// Its own user as it sees it.
    pub async fn own_user(&self) -> Value {
        self.run(json!({ "act": "user" })).await.unwrap()
    }

    /// Calls a method of its own user.
    ///
    /// # Errors
    /// What it rejects with.
    pub async fn call_own_user(&self, method: &str, arguments: Value) -> Result<Value, Value> {
        self.run(json!({ "act": "user", "method": method, "args": arguments })).await
    }

    /// Calls a method of a user.
    ///
    /// # Errors
    /// What it rejects with.
    pub async fn call_user(&self, identity: &str, method: &str, arguments: Value) -> Result<Value, Value> {
        self.run(json!({ "act": "user", "user": identity, "method": method, "args": arguments })).await
    }

    /// Subscribes to the user with this identity, unless it is already. Returns what it sees.
    pub async fn user(&self, identity: &str) -> Value {
        self.call("getUser", json!([identity])).await.unwrap()
    }

    /// The same, of `isOnline` and `isNotifiable` only.
    pub async fn reachability(&self, identity: &str) -> Value {
        let user = self.user(identity).await;
        json!([user["isOnline"], user["isNotifiable"]])
    }

    async fn run(&self, mut command: Value) -> Result<Value, Value> {
        command["client"] = self.name.clone().into();
        self.program.run(command).await
    }

    /// What its events of this name have said.
    pub fn heard(&self, event: &str) -> Vec<Value> {
        self.program.read(|lines| self.events(lines, event))
    }

    fn events(&self, lines: &[Value], event: &str) -> Vec<Value> {
        let of_it = lines.iter().filter(|line| line["client"] == self.name && line["event"] == event);
        of_it.map(|line| line["value"].clone()).collect()
    }

    async fn find<T>(&self, what: &str, find: impl Fn(&[Value]) -> Option<T>) -> T {
        self.program.find(&self.name, what, find).await
    }

    /// Waits until it has heard an event that says this.
    pub async fn hears(&self, event: &str, value: impl Into<Value>) {
        let value = value.into();
        let what = format!("hears {event} {value}");
        self.find(&what, |lines| self.events(lines, event).contains(&value).then_some(())).await;
    }

    /// Waits until what it has heard by events of this name is enough. Returns it.
    pub async fn hears_until(&self, event: &str, is_enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let what = format!("hears {event}");
        self.find(&what, |lines| Some(self.events(lines, event)).filter(|heard| is_enough(heard))).await
    }

    /// Waits until it has heard so many events of this name. Returns what they have said.
    pub async fn hears_times(&self, event: &str, times: usize) -> Vec<Value> {
        self.hears_until(event, |heard| heard.len() >= times).await
    }

    /// Waits until it has connected so many times.
    pub async fn has_connected(&self, times: usize) {
        let count = |states: &[Value]| states.iter().filter(|state| **state == "connected").count();
        self.hears_until("connectionStateChanged", |states| count(states) >= times).await;
    }

    /// Waits until it was told these changes of a user, and fails if it is told anything else: since the last call, or since
    /// it has subscribed to the user, who exists.
    pub async fn is_told(&self, identity: &str, expected: &[&str]) {
        let told = self.told.lock().unwrap().get(identity).copied().unwrap_or_default();
        let what = format!("is told {expected:?} of {identity}");
        let changes = |lines: &[Value]| self.changes(lines, "userUpdated", identity);
        let are_enough = |lines: &[Value]| {
            let new = changes(lines).into_iter().skip(told).filter(|change| !is_mark(change));
            (new.count() >= expected.len()).then_some(())
        };
        self.find(&what, are_enough).await;
        // Whatever it is told too comes before this.
        static MARKS: AtomicU64 = AtomicU64::new(0);
        let mark = format!("{MARK}{}", MARKS.fetch_add(1, Ordering::Relaxed));
        self.place.post(&format!("Users/{identity}"), &format!("FriendlyName={mark}")).await;
        let mark = format!("friendlyName {mark:?}");
        let is_marked = |lines: &[Value]| Some(changes(lines)).filter(|changes| changes.contains(&mark));
        let changes = self.find(&format!("{what}, and a mark"), is_marked).await;
        let new: Vec<&String> = changes[told..].iter().filter(|change| !is_mark(change)).collect();
        assert_eq!(new, expected, "{what}, {:?}{}", self.library(), self.program.text(&self.name));
        self.told.lock().unwrap().insert(identity.to_owned(), changes.len());
        // The user's own event tells the same as the client's, soon after or before it.
        let by_user = |lines: &[Value]| self.changes(lines, "updated", identity);
        let has_all = |lines: &[Value]| Some(by_user(lines)).filter(|by_user| by_user.len() >= changes.len());
        assert_eq!(self.find(&what, has_all).await, changes, "{what} {:?}", self.library());
    }

    /// Waits until it was told this change of a user.
    pub async fn hears_change(&self, identity: &str, change: &str) {
        let what = format!("hears {change} of {identity}");
        let is_told = |lines: &[Value]| {
            let changes = self.changes(lines, "userUpdated", identity);
            changes.iter().any(|told| told == change).then_some(())
        };
        self.find(&what, is_told).await;
    }

    /// Waits until what it was told of a user ends with these values of `isOnline` and `isNotifiable`, in one change or in one
    /// for each.
    pub async fn ends_with(&self, identity: &str, reachability: Value) {
        let what = format!("is told {reachability} of {identity}");
        let told = self.told.lock().unwrap().get(identity).copied().unwrap_or_default();
        let ends = |lines: &[Value]| {
            let updates = self.updates(lines, "userUpdated", identity).split_off(told);
            let user = &updates.last()?["user"];
            (json!([user["isOnline"], user["isNotifiable"]]) == reachability).then_some(updates)
        };
        let updates = self.find(&what, ends).await;
        let changes = updates.iter().filter(|update| !is_mark(&change(update))).count();
        assert!(changes <= 2, "{what}, {:?}{}", self.library(), self.program.text(&self.name));
        self.told.lock().unwrap().insert(identity.to_owned(), told + updates.len());
        self.is_told(identity, &[]).await;
    }

    /// The changes that events of this name have told of a user after the first read: the reasons, and what is new.
    fn changes(&self, lines: &[Value], event: &str, identity: &str) -> Vec<String> {
        self.updates(lines, event, identity).iter().map(change).collect()
    }

    fn updates(&self, lines: &[Value], event: &str, identity: &str) -> Vec<Value> {
        let updates = self.events(lines, event).into_iter();
        // A library tells what it reads first as updates, too.
        let is_change =
            |update: &Value| update["user"]["identity"] == identity && update["user"]["isSubscribed"] == true;
        updates.filter(is_change).collect()
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.program.forget(&self.name);
    }
}

fn change(update: &Value) -> String {
    let user = &update["user"];
    let what = |reason: &Value| {
        let reason = reason.as_str().unwrap();
        let field = match reason {
            "reachabilityOnline" => "isOnline",
            "reachabilityNotifiable" => "isNotifiable",
            other => other,
        };
        format!("{reason} {}", user[field])
    };
    update["reasons"].as_array().unwrap().iter().map(what).collect::<Vec<_>>().join(", ")
}

fn is_mark(change: &str) -> bool {
    change.starts_with(&format!("friendlyName \"{MARK}"))
}
