//! An in-memory store: for tests and replays.

mod channels;
mod search;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::ports::{Accounts, ApiKeys, Services, Users};
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::presence::device_writes::TransitionWrites;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::{Joined, States};
use reachability_domain::presence::snapshot::{UserSnapshot, UserSnapshots};
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::writes::{DeletionWrites, JoinWrites};
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::credential::Credential;
use reachability_domain::push::device::Device;
use reachability_domain::push::notification::{Delivery, Notification};
use reachability_domain::push::ports::{Applied, Bindings, Credentials, Notifications};
use reachability_domain::push::recipient::Recipient;
use reachability_domain::sid::{BindingSid, CredentialSid, KeySid, NotificationSid, ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use self::channels::Held;

/// All records, behind one lock.
#[derive(Debug, Default)]
pub struct MemoryStore {
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    account: AccountSettings,
    keys: BTreeMap<KeySid, ApiKey>,
    credentials: BTreeMap<CredentialSid, Credential>,
    services: BTreeMap<ServiceSid, Scope>,
    notifications: BTreeMap<NotificationSid, Sent>,
}

/// A notification with its deliveries and the decisions about its users.
#[derive(Debug)]
struct Sent {
    notification: Notification,
    deliveries: BTreeMap<BindingSid, Delivery>,
    recipients: BTreeMap<Identity, Recipient>,
}

/// A service with its records.
#[derive(Debug)]
struct Scope {
    service: Service,
    users: BTreeMap<UserSid, User>,
    by_identity: HashMap<Identity, UserSid>,
    states: HashMap<Identity, UserState>,
    bindings: BTreeMap<Device, Binding>,
    /// By `cid`.
    channels: BTreeMap<String, Held>,
}

impl MemoryStore {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        // No code panics while it holds the lock. If it did, the contents would still be consistent: every write is one
        // assignment.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scope {
    fn user(&self, user: &UserRef) -> Option<&User> {
        let sid = match user {
            UserRef::Sid(sid) => sid,
            UserRef::Identity(identity) => self.by_identity.get(identity)?,
        };
        self.users.get(sid)
    }

    fn create_user(&mut self, user: &User) {
        self.by_identity.insert(user.identity.clone(), user.sid);
        self.users.insert(user.sid, user.clone());
    }
}

/// One page of a map.
fn list<K: Ord + Copy, V, T: Clone>(map: &BTreeMap<K, V>, page: PageRequest<K>, item: impl Fn(&V) -> &T) -> Page<T> {
    let range = map.range(page.bounds()).map(|(_, value)| item(value).clone());
    page.page_of_read(if page.is_backward() {
        range.rev().take(page.read_limit()).collect()
    } else {
        range.take(page.read_limit()).collect()
    })
}

#[async_trait]
impl Accounts for MemoryStore {
    async fn account(&self) -> Result<AccountSettings, StoreError> {
        Ok(self.contents().account.clone())
    }

    async fn replace_account(&self, settings: &AccountSettings) -> Result<(), StoreError> {
        let mut contents = self.contents();
        if contents.account.version != settings.version {
            return Err(StoreError::Conflict);
        }
        contents.account = AccountSettings { version: settings.version + 1, ..settings.clone() };
        Ok(())
    }
}

#[async_trait]
impl Services for MemoryStore {
    async fn create_service(&self, service: &Service) -> Result<(), StoreError> {
        let mut contents = self.contents();
        if contents.services.contains_key(&service.sid) {
            return Err(StoreError::Exists);
        }
        let scope = Scope {
            service: service.clone(),
            users: BTreeMap::new(),
            by_identity: HashMap::new(),
            states: HashMap::new(),
            bindings: BTreeMap::new(),
            channels: BTreeMap::new(),
        };
        contents.services.insert(service.sid, scope);
        Ok(())
    }

    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError> {
        Ok(self.contents().services.get(&sid).map(|scope| scope.service.clone()))
    }

    async fn services(&self, page: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError> {
        Ok(list(&self.contents().services, page, |scope| &scope.service))
    }

    async fn replace_service(&self, service: &Service) -> Result<(), StoreError> {
        let mut contents = self.contents();
        let stored = &mut contents.services.get_mut(&service.sid).ok_or(StoreError::Missing)?.service;
        if stored.version != service.version {
            return Err(StoreError::Conflict);
        }
        *stored = Service { version: service.version + 1, ..service.clone() };
        Ok(())
    }

    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError> {
        Ok(self.contents().services.remove(&sid).is_some())
    }
}

#[async_trait]
impl Users for MemoryStore {
    async fn create_user(&self, user: &User) -> Result<(), StoreError> {
        let mut contents = self.contents();
        let scope = contents.services.get_mut(&user.service_sid).ok_or(StoreError::Missing)?;
        if scope.by_identity.contains_key(&user.identity) {
            return Err(StoreError::Exists);
        }
        let state = scope.states.entry(user.identity.clone()).or_default();
        state.create(user);
        scope.create_user(user);
        Ok(())
    }

    async fn user(&self, service: ServiceSid, user: &UserRef) -> Result<Option<User>, StoreError> {
        let contents = self.contents();
        let Some(scope) = contents.services.get(&service) else { return Ok(None) };
        Ok(scope.user(user).cloned())
    }

    async fn users(&self, service: ServiceSid, page: PageRequest<UserSid>) -> Result<Page<User>, StoreError> {
        let contents = self.contents();
        let Some(scope) = contents.services.get(&service) else { return Ok(Page::EMPTY) };
        Ok(list(&scope.users, page, |user| user))
    }

    async fn replace_user(&self, user: &User) -> Result<(), StoreError> {
        let mut contents = self.contents();
        let scope = contents.services.get_mut(&user.service_sid).ok_or(StoreError::Missing)?;
        let stored = scope.users.get_mut(&user.sid).ok_or(StoreError::Missing)?;
        if stored.version != user.version {
            return Err(StoreError::Conflict);
        }
        let state = scope.states.entry(user.identity.clone()).or_default();
        state.change_profile(user.date_updated);
        *stored = User { version: user.version + 1, revision: state.revision, ..user.clone() };
        Ok(())
    }

    async fn delete_user(&self, service: ServiceSid, sid: UserSid, now: Timestamp) -> Result<bool, StoreError> {
        let mut contents = self.contents();
        let Some(scope) = contents.services.get_mut(&service) else { return Ok(false) };
        let Some(user) = scope.users.remove(&sid) else { return Ok(false) };
        scope.by_identity.remove(&user.identity);
        let state = scope.states.entry(user.identity).or_default();
        let writes = DeletionWrites::of(state, now);
        *state = writes.state;
        for sid in writes.delete {
            scope.bindings.remove(&Device::of_binding(sid));
        }
        Ok(true)
    }
}

#[async_trait]
impl UserSnapshots for MemoryStore {
    async fn user_snapshot(&self, service: ServiceSid, user: &UserRef) -> Result<Option<UserSnapshot>, StoreError> {
        let contents = self.contents();
        let Some(scope) = contents.services.get(&service) else { return Ok(None) };
        let Some(user) = scope.user(user).cloned() else { return Ok(None) };
        let state = scope.states.get(&user.identity).unwrap_or(&UserState::default()).into();
        Ok(Some(UserSnapshot { configuration: scope.service.configuration, user, state }))
    }
}

#[async_trait]
impl States for MemoryStore {
    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError> {
        let contents = self.contents();
        let state = |key: &UserKey| contents.services.get(&key.service)?.states.get(&key.identity);
        Ok(users.iter().map(|key| state(key).cloned().unwrap_or_default()).collect())
    }

    async fn join(&self, user: &User, news: &News, fired: &[Timestamp], now: Timestamp) -> Result<Joined, StoreError> {
        let mut contents = self.contents();
        let scope = contents.services.get_mut(&user.service_sid).ok_or(StoreError::Missing)?;
        let unknown = UserState::default();
        let before = scope.states.get(&user.identity).unwrap_or(&unknown);
        let writes = JoinWrites::of(before, news, fired, user, now);
        let joined = writes.joined(before, news);
        if let Some(state) = writes.state {
            scope.states.insert(user.identity.clone(), state);
        }
        if writes.creates_user {
            scope.create_user(user);
        }
        Ok(joined)
    }

    async fn disclose(&self, user: &User, wish: &Disclose, now: Timestamp) -> Result<Option<UserState>, StoreError> {
        let mut contents = self.contents();
        let scope = contents.services.get_mut(&user.service_sid);
        let state = scope.and_then(|scope| scope.states.get_mut(&user.identity));
        Ok(state.filter(|state| state.sid == Some(user.sid)).map(|state| {
            state.disclose(wish, now);
            state.clone()
        }))
    }

    async fn announce(&self, user: &UserKey, generation: Generation, now: Timestamp) -> Result<(), StoreError> {
        let mut contents = self.contents();
        let scope = contents.services.get_mut(&user.service);
        if let Some(state) = scope.and_then(|scope| scope.states.get_mut(&user.identity)) {
            state.announce(generation, now);
        }
        Ok(())
    }
}

#[async_trait]
impl ApiKeys for MemoryStore {
    async fn create_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        let mut contents = self.contents();
        if contents.keys.contains_key(&key.sid) {
            return Err(StoreError::Exists);
        }
        contents.keys.insert(key.sid, key.clone());
        Ok(())
    }

    async fn key(&self, sid: KeySid) -> Result<Option<ApiKey>, StoreError> {
        Ok(self.contents().keys.get(&sid).cloned())
    }

    async fn keys(&self, page: PageRequest<KeySid>) -> Result<Page<ApiKey>, StoreError> {
        Ok(list(&self.contents().keys, page, |key| key))
    }

    async fn replace_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        let mut contents = self.contents();
        *contents.keys.get_mut(&key.sid).ok_or(StoreError::Missing)? = key.clone();
        Ok(())
    }

    async fn delete_key(&self, sid: KeySid) -> Result<bool, StoreError> {
        Ok(self.contents().keys.remove(&sid).is_some())
    }
}

