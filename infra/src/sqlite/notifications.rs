//! Notifications and their deliveries.

use async_trait::async_trait;
use reachability_domain::identity::Identity;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::push::notification::{Delivery, Notification};
use reachability_domain::push::ports::Notifications;
use reachability_domain::push::recipient::Recipient;
use reachability_domain::sid::{BindingSid, NotificationSid, ServiceSid};
use reachability_domain::store::StoreError;
use rusqlite::{Connection, params};

use super::rows::{Key, Rows, create, execute, write_document};
use super::store::SqliteStore;

impl SqliteStore {
    async fn write_deliveries(&self, sql: &'static str, deliveries: &[Delivery]) -> Result<(), StoreError> {
        let row =
            |delivery: &Delivery| Ok((delivery.notification_sid, delivery.binding_sid, write_document(delivery)?));
        let rows = deliveries.iter().map(row).collect::<Result<Vec<_>, StoreError>>()?;
        self.database
            .write(move |connection| {
                for (notification, binding, document) in &rows {
                    execute(connection, sql, params![Key(*notification), Key(*binding), document])?;
                }
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl Notifications for SqliteStore {
    async fn create_notification(&self, notification: &Notification) -> Result<(), StoreError> {
        let (sid, service, made_at) = (notification.sid, notification.service_sid, notification.date_created);
        let document = write_document(notification)?;
        self.database
            .write(move |connection| {
                let insert = "INSERT INTO notifications (sid, service, made_at, document) VALUES (?1, ?2, ?3, ?4)";
                create(connection, insert, params![Key(sid), Key(service), made_at.as_millis(), document])
            })
            .await
    }

    async fn notification(
        &self,
        service: ServiceSid,
        sid: NotificationSid,
    ) -> Result<Option<Notification>, StoreError> {
        self.database.look_up(|connection| {
            Rows::new("notifications", "sid = ?1 AND service = ?2", &[&Key(sid), &Key(service)]).find(connection)
        })
    }

    async fn add_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        self.write_deliveries("INSERT INTO deliveries VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING", deliveries).await
    }

    async fn replace_delivery(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let replace = if delivery.status.is_queued() {
            "UPDATE deliveries SET document = ?3
             WHERE notification = ?1 AND sid = ?2 AND json_extract(document, '$.status.status') = 'queued'"
        } else {
            "INSERT OR REPLACE INTO deliveries VALUES (?1, ?2, ?3)"
        };
        self.write_deliveries(replace, std::slice::from_ref(delivery)).await
    }

    async fn decide_delivery(&self, delivery: &Delivery) -> Result<bool, StoreError> {
        let (notification, binding) = (delivery.notification_sid, delivery.binding_sid);
        let document = write_document(delivery)?;
        self.database
            .write(move |connection| {
                let update = "UPDATE deliveries SET document = ?3 WHERE notification = ?1 AND sid = ?2
                     AND document ->> '$.status.status' = 'queued' AND document ->> '$.decided_at' IS NULL";
                Ok(execute(connection, update, params![Key(notification), Key(binding), document])? > 0)
            })
            .await
    }

    async fn delivery(
        &self,
        notification: NotificationSid,
        binding: BindingSid,
    ) -> Result<Option<Delivery>, StoreError> {
        self.database.look_up(|connection| {
            let one = "notification = ?1 AND sid = ?2";
            Rows::new("deliveries", one, &[&Key(notification), &Key(binding)]).find(connection)
        })
    }

    async fn deliveries(
        &self,
        notification: NotificationSid,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Delivery>, StoreError> {
        self.database
            .read(move |connection| {
                Rows::new("deliveries", "notification = ?1", &[&Key(notification)]).page(connection, page)
            })
            .await
    }

    async fn settle(&self, recipients: &[Recipient]) -> Result<Vec<Recipient>, StoreError> {
        let row = |it: &Recipient| Ok((it.notification_sid, it.identity.clone(), write_document(it)?));
        let rows = recipients.iter().map(row).collect::<Result<Vec<_>, StoreError>>()?;
        self.database
            .write(move |connection| {
                let settle = |(notification, identity, document): &(NotificationSid, Identity, String)| {
                    let insert = "INSERT INTO recipients VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
                    execute(connection, insert, params![Key(*notification), identity.as_str(), document])?;
                    // It is there now.
                    find_recipient(connection, *notification, identity)?.ok_or(StoreError::Missing)
                };
                rows.iter().map(settle).collect()
            })
            .await
    }

    async fn settled(
        &self,
        notification: NotificationSid,
        identities: &[Identity],
    ) -> Result<Vec<Option<Recipient>>, StoreError> {
        if let [identity] = identities {
            return self.database.look_up(|connection| Ok(vec![find_recipient(connection, notification, identity)?]));
        }
        let identities = identities.to_vec();
        self.database
            .read(move |connection| {
                identities.iter().map(|identity| find_recipient(connection, notification, identity)).collect()
            })
            .await
    }
}

fn find_recipient(
    connection: &Connection,
    notification: NotificationSid,
    identity: &Identity,
) -> Result<Option<Recipient>, StoreError> {
    let one = "notification = ?1 AND identity = ?2";
    Rows::new("recipients", one, &[&Key(notification), &identity.as_str()]).find(connection)
}
