//! Invisible users, in everything that anybody can see of them: two services with the same story, in one of which john becomes
//! invisible and goes on living, while in the other john says goodbye at that moment.
#![allow(clippy::print_stdout, reason = "they are tests, which print their seeds")]

mod life;
mod names;
mod place;
mod questions;
mod still;
mod views;

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use tokio::time::sleep;

use self::life::{Deed, Event, Way};
use self::names::difference;
use self::place::{Place, World};
use self::questions::{CLIENT_LOOKS, LOOKS};
use self::views::view;
use crate::bad_input::ROUTES;

#[derive(Debug, Clone, Copy)]
enum Step {
    Deed(Deed),
    Event(Event),
}

/// How the story ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// John is there for everybody again.
    Show,
    /// John is deleted, and made again.
    Delete,
}

#[derive(Debug)]
struct Story {
    before: Vec<Step>,
    way: Way,
    after: Vec<Step>,
    end: End,
}

fn story() -> impl Strategy<Value = Story> {
    let status = || prop_oneof![Just(None), Just(Some("Lunch")), Just(Some("In a meeting"))];
    let deed = prop_oneof![
        4 => status().prop_map(Deed::Open),
        2 => Just(Deed::OpenVendors),
        2 => Just(Deed::Report),
        1 => Just(Deed::Renew),
        3 => any::<usize>().prop_map(Deed::Leave),
        2 => any::<usize>().prop_map(Deed::Cut),
        1 => Just(Deed::ComeBack),
        2 => status().prop_map(Deed::Say),
        1 => Just(Deed::Look),
    ];
    let event = prop_oneof![
        any::<u8>().prop_map(Event::Rename),
        any::<u8>().prop_map(Event::Color),
        (0..2_u8).prop_map(Event::Register),
        Just(Event::Unregister),
        Just(Event::SwitchOff),
        Just(Event::SwitchOn),
        Just(Event::Join),
        Just(Event::Part),
        Just(Event::JackComes),
        Just(Event::JackGoes),
    ];
    // What is told of a user who is seen online when reachability is switched on depends on when it is read.
    let first = event.clone().prop_filter("no switch", |event| !matches!(event, Event::SwitchOn));
    let before = prop_oneof![2 => deed.clone().prop_map(Step::Deed), 1 => first.prop_map(Step::Event)];
    let deed = prop_oneof![9 => deed, 1 => Just(Deed::SayAgain)];
    let after = prop_oneof![2 => deed.prop_map(Step::Deed), 1 => event.prop_map(Step::Event)];
    let way = prop_oneof![
        2 => status().prop_map(Way::Set),
        1 => Just(Way::OverRest),
        2 => status().prop_map(Way::Connect),
    ];
    let end = prop_oneof![2 => Just(End::Show), 1 => Just(End::Delete)];
    (vec(before, 1..6), way, vec(after, 1..8), end).prop_map(|(before, way, after, end)| Story {
        before,
        way,
        after,
        end,
    })
}

fn story_of(seed: u64) -> Story {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    story().new_tree(&mut TestRunner::new_with_rng(Config::default(), rng)).unwrap().current()
}

/// Nothing that is seen in the one place may tell it from the other.
#[track_caller]
fn assert_same(what: &str, hidden: (&Place<'_>, &Value), gone: (&Place<'_>, &Value)) {
    let [hidden, gone] = [hidden, gone].map(|(place, seen)| place.names.normal(seen));
    assert_eq!(difference(&hidden, &gone), None, "{what}");
}

/// Without what shows since when the connections are there of somebody who is seen again.
fn without_connections(view: &mut Value) {
    match view {
        Value::Object(fields) => {
            fields.remove("connections");
            fields.values_mut().for_each(without_connections);
        }
        Value::Array(items) => items.iter_mut().for_each(without_connections),
        _ => {}
    }
}

