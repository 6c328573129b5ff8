//! What users choose to show to others.

use std::sync::Arc;

use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::User;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::event::Event;
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::status::Status;
use reachability_domain::time::Timestamp;
use tokio::join;

use crate::harness::{SETTINGS, rules};

use super::{NOW, by_identity, connect, disconnect, later, news, service, state, user};

fn status(text: &str) -> Option<Option<Status>> {
    Some(Status::set_to(text).unwrap())
}

const INVISIBLE: Disclose = Disclose { status: None, invisible: Some(true) };
const VISIBLE: Disclose = Disclose { status: None, invisible: Some(false) };

/// A connect creates its user, with what it wishes to show.
pub async fn a_wish_comes_with_its_user(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let (bob, again) = (user(service.sid, 3, "bob"), user(service.sid, 4, "bob"));
    let mut hello = wished(&connect(&bob, "c-1", NOW), INVISIBLE, NOW);
    let joined = store.join(&bob, &hello, &[], NOW).await.unwrap();
    let stored = state(&*store, &bob).await;
    assert!(stored.disclosure.invisible && stored.presence.live_until() > NOW, "{stored:?}");
    assert_eq!((joined.before, joined.after), ((&UserState::default()).into(), (&stored).into()));
    assert_eq!(by_identity(&*store, &bob).await, Some(bob.clone()));
    for (id, at) in [("c-1", NOW), ("c-2", later(1))] {
        hello = wished(&connect(&again, id, at), INVISIBLE, later(1));
        store.join(&again, &hello, &[], later(1)).await.unwrap();
        assert_eq!(state(&*store, &bob).await == stored, id == "c-1");
    }
    assert_eq!(by_identity(&*store, &bob).await, Some(bob));
}

/// A connect with which its user wants to show something.
fn wished(event: &Event, wish: Disclose, now: Timestamp) -> News {
    let mut news = News::new(rules(SETTINGS));
    news.add_with(event, Acceptance::In(Generation(1)), wish, now);
    news
}

/// A wish of a user who was deleted in the meantime brings nobody back, and is not that of the next user of this name.
pub async fn a_wish_brings_nobody_back(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let (alice, next) = (user(service.sid, 1, "alice"), user(service.sid, 2, "alice"));
    assert_eq!(store.disclose(&alice, &INVISIBLE, NOW).await.unwrap(), None);
    assert_eq!(state(&*store, &alice).await, UserState::default());
    store.create_user(&alice).await.unwrap();
    let say = Disclose { status: status("eating"), invisible: None };
    let after = store.disclose(&alice, &say, later(1)).await.unwrap();
    assert_eq!(after.as_ref().map(|after| after.disclosure.status.clone()), status("eating"));
    assert_eq!(Some(state(&*store, &alice).await), after);
    // The same again is no write.
    assert_eq!(store.disclose(&alice, &say, later(2)).await.unwrap(), after);

    assert!(store.delete_user(service.sid, alice.sid, later(2)).await.unwrap());
    let deleted = state(&*store, &alice).await;
    assert_eq!(store.disclose(&alice, &INVISIBLE, later(3)).await.unwrap(), None);
    assert_eq!((state(&*store, &alice).await, by_identity(&*store, &alice).await), (deleted, None));
    store.create_user(&next).await.unwrap();
    assert_eq!(store.disclose(&alice, &INVISIBLE, later(4)).await.unwrap(), None);
    assert!(!state(&*store, &next).await.disclosure.invisible);
}

/// A store does what the domain does, whatever else is written of the user.
pub async fn wishes_are_kept_beside_all_else(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let alice = user(service.sid, 1, "alice");
    let mut model = UserState::default();
    let steps = "cishvcdSixdvscidvwiwrvrxhsvidxcvdIdVdIrVSIdVhAdA";
    let mut connections = 0;
    for (n, step) in steps.chars().enumerate() {
        let now = later(n as u64 * 7);
        let wish = match step {
            'i' => Some(INVISIBLE),
            'v' => Some(VISIBLE),
            's' => Some(Disclose { status: status("eating"), invisible: None }),
            'S' => Some(Disclose { status: status("asleep"), invisible: Some(true) }),
            'x' => Some(Disclose { status: status(""), invisible: None }),
            _ => None,
        };
        if let Some(wish) = wish {
            model.disclose(&wish, now);
            let stored = store.disclose(&alice, &wish, now).await.unwrap().unwrap();
            assert_eq!(UserState { next_timer: None, ..stored }, model, "step {n}: {step}");
            continue;
        }
        match step {
            'c' | 'd' | 'h' => {
                connections += usize::from(step == 'c');
                let id = format!("c-{connections}");
                let events = match step {
                    'c' => vec![connect(&alice, &id, now)],
                    'd' => vec![disconnect(&alice, &id, now)],
                    // A look at the time.
                    _ => vec![],
                };
                let news = news(&events, now);
                model.join(&news, alice.sid, now);
                store.join(&alice, &news, &[], now).await.unwrap();
            }
            'I' | 'V' | 'A' => {
                connections += 1;
                let invisible = Some(step == 'I').filter(|_| step != 'A');
                let wish = Disclose { status: status(&format!("at step {n}")), invisible };
                let news = wished(&connect(&alice, &format!("c-{connections}"), now), wish, now);
                model.join(&news, alice.sid, now);
                store.join(&alice, &news, &[], now).await.unwrap();
            }
            'r' => {
                let found = by_identity(&*store, &alice).await.unwrap();
                store.replace_user(&User { date_updated: now, ..found }).await.unwrap();
                model.change_profile(now);
            }
            _ => {
                store.announce(&alice.key(), Generation(2), now).await.unwrap();
                model.announce(Generation(2), now);
            }
        }
        // Timers are another contract.
        let stored = UserState { next_timer: None, ..state(&*store, &alice).await };
        assert_eq!(stored, model, "step {n}: {step}");
    }
    assert!(store.delete_user(service.sid, alice.sid, later(1_000)).await.unwrap());
    assert_eq!(state(&*store, &alice).await.disclosure, UserState::default().disclosure);
}

/// None of several writers at once undoes another's.
pub async fn concurrent_wishes_lose_nothing(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    for round in 0..8_u32 {
        let alice = user(service.sid, u128::from(round) + 1, &format!("alice {round}"));
        let say = Disclose { status: status("eating"), invisible: None };
        let news = news(&[connect(&alice, "c-1", NOW)], NOW);
        let hello = wished(&connect(&alice, "c-2", NOW), say.clone(), NOW);
        store.create_user(&alice).await.unwrap();
        let (one, two, three, four) = join!(
            store.disclose(&alice, &INVISIBLE, NOW),
            store.disclose(&alice, &say, NOW),
            store.join(&alice, &news, &[], NOW),
            store.join(&alice, &hello, &[], NOW)
        );
        one.unwrap();
        two.unwrap();
        three.unwrap();
        four.unwrap();
        let after = state(&*store, &alice).await;
        assert!(after.disclosure.invisible && after.disclosure.status.is_some(), "{after:?}");
        assert_eq!(after.presence.connections.len(), 2, "{after:?}");
        assert_eq!(by_identity(&*store, &alice).await.map(|user| user.sid), after.sid);
    }
}
