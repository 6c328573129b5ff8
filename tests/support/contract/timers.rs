//! The timer that a user's state stores.

use std::sync::Arc;
use std::time::Duration;

use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::User;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::{Joined, States};
use reachability_domain::presence::timer::MAX_AHEAD;
use reachability_domain::time::Timestamp;

use crate::harness::{SETTINGS, rules};

use super::{NOW, connect, disconnect, event, later, news, service, state, user};

/// A user of a store.
struct Alice<S> {
    store: Arc<S>,
    user: User,
}

impl<S: Services + Users + States> Alice<S> {
    async fn of(store: Arc<S>) -> Self {
        let service = service(&*store, 1).await;
        Self { user: user(service.sid, 1, "alice"), store }
    }

    async fn join(&self, news: &News, fired: &[Timestamp], now: Timestamp) -> Joined {
        self.store.join(&self.user, news, fired, now).await.unwrap()
    }

    /// An event is handled. Returns when the timer is due that is to be sent.
    async fn says(&self, event: Event, now: Timestamp) -> Option<Timestamp> {
        self.join(&news(&[event], now), &[], now).await.timer
    }

    /// Timers come. Returns when the next one is due that is to be sent.
    async fn fire(&self, fired: &[Timestamp], now: Timestamp) -> Option<Timestamp> {
        self.join(&News::new(rules(SETTINGS)), fired, now).await.timer
    }

    async fn stored(&self) -> Option<Timestamp> {
        state(&*self.store, &self.user).await.next_timer
    }

    fn renewal(&self, at: Timestamp) -> Event {
        event(&self.user, "c", at, EventKind::Renew { lease: None })
    }

    fn loss(&self, at: Timestamp) -> Event {
        event(&self.user, "c", at, EventKind::Disconnect { reason: EndReason::ConnectionLost })
    }
}

/// It is set once, and then by the one before it.
pub async fn one_timer_follows_another(store: Arc<impl Services + Users + States>) {
    let alice = Alice::of(store).await;
    let connect = connect(&alice.user, "c", NOW);
    assert_eq!(alice.says(connect.clone(), NOW).await, Some(later(120)));
    assert_eq!(alice.stored().await, Some(later(120)));
    assert_eq!(alice.says(connect, later(1)).await, None, "repeated");
    assert_eq!(alice.says(alice.renewal(later(60)), later(60)).await, None);
    assert_eq!(alice.stored().await, Some(later(120)), "it finds the longer lease");

    let revision = state(&*alice.store, &alice.user).await.revision;
    assert_eq!(alice.fire(&[later(119)], later(119)).await, None, "it is another one");
    assert_eq!(alice.fire(&[later(120)], later(119)).await, Some(later(120)), "it came too early");
    assert_eq!(alice.fire(&[later(120)], later(120)).await, Some(later(180)));
    assert_eq!(alice.fire(&[later(120)], later(120)).await, None, "it came twice");
    assert_eq!(alice.stored().await, Some(later(180)));
    assert_eq!(state(&*alice.store, &alice.user).await.revision, revision, "nothing visible has changed");

    // An end that is nearer, and the end itself.
    assert_eq!(alice.says(alice.loss(later(130)), later(130)).await, Some(later(140)));
    assert_eq!(alice.fire(&[later(140)], later(140)).await, None);
    assert_eq!((alice.stored().await, state(&*alice.store, &alice.user).await.as_of), (None, later(140)));
    assert_eq!(alice.fire(&[later(180)], later(180)).await, None);
    assert_eq!(alice.stored().await, None);
}

/// A message that was delivered before may have failed before its timer was sent.
pub async fn a_repeated_message_sends_the_stored_timer_again(store: Arc<impl Services + Users + States>) {
    let alice = Alice::of(store).await;
    let connect = connect(&alice.user, "c", NOW);
    alice.says(connect.clone(), NOW).await;
    let mut repeated = news(&[connect], later(1));
    repeated.repeat();
    assert_eq!(alice.join(&repeated, &[], later(1)).await.timer, Some(later(120)));
    // Beside one that is new.
    let mut beside = news(&[alice.renewal(later(60))], later(60));
    beside.repeat();
    assert_eq!(alice.join(&beside, &[], later(60)).await.timer, Some(later(120)));
    // The timer itself.
    assert_eq!(alice.fire(&[later(120)], later(120)).await, Some(later(180)));
    let mut nothing = News::new(rules(SETTINGS));
    nothing.repeat();
    assert_eq!(alice.join(&nothing, &[later(120)], later(121)).await.timer, Some(later(180)));
    assert_eq!(alice.stored().await, Some(later(180)));
    // The user is gone by now.
    alice.says(disconnect(&alice.user, "c", later(130)), later(130)).await;
    assert_eq!(alice.join(&nothing, &[], later(131)).await.timer, None);
}

