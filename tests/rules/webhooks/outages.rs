//! Receivers that are gone for a while, or for ever.

use std::collections::{BTreeMap, BTreeSet};

use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::ports::Accounts;
use reachability_domain::metrics::Counter;
use reachability_tests::receiver::{Answer, Receiver, Webhook};
use reachability_tests::wait::wait;

use super::*;

/// The revisions that were told of each user, in order.
fn by_user(webhooks: &[Webhook]) -> BTreeMap<&str, Vec<(u64, &str)>> {
    let mut by_user: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
    for webhook in webhooks {
        by_user.entry(webhook.get("Identity")).or_default().push((webhook.revision(), webhook.get("EventType")));
    }
    by_user
}

const USERS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

#[tokio::test]
async fn after_an_hour_without_a_receiver_everything_arrives_in_order() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    let (address, inbox) = (receiver.address, receiver.inbox.clone());
    let one = process.service(1, &receiver.url("/")).await;
    // For half of the time it fails, then it is gone.
    inbox.answer(|_| Answer::Status(500));
    let mut receiver = Some(receiver);
    for minute in 0..60 {
        if minute == 30 {
            drop(receiver.take());
        }
        for (n, user) in USERS.iter().enumerate() {
            match (minute + n) % 2 {
                0 => process.connect(one, user).await,
                _ => process.disconnect(one, user).await,
            }
        }
        process.tell().await;
        process.run_for(seconds(60)).await;
    }
    let tried = inbox.take();
    assert!(!tried.is_empty());
    inbox.answer(|_| Answer::Status(200));
    let _receiver = Receiver::start_at(address, inbox.clone()).await;
    process.run_for(seconds(3_600)).await;
    let told = inbox.take();
    for (user, told) in by_user(&told) {
        // Half of the users begin with the end of a connection that was never opened.
        let changes = if USERS.iter().position(|it| *it == user).unwrap() % 2 == 0 { 61 } else { 60 };
        assert_eq!(told.len(), changes, "{user}");
        assert!(told.is_sorted_by(|one, next| one < next), "{user}: {told:?}");
    }
    assert_eq!(by_user(&told).len(), USERS.len());
    assert!(process.dead_letters().await.is_empty());
    assert_eq!(process.parts.metrics.counted(Counter::WebhooksDelivered), told.len() as u64);
    // Whatever was tried before was told with the same words.
    let told: BTreeMap<&str, &Webhook> = told.iter().map(|webhook| (webhook.token(), webhook)).collect();
    assert!(tried.iter().all(|webhook| *webhook == *told[webhook.token()]));
}

#[tokio::test]
async fn after_four_hours_webhooks_become_dead_letters() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    let one = process.service(1, &receiver.url("/")).await;
    let (address, inbox) = (receiver.address, receiver.inbox.clone());
    drop(receiver);
    for user in USERS {
        process.connect(one, user).await;
    }
    process.tell().await;
    process.run_for(seconds(4 * 3_600 - 1)).await;
    assert!(process.dead_letters().await.is_empty());
    process.run_for(seconds(40 * 60)).await;
    let dead = process.dead_letters().await;
    assert_eq!(dead.len(), 2 * USERS.len());
    assert!(dead.iter().all(|dead| dead.reason.ends_with(": NotConnected")), "{dead:?}");
    assert_eq!(process.parts.metrics.counted(Counter::WebhooksDead), dead.len() as u64);
    // What comes later is told.
    let _receiver = Receiver::start_at(address, inbox.clone()).await;
    process.disconnect(one, "a").await;
    process.tell().await;
    process.run_for(seconds(60)).await;
    assert_eq!(inbox.count(), 1);
}

