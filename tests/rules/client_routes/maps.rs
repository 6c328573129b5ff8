//! The maps in which clients read users.

use reachability_domain::directory::user::User;
use reachability_domain::presence::map::{FoundMap, UserMap};
use reachability_domain::presence::reachability::Reachability;
use reachability_functions::client::read_maps;
use serde_json::{Value, json};

use super::{Door, error, on_both_stores, service};

on_both_stores![
    a_map_shows_a_user,
    a_map_can_be_named_in_two_ways,
    items_are_listed_by_key,
    nulls_are_shown_while_reachability_is_off,
    maps_of_others_are_missing,
    maps_are_read_for_a_subscription,
    the_sequence_grows_with_every_change,
];

fn info(user: &User) -> String {
    UserMap::Info(user.sid).sid().to_string()
}

/// The data of the items, by their keys.
fn data(map: &Value) -> Value {
    let items = map["items"].as_array().unwrap();
    items.iter().map(|item| (item["key"].as_str().unwrap().to_owned(), item["data"].clone())).collect()
}

async fn a_map_shows_a_user(door: Door) {
    let (alice, _) = (door.connect(1, "alice").await, door.connect(1, "bob").await);
    let path = "/Client/v2/Users/bob";
    let (status, _) = door
        .send(&super::client(1, "bob"), "POST", path, r#"{"friendly_name": "Böb", "attributes": "{\"a\": 1}"}"#)
        .await;
    assert_eq!(status, 200);
    door.disconnect(1, "bob").await;
    let bob = door.user(1, "bob").await;
    let (sid, base) = (info(&bob), "https://reachability.invalid/v3/Maps");
    let mut map = door.read(&alice, &format!("/v3/Maps/{sid}?Include=items")).await;
    assert_eq!(
        data(&map),
        json!({
            "friendlyName": {"value": "Böb"},
            "attributes": {"value": "{\"a\": 1}"},
            "reachability": {"type": "ReachabilityInfo", "online": false, "notifiable": null},
        })
    );
    let sequence = map["last_event_id"].as_u64().unwrap();
    assert!(sequence > 1 << 40 && sequence < 1 << 53, "{sequence}");
    for item in map["items"].as_array().unwrap() {
        assert_eq!((&item["last_event_id"], &item["revision"]), (&json!(sequence), &json!(sequence.to_string())));
        assert_eq!(item["url"], format!("{base}/{sid}/Items/{}", item["key"].as_str().unwrap()));
        for date in ["date_created", "date_updated"] {
            assert!(item[date].as_str().unwrap().ends_with('Z'), "{item}");
        }
        assert_eq!(item["date_expires"], Value::Null);
    }
    map.as_object_mut().unwrap().remove("items");
    assert_eq!(
        map,
        json!({
            "sid": sid,
            "unique_name": format!("{}.info", bob.sid),
            "url": format!("{base}/{sid}"),
            "revision": sequence.to_string(),
            "last_event_id": sequence,
            "date_created": bob.date_created.to_string(),
            "date_updated": bob.date_updated.to_string(),
            "date_expires": null,
            "links": {"items": format!("{base}/{sid}/Items")},
        })
    );
    assert_eq!(map, door.read(&alice, &format!("/v3/Maps/{sid}")).await);
}

async fn a_map_can_be_named_in_two_ways(door: Door) {
    let alice = door.connect(1, "alice").await;
    let own = door.user(1, "alice").await.sid;
    for map in [UserMap::Info(own), UserMap::Conversations(own)] {
        let by_sid = door.read(&alice, &format!("/v3/Maps/{}?Include=items", map.sid())).await;
        assert_eq!(by_sid, door.read(&alice, &format!("/v3/Maps/{map}?Include=items")).await);
        assert_eq!((&by_sid["sid"], &by_sid["unique_name"]), (&json!(map.sid()), &json!(map.to_string())));
    }
    let conversations = door.read(&alice, &format!("/v3/Maps/{}", UserMap::Conversations(own))).await;
    assert_eq!((&conversations["last_event_id"], &conversations["revision"]), (&json!(0), &json!("0")));
}

async fn items_are_listed_by_key(door: Door) {
    let alice = door.connect(1, "alice").await;
    let own = door.user(1, "alice").await.sid;
    let keys = |list: &Value| -> Vec<String> {
        assert_eq!(list["meta"]["next_token"], Value::Null);
        list["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("", &["friendlyName", "attributes", "reachability"][..]),
        ("?HideExpired=true&Key=reachability", &["reachability"]),
        ("?Key=friendlyName&PageSize=1&Order=asc", &["friendlyName"]),
        ("?Key=nothing", &[]),
    ] {
        let list = door.read(&alice, &format!("/v3/Maps/{}/Items{query}", UserMap::Info(own))).await;
        assert_eq!(keys(&list), expected, "{query}");
    }
    let conversations = door.read(&alice, &format!("/v3/Maps/{}/Items", UserMap::Conversations(own))).await;
    assert!(keys(&conversations).is_empty());
}

async fn nulls_are_shown_while_reachability_is_off(door: Door) {
    let alice = door.connect(1, "alice").await;
    let map = format!("/v3/Maps/{}?Include=items", info(&door.user(1, "alice").await));
    let on = door.read(&alice, &map).await;
    assert_eq!(data(&on)["reachability"]["online"], true);
    assert_eq!(data(&on)["friendlyName"], json!({"value": null}));
    door.harness.switch(service(1), false).await;
    let off = door.read(&alice, &map).await;
    let nulls = json!({"type": "ReachabilityInfo", "online": null, "notifiable": null});
    assert_eq!(data(&off)["reachability"], nulls);
    assert!(on["last_event_id"].as_u64() < off["last_event_id"].as_u64());
}

/// The maps that a user of the service 1 named alice must not see.
async fn foreign(door: &Door) -> Vec<String> {
    door.connect(1, "bob").await;
    door.connect(2, "mallory").await;
    let (bob, mallory) = (door.user(1, "bob").await.sid, door.user(2, "mallory").await.sid);
    let mut maps: Vec<String> = [UserMap::Conversations(bob), UserMap::Info(mallory), UserMap::Conversations(mallory)]
        .into_iter()
        .flat_map(|map| [map.sid().to_string(), map.to_string()])
        .collect();
    let alice = door.user(1, "alice").await.sid;
    maps.extend(["MP00000000000000000000000000000001", "MP", "alice"].map(str::to_owned));
    maps.extend([alice.to_string(), format!("{alice}."), format!("{alice}.INFO"), format!("{alice}.info.info")]);
    maps
}

async fn maps_of_others_are_missing(door: Door) {
    let alice = door.connect(1, "alice").await;
    for map in foreign(&door).await {
        for path in
            [format!("/v3/Maps/{map}"), format!("/v3/Maps/{map}?Include=items"), format!("/v3/Maps/{map}/Items")]
        {
            assert_eq!(error(&door.get(&alice, &path).await), (404, 54200), "{path}");
        }
    }
}

async fn maps_are_read_for_a_subscription(door: Door) {
    let alice = door.connect(1, "alice").await;
    let foreign = foreign(&door).await;
    let (own, bob) = (door.user(1, "alice").await, door.user(1, "bob").await);
    let found = read_maps(&door.app, &alice, &foreign).await;
    assert_eq!(found, vec![FoundMap::Missing; foreign.len()]);
    let maps = [info(&own), UserMap::Conversations(own.sid).to_string(), info(&bob), info(&bob)];
    // More than are read at once.
    let maps: Vec<String> = maps.iter().cycle().take(400).cloned().collect();
    let found = read_maps(&door.app, &alice, &maps).await;
    assert_eq!(found.len(), 400);
    for found in found.chunks(4) {
        let [FoundMap::User(first), FoundMap::Conversations, FoundMap::User(second), FoundMap::User(third)] = found
        else {
            panic!("{found:?}")
        };
        assert_eq!((&first.user, &second.user, second), (&own, &bob, third));
        assert_eq!(first.appearance.reachability, Reachability { online: Some(true), notifiable: None });
        assert!(first.reachability_enabled);
    }
    let nobody = read_maps(&door.app, &super::client(1, "nobody"), &maps[1..2]).await;
    assert_eq!(nobody, [FoundMap::Missing]);
}

async fn the_sequence_grows_with_every_change(door: Door) {
    let alice = door.connect(1, "alice").await;
    door.connect(1, "bob").await;
    let bob = door.user(1, "bob").await;
    let map = format!("/v3/Maps/{}", info(&bob));
    let mut sequences = vec![];
    for step in 0..7 {
        match step {
            0 => {}
            1 => door.disconnect(1, "bob").await,
            2 => drop(
                door.send(&super::client(1, "bob"), "POST", "/Client/v2/Users/bob", r#"{"friendly_name":"B"}"#).await,
            ),
            3 | 5 => door.harness.switch(service(1), false).await,
            4 => door.harness.switch(service(1), true).await,
            _ => {
                let path = format!("/v1/Services/{}/Users/bob", service(1));
                assert_eq!(door.send_as_owner("POST", &path, "Attributes={}1").await.0, 400);
                assert_eq!(door.send_as_owner("POST", &path, "FriendlyName=C").await.0, 200);
            }
        }
        sequences.push(door.read(&alice, &map).await["last_event_id"].as_u64().unwrap());
    }
    assert!(sequences.is_sorted_by(|earlier, later| earlier < later), "{sequences:?}");
}
