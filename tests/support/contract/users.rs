//! Users.

use std::sync::Arc;

use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::presence::ports::States;
use reachability_domain::sid::{Sid, UserSid};
use reachability_domain::store::StoreError;

use super::{NOW, by_identity, connect, later, news, online, service, state, user};

/// They are created, read by identity and by sid, and deleted.
pub async fn users_are_kept(store: Arc<impl Services + Users>) {
    let service = service(&*store, 1).await;
    let user = User {
        friendly_name: Some("Alice \u{1F600}".to_owned()),
        attributes: "{\"a\": [1, \"ü\"]}".to_owned(),
        ..user(service.sid, 1, "alice")
    };
    assert_eq!(by_identity(&*store, &user).await, None);
    store.create_user(&user).await.unwrap();
    assert_eq!(by_identity(&*store, &user).await, Some(user.clone()));
    assert_eq!(store.user(service.sid, &UserRef::Sid(user.sid)).await.unwrap(), Some(user.clone()));
    assert_eq!(store.user(service.sid, &UserRef::Sid(UserSid::from_bits(9))).await.unwrap(), None);
    assert!(store.delete_user(service.sid, user.sid, NOW).await.unwrap());
    assert!(!store.delete_user(service.sid, user.sid, NOW).await.unwrap());
    assert_eq!(by_identity(&*store, &user).await, None);
    assert_eq!(store.user(service.sid, &UserRef::Sid(user.sid)).await.unwrap(), None);
}

/// Many callers create a user with the same identity at the same time.
pub async fn an_identity_belongs_to_one_user(store: Arc<impl Services + Users + 'static>) {
    let service = service(&*store, 1).await;
    let creators = (1..=20).map(|n| {
        let (store, user) = (store.clone(), user(service.sid, n, "alice"));
        tokio::spawn(async move {
            match store.create_user(&user).await {
                Ok(()) => Some(user),
                Err(StoreError::Exists) => None,
                Err(error) => panic!("{error}"),
            }
        })
    });
    let mut created = vec![];
    for creator in creators.collect::<Vec<_>>() {
        created.extend(creator.await.unwrap());
    }
    assert_eq!(created.len(), 1);
    assert_eq!(by_identity(&*store, &created[0]).await, Some(created[0].clone()));
    // After the user is deleted the identity is free again.
    assert!(store.delete_user(service.sid, created[0].sid, NOW).await.unwrap());
    store.create_user(&user(service.sid, 50, "alice")).await.unwrap();
}

/// Identities that a careless store might mix up.
pub async fn identities_are_told_apart(store: Arc<impl Services + Users>) {
    let service = service(&*store, 1).await;
    let identities = [
        "a b",
        "a+b",
        "a%20b",
        "A b",
        "a b ",
        "ü",
        "u\u{308}",
        "x/y",
        "x%2Fy",
        "bob@x.com",
        "'; --",
        "\0",
        "#",
        "null",
    ];
    for (n, identity) in identities.iter().enumerate() {
        store.create_user(&user(service.sid, n as u128 + 1, identity)).await.unwrap();
    }
    for (n, identity) in identities.iter().enumerate() {
        let expected = user(service.sid, n as u128 + 1, identity);
        assert_eq!(by_identity(&*store, &expected).await, Some(expected));
    }
}

/// They are replaced only at the version that was read.
pub async fn users_are_replaced_by_version(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let user = user(service.sid, 1, "alice");
    assert!(matches!(store.replace_user(&user).await, Err(StoreError::Missing)));
    store.create_user(&user).await.unwrap();
    let renamed = User { friendly_name: Some("Alice".to_owned()), ..user.clone() };
    store.replace_user(&renamed).await.unwrap();
    let stored = by_identity(&*store, &user).await.unwrap();
    // The store adds the version and the revision.
    assert_eq!(stored, User { version: stored.version, revision: stored.revision, ..renamed.clone() });
    let state = store.states(&[user.key()]).await.unwrap().remove(0);
    assert_eq!(stored.revision, state.revision, "that of the write");
    assert!(matches!(store.replace_user(&renamed).await, Err(StoreError::Conflict)));
    // A write of the presence does not change the version of the profile.
    store.join(&user, &news(&[connect(&user, "c", NOW)], NOW), &[], NOW).await.unwrap();
    store.replace_user(&User { friendly_name: None, ..stored }).await.unwrap();
    assert_eq!(online(&*store, &user, NOW).await, Some(true));
    assert_eq!(by_identity(&*store, &user).await.unwrap().friendly_name, None);
}

