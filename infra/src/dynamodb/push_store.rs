//! Everything for pushes. There is one item for each device, written together with the states of those whose device it
//! was and is.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, TransactWriteItem};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::paging::{Cursor, Page, PageRequest};
use reachability_domain::presence::ports::States;
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::command::{BindingCommand, Transition};
use reachability_domain::push::credential::Credential;
use reachability_domain::push::device::Device;
use reachability_domain::push::notification::{Delivery, Notification};
use reachability_domain::push::ports::Applied;
use reachability_domain::push::ports::{Bindings, Credentials, Notifications};
use reachability_domain::push::registration::Registration;
use reachability_domain::sid::{BindingSid, CredentialSid, NotificationSid, ServiceSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::key::{self, Item, Key, SHARDS};
use super::state::StoredState;
use super::store::{
    ATTEMPTS, Contended, DELETED_AT_ONCE, DynamoStore, READ_AT_ONCE, Transacted, back_off, cut, document, incomplete,
    read_document, state_item, unchanged, unless_refused,
};

/// How many writes that cannot be one request are made at a time.
const WRITES_AT_ONCE: usize = 32;

impl DynamoStore {
    /// What a step writes, on the condition that nobody writes any of it in between.
    async fn transition(
        &self,
        service: ServiceSid,
        device: Device,
        before: Option<&Binding>,
        step: &Transition,
        user: Option<&User>,
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let mut writes = Vec::new();
        if let Some((identity, sid)) = &step.leaves {
            let key = Key::state(service, identity);
            let read = self.state(key.clone()).await?;
            let mut next = read.clone();
            next.state.remove_device(*sid, now);
            writes.push(self.put_state(key, &read, &next)?);
        }
        let Some(binding) = &step.binding else {
            writes.push(self.delete_binding(service, device, before)?);
            return Ok(writes);
        };
        writes.push(self.put_binding(device, before, binding)?);
        let key = Key::state(service, &binding.identity);
        let read = self.state(key.clone()).await?;
        let mut next = read.clone();
        if let Some(gone) = next.state.add_device(binding.sid, Registration::of(binding), step.announced_in, now) {
            writes.push(self.delete_binding(service, Device::of_binding(gone), None)?);
        }
        if let Some(user) = user
            && read.sid.is_none()
        {
            next.sid = Some(user.sid);
            writes.push(self.put_profile(user)?);
        }
        writes.push(self.put_state(key, &read, &next)?);
        Ok(writes)
    }

    fn put_state(&self, key: Key, read: &StoredState, next: &StoredState) -> Result<TransactWriteItem, StoreError> {
        let (condition, values) = unchanged(read);
        let put = self.put(state_item(key, next)).condition_expression(condition);
        let put = put.set_expression_attribute_values(values).build().map_err(incomplete)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn put_binding(
        &self,
        device: Device,
        before: Option<&Binding>,
        binding: &Binding,
    ) -> Result<TransactWriteItem, StoreError> {
        let put = self.put(document(Key::binding(binding.service_sid, device), binding)?);
        let put = match before {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(known) => put
                .condition_expression("version = :version AND sid = :sid")
                .expression_attribute_values(":version", AttributeValue::N(known.version.to_string()))
                .expression_attribute_values(":sid", AttributeValue::S(known.sid.to_string())),
        };
        Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
    }

    /// Deletes a device's binding: on the condition that it is as it was, if that matters.
    pub(super) fn delete_binding(
        &self,
        service: ServiceSid,
        device: Device,
        known: Option<&Binding>,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut delete =
            Delete::builder().table_name(&self.table).set_key(Some(Key::binding(service, device).attributes()));
        if let Some(known) = known {
            delete = delete
                .condition_expression("version = :version AND sid = :sid")
                .expression_attribute_values(":version", AttributeValue::N(known.version.to_string()))
                .expression_attribute_values(":sid", AttributeValue::S(known.sid.to_string()));
        }
        Ok(TransactWriteItem::builder().delete(delete.build().map_err(incomplete)?).build())
    }

    async fn bindings_of_service(
        &self,
        service: ServiceSid,
        filter: &BindingFilter,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Binding>, StoreError> {
        // A binding lies at the least sid that one of its device can have.
        let at = PageRequest {
            position: match page.position {
                Cursor::Before(sid) => Cursor::Before(*Device::of_binding(sid).sids().start()),
                position => position,
            },
            ..page
        };
        let is_wanted = |item: &Item| {
            let channel = item.get("channel").and_then(|channel| channel.as_s().ok());
            let channel = channel.and_then(|channel| channel.parse().ok());
            filter.channels.is_empty()
                || channel.is_none_or(|channel| filter.channels.iter().any(|wanted| wanted.is(channel)))
        };
        // The parts follow each other, so that most pages are in one of them.
        let mut bindings: Vec<Binding> = Vec::new();
        for shard in key::shards(page.position) {
            if bindings.len() <= page.limit {
                let rest = PageRequest { limit: page.limit - bindings.len(), ..at };
                for item in self.query_those(Key::bindings(service, shard), rest, is_wanted).await? {
                    bindings.push(read_document(item)?);
                }
            }
        }
        Ok(cut(bindings, page))
    }

    async fn bindings_of_users(
        &self,
        service: ServiceSid,
        filter: &BindingFilter,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Binding>, StoreError> {
        let user = |identity: &_| UserKey { service, identity: Clone::clone(identity) };
        let users: Vec<UserKey> = filter.identities.iter().map(user).collect();
        let states = self.states(&users).await?;
        // A device that is changing hands may be in two states, and is one item.
        let sids = states.iter().flat_map(|state| state.registrations.devices()).map(|(sid, _)| sid);
        let devices: BTreeSet<Device> = sids.map(Device::of_binding).collect();
        let keys: Vec<Item> = devices.into_iter().map(|device| Key::binding(service, device).attributes()).collect();
        let read = try_join_all(keys.chunks(READ_AT_ONCE).map(|keys| self.read_all(keys))).await?;
        let bindings = read.into_iter().flatten().map(read_document).collect::<Result<Vec<Binding>, StoreError>>()?;
        let bindings = bindings.into_iter().filter(|binding| filter.matches(binding)).collect();
        Ok(page.show(bindings, |binding| binding.sid))
    }

    /// Removes up to so many bindings that are left of a service. Returns whether more are left.
    pub(super) async fn purge_bindings(&self, service: ServiceSid, at_most: usize) -> Result<bool, StoreError> {
        let page = PageRequest::<BindingSid> { position: Cursor::Start, limit: at_most };
        let mut devices: Vec<Device> = Vec::new();
        for shard in 0..SHARDS {
            if devices.len() <= at_most {
                for item in self.query(Key::bindings(service, shard), page).await? {
                    devices.push(read_document::<Binding>(item)?.device());
                }
            }
        }
        let more = devices.len() > at_most;
        devices.truncate(at_most);
        let keys: Vec<Key> = devices.iter().map(|device| Key::binding(service, *device)).collect();
        try_join_all(keys.chunks(DELETED_AT_ONCE).map(|keys| self.delete_all(keys))).await?;
        Ok(more)
    }
}

#[async_trait]
impl Bindings for DynamoStore {
    async fn apply(
        &self,
        service: ServiceSid,
        device: Device,
        action: &BindingCommand,
        user: Option<&User>,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        // Not a part of the transaction, as when a user is made.
        if matches!(action, BindingCommand::Register { .. }) && self.service(service).await?.is_none() {
            return Err(StoreError::Missing);
        }
        let key = Key::binding(service, device);
        for attempt in 0..ATTEMPTS {
            let before: Option<Binding> = self.find(key.clone()).await?;
            let Some(step) = action.transition(before.as_ref(), now) else {
                return Ok(Applied { after: before.clone(), before });
            };
            let writes = self.transition(service, device, before.as_ref(), &step, user, now).await?;
            match self.transact(writes).await? {
                Transacted::Done => return Ok(Applied { before, after: step.binding }),
                Transacted::Refused(_) | Transacted::NotNow => back_off(attempt).await,
            }
        }
        Err(StoreError::Unavailable(Contended.into()))
    }

    async fn binding(&self, service: ServiceSid, sid: BindingSid) -> Result<Option<Binding>, StoreError> {
        let found: Option<Binding> = self.find(Key::binding(service, Device::of_binding(sid))).await?;
        Ok(found.filter(|binding| binding.sid == sid))
    }

    async fn bindings(
        &self,
        service: ServiceSid,
        filter: &BindingFilter,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Binding>, StoreError> {
        if filter.identities.is_empty() {
            self.bindings_of_service(service, filter, page).await
        } else {
            self.bindings_of_users(service, filter, page).await
        }
    }
}

#[async_trait]
impl Credentials for DynamoStore {
    async fn create_credential(&self, credential: &Credential) -> Result<(), StoreError> {
        self.create(Key::credential(credential.sid), credential).await
    }

    async fn credential(&self, sid: CredentialSid) -> Result<Option<Credential>, StoreError> {
        self.find(Key::credential(sid)).await
    }

    async fn credentials(&self, page: PageRequest<CredentialSid>) -> Result<Page<Credential>, StoreError> {
        self.slice(Key::credentials(), page).await
    }

    async fn replace_credential(&self, credential: &Credential) -> Result<(), StoreError> {
        let next = Credential { version: credential.version + 1, ..credential.clone() };
        self.replace(Key::credential(credential.sid), credential.version, &next).await
    }

    async fn delete_credential(&self, sid: CredentialSid) -> Result<bool, StoreError> {
        self.delete(Key::credential(sid)).await
    }
}

#[async_trait]
impl Notifications for DynamoStore {
    async fn create_notification(&self, notification: &Notification) -> Result<(), StoreError> {
        let expires_at = expires_at(notification.date_created);
        self.create(Key::notification(notification.sid), &Expiring { it: notification.clone(), ttl: expires_at }).await
    }

    async fn notification(
        &self,
        service: ServiceSid,
        sid: NotificationSid,
    ) -> Result<Option<Notification>, StoreError> {
        let found: Option<Notification> = self.find(Key::notification(sid)).await?;
        Ok(found.filter(|notification| notification.service_sid == service))
    }

    async fn add_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        // One by one, since a batch has no conditions.
        let add = async |delivery: &Delivery| {
            let key = Key::delivery(delivery.notification_sid, delivery.binding_sid);
            self.add(key, &Expiring::of(delivery)).await.map(drop)
        };
        stream::iter(deliveries).map(add).buffer_unordered(WRITES_AT_ONCE).try_collect().await
    }

    async fn replace_delivery(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let key = Key::delivery(delivery.notification_sid, delivery.binding_sid);
        let item = document(key, &Expiring::of(delivery))?;
        let mut put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        if delivery.status.is_queued() {
            put = put
                .condition_expression("#status.#status = :queued")
                .expression_attribute_names("#status", "status")
                .expression_attribute_values(":queued", AttributeValue::S(delivery.status.as_str().to_owned()));
        }
        unless_refused(put.send().await).map(drop)
    }

    async fn delivery(
        &self,
        notification: NotificationSid,
        binding: BindingSid,
    ) -> Result<Option<Delivery>, StoreError> {
        self.find(Key::delivery(notification, binding)).await
    }

    async fn deliveries(
        &self,
        notification: NotificationSid,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Delivery>, StoreError> {
        // The notification itself lies behind all of them.
        let is_delivery =
            |item: &Item| item.get("sk").and_then(|sk| sk.as_s().ok()).is_some_and(|sk| sk.starts_with("BS"));
        let items = self.query_those(Key::deliveries(notification), page, is_delivery).await?;
        let items = items.into_iter().map(read_document).collect::<Result<Vec<Delivery>, StoreError>>()?;
        Ok(cut(items, page))
    }
}

/// A record that DynamoDB may remove when its time is over.
#[derive(PartialEq, Serialize, Deserialize)]
struct Expiring<T> {
    #[serde(flatten)]
    it: T,
    /// In seconds since the epoch.
    ttl: i64,
}

impl Expiring<Delivery> {
    fn of(delivery: &Delivery) -> Self {
        Self { it: delivery.clone(), ttl: expires_at(delivery.date_updated) }
    }
}

/// When a notification made then is forgotten, in seconds since the epoch.
fn expires_at(made_at: Timestamp) -> i64 {
    made_at.plus(Duration::from_secs(Notification::KEPT_SECONDS)).as_millis() / 1_000
}