/// One that is overdue by a minute is lost.
pub async fn a_lost_timer_is_set_again(store: Arc<impl Services + Users + States>) {
    let alice = Alice::of(store).await;
    alice.says(connect(&alice.user, "c", NOW), NOW).await;
    for at in [90, 150, 179] {
        assert_eq!(alice.says(alice.renewal(later(at)), later(at)).await, None, "{at}");
    }
    assert_eq!(alice.stored().await, Some(later(120)));
    assert_eq!(alice.says(alice.renewal(later(180)), later(180)).await, Some(later(300)));
    assert_eq!(alice.fire(&[later(120)], later(181)).await, None, "it was not lost, but late");
    assert_eq!(alice.stored().await, Some(later(300)));
    // One that came when the user was gone has set none. This is not lost, and is not waited for.
    alice.says(disconnect(&alice.user, "c", later(290)), later(290)).await;
    assert_eq!(alice.fire(&[later(300)], later(300)).await, None);
    assert_eq!(alice.says(connect(&alice.user, "d", later(301)), later(301)).await, Some(later(421)));
}

/// The connection that lasts longest ends before another one.
pub async fn a_timer_is_never_too_late(store: Arc<impl Services + Users + States>) {
    let alice = Alice::of(store).await;
    alice.says(connect(&alice.user, "short", NOW), NOW).await;
    alice.says(connect(&alice.user, "long", later(60)), later(60)).await;
    assert!(alice.stored().await <= Some(later(180)));
    alice.says(disconnect(&alice.user, "long", later(70)), later(70)).await;
    assert_eq!(alice.stored().await, Some(later(120)));
    // An end that is far away.
    let long = EventKind::Connect { lease: Some(Duration::from_secs(86_400)), device: None };
    let due = alice.says(event(&alice.user, "day", later(125), long), later(125)).await.unwrap();
    assert!(later(125) < due && due <= later(125).plus(MAX_AHEAD), "{due}");
    let next = alice.fire(&[due], due).await.unwrap();
    assert_eq!((next, alice.stored().await), (due.plus(MAX_AHEAD), Some(next)));
    // A user who is deleted needs none.
    alice.store.delete_user(alice.user.service_sid, alice.user.sid, due).await.unwrap();
    assert_eq!((alice.stored().await, alice.fire(&[next], next).await), (None, None));
}

/// Many timers and events come at once. The one that is sent last is the stored one, and it is in time.
pub async fn concurrent_timers_leave_one(store: Arc<impl Services + Users + States + 'static>) {
    let alice = Arc::new(Alice::of(store).await);
    alice.says(connect(&alice.user, "c", NOW), NOW).await;
    alice.says(alice.renewal(later(60)), later(60)).await;
    let mut tasks = vec![];
    for n in 0..20 {
        let alice = alice.clone();
        tasks.push(tokio::spawn(async move {
            match n % 4 {
                0 => alice.says(connect(&alice.user, &format!("c-{n}"), later(100)), later(120)).await,
                1 => alice.says(disconnect(&alice.user, &format!("c-{}", n - 1), later(119)), later(120)).await,
                _ => alice.fire(&[later(120)], later(120)).await,
            }
        }));
    }
    let mut sent = vec![];
    for task in tasks {
        sent.extend(task.await.unwrap());
    }
    let state = state(&*alice.store, &alice.user).await;
    assert_eq!(state.presence.live_until(), later(180));
    assert!(state.next_timer.is_some_and(|due| later(120) < due && due <= later(180)), "{:?}", state.next_timer);
    assert!(sent.contains(&state.next_timer.unwrap()), "{:?} of {sent:?}", state.next_timer);
}
