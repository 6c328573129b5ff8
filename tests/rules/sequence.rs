//! The number that orders what watchers hear of a user.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use proptest::collection::vec;
use proptest::prelude::*;
use reachability_domain::directory::configuration::{Configuration, Generation};
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::appearance::Viewer;
use reachability_domain::presence::change::Switched;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::presence::news::News;
use reachability_domain::presence::sequence::{of_switch, sequence};
use reachability_domain::presence::snapshot::UserSnapshot;
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::view::UserView;
use reachability_domain::sid::Sid;
use reachability_domain::time::Timestamp;
use reachability_tests::generate::users;
use reachability_tests::harness::{SETTINGS, new_service, rules};

/// 2026-01-01T00:00:00Z.
const FIRST: u64 = 1_767_225_600_000;

fn configuration(generation: u32, reachability_enabled: bool) -> Configuration {
    Configuration { reachability_enabled, generation: Generation(generation), ..Configuration::default() }
}

#[test]
fn switches_come_before_revisions() {
    let step = 1 << 40;
    for (generation, is_on, revision, expected) in [
        (0, false, 0, 0),
        (0, false, FIRST - 1, 0),
        (0, false, FIRST + 5, 5),
        (0, false, u64::MAX, step - 1),
        (1, true, 0, step),
        (1, false, FIRST + 1, 2 * step + 1),
        (2, true, FIRST, 3 * step),
        (4_000, true, FIRST + 7, 7_999 * step + 7),
    ] {
        assert_eq!(sequence(&configuration(generation, is_on), revision), expected, "{generation} {is_on} {revision}");
    }
    let last = sequence(&configuration(Configuration::MAX_GENERATION.0, false), u64::MAX);
    assert!(last < 1 << 53, "JavaScript reads every number");
}

/// What happens to a user, at a time of a clock that may jump.
#[derive(Debug, Clone, Copy)]
enum Step {
    Switch,
    Connect,
    Disconnect,
    Rename,
    /// Becomes invisible, or visible again.
    Disclose(bool),
    Delete,
}

fn step() -> impl Strategy<Value = (Step, i64)> {
    let step = prop_oneof![
        2 => Just(Step::Switch),
        4 => Just(Step::Connect),
        4 => Just(Step::Disconnect),
        2 => Just(Step::Rename),
        2 => any::<bool>().prop_map(Step::Disclose),
        1 => Just(Step::Delete),
    ];
    // From 2026 to 2060; often the same moment.
    let at = prop_oneof![1..5_i64, 1..1_000_000_000_000_i64];
    (step, at.prop_map(|millis| FIRST.cast_signed() + millis))
}

/// A service and one of its users.
struct World {
    service: Service,
    key: UserKey,
    state: UserState,
    profile: User,
    connections: u32,
}

impl World {
    /// Does a step. Returns the entry of the feed, if there is one.
    fn step(&mut self, step: Step, now: Timestamp) -> Option<FeedEntry> {
        let (before, configuration) = (self.state.clone(), self.service.configuration);
        match step {
            Step::Switch => {
                let service = self.service.clone();
                self.service.configuration.set_reachability_enabled(!configuration.reachability_enabled, now);
                return FeedEntry::of_service(Some(&service), Some(&self.service));
            }
            Step::Rename => {
                let profile = self.profile.clone();
                self.state.change_profile(now);
                self.profile.revision = self.state.revision;
                self.profile.friendly_name = Some(self.state.revision.to_string());
                return FeedEntry::of_profile(&configuration, &profile, &self.profile);
            }
            Step::Delete => self.state.delete(now),
            Step::Disclose(invisible) => {
                let wish = Disclose { invisible: Some(invisible), ..Disclose::default() };
                self.state.disclose(&wish, now);
            }
            Step::Connect | Step::Disconnect => {
                let kind = if matches!(step, Step::Connect) {
                    self.connections += 1;
                    EventKind::Connect { lease: None, device: None }
                } else {
                    EventKind::Disconnect { reason: EndReason::ClientClosed }
                };
                let connection = format!("c-{}", self.connections).parse().unwrap();
                let event = Event { user: self.key.clone(), connection, occurred_at: now, kind };
                let mut news = News::new(rules(SETTINGS));
                news.add(&event, Acceptance::now(&configuration), now);
                self.state.join(&news, self.profile.sid, now);
            }
        }
        FeedEntry::of_state(&self.key, &configuration, &before, &self.state)
    }

    fn view(&self, now: Timestamp, viewer: Viewer) -> UserView {
        let (configuration, user) = (self.service.configuration, self.profile.clone());
        UserView::of(&UserSnapshot { configuration, user, state: (&self.state).into() }, now, viewer)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    /// Whatever the clocks say.
    #[test]
    fn what_comes_later_has_a_higher_number(steps in vec(step(), 1..60)) {
        let key = users().remove(0);
        let profile = User::new(Sid::from_bits(7), key.clone(), None, Timestamp::default());
        let (service, state) = (new_service(key.service), UserState::default());
        let mut world = World { service, key, state, profile, connections: 0 };
        let (mut last, mut own) = (0, 0);
        for (step, at) in steps {
            let now = Timestamp::from_millis(at);
            let seen = world.view(now, Viewer::Other);
            prop_assert!(seen.sequence >= last);
            let by_user = world.view(now, Viewer::User);
            prop_assert!(by_user.sequence >= own);
            let Some(entry) = world.step(step, now) else { continue };
            if let Some(told) = entry.seen.as_ref().filter(|seen| seen.by_user.is_changed) {
                prop_assert!(told.by_user.sequence > own.max(by_user.sequence), "{step:?}: the user itself");
                own = told.by_user.sequence;
            }
            let view = world.view(now, Viewer::Other);
            if !entry.is_delivered() {
                // Who has read the user since the end of its connection is told that it is back.
                if let Some(told) = entry.seen.filter(|seen| seen.by_others.is_changed) {
                    prop_assert!(told.by_others.sequence > seen.sequence);
                    last = told.by_others.sequence;
                }
                prop_assert!(view.sequence >= seen.sequence.max(last));
                continue;
            }
            prop_assert!(entry.sequence > last.max(seen.sequence), "{step:?}: {} after {last}", entry.sequence);
            last = entry.sequence;
            prop_assert_eq!(view.reachability_enabled, world.service.configuration.reachability_enabled);
            match step {
                Step::Switch => {
                    prop_assert_eq!(last, of_switch(Switched::from(&world.service.configuration)));
                    prop_assert!(view.sequence >= last);
                }
                _ => prop_assert_eq!(view.sequence, last),
            }
        }
    }
}
