//! Users' profiles.

use async_trait::async_trait;
use reachability_domain::directory::ports::Users;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::presence::writes::DeletionWrites;
use reachability_domain::sid::{ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::records::{delete_binding, insert_user, read_state, service_exists, write_state};
use super::rows::{Key, Rows, write_document};
use super::store::SqliteStore;

/// Selects a user by its sid.
const BY_SID: &str = "service = ?1 AND sid = ?2";

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
            .read(move |connection| match &user {
                UserRef::Sid(sid) => Rows::new("users", BY_SID, &[&Key(service), &Key(*sid)]).find(connection),
                UserRef::Identity(identity) => {
                    let by_identity = "service = ?1 AND identity = ?2";
                    Rows::new("users", by_identity, &[&Key(service), &identity.as_str()]).find(connection)
                }
            })
            .await
    }

    async fn users(&self, service: ServiceSid, page: PageRequest<UserSid>) -> Result<Page<User>, StoreError> {
        self.database
            .read(move |connection| Rows::new("users", "service = ?1", &[&Key(service)]).page(connection, page))
            .await
    }

    async fn replace_user(&self, user: &User) -> Result<(), StoreError> {
        let (service, sid, version, document) = (user.service_sid, user.sid, user.version, write_document(user)?);
        self.database
            .write(move |connection| {
                Rows::new("users", BY_SID, &[&Key(service), &Key(sid)]).replace(connection, version, &document)
            })
            .await
    }

    async fn delete_user(&self, service: ServiceSid, sid: UserSid, now: Timestamp) -> Result<bool, StoreError> {
        self.database
            .write(move |connection| {
                let deleted = Rows::new("users", BY_SID, &[&Key(service), &Key(sid)]).take(connection)?;
                let Some(User { identity, .. }) = deleted else { return Ok(false) };
                let state = read_state(connection, service, &identity)?;
                let writes = DeletionWrites::of(&state, now);
                for sid in writes.delete {
                    delete_binding(connection, service, sid)?;
                }
                if state.revision > 0 {
                    write_state(connection, service, &identity, &writes.state)?;
                }
                Ok(true)
            })
            .await
    }
}
