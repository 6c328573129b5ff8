//! Records that several ports write: users, states and bindings.

use reachability_domain::directory::user::User;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::presence::change_reason::InvalidChangeReason;
use reachability_domain::presence::connections::Presence;
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::registration::Registrations;
use reachability_domain::sid::{BindingSid, ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::{Connection, params};

use super::feed::Writer;
use super::presence;
use super::rows::{Key, Rows, create, execute, find, read_document, write_document};

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
    let mut state = UserState::default();
    // What does not parse is no error of SQLite's.
    let mut found: Option<Result<Presence, StoreError>> = None;
    let (mut registrations, mut created_by): (Option<String>, Option<String>) = (None, None);
    find(
        connection,
        "SELECT revision, as_of, presence, registrations, user, created_by, deleted_at, webhook_enabled FROM states
         WHERE service = ?1 AND identity = ?2",
        params![Key(service), identity.as_str()],
        |row| {
            state.revision = row.get(0)?;
            state.as_of = Timestamp::from_millis(row.get(1)?);
            found = Some(presence::read(row.get_ref(2)?));
            (registrations, created_by) = (row.get(3)?, row.get(5)?);
            state.sid = row.get::<_, Option<Key<UserSid>>>(4)?.map(|key| key.0);
            state.deleted_at = row.get::<_, Option<i64>>(6)?.map(Timestamp::from_millis);
            state.webhook_enabled = row.get::<_, Option<bool>>(7)?.unwrap_or(false);
            Ok(())
        },
    )?;
    state.presence = found.transpose()?.unwrap_or_default();
    state.registrations = registrations.as_deref().map(read_document).transpose()?.unwrap_or_default();
    let created_by = created_by.map(|word| word.parse()).transpose();
    state.created_by = created_by.map_err(|error: InvalidChangeReason| StoreError::Corrupt(error.into()))?;
    Ok(state)
}

/// Writes a user's state, with what that leads to.
pub(super) fn write_state(
    writer: &Writer<'_>,
    user: &UserKey,
    before: &UserState,
    after: &UserState,
) -> Result<(), StoreError> {
    let presence = presence::write(&after.presence)?;
    let registrations = (after.registrations != Registrations::default()).then_some(&after.registrations);
    let registrations = registrations.map(write_document).transpose()?;
    execute(
        writer,
        "INSERT INTO states (service, identity, revision, as_of, presence, registrations, user, created_by, deleted_at,
         webhook_enabled) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT DO UPDATE SET revision = excluded.revision, as_of = excluded.as_of, presence = excluded.presence,
         registrations = excluded.registrations, user = excluded.user, created_by = excluded.created_by,
         deleted_at = excluded.deleted_at, webhook_enabled = excluded.webhook_enabled",
        params![
            Key(user.service),
            user.identity.as_str(),
            after.revision,
            after.as_of.as_millis(),
            presence,
            registrations,
            after.sid.map(Key),
            after.created_by.as_ref().map(ToString::to_string),
            after.deleted_at.map(Timestamp::as_millis),
            after.webhook_enabled.then_some(true),
        ],
    )?;
    // Most writes renew a lease: for them, the service is not read.
    if FeedEntry::is_possible(before, after)
        && let Some(configuration) = writer.configuration(user.service)?
        && let Some(entry) = FeedEntry::of_state(user, &configuration, before, after)
    {
        writer.tell(user.service, Some(&user.identity), entry, after.as_of)?;
    }
    Ok(())
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
