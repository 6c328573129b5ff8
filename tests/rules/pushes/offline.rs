//! Notifications for those who are offline: people come and go, in simulated time, while these are accepted, wait and are sent.

mod judge;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use reachability_domain::metrics::Counter;
use reachability_domain::presence::event::EndReason;
use reachability_domain::push::notification::{Delivery, DeliveryStatus};
use reachability_domain::push::recipient::{Recipient, RecipientStatus};
use reachability_domain::sid::NotificationSid;
use reachability_infra::sqlite::{Database, SqliteStore};
use reachability_tests::queues::seal;
use serde_json::json;

use self::judge::judge;
use self::world::{Place, Time, World};

static TIME: [Time; 5] = [Time::new(), Time::new(), Time::new(), Time::new(), Time::new()];

async fn status(world: &World, notification: NotificationSid, user: &str) -> &'static str {
    world.recipient(notification, user).await.status.as_str()
}

/// One after the other: what is told of each user, and when.
#[tokio::test]
async fn who_is_not_surely_there_is_waited_for() {
    let mut world = World::new(&TIME[0]).await;
    for (n, user) in ["gone", "lease", "killed", "frozen", "here", "renewing", "invisible"].into_iter().enumerate() {
        world.register(user, &format!("0{n}")).await;
    }
    // Nobody has ever seen this one.
    world.register("unseen", "0f").await;
    world.connect("gone", "1", Place::Gateway).await;
    for user in ["lease", "renewing"] {
        world.connect(user, "1", Place::Gateway).await;
    }
    for user in ["killed", "frozen", "here", "invisible", "no device"] {
        world.connect(user, "1", Place::Socket).await;
    }
    world.pass(5).await;
    world.end("gone", "1", Place::Gateway, EndReason::ClientClosed).await;
    world.end("killed", "1", Place::Socket, EndReason::ConnectionLost).await;
    world.show("invisible", true).await;
    world.pass(1).await;
    let users = ["gone", "lease", "killed", "frozen", "here", "renewing", "invisible", "no device", "unseen", "nobody"];
    let notification = world.post(&users, None).await;
    let statuses = async |world: &World| {
        let mut statuses = Vec::new();
        for user in users {
            statuses.push(status(world, notification, user).await);
        }
        statuses
    };
    let (held, sent, skipped) = ("held", "sent", "skipped");
    let first = [sent, held, held, held, held, held, sent, held, sent, "no_device"];
    world.pass(3).await;
    assert_eq!(statuses(&world).await, first);
    let shown = world.list(notification, 4).await;
    assert_eq!(shown.len(), users.len());
    assert_eq!(
        shown[2],
        json!({"identity": "killed", "status": "held", "held_until": world.shown(15), "date_updated": world.shown(6)})
    );
    assert_eq!(shown[3]["held_until"], world.shown(6 + 31));
    assert_eq!(shown[1]["held_until"], world.shown(120));
    assert_eq!(shown[0]["held_until"], json!(null));
    let held_one = world.deliveries(notification, "here").await.remove(0);
    assert!(matches!(&held_one.status, DeliveryStatus::Queued { reason: Some(reason) } if reason.as_str() == "online"));

    // The grace period of the one is over at second 15. The other is found to be silent, and its grace period begins.
    world.pass(16 - 9).await;
    world.end("frozen", "1", Place::Socket, EndReason::ConnectionLost).await;
    world.renew("renewing", "1").await;
    world.pass(12).await;
    let second = [sent, held, sent, sent, held, skipped, sent, held, sent, "no_device"];
    assert_eq!(statuses(&world).await, second);
    // A socket that is open this long after it was accepted was so then.
    world.pass(10).await;
    let third = [sent, held, sent, sent, skipped, skipped, sent, skipped, sent, "no_device"];
    assert_eq!(statuses(&world).await, third);
    let Recipient { date_updated, .. } = world.recipient(notification, "here").await;
    assert!((37..=39).contains(&world.second(date_updated)), "{date_updated}");
    // The lease is over.
    world.pass(85).await;
    assert_eq!(statuses(&world).await[1], sent);
    for (n, is_shown) in [true, true, true, true, false, false, true].into_iter().enumerate() {
        assert_eq!(world.pushes.apple.shown(&format!("0{n}")).len(), usize::from(is_shown), "{n}");
    }
    assert_eq!(world.deliveries(notification, "here").await[0].status, DeliveryStatus::Skipped);
    assert_eq!(world.pushes.apple.shown("0f").len(), 1);
    judge(&world).await;

    // Now or never.
    let notification = world.post(&["here", "gone"], Some(0)).await;
    world.pass(1).await;
    assert_eq!(
        (status(&world, notification, "here").await, status(&world, notification, "gone").await),
        (skipped, sent)
    );
    // It waits until it expires.
    let notification = world.post(&["here"], Some(10)).await;
    world.pass(9).await;
    assert_eq!(status(&world, notification, "here").await, held);
    world.pass(3).await;
    assert_eq!(status(&world, notification, "here").await, skipped);
    judge(&world).await;
    assert_eq!(world.pushes.metrics.counted(Counter::RecipientsSkipped), 5);
}

