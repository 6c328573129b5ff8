//! Everything for pushes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reachability_domain::directory::user::User;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::channel::Channel;
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
use rusqlite::{Connection, params};

use super::database::unavailable;
use super::store::{
    Key, SqliteStore, created, execute, exists, find, identity_is_taken, insert_user, read_document, read_state,
    replaced, service_exists, slice, versioned, write_document, write_state,
};

impl SqliteStore {
    async fn write_deliveries(&self, sql: &'static str, deliveries: &[Delivery]) -> Result<(), StoreError> {
        let row =
            |delivery: &Delivery| Ok((delivery.notification_sid, delivery.binding_sid, write_document(delivery)?));
        let rows = deliveries.iter().map(row).collect::<Result<Vec<_>, StoreError>>()?;
        self.database
            .write(move |connection| {
                for (notification, binding, document) in &rows {
                    let params = params![Key(*notification), Key(*binding), document];
                    execute(connection, sql, params).map_err(unavailable)?;
                }
                Ok(())
            })
            .await
    }
}

fn binding_of((version, document): (u64, String)) -> Result<Binding, StoreError> {
    Ok(Binding { version, ..read_document(&document)? })
}

fn credential_of((version, document): (u64, String)) -> Result<Credential, StoreError> {
    Ok(Credential { version, ..read_document(&document)? })
}

/// The binding of a device.
fn bound(connection: &Connection, service: ServiceSid, device: Device) -> Result<Option<Binding>, StoreError> {
    let sids = device.sids();
    find(
        connection,
        "SELECT version, document FROM bindings WHERE service = ?1 AND sid BETWEEN ?2 AND ?3",
        params![Key(service), Key(*sids.start()), Key(*sids.end())],
        versioned,
    )?
    .map(binding_of)
    .transpose()
}

fn write_binding(connection: &Connection, binding: &Binding) -> Result<(), StoreError> {
    let document = write_document(binding)?;
    execute(
        connection,
        "INSERT INTO bindings (service, sid, channel, identity, version, document) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET version = excluded.version, document = excluded.document",
        params![
            Key(binding.service_sid),
            Key(binding.sid),
            binding.channel.canonical().as_str(),
            binding.identity.as_str(),
            binding.version,
            document
        ],
    )
    .map(drop)
    .map_err(unavailable)
}

pub(super) fn delete_binding(connection: &Connection, service: ServiceSid, sid: BindingSid) -> Result<(), StoreError> {
    let delete = "DELETE FROM bindings WHERE service = ?1 AND sid = ?2";
    execute(connection, delete, params![Key(service), Key(sid)]).map(drop).map_err(unavailable)
}

/// Writes what a step does, with the states of those whom it concerns.
fn take_step(
    connection: &Connection,
    service: ServiceSid,
    step: &Transition,
    user: Option<&User>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Some((identity, sid)) = &step.leaves {
        let mut state = read_state(connection, service, identity)?;
        state.remove_device(*sid, now);
        write_state(connection, service, identity, &state)?;
        delete_binding(connection, service, *sid)?;
    }
    let Some(binding) = &step.binding else { return Ok(()) };
    let mut state = read_state(connection, service, &binding.identity)?;
    if let Some(gone) = state.add_device(binding.sid, Registration::of(binding), step.announced_in, now) {
        delete_binding(connection, service, gone)?;
    }
    write_state(connection, service, &binding.identity, &state)?;
    write_binding(connection, binding)?;
    match user {
        Some(user) if !identity_is_taken(connection, user)? => insert_user(connection, user),
        _ => Ok(()),
    }
}

#[async_trait]
impl Bindings for SqliteStore {
    async fn apply(
        &self,
        service: ServiceSid,
        device: Device,
        action: &BindingCommand,
        user: Option<&User>,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        let (action, user) = (action.clone(), user.cloned());
        self.database
            .write(move |connection| {
                if matches!(action, BindingCommand::Register { .. }) && !service_exists(connection, service)? {
                    return Err(StoreError::Missing);
                }
                let before = bound(connection, service, device)?;
                match action.transition(before.as_ref(), now) {
                    None => Ok(Applied { after: before.clone(), before }),
                    Some(step) => {
                        take_step(connection, service, &step, user.as_ref(), now)?;
                        Ok(Applied { before, after: step.binding })
                    }
                }
            })
            .await
    }

    async fn binding(&self, service: ServiceSid, sid: BindingSid) -> Result<Option<Binding>, StoreError> {
        let found = self.database.read(move |connection| bound(connection, service, Device::of_binding(sid))).await?;
        Ok(found.filter(|binding| binding.sid == sid))
    }

