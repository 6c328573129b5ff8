//! Invisible users: to others they look as if they had said goodbye.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use proptest::collection::vec;
use proptest::prelude::*;
use reachability_domain::directory::configuration::{Configuration, Generation};
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::change::Notice;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::presence::news::News;
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::status::Status;
use reachability_domain::push::lifetime::Lifetime;
use reachability_domain::push::registration::Registration;
use reachability_domain::sid::{BindingSid, Sid};
use reachability_domain::time::Timestamp;
use reachability_tests::generate::users;
use reachability_tests::harness::{SETTINGS, rules};

const START: i64 = 1_795_132_800_000;

/// In milliseconds: longer than a registration lasts.
const YEAR: i64 = 366 * 86_400_000;

/// What happens to a user.
#[derive(Debug, Clone)]
enum Step {
    Connect(u8),
    Renew(u8),
    Disconnect(u8, EndReason),
    /// A timer is due.
    Look,
    Say(Option<&'static str>),
    Register(u8),
    Unregister(u8),
    Rename,
    Switch,
}

impl Step {
    /// Whether a user who is gone could not do it, so that others must not see it.
    fn is_secret(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Renew(_) | Self::Disconnect(..) | Self::Look | Self::Say(_))
    }
}

fn step() -> impl Strategy<Value = (Step, i64)> {
    let reason =
        prop_oneof![Just(EndReason::ClientClosed), Just(EndReason::ConnectionLost), Just(EndReason::ServerClosed)];
    let step = prop_oneof![
        4 => (0..3_u8).prop_map(Step::Connect),
        2 => (0..3_u8).prop_map(Step::Renew),
        3 => (0..3_u8, reason).prop_map(|(number, reason)| Step::Disconnect(number, reason)),
        2 => Just(Step::Look),
        1 => prop_oneof![Just(None), Just(Some("away")), Just(Some("eating"))].prop_map(Step::Say),
        1 => (0..2_u8).prop_map(Step::Register),
        1 => (0..2_u8).prop_map(Step::Unregister),
        1 => Just(Step::Rename),
        1 => Just(Step::Switch),
    ];
    // Now and then registrations expire meanwhile.
    (step, prop_oneof![19 => 1..200_000_i64, 1 => Just(YEAR)])
}

/// A user in a service.
#[derive(Debug, Clone)]
struct World {
    key: UserKey,
    configuration: Configuration,
    state: UserState,
    /// Counts the opens of each connection: an id is used once.
    opened: [u32; 3],
    /// What was told.
    entries: Vec<FeedEntry>,
}

impl World {
    fn new() -> Self {
        let key = users().remove(0);
        let mut configuration = Configuration::default();
        configuration.set_reachability_enabled(true, Timestamp::from_millis(START));
        let mut state = UserState::default();
        state.create(&User::new(Sid::from_bits(7), key.clone(), None, Timestamp::from_millis(START)));
        Self { key, configuration, state, opened: [0; 3], entries: vec![] }
    }

    fn write(&mut self, write: impl FnOnce(&mut UserState)) {
        let before = self.state.clone();
        write(&mut self.state);
        self.entries.extend(FeedEntry::of_state(&self.key, &self.configuration, &before, &self.state));
    }

    fn latest(&self, number: u8) -> (u8, u32) {
        (number, self.opened[usize::from(number)])
    }

    fn join(&mut self, events: impl IntoIterator<Item = ((u8, u32), EventKind)>, now: Timestamp) {
        let mut news = News::new(rules(SETTINGS));
        for ((number, open), kind) in events {
            let connection = format!("c-{number}-{open}").parse().unwrap();
            let event = Event { user: self.key.clone(), connection, occurred_at: now, kind };
            news.add(&event, Acceptance::now(&self.configuration), now);
        }
        self.join_news(&news, now);
    }

    fn join_news(&mut self, news: &News, now: Timestamp) {
        self.write(|state| {
            state.join(news, Sid::from_bits(7), now);
        });
    }

    /// A new connection, with a wish. Returns what was joined.
    fn connect_with(&mut self, number: u8, wish: &Disclose, now: Timestamp) -> News {
        self.opened[usize::from(number)] += 1;
        let connection = format!("c-{number}-{}", self.latest(number).1).parse().unwrap();
        let kind = EventKind::Connect { lease: None, device: None };
        let event = Event { user: self.key.clone(), connection, occurred_at: now, kind };
        let mut news = News::new(rules(SETTINGS));
        news.add_with(&event, Acceptance::now(&self.configuration), wish.clone(), now);
        self.join_news(&news, now);
        news
    }

