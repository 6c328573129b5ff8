//! What every store writes when it joins events to a user's state, and when it deletes a user.

use crate::directory::user::User;
use crate::presence::connections::Dropped;
use crate::presence::news::News;
use crate::presence::ports::Joined;
use crate::presence::state::UserState;
use crate::presence::timer::Look;
use crate::sid::BindingSid;
use crate::time::Timestamp;

/// What a store writes when it joins events to a user's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinWrites {
    /// The state to store; `None` if the events add nothing, and the user's timer stays.
    pub state: Option<UserState>,
    /// Whether the user's profile must be created.
    pub creates_user: bool,
    /// What was dropped from the state.
    pub dropped: Dropped,
    /// [`Joined::timer`].
    pub timer: Option<Timestamp>,
    /// The state before, if it was moved to a clock that was set back.
    moved: Option<UserState>,
}

impl JoinWrites {
    #[cfg(test)]
    const NONE: Self =
        Self { state: None, creates_user: false, dropped: Dropped { live: 0, ended: 0 }, timer: None, moved: None };

    /// Joins events to a stored state and prunes it, and decides on the timer after those that were `fired`. If the events
    /// create the user, it has this sid.
    pub fn of(before: &UserState, news: &News, fired: &[Timestamp], user: &User, now: Timestamp) -> Self {
        let mut state = before.clone();
        let moved = state.set_back(now).then(|| state.clone());
        let was_live_until = state.presence.live_until();
        let is_changed = state.join(news, user.sid, now) || moved.is_some();
        let dropped = if is_changed { state.presence.prune(news.rules().limits, now) } else { Dropped::default() };
        let creates_user = before.sid.is_none() && state.sid.is_some();
        let is_repeated = news.is_repeated();
        let timer = state.set_timer(&Look { identity: &user.identity, was_live_until, fired, is_repeated, now });
        let is_timer_changed = state.next_timer != before.next_timer;
        Self { state: (is_changed || is_timer_changed).then_some(state), creates_user, dropped, timer, moved }
    }

    /// The state after the write.
    pub fn after<'a>(&'a self, before: &'a UserState) -> &'a UserState {
        self.state.as_ref().unwrap_or(before)
    }

    /// The result for the caller of [`States::join`].
    ///
    /// [`States::join`]: crate::presence::ports::States::join
    pub fn joined(&self, before: &UserState, news: &News) -> Joined {
        let before = self.moved.as_ref().unwrap_or(before);
        Joined { dropped: self.dropped.live, timer: self.timer, ..Joined::of(before, self.after(before), news) }
    }
}

/// What a store writes when it deletes a user, besides removing the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionWrites {
    /// The state, marked as deleted.
    pub state: UserState,
    /// The bindings to delete.
    pub delete: Vec<BindingSid>,
}

impl DeletionWrites {
    /// Marks a state as deleted.
    pub fn of(before: &UserState, now: Timestamp) -> Self {
        let delete = before.registrations.devices().map(|(sid, _)| sid).collect();
        let mut state = before.clone();
        state.delete(now);
        Self { state, delete }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::directory::configuration::Generation;
    use crate::identity::UserKey;
    use crate::presence::acceptance::Acceptance;
    use crate::presence::change_reason::ChangeReason;
    use crate::presence::connections::{KEEP_DELETION, LeasePolicy, Limits, Rules};
    use crate::presence::disclosure::{Disclose, Disclosure, Hidden};
    use crate::presence::event::{EndReason, Event, EventKind};
    use crate::presence::status::Status;
    use crate::push::lifetime::Lifetime;
    use crate::push::registration::Registration;
    use crate::sid::Sid;

    const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);
    const RULES: Rules = Rules {
        grace: Duration::from_secs(10),
        lease: LeasePolicy::For(Duration::from_secs(120)),
        limits: Limits::DEFAULT,
    };
    const ON: Acceptance = Acceptance::In(Generation(1));

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn alice() -> User {
        let key = UserKey { service: Sid::from_bits(1), identity: "alice".parse().unwrap() };
        User::new(Sid::from_bits(7), key, None, NOW)
    }

