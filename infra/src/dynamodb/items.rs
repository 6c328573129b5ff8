//! Items that several ports write: profiles, states and bindings.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use reachability_domain::directory::user::User;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::device::Device;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;

use super::key::{Item, Key};
use super::state::{self, StoredState};
use super::store::DynamoStore;
use super::table::{corrupt, document, incomplete};

pub(super) fn read_state(item: Item) -> Result<StoredState, StoreError> {
    StoredState::read(item.into_iter().map(|(name, value)| (name, value.into()))).map_err(corrupt)
}

pub(super) fn state_item(key: Key, state: &StoredState) -> Item {
    let mut item: Item = state.write().into_iter().map(|(name, value)| (name, value.into())).collect();
    item.extend(key.attributes());
    item
}

/// The condition for replacing a state: it is as it was read, or still does not exist.
pub(super) fn unchanged(read: &StoredState) -> (String, Option<HashMap<String, AttributeValue>>) {
    let mut values = HashMap::new();
    let mut same = |attribute: &str, value: Option<AttributeValue>| match value {
        None => format!("attribute_not_exists({attribute})"),
        Some(value) => {
            values.insert(format!(":{attribute}"), value);
            format!("{attribute} = :{attribute}")
        }
    };
    let revision = (read.state.revision > 0).then(|| AttributeValue::N(read.state.revision.to_string()));
    let sid = read.state.sid.map(|sid| AttributeValue::S(sid.to_string()));
    // Forgetting a connection is no new revision, and must not be undone.
    let floor = read.state.presence.floor.map(|floor| AttributeValue::N(floor.as_millis().to_string()));
    // Neither is a timer.
    let due = read.state.next_timer.map(|due| AttributeValue::N(due.as_millis().to_string()));
    let condition = [same("rev", revision), same("sid", sid), same("floor", floor), same("t", due)].join(" AND ");
    // DynamoDB rejects an empty map of values.
    (condition, Some(values).filter(|values| !values.is_empty()))
}

/// The expression that gives a state its next revision and time, with its values.
pub(super) fn revision_of(next: &UserState) -> (String, Vec<(String, AttributeValue)>) {
    let mut set = "SET rev = :next, as_of = :as_of".to_owned();
    let mut values = vec![
        (":next".to_owned(), AttributeValue::N(next.revision.to_string())),
        (":as_of".to_owned(), AttributeValue::N(next.as_of.as_millis().to_string())),
    ];
    // What others see of the user has a revision of its own.
    if let Some(hidden) = &next.disclosure.hidden {
        set.push_str(", hid = :hid");
        values.push((":hid".to_owned(), state::write(hidden).into()));
    }
    (set, values)
}

impl DynamoStore {
    pub(super) async fn state(&self, key: Key) -> Result<StoredState, StoreError> {
        self.table.item(key).await?.map(read_state).transpose().map(Option::unwrap_or_default)
    }

    /// Replaces a state, in a transaction. Conditional on the state being as it was read.
    pub(super) fn put_state(
        &self,
        key: Key,
        read: &StoredState,
        next: &StoredState,
    ) -> Result<TransactWriteItem, StoreError> {
        let (condition, values) = unchanged(read);
        let put = self.table.put(state_item(key, next)).condition_expression(condition);
        let put = put.set_expression_attribute_values(values).build().map_err(incomplete)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Gives a state that was read its next revision and time, in a transaction.
    pub(super) fn update_revision(
        &self,
        key: Key,
        read: &StoredState,
        next: &UserState,
    ) -> Result<TransactWriteItem, StoreError> {
        let (condition, values) = unchanged(read);
        let (set, written) = revision_of(next);
        let update = self
            .table
            .update(key)
            .update_expression(set)
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values.into_iter().flatten().chain(written).collect()));
        Ok(TransactWriteItem::builder().update(update.build().map_err(incomplete)?).build())
    }

    /// Adds a user's profile, in a transaction.
    pub(super) fn put_profile(&self, user: &User) -> Result<TransactWriteItem, StoreError> {
        let put = self.table.put(document(Key::user(user.service_sid, user.sid), user)?);
        let put = put.condition_expression("attribute_not_exists(pk)").build().map_err(incomplete)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Deletes a device's binding, in a transaction. If `known` is given, conditional on the binding being unchanged.
    pub(super) fn delete_binding(
        &self,
        service: ServiceSid,
        device: Device,
        known: Option<&Binding>,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut delete = self.table.deletion(Key::binding(service, device));
        if let Some(known) = known {
            delete = delete
                .condition_expression("version = :version AND sid = :sid")
                .expression_attribute_values(":version", AttributeValue::N(known.version.to_string()))
                .expression_attribute_values(":sid", AttributeValue::S(known.sid.to_string()));
        }
        Ok(TransactWriteItem::builder().delete(delete.build().map_err(incomplete)?).build())
    }
}
