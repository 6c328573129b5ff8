//! Reads and writes rows. Most tables store a record as a JSON document in one column, besides the columns of their
//! keys; tables with conditional replacement also have a version column.

use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::User;
use reachability_domain::paging::{Cursor, Page, PageRequest};
use reachability_domain::push::binding::Binding;
use reachability_domain::push::credential::Credential;
use reachability_domain::push::notification::{Delivery, Notification};
use reachability_domain::push::recipient::Recipient;
use reachability_domain::sid::Sid;
use reachability_domain::store::StoreError;
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::database::unavailable;

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

/// A record that is stored as a document.
pub(super) trait Record: DeserializeOwned {
    /// The columns to select: the document, and the version if the table has that column.
    const COLUMNS: &'static str = "document";

    /// Sets the record's version to that of the row, which is newer than the one in the document.
    fn at_version(self, _: u64) -> Self {
        self
    }
}

/// Implements [`Record`] for types with a version.
macro_rules! versioned {
    ($($record:ty),*) => {
        $(
            impl Record for $record {
                const COLUMNS: &'static str = "document, version";

                fn at_version(self, version: u64) -> Self {
                    Self { version, ..self }
                }
            }
        )*
    };
}

versioned!(AccountSettings, Binding, Credential, Service, User);
impl Record for Delivery {}
impl Record for Notification {}
impl Record for Recipient {}

/// Reads a record from the columns that [`Record::COLUMNS`] names.
fn record<T: Record>(row: &Row<'_>) -> rusqlite::Result<Result<T, StoreError>> {
    let version: Option<u64> = (row.as_ref().column_count() > 1).then(|| row.get(1)).transpose()?;
    let record: Result<T, StoreError> = document(row, 0)?;
    Ok(record.map(|record| match version {
        Some(version) => record.at_version(version),
        None => record,
    }))
}

/// Reads a document from a column, in place.
pub(super) fn document<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Result<T, StoreError>> {
    let text = row.get_ref(column)?.as_bytes()?;
    Ok(serde_json::from_slice(text).map_err(corrupt))
}

/// The rows of a table that meet a condition. The condition's parameters are numbered from `?1`.
pub(super) struct Rows<'a> {
    table: &'static str,
    condition: &'static str,
    parameters: &'a [&'a dyn ToSql],
}

impl<'a> Rows<'a> {
    pub(super) const fn new(table: &'static str, condition: &'static str, parameters: &'a [&'a dyn ToSql]) -> Self {
        Self { table, condition, parameters }
    }

    pub(super) fn exist(&self, connection: &Connection) -> Result<bool, StoreError> {
        let Self { table, condition, parameters } = *self;
        let sql = format!("SELECT 1 FROM {table} WHERE {condition}");
        connection.prepare_cached(&sql).and_then(|mut statement| statement.exists(parameters)).map_err(unavailable)
    }

    /// The first record.
    pub(super) fn find<T: Record>(&self, connection: &Connection) -> Result<Option<T>, StoreError> {
        let Self { table, condition, parameters } = *self;
        let sql = format!("SELECT {} FROM {table} WHERE {condition}", T::COLUMNS);
        find(connection, &sql, parameters, record)?.transpose()
    }

    /// All records.
    pub(super) fn all<T: Record>(&self, connection: &Connection) -> Result<Vec<T>, StoreError> {
        let Self { table, condition, parameters } = *self;
        let sql = format!("SELECT {} FROM {table} WHERE {condition}", T::COLUMNS);
        all(connection, &sql, parameters)
    }

    /// One page of the records, ordered by the column `sid`.
    pub(super) fn page<K: Sid, T: Record>(
        &self,
        connection: &Connection,
        page: PageRequest<K>,
    ) -> Result<Page<T>, StoreError> {
        let Self { table, condition, parameters } = *self;
        let (operator, bound, order) = match page.position {
            Cursor::Start => (">=", K::from_bits(0), "ASC"),
            Cursor::After(sid) => (">", sid, "ASC"),
            Cursor::Before(sid) => ("<", sid, "DESC"),
        };
        let sql = format!(
            "SELECT {} FROM {table} WHERE {condition} AND sid {operator} ?{} ORDER BY sid {order} LIMIT ?{}",
            T::COLUMNS,
            parameters.len() + 1,
            parameters.len() + 2
        );
        let (bound, limit) = (Key(bound), i64::try_from(page.read_limit()).unwrap_or(i64::MAX));
        let parameters = [parameters, &[&bound, &limit]].concat();
        Ok(page.page_of_read(all(connection, &sql, parameters.as_slice())?))
    }

    /// Replaces the document of one row and increments its version.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] unless the row has this version, [`StoreError::Missing`] if it does not exist.
    pub(super) fn replace(&self, connection: &Connection, version: u64, document: &str) -> Result<(), StoreError> {
        let Self { table, condition, parameters } = *self;
        let sql = format!(
            "UPDATE {table} SET version = version + 1, document = ?{} WHERE {condition} AND version = ?{}",
            parameters.len() + 1,
            parameters.len() + 2
        );
        let parameters = [parameters, &[&document, &version]].concat();
        match execute(connection, &sql, parameters.as_slice())? {
            0 if self.exist(connection)? => Err(StoreError::Conflict),
            0 => Err(StoreError::Missing),
            _ => Ok(()),
        }
    }

    /// Deletes the rows. Returns how many there were.
    pub(super) fn delete(&self, connection: &Connection) -> Result<usize, StoreError> {
        let Self { table, condition, parameters } = *self;
        execute(connection, &format!("DELETE FROM {table} WHERE {condition}"), parameters)
    }

    /// Deletes one row. Returns its record.
    pub(super) fn take<T: Record>(&self, connection: &Connection) -> Result<Option<T>, StoreError> {
        let Self { table, condition, parameters } = *self;
        let sql = format!("DELETE FROM {table} WHERE {condition} RETURNING {}", T::COLUMNS);
        find(connection, &sql, parameters, record)?.transpose()
    }
}

