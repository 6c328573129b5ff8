//! Creating and updating users, and reading whether they are reachable.

use reachability_domain::directory::ports::Users;
use reachability_domain::directory::service::{Service, ServiceRef};
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::ids::Ids;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::ports::States;
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::presence::snapshot::{UserSnapshot, UserSnapshots};
use reachability_domain::sid::{RoleSid, ServiceSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Clock;

use crate::use_cases::services::{FoundService, ServiceDirectory};
use crate::use_cases::update::{Versioned, update};

/// The fields to set in a user's profile; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ProfileChange {
    /// The name to show; `Some(None)` clears it.
    pub(crate) friendly_name: Option<Option<String>>,
    /// The app's own JSON text.
    pub(crate) attributes: Option<String>,
    pub(crate) role_sid: Option<RoleSid>,
}

impl ProfileChange {
    fn apply(&self, user: &mut User) {
        if let Some(friendly_name) = &self.friendly_name {
            user.friendly_name.clone_from(friendly_name);
        }
        if let Some(attributes) = &self.attributes {
            user.attributes.clone_from(attributes);
        }
        if self.role_sid.is_some() {
            user.role_sid = self.role_sid;
        }
    }
}

/// The command to create a user.
pub(crate) struct CreateUser {
    pub(crate) service: FoundService,
    pub(crate) identity: Identity,
    pub(crate) profile: ProfileChange,
    /// Whether webhooks are to tell it.
    pub(crate) webhook_enabled: bool,
}

/// Creates a user. Returns the service and the user.
///
/// # Errors
/// [`StoreError::Exists`] if the identity is taken, [`StoreError::Missing`] if the service was deleted.
pub(crate) async fn create_user(
    directory: &ServiceDirectory,
    users: &dyn Users,
    ids: &dyn Ids,
    clock: Clock,
    command: CreateUser,
) -> Result<(Service, User), StoreError> {
    let service = directory.store(command.service).await?;
    let key = UserKey { service: service.sid, identity: command.identity };
    let mut user = User::new(ids.sid(), key, Some(service.default_roles.service_user), clock());
    command.profile.apply(&mut user);
    user.webhook_enabled = command.webhook_enabled;
    users.create_user(&user).await?;
    Ok((service, user))
}

/// The command to change a user's profile.
pub(crate) struct UpdateUser {
    /// The user as it was read.
    pub(crate) user: User,
    pub(crate) profile: ProfileChange,
    pub(crate) writer: Writer,
}

/// Who changes a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// The owner.
    Owner {
        /// Whether webhooks are to tell it.
        webhook_enabled: bool,
    },
    /// A client of the user itself. Webhooks always tell it.
    Client,
}

/// Changes a user's profile. Returns the changed user, or `None` if the user was deleted.
pub(crate) async fn update_user(
    users: &dyn Users,
    ids: &dyn Ids,
    clock: Clock,
    command: UpdateUser,
) -> Result<Option<User>, StoreError> {
    let UpdateUser { user, profile, writer } = command;
    let place = StoredUser { users, key: (user.service_sid, UserRef::Sid(user.sid)), clock, writer };
    update(place, ids, user, |user| {
        profile.apply(user);
        Ok(())
    })
    .await
}

struct StoredUser<'a> {
    users: &'a dyn Users,
    key: (ServiceSid, UserRef),
    clock: Clock,
    writer: Writer,
}

impl Versioned for StoredUser<'_> {
    type Record = User;

    async fn read(&self) -> Result<Option<User>, StoreError> {
        let (service, user) = &self.key;
        self.users.user(*service, user).await
    }

    async fn replace(&mut self, user: &mut User) -> Result<(), StoreError> {
        // Here, since none of them makes a difference to the profile by itself.
        user.date_updated = (self.clock)();
        (user.webhook_enabled, user.by_client) = match self.writer {
            Writer::Owner { webhook_enabled } => (webhook_enabled, false),
            Writer::Client => (true, true),
        };
        self.users.replace_user(user).await
    }
}

/// Reads a user of a service and whether it is reachable now; `None` if there is no such service or user.
pub(crate) async fn fetch_user(
    directory: &ServiceDirectory,
    snapshots: &dyn UserSnapshots,
    clock: Clock,
    service: ServiceRef,
    user: &UserRef,
) -> Result<Option<(User, Reachability)>, StoreError> {
    let service = match service {
        ServiceRef::Sid(sid) => sid,
        ServiceRef::Default => directory.default_service().await?.service.sid,
    };
    let found = snapshots.user_snapshot(service, user).await?;
    Ok(found.map(|UserSnapshot { configuration, user, state }| {
        let seen = Appearance::of(&configuration, state, clock(), Viewer::Other);
        (user, seen.reachability)
    }))
}

/// Reads whether users of a service are reachable now. The result has the order of `users`.
pub(crate) async fn read_reachability(
    states: &dyn States,
    clock: Clock,
    service: &Service,
    users: &[User],
) -> Result<Vec<Reachability>, StoreError> {
    if !service.configuration.reachability_enabled {
        return Ok(vec![Reachability::UNKNOWN; users.len()]);
    }
    let keys: Vec<UserKey> = users.iter().map(User::key).collect();
    let states = states.states(&keys).await?;
    let now = clock();
    let seen = |state| Appearance::of(&service.configuration, state, now, Viewer::Other).reachability;
    Ok(states.iter().map(seen).collect())
}
