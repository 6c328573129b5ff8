//! A service with a user of whom others see something, and those others.

use std::collections::BTreeMap;
use std::time::Duration;

use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::client::Client;
use reachability_tests::receiver::{Receiver, Webhook};
use reachability_tests::server::Server;
use reachability_tests::socket::JsonSocket;
use reachability_tests::stream::Stream;
use reachability_tests::tokens::Signer;
use reachability_tests::twilsock::Twilsock;
use reachability_tests::wait::wait;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use super::life::Device;
use super::names::Names;
use super::views::Known;

/// How far apart steps are: numbers of what happens at once run ahead of the clock.
const APART: Duration = Duration::from_millis(6);

/// Who is there all the time.
const PRESENT: [&str; 5] = ["adam", "alice", "jane", "jill", "joan"];

/// A server with an owner's webhook receiver.
pub(super) struct World {
    pub(super) server: Server,
    pub(super) owner: Client,
    /// A library with an API key.
    library: Client,
    signer: Signer,
    receiver: Receiver,
    /// A service of which nothing is looked at.
    elsewhere: String,
    _directory: TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path(), &["--grace-seconds", "0"]);
        let owner = Client::of(&server);
        let signer = Signer::new(&owner, &server.account).await;
        let keys = format!("/2010-04-01/Accounts/{}/Keys.json", server.account);
        let (_, key) = owner.send(Method::POST, &keys, &[]).await;
        let library = owner.with_credentials(key["sid"].as_str().unwrap(), key["secret"].as_str().unwrap());
        // There reachability is off, so nothing changes.
        let elsewhere = owner.post("/v1/Services", "FriendlyName=elsewhere").await["sid"].as_str().unwrap().to_owned();
        let receiver = Receiver::start().await;
        let world = Self { server, owner, library, signer, receiver, elsewhere, _directory: directory };
        world.settle().await;
        world
    }

    pub(super) async fn open(&self, service: &str, identity: &str, fields: Value) -> JsonSocket {
        JsonSocket::open(self.server.address(), &self.signer.token(service, identity), fields).await
    }

    pub(super) async fn open_twilsock(&self, service: &str, identity: &str) -> Twilsock {
        Twilsock::open(self.server.address(), &self.signer.token(service, identity)).await
    }

    /// Waits until all is stored that sockets said. They are heard in order.
    pub(super) async fn settle(&self) {
        self.open(&self.elsewhere, "somebody", json!({})).await.goodbye().await;
    }
}

/// A service in which john does something, and those who may see it.
pub(super) struct Place<'a> {
    pub(super) world: &'a World,
    pub(super) library: Client,
    pub(super) service: String,
    pub(super) names: Names,
    /// The sid of john.
    pub(super) john: String,
    /// What john is connected with.
    pub(super) devices: Vec<Device>,
    /// How many connections the owner's gateway has reported.
    pub(super) reported: u32,
    /// What the user wants to show, and nobody may see.
    pub(super) secret: Option<Value>,
    /// The push registration of john.
    pub(super) binding: Option<String>,
    pub(super) is_on: bool,
    pub(super) is_member: bool,
    pub(super) jack: Option<JsonSocket>,
    /// Asks over our socket.
    pub(super) joan: JsonSocket,
    /// Asks with the vendor's client.
    pub(super) adam: Twilsock,
    /// Watches john and jack.
    jane: JsonSocket,
    /// Watches the channel of which john may be a member.
    jill: JsonSocket,
    /// Watches john with the vendor's client.
    alice: Twilsock,
    stream: Stream,
    /// What the stream had so far.
    streamed: Vec<Value>,
    /// The position of the log of changes at which the story begins.
    begin: u64,
    /// How often john was called `fence`.
    fences: usize,
    pub(super) known: Known,
    /// Times in the story for which queries ask.
    pub(super) start: Timestamp,
    pub(super) then: Timestamp,
}

