//! What is sealed in a database, and whether a key opens it: to be known before anything is changed.

use std::path::Path;

use reachability_domain::push::credential::{Credential, Health, Sealed};
use reachability_domain::push::reason::Reason;
use reachability_domain::sid::{CredentialSid, KeySid, Sid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::{Connection, OpenFlags, ToSql};
use serde::Deserialize;

use super::database::OpenError;
use super::migrations::SCHEMA_VERSION;
use super::rows::{Key, Rows, write_document};
use super::store::SqliteStore;
use super::writer::{BUSY_TIMEOUT, Terms};
use crate::credentials::seal::Seal;

/// The version of the schema since which there are credentials.
const CREDENTIALS_SINCE: i32 = 2;

/// The secrets in a database that are sealed.
#[derive(Debug, Default)]
pub struct SealedSecrets {
    keys: Vec<(KeySid, Sealed)>,
    credentials: Vec<(CredentialSid, Sealed)>,
}

/// The API keys and push credentials whose secrets a seal does not open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locked {
    /// The API keys.
    pub keys: Vec<KeySid>,
    /// The push credentials.
    pub credentials: Vec<CredentialSid>,
}

impl SealedSecrets {
    /// Reads them from a file that a server may be using, and does not change it. There are none if there is no file.
    ///
    /// # Errors
    /// If the file is not a database, or was written by a newer version of this program.
    pub fn read(path: &Path) -> Result<Self, OpenError> {
        let sqlite_error = |source| OpenError::Sqlite { path: path.to_owned(), source };
        if matches!(path.try_exists(), Ok(false)) {
            return Ok(Self::default());
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(sqlite_error)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite_error)?;
        let version: i32 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sqlite_error)?;
        if version > SCHEMA_VERSION {
            return Err(OpenError::Newer { path: path.to_owned(), found: version });
        }
        Self::of(&connection, version).map_err(sqlite_error)
    }

    fn of(connection: &Connection, version: i32) -> rusqlite::Result<Self> {
        let keys = if version > 0 { sealed(connection, "keys")? } else { vec![] };
        let credentials = if version >= CREDENTIALS_SINCE { sealed(connection, "credentials")? } else { vec![] };
        Ok(Self { keys, credentials })
    }

    /// Whether nothing is sealed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.credentials.is_empty()
    }

    /// How many API keys, and how many push credentials, have a sealed secret.
    pub fn counts(&self) -> (usize, usize) {
        (self.keys.len(), self.credentials.len())
    }

    /// What this seal does not open.
    pub fn locked(&self, seal: &Seal) -> Locked {
        Locked { keys: locked(&self.keys, seal), credentials: locked(&self.credentials, seal) }
    }

    /// Whether a seal that leaves this locked has the wrong key. All API keys are sealed with one key; but some credentials may
    /// be of a key that was lost before.
    pub fn are_of_another_key(&self, locked: &Locked) -> bool {
        let opens_nothing = self.keys.is_empty() && locked.credentials.len() == self.credentials.len();
        !self.is_empty() && (!locked.keys.is_empty() || opens_nothing)
    }
}

impl Locked {
    /// Whether everything could be opened.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.credentials.is_empty()
    }
}

impl SqliteStore {
    /// Gives up secrets that cannot be opened: deletes the API keys, and keeps the push credentials without their secrets, as
    /// rejected, until the owner uploads them again.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn discard(&self, locked: Locked, now: Timestamp) -> Result<(), StoreError> {
        let keys = self.database.keys.clone();
        let write = move |connection: &Connection| {
            for sid in locked.keys {
                Rows::new("keys", "sid = ?1", &[&Key(sid)]).delete(connection)?;
            }
            let health = Health::Rejected { reason: Reason::new(Reason::UNREADABLE_SECRET), at: now };
            for sid in locked.credentials {
                let sid = Key(sid);
                let parameters: [&dyn ToSql; 1] = [&sid];
                let rows = Rows::new("credentials", "sid = ?1", &parameters);
                let Some(credential) = rows.find::<Credential>(connection)? else { continue };
                let given_up = Credential { sealed: None, health: health.clone(), outage: None, ..credential };
                rows.replace(connection, given_up.version, &write_document(&given_up)?)?;
            }
            Ok(())
        };
        self.database.write_then(Terms::PROMISED, write, move |()| keys.forget()).await
    }
}

/// The sealed secrets in a table.
fn sealed<S: Sid>(connection: &Connection, table: &str) -> rusqlite::Result<Vec<(S, Sealed)>> {
    #[derive(Deserialize)]
    struct Document {
        sealed: Option<Sealed>,
    }
    let mut statement = connection.prepare(&format!("SELECT sid, document FROM {table}"))?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        // What does not parse is told to whoever reads it.
        let document = serde_json::from_slice(row.get_ref(1)?.as_bytes()?);
        if let Ok(Document { sealed: Some(sealed) }) = document {
            found.push((row.get::<_, Key<S>>(0)?.0, sealed));
        }
    }
    Ok(found)
}

fn locked<S: Sid>(secrets: &[(S, Sealed)], seal: &Seal) -> Vec<S> {
    secrets.iter().filter(|(sid, sealed)| seal.open(*sid, sealed).is_err()).map(|(sid, _)| *sid).collect()
}