    fn event(id: &str, at: Timestamp, kind: EventKind) -> Event {
        Event { user: alice().key(), connection: id.parse().unwrap(), occurred_at: at, kind }
    }

    fn connect(id: &str, at: Timestamp) -> Event {
        event(id, at, EventKind::Connect { lease: None, device: None })
    }

    fn disconnect(id: &str, at: Timestamp) -> Event {
        event(id, at, EventKind::Disconnect { reason: EndReason::ClientClosed })
    }

    fn news(events: &[(Event, Acceptance)], now: Timestamp) -> News {
        let mut news = News::new(RULES);
        for (event, acceptance) in events {
            news.add(event, *acceptance, now);
        }
        news
    }

    /// Joins the events, each in a write of its own.
    fn joined(events: &[(Event, Acceptance)], before: UserState, now: Timestamp) -> UserState {
        events.iter().fold(before, |state, event| {
            JoinWrites::of(&state, &news(std::slice::from_ref(event), now), &[], &alice(), now).after(&state).clone()
        })
    }

    fn write(before: &UserState, event: Event, acceptance: Acceptance, now: Timestamp) -> JoinWrites {
        JoinWrites::of(before, &news(&[(event, acceptance)], now), &[], &alice(), now)
    }

    /// Its timer has run while the clock was ahead. What is said of the connection since must not look as if there were one.
    #[test]
    fn after_a_step_back_a_join_tells_of_the_state_as_it_was_moved() {
        let month = 30 * 86_400;
        let connect = news(&[(connect("c-1", NOW), ON)], NOW);
        let live = JoinWrites::of(&UserState::default(), &connect, &[], &alice(), NOW).state.unwrap();
        let none = news(&[], later(month));
        let over = JoinWrites::of(&live, &none, &[], &alice(), later(month)).state.unwrap();
        assert_eq!(over.as_of, later(month));

        let renewal = news(&[(event("c-1", later(1), EventKind::Renew { lease: None }), ON)], later(1));
        let writes = JoinWrites::of(&over, &renewal, &[], &alice(), later(1));
        let joined = writes.joined(&over, &renewal);
        let touched = joined.connections.values().next().unwrap();
        assert_eq!((touched.before.live_until(), touched.after.live_until()), (later(1), later(121)));
        let state = writes.state.unwrap();
        assert!(state.as_of == later(1) && state.revision > over.revision);
        // The same without news.
        let nothing = JoinWrites::of(&over, &news(&[], later(1)), &[], &alice(), later(1));
        assert_eq!(nothing.state.map(|state| (state.as_of, state.presence.live_until())), Some((later(1), later(1))));
    }

    #[test]
    fn a_connect_or_renewal_creates_the_user() {
        let writes = write(&UserState::default(), connect("c-1", NOW), ON, NOW);
        assert!(writes.creates_user);
        let state = writes.state.unwrap();
        assert_eq!((state.sid, &state.created_by), (Some(Sid::from_bits(7)), &Some(ChangeReason::Connect)));
        assert_eq!(state.presence.live_until(), later(120));

        let again = write(&state, connect("c-1", NOW), ON, later(1));
        assert_eq!(again, JoinWrites::NONE);
        assert_eq!(again.after(&state), &state);

        let goodbye = write(&UserState::default(), disconnect("c-1", NOW), ON, NOW);
        assert!(goodbye.state.is_some() && !goodbye.creates_user);
    }

    #[test]
    fn a_connect_creates_the_user_after_its_disconnect_and_while_reachability_is_off() {
        for acceptance in [ON, Acceptance::Off] {
            let (connect, disconnect) = (connect("c-1", NOW), disconnect("c-1", later(1)));
            let events = [(connect.clone(), acceptance), (disconnect.clone(), acceptance)];
            let reversed = [(disconnect, acceptance), (connect, acceptance)];
            let (one, two) =
                (joined(&events, UserState::default(), later(2)), joined(&reversed, UserState::default(), later(2)));
            assert!(one.sid.is_some());
            assert_eq!((one.sid, &one.presence), (two.sid, &two.presence));
            assert_eq!(one.presence.online_generation == Generation(1), acceptance == ON);
            assert!(one.presence.live_until() <= later(1));
        }
    }

