//! Push credentials.

use async_trait::async_trait;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::push::credential::Credential;
use reachability_domain::push::ports::Credentials;
use reachability_domain::sid::CredentialSid;
use reachability_domain::store::StoreError;

use super::key::Key;
use super::store::DynamoStore;

#[async_trait]
impl Credentials for DynamoStore {
    async fn create_credential(&self, credential: &Credential) -> Result<(), StoreError> {
        self.table.create(Key::credential(credential.sid), credential).await
    }

    async fn credential(&self, sid: CredentialSid) -> Result<Option<Credential>, StoreError> {
        self.table.find(Key::credential(sid)).await
    }

    async fn credentials(&self, page: PageRequest<CredentialSid>) -> Result<Page<Credential>, StoreError> {
        self.table.page(Key::credentials(), page).await
    }

    async fn replace_credential(&self, credential: &Credential) -> Result<(), StoreError> {
        let next = Credential { version: credential.version + 1, ..credential.clone() };
        self.table.replace(Key::credential(credential.sid), credential.version, &next).await
    }

    async fn delete_credential(&self, sid: CredentialSid) -> Result<bool, StoreError> {
        self.table.delete(Key::credential(sid)).await
    }
}
