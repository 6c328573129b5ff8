//! Webhooks that report devices: each end of a registration and each delivery that was given up, once, by both kinds of feed.

use std::collections::BTreeMap;

use reachability_domain::directory::configuration::Generation;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::lifetime::Lifetime;
use reachability_domain::push::notification::{Delivery, DeliveryStatus};
use reachability_domain::push::ports::{Bindings, Notifications};
use reachability_domain::push::reason::Reason;
use reachability_domain::push::verdict::TokenState;
use reachability_domain::sid::NotificationSid;
use reachability_lambda::stream;
use reachability_tests::contract::bindings::{binding, verdict};
use reachability_tests::receiver::{Answer, Receiver, Webhook};
use serde_json::{Value, json};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// A service whose reports go to this URL.
async fn reporting(process: &Process, n: u128, url: &str) -> ServiceSid {
    let of = process.service(n, url).await;
    let events = ["onNotificationFailed", "onBindingDead"].map(str::to_owned).to_vec();
    process.change(of, |service| service.webhooks.filters = Some(events)).await;
    of
}

/// Registers a device of a user.
async fn register(process: &Process, of: ServiceSid, identity: &str, token: &str) -> Binding {
    let user = User::new(Sid::from_bits(7), key(of, identity), None, now());
    let binding = binding(&user, Channel::Apn, token, now());
    let device = binding.device();
    let register = BindingCommand::Register { binding, generation: Generation(1) };
    process.parts.store.apply(of, device, &register, Some(&user), now()).await.unwrap().after.unwrap()
}

/// Applies a command to the binding. Returns it as it was and as it is.
async fn apply(process: &Process, binding: &Binding, command: &BindingCommand) -> (Binding, Binding) {
    let store = &process.parts.store;
    let applied = store.apply(binding.service_sid, binding.device(), command, None, now()).await.unwrap();
    (applied.before.unwrap(), applied.after.unwrap())
}

fn answered(binding: &Binding, token: TokenState) -> BindingCommand {
    BindingCommand::ApplyVerdict(binding.sid, verdict(binding.registered_at, now(), token))
}

fn delivery(of: ServiceSid, notification: u128, binding: &Binding) -> Delivery {
    Delivery {
        service_sid: Some(of),
        notification_sid: NotificationSid::from_bits(notification),
        binding_sid: binding.sid,
        identity: binding.identity.clone(),
        channel: binding.channel,
        status: DeliveryStatus::NEW,
        attempts: 0,
        next_attempt_at: None,
        decided_at: None,
        date_updated: now(),
    }
}

fn failed(delivery: &Delivery, reason: &str) -> Delivery {
    let status = DeliveryStatus::Failed { reason: Reason::new(reason) };
    Delivery { status, attempts: delivery.attempts + 1, date_updated: now(), ..delivery.clone() }
}

/// The event, the status and the reason of each webhook.
fn what(webhooks: &[Webhook]) -> Vec<(&str, &str, &str)> {
    webhooks.iter().map(|it| (it.get("EventType"), it.get("Status"), it.get("Reason"))).collect()
}

