//! The pusher on a store, with stand-ins for Apple and Google at the other end.

use std::sync::Arc;

use crate::ids;
use crate::store::PushStore;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::credential::{Credential, Health, Method, RegistrationCheck};
use reachability_domain::push::message::{Deliver, Probe, ProbeCause, PushMessage};
use reachability_domain::push::notification::{Delivery, Notification};
use reachability_domain::push::payload::Content;
use reachability_domain::push::provider::PushProvider;
use reachability_domain::push::recipient::When;
use reachability_domain::push::tag::Tag;
use reachability_domain::sid::{BindingSid, CredentialSid, NotificationSid, ServiceSid, Sid};
use reachability_domain::time::{Clock, Timestamp};
use reachability_infra::clock;
use reachability_infra::credentials::seal::Seal;
use reachability_infra::ids::Uuids;
use reachability_infra::memory::MemoryStore;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::push::ProviderUrls;
use reachability_infra::push::http::Roots;
use reachability_infra::push::providers::Providers;
use reachability_worker::{Pusher, PusherPorts};

use crate::contract::bindings;
use crate::harness::{Kept, new_service};
use crate::providers::{Apple, Ca, Google};

/// The pusher and what it uses. The store has a service with reachability on, and a credential for each channel.
pub struct PushHarness {
    /// The store.
    pub store: Arc<dyn PushStore>,
    /// The messages that the pusher has queued for later.
    pub queue: Arc<Kept<PushMessage>>,
    /// The pusher's metrics.
    pub metrics: Arc<EmfMetrics>,
    /// The pusher.
    pub pusher: Pusher,
    /// Apple.
    pub apple: Apple,
    /// Google.
    pub google: Google,
    /// What seals the credentials.
    pub seal: Arc<Seal>,
    /// The service.
    pub service: ServiceSid,
    clock: Clock,
}

impl PushHarness {
    /// On a store in memory.
    pub async fn new() -> Self {
        Self::with_platform_applications(None).await
    }

    /// The same, with these platform applications of SNS.
    pub async fn with_platform_applications(applications: Option<Arc<dyn PushProvider>>) -> Self {
        let store = Arc::new(MemoryStore::default());
        Self::on(store.clone(), store, applications).await
    }

    /// On a store in memory, with this time for the pusher and for the stand-ins.
    pub async fn with_clock(clock: Clock) -> Self {
        Self::with_clock_on(Arc::new(MemoryStore::default()), clock).await
    }

    /// The same, on this store.
    pub async fn with_clock_on(store: Arc<dyn PushStore>, clock: Clock) -> Self {
        Self::at(store.clone(), store, None, clock).await
    }

    /// On this store, for which the pusher has a separate handle.
    pub async fn on(
        store: Arc<dyn PushStore>,
        of_pusher: Arc<dyn PushStore>,
        applications: Option<Arc<dyn PushProvider>>,
    ) -> Self {
        Self::at(store, of_pusher, applications, clock::now).await
    }

    async fn at(
        store: Arc<dyn PushStore>,
        of_pusher: Arc<dyn PushStore>,
        applications: Option<Arc<dyn PushProvider>>,
        clock: Clock,
    ) -> Self {
        let ca = Arc::new(Ca::new());
        let apple = Apple::start_with(ca.clone(), clock).await;
        let google = Google::start_with(ca.clone(), clock).await;
        let endpoints = ProviderUrls {
            apns: apple.url(),
            apns_sandbox: apple.sandbox_url(),
            fcm: google.url(),
            fcm_token: google.token_url(),
        };
        let seal = Arc::new(Seal::new(&ids::secret()));
        let roots = Roots::from_pem(&ca.pem()).unwrap();
        let providers = Providers::new(seal.clone(), endpoints, Some(roots), applications, clock);
        let (queue, metrics) = (Arc::new(Kept::default()), Arc::new(EmfMetrics::default()));
        let pusher = pusher(of_pusher, queue.clone(), Arc::new(providers), metrics.clone(), clock);
        let service = ServiceSid::from_bits(1);
        let mut on = new_service(service);
        on.configuration.set_reachability_enabled(true, clock());
        store.create_service(&on).await.unwrap();
        let harness = Self { store, queue, metrics, pusher, apple, google, seal, service, clock };
        for channel in [Channel::Apn, Channel::Fcm] {
            harness.store.create_credential(&harness.credential(channel)).await.unwrap();
        }
        harness
    }

