//! Parts of answers, of a limited size. A shell sends them before it gives the session the answer, and as the client reads them:
//! all together they may be larger than what should wait for a client.

use bytes::Bytes;
use reachability_domain::channel::key::Cid;
use reachability_domain::identity::Identity;
use reachability_domain::presence::public_user::PublicUser;
use serde::Serialize;

use crate::json::input::RequestNumber;
use crate::json::kinds::ServerKind;
use crate::json::settings::{MEMBERS_IN_PART, PART_SIZE, USERS_IN_PART};

/// Users; nothing if there are none.
pub fn users(request: RequestNumber, users: &[PublicUser<'_>]) -> Vec<Bytes> {
    if users.is_empty() { vec![] } else { list(request, "\"users\":[", users, USERS_IN_PART) }
}

/// The members of a channel, also if there are none.
pub fn members(request: RequestNumber, channel: &Cid, members: &[Identity]) -> Vec<Bytes> {
    // There is nothing to escape in a name.
    list(request, &format!("\"channel\":\"{channel}\",\"members\":["), members, MEMBERS_IN_PART)
}

fn list(request: RequestNumber, field: &str, items: &[impl Serialize], at_most: usize) -> Vec<Bytes> {
    let (part, number) = (ServerKind::Part.as_str(), request.0);
    let head = format!("{{\"type\":\"{part}\",\"id\":{number},{field}");
    let mut parts = vec![];
    let mut end = |mut json: Vec<u8>| {
        json.extend_from_slice(b"]}");
        parts.push(json.into());
    };
    let mut json = head.clone().into_bytes();
    let mut count = 0;
    for item in items {
        if count == at_most || json.len() >= PART_SIZE {
            end(std::mem::replace(&mut json, head.clone().into_bytes()));
            count = 0;
        }
        if count > 0 {
            json.push(b',');
        }
        // Neither the writer nor what is written, which are our own structs, can fail.
        let _ = serde_json::to_writer(&mut json, item);
        count += 1;
    }
    end(json);
    parts
}
