//! Devices with a Twilsock socket, as the vendor's clients are: they come, watch, go, are cut off, and watch on.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use reachability_tests::map_client::{MapClient, NoSession};
use reachability_tests::map_views::Views;
use reachability_tests::twilsock::Packet;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::ledger::{Key, Registration};
use crate::owner::{STARS, create, star};
use crate::pushes::{PHONES, phone};
use crate::talkers::{TALKERS, talker};
use crate::world::{SERVICES, World};

/// How many there are of each service.
const DEVICES: usize = 5;

/// How long a visit lasts, in milliseconds, at most.
const STAYS: u64 = 4_000;

/// How long a device is away, in milliseconds, at most: often for less than the grace period.
const AWAY: u64 = 3_000;

fn device(number: usize) -> String {
    format!("device-{number}")
}

/// The users of a service whom everybody on a socket watches.
pub(crate) fn watched() -> Vec<String> {
    let stars = (0..STARS).map(star).chain((0..PHONES).map(phone));
    stars.chain((0..DEVICES).map(device)).chain((0..TALKERS).map(talker)).collect()
}

pub(crate) async fn create_all(world: &World, count: usize, name: fn(usize) -> String) {
    for service in 0..SERVICES {
        for number in 0..count {
            create(world, service, &name(number)).await;
        }
    }
}

pub(crate) async fn create_devices(world: &World) {
    create_all(world, DEVICES, device).await;
}

pub(crate) struct Devices(pub(crate) Vec<Device>);

pub(crate) struct Device {
    pub(crate) key: Key,
    /// What it has seen, by the numbers of who is watched.
    pub(crate) views: RefCell<Views>,
    /// Whether it is there in the end.
    pub(crate) stays: bool,
    dice: RefCell<Rng>,
    /// What the server called its last session.
    continuation: RefCell<Option<String>>,
    /// How often its user changed something.
    deeds: Cell<u64>,
}

impl Devices {
    pub(crate) fn new(world: &World) -> Self {
        let of = |(service, number): (usize, usize)| Device {
            key: (service, device(number)),
            views: RefCell::default(),
            stays: number % 3 != 2,
            dice: RefCell::new(world.dice(&format!("device-{service}-{number}"))),
            continuation: RefCell::default(),
            deeds: Cell::new(0),
        };
        Self((0..SERVICES).flat_map(|service| (0..DEVICES).map(move |number| (service, number))).map(of).collect())
    }

    /// Lets all of them come and go.
    pub(crate) async fn live(&self, world: &World) {
        join_all(self.0.iter().map(|device| device.live(world))).await;
    }
}

impl Device {
    async fn live(&self, world: &World) {
        while !world.is_over.get() {
            let away = self.below(AWAY);
            world.pause(away).await;
            let Some(mut client) = self.open(world).await else { continue };
            let end = self.visit(world, &mut client).await;
            self.views.borrow_mut().cut();
            match (end, self.below(4)) {
                (None, _) => world.ledger.note(&self.key, "cut off by the server", |_| ()),
                (Some(()), 0 | 1) => {
                    world.ledger.note(&self.key, "says goodbye", |_| ());
                    client.socket.goodbye().await;
                    self.continuation.take();
                }
                (Some(()), 2) => {
                    world.ledger.note(&self.key, "closes", |_| ());
                    client.socket.close().await;
                }
                (Some(()), _) => world.ledger.note(&self.key, "is cut", |_| ()),
            }
        }
        if !self.stays {
            return;
        }
        world.ledger.note(&self.key, "stays", |person| person.is_open = true);
        while !world.is_done.get() {
            if let Some(mut client) = self.open(world).await
                && self.watch(world, &mut client).await.is_some()
            {
                while !world.is_done.get() && self.listen(&mut client, Duration::from_millis(50)).await.is_some() {}
            }
            if !world.is_done.get() {
                self.views.borrow_mut().cut();
            }
        }
    }

    fn below(&self, most: u64) -> u64 {
        self.dice.borrow_mut().u64(0..most)
    }