    /// Every connection says goodbye, in one write.
    fn leave(&mut self, now: Timestamp) {
        let opened = self.opened;
        let all = (0..3).flat_map(|number| (0..=opened[usize::from(number)]).map(move |open| (number, open)));
        self.join(all.map(|it| (it, EventKind::Disconnect { reason: EndReason::ClientClosed })), now);
    }

    fn disclose(&mut self, wish: &Disclose, now: Timestamp) {
        self.write(|state| {
            state.disclose(wish, now);
        });
    }

    fn step(&mut self, step: &Step, now: Timestamp) {
        let device = |number: &u8| BindingSid::from_bits(u128::from(*number) + 9);
        let generation = Some(self.configuration.generation).filter(|it| *it > Generation::default());
        match step {
            Step::Connect(number) => {
                self.opened[usize::from(*number)] += 1;
                self.join([(self.latest(*number), EventKind::Connect { lease: None, device: None })], now);
            }
            Step::Renew(number) => self.join([(self.latest(*number), EventKind::Renew { lease: None })], now),
            Step::Disconnect(number, reason) => {
                self.join([(self.latest(*number), EventKind::Disconnect { reason: *reason })], now);
            }
            Step::Look => self.join([], now),
            Step::Say(status) => {
                let status = Some(status.and_then(|text| Status::set_to(text).unwrap()));
                self.disclose(&Disclose { status, invisible: None }, now);
            }
            Step::Register(number) => {
                let registration = Registration {
                    registered_at: now,
                    lifetime: Lifetime::YEAR,
                    confirmed_at: None,
                    asked_at: None,
                    is_dead: false,
                    death_reason: None,
                };
                self.write(|state| {
                    state.add_device(device(number), registration, generation, now);
                });
            }
            Step::Unregister(number) => self.write(|state| state.remove_device(device(number), now)),
            Step::Rename => self.write(|state| state.change_profile(now)),
            Step::Switch => {
                let is_on = self.configuration.reachability_enabled;
                self.configuration.set_reachability_enabled(!is_on, now);
            }
        }
    }

    fn seen(&self, now: Timestamp, viewer: Viewer) -> Appearance {
        Appearance::of(&self.configuration, &self.state, now, viewer)
    }

    /// What anybody but the user itself was told, from this entry on.
    fn told(&self, from: usize) -> Vec<FeedEntry> {
        let told = self.entries[from..].iter().filter(|entry| entry.is_delivered());
        told.map(|entry| FeedEntry { seen: None, ..entry.clone() }).collect()
    }
}

