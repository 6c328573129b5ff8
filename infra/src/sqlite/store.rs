//! The store.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reachability_domain::account::{AccountSettings, ApiKey};
use reachability_domain::binding::{Binding, BindingFilter, Device};
use reachability_domain::credential::{Channel, Credential};
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::notification::{Delivery, Notification};
use reachability_domain::presence::{KEEP_ENDED_AT_MOST, Presence};
use reachability_domain::push_store::{Bound, PushStore};
use reachability_domain::reachability::UserState;
use reachability_domain::registration::{Action, Registration, Registrations, Step};
use reachability_domain::service::Service;
use reachability_domain::sid::{BindingSid, CredentialSid, KeySid, NotificationSid, ServiceSid, Sid, UserSid};
use reachability_domain::store::{Joined, Position, Slice, Store, StoreError, Window};
use reachability_domain::time::Timestamp;
use reachability_domain::user::{User, UserRef};
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::database::{Database, unavailable};

/// Services, users, their state, keys and everything for pushes in an SQLite database.
#[derive(Clone)]
pub struct SqliteStore {
    database: Database,
}

impl SqliteStore {
    /// A store in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Removes what is kept of deleted users, and of connections of nobody, once it can no longer matter, and old
    /// notifications. Returns how much that was.
    ///
    /// # Errors
    /// If the database does not work.
    pub async fn tidy(&self, now: Timestamp) -> Result<usize, StoreError> {
        let before = |seconds: u64| {
            now.as_millis().saturating_sub(i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX))
        };
        let (oldest, oldest_sent) = (before(KEEP_ENDED_AT_MOST.as_secs()), before(Notification::KEPT_SECONDS));
        self.database
            .write(move |connection| {
                let tidy = || {
                    let states = execute(
                        connection,
                        "DELETE FROM states WHERE as_of < ?1 AND NOT EXISTS
                         (SELECT 1 FROM users WHERE users.service = states.service AND users.identity = states.identity)",
                        [oldest],
                    )?;
                    execute(
                        connection,
                        "DELETE FROM deliveries WHERE notification IN (SELECT sid FROM notifications WHERE made_at < ?1)",
                        [oldest_sent],
                    )?;
                    let sent = execute(connection, "DELETE FROM notifications WHERE made_at < ?1", [oldest_sent])?;
                    Ok(states + sent)
                };
                tidy().map_err(unavailable)
            })
            .await
    }
}

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

/// A sid as its 16 bytes.
struct Key<S>(S);

impl<S: Sid> ToSql for Key<S> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.bits().to_be_bytes().to_vec()))
    }
}

impl<S: Sid> FromSql for Key<S> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 16]>::column_result(value).map(|bytes| Self(S::from_bits(u128::from_be_bytes(bytes))))
    }
}

fn corrupt(error: serde_json::Error) -> StoreError {
    StoreError::Corrupt(error.into())
}

fn write_document<T: Serialize>(document: &T) -> Result<String, StoreError> {
    serde_json::to_string(document).map_err(corrupt)
}

fn read_document<T: DeserializeOwned>(document: &str) -> Result<T, StoreError> {
    serde_json::from_str(document).map_err(corrupt)
}

/// Columns `version, document` of a row.
fn versioned(row: &Row<'_>) -> rusqlite::Result<(u64, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn service_of((version, document): (u64, String)) -> Result<Service, StoreError> {
    Ok(Service { version, ..read_document(&document)? })
}

fn user_of((version, document): (u64, String)) -> Result<User, StoreError> {
    Ok(User { version, ..read_document(&document)? })
}

fn binding_of((version, document): (u64, String)) -> Result<Binding, StoreError> {
    Ok(Binding { version, ..read_document(&document)? })
}

fn credential_of((version, document): (u64, String)) -> Result<Credential, StoreError> {
    Ok(Credential { version, ..read_document(&document)? })
}

/// As [`StoreError::Exists`] if a row with the same key was there.
fn created(inserted: rusqlite::Result<usize>) -> Result<(), StoreError> {
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Err(StoreError::Exists),
        Err(error) => Err(unavailable(error)),
    }
}

/// What a conditional update of one row has done: `updated` rows, while the row `exists` or not.
fn replaced(updated: usize, exists: impl FnOnce() -> Result<bool, StoreError>) -> Result<(), StoreError> {
    match updated {
        0 if exists()? => Err(StoreError::Conflict),
        0 => Err(StoreError::Missing),
        _ => Ok(()),
    }
}

