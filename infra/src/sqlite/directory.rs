//! The account's settings, and services.

use async_trait::async_trait;
use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::ports::{Accounts, Services};
use reachability_domain::directory::service::Service;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::presence::change::Notice;
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::{ToSql, params};

use super::feed::Writer;
use super::purges;
use super::rows::{Key, Rows, create, execute, write_document};
use super::store::SqliteStore;

/// The account's settings: at most one row.
pub(super) const ACCOUNT: Rows<'static> = Rows::new("account", "true", &[]);

#[async_trait]
impl Accounts for SqliteStore {
    async fn account(&self) -> Result<AccountSettings, StoreError> {
        self.database.look_up(|connection| Ok(ACCOUNT.find(connection)?.unwrap_or_default()))
    }

    async fn replace_account(&self, settings: &AccountSettings) -> Result<(), StoreError> {
        let (version, document) = (settings.version, write_document(settings)?);
        self.database
            .write(move |connection| {
                if version > 0 {
                    return match ACCOUNT.replace(connection, version, &document) {
                        Err(StoreError::Missing) => Err(StoreError::Conflict),
                        replaced => replaced,
                    };
                }
                let insert = "INSERT INTO account (id, version, document) VALUES (1, 1, ?1) ON CONFLICT DO NOTHING";
                match execute(connection, insert, [document])? {
                    0 => Err(StoreError::Conflict),
                    _ => Ok(()),
                }
            })
            .await
    }
}

#[async_trait]
impl Services for SqliteStore {
    async fn create_service(&self, service: &Service) -> Result<(), StoreError> {
        let service = service.clone();
        self.write(move |writer| {
            // It would lose its records to the removal of those that an earlier one has left.
            if Rows::new("deleted_services", "sid = ?1", &[&Key(service.sid)]).exist(writer)? {
                return Err(StoreError::Exists);
            }
            let insert = "INSERT INTO services (sid, version, document) VALUES (?1, ?2, ?3)";
            create(writer, insert, params![Key(service.sid), service.version, write_document(&service)?])?;
            tell(writer, None, Some(&service))
        })
        .await
    }

    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError> {
        let before = match self.database.services.get(&sid) {
            Ok(service) => return Ok(Some(Service::clone(&service))),
            Err(before) => before,
        };
        let found: Option<Service> =
            self.database.look_up(|connection| Rows::new("services", "sid = ?1", &[&Key(sid)]).find(connection))?;
        if let Some(service) = &found {
            self.database.services.add(before, sid, service.clone());
        }
        Ok(found)
    }

    async fn services(&self, page: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError> {
        self.database.read(move |connection| Rows::new("services", "true", &[]).page(connection, page)).await
    }

    async fn replace_service(&self, service: &Service) -> Result<(), StoreError> {
        let service = service.clone();
        self.write(move |writer| {
            let sid = Key(service.sid);
            let parameters: [&dyn ToSql; 1] = [&sid];
            let rows = Rows::new("services", "sid = ?1", &parameters);
            let before: Option<Service> = rows.find(writer)?;
            rows.replace(writer, service.version, &write_document(&service)?)?;
            tell(writer, before.as_ref(), Some(&service))
        })
        .await
    }

    /// The records of the service are removed later, in parts ([`SqliteStore::purge_some`]).
    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError> {
        let existed = self
            .write(move |writer| {
                let deleted: Option<Service> = Rows::new("services", "sid = ?1", &[&Key(sid)]).take(writer)?;
                if deleted.is_some() {
                    purges::note(writer, sid)?;
                }
                tell(writer, deleted.as_ref(), None)?;
                Ok(deleted.is_some())
            })
            .await?;
        self.services_deleted.notify_one();
        Ok(existed)
    }
}

impl SqliteStore {
    /// Whether this service exists. If not, what is left of it is about to be removed, and nobody is to see it.
    pub(super) async fn has_service(&self, sid: ServiceSid) -> Result<bool, StoreError> {
        Ok(self.service(sid).await?.is_some())
    }
}

/// Adds to the feed what a write of a service leads to.
fn tell(writer: &Writer<'_>, before: Option<&Service>, after: Option<&Service>) -> Result<(), StoreError> {
    writer.writes_service();
    let Some(entry) = FeedEntry::of_service(before, after) else { return Ok(()) };
    let at = match &entry.notice {
        Some(Notice::Service(switch)) => switch.at.unwrap_or_default(),
        _ => Timestamp::default(),
    };
    let Some(service) = after.or(before) else { return Ok(()) };
    writer.tell(service.sid, None, entry, at)
}