    /// Opens a session, and watches on what it watched. `None` if there is none now.
    async fn open(&self, world: &World) -> Option<MapClient> {
        world.ledger.note(&self.key, "opens a socket", |person| person.was_open.1 = true);
        let token = world.signer.token(&world.services[self.key.0], &self.key.1);
        let continuation = self.continuation.borrow().clone();
        let mut client = match MapClient::open(&world.address, &token, continuation.as_deref()).await {
            Ok(client) => client,
            Err(why) => {
                if let NoSession::Refused(status) = why {
                    world.complain_of(&self.key, &format!("its socket is refused with {status}"));
                }
                sleep(Duration::from_millis(100)).await;
                return None;
            }
        };
        world.count("Twilsock sessions", 1);
        world.ledger.note(&self.key, "is open", |person| person.was_open.0 = true);
        client.failure_is_end = true;
        self.continuation.replace(client.continuation.clone());
        let views = self.views.borrow().clone();
        client.resume(&views).await?;
        Some(client)
    }

    /// Does something, and listens for a while. `None` if the socket ended.
    async fn visit(&self, world: &World, client: &mut MapClient) -> Option<()> {
        self.watch(world, client).await?;
        self.deeds.set(self.deeds.get() + 1);
        match self.below(5) {
            0 => self.rename(world, client).await?,
            1 | 2 => self.register(world, client).await?,
            _ => {}
        }
        let end = Instant::now() + Duration::from_millis(self.below(STAYS));
        while Instant::now() < end && !world.is_over.get() {
            self.listen(client, Duration::from_millis(50)).await?;
        }
        Some(())
    }

    /// Watches everybody whom it does not watch yet. `None` if the socket ended.
    async fn watch(&self, world: &World, client: &mut MapClient) -> Option<()> {
        for (number, identity) in watched().iter().enumerate() {
            if self.views.borrow().0.values().any(|view| view.user == number) {
                continue;
            }
            // What came before is applied first: reading a user's map starts it again.
            self.apply(client.heard().await);
            let mut views = self.views.borrow().clone();
            client.watch(&mut views, number, identity).await?;
            self.views.replace(views);
            world.count("watches over Twilsock", 1);
        }
        Some(())
    }

    async fn rename(&self, world: &World, client: &mut MapClient) -> Option<()> {
        let name = format!("name {}", self.deeds.get());
        world.ledger.note(&self.key, format!("calls itself {name}"), |person| person.name.sent(Some(name.clone())));
        let path = format!("/Client/v2/Users/{}", self.key.1);
        client.request("POST", &path, Some(json!({"friendly_name": name}))).await?;
        world.ledger.note(&self.key, "acknowledged", |person| person.name.acknowledged(Some(name)));
        Some(())
    }

    /// Registers for pushes, or unregisters if it is registered.
    async fn register(&self, world: &World, client: &mut MapClient) -> Option<()> {
        let token = format!("token-{}-{}", self.key.0, self.key.1);
        let knows = |registration| world.ledger.people()[&self.key].registration.allows(&registration);
        let wanted = if knows(Registration::Never) || !knows(Registration::Deliverable) {
            Registration::Deliverable
        } else {
            Registration::Gone
        };
        world.ledger.note(&self.key, format!("registration {wanted:?}"), |person| person.registration.sent(wanted));
        if wanted == Registration::Deliverable {
            let body = json!({"endpoint_platform": "web", "channel_type": "fcm", "version": "3",
                "message_types": ["twilio.conversations.new_message"], "data": {"registration_id": token}});
            client.request("POST", "/v1/registrations?productId=ip_messaging", Some(body)).await?;
        } else {
            let body = json!({"binding_type": "fcm", "address": token});
            client.request("DELETE", "/v1/registrations?productId=ip_messaging", Some(body)).await?;
        }
        world.ledger.note(&self.key, "acknowledged", |person| person.registration.acknowledged(wanted));
        Some(())
    }

    /// Listens for so long. `None` if the socket ended.
    async fn listen(&self, client: &mut MapClient, time: Duration) -> Option<()> {
        let until = Instant::now() + time;
        while let Some(packet) = client.hear(until).await.ok()? {
            self.apply([packet]);
        }
        Some(())
    }

    fn apply(&self, packets: impl IntoIterator<Item = Packet>) {
        for packet in packets.into_iter().filter(|packet| packet.method() == "notification") {
            self.views.borrow_mut().apply(&packet.payload);
        }
    }
}
