//! API keys. The file has their secrets sealed; those in memory are open, so that no request has to open one.

use async_trait::async_trait;
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::ports::ApiKeys;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::push::credential::Sealed;
use reachability_domain::sid::KeySid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::database::Database;
use super::rows::{Key, Record, Rows, create, execute, write_document};
use super::store::SqliteStore;
use super::writer::Terms;
use crate::credentials::seal::Seal;

/// An API key as it is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct SealedKey {
    pub(super) sid: KeySid,
    friendly_name: String,
    sealed: Sealed,
    date_created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    date_updated: Option<Timestamp>,
}

impl Record for SealedKey {}

/// As versions of the schema before 9 have it, in the clear.
impl Record for ApiKey {}

impl SealedKey {
    fn open(self, seal: &Seal) -> Result<ApiKey, StoreError> {
        let Self { sid, friendly_name, sealed, date_created, date_updated } = self;
        let secret = seal.open(sid, &sealed).map_err(|error| StoreError::Corrupt(error.into()))?;
        Ok(ApiKey { sid, friendly_name, secret, date_created, date_updated })
    }
}

/// The document of an API key.
fn sealed_document(key: &ApiKey, seal: &Seal) -> Result<String, StoreError> {
    let sealed = seal.seal(key.sid, &key.secret).map_err(|error| StoreError::Unavailable(error.into()))?;
    let ApiKey { sid, friendly_name, secret: _, date_created, date_updated } = key.clone();
    write_document(&SealedKey { sid, friendly_name, sealed, date_created, date_updated })
}

fn replace(connection: &Connection, sid: KeySid, document: &str) -> Result<(), StoreError> {
    match execute(connection, "UPDATE keys SET document = ?2 WHERE sid = ?1", params![Key(sid), document])? {
        0 => Err(StoreError::Missing),
        _ => Ok(()),
    }
}

/// Seals the secrets that are stored in the clear, all of them.
pub(super) fn seal_all(connection: &Connection, seal: &Seal) -> Result<(), StoreError> {
    let keys: Vec<ApiKey> = Rows::new("keys", "true", &[]).all(connection)?;
    keys.iter().try_for_each(|key| replace(connection, key.sid, &sealed_document(key, seal)?))
}

impl Database {
    /// Runs a write of an API key.
    async fn write_key<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let keys = self.keys.clone();
        let then = move |written| {
            keys.forget();
            written
        };
        self.write_then(Terms::PROMISED, write, then).await
    }
}

#[async_trait]
impl ApiKeys for SqliteStore {
    async fn create_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        let (sid, document) = (key.sid, sealed_document(key, &self.database.seal)?);
        self.database
            .write_key(move |connection| {
                let insert = "INSERT INTO keys (sid, document) VALUES (?1, ?2)";
                create(connection, insert, params![Key(sid), document])
            })
            .await
    }

    async fn key(&self, sid: KeySid) -> Result<Option<ApiKey>, StoreError> {
        let before = match self.database.keys.get(&sid) {
            Ok(key) => return Ok(Some(ApiKey::clone(&key))),
            Err(before) => before,
        };
        let found: Option<SealedKey> =
            self.database.look_up(|connection| Rows::new("keys", "sid = ?1", &[&Key(sid)]).find(connection))?;
        let found = found.map(|key| key.open(&self.database.seal)).transpose()?;
        if let Some(key) = &found {
            self.database.keys.add(before, sid, key.clone());
        }
        Ok(found)
    }

    async fn keys(&self, page: PageRequest<KeySid>) -> Result<Page<ApiKey>, StoreError> {
        let seal = self.database.seal.clone();
        self.database
            .read(move |connection| {
                let Page { items, more, looked_up_to } = Rows::new("keys", "true", &[]).page(connection, page)?;
                let items = items.into_iter().map(|key: SealedKey| key.open(&seal)).collect::<Result<_, _>>()?;
                Ok(Page { items, more, looked_up_to })
            })
            .await
    }

    async fn replace_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        let (sid, document) = (key.sid, sealed_document(key, &self.database.seal)?);
        self.database.write_key(move |connection| replace(connection, sid, &document)).await
    }

    async fn delete_key(&self, sid: KeySid) -> Result<bool, StoreError> {
        self.database
            .write_key(move |connection| Ok(Rows::new("keys", "sid = ?1", &[&Key(sid)]).delete(connection)? > 0))
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reachability_domain::secret::Secret;
    use reachability_domain::sid::Sid;
    use rusqlite::wal::CheckpointMode;
    use tempfile::TempDir;

    use super::*;

    fn key(n: u128) -> ApiKey {
        ApiKey {
            sid: Sid::from_bits(n),
            friendly_name: format!("key {n}"),
            secret: Secret::new(format!("the secret of {n}")),
            date_created: Timestamp::default(),
            date_updated: None,
        }
    }

    /// A store, and its file on another connection.
    fn store(key: &str) -> (SqliteStore, Connection, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let database = Database::open(&path, Arc::new(Seal::new(&Secret::new(key)))).unwrap();
        (SqliteStore::new(database), Connection::open(path).unwrap(), directory)
    }

    fn document(raw: &Connection, sid: KeySid) -> String {
        raw.query_row("SELECT document FROM keys WHERE sid = ?1", [Key(sid)], |row| row.get(0)).unwrap()
    }

    #[tokio::test]
    async fn a_stored_secret_can_be_read_only_with_the_key() {
        let (store, raw, directory) = store("one");
        store.create_key(&key(1)).await.unwrap();
        let renamed = ApiKey { friendly_name: "renamed".to_owned(), ..key(1) };
        store.replace_key(&renamed).await.unwrap();
        assert!(!document(&raw, key(1).sid).contains("secret"), "{}", document(&raw, key(1).sid));
        for (key, can) in [("one", true), ("other", false)] {
            let seal = Arc::new(Seal::new(&Secret::new(key)));
            let store = SqliteStore::new(Database::open(&directory.path().join("test.db"), seal).unwrap());
            match store.key(renamed.sid).await {
                Ok(Some(key)) => assert!(can && key == renamed),
                other => assert!(!can && matches!(other, Err(StoreError::Corrupt(_))), "{other:?}"),
            }
        }
    }

    /// Requests read it from memory.
    #[tokio::test]
    async fn a_secret_that_was_read_is_not_opened_again() {
        let (store, raw, _directory) = store("one");
        store.create_key(&key(1)).await.unwrap();
        assert_eq!(store.key(key(1).sid).await.unwrap(), Some(key(1)));
        let changed = document(&raw, key(1).sid).replace("v1:", "v0:");
        raw.execute("UPDATE keys SET document = ?2 WHERE sid = ?1", params![Key(key(1).sid), changed]).unwrap();
        assert_eq!(store.key(key(1).sid).await.unwrap(), Some(key(1)));
        // It would be noticed.
        store.create_key(&key(2)).await.unwrap();
        assert!(matches!(store.key(key(1).sid).await, Err(StoreError::Corrupt(_))));
    }

    #[tokio::test]
    async fn what_is_deleted_is_overwritten() {
        let (store, raw, directory) = store("one");
        for n in 1..=3 {
            store.create_key(&key(n)).await.unwrap();
        }
        let stored: Vec<u8> = document(&raw, key(2).sid).into();
        let is_in_file = || {
            raw.wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE).unwrap();
            let file = std::fs::read(directory.path().join("test.db")).unwrap();
            file.windows(stored.len()).any(|bytes| bytes == stored)
        };
        assert!(is_in_file());
        assert!(store.delete_key(key(2).sid).await.unwrap());
        assert!(!is_in_file());
    }
}
