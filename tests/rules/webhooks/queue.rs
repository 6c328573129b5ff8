//! The queue: what it holds, and what a kill leaves of it.

use reachability_domain::metrics::Counter;
use reachability_domain::push::message::{PushMessage, ScanServices};
use reachability_domain::queue::Message;
use reachability_infra::sqlite::{Letters, NoSuchLetter, Outcome, PushQueue};
use reachability_tests::receiver::{Answer, Receiver};
use reachability_tests::webhook_messages::{self, of_user};
use rusqlite::Connection;

use super::*;

fn message(of: ServiceSid, identity: &str, revision: u64) -> WebhookMessage {
    webhook_messages::webhook(key(of, identity), revision, now())
}

fn told(webhooks: &[TakenWebhook]) -> Vec<(String, u64)> {
    let told = |webhook: &TakenWebhook| {
        let message: WebhookMessage = serde_json::from_str(&webhook.body).unwrap();
        (webhook.identity.clone(), of_user(&message).revision)
    };
    webhooks.iter().map(told).collect()
}

fn expected(webhooks: &[(&str, u64)]) -> Vec<(String, u64)> {
    webhooks.iter().map(|(identity, revision)| ((*identity).to_owned(), *revision)).collect()
}

#[tokio::test]
async fn a_user_has_one_webhook_under_way() {
    let process = Process::start().await;
    let queue = &process.parts.queue;
    let one = service(1);
    process.send(&[message(one, "a", 1), message(one, "a", 2), message(one, "b", 3), message(one, "a", 4)]).await;
    let taken = queue.take(now()).await.unwrap();
    assert_eq!(told(&taken), expected(&[("a", 1), ("b", 3)]));
    assert_eq!(queue.take(now()).await.unwrap(), []);
    assert_eq!(queue.next_due(), None);
    // One that must wait lets no later one pass, and neither does one that was sent meanwhile.
    let later = now().plus(seconds(10));
    queue.settle(&taken[0], Settled::RetryAt(later), now()).await.unwrap();
    process.send(&[message(one, "a", 5)]).await;
    assert_eq!((queue.take(now()).await.unwrap(), queue.next_due()), (vec![], Some(later)));
    pass(seconds(10));
    let again = queue.take(now()).await.unwrap();
    assert_eq!((told(&again), again[0].attempts), (expected(&[("a", 1)]), 1));
    for revision in [2, 4, 5] {
        let under_way = if revision == 2 { again[0].clone() } else { queue.take(now()).await.unwrap().remove(0) };
        let outcome = if revision == 4 { Settled::Dead("why".to_owned()) } else { Settled::Done };
        queue.settle(&under_way, outcome, now()).await.unwrap();
        if revision == 5 {
            break;
        }
    }
    assert_eq!(told(&queue.take(now()).await.unwrap()), expected(&[("a", 5)]));
    assert_eq!(process.dead_letters().await.len(), 1);
}

#[tokio::test]
async fn a_receiver_is_tried_again_with_the_newest_webhook() {
    let process = Process::start().await;
    let queue = &process.parts.queue;
    let users: Vec<WebhookMessage> = (0..40).map(|n| message(service(1), &format!("user-{n:02}"), n)).collect();
    process.send(&users).await;
    let mut tried = vec![];
    for _ in 0..3 {
        // Those that are taken are held back, but for one that is tried and fails.
        let taken = queue.take(now()).await.unwrap();
        let (first, others) = taken.split_first().unwrap();
        tried.push((first.identity.clone(), taken.len()));
        assert_eq!(queue.take(now()).await.unwrap(), [], "the outcome is waited for");
        let until = now().plus(seconds(5));
        queue.settle(first, Settled::RetryAt(now().plus(seconds(60))), now()).await.unwrap();
        for held in others {
            queue.settle(held, Settled::HeldUntil(until), now()).await.unwrap();
        }
        if others.is_empty() {
            for held in queue.take(now()).await.unwrap() {
                queue.settle(&held, Settled::HeldUntil(until), now()).await.unwrap();
            }
        }
        pass(seconds(5));
    }
    assert_eq!(tried, [("user-00".to_owned(), 16), ("user-39".to_owned(), 1), ("user-38".to_owned(), 1)]);
}

