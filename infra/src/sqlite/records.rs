//! Records that several ports write: users, states and bindings.

use reachability_domain::directory::user::User;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::presence::change_reason::{ChangeReason, InvalidChangeReason};
use reachability_domain::presence::disclosure::Disclosure;
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::presence::search::looks_online;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::registration::Registrations;
use reachability_domain::sid::{BindingSid, ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use super::feed::Writer;
use super::presence;
use super::rows::{Key, Rows, create, document, execute, find, write_document};

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
    let select = format!("SELECT {STATE} FROM states WHERE service = ?1 AND identity = ?2");
    let found = find(connection, &select, params![Key(service), identity.as_str()], |row| state(row, 0))?;
    Ok(found.transpose()?.unwrap_or_default())
}

/// The columns from which [`state`] reads.
pub(super) const STATE: &str = "revision, as_of, presence, registrations, user, created_by, deleted_at,
    states.webhook_enabled, disclosure, next_timer";

/// Reads a user's state from the columns [`STATE`], of which the first has this index.
pub(super) fn state(row: &Row<'_>, first: usize) -> rusqlite::Result<Result<UserState, StoreError>> {
    let registrations = match row.get_ref(first + 3)? {
        ValueRef::Null => Ok(Registrations::default()),
        _ => document(row, first + 3)?,
    };
    let created_by = row.get_ref(first + 5)?.as_str_or_null()?.map(str::parse::<ChangeReason>);
    let (presence, as_of) = (presence::read(row.get_ref(first + 2)?), row.get(first + 1)?);
    let (sid, deleted_at): (Option<Key<UserSid>>, Option<i64>) = (row.get(first + 4)?, row.get(first + 6)?);
    let webhook_enabled: Option<bool> = row.get(first + 7)?;
    let disclosure = match row.get_ref(first + 8)? {
        ValueRef::Null => Ok(Disclosure::default()),
        _ => document(row, first + 8)?,
    };
    let next_timer: Option<i64> = row.get(first + 9)?;
    let revision = row.get(first)?;
    // What does not parse is no error of SQLite's.
    let parse = || {
        let created_by = created_by.transpose();
        Ok(UserState {
            sid: sid.map(|Key(sid)| sid),
            created_by: created_by.map_err(|error: InvalidChangeReason| StoreError::Corrupt(error.into()))?,
            webhook_enabled: webhook_enabled.unwrap_or(false),
            presence: presence?,
            disclosure: disclosure?,
            registrations: registrations?,
            deleted_at: deleted_at.map(Timestamp::from_millis),
            next_timer: next_timer.map(Timestamp::from_millis),
            revision,
            as_of: Timestamp::from_millis(as_of),
        })
    };
    Ok(parse())
}

/// Writes a state. With `$more`, it sets more columns of one that is there already.
macro_rules! write_state {
    ($more:literal) => {
        concat!(
            "INSERT INTO states (service, identity, revision, as_of, presence, registrations, user, created_by, deleted_at,
             webhook_enabled, disclosure, next_timer, shown_online)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT DO UPDATE SET revision = excluded.revision, as_of = excluded.as_of,
             presence = excluded.presence, registrations = excluded.registrations, user = excluded.user,
             created_by = excluded.created_by, deleted_at = excluded.deleted_at,
             webhook_enabled = excluded.webhook_enabled, disclosure = excluded.disclosure,
             next_timer = excluded.next_timer",
            $more
        )
    };
}

/// It leaves the index of who is online as it is, unless the state is new.
const WRITE_STATE: &str = write_state!("");
const WRITE_STATE_AND_INDEX: &str = write_state!(", shown_online = excluded.shown_online");

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
    let disclosure = (after.disclosure != Disclosure::default()).then_some(&after.disclosure);
    let disclosure = disclosure.map(write_document).transpose()?;
    // Most writes renew a lease: for them, the index of who is online is not written, and the service is not read.
    let is_possible = FeedEntry::is_possible(before, after);
    let is_online = is_possible && looks_online(after);
    let comes_or_goes = is_possible && looks_online(before) != is_online;
    execute(
        writer,
        if comes_or_goes { WRITE_STATE_AND_INDEX } else { WRITE_STATE },
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
            disclosure,
            after.next_timer.map(Timestamp::as_millis),
            is_online.then_some(1),
        ],
    )?;
    if is_possible
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