impl<'a> Place<'a> {
    pub(super) async fn new(world: &'a World) -> Self {
        let (owner, mut names) = (&world.owner, Names::new());
        let service = owner.enabled_service().await;
        let path = |rest: &str| format!("/v1/Services/{service}/{rest}");
        let hooks = format!("PostWebhookUrl={}&Filters=onUserAdded&Filters=onUserUpdated", world.receiver.url("/hook"));
        owner.post(&path("Configuration/Webhooks"), hooks).await;
        for user in ["john", "jack", "anna"] {
            let custom = "Attributes=%7B%22color%22%3A%22green%22%7D";
            let created = owner.post(&path("Users"), format!("Identity={user}&FriendlyName={user}&{custom}")).await;
            names.call(created["sid"].as_str().unwrap(), "a user");
        }
        let members = ["joan", "jane", "jill", "john", "anna"].map(|id| format!("&Identity={id}")).concat();
        owner.post(&path("Channels"), format!("Type=messaging&Id=general{members}")).await;
        let stream = Stream::open(&world.library, &service, "", None).await.unwrap();
        let mut jane = world.open(&service, "jane", json!({})).await;
        let mut jill = world.open(&service, "jill", json!({})).await;
        let joan = world.open(&service, "joan", json!({})).await;
        let mut alice = world.open_twilsock(&service, "alice").await;
        let adam = world.open_twilsock(&service, "adam").await;
        let john = owner.get(&path("Users/john")).await["sid"].as_str().unwrap().to_owned();
        names.call(&john, "john");
        names.call(&service, "the service");
        jane.watch(&["john", "jack"]).await;
        let general = json!({"channel_type": "messaging", "channel_id": "general", "presence": true});
        jill.ask("watch_channel", general).await.ok();
        let map = format!("MP{}", &john[2..]);
        assert_eq!(alice.subscribe(&[(&map, None)]).await, 202);
        while alice.next().await.unwrap().payload["event_type"] != "subscription_established" {}
        let begin = owner.get(&path("Changes")).await["cursor"].as_u64().unwrap();
        let start = clock::now();
        Self {
            world,
            library: world.library.clone(),
            service,
            names,
            john,
            devices: vec![],
            reported: 0,
            secret: None,
            binding: None,
            is_on: true,
            is_member: true,
            jack: None,
            joan,
            adam,
            jane,
            jill,
            alice,
            stream,
            streamed: vec![],
            begin,
            fences: 0,
            known: Known::default(),
            start,
            then: start,
        }
    }

    pub(super) fn path(&self, rest: &str) -> String {
        format!("/v1/Services/{}/{rest}", self.service)
    }

    /// The next step begins.
    pub(super) async fn begin(&mut self) {
        sleep(APART).await;
        self.names.begin();
    }

    /// From now on queries ask for this time.
    pub(super) fn ask_for_now(&mut self) {
        (self.start, self.then) = self.names.times();
    }

    /// John is another user than before.
    pub(super) fn is_another(&mut self, sid: &str) {
        self.names.call(sid, "john");
        self.john = sid.to_owned();
        self.binding = None;
        self.known = Known::default();
    }

    /// Remembers what is seen of john now.
    pub(super) async fn remember(&mut self) {
        let seen = self.world.owner.get(&self.path("Presence/john")).await;
        let map = format!("/v3/Maps/MP{}", &self.john[2..]);
        let (_, read) = self.adam.request("GET", &map, None).await;
        let number = |value: &Value| value.as_u64().unwrap();
        self.known = Known { revision: number(&seen["revision"]), sequence: number(&read["last_event_id"]) };
    }

    /// Waits until the server knows which connections john has.
    pub(super) async fn settle(&self) {
        self.world.settle().await;
        // While reachability is off, what begins is no connection.
        if !self.is_on {
            return;
        }
        let truth = self.path("Presence/john?IncludeInvisible=true");
        let count = async || {
            let truth = self.world.owner.get(&truth).await;
            (truth["connections"].as_array().unwrap().len() == self.devices.len()).then_some(())
        };
        wait("john's connections", count).await;
    }