#[tokio::test]
async fn neither_new_webhooks_nor_repeated_ones_starve() {
    let process = Process::start().await;
    let queue = &process.parts.queue;
    let one = service(1);
    let of = |range: std::ops::Range<u64>| -> Vec<WebhookMessage> {
        range.map(|n| message(one, &format!("user-{n:03}"), n)).collect()
    };
    process.send(&of(0..100)).await;
    // Sixty of them are tried, and due again.
    for _ in 0..60 {
        let taken = queue.take(now()).await.unwrap();
        for webhook in &taken {
            queue.settle(webhook, Settled::RetryAt(now().plus(seconds(1))), now()).await.unwrap();
        }
        if told(&taken).iter().any(|(_, revision)| *revision >= 60) {
            break;
        }
    }
    pass(seconds(2));
    let taken = queue.take(now()).await.unwrap();
    let repeated = taken.iter().filter(|webhook| webhook.attempts > 0).count();
    assert_eq!((taken.len(), repeated), (16, 8));
}

#[tokio::test]
async fn a_service_that_is_held_is_not_looked_at() {
    let process = Process::start().await;
    let queue = &process.parts.queue;
    process.send(&[message(service(1), "a", 1), message(service(1), "b", 2), message(service(2), "a", 3)]).await;
    let taken = queue.take(now()).await.unwrap();
    let until = now().plus(seconds(3));
    queue.settle(&taken[0], Settled::HeldUntil(until), now()).await.unwrap();
    assert_eq!((queue.take(now()).await.unwrap(), queue.next_due()), (vec![], Some(until)));
    // The receiver is back.
    queue.settle(&taken[1], Settled::Done, now()).await.unwrap();
    let again = queue.take(now()).await.unwrap();
    assert_eq!((told(&again), again[0].attempts), (expected(&[("a", 1)]), 0));
}

#[tokio::test]
async fn of_too_many_webhooks_the_oldest_are_dropped() {
    let process = Process::with(Options { max_waiting: 10, ..Options::default() }).await;
    let queue = &process.parts.queue;
    let (one, other) = (service(1), service(2));
    process.send(&[message(other, "a", 1)]).await;
    let first: Vec<_> = (1..=3).map(|n| message(one, "first", n)).collect();
    process.send(&first).await;
    let under_way = queue.take(now()).await.unwrap();
    assert_eq!(told(&under_way), expected(&[("first", 1), ("a", 1)]));
    let others: Vec<_> = (1..=12).map(|n| message(one, if n % 2 == 0 { "even" } else { "odd" }, n)).collect();
    process.send(&others).await;
    assert_eq!(process.parts.metrics.counted(Counter::WebhooksDropped), 5);
    // What is under way is none of them. Of the others, the rest comes in order.
    queue.settle(&under_way[0], Settled::Done, now()).await.unwrap();
    let mut rest = Vec::new();
    loop {
        let taken = queue.take(now()).await.unwrap();
        if taken.is_empty() {
            break;
        }
        for webhook in &taken {
            queue.settle(webhook, Settled::Done, now()).await.unwrap();
        }
        rest.extend(told(&taken));
    }
    rest.sort();
    let even = [4, 6, 8, 10, 12].map(|n| ("even", n));
    let odd = [5, 7, 9, 11].map(|n| ("odd", n));
    assert_eq!(rest, expected(&[&even[..], &odd].concat()));
    assert_eq!(queue.next_due(), None);
}

