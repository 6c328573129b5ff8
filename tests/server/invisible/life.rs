//! What john does, and what is done to it.

use reachability_tests::events::event;
use reachability_tests::socket::JsonSocket;
use reachability_tests::twilsock::Twilsock;
use reachability_tests::wait::wait;
use reqwest::Method;
use serde_json::{Value, json};

use super::place::Place;

/// What john is connected with.
pub(super) enum Device {
    Socket(Box<JsonSocket>),
    Vendors(Box<Twilsock>),
    /// A connection of this id, of the owner's own gateway.
    Reported(String),
}

/// What only somebody does who is there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    Open(Option<&'static str>),
    OpenVendors,
    Report,
    Renew,
    /// A device says goodbye.
    Leave(usize),
    /// A device ends without a word.
    Cut(usize),
    /// A device comes back on a new socket.
    ComeBack,
    Say(Option<&'static str>),
    /// As it is already.
    SayAgain,
    Look,
}

/// What can be done to anybody.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Rename(u8),
    Color(u8),
    Register(u8),
    Unregister,
    SwitchOff,
    SwitchOn,
    Join,
    Part,
    JackComes,
    JackGoes,
}

/// How john becomes invisible.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// With `set_user`, if it has one of our sockets; otherwise over REST.
    Set(Option<&'static str>),
    OverRest,
    /// With a new socket.
    Connect(Option<&'static str>),
}

impl Place<'_> {
    pub(super) async fn live(&mut self, deed: Deed) {
        match deed {
            Deed::Open(status) => {
                let fields = status.map_or(json!({}), |status| json!({"status": status}));
                self.open(fields).await;
            }
            Deed::OpenVendors => {
                let socket = self.world.open_twilsock(&self.service, "john").await;
                self.devices.push(Device::Vendors(Box::new(socket)));
            }
            // Nobody could say when that is handled.
            Deed::Report | Deed::Renew if !self.is_on => {}
            Deed::Report => {
                self.reported += 1;
                let id = format!("c-{}", self.reported);
                self.report(&id, "connect").await;
                self.devices.push(Device::Reported(id));
            }
            Deed::Renew => self.renew().await,
            Deed::Leave(which) => {
                if !self.devices.is_empty() {
                    let device = self.devices.remove(which % self.devices.len());
                    self.leave(device).await;
                }
            }
            Deed::Cut(which) if self.is_on && !self.devices.is_empty() => {
                let which = which % self.devices.len();
                if !matches!(self.devices[which], Device::Reported(_)) {
                    drop(self.devices.remove(which));
                }
            }
            Deed::Cut(_) => {}
            Deed::ComeBack => self.come_back().await,
            Deed::Say(status) => self.say(json!({"status": status})).await,
            Deed::SayAgain => self.say(json!({"invisible": true})).await,
            Deed::Look => self.look().await,
        }
        self.settle().await;
    }

    async fn open(&mut self, fields: Value) {
        self.keeps(&fields);
        let socket = self.world.open(&self.service, "john", fields).await;
        self.devices.push(Device::Socket(Box::new(socket)));
    }

    fn keeps(&mut self, wish: &Value) {
        if let Some(status) = wish.get("status") {
            self.secret = Some(status.clone());
        }
    }

    fn socket(&mut self) -> Option<&mut JsonSocket> {
        self.devices.iter_mut().find_map(|device| match device {
            Device::Socket(socket) => Some(&mut **socket),
            _ => None,
        })
    }

    async fn say(&mut self, wish: Value) {
        match self.socket() {
            Some(socket) => {
                socket.ask("set_user", wish.clone()).await.ok();
                self.keeps(&wish);
            }
            None => self.open(wish).await,
        }
    }

    async fn report(&self, connection: &str, kind: &str) {
        let mut event = event(&self.service, "john", kind);
        event["connection_id"] = connection.into();
        self.library.post(&self.path("Events"), event.to_string()).await;
    }

    async fn renew(&mut self) {
        let Some(id) = self.devices.iter().find_map(|device| match device {
            Device::Reported(id) => Some(id.clone()),
            _ => None,
        }) else {
            return;
        };
        let truth = async || {
            let truth = self.world.owner.get(&self.path("Presence/john?IncludeInvisible=true")).await;
            truth["connections"].clone()
        };
        let before = truth().await;
        self.report(&id, "renew").await;
        wait("the renewal", async || (truth().await != before).then_some(())).await;
    }

    async fn leave(&mut self, device: Device) {
        match device {
            Device::Socket(socket) => socket.goodbye().await,
            Device::Vendors(socket) => socket.goodbye().await,
            Device::Reported(id) => {
                self.report(&id, "disconnect").await;
                let has = async || {
                    let truth = self.world.owner.get(&self.path("Presence/john?IncludeInvisible=true")).await;
                    let reported = truth["connections"].as_array().unwrap().iter();
                    let left = reported.filter(|connection| !connection["until"].is_null()).count();
                    let expected = self.devices.iter().filter(|device| matches!(device, Device::Reported(_))).count();
                    (left == expected).then_some(())
                };
                wait("the gateway's disconnect", has).await;
            }
        }
    }

    /// All devices say goodbye.
    pub(super) async fn leave_all(&mut self) {
        while let Some(device) = self.devices.pop() {
            self.leave(device).await;
        }
        self.settle().await;
    }

    async fn come_back(&mut self) {
        let Some(place) = self.devices.iter().position(|device| matches!(device, Device::Socket(_))) else { return };
        let Device::Socket(mut older) = self.devices.remove(place) else { return };
        let token = older.connected["continuation_token"].clone();
        self.open(json!({"continuation_token": token})).await;
        older.end().await;
    }

    /// Looks at itself, and watches itself.
    async fn look(&mut self) {
        let map = format!("MP{}", &self.john[2..]);
        for device in &mut self.devices {
            match device {
                Device::Socket(socket) => {
                    socket.watch(&["john", "jane"]).await;
                }
                Device::Vendors(socket) => {
                    assert_eq!(socket.request("GET", "/Client/v2/Users/john", None).await.0, 200);
                    assert_eq!(socket.subscribe(&[(&map, None)]).await, 202);
                }
                Device::Reported(_) => {}
            }
        }
    }

    /// From now on nobody sees john.
    pub(super) async fn hide(&mut self, way: Way) {
        let wish = |status: Option<&str>| match status {
            Some(status) => json!({"invisible": true, "status": status}),
            None => json!({"invisible": true}),
        };
        match way {
            Way::Set(status) if self.socket().is_some() => self.say(wish(status)).await,
            Way::Connect(status) => self.open(wish(status)).await,
            Way::Set(_) | Way::OverRest => {
                self.library.post(&self.path("Presence/john"), "Invisible=true").await;
            }
        }
        self.settle().await;
    }

    /// From now on everybody sees john.
    pub(super) async fn show(&mut self, status: Option<Value>) {
        let wish = match status {
            Some(status) => json!({"invisible": false, "status": status}),
            None => json!({"invisible": false}),
        };
        self.say(wish).await;
        self.settle().await;
    }

    /// What the owner is answered.
    pub(super) async fn happen(&mut self, event: Event) -> Value {
        let post = async |path: String, form: String| self.library.post(&path, form).await;
        match event {
            Event::Rename(name) => post(self.path("Users/john"), format!("FriendlyName=John+{name}")).await,
            Event::Color(color) => {
                post(self.path("Users/john"), format!("Attributes=%7B%22color%22%3A%22green+{color}%22%7D")).await
            }
            Event::Register(device) => {
                let form = format!("Identity=john&BindingType=fcm&Address=token-{device}&Endpoint=phone-{device}");
                let binding = post(self.path("Bindings"), form).await;
                let sid = binding["sid"].as_str().unwrap().to_owned();
                self.names.call(&sid, "a device");
                self.binding = Some(sid);
                binding
            }
            Event::Unregister => {
                let Some(binding) = self.binding.take() else { return Value::Null };
                let path = self.path(&format!("Bindings/{binding}"));
                json!(self.library.send(Method::DELETE, &path, &[]).await)
            }
            Event::SwitchOff | Event::SwitchOn => {
                self.is_on = matches!(event, Event::SwitchOn);
                let form = format!("ReachabilityEnabled={}", self.is_on);
                let answer = post(self.path("Configuration"), form).await;
                if self.is_on {
                    self.gather().await;
                    self.settle().await;
                }
                answer
            }
            Event::Join => {
                self.is_member = true;
                post(self.path("Channels/messaging/general/Members"), "Identity=john".to_owned()).await
            }
            Event::Part => {
                self.is_member = false;
                let path = self.path("Channels/messaging/general/Members/john");
                json!(self.library.send(Method::DELETE, &path, &[]).await)
            }
            Event::JackComes if self.jack.is_some() => Value::Null,
            Event::JackComes => {
                let socket = self.world.open(&self.service, "jack", json!({})).await;
                self.jack = Some(socket);
                Value::Null
            }
            Event::JackGoes => {
                if let Some(socket) = self.jack.take() {
                    socket.goodbye().await;
                    self.world.settle().await;
                }
                Value::Null
            }
        }
    }
}
