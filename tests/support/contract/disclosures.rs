//! What users choose to show to others.

use std::sync::Arc;

use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::User;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::status::Status;
use tokio::join;

use super::{NOW, by_identity, connect, disconnect, later, news, service, state, user};

fn status(text: &str) -> Option<Option<Status>> {
    Some(Status::set_to(text).unwrap())
}

const INVISIBLE: Disclose = Disclose { status: None, invisible: Some(true) };
const VISIBLE: Disclose = Disclose { status: None, invisible: Some(false) };

/// A wish creates the user it is about, as a connect does.
pub async fn a_wish_creates_the_user(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let (alice, again) = (user(service.sid, 1, "alice"), user(service.sid, 2, "alice"));
    let after = store.disclose(&alice, &INVISIBLE, NOW).await.unwrap();
    assert_eq!((after.sid, after.disclosure.invisible), (Some(alice.sid), true));
    assert_eq!(state(&*store, &alice).await, after);
    assert_eq!(by_identity(&*store, &alice).await, Some(alice.clone()));
    // The same again is no write.
    assert_eq!(store.disclose(&again, &INVISIBLE, later(1)).await.unwrap(), after);
    assert_eq!(by_identity(&*store, &alice).await, Some(alice));
}

/// A store does what the domain does, whatever else is written of the user.
pub async fn wishes_are_kept_beside_all_else(store: Arc<impl Services + Users + States>) {
    let service = service(&*store, 1).await;
    let alice = user(service.sid, 1, "alice");
    let mut model = UserState::default();
    let steps = "cishvcdSixdvscidvwiwrvrxhsvidxcvd";
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
            model.disclose(&wish, alice.sid, now);
            assert_eq!(store.disclose(&alice, &wish, now).await.unwrap(), model, "step {n}: {step}");
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
        assert_eq!(state(&*store, &alice).await, model, "step {n}: {step}");
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
        let (one, two, three) = join!(
            store.disclose(&alice, &INVISIBLE, NOW),
            store.disclose(&alice, &say, NOW),
            store.join(&alice, &news, &[], NOW)
        );
        one.unwrap();
        two.unwrap();
        three.unwrap();
        let after = state(&*store, &alice).await;
        assert!(after.disclosure.invisible && after.disclosure.status.is_some(), "{after:?}");
        assert_eq!(after.presence.connections.len(), 1, "{after:?}");
        assert_eq!(by_identity(&*store, &alice).await.map(|user| user.sid), after.sid);
    }
}
