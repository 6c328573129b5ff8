//! The users and channels of the tests, which are those of `docs/socket.md`.

use std::sync::OnceLock;

use reachability_domain::channel::Channel;
use reachability_domain::channel::key::{ChannelKey, Cid};
use reachability_domain::channel::public_channel::PublicChannel;
use reachability_domain::identity::Identity;
use reachability_domain::presence::public_user::PublicUser;
use reachability_domain::presence::status::Status;
use reachability_domain::sid::{ServiceSid, Sid};
use reachability_domain::time::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

pub(crate) fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

pub(crate) fn ids(texts: &[&str]) -> Vec<Identity> {
    texts.iter().map(|text| id(text)).collect()
}

/// A time of the day on which the tests play.
pub(crate) fn at(time: &str) -> Timestamp {
    format!("2026-11-22T{time}Z").parse().unwrap()
}

/// Something that is there as long as the tests run.
pub(crate) fn kept<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

pub(crate) fn raw(json: &'static str) -> &'static RawValue {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        value => panic!("{value}"),
    }
}

fn status(text: &str) -> Option<&'static Status> {
    Status::set_to(text).unwrap().map(kept)
}

fn user(name: &str, text: &'static str, custom: &'static str) -> PublicUser<'static> {
    let user = PublicUser::nobody(kept(id(name)));
    let created_at = Some("2026-11-01T09:30:00.000Z".parse().unwrap());
    PublicUser { name: Some(text), created_at, custom: raw(custom), ..user }
}

/// The client's own user, as it sees itself.
pub(crate) fn jane(said: &str, invisible: bool, last_active: &str, revision: u64) -> PublicUser<'static> {
    PublicUser {
        online: Some(true),
        status: status(said),
        last_active: Some(at(last_active)),
        invisible: Some(invisible),
        revision,
        ..user("jane", "Jane", "{}")
    }
}

pub(crate) fn john() -> PublicUser<'static> {
    static JOHN: OnceLock<PublicUser<'static>> = OnceLock::new();
    let john = || PublicUser {
        online: Some(true),
        last_active: Some(at("09:45:00")),
        revision: 1_127_626_990_152,
        ..user("john", "John", r#"{"color":"green"}"#)
    };
    JOHN.get_or_init(john).clone()
}

pub(crate) fn john_eating() -> PublicUser<'static> {
    PublicUser { status: status("Eating a veggie burger..."), revision: 1_127_627_690_087, ..john() }
}

pub(crate) fn john_gone() -> PublicUser<'static> {
    PublicUser { online: Some(false), last_active: Some(at("10:03:30")), revision: 1_127_627_837_776, ..john_eating() }
}

pub(crate) fn jack() -> PublicUser<'static> {
    PublicUser {
        online: Some(false),
        notifiable: Some(true),
        last_active: Some("2026-11-21T17:05:12.001Z".parse().unwrap()),
        revision: 1_127_566_739_777,
        ..user("jack", "Jack", r#"{"color":"blue"}"#)
    }
}

/// A member who is no user yet.
pub(crate) fn joe() -> PublicUser<'static> {
    PublicUser::nobody(kept(id("joe")))
}

pub(crate) fn cid(text: &str) -> Cid {
    text.parse().unwrap()
}

/// A channel with these members, changed at this time.
fn channel(
    name: &str,
    color: &str,
    members: &[&str],
    created_at: Timestamp,
    updated_at: Timestamp,
) -> PublicChannel<'static> {
    let channel = Channel {
        key: ChannelKey { service: ServiceSid::from_bits(1), cid: cid(name) },
        custom: object(json!({"color": color})),
        created_by: Some(id("jane")),
        created_at,
        updated_at,
        last_message_at: None,
        member_count: members.len(),
        version: 1,
    };
    PublicChannel::of(kept(channel), Some(kept(ids(members))))
}

pub(crate) fn general() -> PublicChannel<'static> {
    let created_at = "2026-11-02T12:00:00.000Z".parse().unwrap();
    channel("messaging:general", "green", &["jane", "joe"], created_at, created_at)
}

/// Another channel, with these members, changed at this time.
pub(crate) fn lunch(members: &[&str], updated_at: &str) -> PublicChannel<'static> {
    channel("messaging:lunch", "red", members, at("10:02:00"), at(updated_at))
}
