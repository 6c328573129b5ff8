use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const IDS: [&str; 3] = ["john", "jack", "jill"];

fn user(id: &str, revision: u64) -> User {
    let created_at = Some("2019-01-07T13:17:42.375Z".to_owned());
    User { online: Some(revision.is_multiple_of(2)), created_at, ..User::absent(id.into(), revision) }
}

fn ids<'a>(events: &'a [Event], wanted: fn(&Event) -> bool) -> Vec<&'a str> {
    let id = |event: &'a Event| match event {
        Event::MemberAdded { user, .. } | Event::PresenceChanged { user, .. } => &*user.id,
        Event::MemberRemoved { id, .. } | Event::UserDeleted { id, .. } => &**id,
        event => panic!("{event:?}"),
    };
    events.iter().filter(|event| wanted(event)).map(id).collect()
}

/// Begins a watch of these users as the answer to `query_users` does.
fn watch(book: &mut Book, number: u64, users: impl IntoIterator<Item = User>) -> Vec<Event> {
    let mut events = Vec::new();
    book.awaits();
    let users: Vec<_> = users.into_iter().map(|user| book.learn(user, Source::Answer, None, &mut events)).collect();
    book.watch(Target::Users, number, &users, [].into_iter());
    book.awaits_no_more();
    events
}

/// The same of a channel.
fn watch_channel(book: &mut Book, number: u64, cid: &str, members: &[&str]) -> Vec<Arc<str>> {
    let mut events = Vec::new();
    book.awaits();
    for id in members {
        book.learn(user(id, 1), Source::Answer, None, &mut events);
    }
    answer_channel(book, number, cid, members)
}

fn answer_channel(book: &mut Book, number: u64, cid: &str, members: &[&str]) -> Vec<Arc<str>> {
    let mut list: Vec<Arc<str>> = members.iter().map(|&id| id.into()).collect();
    let cid: Arc<str> = cid.into();
    book.watch(Target::Channels, number, &[], [(&cid, &mut list)].into_iter());
    book.awaits_no_more();
    list
}