    #[test]
    fn an_event_of_an_earlier_generation_counts_for_that_one() {
        let (first, second) = (Acceptance::In(Generation(1)), Acceptance::In(Generation(2)));
        let renewal = event("c-1", later(1), EventKind::Renew { lease: None });
        let mut events = [(connect("c-1", NOW), second), (renewal, first)];
        for _ in 0..2 {
            let state = joined(&events, UserState::default(), later(2));
            assert_eq!(state.presence.online_generation, Generation(2), "in whichever order they come");
            events.reverse();
        }
    }

    #[test]
    fn a_write_drops_connections_over_the_limits() {
        let mut state = UserState::default();
        let mut dropped = 0;
        for n in 0..200 {
            let writes = write(&state, connect(&format!("c-{n}"), later(n)), ON, later(n));
            dropped += writes.dropped.live;
            state = writes.state.unwrap();
        }
        assert_eq!(dropped, 100);
        assert_eq!(state.presence.live_until(), later(319));
        for n in 0..200 {
            let at = later(200 + n);
            state = write(&state, disconnect(&format!("c-{n}"), at), ON, at).after(&state).clone();
        }
        assert!(state.presence.live_until() <= later(400));
        assert!(state.presence.connections.len() <= 22);
    }

    /// A wish is written with its connect, and not again with a repetition of it.
    #[test]
    fn a_wish_counts_when_its_connection_begins() {
        let status = |text| Some(Status::set_to(text).unwrap());
        let wished = |before: &UserState, event: Event, acceptance, wish: &Disclose, now| {
            let mut news = News::new(RULES);
            news.add_with(&event, acceptance, wish.clone(), now);
            JoinWrites::of(before, &news, &[], &alice(), now)
        };
        let shy = Disclose { status: status("here"), invisible: Some(true) };
        let writes = wished(&UserState::default(), connect("c-1", NOW), ON, &shy, NOW);
        assert!(writes.creates_user);
        let first = writes.state.unwrap();
        assert_eq!((first.revision, first.revision_for_others()), (NOW.as_millis() as u64, first.revision));
        let created_by = (first.created_by.clone(), first.webhook_enabled);
        assert_eq!(created_by, (Some(ChangeReason::Profile), true), "it does not tell that somebody came");
        let hidden = Hidden {
            online_generation: Generation::default(),
            last_active: None,
            status: None,
            revision: first.revision,
            as_of: first.as_of,
        };
        let expected = Disclosure { status: status("here").unwrap(), invisible: true, hidden: Some(hidden) };
        assert_eq!(first.disclosure, expected);

        // The user sets something else. What comes again says nothing, also after the connection's end.
        let mut since = first.clone();
        assert!(since.disclose(&Disclose { status: status("away"), invisible: Some(false) }, later(1)));
        assert_eq!(wished(&since, connect("c-1", NOW), ON, &shy, later(2)), JoinWrites::NONE);
        let ended = write(&since, disconnect("c-1", later(3)), ON, later(3)).state.unwrap();
        assert_eq!(wished(&ended, connect("c-1", NOW), ON, &shy, later(4)), JoinWrites::NONE);
        // It counts as well if a renewal of the connection came before its connect.
        let mut renewed = News::new(RULES);
        let renew = Event { kind: EventKind::Renew { lease: None }, ..connect("c-2", later(2)) };
        renewed.add(&renew, ON, later(2));
        let renewed = JoinWrites::of(&since, &renewed, &[], &alice(), later(2)).state.unwrap();
        let begun = wished(&renewed, connect("c-2", later(1)), ON, &shy, later(2)).state.unwrap();
        assert!(begun.disclosure.invisible);
        assert_eq!(wished(&begun, connect("c-2", later(1)), ON, &Disclose::default(), later(2)), JoinWrites::NONE);

        // The next connection's counts, also before its end is known, and while reachability is off.
        let next = wished(&ended, connect("c-2", later(5)), ON, &shy, later(5)).state.unwrap();
        assert_eq!((next.disclosure.invisible, &next.disclosure.status), (true, &expected.status));
        let late = write(&ended, disconnect("c-3", later(6)), ON, later(6)).state.unwrap();
        assert!(wished(&late, connect("c-3", later(5)), ON, &shy, later(6)).state.unwrap().disclosure.invisible);
        assert!(
            wished(&ended, connect("c-4", later(6)), Acceptance::Off, &shy, later(6))
                .state
                .unwrap()
                .disclosure
                .invisible
        );
        // One of before a deletion does not.
        let deleted = DeletionWrites::of(&ended, later(7)).state;
        assert_eq!(wished(&deleted, connect("c-5", later(7)), ON, &shy, later(8)), JoinWrites::NONE);
    }

