//! Users with their service and their state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::presence::ports::States;
use reachability_domain::presence::snapshot::{UserSnapshot, UserSnapshots};
use reachability_domain::presence::state::StateSummary;
use reachability_domain::sid::{ServiceSid, Sid, UserSid};
use reachability_domain::time::Timestamp;

use super::{NOW, connect, later, news, service, state, user};

fn by_identity(user: &User) -> UserRef {
    UserRef::Identity(user.identity.clone())
}

/// They are what the other ports read.
pub async fn a_snapshot_has_the_configuration_the_user_and_the_state(
    store: Arc<impl Services + Users + States + UserSnapshots>,
) {
    let mut stored = service(&*store, 1).await;
    stored.configuration.set_reachability_enabled(true, NOW);
    store.replace_service(&stored).await.unwrap();
    let alice = user(stored.sid, 1, "alice");
    store.create_user(&alice).await.unwrap();
    for at in [NOW, later(10)] {
        let snapshot = UserSnapshot {
            configuration: stored.configuration,
            user: alice.clone(),
            state: (&state(&*store, &alice).await).into(),
        };
        for named in [by_identity(&alice), UserRef::Sid(alice.sid)] {
            assert_eq!(store.user_snapshot(stored.sid, &named).await.unwrap(), Some(snapshot.clone()), "{named:?}");
        }
        store.join(&alice, &news(&[connect(&alice, "c", at)], at), &[], at).await.unwrap();
    }
    let live = store.user_snapshot(stored.sid, &by_identity(&alice)).await.unwrap().unwrap().state;
    assert_ne!(live.live_until, StateSummary::from(&Default::default()).live_until);
}

/// Neither a user of another service is found, nor one of a service that does not exist (any more).
pub async fn there_is_no_snapshot_of_what_does_not_exist(store: Arc<impl Services + Users + States + UserSnapshots>) {
    let (one, other) = (service(&*store, 1).await, service(&*store, 2).await);
    let alice = user(one.sid, 1, "alice");
    let names = [by_identity(&alice), UserRef::Sid(alice.sid)];
    let found = async |service: ServiceSid| {
        let mut found = 0;
        for name in &names {
            found += usize::from(store.user_snapshot(service, name).await.unwrap().is_some());
        }
        found
    };
    assert_eq!((found(one.sid).await, found(Sid::from_bits(9)).await), (0, 0));
    store.join(&alice, &news(&[connect(&alice, "c", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!((found(one.sid).await, found(other.sid).await), (2, 0));
    assert!(store.user_snapshot(one.sid, &UserRef::Sid(UserSid::from_bits(9))).await.unwrap().is_none());
    assert!(store.delete_user(one.sid, alice.sid, NOW).await.unwrap());
    assert_eq!(found(one.sid).await, 0);
    store.create_user(&user(one.sid, 3, "alice")).await.unwrap();
    assert!(store.user_snapshot(one.sid, &names[0]).await.unwrap().is_some());
    assert!(store.delete_service(one.sid).await.unwrap());
    assert_eq!(found(one.sid).await, 0);
}

/// While somebody deletes and creates a user, together with its state, no reader sees the one without the other. For the
/// stores that read all of it as of one moment.
pub async fn a_snapshot_is_of_one_moment(store: Arc<impl Services + Users + States + UserSnapshots + 'static>) {
    let sid = service(&*store, 1).await.sid;
    let alice = user(sid, 1, "alice");
    let (seen, written) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let is_enough = {
        let (seen, written) = (seen.clone(), written.clone());
        move || [&seen, &written].iter().all(|count| count.load(Ordering::Relaxed) >= 50)
    };
    let writer = {
        let (store, alice, is_enough) = (store.clone(), alice.clone(), is_enough.clone());
        tokio::spawn(async move {
            while !is_enough() {
                let at = later(10 * written.fetch_add(1, Ordering::Relaxed));
                store.join(&alice, &news(&[connect(&alice, "c", at)], at), &[], at).await.unwrap();
                // A store in memory never waits, and the reader may need this thread.
                tokio::task::yield_now().await;
                assert!(store.delete_user(sid, alice.sid, at.plus(Duration::from_secs(1))).await.unwrap());
                tokio::task::yield_now().await;
            }
        })
    };
    while !is_enough() && !writer.is_finished() {
        if let Some(snapshot) = store.user_snapshot(sid, &by_identity(&alice)).await.unwrap() {
            assert!(snapshot.state.live_until > Timestamp::MIN);
            seen.fetch_add(1, Ordering::Relaxed);
        }
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}
