//! Bindings: one item per device, written in one transaction with the states of its previous and new user.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use futures_util::{StreamExt, stream};
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::user::User;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::paging::{Cursor, Page, PageRequest};
use reachability_domain::presence::device_writes::TransitionWrites;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::device::Device;
use reachability_domain::push::ports::{Applied, Bindings};
use reachability_domain::push::transition::Transition;
use reachability_domain::sid::{BindingSid, ServiceSid, Sid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::key::{self, Item, Key};
use super::state::StoredState;
use super::store::DynamoStore;
use super::table::{Attempts, Looks, Transacted, document, incomplete, read_document, read_documents};

/// How many transactions run concurrently.
const WRITES_AT_ONCE: usize = 32;

/// The stored states that a transition depends on.
struct Read {
    leaver: Option<StoredState>,
    owner: Option<StoredState>,
}

impl DynamoStore {
    async fn read(&self, service: ServiceSid, transition: &Transition) -> Result<Read, StoreError> {
        let key = |identity: &Identity| Key::state(service, identity);
        Ok(Read {
            leaver: self.state_if(transition.leaver().map(key)).await?,
            owner: self.state_if(transition.owner().map(key)).await?,
        })
    }

    async fn state_if(&self, key: Option<Key>) -> Result<Option<StoredState>, StoreError> {
        match key {
            Some(key) => self.state(key).await.map(Some),
            None => Ok(None),
        }
    }

    /// The writes of a transition, conditional on nothing having changed since the read.
    fn write_items(
        &self,
        service: ServiceSid,
        device: Device,
        before: Option<&Binding>,
        read: &Read,
        writes: &TransitionWrites,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let mut items = Vec::new();
        let mut put_state = |read: &Option<StoredState>, write: &Option<(Identity, UserState)>| {
            if let (Some(read), Some((identity, state))) = (read, write) {
                let mut next = read.clone();
                next.state = state.clone();
                items.push(self.put_state(Key::state(service, identity), read, &next)?);
            }
            Ok::<_, StoreError>(())
        };
        put_state(&read.leaver, &writes.leaver)?;
        put_state(&read.owner, &writes.owner)?;
        items.push(match &writes.put {
            Some(binding) => self.put_binding(device, before, binding)?,
            None => self.delete_binding(service, device, before)?,
        });
        // The item of this device is handled above.
        let others = writes.delete.iter().map(|sid| Device::of_binding(*sid)).filter(|other| *other != device);
        for other in others {
            items.push(self.delete_binding(service, other, None)?);
        }
        if let Some(user) = &writes.create {
            items.push(self.put_profile(user)?);
        }
        Ok(items)
    }

    fn put_binding(
        &self,
        device: Device,
        before: Option<&Binding>,
        binding: &Binding,
    ) -> Result<TransactWriteItem, StoreError> {
        let put = self.table.put(document(Key::binding(binding.service_sid, device), binding)?);
        let put = match before {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(known) => put
                .condition_expression("version = :version AND sid = :sid")
                .expression_attribute_values(":version", AttributeValue::N(known.version.to_string()))
                .expression_attribute_values(":sid", AttributeValue::S(known.sid.to_string())),
        };
        Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
    }

    async fn bindings_of_service(
        &self,
        service: ServiceSid,
        filter: &BindingFilter,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Binding>, StoreError> {
        // A binding's key is the lowest sid that a binding of its device can have.
        let at = PageRequest {
            position: match page.position {
                Cursor::Before(sid) => Cursor::Before(*Device::of_binding(sid).sids().start()),
                position => position,
            },
            ..page
        };
        let selects_all = filter.channels.is_empty() && filter.tags.is_empty();
        // An item that cannot be read is kept, so that the failure is told.
        let is_wanted =
            |item: &Item| selects_all || read_document(item.clone()).map_or(true, |binding| filter.matches(&binding));
        // Shards are in the order of sids, so most pages come from one shard.
        let shards = key::shards(page.position).into_iter().map(|shard| Key::bindings(service, shard));
        let looks = if selects_all { Looks::few(page) } else { Looks::MANY };
        let found = self.table.query_in_turn(shards, at, is_wanted, looks).await?;
        let page = page.page_of_read(read_documents(found.items)?);
        let Some(key) = found.stopped_at else { return Ok(page) };
        let sid: BindingSid = key::sid(&key)?;
        Ok(Page { more: true, looked_up_to: Some(sid.bits()), ..page })
    }

    async fn bindings_of_users(
        &self,
        service: ServiceSid,
        filter: &BindingFilter,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Binding>, StoreError> {
        let user = |identity: &_| UserKey { service, identity: Clone::clone(identity) };
        let users: Vec<UserKey> = filter.identities.iter().map(user).collect();
        let states = self.states(&users).await?;
        // A device that changes its user may be in two states, but is one item.
        let sids = states.iter().flat_map(|state| state.registrations.devices()).map(|(sid, _)| sid);
        let devices: BTreeSet<Device> = sids.map(Device::of_binding).collect();
        let items = self.table.read_all(devices.into_iter().map(|device| Key::binding(service, device))).await?;
        let mut bindings: Vec<Binding> = read_documents(items)?;
        bindings.retain(|binding| filter.matches(binding));
        Ok(page.page_of_all(bindings, |binding| binding.sid))
    }
}

#[async_trait]
impl Bindings for DynamoStore {
    async fn apply(
        &self,
        service: ServiceSid,
        device: Device,
        command: &BindingCommand,
        user: Option<&User>,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        // Checked outside the transaction, as for a new user.
        if command.registers() && self.service(service).await?.is_none() {
            return Err(StoreError::Missing);
        }
        let key = Key::binding(service, device);
        let (mut attempts, mut in_doubt) = (Attempts::default(), None);
        loop {
            let before: Option<Binding> = self.table.find(key.clone()).await?;
            let Some(transition) = command.transition(before.as_ref(), now) else {
                return Ok(Applied { before: in_doubt.unwrap_or_else(|| before.clone()), after: before });
            };
            let read = self.read(service, &transition).await?;
            let state = |read: &Option<StoredState>| read.as_ref().map(|read| read.state.clone());
            let writes = TransitionWrites::of(transition, state(&read.leaver), state(&read.owner), user, now);
            let items = self.write_items(service, device, before.as_ref(), &read, &writes)?;
            match self.table.transact(items).await? {
                Transacted::Done => return Ok(Applied { before, after: writes.put }),
                Transacted::Refused(_) | Transacted::NotNow => attempts.again().await?,
                Transacted::InDoubt => {
                    in_doubt.get_or_insert(before);
                    attempts.again().await?;
                }
            }
        }
    }

    async fn apply_all(
        &self,
        service: ServiceSid,
        commands: &[(Device, BindingCommand)],
        now: Timestamp,
    ) -> Vec<Result<Applied, StoreError>> {
        // Each has a transaction of its own, since each may find something changed.
        let apply =
            async |(device, command): &(Device, BindingCommand)| self.apply(service, *device, command, None, now).await;
        stream::iter(commands).map(apply).buffered(WRITES_AT_ONCE).collect().await
    }

    async fn binding(&self, service: ServiceSid, sid: BindingSid) -> Result<Option<Binding>, StoreError> {
        let found: Option<Binding> = self.table.find(Key::binding(service, Device::of_binding(sid))).await?;
        Ok(found.filter(|binding| binding.sid == sid))
    }

    async fn bindings_with(&self, service: ServiceSid, sids: &[BindingSid]) -> Result<Vec<Binding>, StoreError> {
        // A device that has changed its user is one item.
        let devices: BTreeSet<Device> = sids.iter().map(|sid| Device::of_binding(*sid)).collect();
        let items = self.table.read_all(devices.into_iter().map(|device| Key::binding(service, device))).await?;
        let mut bindings: Vec<Binding> = read_documents(items)?;
        bindings.retain(|binding| sids.contains(&binding.sid));
        Ok(bindings)
    }

    async fn bindings(
        &self,
        service: ServiceSid,
        filter: &BindingFilter,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Binding>, StoreError> {
        if filter.identities.is_empty() {
            self.bindings_of_service(service, filter, page).await
        } else {
            self.bindings_of_users(service, filter, page).await
        }
    }
}