    #[test]
    fn revisions_are_times_and_grow() {
        let mut state = UserState::default();
        for (n, (now, revision)) in [(5, 5), (5, 6), (5, 7), (3, 8), (100, 100)].into_iter().enumerate() {
            let now = Timestamp::from_millis(now);
            state = write(&state, connect(&format!("c-{n}"), NOW), ON, now).state.unwrap();
            assert_eq!(state.revision, revision);
        }
        assert_eq!(state.as_of, Timestamp::from_millis(100));
    }

    #[test]
    fn a_deletion_undoes_what_occurred_before_it() {
        let mut state = write(&UserState::default(), connect("c-1", NOW), ON, NOW).state.unwrap();
        let device = Sid::from_bits(5);
        let registration = Registration {
            registered_at: NOW,
            lifetime: Lifetime::YEAR,
            confirmed_at: None,
            asked_at: None,
            is_dead: false,
            death_reason: None,
        };
        assert_eq!(state.add_device(device, registration, None, NOW), None);
        let DeletionWrites { state: deleted, delete } = DeletionWrites::of(&state, later(10));
        assert_eq!(delete, [device]);
        assert_eq!((deleted.revision, deleted.as_of), (later(10).as_millis() as u64, later(10)));
        let rest = UserState { deleted_at: Some(later(10)), ..UserState::default() };
        assert_eq!(UserState { revision: 0, as_of: Timestamp::MIN, ..deleted.clone() }, rest);

        for at in [NOW, later(10)] {
            let late = write(&deleted, connect("c-2", at), ON, later(20));
            assert_eq!(late, JoinWrites::NONE);
        }
        // A connection that lives on creates the user again, and what is still to come from before does not return.
        let renewal = event("c-1", later(11), EventKind::Renew { lease: None });
        let again = write(&deleted, renewal, ON, later(20));
        assert!(again.creates_user);
        let again = again.state.unwrap();
        assert_eq!(again.deleted_at, Some(later(10)));
        assert_eq!(write(&again, connect("c-2", NOW), ON, later(21)).state, None);
        // Together with it neither.
        let events = [(connect("c-2", NOW), ON), (connect("c-1", later(11)), ON)];
        let both = JoinWrites::of(&deleted, &news(&events, later(20)), &[], &alice(), later(20)).state.unwrap();
        assert_eq!(both.presence.connections.len(), 1);
    }

    /// A gateway's clock is ahead of this server's.
    #[test]
    fn a_deletion_undoes_what_was_heard_before_it() {
        let ahead = connect("c-1", later(200));
        let state = write(&UserState::default(), ahead.clone(), ON, NOW).state.unwrap();
        let deleted = DeletionWrites::of(&state, later(1)).state;
        assert_eq!(deleted.deleted_at, Some(later(200)));
        assert_eq!(write(&deleted, ahead, ON, later(2)), JoinWrites::NONE);
        let renewal = event("c-1", later(260), EventKind::Renew { lease: None });
        assert!(write(&deleted, renewal, ON, later(60)).creates_user);
    }

    #[test]
    fn a_deletion_is_remembered_for_as_long_as_an_event_can_wait() {
        let mut state = UserState::default();
        state.create(&User::new(
            Sid::from_bits(7),
            event("c-1", NOW, EventKind::Renew { lease: None }).user,
            None,
            NOW,
        ));
        state.delete(NOW);
        let end = NOW.plus(KEEP_DELETION);
        let before_end = Timestamp::from_millis(end.as_millis() - 1);
        for (now, deleted_at) in [(before_end, Some(NOW)), (end, None)] {
            let state = write(&state, connect("c-1", now), ON, now).state.unwrap();
            assert_eq!(state.deleted_at, deleted_at);
        }
    }
}
