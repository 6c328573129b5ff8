//! Primary keys of the items.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::paging::Cursor;
use reachability_domain::push::device::Device;
use reachability_domain::sid::{BindingSid, CredentialSid, KeySid, NotificationSid, ServiceSid, Sid, UserSid};
use reachability_domain::store::StoreError;

/// An item with its attributes by name.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Number of shards for a service's profiles and bindings. A partition takes about a thousand writes per second.
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

    /// Partition of all API keys.
    pub(super) fn api_keys() -> String {
        "keys".to_owned()
    }

    pub(super) fn service(sid: ServiceSid) -> Self {
        Self { pk: Self::services(), sk: sid.to_string() }
    }

    /// Partition of all services.
    pub(super) fn services() -> String {
        "services".to_owned()
    }

    pub(super) fn user(service: ServiceSid, sid: UserSid) -> Self {
        // The last bits of a sid are random.
        let shard = (sid.bits() % u128::from(SHARDS)) as u8;
        Self { pk: Self::users(service, shard), sk: sid.to_string() }
    }

    /// Partition of one shard of a service's users.
    pub(super) fn users(service: ServiceSid, shard: u8) -> String {
        format!("user#{service}#{shard}")
    }

    /// Whether users' profiles lie here.
    pub(super) fn has_users(pk: &str) -> bool {
        pk.starts_with("user#")
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

    /// Partition of all credentials.
    pub(super) fn credentials() -> String {
        "credentials".to_owned()
    }

    /// Key of a device's binding. It does not depend on the user.
    pub(super) fn binding(service: ServiceSid, device: Device) -> Self {
        let first = *device.sids().start();
        Self { pk: Self::bindings(service, shard_of(first)), sk: first.to_string() }
    }

    /// Partition of one shard of a service's bindings.
    pub(super) fn bindings(service: ServiceSid, shard: u8) -> String {
        format!("binding#{service}#{shard}")
    }

    /// Whether bindings lie here.
    pub(super) fn has_bindings(pk: &str) -> bool {
        pk.starts_with("binding#")
    }

    pub(super) fn notification(sid: NotificationSid) -> Self {
        Self { pk: Self::deliveries(sid), sk: "notification".to_owned() }
    }

    pub(super) fn delivery(notification: NotificationSid, binding: BindingSid) -> Self {
        Self { pk: Self::deliveries(notification), sk: binding.to_string() }
    }

    /// Partition of a notification and its deliveries.
    pub(super) fn deliveries(notification: NotificationSid) -> String {
        format!("notification#{notification}")
    }

    /// Whether this is the key of a delivery: its notification lies in the same partition. What is decided about a user lies in
    /// another one, under the user's identity, which may look like the sid of a binding.
    pub(super) fn is_delivery(pk: &str, sk: &str) -> bool {
        let notification = pk.strip_prefix("notification#").map(str::parse::<NotificationSid>);
        matches!(notification, Some(Ok(_))) && sk.parse::<BindingSid>().is_ok()
    }

    /// Key of the final decision about a user of a notification. Not in the partition of its deliveries, which is listed.
    pub(super) fn recipient(notification: NotificationSid, identity: &Identity) -> Self {
        Self { pk: format!("{}#recipients", Self::deliveries(notification)), sk: identity.as_str().to_owned() }
    }

    /// Key of the attempts to deliver a webhook, by the id of its message.
    pub(super) fn webhook(message: &str) -> Self {
        Self { pk: format!("webhook#{message}"), sk: "attempts".to_owned() }
    }

    /// The key as attributes.
    pub(super) fn attributes(self) -> Item {
        HashMap::from([("pk".to_owned(), AttributeValue::S(self.pk)), ("sk".to_owned(), AttributeValue::S(self.sk))])
    }
}

/// The sid that is an item's sort key.
///
/// # Errors
/// [`StoreError::Corrupt`] if it is none.
pub(super) fn sid<K: Sid>(item: &Item) -> Result<K, StoreError> {
    let sid = item.get("sk").and_then(|sk| sk.as_s().ok()).and_then(|sk| sk.parse().ok());
    sid.ok_or_else(|| StoreError::Corrupt("the sort key is no sid".into()))
}

/// The shard of a binding. The first bits of a sid are a hash, so the shards have about the same size.
fn shard_of(sid: BindingSid) -> u8 {
    (sid.bits() >> (128 - SHARDS.ilog2())) as u8
}

/// The shards that a list reads from this position on, in order.
pub(super) fn shards(position: Cursor<BindingSid>) -> Vec<u8> {
    match position {
        Cursor::Start => (0..SHARDS).collect(),
        Cursor::After(sid) => (shard_of(sid)..SHARDS).collect(),
        Cursor::Before(sid) => (0..=shard_of(sid)).rev().collect(),
    }
}

/// The user whose state has this partition key; `None` if it is not the key of a state.
pub(super) fn user_of_state(pk: &str) -> Option<UserKey> {
    let (service, identity) = pk.strip_prefix("state#")?.split_once('#')?;
    Some(UserKey { service: service.parse().ok()?, identity: identity.parse().ok()? })
}
