//! How long answers are told.

use reachability_domain::identity::Identity;
use reachability_domain::presence::public_user::PublicUser;
use reachability_gateway::json::settings::{MEMBERS_IN_CHANNEL, MEMBERS_IN_PART, PART_SIZE, USERS_IN_PART};
use reachability_gateway::json::{Action, Answer, PublicChannel};
use serde_json::{Value, json};

use crate::people::{cid, general, id, john, lunch, raw};
use crate::support::{Socket, command};

fn names(count: usize) -> Vec<Identity> {
    (0..count).map(|n| id(&format!("user-{n}"))).collect()
}

/// What an answer is told in, as it was sent.
fn told(answer: Answer<'_>) -> Vec<String> {
    let mut socket = Socket::open();
    command(&socket.send(&json!({"type": "set_user", "id": 2})));
    let text = |action| match action {
        Action::Send(bytes) => String::from_utf8(bytes.into()).unwrap(),
        action => panic!("{action:?}"),
    };
    socket.done(2, Ok(answer)).into_iter().map(text).collect()
}

/// What an answer is told in: parts, all of them with the request's number, and the `ok` after them.
fn parts_and_ok(answer: Answer<'_>) -> (Vec<Value>, Value) {
    let mut messages: Vec<Value> = told(answer).iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let ok = messages.pop().unwrap();
    assert_eq!((&ok["type"], &ok["id"]), (&json!("ok"), &json!(2)));
    assert!(messages.iter().all(|part| part["type"] == "part" && part["id"] == 2));
    (messages, ok)
}

fn lengths(parts: &[Value], field: &str) -> Vec<usize> {
    parts.iter().map(|part| part[field].as_array().unwrap().len()).collect()
}

#[test]
fn users_come_in_parts() {
    let lengths_of = |count: usize| {
        let names = names(count);
        let users = names.iter().map(PublicUser::nobody).collect();
        let (parts, ok) = parts_and_ok(Answer::Users { users, cursor: None, index: None });
        assert_eq!(ok, json!({"type": "ok", "id": 2, "count": count, "cursor": null, "index": null}));
        let ids: Vec<_> =
            parts.iter().flat_map(|part| part["users"].as_array().unwrap()).map(|user| user["id"].clone()).collect();
        assert_eq!(ids, names.iter().map(|name| json!(name)).collect::<Vec<_>>(), "all of them, in order");
        lengths(&parts, "users")
    };
    assert_eq!(USERS_IN_PART, 200);
    assert_eq!(lengths_of(0), [0; 0]);
    assert_eq!(lengths_of(1), [1]);
    assert_eq!(lengths_of(200), [200]);
    assert_eq!(lengths_of(401), [200, 200, 1]);
}

#[test]
fn a_part_is_not_long() {
    let custom: &'static str = format!("{{\"x\":\"{}\"}}", "x".repeat(10_000)).leak();
    let users = vec![PublicUser { custom: raw(custom), ..john() }; 10];
    let messages = told(Answer::Users { users, cursor: None, index: None });
    let lengths: Vec<_> = messages.iter().map(String::len).collect();
    assert_eq!(lengths.len(), 4);
    assert!(lengths[..2].iter().all(|length| (PART_SIZE..PART_SIZE + 11_000).contains(length)), "{lengths:?}");
    // One that is longer by itself is a part of its own.
    let custom: &'static str = format!("{{\"x\":\"{}\"}}", "x".repeat(PART_SIZE)).leak();
    let users = vec![PublicUser { custom: raw(custom), ..john() }; 3];
    assert_eq!(told(Answer::Users { users, cursor: None, index: None }).len(), 4);
}

#[test]
fn many_members_come_in_parts() {
    let channel = |members: &'static [Identity]| PublicChannel { members: Some(members), ..general() };
    let told = |count: usize| {
        let members = names(count).leak();
        let (parts, ok) = parts_and_ok(Answer::Channel { channel: channel(members), users: vec![], created: false });
        assert_eq!((&ok["channel"]["member_count"], &ok["created"]), (&json!(2), &json!(false)));
        assert!(parts.iter().all(|part| part["channel"] == "messaging:general"));
        let told = ok["channel"]["members"].as_array().map(Vec::len);
        assert_eq!(ok["channel"].get("members").is_none(), told.is_none(), "missing, not null");
        (lengths(&parts, "members"), told)
    };
    assert_eq!((MEMBERS_IN_CHANNEL, MEMBERS_IN_PART), (100, 1_000));
    assert_eq!(told(0), (vec![], Some(0)));
    assert_eq!(told(100), (vec![], Some(100)));
    assert_eq!(told(101), (vec![101], None));
    assert_eq!(told(2_500), (vec![1_000, 1_000, 500], None));

    // Members first, then those users that are watched.
    let members: &'static [Identity] = names(101).leak();
    let (parts, ok) = parts_and_ok(Answer::Channels {
        channels: vec![lunch(&["jane"], "10:02:00"), channel(members)],
        users: vec![john()],
        cursor: Some("c".to_owned()),
        index: Some("members"),
    });
    assert_eq!(lengths(&parts[..1], "members"), [101]);
    assert_eq!(lengths(&parts[1..], "users"), [1]);
    let channels = ok["channels"].as_array().unwrap();
    assert_eq!((&channels[0]["members"], channels[1].get("members")), (&json!(["jane"]), None));
    assert_eq!((&ok["cursor"], &ok["index"]), (&json!("c"), &json!("members")));
}

#[test]
fn members_are_not_told_where_they_change() {
    let (parts, ok) = parts_and_ok(Answer::Members(general()));
    assert_eq!((parts.len(), ok["channel"].get("members"), ok.get("created")), (0, None, None));
}

#[test]
fn restored_channels_tell_their_members_always() {
    let many = names(1_001);
    let [none, all, gone] = ["a:none", "a:many", "a:gone"].map(cid);
    let channels = vec![(&none, &[][..]), (&all, &many[..])];
    let (parts, ok) = parts_and_ok(Answer::Restored { users: vec![john()], channels, gone: vec![&gone] });
    assert_eq!(lengths(&parts[..3], "members"), [0, 1_000, 1]);
    assert_eq!(parts[..3].iter().map(|part| &part["channel"]).collect::<Vec<_>>(), ["a:none", "a:many", "a:many"]);
    assert_eq!(lengths(&parts[3..], "users"), [1]);
    assert_eq!(ok, json!({"type": "ok", "id": 2, "gone": ["a:gone"]}));
    let nothing = Answer::Restored { users: vec![], channels: vec![], gone: vec![] };
    assert_eq!(told(nothing), ["{\"type\":\"ok\",\"id\":2,\"gone\":[]}"]);
}
