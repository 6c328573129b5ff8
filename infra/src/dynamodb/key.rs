//! Where an item lies.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::paging::Cursor;
use reachability_domain::push::device::Device;
use reachability_domain::sid::{BindingSid, CredentialSid, KeySid, NotificationSid, ServiceSid, Sid, UserSid};

/// An item with its attributes by name.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Into how many parts the profiles and the bindings of a service are divided: as often a thousand writes a second can go there.
pub(super) const SHARDS: u8 = 8;

/// An item's primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) pk: String,
    pub(super) sk: String,
}

impl Key {
    pub(super) fn account() -> Self {
        Self { pk: "account".to_owned(), sk: "settings".to_owned() }
    }

    pub(super) fn api_key(sid: KeySid) -> Self {
        Self { pk: Self::api_keys(), sk: sid.to_string() }
    }

    /// Where all API keys lie.
    pub(super) fn api_keys() -> String {
        "keys".to_owned()
    }

    pub(super) fn service(sid: ServiceSid) -> Self {
        Self { pk: Self::services(), sk: sid.to_string() }
    }

    /// Where all services lie.
    pub(super) fn services() -> String {
        "services".to_owned()
    }

    pub(super) fn user(service: ServiceSid, sid: UserSid) -> Self {
        // The last bits of a sid are random.
        let shard = (sid.bits() % u128::from(SHARDS)) as u8;
        Self { pk: Self::users(service, shard), sk: sid.to_string() }
    }

    /// Where a part of a service's users lie.
    pub(super) fn users(service: ServiceSid, shard: u8) -> String {
        format!("user#{service}#{shard}")
    }

    pub(super) fn state(service: ServiceSid, identity: &Identity) -> Self {
        Self { pk: format!("state#{service}#{}", identity.as_str()), sk: "state".to_owned() }
    }

    pub(super) fn state_of(user: &UserKey) -> Self {
        Self::state(user.service, &user.identity)
    }

    pub(super) fn credential(sid: CredentialSid) -> Self {
        Self { pk: Self::credentials(), sk: sid.to_string() }
    }

    /// Where all credentials lie.
    pub(super) fn credentials() -> String {
        "credentials".to_owned()
    }

    /// Where the binding of a device lies, whosever it is.
    pub(super) fn binding(service: ServiceSid, device: Device) -> Self {
        let first = *device.sids().start();
        Self { pk: Self::bindings(service, shard_of(first)), sk: first.to_string() }
    }

    /// Where a part of a service's bindings lie.
    pub(super) fn bindings(service: ServiceSid, shard: u8) -> String {
        format!("binding#{service}#{shard}")
    }

    pub(super) fn notification(sid: NotificationSid) -> Self {
        Self { pk: Self::deliveries(sid), sk: "notification".to_owned() }
    }

    pub(super) fn delivery(notification: NotificationSid, binding: BindingSid) -> Self {
        Self { pk: Self::deliveries(notification), sk: binding.to_string() }
    }

    /// Where a notification lies, and what became of it.
    pub(super) fn deliveries(notification: NotificationSid) -> String {
        format!("notification#{notification}")
    }

    /// As the attributes that it is made of.
    pub(super) fn attributes(self) -> Item {
        HashMap::from([("pk".to_owned(), AttributeValue::S(self.pk)), ("sk".to_owned(), AttributeValue::S(self.sk))])
    }
}

/// The part of a service's bindings where this one lies. The first bits of a sid are those of a hash, as good as random.
fn shard_of(sid: BindingSid) -> u8 {
    (sid.bits() >> (128 - SHARDS.ilog2())) as u8
}

/// The parts of a service's bindings in which a list goes on from here, one after the other.
pub(super) fn shards(position: Cursor<BindingSid>) -> Vec<u8> {
    match position {
        Cursor::Start => (0..SHARDS).collect(),
        Cursor::After(sid) => (shard_of(sid)..SHARDS).collect(),
        Cursor::Before(sid) => (0..=shard_of(sid)).rev().collect(),
    }
}

/// The user whose state lies at this partition key; `None` if it is no state.
pub fn user_of_state(pk: &str) -> Option<UserKey> {
    let (service, identity) = pk.strip_prefix("state#")?.split_once('#')?;
    Some(UserKey { service: service.parse().ok()?, identity: identity.parse().ok()? })
}
