//! What clients send, and what it is taken for.

use std::collections::HashMap;

use reachability_domain::presence::disclosure::Disclose;
use reachability_gateway::json::settings::{MAX_CHANNELS, MAX_MESSAGE, MAX_RESTORE, MAX_WATCHES};
use reachability_gateway::json::{
    ChannelData, ChannelName, Closing, Command, CommandError, Query, RequestNumber, RestoredWatch, Settings, Watched,
};
use serde_json::{Value, json};

use crate::people::{id, ids};
use crate::support::{Socket, close, command, connect, only};

/// The command that a message is taken for.
fn taken(message: &Value) -> Command {
    command(&Socket::open().send(message)).clone()
}

/// The code and the text of the error that a message is answered with.
fn refused(message: &Value) -> (String, String) {
    let error = Socket::open().refused(message);
    let text = |name: &str| error[name].as_str().unwrap().to_owned();
    (text("code"), text("message"))
}

fn invalid(message: &Value) -> String {
    let (code, text) = refused(message);
    assert_eq!(code, "invalid_message", "{message}");
    text
}

fn general() -> ChannelName {
    ChannelName { kind: "messaging".to_owned(), id: "general".to_owned() }
}

#[test]
fn what_is_no_message_closes_the_socket() {
    for (text, closing) in [
        ("", Closing::NotJson),
        ("hello", Closing::NotJson),
        ("[]", Closing::NotJson),
        ("[\"ping\",2]", Closing::NotJson),
        ("null", Closing::NotJson),
        ("{\"type\":\"ping\",\"id\":2", Closing::NotJson),
        ("{\"type\":\"ping\",\"id\":2}}", Closing::NotJson),
        ("{\"type\":\"ping\",\"id\":2}{\"type\":\"ping\",\"id\":3}", Closing::NotJson),
        ("{'type':'ping'}", Closing::NotJson),
        ("{}", Closing::NoType),
        ("{\"type\":null}", Closing::NoType),
        ("{\"type\":5,\"id\":2}", Closing::NoType),
        ("{\"type\":\"\\ud800\",\"id\":2}", Closing::NoType),
        ("{\"Type\":\"ping\",\"id\":2}", Closing::NoType),
    ] {
        assert_eq!(Socket::open().text(text), [close(closing)], "{text}");
        assert_eq!(Socket::new().text(text), [close(closing)], "{text}");
    }
    // Other fields do not matter, nor does the order, nor a name that is written otherwise.
    for text in [
        "{\"type\":\"ping\",\"id\":2,\"x\":{\"type\":\"close\"},\"\":1e999}",
        " {\"id\":2,\r\n\"type\":\"ping\"}\n",
        "{\"\\u0074ype\":\"pin\\u0067\",\"id\":2}",
        "{\"id\":1,\"type\":\"close\",\"id\":2,\"type\":\"ping\"}",
    ] {
        assert_eq!(only(&Socket::open().text(text)), json!({"type": "pong", "id": 2}), "{text}");
    }
}

#[test]
fn a_large_message_closes_the_socket_unless_it_restores() {
    let sized = |kind: &str, size: usize| {
        let message = json!({"type": kind, "id": 2, "watches": []}).to_string();
        message.clone() + &" ".repeat(size - message.len())
    };
    let mut socket = Socket::open();
    assert_eq!(only(&socket.text(&sized("ping", MAX_MESSAGE)))["type"], "pong");
    assert_eq!(socket.text(&sized("ping", MAX_MESSAGE + 1)), [close(Closing::TooLarge)]);
    assert_eq!(Socket::open().text(&sized("sing", MAX_MESSAGE + 1)), [close(Closing::TooLarge)]);
    let mut socket = Socket::open();
    assert_eq!(socket.session.max_message(), MAX_RESTORE);
    command(&socket.text(&sized("restore", MAX_RESTORE)));
    assert_eq!(Socket::open().text(&sized("restore", MAX_RESTORE + 1)), [close(Closing::TooLarge)]);
}