#[async_trait]
impl Bindings for MemoryStore {
    async fn apply(
        &self,
        service: ServiceSid,
        device: Device,
        command: &BindingCommand,
        user: Option<&User>,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        let mut contents = self.contents();
        let Some(scope) = contents.services.get_mut(&service) else {
            return if command.registers() { Err(StoreError::Missing) } else { Ok(Applied::unchanged(None)) };
        };
        let before = scope.bindings.get(&device).cloned();
        let Some(transition) = command.transition(before.as_ref(), now) else {
            return Ok(Applied::unchanged(before));
        };
        let state = |identity: Option<&Identity>| identity.and_then(|identity| scope.states.get(identity)).cloned();
        let (leaver, owner) = (state(transition.leaver()), state(transition.owner()));
        let writes = TransitionWrites::of(transition, leaver, owner, user, now);
        for (identity, state) in writes.states() {
            scope.states.insert(identity.clone(), state.clone());
        }
        for sid in &writes.delete {
            scope.bindings.remove(&Device::of_binding(*sid));
        }
        if let Some(binding) = &writes.put {
            scope.bindings.insert(device, binding.clone());
        }
        if let Some(user) = &writes.create {
            scope.create_user(user);
        }
        Ok(Applied { before, after: writes.put })
    }

    async fn apply_all(
        &self,
        service: ServiceSid,
        commands: &[(Device, BindingCommand)],
        now: Timestamp,
    ) -> Vec<Result<Applied, StoreError>> {
        let mut applied = Vec::with_capacity(commands.len());
        for (device, command) in commands {
            applied.push(self.apply(service, *device, command, None, now).await);
        }
        applied
    }

