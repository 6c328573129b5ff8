//! Notifications and their deliveries.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::{StreamExt, TryStreamExt, stream};
use reachability_domain::identity::Identity;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::push::notification::{Delivery, DeliveryStatus, Notification};
use reachability_domain::push::ports::Notifications;
use reachability_domain::push::recipient::Recipient;
use reachability_domain::sid::{BindingSid, NotificationSid, ServiceSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::key::{Item, Key};
use super::store::DynamoStore;
use super::table::{document, read_documents, unless_refused};

/// How many single writes run concurrently.
const WRITES_AT_ONCE: usize = 32;

/// How long a notification that was made with a key is kept, in seconds. The next one with the key has the same sid, so all
/// deliveries of this one must be gone before: they expire a week after their last attempt, which is up to six days after the
/// notification was made, and DynamoDB removes what has expired within a few days.
const KEYED_SECONDS: u64 = 30 * 86_400;

impl DynamoStore {
    async fn replace_delivery(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let key = Key::delivery(delivery.notification_sid, delivery.binding_sid);
        let item = document(key, &Expiring::of(delivery))?;
        let mut put = self.table.client.put_item().table_name(&self.table.name).set_item(Some(item));
        if delivery.status.is_queued() {
            put = put
                .condition_expression("#status.#status = :queued")
                .expression_attribute_names("#status", "status")
                .expression_attribute_values(":queued", AttributeValue::S(delivery.status.as_str().to_owned()));
        }
        unless_refused(put.send().await).map(drop)
    }
}

#[async_trait]
impl Notifications for DynamoStore {
    async fn create_notification(&self, notification: &Notification) -> Result<(), StoreError> {
        self.table.create(Key::notification(notification.sid), &Expiring::new(notification)).await
    }

    async fn notification(
        &self,
        service: ServiceSid,
        sid: NotificationSid,
    ) -> Result<Option<Notification>, StoreError> {
        let found: Option<Notification> = self.table.find(Key::notification(sid)).await?;
        Ok(found.filter(|notification| notification.service_sid == service))
    }

    async fn replace_notification(&self, notification: &Notification) -> Result<(), StoreError> {
        let item = document(Key::notification(notification.sid), &Expiring::new(notification))?;
        let put = self.table.client.put_item().table_name(&self.table.name).set_item(Some(item));
        unless_refused(put.condition_expression("attribute_exists(pk)").send().await).map(drop)
    }

    async fn add_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        // One by one, since batch writes have no conditions.
        let add = async |delivery: &Delivery| {
            let key = Key::delivery(delivery.notification_sid, delivery.binding_sid);
            self.table.add(key, &Expiring::of(delivery)).await.map(drop)
        };
        stream::iter(deliveries).map(add).buffer_unordered(WRITES_AT_ONCE).try_collect().await
    }

    async fn replace_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        // One by one as well. All are tried: whichever fails, the others have been sent.
        let replace = async |delivery: &Delivery| self.replace_delivery(delivery).await;
        let replaced = stream::iter(deliveries).map(replace).buffer_unordered(WRITES_AT_ONCE);
        replaced.fold(Ok(()), async |all, one: Result<(), StoreError>| all.and(one)).await
    }

    async fn decide_delivery(&self, delivery: &Delivery) -> Result<bool, StoreError> {
        let key = Key::delivery(delivery.notification_sid, delivery.binding_sid);
        let item = document(key.clone(), &Expiring::of(delivery))?;
        let put = self.table.client.put_item().table_name(&self.table.name).set_item(Some(item));
        let put = put
            .condition_expression("#status.#status = :queued AND attribute_not_exists(decided_at)")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":queued", AttributeValue::S(DeliveryStatus::NEW.as_str().to_owned()));
        // It may have been replaced by an attempt whose answer was lost.
        let is_done = unless_refused(put.send().await)?.is_some();
        Ok(is_done || self.table.find::<Delivery>(key).await?.as_ref() == Some(delivery))
    }

    async fn deliveries_to(
        &self,
        notification: NotificationSid,
        bindings: &[BindingSid],
    ) -> Result<Vec<Delivery>, StoreError> {
        let keys = bindings.iter().map(|binding| Key::delivery(notification, *binding));
        read_documents(self.table.read_all(keys).await?)
    }

    async fn deliveries(
        &self,
        notification: NotificationSid,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Delivery>, StoreError> {
        // The partition holds the notification too, after all its deliveries.
        let is_delivery =
            |item: &Item| item.get("sk").and_then(|sk| sk.as_s().ok()).is_some_and(|sk| sk.starts_with("BS"));
        let items = self.table.query_those(Key::deliveries(notification), page, is_delivery).await?;
        Ok(page.page_of_read(read_documents(items)?))
    }

    async fn settle(&self, recipients: &[Recipient]) -> Result<Vec<Recipient>, StoreError> {
        let settle = async |recipient: &Recipient| {
            let key = Key::recipient(recipient.notification_sid, &recipient.identity);
            if self.table.add(key.clone(), &Expiring::of_recipient(recipient)).await? {
                return Ok(recipient.clone());
            }
            self.table.find(key).await?.ok_or(StoreError::Conflict)
        };
        stream::iter(recipients).map(settle).buffered(WRITES_AT_ONCE).try_collect().await
    }

    async fn settled(
        &self,
        notification: NotificationSid,
        identities: &[Identity],
    ) -> Result<Vec<Option<Recipient>>, StoreError> {
        if let [identity] = identities {
            return Ok(vec![self.table.find(Key::recipient(notification, identity)).await?]);
        }
        // A request must not name a key twice.
        let keys: HashSet<&Identity> = identities.iter().collect();
        let items =
            self.table.read_all(keys.into_iter().map(|identity| Key::recipient(notification, identity))).await?;
        let recipients: Vec<Recipient> = read_documents(items)?;
        let by_identity: HashMap<&Identity, &Recipient> = recipients.iter().map(|it| (&it.identity, it)).collect();
        Ok(identities.iter().map(|identity| by_identity.get(identity).copied().cloned()).collect())
    }
}

/// A record that DynamoDB removes after its time to live.
#[derive(PartialEq, Serialize, Deserialize)]
struct Expiring<T> {
    #[serde(flatten)]
    it: T,
    /// When to remove it, in seconds since the epoch.
    ttl: i64,
}

impl Expiring<Notification> {
    fn new(notification: &Notification) -> Self {
        let kept_for = if notification.keyed_request.is_some() { KEYED_SECONDS } else { Notification::KEPT_SECONDS };
        Self { it: notification.clone(), ttl: expires_at(notification.date_created, kept_for) }
    }
}

impl Expiring<Delivery> {
    fn of(delivery: &Delivery) -> Self {
        Self { it: delivery.clone(), ttl: expires_at(delivery.date_updated, Notification::KEPT_SECONDS) }
    }
}

impl Expiring<Recipient> {
    fn of_recipient(recipient: &Recipient) -> Self {
        Self { it: recipient.clone(), ttl: expires_at(recipient.date_updated, Notification::KEPT_SECONDS) }
    }
}

/// When a record of this time that is kept for so many seconds is removed, in seconds since the epoch.
fn expires_at(at: Timestamp, kept_for: u64) -> i64 {
    at.plus(Duration::from_secs(kept_for)).as_millis() / 1_000
}