#[test]
fn the_numbers_of_requests_grow() {
    let mut socket = Socket::open();
    let mut sent = |id: Value| only(&socket.send(&json!({"type": "ping", "id": id})));
    let refused = |message: String| json!({"type": "error", "id": null, "code": "invalid_message", "message": message});
    assert_eq!(sent(json!(10)), json!({"type": "pong", "id": 10}));
    for id in [10, 9, 1, 0] {
        let message = "`id` must be greater than that of the request before: 10";
        assert_eq!(sent(json!(id)), refused(message.to_owned()), "{id}");
    }
    for id in [json!(-1), json!(11.5), json!(11.0), json!("11"), json!(1_u64 << 53), json!(u64::MAX), json!([11])] {
        let message = "`id` must be a whole number from 0 on, below 2^53";
        assert_eq!(sent(id.clone()), refused(message.to_owned()), "{id}");
    }
    assert_eq!(sent(Value::Null), refused("`id` is missing".to_owned()));
    assert_eq!(sent(json!((1_u64 << 53) - 1))["type"], "pong");

    // Every request has its number, whatever comes of it.
    let mut socket = Socket::open();
    assert_eq!(socket.refused(&json!({"type": "sing", "id": 5}))["id"], 5);
    assert_eq!(socket.refused(&json!({"type": "unwatch", "id": 5}))["id"], Value::Null);
    assert_eq!(socket.refused(&json!({"type": "unwatch", "id": 6}))["id"], 6);
    assert_eq!(socket.refused(&json!({"type": "unwatch", "id": 6}))["id"], Value::Null);
    let unknown = socket.refused(&json!({"type": "sing"}));
    assert_eq!((&unknown["id"], &unknown["code"]), (&Value::Null, &json!("unknown_type")));

    let mut socket = Socket::new();
    assert_eq!(socket.refused(&connect(0))["id"], Value::Null);
    socket.refused(&json!({"type": "ping", "id": 7}));
    assert_eq!(socket.refused(&connect(7))["id"], Value::Null);
    assert_eq!(socket.send(&connect(8)).len(), 1);
}

#[test]
fn set_user_sets_what_it_says() {
    let set = |message| match taken(&message) {
        Command::SetUser(disclose) => disclose,
        command => panic!("{command:?}"),
    };
    assert_eq!(set(json!({"type": "set_user", "id": 2})), Disclose::default());
    let disclose = set(json!({"type": "set_user", "id": 2, "status": "é", "invisible": false}));
    assert_eq!((disclose.invisible, disclose.status.unwrap().is_some()), (Some(false), true));
    assert_eq!(set(json!({"type": "set_user", "id": 2, "status": null})).status, Some(None));

    let error = Socket::open().refused(&json!({"type": "set_user", "id": 2, "status": "é".repeat(129)}));
    assert_eq!((&error["code"], &error["limit"]), (&json!("invalid_status"), &json!(256)));
}

#[test]
fn queries_have_limits() {
    let limit = |settings, kind: &str, presence: bool, limit: Option<u64>| {
        let mut socket = Socket::open();
        socket.settings = settings;
        let actions = socket.send(&json!({"type": kind, "id": 2, "presence": presence, "limit": limit}));
        match &actions[..] {
            [
                reachability_gateway::json::Action::Do {
                    command: Command::QueryUsers(query) | Command::QueryChannels(query),
                    ..
                },
            ] => Ok(query.limit),
            actions => Err(only(actions)),
        }
    };
    let usual = Settings::default();
    let small = Settings { users_per_watch: 10, ..usual };
    for (settings, kind, presence, asked, given) in [
        (usual, "query_users", false, None, 30),
        (usual, "query_users", false, Some(1), 1),
        (usual, "query_users", false, Some(100), 100),
        (usual, "query_users", true, None, 30),
        (usual, "query_users", true, Some(1_000), 1_000),
        (small, "query_users", true, None, 10),
        (small, "query_users", false, None, 30),
        (usual, "query_channels", false, None, 10),
        (usual, "query_channels", true, Some(30), 30),
    ] {
        assert_eq!(limit(settings, kind, presence, asked), Ok(given), "{kind} {presence} {asked:?}");
    }
    for (kind, presence, asked, text) in [
        ("query_users", false, 0, "`limit` must be from 1 to 100"),
        ("query_users", false, 101, "`limit` must be from 1 to 100"),
        ("query_users", true, 0, "`limit` must be from 1 to 1000"),
        ("query_channels", false, 31, "`limit` must be from 1 to 30"),
        ("query_channels", true, 0, "`limit` must be from 1 to 30"),
    ] {
        let error = limit(usual, kind, presence, Some(asked)).unwrap_err();
        assert_eq!((&error["code"], &error["message"]), (&json!("invalid_message"), &json!(text)));
    }
    for (settings, most) in [(usual, 1_000), (small, 10)] {
        let error = limit(settings, "query_users", true, Some(most + 1)).unwrap_err();
        assert_eq!((&error["code"], &error["limit"]), (&json!("too_many_users"), &json!(most)));
    }
}

