//! What the stream, the log and the webhooks have told.

use std::collections::{BTreeMap, BTreeSet};

use reachability_tests::changes::{Known, changes_after};
use reachability_tests::receiver::Webhook;
use reachability_tests::wait::wait;
use serde_json::Value;

use super::Difference;
use super::users::Shown;
use crate::ledger::Key;
use crate::world::{SERVICES, World};

/// What a webhook tells: the service and the user, the revision, the event, and the reason.
type Told = (Key, u64, String, String);

/// What is not told yet, or otherwise than the API shows it.
pub(super) fn differences(world: &World, shown: &Shown) -> Vec<Difference> {
    let mut differences = vec![];
    for service in 0..SERVICES {
        let mut known = Known::default();
        for change in world.changes[service].borrow().iter() {
            // What does not follow is judged later: it does not become better.
            let _ = known.follow(change);
        }
        let known = known.users();
        for (key, user) in shown.users.iter().filter(|(key, _)| key.0 == service) {
            if known.get(&key.1) != Some(user) {
                let streamed = known.get(&key.1);
                differences.push((Some(key.clone()), format!("the stream says {streamed:?}, and it is {user}")));
            }
        }
        for identity in known.keys().filter(|identity| !shown.users.contains_key(&(service, (*identity).clone()))) {
            differences.push((Some((service, identity.clone())), "the stream made it up".to_owned()));
        }
    }
    let (expected, received) = (expected(world), received(world, &world.inbox.all()));
    for (key, revision, event, reason) in expected.difference(&received).take(20) {
        differences.push((Some(key.clone()), format!("no webhook told revision {revision}, {event}, {reason}")));
    }
    for (key, revision, event, reason) in received.difference(&expected).take(20) {
        differences.push((Some(key.clone()), format!("a webhook made up revision {revision}, {event}, {reason}")));
    }
    world.checked("changes that follow from each other", world.changes.iter().map(|it| it.borrow().len()).sum());
    world.checked("webhooks that were to be told", expected.len());
    differences
}

/// Whether the stream was in order, and the same as the log, and each user's webhooks came in order.
pub(super) async fn judge(world: &World) {
    for service in 0..SERVICES {
        let mut known = Known::default();
        for change in world.changes[service].borrow().iter() {
            if let Err(wrong) = known.follow(change) {
                let identity = change["identity"].as_str().unwrap_or_default().to_owned();
                world.complain_of(&(service, identity), &format!("the stream does not go on: {wrong}"));
            }
        }
        let logged = compare_with_log(world, service).await;
        world.checked(if service == 0 { "changes of the first log" } else { "changes of the second log" }, logged);
    }
    judge_order(world, &world.inbox.all());
}

/// Whether the stream has told what is in the log, which forgets the oldest. Returns how much that is.
async fn compare_with_log(world: &World, service: usize) -> usize {
    let (logged, _) = changes_after(&world.owner, &world.services[service], None).await;
    let [first, last] = [logged.first(), logged.last()].map(|change| change.map_or(0, id));
    // A client that was given up, since this machine does other things too, and came back may have changed something just now.
    let has_told = async || world.changes[service].borrow().last().filter(|change| id(change) >= last).map(drop);
    wait("the stream tells what is in the log", has_told).await;
    let changes = world.changes[service].borrow();
    let streamed = changes.iter().filter(|change| (first..=last).contains(&id(change)));
    let by_id = |changes: &mut dyn Iterator<Item = &Value>| changes.map(|it| (id(it), it.clone())).collect();
    let (told, all): (BTreeMap<u64, Value>, BTreeMap<u64, Value>) =
        (by_id(&mut { streamed }), by_id(&mut logged.iter()));
    let ids: BTreeSet<u64> = told.keys().chain(all.keys()).copied().collect();
    for id in ids.into_iter().filter(|id| told.get(id) != all.get(id)).take(10) {
        let (told, logged) = (told.get(&id), all.get(&id));
        world.complain(format!("service {service}: the stream told {told:?}, and the log has {logged:?}"));
    }
    logged.len()
}

fn id(change: &Value) -> u64 {
    change["id"].as_u64().unwrap()
}

/// What the changes that were streamed lead to.
fn expected(world: &World) -> BTreeSet<Told> {
    let mut expected = BTreeSet::new();
    for service in 0..SERVICES {
        for change in world.changes[service].borrow().iter() {
            let key = (service, change["identity"].as_str().unwrap_or_default().to_owned());
            let revision = change["revision"].as_u64().unwrap_or_default();
            let mut tell = |event: &str, reason: &Value| {
                expected.insert((key.clone(), revision, event.to_owned(), reason.as_str().unwrap().to_owned()));
            };
            let reasons = &change["reasons"];
            match change["type"].as_str().unwrap() {
                "user" if change["exists"] == true => {
                    // What the owner does over REST is not told.
                    if reasons["exists"].is_string() && reasons["exists"] != "profile" {
                        tell("onUserAdded", &reasons["exists"]);
                    }
                    let reasons = [&reasons["is_online"], &reasons["is_notifiable"], &reasons["status"]];
                    if let Some(reason) = reasons.iter().find(|reason| reason.is_string()) {
                        tell("onUserUpdated", reason);
                    }
                }
                "profile" if change["reason"] == "own_profile" => tell("onUserUpdated", &change["reason"]),
                _ => {}
            }
        }
    }
    expected
}

/// What was received.
fn received(world: &World, webhooks: &[Webhook]) -> BTreeSet<Told> {
    webhooks.iter().map(|webhook| told(world, webhook)).collect()
}

fn told(world: &World, webhook: &Webhook) -> Told {
    let service = world.services.iter().position(|service| service == webhook.get("ChatServiceSid")).unwrap();
    let key = (service, webhook.get("Identity").to_owned());
    (key, webhook.revision(), webhook.get("EventType").to_owned(), webhook.get("Reason").to_owned())
}

/// No webhook of a user came after a later one, and a repetition is the same as the first.
fn judge_order(world: &World, webhooks: &[Webhook]) {
    let mut last: BTreeMap<Key, u64> = BTreeMap::new();
    let mut first: BTreeMap<&str, &Webhook> = BTreeMap::new();
    let mut repeated = 0;
    for webhook in webhooks {
        let (key, revision, ..) = told(world, webhook);
        let last = last.entry(key.clone()).or_default();
        if revision < *last {
            world.complain_of(&key, &format!("the webhook of revision {revision} came after that of {last}"));
        }
        *last = revision;
        match first.insert(webhook.token(), webhook) {
            Some(before) if before.body != webhook.body => {
                world.complain_of(&key, &format!("a repeated webhook differs: {before:?} and {webhook:?}"));
            }
            Some(_) => repeated += 1,
            None => {}
        }
    }
    world.count("webhooks received", webhooks.len() as u64);
    world.count("webhooks repeated", repeated);
}