const INVISIBLE: Disclose = Disclose { status: None, invisible: Some(true) };
const VISIBLE: Disclose = Disclose { status: None, invisible: Some(false) };

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

    /// One user becomes invisible, another one like it says goodbye. Nobody can tell them apart, whatever the first one does then.
    #[test]
    fn an_invisible_user_looks_as_if_it_had_said_goodbye(
        before in vec(step(), 0..12),
        after in vec(step(), 0..24),
        with_status in any::<bool>(),
        with_connect in any::<bool>(),
    ) {
        let mut hidden = World::new();
        let mut now = START;
        for (step, later) in &before {
            now += later;
            hidden.step(step, Timestamp::from_millis(now));
        }
        now += 1_000;
        let mut gone = hidden.clone();
        let at = Timestamp::from_millis(now);
        // Where an end has passed of which nobody was told yet, both tell it now.
        let (from, live_until) = (hidden.entries.len(), hidden.state.presence.live_until());
        let status = with_status.then(|| Some(Status::set_to("secret").unwrap().unwrap()));
        let wish = Disclose { status, ..INVISIBLE };
        if with_connect {
            hidden.connect_with(0, &wish, at);
        } else {
            hidden.disclose(&wish, at);
        }
        if at < live_until {
            gone.leave(at);
        } else {
            gone.join([], at);
        }
        for (step, later) in &after {
            let at = Timestamp::from_millis(now);
            prop_assert_eq!(hidden.told(from), gone.told(from));
            prop_assert_eq!(hidden.seen(at, Viewer::Other), gone.seen(at, Viewer::Other));
            // Between the steps too.
            let between = Timestamp::from_millis(now + later / 2);
            prop_assert_eq!(hidden.seen(between, Viewer::Other), gone.seen(between, Viewer::Other));
            now += later;
            let at = Timestamp::from_millis(now);
            hidden.step(step, at);
            if !step.is_secret() {
                gone.step(step, at);
            }
        }
        // Once it is visible, what is true is seen: as if it had connected now, or had never been there.
        now += 1_000;
        let at = Timestamp::from_millis(now);
        let (is_live, is_on) = (at < hidden.state.presence.live_until(), hidden.configuration.reachability_enabled);
        let in_generation = hidden.state.presence.online_generation == hidden.configuration.generation;
        let last_seen = gone.seen(at, Viewer::Other);
        hidden.disclose(&VISIBLE, at);
        let seen = hidden.seen(at, Viewer::Other);
        if is_live && is_on && in_generation {
            prop_assert_eq!((seen.reachability.online, seen.last_active), (Some(true), Some(at)));
        } else if !is_live {
            prop_assert_eq!((seen.reachability, seen.last_active), (last_seen.reachability, last_seen.last_active));
        }
        prop_assert_eq!(&seen.status, &hidden.state.disclosure.status);
    }

    /// What is wished with a connect is so before it, and others hear of both at once.
    #[test]
    fn a_wish_with_a_connect_is_one_change(
        before in vec((step(), proptest::option::weighted(0.2, any::<bool>())), 0..16),
        status in proptest::option::of(prop_oneof![Just("away"), Just("eating"), Just("")]),
        invisible in any::<Option<bool>>(),
        number in 0..3_u8,
        later in 0..400_000_i64,
    ) {
        let mut one = World::new();
        let mut now = START;
        for ((step, later), invisible) in &before {
            now += later;
            one.step(step, Timestamp::from_millis(now));
            one.disclose(&Disclose { status: None, invisible: *invisible }, Timestamp::from_millis(now));
        }
        now += 1_000;
        let at = Timestamp::from_millis(now);
        let wish = Disclose { status: status.map(|text| Status::set_to(text).unwrap()), invisible };
        let (mut two, from, seen) = (one.clone(), one.entries.len(), one.seen(at, Viewer::Other));
        let was_gone = one.state.disclosure.hidden.is_some() || one.state.presence.live_until() <= one.state.as_of;
        let news = one.connect_with(number, &wish, at);
        two.disclose(&wish, at);
        two.step(&Step::Connect(number), at);

        for at in [at, Timestamp::from_millis(now + later)] {
            for viewer in [Viewer::Other, Viewer::User, Viewer::Owner] {
                let plain = |world: &World| Appearance { revision: 0, ..world.seen(at, viewer) };
                prop_assert_eq!(plain(&one), plain(&two));
            }
        }
        let changes = |world: &World| -> Vec<_> {
            let notices = world.told(from).into_iter().filter_map(|entry| entry.notice);
            notices.map(|it| if let Notice::User(change) = it { (change.before, change.after) } else { panic!() }).collect()
        };
        let (told, in_two) = (changes(&one), changes(&two));
        let both = in_two.first().zip(in_two.last()).map(|(first, last)| (first.0.clone(), last.1.clone()));
        prop_assert_eq!(told, Vec::from_iter(both));
        if one.state.disclosure.invisible && was_gone {
            prop_assert_eq!(one.seen(at, Viewer::Other), seen, "nothing tells that somebody came");
        }
        // If it is repeated, it does not undo what the user set since.
        if one.configuration.reachability_enabled {
            one.disclose(&Disclose { invisible: Some(!one.state.disclosure.invisible), status: None }, at);
            let since = one.state.clone();
            one.join_news(&news, at);
            prop_assert_eq!(&one.state, &since);
        }
    }

    /// The truth is for the user, and for the owner who asks for it.
    #[test]
    fn the_user_itself_sees_the_truth(steps in vec((step(), any::<Option<bool>>()), 0..24)) {
        let (mut one, mut plain) = (World::new(), World::new());
        let mut now = START;
        for ((step, later), invisible) in &steps {
            now += later;
            let at = Timestamp::from_millis(now);
            one.disclose(&Disclose { status: None, invisible: *invisible }, at);
            one.step(step, at);
            plain.step(step, at);
            for viewer in [Viewer::User, Viewer::Owner] {
                let (seen, truth) = (one.seen(at, viewer), plain.seen(at, Viewer::Other));
                prop_assert_eq!((seen.reachability, &seen.status), (truth.reachability, &truth.status));
                prop_assert_eq!(seen.invisible, one.state.disclosure.invisible);
            }
            prop_assert!(!one.seen(at, Viewer::Other).invisible);
        }
    }

    /// (Unless a renewal says that a lease had not ended.)
    #[test]
    fn last_active_never_goes_back(
        steps in vec(step().prop_filter("no renewal", |(step, _)| !matches!(step, Step::Renew(_))), 0..24),
    ) {
        let mut world = World::new();
        let (mut now, mut last) = (START, None);
        for (step, later) in &steps {
            for part in 1..4 {
                let at = Timestamp::from_millis(now + later * part / 4);
                if let Some(active) = world.seen(at, Viewer::Other).last_active {
                    prop_assert!(last <= Some(active), "{last:?} {active:?}");
                    prop_assert!(active <= at);
                    last = Some(active);
                }
            }
            now += later;
            world.step(step, Timestamp::from_millis(now));
        }
    }
}

