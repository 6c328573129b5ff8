//! Answers to requests: users and members in parts of a limited size, then `ok`.

use bytes::Bytes;
use reachability_domain::channel::key::Cid;
use reachability_domain::identity::Identity;
use reachability_domain::presence::public_user::PublicUser;
use serde::Serialize;

use crate::json::answer::{Answer, PublicChannel};
use crate::json::encode::{Nothing, ok};
use crate::json::input::RequestNumber;
use crate::json::kinds::ServerKind;
use crate::json::settings::{MEMBERS_IN_CHANNEL, MEMBERS_IN_PART, PART_SIZE, USERS_IN_PART};

#[derive(Serialize)]
struct OfUser<'a> {
    user: PublicUser<'a>,
}

#[derive(Serialize)]
struct OfUsers {
    count: usize,
    cursor: Option<String>,
    index: Option<&'static str>,
}

#[derive(Serialize)]
struct OfChannels<'a> {
    channels: Vec<PublicChannel<'a>>,
    cursor: Option<String>,
    index: Option<&'static str>,
}

#[derive(Serialize)]
struct OfChannel<'a> {
    channel: PublicChannel<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<bool>,
}

#[derive(Serialize)]
struct OfRestore {
    gone: Vec<String>,
}

/// The messages that answer a request.
pub(crate) fn answer(request: RequestNumber, answer: Answer<'_>) -> Vec<Bytes> {
    let mut parts = Parts { request, messages: vec![] };
    let ok = match answer {
        Answer::User(user) => ok(request, &OfUser { user }),
        Answer::Users { users, cursor, index } => {
            parts.users(&users);
            ok(request, &OfUsers { count: users.len(), cursor, index })
        }
        Answer::Channels { channels, users, cursor, index } => {
            let channels = channels.into_iter().map(|channel| parts.channel(channel)).collect();
            parts.users(&users);
            ok(request, &OfChannels { channels, cursor, index })
        }
        Answer::Channel { channel, users, created } => {
            let channel = parts.channel(channel);
            parts.users(&users);
            ok(request, &OfChannel { channel, created: Some(created) })
        }
        Answer::Members(channel) => {
            let channel = PublicChannel { members: None, ..channel };
            ok(request, &OfChannel { channel, created: None })
        }
        Answer::Unwatched => ok(request, &Nothing {}),
        Answer::Restored { users, channels, gone } => {
            for (cid, members) in channels {
                parts.members(cid, members);
            }
            parts.users(&users);
            ok(request, &OfRestore { gone: gone.into_iter().map(Cid::to_string).collect() })
        }
    };
    parts.messages.push(ok);
    parts.messages
}

/// The parts of an answer that are written already.
struct Parts {
    request: RequestNumber,
    messages: Vec<Bytes>,
}

impl Parts {
    /// Tells users; nothing if there are none.
    fn users(&mut self, users: &[PublicUser<'_>]) {
        if !users.is_empty() {
            self.list("\"users\":[", users, USERS_IN_PART);
        }
    }

    /// Tells the members of a channel, also if there are none.
    fn members(&mut self, cid: &Cid, members: &[Identity]) {
        // There is nothing to escape in a name.
        self.list(&format!("\"channel\":\"{cid}\",\"members\":["), members, MEMBERS_IN_PART);
    }

    /// Tells the members of a channel first if they are many.
    fn channel<'a>(&mut self, channel: PublicChannel<'a>) -> PublicChannel<'a> {
        match channel.members {
            Some(members) if members.len() > MEMBERS_IN_CHANNEL => {
                self.members(&channel.channel.key.cid, members);
                PublicChannel { members: None, ..channel }
            }
            _ => channel,
        }
    }

    fn list(&mut self, field: &str, items: &[impl Serialize], at_most: usize) {
        let (part, number) = (ServerKind::Part.as_str(), self.request.0);
        let head = format!("{{\"type\":\"{part}\",\"id\":{number},{field}");
        let mut json = head.clone().into_bytes();
        let mut count = 0;
        for item in items {
            if count == at_most || json.len() >= PART_SIZE {
                self.end(std::mem::replace(&mut json, head.clone().into_bytes()));
                count = 0;
            }
            if count > 0 {
                json.push(b',');
            }
            // Neither the writer nor what is written, which are our own structs, can fail.
            let _ = serde_json::to_writer(&mut json, item);
            count += 1;
        }
        self.end(json);
    }

    fn end(&mut self, mut json: Vec<u8>) {
        json.extend_from_slice(b"]}");
        self.messages.push(json.into());
    }
}
