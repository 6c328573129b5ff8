//! Users' profiles. Creating or deleting one also writes the user's state in the same transaction.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use futures_util::future::try_join_all;
use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::presence::writes::DeletionWrites;
use reachability_domain::push::device::Device;
use reachability_domain::sid::{ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::key::{Key, SHARDS};
use super::store::DynamoStore;
use super::table::{Attempts, Transacted, document, incomplete, read_documents};

#[async_trait]
impl Users for DynamoStore {
    async fn create_user(&self, user: &User) -> Result<(), StoreError> {
        let key = Key::state(user.service_sid, &user.identity);
        // Checked outside the transaction: inside, it would conflict with all other writes of the service. If the
        // service is deleted in between, the purge removes the user.
        if self.service(user.service_sid).await?.is_none() {
            return Err(StoreError::Missing);
        }
        let mut attempts = Attempts::default();
        loop {
            let read = self.state(key.clone()).await?;
            match read.state.sid {
                // Its creation was answered before, and the answer lost.
                Some(sid) if sid == user.sid => return Ok(()),
                Some(_) => return Err(StoreError::Exists),
                None => {}
            }
            let mut next = read.clone();
            next.state.create(user);
            let items = vec![self.put_state(key.clone(), &read, &next)?, self.put_profile(user)?];
            match self.table.transact(items).await? {
                Transacted::Done => return Ok(()),
                Transacted::Refused(_) | Transacted::NotNow | Transacted::InDoubt => attempts.again().await?,
            }
        }
    }

    async fn user(&self, service: ServiceSid, user: &UserRef) -> Result<Option<User>, StoreError> {
        let sid = match user {
            UserRef::Sid(sid) => *sid,
            UserRef::Identity(identity) => match self.state(Key::state(service, identity)).await?.state.sid {
                Some(sid) => sid,
                None => return Ok(None),
            },
        };
        self.table.find(Key::user(service, sid)).await
    }

    async fn users(&self, service: ServiceSid, page: PageRequest<UserSid>) -> Result<Page<User>, StoreError> {
        let shards = (0..SHARDS).map(|shard| self.table.query(Key::users(service, shard), page));
        let items = try_join_all(shards).await?.into_iter().flatten().collect();
        Ok(page.page_of_all(read_documents(items)?, |user: &User| user.sid))
    }

    async fn replace_user(&self, user: &User) -> Result<(), StoreError> {
        let key = Key::state(user.service_sid, &user.identity);
        let mut attempts = Attempts::default();
        loop {
            let read = self.state(key.clone()).await?;
            if read.state.sid != Some(user.sid) {
                return Err(StoreError::Missing);
            }
            let mut state = read.state.clone();
            state.change_profile(user.date_updated);
            let next = User { version: user.version + 1, revision: state.revision, ..user.clone() };
            let profile = self.table.put(document(Key::user(user.service_sid, user.sid), &next)?);
            let profile = profile
                .condition_expression("version = :version")
                .expression_attribute_values(":version", AttributeValue::N(user.version.to_string()));
            let profile = TransactWriteItem::builder().put(profile.build().map_err(incomplete)?).build();
            let items = vec![profile, self.update_revision(key.clone(), &read, &state)?];
            match self.table.transact(items).await? {
                Transacted::Done => return Ok(()),
                Transacted::Refused(held) if held.first() == Some(&false) => {
                    let is_there = self.table.item(Key::user(user.service_sid, user.sid)).await?.is_some();
                    return Err(if is_there { StoreError::Conflict } else { StoreError::Missing });
                }
                Transacted::Refused(_) | Transacted::NotNow | Transacted::InDoubt => attempts.again().await?,
            }
        }
    }

    async fn delete_user(&self, service: ServiceSid, sid: UserSid, now: Timestamp) -> Result<bool, StoreError> {
        let Some(user) = self.table.find::<User>(Key::user(service, sid)).await? else { return Ok(false) };
        let key = Key::state(service, &user.identity);
        let profile = self.table.deletion(Key::user(service, sid)).condition_expression("attribute_exists(pk)");
        let profile = TransactWriteItem::builder().delete(profile.build().map_err(incomplete)?).build();
        let (mut attempts, mut is_in_doubt) = (Attempts::default(), false);
        loop {
            let read = self.state(key.clone()).await?;
            let writes = DeletionWrites::of(&read.state, now);
            let mut next = read.clone();
            next.state = writes.state;
            let mut items = vec![profile.clone(), self.put_state(key.clone(), &read, &next)?];
            for sid in writes.delete {
                items.push(self.delete_binding(service, Device::of_binding(sid), None)?);
            }
            match self.table.transact(items).await? {
                Transacted::Done => return Ok(true),
                Transacted::Refused(held) if held.first() == Some(&false) => return Ok(is_in_doubt),
                Transacted::Refused(_) | Transacted::NotNow => attempts.again().await?,
                Transacted::InDoubt => {
                    is_in_doubt = true;
                    attempts.again().await?;
                }
            }
        }
    }
}
