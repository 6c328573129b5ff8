//! One webhook after the other: what is told, when it is tried again, and when it is given up.

use std::collections::BTreeSet;

use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::User;
use reachability_domain::sid::{Sid, UserSid};
use reachability_infra::sqlite::TakenWebhook;
use reachability_tests::receiver::{Answer, Receiver, Webhook};

use super::*;

fn events(webhooks: &[Webhook]) -> Vec<(&str, &str, &str)> {
    webhooks.iter().map(|it| (it.get("EventType"), it.get("Identity"), it.get("IsOnline"))).collect()
}

#[tokio::test]
async fn what_happens_to_a_user_is_told_in_order() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    let one = process.service(1, &receiver.url("/one")).await;
    // Nothing is read, and nothing is queued, where nobody wants to know.
    let silent = process.service(2, "").await;
    process.change(silent, |service| service.webhooks.post_webhook_url = None).await;
    for of in [one, silent] {
        process.connect(of, "alice").await;
        process.disconnect(of, "alice").await;
        process.connect(of, "bob").await;
    }
    process.tell().await;
    process.run_for(seconds(0)).await;
    let mut told = receiver.inbox.take();
    told.sort_by_key(|webhook| webhook.get("Identity").to_owned());
    let added = |name| [("onUserAdded", name, "true"), ("onUserUpdated", name, "true")];
    let expected = [&added("alice")[..], &[("onUserUpdated", "alice", "false")], &added("bob")].concat();
    assert_eq!(events(&told), expected);
    assert!(told.iter().all(|webhook| webhook.url == receiver.url("/one")));
}

#[tokio::test]
async fn a_user_who_is_deleted_meanwhile_is_told_without_a_profile() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    let one = process.service(1, &receiver.url("/")).await;
    process.connect(one, "alice").await;
    let sid = process.user(one, "alice").await.sid;
    process.parts.store.delete_user(one, sid, now()).await.unwrap();
    process.tell().await;
    process.run_for(seconds(0)).await;
    let told = receiver.inbox.take();
    assert_eq!(events(&told), [("onUserAdded", "alice", "true"), ("onUserUpdated", "alice", "true")]);
    assert_eq!(told[0].get("UserSid"), sid.to_string());
    assert!(!told[0].parameters.contains_key("Attributes"));
}

#[tokio::test]
async fn a_change_of_a_profile_tells_whether_the_user_is_reachable() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    let one = process.service(1, &receiver.url("/")).await;
    for webhook_enabled in [true, false] {
        let name = format!("user-{webhook_enabled}");
        let user = User::new(UserSid::from_bits(u128::from(webhook_enabled)), key(one, &name), None, now());
        process.parts.store.create_user(&User { webhook_enabled, ..user }).await.unwrap();
        process.connect(one, &name).await;
        for (webhook_enabled, friendly_name) in [(!webhook_enabled, "A"), (webhook_enabled, "B")] {
            let user = process.user(one, &name).await;
            let renamed = User { webhook_enabled, friendly_name: Some(friendly_name.to_owned()), ..user };
            process.parts.store.replace_user(&renamed).await.unwrap();
        }
    }
    process.tell().await;
    process.run_for(seconds(0)).await;
    let told = |webhook: &Webhook| {
        let words = ["EventType", "Identity", "FriendlyName", "IsOnline"].map(|name| webhook.get(name).to_owned());
        words.join(" ")
    };
    let told: BTreeSet<String> = receiver.inbox.take().iter().map(told).collect();
    // What is told of the profile besides a change of something else is the profile when it was queued.
    let expected = [
        "onUserAdded user-true B ",
        "onUserUpdated user-true B true",
        "onUserUpdated user-false B true",
        "onUserUpdated user-false A true",
    ];
    assert_eq!(told, expected.map(str::to_owned).into());
}

#[tokio::test]
async fn what_a_client_changes_of_its_own_profile_is_told_as_the_clients() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    let one = process.service(1, &receiver.url("/")).await;
    process.connect(one, "alice").await;
    for (by_client, friendly_name) in [(true, "A"), (false, "B"), (true, "C")] {
        let user = process.user(one, "alice").await;
        let friendly_name = Some(friendly_name.to_owned());
        let renamed = User { webhook_enabled: true, by_client, friendly_name, ..user };
        process.parts.store.replace_user(&renamed).await.unwrap();
    }
    process.tell().await;
    process.run_for(seconds(0)).await;
    let told: Vec<String> = receiver
        .inbox
        .take()
        .iter()
        .skip(2)
        .map(|webhook| {
            let words = ["EventType", "FriendlyName", "Source", "Reason"].map(|name| webhook.get(name).to_owned());
            words.join(" ")
        })
        .collect();
    let expected =
        ["onUserUpdated A SDK own_profile", "onUserUpdated B API profile", "onUserUpdated C SDK own_profile"];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_number_of_retries_limits_the_attempts() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    receiver.inbox.answer(|_| Answer::Status(404));
    for retries in 1..=3 {
        let of = process.service(u128::from(retries), &receiver.url("/")).await;
        process.change(of, |service| service.chat.post_webhook_retry_count = retries).await;
        process.connect(of, "alice").await;
        process.tell().await;
        process.run_for(seconds(3_600)).await;
        let tried = receiver.inbox.take();
        assert_eq!(tried.len(), 2 * (1 + retries as usize), "two webhooks, {retries} retries");
        assert_eq!(tried.iter().map(Webhook::token).collect::<BTreeSet<_>>().len(), 2);
        let dead = process.dead_letters().await;
        assert_eq!(dead.len(), 2 * retries as usize);
        assert_eq!(dead.last().unwrap().reason, format!("not delivered after {} attempts: Status404", retries + 1));
    }
}

