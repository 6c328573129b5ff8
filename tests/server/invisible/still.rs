//! What is seen of somebody who is invisible does not move.

use reachability_infra::clock;
use reachability_tests::wait::wait;
use serde_json::json;

use super::life::{Deed, Way};
use super::names::difference;
use super::place::{Place, World};
use super::views::view;

const DEEDS: [Deed; 12] = [
    Deed::Open(Some("more secret")),
    Deed::OpenVendors,
    Deed::Report,
    Deed::Renew,
    Deed::Look,
    Deed::ComeBack,
    Deed::Say(None),
    Deed::SayAgain,
    Deed::Leave(0),
    Deed::Cut(0),
    Deed::Leave(1),
    Deed::Leave(0),
];

/// Not even a date that is shown in seconds.
#[tokio::test]
async fn nothing_moves_while_a_user_is_invisible() {
    let world = World::new().await;
    let mut place = Place::new(&world).await;
    place.begin().await;
    place.live(Deed::Open(None)).await;
    place.begin().await;
    place.hide(Way::Set(Some("secret"))).await;
    place.remember().await;
    let seen = view(&mut place).await;
    let second = || clock::now().as_millis() / 1_000;
    let before = second();
    wait("the next second", async || (before < second()).then_some(())).await;
    for deed in DEEDS {
        place.live(deed).await;
        assert_eq!(difference(&seen, &view(&mut place).await), None, "{deed:?}");
    }
    let told = place.told(false).await;
    let changes = told["jane"].as_array().unwrap();
    let kinds: Vec<_> = changes.iter().map(|change| (&change["type"], &change["user"]["online"])).collect();
    let presence = json!("user.presence.changed");
    assert_eq!(
        kinds,
        [(&presence, &json!(true)), (&presence, &json!(false)), (&json!("user.updated"), &json!(false))],
        "{changes:?}"
    );
}

/// That there is such a user is no secret; that it is there now is one.
#[tokio::test]
async fn who_was_never_visible_shows_only_that_it_exists() {
    let world = World::new().await;
    let mut place = Place::new(&world).await;
    world.owner.delete(&place.path("Users/john")).await;
    place.begin().await;
    place.hide(Way::Connect(Some("secret"))).await;
    let john = world.owner.get(&place.path("Users/john")).await;
    place.is_another(john["sid"].as_str().unwrap());
    let seen = view(&mut place).await;
    let shown = world.owner.get(&place.path("Presence/john")).await;
    for field in ["online", "last_active", "status", "notifiable"] {
        assert_eq!(shown[field], json!(null), "{field}: {shown}");
    }
    assert_eq!(shown["connections"], json!([]));
    for deed in DEEDS {
        place.live(deed).await;
        assert_eq!(difference(&seen, &view(&mut place).await), None, "{deed:?}");
    }
    // Nobody is told more of it than of a user who is created.
    let told = place.told(true).await;
    let kinds = told["jane"].as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.map(|change| (&change["type"], &change["user"]["online"])).collect();
    let (deleted, presence, updated) = (json!("user.deleted"), json!("user.presence.changed"), json!("user.updated"));
    let null = json!(null);
    assert_eq!(kinds, [(&deleted, &null), (&presence, &null), (&updated, &null)]);
}