    /// The pusher's time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The sid of the credential of a channel.
    pub fn credential_sid(channel: Channel) -> CredentialSid {
        CredentialSid::from_bits(if channel.is(Channel::Apn) { 1 } else { 2 })
    }

    /// A channel's new credential.
    pub fn credential(&self, channel: Channel) -> Credential {
        let sid = Self::credential_sid(channel);
        let (method, secret, check) = if channel.is(Channel::Apn) {
            let (key_id, team_id, topic) = (Apple::KEY_ID.into(), Apple::TEAM_ID.into(), Apple::TOPIC.into());
            (Method::ApnsKey { key_id, team_id, topic }, self.apple.key(), RegistrationCheck::Silent)
        } else {
            let method = Method::ServiceAccount {
                project_id: Google::PROJECT_ID.into(),
                client_email: Google::CLIENT_EMAIL.into(),
                private_key_id: Google::KEY_ID.into(),
            };
            (method, Google::key(), RegistrationCheck::DryRun)
        };
        Credential {
            sid,
            channel,
            friendly_name: None,
            sandbox: false,
            check,
            lifetime: None,
            method,
            sealed: Some(self.seal.seal(sid, &secret).unwrap()),
            health: Health::Unproven,
            outage: None,
            date_created: (self.clock)(),
            date_updated: (self.clock)(),
            used_since: (self.clock)(),
            version: 0,
        }
    }

    /// Registers a device of a user at this time. The provider is not asked about it yet.
    pub async fn register_at(&self, identity: &str, channel: Channel, token: &str, at: Timestamp) -> Binding {
        self.register_with(identity, channel, token, at, vec![]).await
    }

    /// Registers a device of a user with tags, a second ago.
    pub async fn register_tagged(&self, identity: &str, channel: Channel, token: &str, tags: Vec<Tag>) -> Binding {
        let a_second_ago = Timestamp::from_millis((self.clock)().as_millis() - 1_000);
        self.register_with(identity, channel, token, a_second_ago, tags).await
    }

    async fn register_with(
        &self,
        identity: &str,
        channel: Channel,
        token: &str,
        at: Timestamp,
        tags: Vec<Tag>,
    ) -> Binding {
        let key = UserKey { service: self.service, identity: identity.parse().unwrap() };
        let user = User::new(ids::sid(), key, None, at);
        let credential_sid = Some(Self::credential_sid(channel));
        let binding = Binding { credential_sid, tags, ..bindings::binding(&user, channel, token, at) };
        let device = binding.device();
        let action = BindingCommand::Register { binding, generation: Generation(1) };
        self.store.apply(self.service, device, &action, Some(&user), at).await.unwrap().after.unwrap()
    }

    /// Registers a device of a user, a second ago.
    pub async fn register(&self, identity: &str, channel: Channel, token: &str) -> Binding {
        self.register_tagged(identity, channel, token, vec![]).await
    }

    /// The message that checks a registration, requested now by the machine's clock.
    pub fn probe(binding: &Binding) -> PushMessage {
        let (service, binding, cause) = (binding.service_sid, binding.sid, ProbeCause::Registered);
        PushMessage::Probe(Probe { service, binding, asked_at: clock::now(), attempts: 0, due_at: None, cause })
    }

    /// Handles messages, none of which may fail. Returns the messages queued for later.
    pub async fn handle(&self, messages: Vec<PushMessage>) -> Vec<PushMessage> {
        let failures = self.pusher.process(messages).await;
        assert!(failures.is_empty(), "{failures:?}");
        self.queue.take()
    }

    /// Checks a registration. Returns the messages queued for later.
    pub async fn check(&self, binding: &Binding) -> Vec<PushMessage> {
        self.handle(vec![Self::probe(binding)]).await
    }

    /// A binding as it is now.
    pub async fn binding(&self, sid: BindingSid) -> Option<Binding> {
        self.store.binding(self.service, sid).await.unwrap()
    }

    /// A channel's credential, as it is stored.
    pub async fn stored(&self, channel: Channel) -> Credential {
        self.store.credential(Self::credential_sid(channel)).await.unwrap().unwrap()
    }

    /// The health of a channel's credential.
    pub async fn health(&self, channel: Channel) -> Health {
        self.stored(channel).await.health
    }

