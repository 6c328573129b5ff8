//! Push credentials.

use async_trait::async_trait;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::push::credential::Credential;
use reachability_domain::push::ports::Credentials;
use reachability_domain::sid::CredentialSid;
use reachability_domain::store::StoreError;
use rusqlite::params;

use super::rows::{Key, Rows, create, write_document};
use super::store::SqliteStore;

#[async_trait]
impl Credentials for SqliteStore {
    async fn create_credential(&self, credential: &Credential) -> Result<(), StoreError> {
        let (sid, version, document) = (credential.sid, credential.version, write_document(credential)?);
        self.database
            .write(move |connection| {
                let insert = "INSERT INTO credentials (sid, version, document) VALUES (?1, ?2, ?3)";
                create(connection, insert, params![Key(sid), version, document])
            })
            .await
    }

    async fn credential(&self, sid: CredentialSid) -> Result<Option<Credential>, StoreError> {
        self.database.look_up(|connection| Rows::new("credentials", "sid = ?1", &[&Key(sid)]).find(connection))
    }

    async fn credentials(&self, page: PageRequest<CredentialSid>) -> Result<Page<Credential>, StoreError> {
        self.database.read(move |connection| Rows::new("credentials", "true", &[]).page(connection, page)).await
    }

    async fn replace_credential(&self, credential: &Credential) -> Result<(), StoreError> {
        let (sid, version, document) = (credential.sid, credential.version, write_document(credential)?);
        self.database
            .write(move |connection| {
                Rows::new("credentials", "sid = ?1", &[&Key(sid)]).replace(connection, version, &document)
            })
            .await
    }

    async fn delete_credential(&self, sid: CredentialSid) -> Result<bool, StoreError> {
        self.database
            .write(move |connection| Ok(Rows::new("credentials", "sid = ?1", &[&Key(sid)]).delete(connection)? > 0))
            .await
    }
}