#[test]
fn becoming_invisible_is_told_as_a_goodbye() {
    let at = |seconds: i64| Timestamp::from_millis(START + seconds * 1_000);
    let mut world = World::new();
    world.step(&Step::Connect(0), at(1));
    world.disclose(&INVISIBLE, at(100));
    let Some(Notice::User(change)) = world.entries.last().unwrap().notice.clone() else { panic!("nobody was told") };
    assert_eq!(change.after.reachability.online, Some(false));
    assert_eq!(change.reasons.is_online.unwrap().to_string(), "client_closed");
    let seen = world.seen(at(200), Viewer::Other);
    assert_eq!((seen.reachability.online, seen.last_active), (Some(false), Some(at(100))));
    let own = world.entries.last().unwrap().seen.clone().unwrap().by_user;
    assert!(own.is_changed && !own.is_reachability_changed);

    let told = world.told(0).len();
    world.step(&Step::Disconnect(0, EndReason::ClientClosed), at(110));
    world.step(&Step::Connect(1), at(120));
    world.step(&Step::Say(Some("away")), at(130));
    assert_eq!(world.told(0).len(), told);
    assert!(world.entries.last().unwrap().seen.is_some(), "the user's own sockets hear of it");
    assert_eq!(world.seen(at(131), Viewer::Other).status, None);
    world.disclose(&VISIBLE, at(140));
    let Some(Notice::User(change)) = world.entries.last().unwrap().notice.clone() else { panic!("nobody was told") };
    assert_eq!((change.after.reachability.online, change.after.status.unwrap().as_str()), (Some(true), "away"));
}

/// Whoever connects as an invisible user is seen by nobody, and leaves no trace.
#[test]
fn an_invisible_connect_shows_nothing() {
    let at = |seconds: i64| Timestamp::from_millis(START + seconds * 1_000);
    let mut world = World::new();
    let never = world.seen(at(1), Viewer::Other);
    world.disclose(&INVISIBLE, at(1));
    world.step(&Step::Connect(0), at(2));
    world.step(&Step::Disconnect(0, EndReason::ClientClosed), at(3));
    world.disclose(&VISIBLE, at(4));
    assert_eq!(world.told(0), []);
    assert_eq!(world.seen(at(5), Viewer::Other), never);
    assert_eq!(world.seen(at(5), Viewer::Owner).last_active, Some(at(3)));
    world.step(&Step::Connect(1), at(6));
    let seen = world.seen(at(7), Viewer::Other);
    assert_eq!((seen.reachability.online, seen.last_active), (Some(true), Some(at(6))));
}

/// What time alone does to an invisible user is told no sooner than it would be if the user were gone.
#[test]
fn an_expiry_is_not_told_because_an_invisible_user_does_something() {
    let at = |seconds: i64| Timestamp::from_millis(START + seconds * 1_000);
    let later = |seconds: i64| Timestamp::from_millis(START + YEAR + seconds * 1_000);
    let mut world = World::new();
    world.step(&Step::Register(0), at(1));
    world.step(&Step::Connect(0), at(2));
    world.disclose(&INVISIBLE, at(3));
    let told = world.told(0).len();
    world.step(&Step::Connect(1), later(0));
    world.step(&Step::Say(Some("away")), later(1));
    world.step(&Step::Disconnect(1, EndReason::ClientClosed), later(2));
    assert_eq!(world.told(told), []);
    world.step(&Step::Rename, later(3));
    let Some(Notice::User(change)) = world.entries.last().unwrap().notice.clone() else { panic!("nobody was told") };
    assert_eq!((change.after.reachability.notifiable, change.at), (Some(false), later(3)));
}