/// A user with two devices connects after it was decided that one of them gets the push.
#[tokio::test]
async fn what_was_decided_holds_after_a_crash() {
    let mut world = World::new(&TIME[1]).await;
    for n in 1..=3 {
        world.register("alice", &format!("0{n}")).await;
    }
    let notification = world.post(&["alice"], None).await;
    world.fan_out().await;
    let deliveries = world.deliveries(notification, "alice").await;
    let [first, second, third] = &deliveries[..] else { panic!("{deliveries:?}") };
    let (store, now) = (&world.pushes.store, world.now());
    // The first message was handled up to the end of this write, and the second one up to the write after it.
    let status = RecipientStatus::Sent { binding: first.binding_sid };
    let settled =
        Recipient { notification_sid: notification, identity: first.identity.clone(), status, date_updated: now };
    store.settle(std::slice::from_ref(&settled)).await.unwrap();
    assert!(store.decide_delivery(&Delivery { decided_at: Some(now), ..second.clone() }).await.unwrap());
    let (first, second, third) = (first.clone(), second.clone(), third.clone());
    world.pass_without_pushes(2).await;
    world.connect("alice", "1", Place::Socket).await;
    world.pass(60).await;
    let deliveries = world.deliveries(notification, "alice").await;
    let status = |of: &Delivery| deliveries.iter().find(|it| it.binding_sid == of.binding_sid).unwrap().status.as_str();
    assert_eq!([status(&first), status(&second), status(&third)], ["accepted", "accepted", "skipped"]);
    assert_eq!(world.recipient(notification, "alice").await, settled);

    // Of one to whom it was not sent on one device, it is not sent on another.
    let notification = world.post(&["alice"], Some(3_600)).await;
    world.fan_out().await;
    let status = RecipientStatus::Skipped;
    let settled = Recipient { notification_sid: notification, status, ..settled };
    world.pushes.store.settle(std::slice::from_ref(&settled)).await.unwrap();
    world.end("alice", "1", Place::Socket, EndReason::ClientClosed).await;
    world.pass(60).await;
    let deliveries = world.deliveries(notification, "alice").await;
    assert!(deliveries.iter().all(|it| it.status == DeliveryStatus::Skipped), "{deliveries:?}");
    assert_eq!(world.recipient(notification, "alice").await, settled);
}

/// Random lives, with messages that are late and come twice. Those that are due at the same time are handled together.
async fn race(mut world: World, seed: u64, steps: usize, least: usize) {
    world.play(seed, steps).await;
    let judged = judge(&world).await;
    assert!(judged.len() >= least, "too little has happened: {judged:?}");
}

#[tokio::test]
async fn connects_race_with_notifications() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    race(World::new(&TIME[2]).await, seed, 1_500, 6).await;
}

/// On a store whose writes of several messages come in between each other.
#[tokio::test]
async fn messages_race_with_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("test.db"), seal()).unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    race(World::on(Arc::new(SqliteStore::new(database)), &TIME[3]).await, seed, 700, 5).await;
}

/// While the messages to a user's devices are handled, the user comes and goes.
#[tokio::test]
async fn one_decision_holds_for_all_devices() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("test.db"), seal()).unwrap();
    let mut world = World::on(Arc::new(SqliteStore::new(database)), &TIME[4]).await;
    for n in 0..8 {
        world.register("alice", &format!("0{n}")).await;
    }
    let mut statuses = BTreeMap::new();
    for round in 0..120 {
        let notification = world.post(&["alice"], None).await;
        world.fan_out().await;
        world.handle_while_flapping("alice", round % 6).await;
        world.pass(2).await;
        let recipient = world.recipient(notification, "alice").await;
        let deliveries = world.deliveries(notification, "alice").await;
        let is_accepted = |delivery: &&Delivery| delivery.status.as_str() == "accepted";
        let accepted: Vec<_> = deliveries.iter().filter(is_accepted).map(|it| it.binding_sid).collect();
        assert!(deliveries.iter().all(|it| is_accepted(&it) || it.status == DeliveryStatus::Skipped), "{deliveries:?}");
        match &recipient.status {
            RecipientStatus::Sent { binding } => assert!(accepted.contains(binding), "{recipient:?}: {deliveries:?}"),
            status => assert_eq!((status, &accepted[..]), (&RecipientStatus::Skipped, &[][..]), "{deliveries:?}"),
        }
        *statuses.entry(recipient.status.as_str()).or_insert(0) += 1;
    }
    println!("{statuses:?}");
    assert_eq!(statuses.len(), 2, "{statuses:?}");
}
