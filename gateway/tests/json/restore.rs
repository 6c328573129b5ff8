//! How watches are restored.

use std::collections::HashMap;

use reachability_gateway::json::settings::{MAX_CHANNELS, MAX_WATCHES};
use reachability_gateway::json::{Command, CommandError, RequestNumber, RestoredWatch, Settings, Watched};
use serde_json::{Value, json};

use crate::messages::{invalid, refused, taken};
use crate::people::{cid, id, ids};
use crate::support::{Socket, command, only};

fn restore(id: u64, watches: &Value, known: &Value) -> Value {
    json!({"type": "restore", "id": id, "watches": watches, "known": known})
}

#[test]
fn watches_are_restored_as_they_were() {
    let watches = json!([
        {"watch": 2, "users": ["john", "john"]}, {"watch": 0, "users": []}, {"watch": 19, "channels": ["a:b"], "x": 1},
    ]);
    let known = json!({"john": 9_007_199_254_740_991_u64, "jack": 0});
    let restored = [
        (2, Watched::Users(ids(&["john", "john"]))),
        (0, Watched::Users(vec![])),
        (19, Watched::Channels(vec![cid("a:b")])),
    ];
    let watches = (
        watches,
        restored.map(|(watch, of)| RestoredWatch { watch: RequestNumber(watch), of }).into_iter().collect::<Vec<_>>(),
    );
    let expected = Command::Restore {
        watches: watches.1,
        known: HashMap::from([(id("john"), 9_007_199_254_740_991), (id("jack"), 0)]),
    };
    assert_eq!(taken(&restore(20, &watches.0, &known)), expected);
    assert_eq!(
        taken(&json!({"type": "restore", "id": 2, "watches": []})),
        Command::Restore { watches: vec![], known: HashMap::new() }
    );
}

#[test]
fn what_cannot_be_restored_is_refused() {
    let what = "`watches` must be a list of objects with `watch`, and with `users` or `channels`";
    for watches in [
        json!({}),
        json!([5]),
        json!([[1, ["john"]]]),
        json!([{"users": []}]),
        json!([{"watch": 1}]),
        json!([{"watch": 1, "users": [], "channels": []}]),
        json!([{"watch": "1", "users": []}]),
        json!([{"watch": -1, "users": []}]),
        json!([{"watch": 1, "users": [5]}]),
        json!([{"watch": 1, "channels": "a:b"}]),
    ] {
        assert_eq!(invalid(&restore(20, &watches, &json!({}))), what, "{watches}");
    }
    let each_once = "`watches` must have each watch once, and only those of earlier requests";
    for watches in [
        json!([{"watch": 1, "users": []}, {"watch": 1, "channels": []}]),
        json!([{"watch": 20, "users": []}]),
        json!([{"watch": u64::MAX, "users": []}]),
    ] {
        assert_eq!(invalid(&restore(20, &watches, &json!({}))), each_once, "{watches}");
    }
    let what = "`known` must be an object with a revision for each identity";
    for known in
        [json!([]), json!({"john": "1"}), json!({"john": -1}), json!({"john": null}), json!({"john": 1_u64 << 53})]
    {
        assert_eq!(invalid(&restore(20, &json!([]), &known)), what, "{known}");
    }
    assert_eq!(refused(&restore(20, &json!([{"watch": 1, "users": [""]}]), &json!({}))).0, "invalid_identity");
    assert_eq!(refused(&restore(20, &json!([]), &json!({"": 1}))).0, "invalid_identity");
    assert_eq!(refused(&restore(20, &json!([{"watch": 1, "channels": ["a"]}]), &json!({}))).0, "invalid_channel");
    let channels: Vec<_> = (0..=MAX_CHANNELS).map(|n| format!("a:{n}")).collect();
    let watches = json!([{"watch": 1, "channels": channels}]);
    assert_eq!(invalid(&restore(20, &watches, &json!({}))), "`watches` must have at most 30 channels each");
}

#[test]
fn no_more_is_restored_than_could_be_watched() {
    let refused = |watches: Value, known: Value| {
        let mut socket = Socket::open();
        socket.settings = Settings { users_per_watch: 3, watched_users: 5, ..Settings::default() };
        let error = socket.refused(&restore(5_000, &watches, &known));
        (error["code"].as_str().unwrap().to_owned(), error["limit"].clone())
    };
    let users = |count: usize| (0..count).map(|n| format!("user-{n}")).collect::<Vec<_>>();
    assert_eq!(refused(json!([{"watch": 1, "users": users(4)}]), json!({})), ("too_many_users".to_owned(), json!(3)));
    let others = ["a", "b", "c"];
    let two = json!([{"watch": 1, "users": users(3)}, {"watch": 2, "users": others}]);
    assert_eq!(refused(two, json!({})), ("too_many_users".to_owned(), json!(5)));
    let watches: Vec<_> = (0..=MAX_WATCHES).map(|n| json!({"watch": n, "users": []})).collect();
    assert_eq!(refused(watches.into(), json!({})), ("limit_reached".to_owned(), json!(MAX_WATCHES)));

    // A user counts once, in however many watches it is. What is known of more users than can be watched is forgotten.
    let mut socket = Socket::open();
    socket.settings = Settings { users_per_watch: 3, watched_users: 5, ..Settings::default() };
    let watches: Vec<_> = (0..10).map(|n| json!({"watch": n, "users": users(3)})).collect();
    let known: serde_json::Map<_, _> = users(6).into_iter().map(|user| (user, json!(1))).collect();
    match command(&socket.send(&restore(5_000, &watches.into(), &known.into()))) {
        Command::Restore { watches, known } => assert_eq!((watches.len(), known.len()), (10, 5)),
        command => panic!("{command:?}"),
    }

    // The most, with long names, is not too large a message.
    let mut socket = Socket::open();
    let names: Vec<_> = (0..10_000).map(|n| format!("{n:036}")).collect();
    let watches: Vec<_> =
        names.chunks(1_000).enumerate().map(|(n, users)| json!({"watch": n, "users": users})).collect();
    let known: Value =
        names.into_iter().map(|name| (name, json!(1_127_627_690_087_u64))).collect::<serde_json::Map<_, _>>().into();
    command(&socket.send(&restore(5_000, &watches.into(), &known)));
    assert_eq!(only(&socket.done(5_000, Err(CommandError::Unavailable)))["code"], "unavailable");
}
