//! Receivers that are gone for a while, or for ever.

use std::collections::BTreeMap;

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