/// Whether a request asked for webhooks is stored with what it wrote: of the creation in the state, of the last write in the
/// profile.
pub async fn a_request_for_webhooks_is_remembered(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let alice = user(service.sid, 1, "alice");
    let asked = async || {
        let profile = by_identity(&*store, &alice).await.map(|user| user.webhook_enabled);
        (state(&*store, &alice).await.webhook_enabled, profile)
    };
    assert_eq!(asked().await, (false, None));
    store.create_user(&User { webhook_enabled: true, ..alice.clone() }).await.unwrap();
    assert_eq!(asked().await, (true, Some(true)));
    for webhook_enabled in [false, true] {
        let read = by_identity(&*store, &alice).await.unwrap();
        store.replace_user(&User { webhook_enabled, ..read }).await.unwrap();
        assert_eq!(asked().await, (true, Some(webhook_enabled)));
        // Events say nothing of it.
        let connection = format!("c-{webhook_enabled}");
        store.join(&alice, &news(&[connect(&alice, &connection, NOW)], NOW), &[], NOW).await.unwrap();
        assert_eq!(asked().await, (true, Some(webhook_enabled)));
    }
    store.delete_user(service.sid, alice.sid, NOW).await.unwrap();
    assert_eq!(asked().await, (false, None));
    // A connection that lives on creates the user again.
    store.join(&alice, &news(&[connect(&alice, "c-3", later(1))], later(1)), &[], later(1)).await.unwrap();
    assert_eq!(asked().await, (false, Some(false)));
}

/// Two services with a user of the same identity each do not affect each other.
pub async fn the_same_identity_in_two_services_is_two_users(store: Arc<impl Services + Users + States>) {
    let (one, two) = (service(&*store, 1).await, service(&*store, 2).await);
    let (alice, other) = (user(one.sid, 1, "alice"), user(two.sid, 2, "alice"));
    store.create_user(&alice).await.unwrap();
    assert_eq!(by_identity(&*store, &other).await, None);
    store.create_user(&other).await.unwrap();
    assert_eq!(store.user(two.sid, &UserRef::Sid(alice.sid)).await.unwrap(), None);
    store.join(&alice, &news(&[connect(&alice, "c", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!(online(&*store, &alice, NOW).await, Some(true));
    assert_eq!(online(&*store, &other, NOW).await, None);
    assert!(!store.delete_user(two.sid, alice.sid, NOW).await.unwrap());
    assert!(store.delete_user(one.sid, alice.sid, NOW).await.unwrap());
    assert_eq!(by_identity(&*store, &other).await, Some(other));
}

/// Pages of a list, forwards and backwards, from the ends and from the middle.
pub async fn lists_go_both_ways(store: Arc<impl Services + Users>) {
    let service = service(&*store, 1).await;
    // They are not created in the order of their sids.
    for n in [3, 1, 7, 5, 9] {
        store.create_user(&user(service.sid, n, &format!("user {n}"))).await.unwrap();
    }
    let sid = UserSid::from_bits;
    for (position, limit, expected, more) in [
        (Cursor::Start, 2, vec![1, 3], true),
        (Cursor::Start, 5, vec![1, 3, 5, 7, 9], false),
        (Cursor::Start, 4, vec![1, 3, 5, 7], true),
        (Cursor::After(sid(3)), 2, vec![5, 7], true),
        (Cursor::After(sid(3)), 3, vec![5, 7, 9], false),
        // After a sid that does not exist.
        (Cursor::After(sid(4)), 9, vec![5, 7, 9], false),
        (Cursor::After(sid(9)), 9, vec![], false),
        (Cursor::Before(sid(7)), 2, vec![3, 5], true),
        (Cursor::Before(sid(7)), 3, vec![1, 3, 5], false),
        (Cursor::Before(sid(6)), 1, vec![5], true),
        (Cursor::Before(sid(1)), 9, vec![], false),
    ] {
        let slice = store.users(service.sid, PageRequest { position, limit }).await.unwrap();
        let found: Vec<u128> = slice.items.iter().map(|user| user.sid.bits()).collect();
        assert_eq!((found, slice.more), (expected, more), "{position:?}, {limit}");
    }
    let all = PageRequest { position: Cursor::Start, limit: 10 };
    let services = store.services(all).await.unwrap();
    assert_eq!((services.items, services.more), (vec![service], false));
}