#[tokio::test]
async fn while_a_receiver_fails_few_requests_are_made() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    receiver.inbox.answer(|_| Answer::Status(503));
    let one = process.service(1, &receiver.url("/")).await;
    let users: Vec<String> = (0..200).map(|n| format!("user-{n}")).collect();
    for user in &users {
        process.connect(one, user).await;
    }
    process.tell().await;
    process.run_for(seconds(1_800)).await;
    let failed = receiver.inbox.take();
    // Sixteen are under way when it opens; then there is one in a minute.
    assert!((20..100).contains(&failed.len()), "{} requests", failed.len());
    // A service with the same URL waits too, and one with another does not.
    let (same, other) =
        (process.service(2, &receiver.url("/")).await, process.service(3, &receiver.url("/other")).await);
    process.connect(same, "alice").await;
    process.connect(other, "alice").await;
    process.tell().await;
    receiver.inbox.answer(|webhook| Answer::Status(if webhook.url.ends_with("/other") { 200 } else { 503 }));
    process.run_for(seconds(0)).await;
    assert!(receiver.inbox.take().iter().filter(|webhook| webhook.url.ends_with("/other")).count() == 2);
    // Those that were held back have used up no attempt.
    receiver.inbox.answer(|_| Answer::Status(200));
    process.run_for(seconds(1_800)).await;
    assert_eq!(receiver.inbox.count(), 2 * users.len() + 2);
    assert!(process.dead_letters().await.is_empty());
}

#[tokio::test]
async fn a_receiver_that_refuses_is_not_held_back() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    receiver.inbox.answer(|webhook| Answer::Status(if webhook.get("Identity") == "alice" { 200 } else { 400 }));
    let one = process.service(1, &receiver.url("/")).await;
    for n in 0..50 {
        process.connect(one, &format!("user-{n}")).await;
    }
    process.tell().await;
    process.run_for(seconds(0)).await;
    assert_eq!(receiver.inbox.take().len(), 50, "the first of each user");
    process.connect(one, "alice").await;
    process.tell().await;
    process.run_for(seconds(0)).await;
    assert_eq!(receiver.inbox.take().len(), 2);
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_delays_no_other() {
    let process = Process::start().await;
    let (stalled, other) = (Receiver::start().await, Receiver::start().await);
    stalled.inbox.answer(|_| Answer::Never);
    // More services than there is room for at once.
    let mut services = Vec::new();
    for n in 1..=40 {
        services.push(process.service(n, &stalled.url(&format!("/{n}"))).await);
    }
    for n in 0..20 {
        for of in &services {
            process.connect(*of, &format!("user-{n}")).await;
        }
    }
    process.tell().await;
    let mut under_way = JoinSet::new();
    while process.start_due(&mut under_way).await > 0 {}
    wait("they are under way", async || (stalled.inbox.count() >= 256).then_some(())).await;
    let quiet = process.service(100, &other.url("/")).await;
    process.connect(quiet, "alice").await;
    process.tell().await;
    for expected in [1, 2] {
        assert_eq!(process.start_due(&mut under_way).await, 1);
        wait("a webhook", async || (other.inbox.count() == expected).then_some(())).await;
        wait("it is settled", async || process.parts.queue.next_due().or((expected == 2).then_some(now()))).await;
    }
    assert_eq!(process.parts.metrics.counted(Counter::WebhooksRetried), 0, "the others are still under way");
}

#[tokio::test]
async fn a_receiver_that_fails_for_half_of_the_users_has_the_webhooks_of_the_others() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    let inbox = &receiver.inbox;
    let fails = |identity: &str| identity.starts_with("fails");
    inbox.answer(move |webhook| Answer::Status(if fails(webhook.get("Identity")) { 500 } else { 200 }));
    let one = process.service(1, &receiver.url("/")).await;
    let users: Vec<String> = (0..200).flat_map(|n| [format!("fails-{n}"), format!("works-{n}")]).collect();
    for user in &users {
        process.connect(one, user).await;
    }
    process.tell().await;
    process.run_for(seconds(60)).await;
    let (failed, told): (Vec<_>, Vec<_>) = inbox.take().into_iter().partition(|it| fails(it.get("Identity")));
    assert_eq!(
        (by_user(&told).len(), told.len()),
        (200, 400),
        "two of each user for whom it works, none of them twice"
    );
    assert!(failed.iter().all(|webhook| webhook.get("EventType") == "onUserAdded"), "no later one passes");
    // What happens to the others later is told at once, even if all of the first half are tried again at that moment.
    pass(seconds(120));
    for user in users.iter().filter(|user| !fails(user)) {
        process.disconnect(one, user).await;
    }
    process.tell().await;
    process.run_for(seconds(0)).await;
    let (failed, told): (Vec<_>, Vec<_>) = inbox.take().into_iter().partition(|it| fails(it.get("Identity")));
    assert_eq!((failed.len(), told.len()), (200, 200));
    inbox.answer(|_| Answer::Status(200));
    process.run_for(seconds(3_600)).await;
    let told = inbox.take();
    assert_eq!((by_user(&told).len(), told.len()), (200, 400));
    for (user, told) in by_user(&told) {
        assert_eq!((told[0].1, told[1].1), ("onUserAdded", "onUserUpdated"), "{user}");
    }
    assert!(process.dead_letters().await.is_empty());
}

