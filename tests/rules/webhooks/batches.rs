//! Batches, as a queue delivers them that keeps the order of each user's messages.

use reachability_tests::receiver::{Answer, Receiver};

use super::*;

#[tokio::test]
async fn after_one_that_failed_no_later_one_of_the_user_is_sent() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    receiver.inbox.answer(|webhook| {
        let (user, event) = (webhook.get("Identity"), webhook.get("EventType"));
        Answer::Status(if (user, event) == ("alice", "onUserUpdated") { 404 } else { 200 })
    });
    let one = process.service(1, &receiver.url("/")).await;
    let mut envelopes = Vec::new();
    for (user, is_closed) in [("alice", true), ("bob", true), ("carol", false)] {
        process.connect(one, user).await;
        if is_closed {
            process.disconnect(one, user).await;
        }
    }
    let kept = Arc::new(Kept::default());
    let mut fanout = process.parts.fanout.clone();
    fanout.webhooks = fanout.webhooks.map(|outbox| WebhookOutbox { queue: kept.clone(), ..outbox });
    let rows = process.parts.feed.undelivered(None, 100).await.unwrap();
    let entries: Vec<FeedEntry> = rows.into_iter().map(|row| row.entry).collect();
    assert_eq!(fanout.handle(&entries).await, None);
    for message in kept.take() {
        let body = reachability_domain::queue::Message::to_json(&message);
        envelopes.push(Envelope { id: envelopes.len().to_string(), body, attempts: 0, accepted_at: None });
    }
    envelopes.push(Envelope { id: "broken".to_owned(), body: "{}".to_owned(), attempts: 0, accepted_at: None });
    let outcomes = process.parts.webhooks.handle(&envelopes).await;
    let kinds: Vec<&str> = outcomes
        .iter()
        .map(|outcome| match outcome {
            WebhookOutcome::Done => "done",
            WebhookOutcome::Retry(_) => "retry",
            WebhookOutcome::Held(_) => "held",
            WebhookOutcome::Dead(_) => "dead",
        })
        .collect();
    // Added, online, offline; the same; added, online; and one that cannot be read.
    assert_eq!(kinds, ["done", "retry", "held", "done", "done", "done", "done", "done", "dead"]);
    let (WebhookOutcome::Retry(wait), WebhookOutcome::Held(held)) = (&outcomes[1], &outcomes[2]) else { panic!() };
    assert_eq!(wait, held, "they are due together");
    assert_eq!(receiver.inbox.count(), 7);
    // The last attempt that is allowed is the last.
    process.change(one, |service| service.chat.post_webhook_retry_count = 1).await;
    let last = Envelope { attempts: 1, ..envelopes[1].clone() };
    let outcomes = process.parts.webhooks.handle(&[last, envelopes[2].clone()]).await;
    assert!(matches!(&outcomes[..], [WebhookOutcome::Dead(_), WebhookOutcome::Retry(_)]), "{outcomes:?}");
}
