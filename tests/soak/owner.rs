//! What the owner's servers set of users over REST: a status, whether they are invisible, a name.

use reachability_tests::client::Client;
use reqwest::Method;
use serde_json::Value;

use crate::ledger::Key;
use crate::world::{SERVICES, World};

/// The users of a service whom everybody watches.
pub(crate) const STARS: usize = 8;

/// Between two requests, in milliseconds, at most.
const PAUSE: u64 = 300;

pub(crate) fn star(number: usize) -> String {
    format!("star-{number}")
}

/// Creates a user.
pub(crate) async fn create(world: &World, service: usize, identity: &str) {
    let path = format!("/v1/Services/{}/Users", world.services[service]);
    world.owner.post(&path, format!("Identity={identity}")).await;
    world.ledger.note(&(service, identity.to_owned()), "created", |person| person.is_created = true);
}

pub(crate) async fn create_stars(world: &World) {
    for service in 0..SERVICES {
        for number in 0..STARS {
            create(world, service, &star(number)).await;
        }
    }
}

/// Sets something of one star after the other. What was not acknowledged may have been set.
pub(crate) async fn set(world: &World, service: usize) {
    let mut dice = world.dice(&format!("owner-{service}"));
    let mut count = 0;
    while !world.is_over.get() {
        world.pause(dice.u64(0..PAUSE)).await;
        count += 1;
        let (key, text) = ((service, star(dice.usize(..STARS))), format!("text-{count}"));
        match dice.u8(0..5) {
            0 | 1 => set_status(world, &key, text).await,
            2 | 3 => set_invisible(world, &key, dice.bool()).await,
            _ => rename(world, &key, text).await,
        }
    }
    // In the end some are invisible, and most are not.
    for number in 0..STARS {
        set_invisible(world, &(service, star(number)), number % 4 == 0).await;
    }
}

async fn set_status(world: &World, key: &Key, status: String) {
    world.ledger.note(key, format!("status {status}"), |person| person.status.sent(Some(status.clone())));
    if is_done(world, &presence(world, key), format!("Status={status}")).await {
        world.ledger.note(key, "acknowledged", |person| person.status.acknowledged(Some(status)));
    }
}

async fn set_invisible(world: &World, key: &Key, is_invisible: bool) {
    world.ledger.note(key, format!("invisible {is_invisible}"), |person| person.invisible_sent(is_invisible));
    if is_done(world, &presence(world, key), format!("Invisible={is_invisible}")).await {
        world.ledger.note(key, "acknowledged", |person| person.invisible.acknowledged(is_invisible));
    }
}

async fn rename(world: &World, key: &Key, name: String) {
    world.ledger.note(key, format!("name {name}"), |person| person.name.sent(Some(name.clone())));
    let path = format!("/v1/Services/{}/Users/{}", world.services[key.0], key.1);
    if is_done(world, &path, format!("FriendlyName={name}")).await {
        world.ledger.note(key, "acknowledged", |person| person.name.acknowledged(Some(name)));
    }
}

fn presence(world: &World, (service, identity): &Key) -> String {
    format!("/v1/Services/{}/Presence/{identity}", world.services[*service])
}

/// Posts a form, and says whether that was done for certain.
pub(crate) async fn is_done(world: &World, path: &str, form: String) -> bool {
    answered(world, path, world.owner.answer(path, form).await).is_some()
}

/// The answer to a request, if it was done.
pub(crate) fn answered(world: &World, path: &str, answer: Option<(u16, Value)>) -> Option<Value> {
    match answer {
        Some((200..300, answer)) => {
            world.count("requests of the owner done", 1);
            return Some(answer);
        }
        Some((503, _)) => world.count("requests answered with 503", 1),
        Some((status, answer)) => world.complain(format!("{path} is answered with {status}: {answer}")),
        None => world.count("requests without an answer", 1),
    }
    None
}

/// Deletes what is at a path. Returns whether it is gone.
pub(crate) async fn delete(world: &World, client: &Client, path: &str) -> bool {
    match client.request(Method::DELETE, path).send().await.map(|answer| answer.status().as_u16()) {
        // An earlier request may have deleted it, though it was not answered.
        Ok(204 | 404) => true,
        Ok(503) | Err(_) => false,
        Ok(status) => {
            world.complain(format!("DELETE {path} is answered with {status}"));
            false
        }
    }
}