    async fn binding(&self, service: ServiceSid, sid: BindingSid) -> Result<Option<Binding>, StoreError> {
        Ok(self.bindings_with(service, &[sid]).await?.pop())
    }

    async fn bindings_with(&self, service: ServiceSid, sids: &[BindingSid]) -> Result<Vec<Binding>, StoreError> {
        let contents = self.contents();
        let Some(scope) = contents.services.get(&service) else { return Ok(vec![]) };
        let find = |sid: &BindingSid| {
            scope.bindings.get(&Device::of_binding(*sid)).filter(|binding| binding.sid == *sid).cloned()
        };
        Ok(sids.iter().filter_map(find).collect())
    }

    async fn bindings(
        &self,
        service: ServiceSid,
        filter: &BindingFilter,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Binding>, StoreError> {
        let contents = self.contents();
        let all = contents.services.get(&service).into_iter().flat_map(|scope| scope.bindings.values());
        let bindings = all.filter(|binding| filter.matches(binding)).cloned().collect();
        Ok(page.page_of_all(bindings, |binding| binding.sid))
    }
}

#[async_trait]
impl Credentials for MemoryStore {
    async fn create_credential(&self, credential: &Credential) -> Result<(), StoreError> {
        let mut contents = self.contents();
        if contents.credentials.contains_key(&credential.sid) {
            return Err(StoreError::Exists);
        }
        contents.credentials.insert(credential.sid, credential.clone());
        Ok(())
    }

    async fn credential(&self, sid: CredentialSid) -> Result<Option<Credential>, StoreError> {
        Ok(self.contents().credentials.get(&sid).cloned())
    }

    async fn credentials(&self, page: PageRequest<CredentialSid>) -> Result<Page<Credential>, StoreError> {
        Ok(list(&self.contents().credentials, page, |credential| credential))
    }