#[tokio::test]
async fn each_end_of_a_registration_is_reported_once() {
    let (mut process, receiver) = (Process::start().await, Receiver::start().await);
    let of = reporting(&process, 1, &receiver.url("/")).await;
    let gone = || TokenState::Dead { reason: Reason::new("Unregistered"), since: None };
    let unfit = || TokenState::Mismatched { reason: Reason::new("BadDeviceToken") };
    let phone = register(&process, of, "alice", "00ff").await;
    for (after, token, status, reason) in [
        // Undeliverable first, and then the provider says more.
        (Duration::ZERO, Some(unfit()), "undeliverable", "BadDeviceToken"),
        (DAY, Some(gone()), "dead", "Unregistered"),
        (DAY, None, "dead", "Expired"),
    ] {
        if token.is_none() {
            register(&process, of, "alice", "00ff").await;
        }
        pass(after + seconds(1));
        let known = process.parts.store.binding(of, phone.sid).await.unwrap().unwrap();
        let command = match token {
            Some(token) => answered(&known, token),
            None => {
                pass(Lifetime::YEAR.duration());
                BindingCommand::Expire(phone.sid)
            }
        };
        // A message that was handled twice.
        for _ in 0..2 {
            apply(&process, &phone, &command).await;
        }
        // A process that is killed before it has acknowledged them to the feed.
        process.tell_and_be_killed().await;
        process.restart().await;
        process.tell().await;
        process.run_for(seconds(0)).await;
        assert_eq!(what(&receiver.inbox.take()), [("onBindingDead", status, reason)]);
    }
    // A setting can end it, too.
    let known = register(&process, of, "alice", "00ff").await;
    pass(DAY * 3);
    apply(&process, &known, &BindingCommand::SetLifetime(known.sid, Lifetime::new(Channel::Apn, 2).unwrap())).await;
    process.tell().await;
    process.run_for(seconds(0)).await;
    assert_eq!(what(&receiver.inbox.take()), [("onBindingDead", "dead", "Expired")]);
    // That it is removed, or unregistered, is no death.
    pass(DAY * 31);
    apply_and_remove(&process, &known, &BindingCommand::RemoveDead(known.sid)).await;
    let again = register(&process, of, "alice", "00ff").await;
    apply_and_remove(&process, &again, &BindingCommand::Unregister(again.sid)).await;
    process.tell().await;
    process.run_for(seconds(0)).await;
    assert_eq!(receiver.inbox.count(), 0);
}

async fn apply_and_remove(process: &Process, binding: &Binding, command: &BindingCommand) {
    let store = &process.parts.store;
    let applied = store.apply(binding.service_sid, binding.device(), command, None, now()).await.unwrap();
    assert_eq!(applied.after, None);
}

#[tokio::test]
async fn each_failed_delivery_is_reported_once_and_until_its_receiver_takes_it() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    let of = reporting(&process, 1, &receiver.url("/")).await;
    let phone = register(&process, of, "alice", "00ff").await;
    let store = &process.parts.store;
    let (one, two) = (delivery(of, 1, &phone), delivery(of, 2, &phone));
    // Earlier versions did not store the service. It is known once it is attempted.
    let earlier = Delivery { service_sid: None, ..two.clone() };
    store.add_deliveries(&[one.clone(), earlier]).await.unwrap();
    let retried = Delivery { status: DeliveryStatus::Queued { reason: Some(Reason::new("TimedOut")) }, ..one.clone() };
    store.replace_deliveries(&[retried]).await.unwrap();
    receiver.inbox.answer(|_| Answer::Status(503));
    for _ in 0..2 {
        store.replace_deliveries(&[failed(&one, "PayloadTooLarge")]).await.unwrap();
    }
    store.replace_deliveries(&[failed(&two, "Expired")]).await.unwrap();
    store
        .replace_deliveries(&[Delivery { status: DeliveryStatus::Accepted { id: None }, ..delivery(of, 3, &phone) }])
        .await
        .unwrap();
    process.tell().await;
    process.run_for(seconds(3_600)).await;
    let tried = receiver.inbox.take();
    assert!(tried.len() > 3, "{}", tried.len());
    assert!(tried.iter().all(|it| it.body == tried[0].body && it.token() == tried[0].token()), "the first one waits");
    receiver.inbox.answer(|_| Answer::Status(200));
    process.run_for(seconds(3_600)).await;
    let told = receiver.inbox.take();
    let event = "onNotificationFailed";
    assert_eq!(what(&told), [(event, "failed", "PayloadTooLarge"), (event, "failed", "Expired")]);
    assert_eq!(told[0].body, tried[0].body);
    assert_eq!(process.dead_letters().await, []);
}

/// An item in the table's stream: a document with its key.
fn item(document: &impl serde::Serialize, pk: &str, sk: &str) -> Value {
    let item: serde_dynamo::Item = serde_dynamo::to_item(document).unwrap();
    let mut item = serde_json::to_value(item).unwrap();
    (item["pk"], item["sk"]) = (json!({ "S": pk }), json!({ "S": sk }));
    item
}

fn record(before: Value, after: Value) -> Value {
    let keys = json!({ "pk": after["pk"], "sk": after["sk"] });
    let images = json!({ "Keys": keys, "OldImage": before, "NewImage": after, "SequenceNumber": "1" });
    json!({ "eventName": "MODIFY", "dynamodb": images })
}

