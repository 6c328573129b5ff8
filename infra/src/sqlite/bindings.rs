//! Bindings: written in one transaction with the states of the previous and new user.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reachability_domain::directory::user::User;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::presence::device_writes::TransitionWrites;
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::device::Device;
use reachability_domain::push::ports::{Applied, Bindings};
use reachability_domain::push::report::Report;
use reachability_domain::push::tag::Tag;
use reachability_domain::push::transition::Transition;
use reachability_domain::sid::{BindingSid, ServiceSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::Connection;

use super::feed::Writer;
use super::records::{delete_binding, insert_user, read_state, write_binding, write_state};
use super::reports;
use super::rows::{Key, Rows, write_document};
use super::store::SqliteStore;
use super::writer::Terms;

/// The bindings of a service `?1` of the wanted channels, APNs (`?2`) and FCM (`?3`), that have all tags of the JSON array
/// `?4`. A binding without tags has none in its document.
const SELECTED: &str =
    "service = ?1 AND (?2 OR channel <> 'apn') AND (?3 OR channel <> 'fcm') AND (?4 = '[]' OR NOT EXISTS
    (SELECT 1 FROM json_each(?4) WHERE value NOT IN (SELECT value FROM json_each(document, '$.tags'))))";

/// The bindings, for those of a user. By itself, SQLite goes through all of the service.
const BY_IDENTITY: &str = "bindings INDEXED BY bindings_by_identity";

/// The binding of a device.
fn binding_of(connection: &Connection, service: ServiceSid, device: Device) -> Result<Option<Binding>, StoreError> {
    let sids = device.sids();
    let parameters: [&dyn rusqlite::ToSql; 3] = [&Key(service), &Key(*sids.start()), &Key(*sids.end())];
    Rows::new("bindings", "service = ?1 AND sid BETWEEN ?2 AND ?3", &parameters).find(connection)
}

/// Applies a command to a device.
fn apply_to(
    writer: &Writer<'_>,
    service: ServiceSid,
    device: Device,
    command: &BindingCommand,
    user: Option<&User>,
    now: Timestamp,
) -> Result<Applied, StoreError> {
    let before = binding_of(writer, service, device)?;
    let Some(transition) = command.transition(before.as_ref(), now) else { return Ok(Applied::unchanged(before)) };
    let after = write(writer, service, transition, user, now)?;
    if let Some(report) = Report::of_binding(before.as_ref(), after.as_ref()) {
        reports::tell(writer, report, now)?;
    }
    Ok(Applied { before, after })
}

/// Applies a transition. Returns the device's binding as it is now.
fn write(
    writer: &Writer<'_>,
    service: ServiceSid,
    transition: Transition,
    user: Option<&User>,
    now: Timestamp,
) -> Result<Option<Binding>, StoreError> {
    let read = |identity: &Identity| read_state(writer, service, identity);
    let leaver = transition.leaver().map(read).transpose()?;
    let owner = transition.owner().map(read).transpose()?;
    let writes = TransitionWrites::of(transition, leaver.clone(), owner.clone(), user, now);
    for (before, write) in [(leaver, &writes.leaver), (owner, &writes.owner)] {
        if let (Some(before), Some((identity, state))) = (before, write) {
            let user = UserKey { service, identity: identity.clone() };
            write_state(writer, &user, &before, state)?;
        }
    }
    for sid in &writes.delete {
        delete_binding(writer, service, *sid)?;
    }
    if let Some(binding) = &writes.put {
        write_binding(writer, binding)?;
    }
    if let Some(user) = &writes.create {
        insert_user(writer, user)?;
    }
    Ok(writes.put)
}

#[async_trait]
impl Bindings for SqliteStore {
    async fn apply(
        &self,
        service: ServiceSid,
        device: Device,
        command: &BindingCommand,
        user: Option<&User>,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        let (command, user) = (command.clone(), user.cloned());
        self.write(move |writer| {
            if command.registers() && writer.configuration(service)?.is_none() {
                return Err(StoreError::Missing);
            }
            apply_to(writer, service, device, &command, user.as_ref(), now)
        })
        .await
    }