#[tokio::test]
async fn what_is_told_again_after_a_kill_is_queued_once() {
    let receiver = Receiver::start().await;
    let mut process = Process::start().await;
    let one = process.service(1, &receiver.url("/")).await;
    process.connect(one, "alice").await;
    // The process ends after the webhooks were queued, and again after they were delivered: the feed tells them each time.
    for is_delivered in [false, true, true] {
        process.tell_and_be_killed().await;
        if is_delivered {
            process.run_for(seconds(60)).await;
        }
        process.restart().await;
    }
    process.disconnect(one, "alice").await;
    process.tell().await;
    process.run_for(seconds(60)).await;
    let told = receiver.inbox.take();
    let told: Vec<_> = told.iter().map(|it| (it.get("EventType"), it.get("IsOnline"))).collect();
    assert_eq!(told, [("onUserAdded", "true"), ("onUserUpdated", "true"), ("onUserUpdated", "false")]);
}

#[tokio::test]
async fn what_was_under_way_at_a_kill_is_tried_again() {
    let receiver = Receiver::start().await;
    receiver.inbox.answer(|_| Answer::Never);
    let mut process = Process::start().await;
    let one = process.service(1, &receiver.url("/")).await;
    process.connect(one, "alice").await;
    process.tell().await;
    let mut under_way = JoinSet::new();
    assert_eq!(process.start_due(&mut under_way).await, 1);
    reachability_tests::wait::wait("it is received", async || (receiver.inbox.count() > 0).then_some(())).await;
    under_way.abort_all();
    process.restart().await;
    receiver.inbox.answer(|_| Answer::Status(200));
    process.run_for(seconds(0)).await;
    let told = receiver.inbox.take();
    assert_eq!((told.len(), told[0].token()), (3, told[1].token()), "only the last one came twice");
}