    /// Waits until everybody who is there is online.
    pub(super) async fn gather(&self) {
        let present = PRESENT.len() + usize::from(self.jack.is_some());
        let path = self.path("Presence?Filter=%7B%22online%22%3Atrue%2C%22id%22%3A%7B%22%24ne%22%3A%22john%22%7D%7D");
        let count =
            async || (self.world.owner.get(&path).await["users"].as_array().unwrap().len() == present).then_some(());
        wait("who is there is online", count).await;
    }

    /// All that was told of john since this was last asked for, by whom it was told; an owner is told of everybody. The vendor's
    /// client hears nothing of a user who is another one since (`is_new`).
    pub(super) async fn told(&mut self, is_new: bool) -> Value {
        self.fences += 1;
        let rename = self.library.request(Method::POST, &self.path("Users/john")).form(&[("FriendlyName", "fence")]);
        let rename = rename.header("X-Twilio-Webhook-Enabled", "true").send().await.unwrap();
        assert_eq!(rename.status(), 200);
        let named = |value: &Value| value == "fence";
        let mut jane: Vec<Value> = vec![];
        while !jane.last().is_some_and(|last| named(&last["user"]["name"])) {
            jane.push(self.jane.next().await.expect("jane hears"));
        }
        let mut jill: Vec<Value> = vec![];
        while !jill.last().is_some_and(|last| named(&last["user"]["name"])) {
            jill.push(self.jill.next().await.expect("jill hears"));
        }
        let mut alice: Vec<Value> = vec![];
        while !is_new && !alice.last().is_some_and(|last| named(&last["item_data"]["value"])) {
            let packet = self.alice.next().await.expect("alice hears");
            alice.extend(packet.payload["events"].as_array().unwrap().iter().cloned());
        }
        let heard = self.streamed.len();
        while self.streamed[heard..].last().is_none_or(|last| !named(&last["profile"]["friendly_name"])) {
            self.streamed.push(self.stream.next_change().await.expect("the stream goes on"));
        }
        // As somebody hears it who was cut off.
        let first = self.streamed.iter().position(|change| change["id"].as_u64() > Some(self.begin)).unwrap();
        let mut again = Stream::open(&self.library, &self.service, "", Some(self.begin)).await.unwrap();
        assert_eq!(again.changes(self.streamed.len() - first).await, self.streamed[first..]);
        let of_service = |hook: &Webhook| hook.get("ChatServiceSid") == self.service;
        let hooks = async || {
            let hooks: Vec<Webhook> = self.world.receiver.inbox.all().into_iter().filter(of_service).collect();
            let fences = hooks.iter().filter(|hook| hook.get("FriendlyName") == "fence").count();
            (fences == self.fences).then_some(hooks)
        };
        let hooks = wait("the last webhook", hooks).await;
        // The profile is read when the webhook is queued, a moment later.
        let told =
            |(name, _): &(&String, &String)| !["FriendlyName", "Attributes", "DateUpdated"].contains(&name.as_str());
        let hooks = hooks.iter().map(|hook| {
            let parameters: BTreeMap<_, _> = hook.parameters.iter().filter(told).collect();
            json!([hook.method, parameters])
        });
        // What is told of the others when reachability is switched on depends on when they are read.
        let is_john = |message: &Value| message["user"]["id"] == "john" || message["id"] == "john";
        let of_john = |told: Vec<Value>| told.into_iter().filter(is_john).collect::<Vec<_>>();
        json!({
            "jane": of_john(jane),
            "jill": of_john(jill),
            "alice": alice,
            "stream": by(self.streamed[heard..].to_vec(), |change| change["identity"].as_str().map(str::to_owned)),
            "webhooks": by(hooks.collect(), |hook| hook[1]["Identity"].as_str().map(str::to_owned)),
        })
    }
}

/// By whom it is about: what is told of different users has no order.
fn by(all: Vec<Value>, whom: impl Fn(&Value) -> Option<String>) -> Value {
    let mut told = json!({});
    for one in all {
        let whom = whom(&one).unwrap_or_default();
        if told[&whom].is_null() {
            told[&whom] = json!([]);
        }
        told[&whom].as_array_mut().unwrap().push(one);
    }
    told
}
