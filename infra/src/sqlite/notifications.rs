//! Notifications and their deliveries.

use async_trait::async_trait;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::push::notification::{Delivery, Notification};
use reachability_domain::push::ports::Notifications;
use reachability_domain::sid::{BindingSid, NotificationSid, ServiceSid};
use reachability_domain::store::StoreError;
use rusqlite::{Connection, params};

use super::rows::{Key, Rows, create, execute, write_document};
use super::store::SqliteStore;
use super::writer::Terms;

/// Adds a delivery, unless it exists.
const ADD: &str = "INSERT INTO deliveries VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";

/// Stores a delivery that is accepted or has failed.
const END: &str = "INSERT INTO deliveries VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET document = excluded.document";

/// Stores why a delivery is queued still.
const WAIT: &str = "UPDATE deliveries SET document = ?3
     WHERE notification = ?1 AND sid = ?2 AND json_extract(document, '$.status.status') = 'queued'";

impl SqliteStore {
    /// Runs a statement for each delivery, all in one transaction.
    async fn write_deliveries(
        &self,
        statement: impl Fn(&Delivery) -> &'static str,
        deliveries: &[Delivery],
    ) -> Result<(), StoreError> {
        let row = |delivery: &Delivery| {
            Ok((statement(delivery), delivery.notification_sid, delivery.binding_sid, write_document(delivery)?))
        };
        let rows = deliveries.iter().map(row).collect::<Result<Vec<_>, StoreError>>()?;
        let bytes = rows.iter().map(|(.., document)| document.len()).sum();
        let terms = Terms { bytes, ..Terms::PROMISED };
        let write = move |connection: &Connection| {
            for (statement, notification, binding, document) in &rows {
                execute(connection, statement, params![Key(*notification), Key(*binding), document])?;
            }
            Ok(())
        };
        self.database.write_then(terms, write, |()| ()).await
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
        self.write_deliveries(|_| ADD, deliveries).await
    }

    async fn replace_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        self.write_deliveries(|delivery| if delivery.status.is_queued() { WAIT } else { END }, deliveries).await
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
}