/// Whether a filter of Lambda's lets an event pass.
fn passes(pattern: &Value, event: &Value) -> bool {
    match pattern {
        Value::Object(members) => members.iter().all(|(name, pattern)| passes(pattern, &event[name])),
        Value::Array(any) => any.iter().any(|one| match one {
            Value::Object(rule) if rule.contains_key("prefix") => {
                event.as_str().is_some_and(|text| text.starts_with(rule["prefix"].as_str().unwrap()))
            }
            Value::Object(rule) => rule["exists"].as_bool() == Some(!event.is_null()),
            literal => literal == event,
        }),
        other => panic!("{other}"),
    }
}

/// The filters of the fanout in the template.
fn filters() -> Vec<Value> {
    let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml");
    let template = std::fs::read_to_string(template).unwrap();
    let patterns = template.lines().filter_map(|line| line.trim().strip_prefix("- Pattern: '")?.strip_suffix('\''));
    patterns.map(|pattern| serde_json::from_str(pattern).unwrap()).collect()
}

/// On AWS, what is reported is read from the table's stream, of which the fanout gets no more than it needs.
#[tokio::test]
async fn the_tables_stream_leads_to_the_same_reports() {
    let (process, receiver) = (Process::start().await, Receiver::start().await);
    let of = reporting(&process, 1, &receiver.url("/")).await;
    let phone = register(&process, of, "alice", "00ff").await;
    pass(seconds(1));
    let unfit = answered(&phone, TokenState::Mismatched { reason: Reason::new("BadDeviceToken") });
    let first = apply(&process, &phone, &unfit).await;
    pass(seconds(1));
    let gone = answered(&phone, TokenState::Dead { reason: Reason::new("Unregistered"), since: None });
    let second = apply(&process, &phone, &gone).await;
    let again = register(&process, of, "alice", "00ff").await;
    let queued = delivery(of, 1, &phone);
    process.parts.store.add_deliveries(std::slice::from_ref(&queued)).await.unwrap();
    process.parts.store.replace_deliveries(&[failed(&queued, "Expired")]).await.unwrap();
    process.tell().await;
    process.run_for(seconds(0)).await;
    let expected = receiver.inbox.take();
    assert_eq!(expected.len(), 3);

    let binding = |it: &Binding| item(it, &format!("binding#{of}#3"), &it.device().sids().start().to_string());
    let delivery =
        |it: &Delivery| item(it, &format!("notification#{}", it.notification_sid), &it.binding_sid.to_string());
    let accepted = Delivery { status: DeliveryStatus::Accepted { id: None }, ..queued.clone() };
    let records = [
        (record(binding(&first.0), binding(&first.1)), true),
        (record(binding(&second.0), binding(&second.1)), true),
        (record(binding(&second.1), binding(&again)), false),
        (record(delivery(&queued), delivery(&failed(&queued, "Expired"))), true),
        (record(delivery(&queued), delivery(&accepted)), false),
    ];
    let filters = filters();
    assert_eq!(filters.len(), 4);
    for (record, is_wanted) in &records {
        assert_eq!(filters.iter().any(|filter| passes(filter, record)), *is_wanted, "{record}");
    }
    // What the filters let pass by mistake would lead to nothing.
    let all: Vec<&Value> = records.iter().map(|(record, _)| record).collect();
    let batch = || serde_json::from_value(json!({ "Records": all })).unwrap();
    let response = stream::handle(&process.parts.fanout, batch()).await;
    assert!(response.batch_item_failures.is_empty());
    process.run_for(seconds(0)).await;
    let told = receiver.inbox.take();
    let by_token = |webhooks: &[Webhook]| -> BTreeMap<String, String> {
        webhooks.iter().map(|it| (it.token().to_owned(), it.body.clone())).collect()
    };
    assert_eq!(by_token(&told), by_token(&expected), "the same as by the feed of one process");
    // Nobody wants to know.
    process.change(of, |service| service.webhooks.filters = Some(vec!["onUserAdded".to_owned()])).await;
    stream::handle(&process.parts.fanout, batch()).await;
    process.run_for(seconds(0)).await;
    assert_eq!(receiver.inbox.count(), 0);
}
