//! What clients send, and what it is taken for.

use reachability_domain::channel::key::Cid;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::query::Query;
use reachability_domain::query::cursor::Position;
use reachability_domain::query::fields::{Fields, Kind};
use reachability_domain::query::filter::Filter;
use reachability_domain::query::sort::Sort;
use reachability_gateway::json::settings::{MAX_MESSAGE, MAX_RESTORE};
use reachability_gateway::json::{Action, ChannelData, Closing, Command, Settings};
use serde_json::{Value, json};

use crate::people::{cid, id, ids, object};
use crate::support::{Socket, close, command, connect, only};

/// The command that a message is taken for.
pub(crate) fn taken(message: &Value) -> Command {
    command(&Socket::open().send(message)).clone()
}

/// The code and the text of the error that a message is answered with.
pub(crate) fn refused(message: &Value) -> (String, String) {
    let error = Socket::open().refused(message);
    let text = |name: &str| error[name].as_str().unwrap().to_owned();
    (text("code"), text("message"))
}

pub(crate) fn invalid(message: &Value) -> String {
    let (code, text) = refused(message);
    assert_eq!(code, "invalid_message", "{message}");
    text
}

fn general() -> Cid {
    cid("messaging:general")
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
                Action::Do {
                    command: Command::QueryUsers { query, .. } | Command::QueryChannels { query, .. }, ..
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
fn a_query_is_what_it_says() {
    let filter = json!({"$or": [{"name": {"$autocomplete": "jo"}}, {"color": "green"}]});
    let sort = Sort::parse(&json!([{"name": 1}, {"last_active": -1}]), Kind::Users).unwrap();
    let place = Position::parse(&sort.position(&Nothing).cursor(&sort), &sort).unwrap();
    let query = Query {
        filter: Filter::parse(&filter, Kind::Users).unwrap(),
        after: Some(place.clone()),
        sort: sort.clone(),
        limit: 30,
    };
    let message = json!({
        "type": "query_users", "id": 2, "filter": filter, "sort": [{"name": 1}, {"last_active": -1}],
        "cursor": place.cursor(&sort), "presence": true,
    });
    assert_eq!(taken(&message), Command::QueryUsers { query, presence: true });

    let everything =
        |kind, limit| Query { filter: Filter::everything(kind), sort: Sort::by_key(kind), limit, after: None };
    let message = |kind| json!({"type": kind, "id": 2});
    let users = Command::QueryUsers { query: everything(Kind::Users, 30), presence: false };
    assert_eq!(taken(&message("query_users")), users);
    let channels = Command::QueryChannels { query: everything(Kind::Channels, 10), presence: false };
    assert_eq!(taken(&message("query_channels")), channels);
}

/// A row without any value.
struct Nothing;

impl Fields for Nothing {
    fn field(&self, _: &str) -> reachability_domain::query::fields::Value<'_> {
        reachability_domain::query::fields::Value::Absent
    }
}

#[test]
fn a_query_that_is_none_is_refused() {
    for kind in ["query_users", "query_channels"] {
        for (field, value, code) in [
            ("filter", json!(5), "invalid_filter"),
            ("filter", json!({"id": {"$like": "j"}}), "invalid_filter"),
            ("sort", json!("id"), "invalid_sort"),
            ("sort", json!({"id": 2}), "invalid_sort"),
            ("cursor", json!("x"), "invalid_cursor"),
        ] {
            let mut message = json!({"type": kind, "id": 2});
            message[field] = value;
            assert_eq!(refused(&message).0, code, "{message}");
        }
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
    let data = ChannelData { members: ids(&["john", "jack"]), custom: object(json!({"z": 1, "a": null})) };
    let command = taken(&watch(json!({"presence": true, "data": {"z": 1, "members": ["john", "jack"], "a": null}})));
    assert_eq!(command, watched(Some(data), true));
    assert_eq!(taken(&watch(json!({"data": {"members": null}}))), watched(Some(ChannelData::default()), false));

    for members in [json!(5), json!("john"), json!([5]), json!({"john": true})] {
        let message = watch(json!({"data": {"members": members}}));
        assert_eq!(invalid(&message), "`data` must have a list of texts as `members`");
    }
    for (data, text) in [
        (json!({"id": 1}), "the name id is reserved"),
        (json!({"x": "y".repeat(5_000)}), "the fields have more than 4096 bytes as JSON"),
    ] {
        assert_eq!(refused(&watch(json!({"data": data}))), ("invalid_channel".to_owned(), text.to_owned()));
    }
    for name in ["", "a b", "a:b", "ü"] {
        assert_eq!(refused(&watch(json!({"channel_id": name}))).0, "invalid_channel", "{name}");
        assert_eq!(refused(&watch(json!({"channel_type": name}))).0, "invalid_channel", "{name}");
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