    async fn replace_credential(&self, credential: &Credential) -> Result<(), StoreError> {
        let mut contents = self.contents();
        let stored = contents.credentials.get_mut(&credential.sid).ok_or(StoreError::Missing)?;
        if stored.version != credential.version {
            return Err(StoreError::Conflict);
        }
        *stored = Credential { version: credential.version + 1, ..credential.clone() };
        Ok(())
    }

    async fn delete_credential(&self, sid: CredentialSid) -> Result<bool, StoreError> {
        Ok(self.contents().credentials.remove(&sid).is_some())
    }
}

#[async_trait]
impl Notifications for MemoryStore {
    async fn create_notification(&self, notification: &Notification) -> Result<(), StoreError> {
        let mut contents = self.contents();
        if contents.notifications.contains_key(&notification.sid) {
            return Err(StoreError::Exists);
        }
        let sent =
            Sent { notification: notification.clone(), deliveries: BTreeMap::new(), recipients: BTreeMap::new() };
        contents.notifications.insert(notification.sid, sent);
        Ok(())
    }

    async fn notification(
        &self,
        service: ServiceSid,
        sid: NotificationSid,
    ) -> Result<Option<Notification>, StoreError> {
        let contents = self.contents();
        let notification = contents.notifications.get(&sid).map(|sent| &sent.notification);
        Ok(notification.filter(|notification| notification.service_sid == service).cloned())
    }

    async fn replace_notification(&self, notification: &Notification) -> Result<(), StoreError> {
        if let Some(sent) = self.contents().notifications.get_mut(&notification.sid) {
            sent.notification = notification.clone();
        }
        Ok(())
    }

    async fn add_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        let mut contents = self.contents();
        for delivery in deliveries {
            if let Some(sent) = contents.notifications.get_mut(&delivery.notification_sid) {
                sent.deliveries.entry(delivery.binding_sid).or_insert_with(|| delivery.clone());
            }
        }
        Ok(())
    }

    async fn replace_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        let mut contents = self.contents();
        for delivery in deliveries {
            let Some(sent) = contents.notifications.get_mut(&delivery.notification_sid) else { continue };
            let known = sent.deliveries.get(&delivery.binding_sid);
            if !delivery.status.is_queued() || known.is_some_and(|known| known.status.is_queued()) {
                sent.deliveries.insert(delivery.binding_sid, delivery.clone());
            }
        }
        Ok(())
    }

    async fn decide_delivery(&self, delivery: &Delivery) -> Result<bool, StoreError> {
        let mut contents = self.contents();
        let sent = contents.notifications.get_mut(&delivery.notification_sid);
        let known = sent.and_then(|sent| sent.deliveries.get_mut(&delivery.binding_sid));
        let known = known.filter(|known| known.status.is_queued() && known.decided_at.is_none());
        Ok(known.map(|known| *known = delivery.clone()).is_some())
    }

    async fn deliveries_to(
        &self,
        notification: NotificationSid,
        bindings: &[BindingSid],
    ) -> Result<Vec<Delivery>, StoreError> {
        let contents = self.contents();
        let Some(sent) = contents.notifications.get(&notification) else { return Ok(vec![]) };
        Ok(bindings.iter().filter_map(|binding| sent.deliveries.get(binding)).cloned().collect())
    }

    async fn deliveries(
        &self,
        notification: NotificationSid,
        page: PageRequest<BindingSid>,
    ) -> Result<Page<Delivery>, StoreError> {
        let contents = self.contents();
        let sent = contents.notifications.get(&notification);
        Ok(sent.map_or(Page::EMPTY, |sent| list(&sent.deliveries, page, |it| it)))
    }

    async fn settle(&self, recipients: &[Recipient]) -> Result<Vec<Recipient>, StoreError> {
        let mut contents = self.contents();
        let mut settle = |recipient: &Recipient| {
            let sent = contents.notifications.get_mut(&recipient.notification_sid).ok_or(StoreError::Missing)?;
            let settled = sent.recipients.entry(recipient.identity.clone());
            Ok(settled.or_insert_with(|| recipient.clone()).clone())
        };
        recipients.iter().map(&mut settle).collect()
    }

    async fn settled(
        &self,
        notification: NotificationSid,
        identities: &[Identity],
    ) -> Result<Vec<Option<Recipient>>, StoreError> {
        let contents = self.contents();
        let recipients = contents.notifications.get(&notification).map(|sent| &sent.recipients);
        let find = |identity| recipients.and_then(|recipients| recipients.get(identity)).cloned();
        Ok(identities.iter().map(find).collect())
    }
}
