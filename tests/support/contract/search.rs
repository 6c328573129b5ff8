//! Finding users.

use std::sync::Arc;

use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::Identity;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::search::UserSearch;
use reachability_domain::presence::snapshot::{UserSnapshot, UserSnapshots};
use reachability_domain::sid::ServiceSid;

use super::{NOW, connect, disconnect, later, news, service, user};

fn identities(found: &[UserSnapshot]) -> String {
    found.iter().map(|found| found.user.identity.as_str()).collect::<Vec<_>>().join(" ")
}

async fn online(store: &dyn UserSearch, service: ServiceSid) -> String {
    let (mut found, mut after) = (Vec::new(), None::<Identity>);
    loop {
        let page = store.online_after(service, after.as_ref(), 2).await.unwrap();
        after = page.last().map(|last| last.user.identity.clone());
        if after.is_none() {
            return identities(&found);
        }
        found.extend(page);
    }
}

/// By their identities, whatever the order in which they are named.
pub async fn users_are_found_by_identity(store: Arc<impl Services + Users + States + UserSnapshots + UserSearch>) {
    let (sid, other) = (service(&*store, 1).await.sid, service(&*store, 2).await.sid);
    for (n, identity) in ["jack", "john", "Jack", "jäck"].into_iter().enumerate() {
        let user = user(sid, n as u128, identity);
        store.join(&user, &news(&[connect(&user, "c", NOW)], NOW), &[], NOW).await.unwrap();
    }
    store.create_user(&user(other, 9, "jill")).await.unwrap();
    let named: Vec<Identity> =
        ["jäck", "nobody", "jill", "john", "Jack", "john"].map(|name| name.parse().unwrap()).into();
    let found = store.users_by_identity(sid, &named).await.unwrap();
    assert_eq!(identities(&found), "Jack john jäck");
    for found in found {
        let identity = UserRef::Identity(found.user.identity.clone());
        assert_eq!(store.user_snapshot(sid, &identity).await.unwrap().as_ref(), Some(&found));
    }
    assert_eq!(store.users_by_identity(sid, &[]).await.unwrap(), []);
}

/// In the order of their identities, a few at a time.
pub async fn users_are_listed_by_identity(store: Arc<impl Services + Users + States + UserSearch>) {
    let (sid, other) = (service(&*store, 1).await.sid, service(&*store, 2).await.sid);
    let names = ["b", "B", "a", "ab", "ä", "a b"];
    for (n, identity) in names.into_iter().enumerate() {
        store.create_user(&user(sid, n as u128, identity)).await.unwrap();
    }
    store.create_user(&user(other, 9, "aa")).await.unwrap();
    // Nobody: what is known is that it was deleted, or that a connection has ended.
    let gone = user(sid, 10, "gone");
    store.create_user(&gone).await.unwrap();
    assert!(store.delete_user(sid, gone.sid, later(1)).await.unwrap());
    let ended = user(sid, 11, "ended");
    store.join(&ended, &news(&[disconnect(&ended, "c", NOW)], NOW), &[], NOW).await.unwrap();
    let mut found: Vec<UserSnapshot> = Vec::new();
    loop {
        let after = found.last().map(|last| &last.user.identity);
        let page = store.users_after(sid, after, 4).await.unwrap();
        assert!(page.len() <= 4);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(identities(&found), "B a a b ab b ä");
}

/// Whom others saw online after the last write.
pub async fn those_online_are_found(store: Arc<impl Services + Users + States + UserSearch>) {
    let (sid, other) = (service(&*store, 1).await.sid, service(&*store, 2).await.sid);
    let users: Vec<User> = ["ann", "bob", "cy", "dan", "eve"]
        .into_iter()
        .enumerate()
        .map(|(n, identity)| user(sid, n as u128, identity))
        .collect();
    let [ann, bob, cy, dan, eve] = users.as_slice() else { panic!() };
    let joined = async |user: &User, event, at| {
        store.join(user, &news(&[event], at), &[], at).await.unwrap();
    };
    let invisible = async |user: &User, invisible, second| {
        let wish = Disclose { invisible: Some(invisible), ..Disclose::default() };
        assert!(store.disclose(user, &wish, later(second)).await.unwrap().is_some());
    };
    assert_eq!(online(&*store, sid).await, "");
    store.create_user(eve).await.unwrap();
    for user in [dan, bob, ann, cy] {
        joined(user, connect(user, "c", NOW), NOW).await;
    }
    let elsewhere = super::user(other, 9, "amy");
    joined(&elsewhere, connect(&elsewhere, "c", NOW), NOW).await;
    assert_eq!(online(&*store, sid).await, "ann bob cy dan");
    joined(bob, disconnect(bob, "c", later(1)), later(1)).await;
    invisible(cy, true, 2).await;
    invisible(eve, true, 2).await;
    assert_eq!(online(&*store, sid).await, "ann dan");
    // An invisible user who comes and goes is not seen.
    joined(eve, connect(eve, "c", later(3)), later(3)).await;
    joined(cy, disconnect(cy, "c", later(3)), later(3)).await;
    invisible(cy, false, 4).await;
    assert_eq!(online(&*store, sid).await, "ann dan");
    invisible(eve, false, 5).await;
    joined(bob, connect(bob, "d", later(5)), later(5)).await;
    assert_eq!(online(&*store, sid).await, "ann bob dan eve");
    assert!(store.delete_user(sid, dan.sid, later(6)).await.unwrap());
    // The end of Ann's lease is written by the check of its connection.
    joined(ann, disconnect(ann, "other", later(200)), later(200)).await;
    assert_eq!(online(&*store, sid).await, "bob eve");
    assert!(store.delete_service(sid).await.unwrap());
    assert_eq!(online(&*store, sid).await, "");
    assert_eq!(online(&*store, other).await, "amy");
}
