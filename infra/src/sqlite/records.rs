//! Records that several ports write: users, states and bindings.

use reachability_domain::directory::user::User;
use reachability_domain::identity::Identity;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::registration::Registrations;
use reachability_domain::sid::{BindingSid, ServiceSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::{Connection, params};

use super::rows::{Key, Rows, create, execute, find, read_document, write_document};

pub(super) fn service_exists(connection: &Connection, sid: ServiceSid) -> Result<bool, StoreError> {
    Rows::new("services", "sid = ?1", &[&Key(sid)]).exist(connection)
}

pub(super) fn identity_is_taken(connection: &Connection, user: &User) -> Result<bool, StoreError> {
    let parameters: [&dyn rusqlite::ToSql; 2] = [&Key(user.service_sid), &user.identity.as_str()];
    Rows::new("users", "service = ?1 AND identity = ?2", &parameters).exist(connection)
}

pub(super) fn insert_user(connection: &Connection, user: &User) -> Result<(), StoreError> {
    let document = write_document(user)?;
    create(
        connection,
        "INSERT INTO users (service, sid, identity, version, document) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![Key(user.service_sid), Key(user.sid), user.identity.as_str(), user.version, document],
    )
}

pub(super) fn read_state(
    connection: &Connection,
    service: ServiceSid,
    identity: &Identity,
) -> Result<UserState, StoreError> {
    let row = find(
        connection,
        "SELECT revision, as_of, presence, registrations FROM states WHERE service = ?1 AND identity = ?2",
        params![Key(service), identity.as_str()],
        |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get::<_, Option<String>>(3)?)),
    )?;
    match row {
        None => Ok(UserState::default()),
        Some((revision, as_of, presence, registrations)) => Ok(UserState {
            presence: read_document(&presence)?,
            registrations: registrations.as_deref().map(read_document).transpose()?.unwrap_or_default(),
            revision,
            as_of: Timestamp::from_millis(as_of),
        }),
    }
}

pub(super) fn write_state(
    connection: &Connection,
    service: ServiceSid,
    identity: &Identity,
    state: &UserState,
) -> Result<(), StoreError> {
    let presence = write_document(&state.presence)?;
    let registrations = (state.registrations != Registrations::default()).then_some(&state.registrations);
    let registrations = registrations.map(write_document).transpose()?;
    execute(
        connection,
        "INSERT INTO states (service, identity, revision, as_of, presence, registrations)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET revision = excluded.revision, as_of = excluded.as_of, presence = excluded.presence,
         registrations = excluded.registrations",
        params![Key(service), identity.as_str(), state.revision, state.as_of.as_millis(), presence, registrations],
    )
    .map(drop)
}

pub(super) fn write_binding(connection: &Connection, binding: &Binding) -> Result<(), StoreError> {
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
}

pub(super) fn delete_binding(connection: &Connection, service: ServiceSid, sid: BindingSid) -> Result<(), StoreError> {
    Rows::new("bindings", "service = ?1 AND sid = ?2", &[&Key(service), &Key(sid)]).delete(connection).map(drop)
}