#[derive(Debug, Clone)]
enum Step {
    Heard(usize, u64, Source),
    Watched(Vec<(usize, u64)>),
    Deleted(usize, u64),
    Restored(usize, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let source = prop_oneof![Just(Source::Answer), Just(Source::Presence), Just(Source::Profile)];
    let heard = (0..3_usize, 1..30_u64, source).prop_map(|(id, revision, source)| Step::Heard(id, revision, source));
    let watched = vec((0..3_usize, 1..30_u64), 0..4).prop_map(Step::Watched);
    let deleted = (0..3_usize, 1..30_u64).prop_map(|(id, revision)| Step::Deleted(id, revision));
    let restored = (0..3_usize, 0..30_u64).prop_map(|(id, revision)| Step::Restored(id, revision));
    vec(prop_oneof![8 => heard, 1 => watched, 1 => deleted, 2 => restored], 0..60)
}

proptest! {
    #[test]
    fn whatever_comes_in_whatever_order_no_older_revision_is_told_after_a_newer_one_and_none_twice(steps in steps()) {
        let mut book = Book::new(user("me", 1));
        let mut told: HashMap<Arc<str>, u64> = HashMap::new();
        let mut newest: HashMap<Arc<str>, u64> = HashMap::new();
        watch(&mut book, 1, IDS.map(|id| user(id, 0)));
        for (number, step) in (2..).zip(steps) {
            let mut events = Vec::new();
            let mut seen = |id: &str, revision: u64| {
                let newest = newest.entry(id.into()).or_default();
                *newest = revision.max(*newest);
            };
            match step {
                Step::Heard(id, revision, source) => {
                    seen(IDS[id], revision);
                    book.learn(user(IDS[id], revision), source, None, &mut events);
                }
                Step::Watched(users) => {
                    users.iter().for_each(|&(id, revision)| seen(IDS[id], revision));
                    events = watch(&mut book, number, users.into_iter().map(|(id, revision)| user(IDS[id], revision)));
                }
                Step::Deleted(id, revision) => {
                    seen(IDS[id], revision);
                    book.user_deleted(&IDS[id].into(), Some(revision), None, &mut events);
                }
                Step::Restored(id, revision) => {
                    seen(IDS[id], revision);
                    book.restored_user(user(IDS[id], revision), &mut events);
                }
            }
            for event in &events {
                if let Event::PresenceChanged { user, .. } = event {
                    let last = told.insert(user.id.clone(), user.revision);
                    prop_assert!(last.is_none_or(|last| last < user.revision), "{last:?} {event:?}");
                }
            }
        }
        for (id, revision) in newest {
            prop_assert_eq!(book.known(&id).map(|known| known.user.revision), Some(revision));
        }
    }
}

#[test]
fn the_time_of_the_last_activity_moves_on_without_an_event() {
    let at = |online: bool, minute: u64| {
        let last_active = Some(format!("2026-06-01T00:{minute}:00.000Z"));
        User { online: Some(online), last_active, ..user("john", minute) }
    };
    let mut book = Book::new(user("me", 1));
    watch(&mut book, 1, [at(true, 10)]);
    assert_eq!(watch(&mut book, 2, [at(true, 15)]), []);
    assert_eq!(book.known("john").unwrap().user.last_active, at(true, 15).last_active);
    // The end of an activity is a change.
    assert_eq!(watch(&mut book, 3, [at(false, 16)]).len(), 1);
    assert_eq!(watch(&mut book, 4, [at(false, 20)]).len(), 1);
}

#[test]
fn a_user_is_known_as_long_as_a_watch_has_it() {
    let mut book = Book::new(user("me", 1));
    watch(&mut book, 1, [user("john", 1), user("jack", 1)]);
    watch(&mut book, 2, [user("john", 1)]);
    watch_channel(&mut book, 3, "messaging:general", &["jill", "me"]);
    book.unwatch(1);
    assert!(book.known("john").is_some());
    assert!(book.known("jack").is_none());
    book.unwatch(3);
    assert!(book.known("jill").is_none());
    book.unwatch(2);
    assert!(book.known("john").is_none());
    assert!(book.known("me").is_some());
    assert!(book.plan(usize::MAX).is_empty());
}

#[test]
fn two_watches_of_one_channel_are_one_list_until_the_last_is_stopped() {
    let mut book = Book::new(user("me", 1));
    watch_channel(&mut book, 1, "messaging:general", &["john", "me"]);
    watch_channel(&mut book, 2, "messaging:general", &["john", "me"]);
    book.unwatch(1);
    let mut events = Vec::new();
    book.member_added("messaging:general".into(), user("jack", 1), &mut events);
    assert_eq!(ids(&events, |_| true), ["jack"]);
    book.unwatch(2);
    book.member_added("messaging:general".into(), user("jill", 1), &mut events);
    assert_eq!(events.len(), 1);
    assert!(book.known("jill").is_none());
}

#[test]
fn an_event_before_its_answer_is_told_and_the_answer_is_not_older() {
    let mut book = Book::new(user("me", 1));
    let mut events = Vec::new();
    book.awaits();
    book.learn(user("john", 7), Source::Presence, None, &mut events);
    assert_eq!(ids(&events, |_| true), ["john"]);
    assert_eq!(book.learn(user("john", 6), Source::Answer, None, &mut events).revision, 7);
    assert_eq!(events.len(), 1);
}

#[test]
fn who_joins_or_leaves_while_the_list_is_on_its_way_is_in_it_or_not() {
    let mut book = Book::new(user("me", 1));
    let mut events = Vec::new();
    book.awaits();
    book.member_added("messaging:general".into(), user("jill", 1), &mut events);
    book.member_removed("messaging:general".into(), "jack".into(), &mut events);
    book.member_added("messaging:other".into(), user("joe", 1), &mut events);
    assert_eq!(answer_channel(&mut book, 1, "messaging:general", &["john", "jack"]), ["john".into(), "jill".into()]);
    assert!(events.is_empty());
    assert!(book.known("jill").is_some());
    assert!(book.known("joe").is_none(), "of another channel");

    // The next list has nothing to do with it.
    assert_eq!(watch_channel(&mut book, 2, "messaging:general", &["john", "jack"]), ["john".into(), "jack".into()]);
}

#[test]
fn members_who_moved_while_the_client_was_away_are_told_once() {
    let mut book = Book::new(user("me", 1));
    watch_channel(&mut book, 1, "messaging:general", &["john", "jack"]);
    book.connection_lost();

    let mut events = Vec::new();
    book.awaits();
    book.restored_user(user("jill", 1), &mut events);
    book.member_added("messaging:general".into(), user("joe", 1), &mut events);
    let list = ["john", "jill"].map(Arc::from).to_vec();
    book.restored(HashMap::from([("messaging:general".into(), list)]), Vec::new(), &mut events);
    book.awaits_no_more();
    let mut added = ids(&events, |event| matches!(event, Event::MemberAdded { .. }));
    added.sort_unstable();
    assert_eq!(added, ["jill", "joe"]);
    assert_eq!(ids(&events, |event| matches!(event, Event::MemberRemoved { .. })), ["jack"]);
    assert_eq!(events.len(), 3);
    assert!(book.known("jack").is_none());
}

#[test]
fn a_deleted_user_is_told_once_and_is_a_new_one_afterwards() {
    let mut book = Book::new(user("me", 1));
    watch(&mut book, 1, [user("john", 5)]);
    let mut events = Vec::new();
    book.user_deleted(&"john".into(), None, None, &mut events);
    book.restored_user(User::absent("john".into(), 0), &mut events);
    assert_eq!(ids(&events, |_| true), ["john"]);
    assert_eq!(book.known("john").map(|known| (known.user.created_at.clone(), known.user.online)), Some((None, None)));
    book.learn(user("john", 4), Source::Presence, None, &mut events);
    assert_eq!(events.len(), 1);
    book.learn(user("john", 6), Source::Presence, None, &mut events);
    assert_eq!(events.len(), 2);
}

/// What is told may overtake an answer, and an answer what is told.
#[test]
fn a_deletion_is_older_than_the_user_who_is_there_again() {
    let (john, deleted) = (Arc::from("john"), Some(6));
    let online = |book: &Book| book.known("john").and_then(|known| known.user.online);
    let mut book = Book::new(user("me", 1));
    watch(&mut book, 1, [user("john", 5)]);
    let mut events = watch(&mut book, 2, [user("john", 8)]);
    book.user_deleted(&john, deleted, None, &mut events);
    book.learn(user("john", 8), Source::Presence, None, &mut events);
    assert_eq!((ids(&events, |_| true), online(&book)), (vec!["john"], Some(true)));

    // An answer that was made before the deletion.
    let mut book = Book::new(user("me", 1));
    let mut events = Vec::new();
    book.awaits();
    book.user_deleted(&john, deleted, None, &mut events);
    watch(&mut book, 1, [user("john", 4)]);
    assert_eq!((events.len(), online(&book)), (0, None));
    // One that is older than what was told of the new user.
    book.connection_lost();
    book.awaits();
    book.learn(user("john", 8), Source::Presence, None, &mut events);
    book.restored_user(User::absent(john, 0), &mut events);
    book.awaits_no_more();
    assert_eq!((events.len(), online(&book)), (1, Some(true)));
}

#[test]
fn changes_of_the_own_user_are_told_to_who_watches_it() {
    let mut book = Book::new(User { invisible: Some(true), ..user("me", 1) });
    let mut events = Vec::new();
    book.learn(user("me", 2), Source::Answer, None, &mut events);
    assert!(events.is_empty());
    assert_eq!(book.own().user.invisible, Some(true));
    watch(&mut book, 1, [user("me", 2)]);
    book.learn(user("me", 3), Source::Answer, None, &mut events);
    assert_eq!(ids(&events, |_| true), ["me"]);
}

#[test]
fn a_change_of_everything_at_once_is_told_as_both_events() {
    let mut book = Book::new(user("me", 1));
    watch(&mut book, 1, [user("john", 1)]);
    let mut events = Vec::new();
    let renamed = User { name: Some("John".to_owned()), ..user("john", 2) };
    book.learn(renamed.clone(), Source::Presence, None, &mut events);
    book.learn(renamed, Source::Profile, None, &mut events);
    assert!(matches!(&events[..], [Event::PresenceChanged { .. }, Event::UserUpdated { .. }]), "{events:?}");
}

#[test]
fn what_is_restored_is_in_steps_that_each_fit_and_together_are_everything() {
    let mut book = Book::new(user("me", 1));
    let ids: Vec<String> = (0..1_000).map(|n| format!("{n:050}\n\u{e9}\"")).collect();
    watch(&mut book, 1, ids.iter().map(|id| user(id, (1 << 53) - 1)));
    watch(&mut book, 2, []);
    watch(&mut book, 3, ids.iter().take(300).map(|id| user(id, 1)));
    watch_channel(&mut book, 4, "messaging:general", &["john", "jack"]);
    for limit in [10_000, 100_000, usize::MAX] {
        let plan = book.plan(limit);
        assert_eq!(plan.len() == 1, limit == usize::MAX);
        let mut watched: BTreeMap<u64, usize> = BTreeMap::new();
        let mut known = HashSet::new();
        for step in &plan {
            let restore = book.restore(step);
            assert!(crate::request::encode(1 << 52, &restore, limit).is_ok());
            for RestoredWatch { watch, users, channels } in &restore.watches {
                *watched.entry(*watch).or_default() += users.as_ref().or(channels.as_ref()).map_or(0, Vec::len);
                let ids = users.iter().flatten().copied().chain(channels.iter().flat_map(|_| ["john", "jack"]));
                assert!(ids.into_iter().all(|id| restore.known.contains_key(id)), "what it names, it knows");
            }
            known.extend(restore.known.into_keys());
        }
        assert_eq!(watched, BTreeMap::from([(1, 1_000), (3, 300), (4, 1)]));
        assert_eq!(known.len(), 1_002);
    }
}