#[test]
fn a_query_is_handed_on_as_it_is() {
    let filter = json!({"$or": [{"name": {"$autocomplete": "jo"}}, {"a": {"b": [1, null]}}]});
    let sort = json!([{"name": 1}, {"id": -1}]);
    let message =
        json!({"type": "query_users", "id": 2, "filter": filter, "sort": sort, "cursor": "c", "presence": false});
    let query = Query { filter, sort, cursor: Some("c".to_owned()), limit: 30, presence: false };
    assert_eq!(taken(&message), Command::QueryUsers(query));
    // What is no filter is told by who reads it.
    for strange in [json!(5), json!([]), json!("x")] {
        let query = Query { filter: strange.clone(), sort: strange.clone(), cursor: None, limit: 10, presence: false };
        let message = json!({"type": "query_channels", "id": 2, "filter": strange, "sort": strange});
        assert_eq!(taken(&message), Command::QueryChannels(query));
    }
    // What is too deep to be read ends nothing.
    let deep =
        format!("{{\"type\":\"query_users\",\"id\":2,\"filter\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
    assert_eq!(only(&Socket::open().text(&deep))["message"], "`filter` must be JSON that can be read");
}

#[test]
fn a_channel_is_named_and_made_of_data() {
    let watch = |more: Value| {
        let mut message =
            json!({"type": "watch_channel", "id": 2, "channel_type": "messaging", "channel_id": "general"});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        message
    };
    let watched = |data, presence| Command::WatchChannel { channel: general(), data, presence };
    assert_eq!(taken(&watch(json!({}))), watched(None, false));
    let data = ChannelData {
        members: ids(&["john", "jack"]),
        custom: json!({"z": 1, "a": null}).as_object().unwrap().clone(),
    };
    let command = taken(&watch(json!({"presence": true, "data": {"z": 1, "members": ["john", "jack"], "a": null}})));
    assert_eq!(command, watched(Some(data), true));
    assert_eq!(taken(&watch(json!({"data": {"members": null}}))), watched(Some(ChannelData::default()), false));

    for members in [json!(5), json!("john"), json!([5]), json!({"john": true})] {
        let message = watch(json!({"data": {"members": members}}));
        assert_eq!(invalid(&message), "`data` must have a list of texts as `members`");
    }
    let (code, text) = refused(&watch(json!({"data": {"members": ["john", "x".repeat(257)]}})));
    assert_eq!((code.as_str(), text.as_str()), ("invalid_identity", "identity is longer than 256 characters"));
}

#[test]
fn members_are_added_and_removed_a_hundred_at_a_time() {
    let message = |kind: &str, members: &[String]| json!({"type": kind, "id": 2, "channel_type": "messaging", "channel_id": "general", "members": members});
    let names: Vec<_> = (0..101).map(|n| format!("user-{n}")).collect();
    let members: Vec<_> = names[..100].iter().map(|name| id(name)).collect();
    assert_eq!(
        taken(&message("add_members", &names[..100])),
        Command::AddMembers { channel: general(), members: members.clone() }
    );
    assert_eq!(
        taken(&message("remove_members", &names[..100])),
        Command::RemoveMembers { channel: general(), members }
    );
    for kind in ["add_members", "remove_members"] {
        let error = Socket::open().refused(&message(kind, &names));
        assert_eq!((&error["code"], &error["limit"]), (&json!("too_many_members"), &json!(100)));
        for wrong in [String::new(), "US0123456789abcdef0123456789abcdef".to_owned()] {
            assert_eq!(refused(&message(kind, &[wrong])).0, "invalid_identity");
        }
    }
}

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
        (19, Watched::Channels(vec!["a:b".to_owned()])),
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
