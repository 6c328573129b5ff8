//! Channels and their members.

use std::sync::Arc;

use reachability_domain::channel::key::ChannelKey;
use reachability_domain::channel::ports::{Channels, OverLimit};
use reachability_domain::channel::{Channel, MAX_CREATED, MAX_MEMBERS};
use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::identity::Identity;
use reachability_domain::sid::{ServiceSid, Sid};
use reachability_domain::store::StoreError;
use serde_json::json;

use super::{NOW, later, service, user};

fn key(service: ServiceSid, cid: &str) -> ChannelKey {
    ChannelKey { service, cid: cid.parse().unwrap() }
}

fn channel(service: ServiceSid, cid: &str) -> Channel {
    Channel {
        key: key(service, cid),
        custom: json!({"color": "green", "a": [1, null]}).as_object().unwrap().clone(),
        created_by: None,
        created_at: NOW,
        updated_at: NOW,
        last_message_at: None,
        member_count: 0,
        version: 0,
    }
}

fn named(names: &[&str]) -> Vec<Identity> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

async fn create(store: &dyn Channels, service: ServiceSid, cid: &str, members: &[&str]) -> Channel {
    store.create_channel(&channel(service, cid), &named(members)).await.unwrap().unwrap()
}

async fn members(store: &dyn Channels, channel: &Channel) -> Vec<Identity> {
    store.members(&channel.key, None, MAX_MEMBERS).await.unwrap()
}

/// With all their fields, until they are deleted.
pub async fn channels_are_kept(store: Arc<impl Services + Channels>) {
    let sid = service(&*store, 1).await.sid;
    let made = Channel { created_by: Some("john".parse().unwrap()), ..channel(sid, "messaging:general") };
    assert_eq!(store.channel(&made.key).await.unwrap(), None);
    let created = store.create_channel(&made, &named(&["john", "jack", "john"])).await.unwrap().unwrap();
    assert_eq!(created, Channel { member_count: 2, ..made.clone() });
    assert_eq!(store.channel(&made.key).await.unwrap(), Some(created.clone()));
    assert_eq!(members(&*store, &made).await, named(&["jack", "john"]));
    let again = store.create_channel(&made, &[]).await;
    assert!(matches!(again, Err(StoreError::Exists)), "{again:?}");
    let nowhere = store.create_channel(&channel(Sid::from_bits(9), "messaging:general"), &[]).await;
    assert!(matches!(nowhere, Err(StoreError::Missing)), "{nowhere:?}");
    for other in ["messaging:General", "message:general", "messaging:genera"] {
        assert_eq!(store.channel(&key(sid, other)).await.unwrap(), None, "{other}");
    }

    let changed =
        Channel { last_message_at: Some(later(1)), updated_at: later(2), custom: Default::default(), ..created };
    store.replace_channel(&changed).await.unwrap();
    assert_eq!(store.channel(&made.key).await.unwrap(), Some(Channel { version: 1, ..changed.clone() }));
    let late = store.replace_channel(&changed).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    let missing = store.replace_channel(&channel(sid, "messaging:other")).await;
    assert!(matches!(missing, Err(StoreError::Missing)), "{missing:?}");

    assert!(store.delete_channel(&made.key).await.unwrap());
    assert!(!store.delete_channel(&made.key).await.unwrap());
    assert_eq!(store.channel(&made.key).await.unwrap(), None);
    assert_eq!(members(&*store, &made).await, []);
    let new = create(&*store, sid, "messaging:general", &[]).await;
    assert_eq!((new.version, new.member_count), (0, 0), "nothing is left of the old one");
}

/// Each write returns what it changed.
pub async fn members_come_and_go(store: Arc<impl Services + Channels>) {
    let sid = service(&*store, 1).await.sid;
    let general = create(&*store, sid, "messaging:general", &["john"]).await;
    let other = create(&*store, sid, "messaging:other", &["jane"]).await;
    let (added, channel) =
        store.add_members(&general.key, &named(&["jack", "john", "Jack", "jack"])).await.unwrap().unwrap();
    assert_eq!((added, channel.member_count), (named(&["Jack", "jack"]), 3));
    let (added, channel) = store.add_members(&general.key, &named(&["jack"])).await.unwrap().unwrap();
    assert_eq!((added, channel.member_count), (vec![], 3));
    let (removed, channel) = store.remove_members(&general.key, &named(&["jane", "john", "john"])).await.unwrap();
    assert_eq!((removed, channel.member_count), (named(&["john"]), 2));
    assert_eq!(store.channel(&general.key).await.unwrap(), Some(channel), "members are no change of its fields");
    assert_eq!(members(&*store, &general).await, named(&["Jack", "jack"]));
    assert_eq!(members(&*store, &other).await, named(&["jane"]));
    let gone = key(sid, "messaging:gone");
    let missing = store.add_members(&gone, &named(&["jack"])).await;
    assert!(matches!(missing, Err(StoreError::Missing)), "{missing:?}");
    let missing = store.remove_members(&gone, &named(&["jack"])).await;
    assert!(matches!(missing, Err(StoreError::Missing)), "{missing:?}");

    let keys = [other.key, gone, general.key];
    let among = store.members_among(&keys, &named(&["jane", "jack", "jill"])).await.unwrap();
    assert_eq!(among, [named(&["jane"]), vec![], named(&["jack"])]);
}

