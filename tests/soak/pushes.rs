//! Phones that are registered for pushes, and notifications to them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{join, join_all};
use reachability_tests::providers::{Answer, Apple, Google};
use reqwest::Method;
use serde_json::Value;
use tokio::time::sleep;

use crate::ledger::{Key, Registration};
use crate::owner::{answered, delete};
use crate::world::{SERVICES, World};

/// How many phones each service has: those of Apple, of Google, and the last one of Apple that is dead.
pub(crate) const PHONES: usize = 4;

/// Between two notifications, in milliseconds, at most.
const PAUSE: u64 = 500;

pub(crate) fn phone(number: usize) -> String {
    format!("phone-{number}")
}

struct Phone {
    key: Key,
    token: String,
    is_of_apple: bool,
    is_dead: bool,
}

/// A notification: to which phones, and whether it was acknowledged.
struct Sent {
    to: Vec<usize>,
    is_acknowledged: bool,
}

pub(crate) struct Phones {
    phones: Vec<Phone>,
    /// The notifications by their titles.
    sent: RefCell<BTreeMap<String, Sent>>,
}

impl Phones {
    /// Registers them.
    pub(crate) async fn create(world: &World) -> Self {
        create_credentials(world).await;
        let mut phones = vec![];
        for service in 0..SERVICES {
            for number in 0..PHONES {
                let (is_of_apple, is_dead) = (number % 2 == 1, number == PHONES - 1);
                let phone = Phone {
                    key: (service, phone(number)),
                    token: format!("{:064x}", 0xf0e + phones.len()),
                    is_of_apple,
                    is_dead,
                };
                if is_dead {
                    world.apple.answer(&phone.token, Answer::apns(410, "Unregistered"));
                }
                let kind = if is_of_apple { "apn" } else { "fcm" };
                assert!(register(world, &phone.key, kind, &phone.token).await.is_some());
                world.ledger.note(&phone.key, "registered", |person| {
                    person.registration.acknowledged(Registration::Deliverable);
                    person.is_dead = is_dead;
                });
                phones.push(phone);
            }
        }
        Self { phones, sent: RefCell::default() }
    }

    /// Notifies some of them, again and again.
    pub(crate) async fn load(&self, world: &World) {
        let mut dice = world.dice("notifications");
        while !world.is_over.get() {
            world.pause(dice.u64(0..PAUSE)).await;
            let service = dice.usize(..SERVICES);
            let of_service = |phone: &usize| self.phones[*phone].key.0 == service;
            let all: Vec<usize> = (0..self.phones.len()).filter(of_service).collect();
            let some = dice.usize(1..=all.len());
            self.notify(world, dice.choose_multiple(all, some)).await;
        }
    }

    /// Notifies all of them, so that each of those that are dead is found out, too.
    pub(crate) async fn notify_all(&self, world: &World) {
        for service in 0..SERVICES {
            let of_service = |phone: &usize| self.phones[*phone].key.0 == service;
            self.notify(world, (0..self.phones.len()).filter(of_service).collect()).await;
        }
    }

    async fn notify(&self, world: &World, to: Vec<usize>) {
        let title = format!("notification {}", self.sent.borrow().len());
        let identities: Vec<String> =
            to.iter().map(|phone| format!("&Identity={}", self.phones[*phone].key.1)).collect();
        let path = format!("/v1/Services/{}/Notifications", world.services[self.phones[to[0]].key.0]);
        self.sent.borrow_mut().insert(title.clone(), Sent { to, is_acknowledged: false });
        let form = format!("Title={}&Body=b{}", title.replace(' ', "%20"), identities.concat());
        if answered(world, &path, world.owner.answer(&path, form).await).is_some() {
            world.count("notifications acknowledged", 1);
            self.sent.borrow_mut().get_mut(&title).unwrap().is_acknowledged = true;
        }
    }

    /// Users who register a device and unregister it, again and again.
    pub(crate) async fn come_and_go(&self, world: &World) {
        let fickle = async |service: usize, kind: &str| {
            let mut dice = world.dice(&format!("fickle-{service}-{kind}"));
            let key = (service, format!("fickle-{kind}"));
            let token = format!("{:064x}", 0xf1c_0000 + service);
            while !world.is_over.get() {
                world.ledger.note(&key, "registers", |person| person.registration.sent(Registration::Deliverable));
                let answer = register(world, &key, kind, &token).await;
                let Some(answer) = answer else { continue };
                world.ledger.note(&key, "acknowledged", |person| {
                    person.registration.acknowledged(Registration::Deliverable);
                });
                world.pause(dice.u64(0..2_000)).await;
                let binding = answer["sid"].as_str().unwrap();
                let path = format!("/v1/Services/{}/Bindings/{binding}", world.services[service]);
                world.ledger.note(&key, "unregisters", |person| person.registration.sent(Registration::Gone));
                if delete(world, &world.owner, &path).await {
                    world.ledger.note(&key, "acknowledged", |person| {
                        person.registration.acknowledged(Registration::Gone);
                    });
                }
                world.pause(dice.u64(0..1_000)).await;
            }
        };
        let all = |kind| {
            join_all((0..SERVICES).map(move |service| (service, kind)).map(|(service, kind)| fickle(service, kind)))
        };
        join(all("apn"), all("fcm")).await;
    }

    /// What is not as it should be on the phones, and how many notifications they show.
    pub(crate) fn differences(&self, world: &World) -> (Vec<(Key, String)>, usize) {
        let (sent, mut differences, mut count) = (self.sent.borrow(), vec![], 0);
        for (number, phone) in self.phones.iter().enumerate() {
            let shown =
                if phone.is_of_apple { world.apple.shown(&phone.token) } else { world.google.shown(&phone.token) };
            let title = |payload: &Value| {
                let notification = if phone.is_of_apple { &payload["aps"]["alert"] } else { &payload["notification"] };
                notification["title"].as_str().unwrap_or_default().to_owned()
            };
            let titles: Vec<String> = shown.iter().map(title).collect();
            count += titles.len();
            let mut known = BTreeSet::new();
            for title in &titles {
                if !known.insert(title) {
                    differences.push((phone.key.clone(), format!("its phone shows {title:?} twice")));
                }
                if sent.get(title).is_none_or(|sent| !sent.to.contains(&number)) || phone.is_dead {
                    differences.push((phone.key.clone(), format!("its phone shows {title:?}")));
                }
            }
            let wanted = sent.iter().filter(|(_, sent)| sent.is_acknowledged && sent.to.contains(&number));
            for (title, _) in wanted.filter(|(title, _)| !phone.is_dead && !known.contains(title)) {
                differences.push((phone.key.clone(), format!("its phone does not show {title:?}")));
            }
        }
        (differences, count)
    }
}

async fn create_credentials(world: &World) {
    let key = world.apple.key();
    let apns = Apple::credential(key.expose());
    let account = Google::service_account(Google::key().expose());
    for form in [&apns[..], &[("Type", "fcm"), ("Secret", &account)]] {
        let (status, credential) = world.owner.send(Method::POST, "/v1/Credentials", form).await;
        assert_eq!(status, 201, "{credential}");
    }
}

/// Registers a device. `None` if that is not acknowledged.
async fn register(world: &World, (service, identity): &Key, kind: &str, token: &str) -> Option<Value> {
    let path = format!("/v1/Services/{}/Bindings", world.services[*service]);
    let form = format!("Identity={identity}&BindingType={kind}&Address={token}");
    let answer = answered(world, &path, world.owner.answer(&path, form).await);
    if answer.is_none() {
        sleep(Duration::from_millis(100)).await;
    }
    answer
}
