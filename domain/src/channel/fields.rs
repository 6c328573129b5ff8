//! Channels as rows of a query.

use std::collections::BTreeSet;

use crate::channel::Channel;
use crate::identity::Identity;
use crate::query::fields::{Fields, Value};

/// A channel, with those of its members that a query names.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelRow {
    /// The channel.
    pub channel: Channel,
    /// Members of it, at least those that the query names.
    pub named: BTreeSet<Identity>,
}

impl Fields for ChannelRow {
    fn field(&self, name: &str) -> Value<'_> {
        let channel = &self.channel;
        match name {
            "cid" => Value::Text(channel.key.cid.to_string().into()),
            "type" => Value::text(Some(channel.key.cid.kind.as_str())),
            "id" => Value::text(Some(channel.key.cid.id.as_str())),
            "created_by" => Value::text(channel.created_by.as_ref().map(Identity::as_str)),
            "created_at" => Value::Time(channel.created_at),
            "updated_at" => Value::Time(channel.updated_at),
            "last_message_at" => Value::time(channel.last_message_at),
            // There are at most 10,000.
            "member_count" => Value::Number(f64::from(u32::try_from(channel.member_count).unwrap_or(u32::MAX))),
            "members" => Value::Other,
            name => channel.custom.get(name).map_or(Value::Absent, Value::from),
        }
    }

    fn has_member(&self, identity: &str) -> bool {
        self.named.iter().any(|member| member.as_str() == identity)
    }
}