    async fn apply_all(
        &self,
        service: ServiceSid,
        commands: &[(Device, BindingCommand)],
        now: Timestamp,
    ) -> Vec<Result<Applied, StoreError>> {
        let all = commands.to_vec();
        let bytes = all.len().saturating_mul(Terms::SMALL);
        let apply_all = move |writer: &Writer<'_>| -> Result<Vec<Applied>, StoreError> {
            all.iter().map(|(device, command)| apply_to(writer, service, *device, command, None, now)).collect()
        };
        if let Ok(applied) = self.write_on(Terms { bytes, ..Terms::PROMISED }, apply_all).await {
            return applied.into_iter().map(Ok).collect();
        }
        // One that fails does not keep the others from being applied.
        let mut applied = Vec::with_capacity(commands.len());
        for (device, command) in commands {
            applied.push(self.apply(service, *device, command, None, now).await);
        }
        applied
    }

    async fn binding(&self, service: ServiceSid, sid: BindingSid) -> Result<Option<Binding>, StoreError> {
        Ok(self.bindings_with(service, &[sid]).await?.pop())
    }

    async fn bindings_with(&self, service: ServiceSid, sids: &[BindingSid]) -> Result<Vec<Binding>, StoreError> {
        if !self.has_service(service).await? {
            return Ok(vec![]);
        }
        let find = move |connection: &Connection, sid: BindingSid| {
            let found = binding_of(connection, service, Device::of_binding(sid))?;
            Ok(found.filter(|binding| binding.sid == sid))
        };
        self.database.find_all(sids, find).await
    }

    async fn bindings(
        &self,
        service: ServiceSid,
        filter: &BindingFilter,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Binding>, StoreError> {
        if !self.has_service(service).await? {
            return Ok(Page::EMPTY);
        }
        let filter = filter.clone();
        self.database
            .read(move |connection| {
                if filter.identities.is_empty() {
                    let tags: Vec<&Tag> = filter.tags.iter().filter(|tag| !tag.is_implicit()).collect();
                    let parameters: [&dyn rusqlite::ToSql; 4] = [
                        &Key(service),
                        &filter.selects_channel(Channel::Apn),
                        &filter.selects_channel(Channel::Fcm),
                        &write_document(&tags)?,
                    ];
                    return Rows::new("bindings", SELECTED, &parameters).page(connection, page);
                }
                let mut bindings = BTreeMap::new();
                for identity in &filter.identities {
                    let parameters: [&dyn rusqlite::ToSql; 2] = [&Key(service), &identity.as_str()];
                    let of_user: Vec<Binding> =
                        Rows::new(BY_IDENTITY, "service = ?1 AND identity = ?2", &parameters).all(connection)?;
                    bindings.extend(of_user.into_iter().map(|binding| (binding.sid, binding)));
                }
                let bindings = bindings.into_values().filter(|binding| filter.matches(binding)).collect();
                Ok(page.page_of_all(bindings, |binding| binding.sid))
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reachability_domain::secret::Secret;

    use super::super::database::Database;
    use super::*;
    use crate::credentials::seal::Seal;

    /// A notification looks for each of its users.
    #[test]
    fn the_bindings_of_a_user_are_found_without_those_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let seal = Arc::new(Seal::new(&Secret::new("key")));
        let database = Database::open(&directory.path().join("test.db"), seal).unwrap();
        let explain =
            format!("EXPLAIN QUERY PLAN SELECT document FROM {BY_IDENTITY} WHERE service = ?1 AND identity = ?2");
        let plan = database.look_up(|connection| {
            let mut statement = connection.prepare(&explain).unwrap();
            let mut rows = statement.raw_query();
            let step = rows.next().unwrap().unwrap().get::<_, String>(3).unwrap();
            assert!(rows.next().unwrap().is_none());
            Ok(step)
        });
        assert_eq!(plan.unwrap(), "SEARCH bindings USING INDEX bindings_by_identity (service=? AND identity=?)");
    }
}
