//! How long answers are told.

use bytes::Bytes;
use reachability_domain::channel::public_channel::PublicChannel;
use reachability_domain::identity::Identity;
use reachability_domain::presence::public_user::PublicUser;
use reachability_gateway::json::settings::{MEMBERS_IN_PART, PART_SIZE, USERS_IN_PART};
use reachability_gateway::json::{Answer, RequestNumber, parts};
use serde_json::{Value, json};

use crate::people::{cid, general, id, john, lunch, raw};
use crate::support::{Socket, command, only};

const REQUEST: RequestNumber = RequestNumber(2);

fn names(count: usize) -> Vec<Identity> {
    (0..count).map(|n| id(&format!("user-{n}"))).collect()
}

/// What is sent after the parts.
fn ok(answer: Answer<'_>) -> Value {
    let mut socket = Socket::open();
    command(&socket.send(&json!({"type": "set_user", "id": REQUEST})));
    let ok = only(&socket.done(REQUEST.0, Ok(answer)));
    assert_eq!((&ok["type"], &ok["id"]), (&json!("ok"), &json!(2)));
    ok
}

/// What is listed in parts, in each of them.
fn listed(parts: &[Bytes], field: &str) -> Vec<Vec<Value>> {
    let list = |part: &Bytes| {
        let part: Value = serde_json::from_slice(part).unwrap();
        assert_eq!((&part["type"], &part["id"]), (&json!("part"), &json!(2)));
        part[field].as_array().unwrap().clone()
    };
    parts.iter().map(list).collect()
}

fn lengths(lists: &[Vec<Value>]) -> Vec<usize> {
    lists.iter().map(Vec::len).collect()
}

#[test]
fn users_come_in_parts() {
    let lengths_of = |count: usize| {
        let names = names(count);
        let users: Vec<_> = names.iter().map(PublicUser::nobody).collect();
        let lists = listed(&parts::users(REQUEST, &users), "users");
        let ids: Vec<_> = lists.iter().flatten().map(|user| user["id"].clone()).collect();
        assert_eq!(ids, names.iter().map(|name| json!(name)).collect::<Vec<_>>(), "all of them, in order");
        lengths(&lists)
    };
    assert_eq!(USERS_IN_PART, 200);
    assert_eq!(lengths_of(0), [0; 0]);
    assert_eq!(lengths_of(1), [1]);
    assert_eq!(lengths_of(200), [200]);
    assert_eq!(lengths_of(401), [200, 200, 1]);
    let ok = ok(Answer::Users { count: 401, cursor: None, index: None });
    assert_eq!(ok, json!({"type": "ok", "id": 2, "count": 401, "cursor": null, "index": null}));
}

#[test]
fn a_part_is_not_long() {
    let custom: &'static str = format!("{{\"x\":\"{}\"}}", "x".repeat(10_000)).leak();
    let users = vec![PublicUser { custom: raw(custom), ..john() }; 10];
    let lengths: Vec<_> = parts::users(REQUEST, &users).iter().map(Bytes::len).collect();
    assert_eq!(lengths.len(), 3);
    assert!(lengths[..2].iter().all(|length| (PART_SIZE..PART_SIZE + 11_000).contains(length)), "{lengths:?}");
    // One that is longer by itself is a part of its own.
    let custom: &'static str = format!("{{\"x\":\"{}\"}}", "x".repeat(PART_SIZE)).leak();
    let users = vec![PublicUser { custom: raw(custom), ..john() }; 3];
    assert_eq!(parts::users(REQUEST, &users).len(), 3);
}

#[test]
fn members_come_in_parts() {
    let told = |count: usize| {
        let parts = parts::members(REQUEST, &cid("messaging:general"), &names(count));
        let named = |part: &Bytes| serde_json::from_slice::<Value>(part).unwrap()["channel"] == "messaging:general";
        assert!(parts.iter().all(named));
        lengths(&listed(&parts, "members"))
    };
    assert_eq!(MEMBERS_IN_PART, 1_000);
    assert_eq!(told(0), [0]);
    assert_eq!(told(1_000), [1_000]);
    assert_eq!(told(2_500), [1_000, 1_000, 500]);
}

#[test]
fn channels_have_their_members_unless_those_came_in_parts() {
    let channels = vec![lunch(&["jane"], "10:02:00"), PublicChannel { members: None, ..general() }];
    let ok_of_all = ok(Answer::Channels { channels, cursor: Some("c".to_owned()), index: Some("members") });
    let channels = ok_of_all["channels"].as_array().unwrap();
    assert_eq!((&channels[0]["members"], channels[1].get("members")), (&json!(["jane"]), None), "missing, not null");
    assert_eq!((&ok_of_all["cursor"], &ok_of_all["index"]), (&json!("c"), &json!("members")));

    let channel = PublicChannel { members: None, ..general() };
    let of_one = ok(Answer::Channel { channel, created: false });
    assert_eq!((&of_one["channel"]["member_count"], &of_one["created"]), (&json!(2), &json!(false)));
    assert_eq!(of_one["channel"].get("members"), None);
}

#[test]
fn members_are_not_told_where_they_change() {
    let ok = ok(Answer::Members(general()));
    assert_eq!((ok["channel"].get("members"), ok.get("created")), (None, None));
}

#[test]
fn a_restore_tells_what_is_gone() {
    let gone = cid("a:gone");
    assert_eq!(ok(Answer::Restored { gone: vec![&gone] }), json!({"type": "ok", "id": 2, "gone": ["a:gone"]}));
    assert_eq!(ok(Answer::Restored { gone: vec![] })["gone"], json!([]));
}
