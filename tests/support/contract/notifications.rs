//! Notifications and their deliveries.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reachability_domain::directory::ports::Services;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::channel::Channel;
use reachability_domain::push::idempotency::{IdempotencyKey, KeyedRequest};
use reachability_domain::push::notification::{Delivery, DeliveryStatus, Notification};
use reachability_domain::push::payload::{Content, Format, Priority};
use reachability_domain::push::ports::Notifications;
use reachability_domain::push::reason::Reason;
use reachability_domain::push::recipient::{Hold, OnlineUser, Recipient, RecipientStatus, When};
use reachability_domain::sid::{BindingSid, ServiceSid, Sid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::{NOW, later, service};

/// A notification and its deliveries are created, read and listed, and deliveries are replaced.
pub async fn notifications_are_kept(store: Arc<impl Services + Notifications>) {
    let service = service(&*store, 1).await.sid;
    let data = r#"{"z":1.0,"a":{"list":[1,"ü",null,9007199254740993]}}"#;
    let hold = Hold { until: later(100), connected_at: Some(NOW) };
    let notification = Notification {
        sid: Sid::from_bits(7),
        service_sid: service,
        identities: vec!["alice".parse().unwrap(), "bob".parse().unwrap()],
        tags: vec!["vip \u{1F600}".parse().unwrap(), "apn".parse().unwrap()],
        when: When::Offline,
        online: vec![OnlineUser { index: 0, hold: None }, OnlineUser { index: 1, hold: Some(hold) }],
        content: Content {
            title: Some("Title \u{1F600}".to_owned()),
            body: None,
            data: serde_json::from_str(data).unwrap(),
            priority: Priority::Low,
            sound: Some("ping".to_owned()),
            action: Some("REPLY".to_owned()),
            collapse_id: Some("room-7".to_owned()),
            format: Format::Conversations,
            apn: serde_json::from_str(r#"{"aps":{"badge":3,"mutable-content":1}}"#).unwrap(),
            fcm: serde_json::from_str(data).unwrap(),
            gcm: serde_json::from_str(r#"{"notification":null}"#).unwrap(),
        },
        ttl_seconds: Some(60),
        date_created: NOW,
        keyed_request: None,
    };
    store.create_notification(&notification).await.unwrap();
    let found = store.notification(service, notification.sid).await.unwrap();
    assert_eq!(found.as_ref(), Some(&notification));
    assert_eq!(serde_json::to_string(&found.unwrap().content.data).unwrap(), data, "as it was given");
    assert_eq!(store.notification(ServiceSid::from_bits(2), notification.sid).await.unwrap(), None);
    assert!(matches!(
        store.create_notification(&Notification { ttl_seconds: None, ..notification.clone() }).await,
        Err(StoreError::Exists)
    ));

    let delivery = |n: u128, status: DeliveryStatus| Delivery {
        service_sid: Some(service),
        notification_sid: notification.sid,
        binding_sid: BindingSid::from_bits(n),
        identity: "alice".parse().unwrap(),
        channel: Channel::Apn,
        status,
        attempts: 3,
        next_attempt_at: Some(NOW),
        decided_at: None,
        date_updated: NOW,
    };
    let queued: Vec<Delivery> = (1..=5).map(|n| delivery(n, DeliveryStatus::NEW)).collect();
    store.add_deliveries(&queued).await.unwrap();
    let sent = delivery(2, DeliveryStatus::Accepted { id: Some("x".to_owned()) });
    let failed = delivery(3, DeliveryStatus::Failed { reason: Reason::new("BadDeviceToken") });
    store.replace_deliveries(&[sent.clone(), failed.clone()]).await.unwrap();
    let tried = |n| delivery(n, DeliveryStatus::Queued { reason: Some(Reason::new("NotConnected")) });
    // A delivery that was accepted or has failed is not queued again.
    store.replace_deliveries(&[tried(2), tried(3), tried(4)]).await.unwrap();
    // Deliveries that exist already stay as they are.
    store.add_deliveries(&queued).await.unwrap();
    let to = async |bindings: &[u128]| {
        let bindings: Vec<BindingSid> = bindings.iter().copied().map(Sid::from_bits).collect();
        let mut found = store.deliveries_to(notification.sid, &bindings).await.unwrap();
        found.sort_unstable_by_key(|delivery| delivery.binding_sid);
        found
    };
    assert_eq!(to(&[2]).await, std::slice::from_ref(&sent));
    assert_eq!(to(&[9]).await, []);
    assert_eq!(to(&[]).await, []);
    assert_eq!(to(&[4, 9, 3, 2]).await, [sent.clone(), failed.clone(), tried(4)]);
    assert_eq!(store.deliveries_to(Sid::from_bits(8), &[sent.binding_sid]).await.unwrap(), []);
    let again = delivery(4, DeliveryStatus::Accepted { id: None });
    // One that is stored for the first time is ended as well.
    let late = delivery(6, DeliveryStatus::Accepted { id: None });
    store.replace_deliveries(&[again.clone(), late.clone(), delivery(7, DeliveryStatus::NEW)]).await.unwrap();
    store.replace_deliveries(&[]).await.unwrap();
    assert_eq!(to(&[4, 6, 7]).await, [again, late]);
    let expected: BTreeSet<u128> = (1..=6).collect();
    let all = store.deliveries(notification.sid, PageRequest { position: Cursor::Start, limit: 10 }).await.unwrap();
    assert_eq!(all.items.iter().map(|it| it.binding_sid.bits()).collect::<BTreeSet<_>>(), expected);
    assert!(!all.more);
    let page = PageRequest { position: Cursor::After(BindingSid::from_bits(1)), limit: 2 };
    let some = store.deliveries(notification.sid, page).await.unwrap();
    assert_eq!((some.items, some.more), (vec![sent, failed], true));
}

/// A notification that was made with a key is made once, and it is noted when it is queued. It may have 1,000 users with long
/// names.
pub async fn notifications_with_a_key_are_made_once(store: Arc<impl Services + Notifications>) {
    let service = service(&*store, 1).await.sid;
    let request = |body: &str| KeyedRequest::new([("Identity", "alice"), ("Body", body)].into_iter());
    let key: IdempotencyKey = "6f1c".parse().unwrap();
    let notification = |body: &str, at: Timestamp| Notification {
        sid: key.sid(service),
        service_sid: service,
        identities: (0..1_000).map(|n| format!("{n:0>240}").parse().unwrap()).collect(),
        tags: vec![],
        when: When::Always,
        online: vec![],
        content: Content { body: Some(body.to_owned()), ..Content::default() },
        ttl_seconds: Some(60),
        date_created: at,
        keyed_request: Some(request(body)),
    };
    let first = notification("first", NOW);
    // Of some at once, each with its own time, one is made.
    let later = |seconds| notification("first", NOW.plus(Duration::from_secs(seconds)));
    store.create_notification(&first).await.unwrap();
    let others: Vec<Notification> = (1..8).map(later).chain([notification("other", NOW)]).collect();
    for made in join_all(others.iter().map(|other| store.create_notification(other))).await {
        assert!(matches!(made, Err(StoreError::Exists)), "{made:?}");
    }
    let found = async || store.notification(service, first.sid).await.unwrap().unwrap();
    assert_eq!(found().await, first);
    let keyed_request = Some(KeyedRequest { is_queued: true, ..request("first") });
    let queued = Notification { keyed_request, ..first.clone() };
    for _ in 0..2 {
        store.replace_notification(&queued).await.unwrap();
        assert_eq!(found().await, queued);
    }
    // One that is gone is not made by that.
    let gone = Notification { sid: Sid::from_bits(8), ..queued };
    store.replace_notification(&gone).await.unwrap();
    assert_eq!(store.notification(service, gone.sid).await.unwrap(), None);
}

/// A notification, a delivery of it that is queued, and the store's service.
async fn queued(store: &(impl Services + Notifications)) -> Delivery {
    let notification = Notification {
        sid: Sid::from_bits(8),
        service_sid: service(store, 1).await.sid,
        identities: vec!["alice".parse().unwrap()],
        tags: vec![],
        when: When::Offline,
        online: vec![],
        content: Content { body: Some("Body".to_owned()), ..Content::default() },
        ttl_seconds: None,
        date_created: NOW,
        keyed_request: None,
    };
    store.create_notification(&notification).await.unwrap();
    let delivery = Delivery {
        service_sid: Some(notification.service_sid),
        notification_sid: notification.sid,
        binding_sid: Sid::from_bits(1),
        identity: "alice".parse().unwrap(),
        channel: Channel::Fcm,
        status: DeliveryStatus::NEW,
        attempts: 0,
        next_attempt_at: None,
        decided_at: None,
        date_updated: NOW,
    };
    store.add_deliveries(std::slice::from_ref(&delivery)).await.unwrap();
    delivery
}

/// A delivery is decided on once. Of several that decide at once, one does.
pub async fn a_delivery_is_decided_on_once(store: Arc<impl Services + Notifications>) {
    let delivery = queued(&*store).await;
    let unknown = Delivery { binding_sid: Sid::from_bits(9), ..delivery.clone() };
    assert!(!store.decide_delivery(&unknown).await.unwrap());
    // It waits for a while.
    let waits = Delivery { status: DeliveryStatus::Queued { reason: Some(Reason::new("online")) }, ..delivery.clone() };
    assert!(store.decide_delivery(&waits).await.unwrap());
    let sent = |second| Delivery { decided_at: Some(later(second)), ..delivery.clone() };
    let skipped = Delivery { status: DeliveryStatus::Skipped, date_updated: later(5), ..delivery.clone() };
    let (one, two, three) = (sent(1), sent(2), skipped.clone());
    let (one, two, three) =
        tokio::join!(store.decide_delivery(&one), store.decide_delivery(&two), store.decide_delivery(&three));
    let done = [one.unwrap(), two.unwrap(), three.unwrap()];
    assert_eq!(done.iter().filter(|is_done| **is_done).count(), 1, "{done:?}");
    let stored = async || store.deliveries_to(delivery.notification_sid, &[delivery.binding_sid]).await.unwrap();
    let expected = [sent(1), sent(2), skipped.clone()].into_iter().zip(done).find(|(_, is_done)| *is_done).unwrap().0;
    assert_eq!(stored().await, [expected]);
    // What came of it is stored as ever, and then nothing is to be decided.
    let accepted = Delivery { status: DeliveryStatus::Accepted { id: None }, ..sent(1) };
    store.replace_deliveries(std::slice::from_ref(&accepted)).await.unwrap();
    assert!(!store.decide_delivery(&skipped).await.unwrap());
    assert!(!store.decide_delivery(&Delivery { decided_at: Some(later(9)), ..waits }).await.unwrap());
    assert_eq!(stored().await, [accepted]);
}

/// The first final decision about a user stays.
pub async fn the_first_decision_about_a_user_stays(store: Arc<impl Services + Notifications>) {
    let notification = queued(&*store).await.notification_sid;
    let recipient = |identity: &str, second, status| Recipient {
        notification_sid: notification,
        identity: identity.parse().unwrap(),
        status,
        date_updated: later(second),
    };
    let identities = ["alice", "bob", "böb#\u{1F600}", "carol"].map(|identity| identity.parse().unwrap());
    assert_eq!(store.settled(notification, &identities).await.unwrap(), [None, None, None, None]);
    let sent = recipient("alice", 1, RecipientStatus::Sent { binding: Sid::from_bits(1) });
    let skipped = recipient("alice", 1, RecipientStatus::Skipped);
    let (one, two) = (std::slice::from_ref(&sent), std::slice::from_ref(&skipped));
    let (one, two) = tokio::join!(store.settle(one), store.settle(two));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one, two, "both hear the same");
    assert!(one == [sent] || one == [skipped]);
    let others =
        [recipient("bob", 3, RecipientStatus::NoDevice), recipient("böb#\u{1F600}", 3, RecipientStatus::Skipped)];
    let late = recipient("alice", 4, RecipientStatus::NoDevice);
    let all = store.settle(&[others[0].clone(), late, others[1].clone()]).await.unwrap();
    assert_eq!(all, [others[0].clone(), one[0].clone(), others[1].clone()]);
    let [first, second] = others.map(Some);
    assert_eq!(store.settled(notification, &identities).await.unwrap(), [Some(one[0].clone()), first, second, None]);
    let [alice, ..] = &identities;
    let again = [alice.clone(), alice.clone()];
    assert_eq!(store.settled(notification, &again).await.unwrap(), [Some(one[0].clone()), Some(one[0].clone())]);
    assert_eq!(store.settled(notification, std::slice::from_ref(alice)).await.unwrap(), [Some(one[0].clone())]);
    assert_eq!(store.settled(Sid::from_bits(9), &again).await.unwrap(), [None, None]);
}
