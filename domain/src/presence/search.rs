//! The port that finds users, and users as rows of a query.

use std::cell::OnceCell;

use async_trait::async_trait;
use serde_json::{Map, Value as Json};

use crate::identity::Identity;
use crate::presence::appearance::{Appearance, Viewer};
use crate::presence::snapshot::UserSnapshot;
use crate::presence::state::UserState;
use crate::query::fields::{Fields, Value};
use crate::sid::ServiceSid;
use crate::store::StoreError;
use crate::time::Timestamp;

/// Finds users of a service, with what their reachability is computed from. Lists are in the order of identities.
#[async_trait]
pub trait UserSearch: Send + Sync {
    /// Those of these identities for which there is a user.
    async fn users_by_identity(
        &self,
        service: ServiceSid,
        identities: &[Identity],
    ) -> Result<Vec<UserSnapshot>, StoreError>;

    /// Users after this identity, at most so many.
    ///
    /// # Errors
    /// [`StoreError::NotSupported`] if the store has no such order.
    async fn users_after(
        &self,
        service: ServiceSid,
        after: Option<&Identity>,
        at_most: usize,
    ) -> Result<Vec<UserSnapshot>, StoreError>;

    /// Users after this identity, at most so many, among whom are all whom others see online; never one who is invisible. Whose
    /// lease has run out since the last write may be among them.
    ///
    /// # Errors
    /// [`StoreError::NotSupported`] if the store has no such index.
    async fn online_after(
        &self,
        service: ServiceSid,
        after: Option<&Identity>,
        at_most: usize,
    ) -> Result<Vec<UserSnapshot>, StoreError>;
}

/// Whether others saw the user online after the last write of its state, if reachability is on: whether it is in the index of
/// who is online. What renews a lease does not change it.
pub fn looks_online(state: &UserState) -> bool {
    state.sid.is_some() && state.disclosure.hidden.is_none() && state.as_of < state.presence.live_until()
}

/// A user as a row of a query: what a viewer sees of it.
#[derive(Debug, Clone)]
pub struct UserRow {
    /// The user.
    pub snapshot: UserSnapshot,
    appearance: Appearance,
    /// The attributes, if they are a JSON object; read when a field of them is first asked for.
    custom: OnceCell<Map<String, Json>>,
}

impl UserRow {
    /// What this viewer sees now.
    pub fn of(snapshot: UserSnapshot, now: Timestamp, viewer: Viewer) -> Self {
        let appearance = Appearance::of(&snapshot.configuration, snapshot.state.clone(), now, viewer);
        Self { snapshot, appearance, custom: OnceCell::new() }
    }

    fn custom(&self) -> &Map<String, Json> {
        self.custom.get_or_init(|| serde_json::from_str(&self.snapshot.user.attributes).unwrap_or_default())
    }
}

impl Fields for UserRow {
    fn field(&self, name: &str) -> Value<'_> {
        let user = &self.snapshot.user;
        match name {
            "id" => Value::text(Some(user.identity.as_str())),
            "name" => Value::text(user.friendly_name.as_deref()),
            "online" => self.appearance.reachability.online.map_or(Value::Absent, Value::Bool),
            "last_active" => Value::time(self.appearance.last_active),
            "created_at" => Value::Time(user.date_created),
            name => self.custom().get(name).map_or(Value::Absent, Value::from),
        }
    }
}
