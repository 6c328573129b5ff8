//! Services.

use std::sync::Arc;

use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::service::{Service, WebhookMethod};
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::presence::ports::States;
use reachability_domain::presence::state::UserState;
use reachability_domain::sid::{ServiceSid, Sid};
use reachability_domain::store::StoreError;

use crate::harness::new_service;
use crate::store::Leftovers;

use super::{NOW, by_identity, connect, news, online, service, state, user};

/// They are created, read and deleted.
pub async fn services_are_kept(store: Arc<dyn Services>) {
    let mut service = new_service(ServiceSid::from_bits(1));
    assert_eq!(store.service(service.sid).await.unwrap(), None);
    service.friendly_name = "naïve “name” \u{1F600} \0 %2F".to_owned();
    service.configuration.set_reachability_enabled(true, NOW);
    service.webhooks.method = Some(WebhookMethod::Get);
    service.webhooks.filters = Some(vec!["onUserUpdated".to_owned()]);
    service.notifications.new_message.sound = Some("ring".to_owned());
    service.chat.typing_indicator_timeout = 7;
    store.create_service(&service).await.unwrap();
    assert_eq!(store.service(service.sid).await.unwrap(), Some(service.clone()));
    assert!(matches!(store.create_service(&new_service(service.sid)).await, Err(StoreError::Exists)));
    assert_eq!(store.service(service.sid).await.unwrap(), Some(service.clone()));
    assert!(store.delete_service(service.sid).await.unwrap());
    assert!(!store.delete_service(service.sid).await.unwrap());
    assert_eq!(store.service(service.sid).await.unwrap(), None);
}

/// They are replaced only at the version that was read.
pub async fn services_are_replaced_by_version(store: Arc<dyn Services>) {
    let service = service(&*store, 1).await;
    let renamed = Service { friendly_name: "renamed".to_owned(), ..service.clone() };
    store.replace_service(&renamed).await.unwrap();
    let stored = store.service(service.sid).await.unwrap().unwrap();
    assert_eq!(stored, Service { version: stored.version, ..renamed.clone() });
    assert!(stored.version > service.version);
    assert!(matches!(store.replace_service(&renamed).await, Err(StoreError::Conflict)));
    let missing = new_service(ServiceSid::from_bits(2));
    assert!(matches!(store.replace_service(&missing).await, Err(StoreError::Missing)));
    assert_eq!(store.service(missing.sid).await.unwrap(), None);
}

/// Many writers replace the same version of a service at the same time.
pub async fn one_of_concurrent_replacements_wins(store: Arc<dyn Services>) {
    let service = service(&*store, 1).await;
    let writers = (0..20).map(|n| {
        let (store, service) = (store.clone(), service.clone());
        tokio::spawn(async move {
            store.replace_service(&Service { friendly_name: format!("{n}"), ..service }).await.is_ok()
        })
    });
    let mut winners = 0;
    for writer in writers.collect::<Vec<_>>() {
        winners += u32::from(writer.await.unwrap());
    }
    assert_eq!(winners, 1);
}

/// Its users and their states are deleted, and no new user is accepted. Other services keep theirs.
pub async fn deleting_a_service_deletes_everything_in_it(store: Arc<impl Services + Users + States + Leftovers>) {
    let (gone, stays) = (service(&*store, 1).await, service(&*store, 2).await);
    let (alice, bob) = (user(gone.sid, 1, "alice"), user(stays.sid, 2, "alice"));
    for user in [&alice, &bob] {
        store.join(user, &news(&[connect(user, "c", NOW)], NOW), &[], NOW).await.unwrap();
    }
    assert!(store.delete_service(gone.sid).await.unwrap());
    while store.purge(gone.sid, 1).await.unwrap() {}
    assert_eq!(by_identity(&*store, &alice).await, None);
    assert_eq!(state(&*store, &alice).await, UserState::default());
    let page = PageRequest { position: Cursor::Start, limit: 10 };
    assert!(store.users(gone.sid, page).await.unwrap().items.is_empty());
    assert!(matches!(store.create_user(&alice).await, Err(StoreError::Missing)));
    assert_eq!(by_identity(&*store, &bob).await, Some(bob.clone()));
    assert_eq!(online(&*store, &bob, NOW).await, Some(true));
}
