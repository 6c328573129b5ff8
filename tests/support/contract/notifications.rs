//! Notifications and their deliveries.

use std::collections::BTreeSet;
use std::sync::Arc;

use reachability_domain::directory::ports::Services;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::channel::Channel;
use reachability_domain::push::notification::{Delivery, DeliveryStatus, Notification};
use reachability_domain::push::payload::{Content, Priority};
use reachability_domain::push::ports::Notifications;
use reachability_domain::push::reason::Reason;
use reachability_domain::sid::{BindingSid, ServiceSid, Sid};
use reachability_domain::store::StoreError;

use super::{NOW, service};

/// A notification and its deliveries are created, read and listed, and deliveries are replaced.
pub async fn notifications_are_kept(store: Arc<impl Services + Notifications>) {
    let service = service(&*store, 1).await.sid;
    let data = r#"{"z":1.0,"a":{"list":[1,"ü",null,9007199254740993]}}"#;
    let notification = Notification {
        sid: Sid::from_bits(7),
        service_sid: service,
        identities: vec!["alice".parse().unwrap(), "bob".parse().unwrap()],
        tags: vec!["vip \u{1F600}".parse().unwrap(), "apn".parse().unwrap()],
        content: Content {
            title: Some("Title \u{1F600}".to_owned()),
            body: None,
            data: serde_json::from_str(data).unwrap(),
            priority: Priority::Low,
            sound: Some("ping".to_owned()),
        },
        ttl_seconds: Some(60),
        date_created: NOW,
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
        notification_sid: notification.sid,
        binding_sid: BindingSid::from_bits(n),
        identity: "alice".parse().unwrap(),
        channel: Channel::Apn,
        status,
        attempts: 3,
        next_attempt_at: Some(NOW),
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