#[tokio::test]
async fn a_dead_letter_keeps_the_message() {
    let process = Process::start().await;
    process.send(&[message(service(1), "a", 1)]).await;
    let taken = process.parts.queue.take(now()).await.unwrap();
    process.parts.queue.settle(&taken[0], Settled::Dead("why".to_owned()), now()).await.unwrap();
    let dead = process.dead_letters().await;
    let letter = DeadLetter {
        id: 1,
        queue: QueueName::Webhooks,
        died_at: now(),
        reason: "why".to_owned(),
        body: taken[0].body.clone(),
        is_to_retry: false,
    };
    assert_eq!((dead[0].service(), dead), (Some(service(1)), vec![letter]));
    let database = Connection::open(process.directory.path().join("reachability.db")).unwrap();
    let left: i64 = database.query_row("SELECT count(*) FROM webhooks", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

/// It was taken from the feed before, and there it would be passed over.
#[tokio::test]
async fn a_dead_letter_that_is_retried_waits_behind_what_waits_of_its_user() {
    let process = Process::start().await;
    let (queue, database) = (&process.parts.queue, &process.parts.database);
    let at = |revision: u64| WebhookMessage { position: Some(revision as i64), ..message(service(1), "a", revision) };
    process.send(&[at(1), at(2)]).await;
    let first = queue.take(now()).await.unwrap().remove(0);
    queue.settle(&first, Settled::Dead("why".to_owned()), now()).await.unwrap();
    let second = queue.take(now()).await.unwrap().remove(0);

    assert_eq!(queue.retry_dead_letters().await.unwrap(), 0, "it is not marked");
    assert_eq!(database.retry_dead_letters(Letters::These(vec![1, 2])).await.unwrap(), Err(NoSuchLetter(2)));
    assert_eq!(queue.retry_dead_letters().await.unwrap(), 0, "nothing was changed");
    assert_eq!(database.retry_dead_letters(Letters::These(vec![1])).await.unwrap(), Ok(1));
    assert_eq!(queue.retry_dead_letters().await.unwrap(), 1);
    assert_eq!(queue.take(now()).await.unwrap(), []);
    queue.settle(&second, Settled::Done, now()).await.unwrap();
    let again = queue.take(now()).await.unwrap().remove(0);
    assert_eq!((&again.body, again.attempts), (&first.body, 0));
    queue.settle(&again, Settled::Done, now()).await.unwrap();
    assert_eq!((queue.next_due(), process.dead_letters().await), (None, vec![]));
}

/// Those who retry all letters of a dead receiver lose nothing that waits for it, nor do others wait for its letters.
#[tokio::test]
async fn dead_letters_for_which_there_is_no_room_wait() {
    let process = Process::with(Options { max_waiting: 20, ..Options::default() }).await;
    let (queue, database) = (&process.parts.queue, &process.parts.database);
    let (full, other) = (service(1), service(2));
    let live: Vec<_> = (1..=4).map(|n| message(full, "live", n)).collect();
    process.send(&live).await;
    // More than one write looks at.
    let raw = Connection::open(process.directory.path().join("reachability.db")).unwrap();
    let letters = (1..=1_200).map(|n| message(full, "dead", n)).chain([message(other, "dead", 1)]);
    for letter in letters {
        let insert = "INSERT INTO dead_letters (queue, died_at, reason, body) VALUES (2, 0, 'why', ?1)";
        raw.execute(insert, [letter.to_json()]).unwrap();
    }
    database.retry_dead_letters(Letters::All).await.unwrap().unwrap();

    let retry_all = async || {
        let mut all = 0;
        loop {
            match queue.retry_dead_letters().await.unwrap() {
                0 => return all,
                some => all += some,
            }
        }
    };
    assert_eq!(retry_all().await, 7, "half of the queue is for what is new");
    let left = process.dead_letters().await;
    assert_eq!((left.len(), left.iter().all(|letter| letter.is_to_retry)), (1_194, true));
    assert_eq!(retry_all().await, 0);
    let mut done = Vec::new();
    while done.len() < 31 {
        let taken = queue.take(now()).await.unwrap();
        if taken.is_empty() {
            assert!(retry_all().await > 0, "{} are done", done.len());
        }
        for webhook in &taken {
            queue.settle(webhook, Settled::Done, now()).await.unwrap();
            done.push((webhook.service, told(std::slice::from_ref(webhook)).remove(0)));
        }
    }
    let done_of = |of: ServiceSid, identity: &str| -> Vec<u64> {
        let of_user = done.iter().filter(|(service, (user, _))| *service == of && user == identity);
        of_user.map(|(_, (_, revision))| *revision).collect()
    };
    assert_eq!((done_of(full, "live"), done_of(other, "dead")), (vec![1, 2, 3, 4], vec![1]));
    assert!(done_of(full, "dead").into_iter().eq(1..=26), "in order");
    assert_eq!(process.parts.metrics.counted(Counter::WebhooksDropped), 0);
}

/// The rows of the two queues are numbered apart.
#[tokio::test]
async fn dead_letters_of_all_queues_have_ids_of_their_own() {
    let process = Process::start().await;
    let webhooks = &process.parts.queue;
    process.send(&[message(service(1), "a", 1)]).await;
    let taken = webhooks.take(now()).await.unwrap();
    webhooks.settle(&taken[0], Settled::Dead("a webhook".to_owned()), now()).await.unwrap();

    let pushes = PushQueue::new(process.parts.database.clone());
    pushes.send(&[PushMessage::ScanServices(ScanServices { after: None })]).await.unwrap();
    let due = pushes.due(now(), 10).await.unwrap();
    assert_eq!(due[0].id, 1);
    let dead = Outcome { dead: vec![(1, "a push".to_owned())], ..Outcome::default() };
    pushes.acknowledge(dead, now()).await.unwrap();
    let letters = process.dead_letters().await;
    let told: Vec<_> = letters.iter().map(|it| (it.id, it.queue, it.reason.as_str(), it.service())).collect();
    let expected = [(1, QueueName::Webhooks, "a webhook", Some(service(1))), (2, QueueName::Pushes, "a push", None)];
    assert_eq!(told, expected);

    // Not even after the last one was dropped.
    let database = &process.parts.database;
    assert_eq!(database.drop_dead_letters(Letters::All).await.unwrap(), Ok(2));
    process.send(&[message(service(1), "a", 2)]).await;
    let taken = webhooks.take(now()).await.unwrap();
    webhooks.settle(&taken[0], Settled::Dead("another".to_owned()), now()).await.unwrap();
    assert_eq!(process.dead_letters().await[0].id, 3);
}
