//! Users with our own client, on `/v1/Socket`: they watch, say what they are doing, and are invisible at times.

use std::cell::RefCell;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use reachability_client::{
    Backoff, Client, ConnectUser, Connection, Error, Options, QueryOptions, TokenProvider, UserChange, Watch,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::devices::{create_all, watched};
use crate::ledger::Key;
use crate::world::{SERVICES, World};

/// How many there are of each service.
pub(crate) const TALKERS: usize = 5;

/// Between two things that one does, in milliseconds, at most.
const PAUSE: u64 = 1_000;

pub(crate) fn talker(number: usize) -> String {
    format!("talker-{number}")
}

pub(crate) async fn create(world: &World) {
    create_all(world, TALKERS, talker).await;
}

pub(crate) struct Talkers(pub(crate) Vec<Talker>);

pub(crate) struct Talker {
    pub(crate) key: Key,
    /// Whether it is there in the end.
    pub(crate) stays: bool,
    /// Its client while there is one, and what that watches.
    pub(crate) client: RefCell<Option<(Client, Watch)>>,
    dice: RefCell<Rng>,
}

impl Talkers {
    pub(crate) fn new(world: &World) -> Self {
        let of = |(service, number): (usize, usize)| Talker {
            key: (service, talker(number)),
            stays: number % 3 != 2,
            client: RefCell::default(),
            dice: RefCell::new(world.dice(&format!("talker-{service}-{number}"))),
        };
        Self((0..SERVICES).flat_map(|service| (0..TALKERS).map(move |number| (service, number))).map(of).collect())
    }

    /// Lets all of them come, talk and go.
    pub(crate) async fn live(&self, world: &World) {
        join_all(self.0.iter().map(|talker| talker.live(world))).await;
    }
}

impl Talker {
    async fn live(&self, world: &World) {
        let mut count = 0;
        while !world.is_over.get() {
            let Some((client, _watch)) = self.connect(world, &mut count).await else { continue };
            for _ in 0..self.below(8) {
                world.pause(self.below(PAUSE)).await;
                count += 1;
                if self.below(5) == 0 {
                    world.ledger.note(&self.key, "is cut", |_| ());
                    client.abort().await;
                } else {
                    self.talk(world, &client, count).await;
                }
            }
            self.leave(world, client).await;
        }
        if self.stays {
            world.ledger.note(&self.key, "stays", |person| person.is_open = true);
            while self.client.borrow().is_none() {
                let connected = self.connect(world, &mut count).await;
                self.client.replace(connected);
            }
            while !world.is_done.get() {
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn below(&self, most: u64) -> u64 {
        self.dice.borrow_mut().u64(0..most)
    }

    /// Connects, with a status at times, and begins to watch. `None` if that is not possible now.
    async fn connect(&self, world: &World, count: &mut u64) -> Option<(Client, Watch)> {
        world.pause(self.below(PAUSE)).await;
        *count += 1;
        let status = (self.below(3) == 0).then(|| format!("came {count}"));
        let what = format!("connects {}", status.as_deref().unwrap_or_default());
        world.ledger.note(&self.key, what, |person| {
            person.was_open.1 = true;
            status.iter().for_each(|status| person.status.sent(Some(status.clone())));
        });
        let (signer, sid, identity) = (world.signer.clone(), world.services[self.key.0].clone(), self.key.1.clone());
        let token = TokenProvider::new(move || std::future::ready(Ok::<_, Error>(signer.token(&sid, &identity))));
        let options = Options {
            user: ConnectUser { status: status.clone(), ..ConnectUser::default() },
            reconnect: Some(Backoff { first: Duration::from_millis(200), most: Duration::from_secs(1) }),
            ..Options::new(format!("ws://{}/v1/Socket", world.address), token)
        };
        let client = match Client::connect(options).await {
            Ok(client) => client,
            Err(error) => {
                self.complain_of_refusal(world, &error);
                sleep(Duration::from_millis(100)).await;
                return None;
            }
        };
        world.count("sessions of /v1/Socket", 1);
        world.ledger.note(&self.key, "is connected", |person| {
            person.was_open.0 = true;
            status.into_iter().for_each(|status| person.status.acknowledged(Some(status)));
        });
        let watched = watched();
        let query = QueryOptions { presence: true, limit: Some(watched.len() as u32), cursor: None };
        match client.query_users(json!({"id": {"$in": watched}}), Value::Null, query).await {
            Ok(page) => {
                if page.users.len() != watched.len() {
                    world.complain_of(&self.key, &format!("it finds {} users only", page.users.len()));
                }
                world.count("watches over /v1/Socket", 1);
                Some((client, page.watch.expect("it watches")))
            }
            Err(error) => {
                self.complain_of_refusal(world, &error);
                world.ledger.note(&self.key, "leaves, since it cannot watch", |_| ());
                client.disconnect().await;
                None
            }
        }
    }

    /// Sets its status, or whether it is invisible.
    async fn talk(&self, world: &World, client: &Client, count: u64) {
        if self.below(2) == 0 {
            let status = format!("talk {count}");
            let change = UserChange { status: Some(status.clone()), invisible: None };
            world.ledger.note(&self.key, format!("says {status}"), |person| person.status.sent(Some(status.clone())));
            if self.is_done(world, client.set_user(change).await.err()) {
                world.ledger.note(&self.key, "acknowledged", |person| person.status.acknowledged(Some(status)));
            }
        } else {
            let invisible = self.below(2) == 0;
            let change = UserChange { status: None, invisible: Some(invisible) };
            world.ledger.note(&self.key, format!("invisible {invisible}"), |person| person.invisible_sent(invisible));
            if self.is_done(world, client.set_user(change).await.err()) {
                world.ledger.note(&self.key, "acknowledged", |person| person.invisible.acknowledged(invisible));
            }
        }
    }

    fn is_done(&self, world: &World, error: Option<Error>) -> bool {
        error.iter().for_each(|error| self.complain_of_refusal(world, error));
        error.is_none()
    }

    /// A server that cannot do it now says so.
    fn complain_of_refusal(&self, world: &World, error: &Error) {
        let is_expected = error.code().is_none_or(|code| format!("{code:?}") == "Unavailable");
        if !is_expected {
            world.complain_of(&self.key, &format!("it is refused: {error:?}"));
        }
    }

    async fn leave(&self, world: &World, client: Client) {
        if let Connection::Closed { why } = client.connection() {
            world.complain_of(&self.key, &format!("its client does not come back: {why:?}"));
        }
        if self.below(2) == 0 {
            world.ledger.note(&self.key, "says goodbye", |_| ());
            client.goodbye().await;
        } else {
            world.ledger.note(&self.key, "leaves", |_| ());
            client.disconnect().await;
        }
    }
}
