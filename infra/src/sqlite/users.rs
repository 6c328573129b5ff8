//! The store.

use async_trait::async_trait;
use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::ports::{Accounts, ApiKeys, DeletedServices, Services, Users};
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::{ConnectionId, Identity, UserKey};
use reachability_domain::paging::{Cursor, Page, PageRequest};
use reachability_domain::presence::connections::{KEEP_ENDED_AT_MOST, Presence};
use reachability_domain::presence::ports::Joined;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::notification::Notification;
use reachability_domain::push::registration::Registrations;
use reachability_domain::sid::{KeySid, ServiceSid, Sid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bindings::delete_binding;
use super::database::{Database, unavailable};

/// Services, users, their state, keys and everything for pushes in an SQLite database.
#[derive(Clone)]
pub struct SqliteStore {
    pub(super) database: Database,
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

/// A sid as its 16 bytes.
pub(super) struct Key<S>(pub(super) S);

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

pub(super) fn write_document<T: Serialize>(document: &T) -> Result<String, StoreError> {
    serde_json::to_string(document).map_err(corrupt)
}

pub(super) fn read_document<T: DeserializeOwned>(document: &str) -> Result<T, StoreError> {
    serde_json::from_str(document).map_err(corrupt)
}

/// Columns `version, document` of a row.
pub(super) fn versioned(row: &Row<'_>) -> rusqlite::Result<(u64, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn service_of((version, document): (u64, String)) -> Result<Service, StoreError> {
    Ok(Service { version, ..read_document(&document)? })
}

fn user_of((version, document): (u64, String)) -> Result<User, StoreError> {
    Ok(User { version, ..read_document(&document)? })
}

/// As [`StoreError::Exists`] if a row with the same key was there.
pub(super) fn created(inserted: rusqlite::Result<usize>) -> Result<(), StoreError> {
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Err(StoreError::Exists),
        Err(error) => Err(unavailable(error)),
    }
}

/// What a conditional update of one row has done: `updated` rows, while the row `exists` or not.
pub(super) fn replaced(updated: usize, exists: impl FnOnce() -> Result<bool, StoreError>) -> Result<(), StoreError> {
    match updated {
        0 if exists()? => Err(StoreError::Conflict),
        0 => Err(StoreError::Missing),
        _ => Ok(()),
    }
}

pub(super) fn exists(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<bool, StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.exists(params)).map_err(unavailable)
}

pub(super) fn execute(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(params)
}

/// The one row that a query finds, if any.
pub(super) fn find<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    let row = connection.prepare_cached(sql).and_then(|mut statement| statement.query_row(params, read).optional());
    row.map_err(unavailable)
}

pub(super) fn service_exists(connection: &Connection, sid: ServiceSid) -> Result<bool, StoreError> {
    exists(connection, "SELECT 1 FROM services WHERE sid = ?1", [Key(sid)])
}

pub(super) fn identity_is_taken(connection: &Connection, user: &User) -> Result<bool, StoreError> {
    exists(
        connection,
        "SELECT 1 FROM users WHERE service = ?1 AND identity = ?2",
        params![Key(user.service_sid), user.identity.as_str()],
    )
}

/// Reads a window of a table: rows of `version, document`, ordered by sid, of those that `filter` leaves.
pub(super) fn slice<K: Sid, T>(
    connection: &Connection,
    table: &str,
    filter: (&str, &dyn ToSql),
    page: PageRequest<K>,
    item: impl Fn((u64, String)) -> Result<T, StoreError>,
) -> Result<Page<T>, StoreError> {
    let (condition, bound, order) = match page.position {
        Cursor::Start => (">=", K::from_bits(0), "ASC"),
        Cursor::After(sid) => (">", sid, "ASC"),
        Cursor::Before(sid) => ("<", sid, "DESC"),
    };
    let (filter, of) = filter;
    let sql = format!(
        "SELECT version, document FROM {table} WHERE {filter} AND sid {condition} ?2 ORDER BY sid {order} LIMIT ?3"
    );
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut statement = connection.prepare_cached(&sql).map_err(unavailable)?;
    let rows = statement.query_map(params![of, Key(bound), limit], versioned).map_err(unavailable)?;
    let mut items = rows.map(|row| item(row.map_err(unavailable)?)).collect::<Result<Vec<T>, StoreError>>()?;
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    if order == "DESC" {
        items.reverse();
    }
    Ok(Page { items, more })
}

pub(super) fn insert_user(connection: &Connection, user: &User) -> Result<(), StoreError> {
    let document = write_document(user)?;
    created(execute(
        connection,
        "INSERT INTO users (service, sid, identity, version, document) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![Key(user.service_sid), Key(user.sid), user.identity.as_str(), user.version, document],
    ))
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
    .map_err(unavailable)
}

#[async_trait]
impl Accounts for SqliteStore {
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
}

#[async_trait]
impl Services for SqliteStore {
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

    async fn services(&self, page: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError> {
        self.database.read(move |connection| slice(connection, "services", ("?1", &true), page, service_of)).await
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
}

#[async_trait]
impl DeletedServices for SqliteStore {
    async fn purge(&self, _: ServiceSid, _: usize) -> Result<bool, StoreError> {
        // They went with the service.
        Ok(false)
    }
}

#[async_trait]
impl Users for SqliteStore {
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

    async fn users(&self, service: ServiceSid, page: PageRequest<UserSid>) -> Result<Page<User>, StoreError> {
        self.database
            .read(move |connection| slice(connection, "users", ("service = ?1", &Key(service)), page, user_of))
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
                    state.mark_deleted(now);
                    write_state(connection, service, &user.identity, &state)?;
                }
                Ok(true)
            })
            .await
    }
}

#[async_trait]
impl States for SqliteStore {
    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError> {
        let users = users.to_vec();
        self.database
            .read(move |connection| {
                users.iter().map(|user| read_state(connection, user.service, &user.identity)).collect()
            })
            .await
    }

    async fn join(
        &self,
        user: &User,
        news: &Presence,
        asked: &[ConnectionId],
        now: Timestamp,
    ) -> Result<Joined, StoreError> {
        let (user, news, asked) = (user.clone(), news.clone(), asked.to_vec());
        self.database
            .write(move |connection| {
                if !service_exists(connection, user.service_sid)? {
                    return Err(StoreError::Missing);
                }
                let before = read_state(connection, user.service_sid, &user.identity)?;
                let mut after = before.clone();
                let learned = after.join(&news, now);
                if learned.anything {
                    after.presence.prune(now);
                    write_state(connection, user.service_sid, &user.identity, &after)?;
                }
                // Nearly always there is one.
                if learned.lease && !identity_is_taken(connection, &user)? {
                    insert_user(connection, &user)?;
                }
                Ok(Joined::of(&before, &after, &news, &asked))
            })
            .await
    }
}

#[async_trait]
impl ApiKeys for SqliteStore {
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

    async fn keys(&self, page: PageRequest<KeySid>) -> Result<Page<ApiKey>, StoreError> {
        self.database
            .read(move |connection| {
                slice(
                    connection,
                    "(SELECT sid, 0 AS version, document FROM keys)",
                    ("?1", &true),
                    page,
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