#[tokio::test]
async fn another_url_is_called_soon_while_the_first_one_is_held() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    let of_account = async |url: &str| {
        let account = process.parts.store.account().await.unwrap();
        process.parts.store.replace_account(&AccountSettings { webhooks: urls(url), ..account }).await.unwrap();
    };
    receiver.inbox.answer(|webhook| Answer::Status(if webhook.url.ends_with("/right") { 200 } else { 503 }));
    let (one, other) = (process.service(1, &receiver.url("/wrong")).await, process.service(2, "").await);
    process.change(other, |service| service.webhooks = Urls::default()).await;
    of_account(&receiver.url("/wrong")).await;
    for user in USERS {
        process.connect(one, user).await;
        process.connect(other, user).await;
    }
    process.tell().await;
    // By now it is tried once a minute.
    process.run_for(seconds(1_800)).await;
    let before = receiver.inbox.take().len();
    process.connect(one, "new").await;
    process.connect(other, "new").await;
    process.tell().await;
    process.run_for(seconds(1)).await;
    assert!(receiver.inbox.take().len() <= 1, "the URL is held for both services, after {before} requests");
    process.change(one, |service| service.webhooks = urls(&receiver.url("/right"))).await;
    of_account(&receiver.url("/right")).await;
    process.run_for(seconds(5)).await;
    let told = receiver.inbox.take();
    for of in [one, other] {
        let of_service = told.iter().filter(|webhook| webhook.get("ChatServiceSid") == of.to_string());
        let of_service: Vec<_> = of_service.filter(|webhook| webhook.url.ends_with("/right")).cloned().collect();
        assert_eq!(by_user(&of_service)["new"].len(), 2);
    }
    // The others come when they are due again.
    process.run_for(seconds(1_800)).await;
    assert!(process.dead_letters().await.is_empty());
    assert_eq!(process.parts.metrics.counted(Counter::WebhooksDelivered), 2 * 2 * (USERS.len() as u64 + 1));
}

#[tokio::test]
async fn services_with_one_url_are_held_and_tried_together() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    receiver.inbox.answer(|_| Answer::Status(503));
    let services = [process.service(1, &receiver.url("/")).await, process.service(2, &receiver.url("/")).await];
    for of in services {
        for n in 0..100 {
            process.connect(of, &format!("user-{n}")).await;
        }
    }
    process.tell().await;
    process.run_for(seconds(1_800)).await;
    let failed = receiver.inbox.take().len();
    assert!((20..120).contains(&failed), "{failed} requests");
    receiver.inbox.answer(|_| Answer::Status(200));
    // A minute until it is tried, and some seconds until the service that did not try hears of it.
    process.run_for(seconds(70)).await;
    let told = receiver.inbox.take();
    let delivered: BTreeSet<&str> = told.iter().map(Webhook::token).collect();
    assert_eq!(delivered.len(), told.len(), "none comes twice");
    for of in services {
        let count = told.iter().filter(|webhook| webhook.get("ChatServiceSid") == of.to_string()).count();
        assert!(count > 100, "{count} of 200");
    }
    process.run_for(seconds(1_800)).await;
    assert_eq!(process.parts.metrics.counted(Counter::WebhooksDelivered), 400);
}