#[tokio::test]
async fn a_receiver_says_when_it_is_to_be_tried_again() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    let one = process.service(1, &receiver.url("/")).await;
    let mut is_first = true;
    receiver.inbox.answer(move |_| match std::mem::take(&mut is_first) {
        true => Answer::With(503, "retry-after", "1200".to_owned()),
        false => Answer::Status(200),
    });
    process.connect(one, "alice").await;
    process.tell().await;
    process.run_for(seconds(1_199)).await;
    assert_eq!(receiver.inbox.count(), 1);
    process.run_for(seconds(151)).await;
    assert_eq!(receiver.inbox.count(), 3);
}

#[tokio::test]
async fn an_owner_who_mends_a_url_is_served_at_the_next_attempt() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    receiver.inbox.answer(|webhook| Answer::Status(if webhook.url.ends_with("/right") { 200 } else { 404 }));
    let one = process.service(1, &receiver.url("/wrong")).await;
    process.connect(one, "alice").await;
    process.tell().await;
    process.run_for(seconds(1)).await;
    process.change(one, |service| service.webhooks = urls(&receiver.url("/right"))).await;
    process.run_for(seconds(5)).await;
    let tried = receiver.inbox.take();
    let paths: Vec<&str> = tried.iter().map(|it| it.url.rsplit('/').next().unwrap()).collect();
    assert_eq!(paths, ["wrong", "right", "right"]);
    assert_eq!((tried[0].token(), &tried[0].body), (tried[1].token(), &tried[1].body));
    assert_ne!(tried[0].headers["x-twilio-signature"], tried[1].headers["x-twilio-signature"]);

    // With no URL any more, nothing is left to do.
    process.change(one, |service| service.webhooks = urls(&receiver.url("/wrong"))).await;
    process.disconnect(one, "alice").await;
    process.tell().await;
    process.run_for(seconds(1)).await;
    process.change(one, |service| service.webhooks.post_webhook_url = None).await;
    process.run_for(seconds(60)).await;
    assert_eq!((receiver.inbox.count(), process.parts.queue.next_due()), (1, None));
    assert!(process.dead_letters().await.is_empty());
    // Nor in a service that is gone.
    process.parts.store.delete_service(one).await.unwrap();
    process.tell().await;
    process.run_for(seconds(60)).await;
    assert_eq!(receiver.inbox.count(), 1);
}

/// Tries the only webhook of a service, and says what came of it.
async fn only(process: &Process, url: &str) -> WebhookOutcome {
    let one = process.service(1, url).await;
    process.change(one, |service| service.webhooks.filters = Some(vec!["onUserAdded".to_owned()])).await;
    process.connect(one, "alice").await;
    process.tell().await;
    let taken: Vec<TakenWebhook> = process.parts.queue.take(now()).await.unwrap();
    let [webhook] = &taken[..] else { panic!("{taken:?}") };
    process.parts.webhooks.handle(&[envelope(webhook)]).await.remove(0)
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (process, receiver, other) = (Process::start().await, Receiver::start().await, Receiver::start().await);
    let url = other.url("/");
    receiver.inbox.answer(move |_| Answer::With(307, "location", url.clone()));
    assert!(matches!(only(&process, &receiver.url("/")).await, WebhookOutcome::Retry(_)));
    assert_eq!((receiver.inbox.count(), other.inbox.count()), (1, 0));
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_is_tried_again() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    receiver.inbox.answer(|_| Answer::Never);
    assert!(matches!(only(&process, &receiver.url("/")).await, WebhookOutcome::Retry(_)));
    assert_eq!(receiver.inbox.count(), 1);
}

#[tokio::test]
async fn private_addresses_are_not_called_unless_they_may_be() {
    let receiver = Receiver::start().await;
    let port = receiver.address.port();
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        let process = Process::with(MAX_WAITING_WEBHOOKS, false).await;
        let outcome = only(&process, &format!("http://{host}:{port}/")).await;
        assert!(matches!(outcome, WebhookOutcome::Retry(_)), "{host}: {outcome:?}");
        assert_eq!(receiver.inbox.count(), 0, "{host}");
    }
    for host in ["localhost", "2130706433"] {
        let process = Process::start().await;
        assert_eq!(only(&process, &format!("http://{host}:{port}/")).await, WebhookOutcome::Done, "{host}");
    }
    // The metadata service never is.
    let process = Process::start().await;
    let outcome = only(&process, "http://169.254.169.254/latest/meta-data").await;
    assert!(matches!(outcome, WebhookOutcome::Retry(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_url_that_cannot_be_called_becomes_a_dead_letter() {
    let process = Process::start().await;
    let one = process.service(1, "http://user@/").await;
    process.change(one, |service| service.chat.post_webhook_retry_count = 1).await;
    process.connect(one, "alice").await;
    process.tell().await;
    process.run_for(seconds(3_600)).await;
    assert_eq!(process.dead_letters().await.len(), 2);
}