    /// Another process on the same store and queue: it has read no credential yet.
    pub fn fresh_pusher(&self) -> Pusher {
        let endpoints = ProviderUrls {
            apns: self.apple.url(),
            apns_sandbox: self.apple.sandbox_url(),
            fcm: self.google.url(),
            fcm_token: self.google.token_url(),
        };
        let roots = Roots::from_pem(&self.apple.roots_pem()).unwrap();
        let providers = Arc::new(Providers::new(self.seal.clone(), endpoints, Some(roots), None, self.clock));
        pusher(self.store.clone(), self.queue.clone(), providers, self.metrics.clone(), self.clock)
    }

    /// Another process on the same store and queue, which finds APNs at this URL.
    pub fn another_process(&self, apns: &str) -> Pusher {
        let endpoints = ProviderUrls { apns: apns.to_owned(), ..ProviderUrls::default() };
        let roots = Roots::from_pem(&self.apple.roots_pem()).unwrap();
        let providers = Arc::new(Providers::new(self.seal.clone(), endpoints, Some(roots), None, self.clock));
        pusher(self.store.clone(), self.queue.clone(), providers, self.metrics.clone(), self.clock)
    }

    /// What a reader sees as `is_notifiable`.
    pub async fn notifiable(&self, identity: &str) -> Option<bool> {
        let key = UserKey { service: self.service, identity: identity.parse().unwrap() };
        let service = self.store.service(self.service).await.unwrap().unwrap();
        let state = self.store.states(&[key]).await.unwrap().remove(0);
        Appearance::of(&service.configuration, &state, (self.clock)(), Viewer::Other).reachability.notifiable
    }

    /// Creates a notification for these users. Returns the message that sends it.
    pub async fn notification(&self, identities: &[&str], content: Content, ttl_seconds: Option<u32>) -> Deliver {
        self.tagged_notification(identities, vec![], content, ttl_seconds).await
    }

    /// Creates a notification for the devices of these users that have all these tags. Returns the message that sends it.
    pub async fn tagged_notification(
        &self,
        identities: &[&str],
        tags: Vec<Tag>,
        content: Content,
        ttl_seconds: Option<u32>,
    ) -> Deliver {
        let notification = Notification {
            sid: ids::sid(),
            service_sid: self.service,
            identities: identities.iter().map(|identity| identity.parse().unwrap()).collect(),
            tags,
            when: When::Always,
            online: vec![],
            content,
            ttl_seconds,
            date_created: (self.clock)(),
            keyed_request: None,
        };
        self.store.create_notification(&notification).await.unwrap();
        Deliver::to_all(self.service, notification.sid)
    }

    /// The delivery of a notification to a device.
    pub async fn delivery(&self, notification: NotificationSid, binding: BindingSid) -> Option<Delivery> {
        self.store.deliveries_to(notification, &[binding]).await.unwrap().pop()
    }

    /// Handles messages one after the other, and those to a page of devices device by device. Returns the messages queued for
    /// later.
    pub async fn handle_one_by_one(&self, messages: Vec<PushMessage>) -> Vec<PushMessage> {
        let mut later = Vec::new();
        for message in messages {
            match message {
                PushMessage::Deliver(deliver) if !deliver.bindings.is_empty() => {
                    for binding in &deliver.bindings {
                        let alone = Deliver { binding: Some(*binding), bindings: vec![], ..deliver.clone() };
                        later.extend(self.handle(vec![PushMessage::Deliver(alone)]).await);
                    }
                }
                message => later.extend(self.handle(vec![message]).await),
            }
        }
        later
    }

    /// The deliveries of a notification.
    pub async fn deliveries(&self, notification: NotificationSid) -> Vec<Delivery> {
        let page = PageRequest { position: Cursor::Start, limit: 1_000 };
        self.store.deliveries(notification, page).await.unwrap().items
    }
}

/// A pusher on a store.
fn pusher(
    store: Arc<dyn PushStore>,
    pushes: Arc<Kept<PushMessage>>,
    provider: Arc<dyn PushProvider>,
    metrics: Arc<EmfMetrics>,
    clock: Clock,
) -> Pusher {
    let ports = PusherPorts {
        services: store.clone(),
        users: store.clone(),
        states: store.clone(),
        bindings: store.clone(),
        credentials: store.clone(),
        notifications: store,
        pushes,
        provider,
        ids: Arc::new(Uuids),
        metrics,
    };
    Pusher::new(ports, clock)
}
