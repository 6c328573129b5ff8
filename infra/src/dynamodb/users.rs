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
use super::table::{Attempts, Transacted, incomplete, read_documents};

#[async_trait]
impl Users for DynamoStore {
    async fn create_user(&self, user: &User) -> Result<(), StoreError> {
        let key = Key::state(user.service_sid, &user.identity);
        // Checked outside the transaction: inside, it would conflict with all other writes of the service. If the
        // service is deleted in between, the purge removes the user.
        if self.service(user.service_sid).await?.is_none() {
            return Err(StoreError::Missing);
        }
        let state = self
            .table
            .update(key.clone())
            .update_expression("SET sid = :sid REMOVE #ttl")
            .condition_expression("attribute_not_exists(sid)")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":sid", AttributeValue::S(user.sid.to_string()));
        let items = vec![
            TransactWriteItem::builder().update(state.build().map_err(incomplete)?).build(),
            self.put_profile(user)?,
        ];
        let mut attempts = Attempts::default();
        loop {
            match self.table.transact(items.clone()).await? {
                Transacted::Done => return Ok(()),
                Transacted::Refused(_) => {
                    // An identical user means that an earlier attempt had succeeded, but its response was lost.
                    let is_ours = self.state(key).await?.sid == Some(user.sid);
                    return if is_ours { Ok(()) } else { Err(StoreError::Exists) };
                }
                Transacted::NotNow => attempts.again().await?,
            }
        }
    }

    async fn user(&self, service: ServiceSid, user: &UserRef) -> Result<Option<User>, StoreError> {
        let sid = match user {
            UserRef::Sid(sid) => *sid,
            UserRef::Identity(identity) => match self.state(Key::state(service, identity)).await?.sid {
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
        let next = User { version: user.version + 1, ..user.clone() };
        self.table.replace(Key::user(user.service_sid, user.sid), user.version, &next).await
    }

    async fn delete_user(&self, service: ServiceSid, sid: UserSid, now: Timestamp) -> Result<bool, StoreError> {
        let Some(user) = self.table.find::<User>(Key::user(service, sid)).await? else { return Ok(false) };
        let key = Key::state(service, &user.identity);
        let profile = self.table.deletion(Key::user(service, sid)).condition_expression("attribute_exists(pk)");
        let profile = TransactWriteItem::builder().delete(profile.build().map_err(incomplete)?).build();
        let mut attempts = Attempts::default();
        loop {
            let read = self.state(key.clone()).await?;
            let writes = DeletionWrites::of(&read.state, now);
            let mut next = read.clone();
            next.sid = None;
            next.state = writes.state;
            let mut items = vec![profile.clone(), self.put_state(key.clone(), &read, &next)?];
            for sid in writes.delete {
                items.push(self.delete_binding(service, Device::of_binding(sid), None)?);
            }
            match self.table.transact(items).await? {
                Transacted::Done => return Ok(true),
                Transacted::Refused(held) if held.first() == Some(&false) => return Ok(false),
                Transacted::Refused(_) | Transacted::NotNow => attempts.again().await?,
            }
        }
    }
}