fn exists(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<bool, StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.exists(params)).map_err(unavailable)
}

fn execute(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(params)
}

/// The one row that a query finds, if any.
fn find<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    let row = connection.prepare_cached(sql).and_then(|mut statement| statement.query_row(params, read).optional());
    row.map_err(unavailable)
}

fn service_exists(connection: &Connection, sid: ServiceSid) -> Result<bool, StoreError> {
    exists(connection, "SELECT 1 FROM services WHERE sid = ?1", [Key(sid)])
}

fn identity_is_taken(connection: &Connection, user: &User) -> Result<bool, StoreError> {
    exists(
        connection,
        "SELECT 1 FROM users WHERE service = ?1 AND identity = ?2",
        params![Key(user.service_sid), user.identity.as_str()],
    )
}

/// Reads a window of a table: rows of `version, document`, ordered by sid, of those that `filter` leaves.
fn slice<K: Sid, T>(
    connection: &Connection,
    table: &str,
    filter: (&str, &dyn ToSql),
    window: Window<K>,
    item: impl Fn((u64, String)) -> Result<T, StoreError>,
) -> Result<Slice<T>, StoreError> {
    let (condition, bound, order) = match window.position {
        Position::Start => (">=", K::from_bits(0), "ASC"),
        Position::After(sid) => (">", sid, "ASC"),
        Position::Before(sid) => ("<", sid, "DESC"),
    };
    let (filter, of) = filter;
    let sql = format!(
        "SELECT version, document FROM {table} WHERE {filter} AND sid {condition} ?2 ORDER BY sid {order} LIMIT ?3"
    );
    let limit = i64::try_from(window.limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut statement = connection.prepare_cached(&sql).map_err(unavailable)?;
    let rows = statement.query_map(params![of, Key(bound), limit], versioned).map_err(unavailable)?;
    let mut items = rows.map(|row| item(row.map_err(unavailable)?)).collect::<Result<Vec<T>, StoreError>>()?;
    let more = items.len() > window.limit;
    items.truncate(window.limit);
    if order == "DESC" {
        items.reverse();
    }
    Ok(Slice { items, more })
}

fn insert_user(connection: &Connection, user: &User) -> Result<(), StoreError> {
    let document = write_document(user)?;
    created(execute(
        connection,
        "INSERT INTO users (service, sid, identity, version, document) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![Key(user.service_sid), Key(user.sid), user.identity.as_str(), user.version, document],
    ))
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

fn delete_binding(connection: &Connection, service: ServiceSid, sid: BindingSid) -> Result<(), StoreError> {
    let delete = "DELETE FROM bindings WHERE service = ?1 AND sid = ?2";
    execute(connection, delete, params![Key(service), Key(sid)]).map(drop).map_err(unavailable)
}

/// Writes what a step does, with the states of those whom it concerns.
fn take_step(
    connection: &Connection,
    service: ServiceSid,
    step: &Step,
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
    if let Some(gone) = state.add_device(binding.sid, Registration::of(binding), step.told_in, now) {
        delete_binding(connection, service, gone)?;
    }
    write_state(connection, service, &binding.identity, &state)?;
    write_binding(connection, binding)?;
    match user {
        Some(user) if !identity_is_taken(connection, user)? => insert_user(connection, user),
        _ => Ok(()),
    }
}

fn read_state(connection: &Connection, service: ServiceSid, identity: &Identity) -> Result<UserState, StoreError> {
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

fn write_state(
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
    .map_err(unavailable)
}

#[async_trait]
impl Store for SqliteStore {
    async fn account(&self) -> Result<AccountSettings, StoreError> {
        self.database
            .read(|connection| match find(connection, "SELECT version, document FROM account", [], versioned)? {
                None => Ok(AccountSettings::default()),
                Some((version, document)) => Ok(AccountSettings { version, ..read_document(&document)? }),
            })
            .await
    }

    async fn replace_account(&self, settings: &AccountSettings) -> Result<(), StoreError> {
        let (version, document) = (settings.version, write_document(settings)?);
        self.database
            .write(move |connection| {
                let updated = if version == 0 {
                    execute(
                        connection,
                        "INSERT INTO account (id, version, document) VALUES (1, 1, ?1) ON CONFLICT DO NOTHING",
                        [document],
                    )
                } else {
                    execute(
                        connection,
                        "UPDATE account SET version = version + 1, document = ?2 WHERE version = ?1",
                        params![version, document],
                    )
                };
                replaced(updated.map_err(unavailable)?, || Ok(true))
            })
            .await
    }

    async fn create_service(&self, service: &Service) -> Result<(), StoreError> {
        let (sid, version, document) = (service.sid, service.version, write_document(service)?);
        self.database
            .write(move |connection| {
                created(execute(
                    connection,
                    "INSERT INTO services (sid, version, document) VALUES (?1, ?2, ?3)",
                    params![Key(sid), version, document],
                ))
            })
            .await
    }

    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError> {
        self.database
            .read(move |connection| {
                find(connection, "SELECT version, document FROM services WHERE sid = ?1", [Key(sid)], versioned)?
                    .map(service_of)
                    .transpose()
            })
            .await
    }

    async fn services(&self, window: Window<ServiceSid>) -> Result<Slice<Service>, StoreError> {
        self.database.read(move |connection| slice(connection, "services", ("?1", &true), window, service_of)).await
    }

    async fn replace_service(&self, service: &Service) -> Result<(), StoreError> {
        let (sid, version, document) = (service.sid, service.version, write_document(service)?);
        self.database
            .write(move |connection| {
                let updated = execute(
                    connection,
                    "UPDATE services SET version = version + 1, document = ?3 WHERE sid = ?1 AND version = ?2",
                    params![Key(sid), version, document],
                );
                replaced(updated.map_err(unavailable)?, || service_exists(connection, sid))
            })
            .await
    }

    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError> {
        self.database
            .write(move |connection| {
                let mut deleted = 0;
                for sql in [
                    "DELETE FROM states WHERE service = ?1",
                    "DELETE FROM bindings WHERE service = ?1",
                    "DELETE FROM users WHERE service = ?1",
                    "DELETE FROM services WHERE sid = ?1",
                ] {
                    deleted = execute(connection, sql, [Key(sid)]).map_err(unavailable)?;
                }
                Ok(deleted > 0)
            })
            .await
    }

    async fn purge(&self, _: ServiceSid, _: usize) -> Result<bool, StoreError> {
        // They went with the service.
        Ok(false)
    }

    async fn create_user(&self, user: &User) -> Result<(), StoreError> {
        let user = user.clone();
        self.database
            .write(move |connection| {
                if !service_exists(connection, user.service_sid)? {
                    return Err(StoreError::Missing);
                }
                insert_user(connection, &user)
            })
            .await
    }

    async fn user(&self, service: ServiceSid, user: &UserRef) -> Result<Option<User>, StoreError> {
        let user = user.clone();
        self.database
            .read(move |connection| {
                let found = match &user {
                    UserRef::Sid(sid) => find(
                        connection,
                        "SELECT version, document FROM users WHERE service = ?1 AND sid = ?2",
                        params![Key(service), Key(*sid)],
                        versioned,
                    ),
                    UserRef::Identity(identity) => find(
                        connection,
                        "SELECT version, document FROM users WHERE service = ?1 AND identity = ?2",
                        params![Key(service), identity.as_str()],
                        versioned,
                    ),
                };
                found?.map(user_of).transpose()
            })
            .await
    }

    async fn users(&self, service: ServiceSid, window: Window<UserSid>) -> Result<Slice<User>, StoreError> {
        self.database
            .read(move |connection| slice(connection, "users", ("service = ?1", &Key(service)), window, user_of))
            .await
    }

    async fn replace_user(&self, user: &User) -> Result<(), StoreError> {
        let (service, sid, version, document) = (user.service_sid, user.sid, user.version, write_document(user)?);
        self.database
            .write(move |connection| {
                let updated = execute(
                    connection,
                    "UPDATE users SET version = version + 1, document = ?4 WHERE service = ?1 AND sid = ?2 AND version = ?3",
                    params![Key(service), Key(sid), version, document],
                );
                replaced(updated.map_err(unavailable)?, || {
                    exists(
                        connection,
                        "SELECT 1 FROM users WHERE service = ?1 AND sid = ?2",
                        params![Key(service), Key(sid)],
                    )
                })
            })
            .await
    }

    async fn delete_user(&self, service: ServiceSid, sid: UserSid, now: Timestamp) -> Result<bool, StoreError> {
        self.database
            .write(move |connection| {
                let deleted: Option<String> = find(
                    connection,
                    "DELETE FROM users WHERE service = ?1 AND sid = ?2 RETURNING document",
                    params![Key(service), Key(sid)],
                    |row| row.get(0),
                )?;
                let Some(document) = deleted else { return Ok(false) };
                let user: User = read_document(&document)?;
                let mut state = read_state(connection, service, &user.identity)?;
                for (sid, _) in state.registrations.devices() {
                    delete_binding(connection, service, sid)?;
                }
                if state.revision > 0 {
                    state.bury(now);
                    write_state(connection, service, &user.identity, &state)?;
                }
                Ok(true)
            })
            .await
    }

    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError> {
        let users = users.to_vec();
        self.database
            .read(move |connection| {
                users.iter().map(|user| read_state(connection, user.service, &user.identity)).collect()
            })
            .await
    }

    async fn join(&self, user: &User, news: &Presence, now: Timestamp) -> Result<Joined, StoreError> {
        let (user, news) = (user.clone(), news.clone());
        self.database
            .write(move |connection| {
                if !service_exists(connection, user.service_sid)? {
                    return Err(StoreError::Missing);
                }
                let before = read_state(connection, user.service_sid, &user.identity)?;
                let mut after = before.clone();
                let learned = after.join(&news, now);
                if learned.anything {
                    after.presence.forget(now);
                    write_state(connection, user.service_sid, &user.identity, &after)?;
                }
                // Nearly always there is one.
                if learned.opening && !identity_is_taken(connection, &user)? {
                    insert_user(connection, &user)?;
                }
                Ok(Joined { before, after })
            })
            .await
    }

    async fn create_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        let (sid, document) = (key.sid, write_document(key)?);
        self.database
            .write(move |connection| {
                created(execute(
                    connection,
                    "INSERT INTO keys (sid, document) VALUES (?1, ?2)",
                    params![Key(sid), document],
                ))
            })
            .await
    }

    async fn key(&self, sid: KeySid) -> Result<Option<ApiKey>, StoreError> {
        self.database
            .read(move |connection| {
                find(connection, "SELECT document FROM keys WHERE sid = ?1", [Key(sid)], |row| row.get::<_, String>(0))?
                    .map(|document| read_document(&document))
                    .transpose()
            })
            .await
    }

    async fn keys(&self, window: Window<KeySid>) -> Result<Slice<ApiKey>, StoreError> {
        self.database
            .read(move |connection| {
                slice(
                    connection,
                    "(SELECT sid, 0 AS version, document FROM keys)",
                    ("?1", &true),
                    window,
                    |(_, document)| read_document(&document),
                )
            })
            .await
    }

    async fn delete_key(&self, sid: KeySid) -> Result<bool, StoreError> {
        self.database
            .write(move |connection| {
                execute(connection, "DELETE FROM keys WHERE sid = ?1", [Key(sid)])
                    .map(|deleted| deleted > 0)
                    .map_err(unavailable)
            })
            .await
    }
}

#[async_trait]
impl PushStore for SqliteStore {
    async fn act(
        &self,
        service: ServiceSid,
        device: Device,
        action: &Action,
        user: Option<&User>,
        now: Timestamp,
    ) -> Result<Bound, StoreError> {
        let (action, user) = (action.clone(), user.cloned());
        self.database
            .write(move |connection| {
                if matches!(action, Action::Register { .. }) && !service_exists(connection, service)? {
                    return Err(StoreError::Missing);
                }
                let before = bound(connection, service, device)?;
                match action.step(before.as_ref(), now) {
                    None => Ok(Bound { after: before.clone(), before }),
                    Some(step) => {
                        take_step(connection, service, &step, user.as_ref(), now)?;
                        Ok(Bound { before, after: step.binding })
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
        window: Window<BindingSid>,
    ) -> Result<Slice<Binding>, StoreError> {
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
                    return slice(connection, "bindings", (condition, &Key(service)), window, binding_of);
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
                Ok(window.show(bindings, |binding| binding.sid))
            })
            .await
    }

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

    async fn credentials(&self, window: Window<CredentialSid>) -> Result<Slice<Credential>, StoreError> {
        self.database
            .read(move |connection| slice(connection, "credentials", ("?1", &true), window, credential_of))
            .await
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
        self.write_deliveries("INSERT OR REPLACE INTO deliveries VALUES (?1, ?2, ?3)", std::slice::from_ref(delivery))
            .await
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
        window: Window<BindingSid>,
    ) -> Result<Slice<Delivery>, StoreError> {
        self.database
            .read(move |connection| {
                slice(
                    connection,
                    "(SELECT notification, sid, 0 AS version, document FROM deliveries)",
                    ("notification = ?1", &Key(notification)),
                    window,
                    |(_, document)| read_document(&document),
                )
            })
            .await
    }
}
