//! Notifications and their deliveries.

use async_trait::async_trait;
use reachability_domain::identity::Identity;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::push::notification::{Delivery, DeliveryStatus, Notification};
use reachability_domain::push::ports::Notifications;
use reachability_domain::push::recipient::Recipient;
use reachability_domain::push::report::Report;
use reachability_domain::sid::{BindingSid, NotificationSid, ServiceSid};
use reachability_domain::store::StoreError;
use rusqlite::{Connection, params};

use super::reports;
use super::rows::{Key, Rows, create, execute, write_document};
use super::store::SqliteStore;
use super::writer::Terms;

/// Adds a delivery, unless it exists.
const ADD: &str = "INSERT INTO deliveries VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";

/// Stores a delivery that is accepted or skipped.
const END: &str = "INSERT INTO deliveries VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET document = excluded.document";

/// Stores why a delivery is queued still.
const WAIT: &str = "UPDATE deliveries SET document = ?3
     WHERE notification = ?1 AND sid = ?2 AND json_extract(document, '$.status.status') = 'queued'";

/// A delivery that is to be written by a statement.
struct Row {
    statement: &'static str,
    notification: NotificationSid,
    binding: BindingSid,
    document: String,
}

impl Row {
    fn of(delivery: &Delivery, statement: &'static str) -> Result<Self, StoreError> {
        let (notification, binding) = (delivery.notification_sid, delivery.binding_sid);
        Ok(Self { statement, notification, binding, document: write_document(delivery)? })
    }

    fn write(&self, connection: &Connection) -> Result<(), StoreError> {
        let parameters = params![Key(self.notification), Key(self.binding), self.document];
        execute(connection, self.statement, parameters).map(drop)
    }
}

/// The terms of a write of deliveries that are promised to somebody, with so many bytes each.
fn promised(bytes: impl Iterator<Item = usize>) -> Terms {
    Terms { bytes: bytes.sum(), ..Terms::PROMISED }
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

    async fn replace_notification(&self, notification: &Notification) -> Result<(), StoreError> {
        let (sid, document) = (notification.sid, write_document(notification)?);
        self.database
            .write(move |connection| {
                let update = "UPDATE notifications SET document = ?2 WHERE sid = ?1";
                execute(connection, update, params![Key(sid), document]).map(drop)
            })
            .await
    }

    async fn add_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        let rows = deliveries.iter().map(|delivery| Row::of(delivery, ADD)).collect::<Result<Vec<_>, StoreError>>()?;
        let terms = promised(rows.iter().map(|row| row.document.len()));
        let write = move |connection: &Connection| rows.iter().try_for_each(|row| row.write(connection));
        self.database.write_then(terms, write, |()| ()).await
    }

    async fn replace_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        let (mut rows, mut failed) = (vec![], vec![]);
        for delivery in deliveries {
            match &delivery.status {
                DeliveryStatus::Queued { .. } => rows.push(Row::of(delivery, WAIT)?),
                DeliveryStatus::Accepted { .. } | DeliveryStatus::Skipped => rows.push(Row::of(delivery, END)?),
                DeliveryStatus::Failed { .. } => failed.push(delivery.clone()),
            }
        }
        let bytes = rows.iter().map(|row| row.document.len()).chain(failed.iter().map(|_| Terms::SMALL));
        self.write_on(promised(bytes), move |writer| {
            rows.iter().try_for_each(|row| row.write(writer))?;
            failed.iter().try_for_each(|delivery| reports::fail_delivery(writer, delivery))
        })
        .await
    }

    async fn decide_delivery(&self, delivery: &Delivery) -> Result<bool, StoreError> {
        let (notification, binding) = (delivery.notification_sid, delivery.binding_sid);
        let (document, report) = (write_document(delivery)?, Report::of_delivery(None, delivery));
        let at = delivery.date_updated;
        self.write(move |writer| {
            let update = "UPDATE deliveries SET document = ?3 WHERE notification = ?1 AND sid = ?2
                 AND document ->> '$.status.status' = 'queued' AND document ->> '$.decided_at' IS NULL";
            let is_done = execute(writer, update, params![Key(notification), Key(binding), document])? > 0;
            if let Some(report) = report.filter(|_| is_done) {
                reports::tell(writer, report, at)?;
            }
            Ok(is_done)
        })
        .await
    }

    async fn deliveries_to(
        &self,
        notification: NotificationSid,
        bindings: &[BindingSid],
    ) -> Result<Vec<Delivery>, StoreError> {
        let find = move |connection: &Connection, binding: BindingSid| {
            let one = "notification = ?1 AND sid = ?2";
            Rows::new("deliveries", one, &[&Key(notification), &Key(binding)]).find(connection)
        };
        self.database.find_all(bindings, find).await
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