    async fn bindings(
        &self,
        service: ServiceSid,
        filter: &BindingFilter,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Binding>, StoreError> {
        let filter = filter.clone();
        self.database
            .read(move |connection| {
                if filter.identities.is_empty() {
                    let wants = |channel: Channel| {
                        filter.channels.is_empty() || filter.channels.iter().any(|wanted| wanted.is(channel))
                    };
                    let condition = match (wants(Channel::Apn), wants(Channel::Fcm)) {
                        (true, true) => "service = ?1",
                        (true, false) => "service = ?1 AND channel = 'apn'",
                        (false, _) => "service = ?1 AND channel = 'fcm'",
                    };
                    return slice(connection, "bindings", (condition, &Key(service)), page, binding_of);
                }
                let mut statement = connection
                    .prepare_cached("SELECT version, document FROM bindings WHERE service = ?1 AND identity = ?2")
                    .map_err(unavailable)?;
                let mut bindings = BTreeMap::new();
                for identity in &filter.identities {
                    let rows = statement.query_map(params![Key(service), identity.as_str()], versioned);
                    for row in rows.map_err(unavailable)? {
                        let binding = binding_of(row.map_err(unavailable)?)?;
                        bindings.insert(binding.sid, binding);
                    }
                }
                let bindings = bindings.into_values().filter(|binding| filter.matches(binding)).collect();
                Ok(page.show(bindings, |binding| binding.sid))
            })
            .await
    }
}

#[async_trait]
impl Credentials for SqliteStore {
    async fn create_credential(&self, credential: &Credential) -> Result<(), StoreError> {
        let (sid, version, document) = (credential.sid, credential.version, write_document(credential)?);
        self.database
            .write(move |connection| {
                created(execute(
                    connection,
                    "INSERT INTO credentials (sid, version, document) VALUES (?1, ?2, ?3)",
                    params![Key(sid), version, document],
                ))
            })
            .await
    }

    async fn credential(&self, sid: CredentialSid) -> Result<Option<Credential>, StoreError> {
        self.database
            .read(move |connection| {
                find(connection, "SELECT version, document FROM credentials WHERE sid = ?1", [Key(sid)], versioned)?
                    .map(credential_of)
                    .transpose()
            })
            .await
    }

    async fn credentials(&self, page: PageRequest<CredentialSid>) -> Result<Page<Credential>, StoreError> {
        self.database.read(move |connection| slice(connection, "credentials", ("?1", &true), page, credential_of)).await
    }

    async fn replace_credential(&self, credential: &Credential) -> Result<(), StoreError> {
        let (sid, version, document) = (credential.sid, credential.version, write_document(credential)?);
        self.database
            .write(move |connection| {
                let updated = execute(
                    connection,
                    "UPDATE credentials SET version = version + 1, document = ?3 WHERE sid = ?1 AND version = ?2",
                    params![Key(sid), version, document],
                );
                replaced(updated.map_err(unavailable)?, || {
                    exists(connection, "SELECT 1 FROM credentials WHERE sid = ?1", [Key(sid)])
                })
            })
            .await
    }

    async fn delete_credential(&self, sid: CredentialSid) -> Result<bool, StoreError> {
        self.database
            .write(move |connection| {
                execute(connection, "DELETE FROM credentials WHERE sid = ?1", [Key(sid)])
                    .map(|deleted| deleted > 0)
                    .map_err(unavailable)
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
                created(execute(
                    connection,
                    "INSERT INTO notifications (sid, service, made_at, document) VALUES (?1, ?2, ?3, ?4)",
                    params![Key(sid), Key(service), made_at.as_millis(), document],
                ))
            })
            .await
    }

    async fn notification(
        &self,
        service: ServiceSid,
        sid: NotificationSid,
    ) -> Result<Option<Notification>, StoreError> {
        self.database
            .read(move |connection| {
                let select = "SELECT document FROM notifications WHERE sid = ?1 AND service = ?2";
                find(connection, select, params![Key(sid), Key(service)], |row| row.get::<_, String>(0))?
                    .map(|document| read_document(&document))
                    .transpose()
            })
            .await
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

    async fn delivery(
        &self,
        notification: NotificationSid,
        binding: BindingSid,
    ) -> Result<Option<Delivery>, StoreError> {
        self.database
            .read(move |connection| {
                let select = "SELECT document FROM deliveries WHERE notification = ?1 AND sid = ?2";
                find(connection, select, params![Key(notification), Key(binding)], |row| row.get::<_, String>(0))?
                    .map(|document| read_document(&document))
                    .transpose()
            })
            .await
    }

    async fn deliveries(
        &self,
        notification: NotificationSid,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Delivery>, StoreError> {
        self.database
            .read(move |connection| {
                slice(
                    connection,
                    "(SELECT notification, sid, 0 AS version, document FROM deliveries)",
                    ("notification = ?1", &Key(notification)),
                    page,
                    |(_, document)| read_document(&document),
                )
            })
            .await
    }
}