fn all<T: Record>(connection: &Connection, sql: &str, parameters: &[&dyn ToSql]) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let rows = statement.query_map(parameters, record).map_err(unavailable)?;
    rows.map(|row| row.map_err(unavailable)?).collect()
}

/// The first row of a query; `None` if there is none.
pub(super) fn find<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    let row = connection.prepare_cached(sql).and_then(|mut statement| statement.query_row(parameters, read).optional());
    row.map_err(unavailable)
}

/// Runs a statement. Returns the number of rows written.
pub(super) fn execute(connection: &Connection, sql: &str, parameters: impl Params) -> Result<usize, StoreError> {
    let written = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(parameters));
    written.map_err(unavailable)
}

/// Inserts a row.
///
/// # Errors
/// [`StoreError::Exists`] if a row with the same key exists.
pub(super) fn create(connection: &Connection, sql: &str, parameters: impl Params) -> Result<(), StoreError> {
    match connection.prepare_cached(sql).and_then(|mut statement| statement.execute(parameters)) {
        Ok(_) => Ok(()),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Err(StoreError::Exists),
        Err(error) => Err(unavailable(error)),
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

#[cfg(test)]
mod tests {
    use reachability_domain::directory::service::DefaultRoles;
    use reachability_domain::sid::ServiceSid;
    use reachability_domain::time::Timestamp;
    use rusqlite::params;

    use super::*;

    fn with_services() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema/1.sql")).unwrap();
        let [conversation_creator, conversation, service_user] = [1, 2, 3].map(Sid::from_bits);
        let roles = DefaultRoles { conversation_creator, conversation, service_user };
        for n in [3, 1, 2] {
            let service = Service::new(Sid::from_bits(n), format!("service {n}"), roles, Timestamp::default());
            let insert = "INSERT INTO services (sid, version, document) VALUES (?1, ?2, ?3)";
            let document = write_document(&service).unwrap();
            create(&connection, insert, params![Key(service.sid), service.version, document]).unwrap();
            let again = create(&connection, insert, params![Key(service.sid), 0, ""]);
            assert!(matches!(again, Err(StoreError::Exists)), "{again:?}");
        }
        connection
    }

    #[test]
    fn the_version_comes_from_the_row() {
        let connection = with_services();
        let sid: ServiceSid = Sid::from_bits(2);
        let key = Key(sid);
        let parameters: [&dyn ToSql; 1] = [&key];
        let rows = Rows::new("services", "sid = ?1", &parameters);
        let service: Service = rows.find(&connection).unwrap().unwrap();
        let document = write_document(&service).unwrap();
        rows.replace(&connection, 0, &document).unwrap();
        let conflict = rows.replace(&connection, 0, &document);
        assert!(matches!(conflict, Err(StoreError::Conflict)), "{conflict:?}");
        assert_eq!(rows.find(&connection).unwrap(), Some(Service { version: 1, ..service.clone() }));
        assert_eq!(rows.take(&connection).unwrap(), Some(Service { version: 1, ..service }));
        assert!(!rows.exist(&connection).unwrap());
        assert_eq!(rows.take::<Service>(&connection).unwrap(), None);
        let missing = rows.replace(&connection, 1, &document);
        assert!(matches!(missing, Err(StoreError::Missing)), "{missing:?}");
    }

    #[test]
    fn pages_are_read_in_both_directions() {
        let connection = with_services();
        let sid = |n| Sid::from_bits(n);
        for (position, sids, more) in [
            (Cursor::Start, [1, 2].as_slice(), true),
            (Cursor::After(sid(1)), &[2, 3], false),
            (Cursor::Before(sid(4)), &[2, 3], true),
            (Cursor::Before(sid(2)), &[1], false),
        ] {
            let page = PageRequest::<ServiceSid> { position, limit: 2 };
            // The condition has its own parameter before those of the page.
            let page: Page<Service> = Rows::new("services", "version = ?1", &[&0]).page(&connection, page).unwrap();
            let found: Vec<u128> = page.items.iter().map(|service| service.sid.bits()).collect();
            assert_eq!((found.as_slice(), page.more), (sids, more), "{position:?}");
        }
    }
}