async fn tell(world: &World, Story { before, way, after, end }: Story) {
    let (mut hidden, mut gone) = (Place::new(world).await, Place::new(world).await);
    for step in before {
        both_begin(&mut hidden, &mut gone).await;
        match step {
            // While reachability is off no connection begins, so nothing says that who becomes invisible had one.
            Step::Deed(deed) if !hidden.is_on && !matches!(deed, Deed::Leave(_) | Deed::Look) => {}
            Step::Deed(deed) => {
                hidden.live(deed).await;
                gone.live(deed).await;
            }
            Step::Event(event) => both_happen(&mut hidden, &mut gone, event).await,
        }
    }
    hidden.remember().await;
    gone.remember().await;
    both_begin(&mut hidden, &mut gone).await;
    let was_said = hidden.secret.clone();
    hidden.hide(way).await;
    gone.leave_all().await;
    both_look(&format!("{way:?}"), &mut hidden, &mut gone).await;
    hidden.remember().await;
    gone.remember().await;
    let mut seen = both_look("as known", &mut hidden, &mut gone).await;
    for (number, step) in after.into_iter().enumerate() {
        let what = format!("{number}: {step:?}");
        hidden.begin().await;
        gone.begin().await;
        match step {
            Step::Deed(deed) => {
                hidden.live(deed).await;
                assert_eq!(difference(&seen, &view(&mut hidden).await), None, "{what}");
            }
            Step::Event(event) => {
                both_happen(&mut hidden, &mut gone, event).await;
                hidden.ask_for_now();
                gone.ask_for_now();
                seen = both_look(&what, &mut hidden, &mut gone).await;
            }
        }
    }
    both_begin(&mut hidden, &mut gone).await;
    both_happen(&mut hidden, &mut gone, Event::Join).await;
    let told = (hidden.told(false).await, gone.told(false).await);
    assert_same("what was told", (&hidden, &told.0), (&gone, &told.1));

    both_begin(&mut hidden, &mut gone).await;
    match end {
        End::Delete => {
            for place in [&mut hidden, &mut gone] {
                world.owner.delete(&place.path("Users/john")).await;
                place.devices.clear();
                world.settle().await;
            }
            // Over what john said before, too.
            both_begin(&mut hidden, &mut gone).await;
            for place in [&mut hidden, &mut gone] {
                let created = world.owner.post(&place.path("Users"), "Identity=john").await;
                place.is_another(created["sid"].as_str().unwrap());
            }
            both_look("made again", &mut hidden, &mut gone).await;
            let told = (hidden.told(true).await, gone.told(true).await);
            assert_same("what was told in the end", (&hidden, &told.0), (&gone, &told.1));
        }
        End::Show => {
            both_happen(&mut hidden, &mut gone, Event::SwitchOn).await;
            both_begin(&mut hidden, &mut gone).await;
            let status = hidden.secret.clone().filter(|status| Some(status) != was_said.as_ref());
            hidden.show(None).await;
            gone.show(status).await;
            let (mut of_hidden, mut of_gone) = (view(&mut hidden).await, view(&mut gone).await);
            for view in [&mut of_hidden, &mut of_gone] {
                without_connections(view);
                // A status that comes with a connect may be told apart from it.
                view.as_object_mut().unwrap().retain(|name, _| !name.contains("/Changes"));
            }
            assert_same("there again", (&hidden, &of_hidden), (&gone, &of_gone));
        }
    }
}

async fn both_begin(hidden: &mut Place<'_>, gone: &mut Place<'_>) {
    hidden.begin().await;
    gone.begin().await;
    hidden.ask_for_now();
    gone.ask_for_now();
}

async fn both_happen(hidden: &mut Place<'_>, gone: &mut Place<'_>, event: Event) {
    let answers = (hidden.happen(event).await, gone.happen(event).await);
    assert_same(&format!("{event:?}"), (hidden, &answers.0), (gone, &answers.1));
}

/// Returns what is seen of who is invisible.
async fn both_look(what: &str, hidden: &mut Place<'_>, gone: &mut Place<'_>) -> Value {
    let (of_hidden, of_gone) = (view(hidden).await, view(gone).await);
    assert_same(what, (hidden, &of_hidden), (gone, &of_gone));
    of_hidden
}

#[tokio::test]
async fn nobody_can_tell_an_invisible_user_from_one_who_said_goodbye() {
    // More with `REACHABILITY_INVISIBLE_RUNS`, or a certain one with `REACHABILITY_INVISIBLE_SEED`.
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let runs = number("REACHABILITY_INVISIBLE_RUNS").unwrap_or(6);
    let first =
        number("REACHABILITY_INVISIBLE_SEED").unwrap_or_else(|| UNIX_EPOCH.elapsed().unwrap().as_micros() as u64);
    let world = World::new().await;
    for seed in first..first + runs {
        let story = story_of(seed);
        println!("seed {seed}: {story:?}");
        // While somebody is online, what is seen of it changes at each quarter of an hour.
        let since_quarter = UNIX_EPOCH.elapsed().unwrap().as_secs() % 900;
        if since_quarter > 885 {
            sleep(Duration::from_secs(901 - since_quarter)).await;
        }
        tell(&world, story).await;
    }
}

/// A new route must say here what is looked at there, or that it shows nothing of users.
#[test]
fn every_route_is_looked_at() {
    let known: BTreeSet<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
    assert_eq!(known, LOOKS.iter().map(|(path, _)| *path).collect());

    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../functions/src/client");
    let mut of_clients = BTreeSet::new();
    for file in std::fs::read_dir(sources).unwrap() {
        let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for route in source.split(".route(").skip(1) {
            of_clients.insert(route.split('"').nth(1).expect("a path").replace("{{", "{").replace("}}", "}"));
        }
    }
    assert_eq!(of_clients, CLIENT_LOOKS.iter().map(|(path, _)| (*path).to_owned()).collect());
}

/// What is told of the two at the same moment has the same times, to the millisecond.
#[tokio::test]
async fn a_goodbye_and_becoming_invisible_take_effect_at_one_time() {
    let world = World::new().await;
    let service = world.owner.enabled_service().await;
    let mut jane = world.open(&service, "jane", json!({})).await;
    for round in 0..50 {
        let user = format!("user {round}");
        let mut socket = world.open(&service, &user, json!({})).await;
        jane.watch(&[&user]).await;
        if round % 2 == 0 {
            socket.ask("set_user", json!({"invisible": true})).await.ok();
        } else {
            socket.goodbye().await;
        }
        let event = jane.event("user.presence.changed").await;
        assert_eq!((&event["user"]["id"], &event["user"]["online"]), (&json!(user), &json!(false)));
        assert_eq!(event["user"]["last_active"], event["at"], "{user}");
    }
}