/// In members, and in what one user creates.
pub async fn channels_are_limited(store: Arc<impl Services + Channels>) {
    let sid = service(&*store, 1).await.sid;
    let everybody: Vec<Identity> = (0..=MAX_MEMBERS).map(|n| format!("u{n:05}").parse().unwrap()).collect();
    let too_many = store.create_channel(&channel(sid, "m:all"), &everybody).await.unwrap();
    assert_eq!(too_many, Err(OverLimit::Members));
    assert_eq!(store.channel(&key(sid, "m:all")).await.unwrap(), None);
    let (last, most) = everybody.split_last().unwrap();
    // Whoever is named twice counts once.
    let twice = [&most[..1], most].concat();
    let all = store.create_channel(&channel(sid, "m:all"), &twice).await.unwrap().unwrap();
    assert_eq!(all.member_count, MAX_MEMBERS);
    let full = store.add_members(&all.key, &[most[0].clone(), last.clone()]).await.unwrap();
    assert_eq!(full, Err(OverLimit::Members));
    assert_eq!(store.add_members(&all.key, &most[..100]).await.unwrap().unwrap().0, []);
    let mut read = Vec::new();
    loop {
        let page = store.members(&all.key, read.last(), 3_000).await.unwrap();
        assert!(page.len() <= 3_000);
        if page.is_empty() {
            break;
        }
        read.extend(page);
    }
    assert_eq!(read, most);

    let by = |n: usize| Channel { created_by: Some("john".parse().unwrap()), ..channel(sid, &format!("m:c{n}")) };
    let created = (0..MAX_CREATED).map(|n| {
        let (store, channel) = (store.clone(), by(n));
        async move { store.create_channel(&channel, &[]).await.unwrap().unwrap() }
    });
    futures_util::future::join_all(created).await;
    assert_eq!(store.create_channel(&by(MAX_CREATED), &[]).await.unwrap(), Err(OverLimit::Created));
    let taken = store.create_channel(&by(0), &[]).await;
    assert!(matches!(taken, Err(StoreError::Exists)), "{taken:?}");
    create(&*store, sid, "m:of-the-owner", &[]).await;
    let other = Channel { created_by: Some("jack".parse().unwrap()), ..channel(sid, "m:of-another") };
    store.create_channel(&other, &[]).await.unwrap().unwrap();
    assert!(store.delete_channel(&by(1).key).await.unwrap());
    store.create_channel(&by(MAX_CREATED), &[]).await.unwrap().unwrap();
}

/// By their `cid`s as texts.
pub async fn channels_are_listed(store: Arc<impl Services + Channels>) {
    let (sid, other) = (service(&*store, 1).await.sid, service(&*store, 2).await.sid);
    for cid in ["a:z", "b:a", "a-b:c", "a:a", "A:a"] {
        create(&*store, sid, cid, if cid == "a:a" { &[] } else { &["john"] }).await;
    }
    create(&*store, other, "a:b", &["john"]).await;
    let john: Identity = "john".parse().unwrap();
    for (of, expected) in [(None, "A:a a-b:c a:a a:z b:a"), (Some(&john), "A:a a-b:c a:z b:a")] {
        let mut listed: Vec<Channel> = Vec::new();
        loop {
            let after = listed.last().map(|channel| &channel.key.cid);
            let page = match of {
                None => store.channels(sid, after, 2).await.unwrap(),
                Some(john) => store.channels_of(sid, john, after, 2).await.unwrap(),
            };
            assert!(page.len() <= 2);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        for channel in &listed {
            assert_eq!(store.channel(&channel.key).await.unwrap().as_ref(), Some(channel));
        }
        let cids: Vec<String> = listed.iter().map(|channel| channel.key.cid.to_string()).collect();
        assert_eq!(cids.join(" "), expected);
    }
    let nobody: Identity = "nobody".parse().unwrap();
    assert_eq!(store.channels_of(sid, &nobody, None, 10).await.unwrap(), []);
}

/// They are deleted with their service, and stay when a member's user is deleted.
pub async fn channels_belong_to_their_service(store: Arc<impl Services + Users + Channels>) {
    let (gone, stays) = (service(&*store, 1).await.sid, service(&*store, 2).await.sid);
    let channels = [create(&*store, gone, "a:b", &["john"]).await, create(&*store, stays, "a:b", &["john"]).await];
    let john = user(stays, 1, "john");
    store.create_user(&john).await.unwrap();
    assert!(store.delete_user(stays, john.sid, later(1)).await.unwrap());
    assert!(store.delete_service(gone).await.unwrap());
    assert_eq!(store.channel(&channels[0].key).await.unwrap(), None);
    assert_eq!(members(&*store, &channels[0]).await, []);
    assert_eq!(store.channels_of(gone, &john.identity, None, 10).await.unwrap(), []);
    assert_eq!(store.channel(&channels[1].key).await.unwrap().as_ref(), Some(&channels[1]));
    assert_eq!(members(&*store, &channels[1]).await, [john.identity]);
}

/// Each of many members is added once, whoever adds it, and counted once.
pub async fn concurrent_members_are_counted(store: Arc<impl Services + Channels + 'static>) {
    let sid = service(&*store, 1).await.sid;
    let general = create(&*store, sid, "messaging:general", &[]).await;
    let tasks: Vec<_> = (0..20usize)
        .map(|n| {
            let (store, key) = (store.clone(), general.key.clone());
            tokio::spawn(async move {
                let members: Vec<Identity> = (n..n + 5).map(|m| format!("u{m}").parse().unwrap()).collect();
                store.add_members(&key, &members).await.unwrap().unwrap().0.len()
            })
        })
        .collect();
    let mut added = 0;
    for task in tasks {
        added += task.await.unwrap();
    }
    assert_eq!(added, 24);
    assert_eq!(store.channel(&general.key).await.unwrap().unwrap().member_count, 24);
    assert_eq!(members(&*store, &general).await.len(), 24);
}
