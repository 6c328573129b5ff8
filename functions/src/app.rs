//! The state of the router: the ports and the settings of a deployment. A handler gets the ports that its signature
//! names.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use reachability_domain::channel::ports::Channels;
use reachability_domain::directory::auth_tokens::AuthTokens;
use reachability_domain::directory::failed_authentications::FailedAuthentications;
use reachability_domain::directory::ports::{Accounts, ApiKeys, Services, Users};
use reachability_domain::ids::Ids;
use reachability_domain::network::Network;
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::search::UserSearch;
use reachability_domain::presence::snapshot::UserSnapshots;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::ports::{Bindings, Credentials, Notifications};
use reachability_domain::push::vault::Vault;
use reachability_domain::queue::Queue;
use reachability_domain::sid::AccountSid;
use reachability_domain::time::Clock;
use tokio::sync::watch;

use crate::http::room::Room;
use crate::use_cases::services::ServiceDirectory;

/// The settings of a deployment.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The deployment's account.
    pub account_sid: AccountSid,
    /// The account's auth tokens, which may change while the process runs.
    pub auth_tokens: watch::Receiver<AuthTokens>,
    /// What URLs in answers begin with, without a slash at the end; `None` for the origin that the request was sent to.
    pub public_url: Option<String>,
    /// How many wrong passwords and access tokens from one address a minute are answered as such; `None` for all. The process
    /// counts them, so this is for deployments of one process.
    pub failed_authentications_per_minute: Option<NonZeroU32>,
    /// How long it takes at most until others see somebody offline whose socket of this deployment's own was lost. Zero where
    /// there are none.
    pub lost_within: Duration,
    /// The clock.
    pub clock: Clock,
}

/// [`Settings::lost_within`], as an argument of a handler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LostWithin(pub(crate) Duration);

/// The state of the router. Clones share it.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    ports: Ports,
    settings: Settings,
    room: Room,
    failures: Option<Mutex<FailedAuthentications>>,
}

impl App {
    /// The state for a deployment's ports and settings.
    pub fn new(ports: Ports, settings: Settings) -> Self {
        let failures = settings.failed_authentications_per_minute.map(FailedAuthentications::new).map(Mutex::new);
        Self(Arc::new(Inner { ports, settings, room: Room::default(), failures }))
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.0.ports
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Counts a wrong password or access token from this network. If there were too many, returns after how long one is
    /// answered as such again.
    pub(crate) fn count_failure(&self, network: Network) -> Option<Duration> {
        let failures = self.0.failures.as_ref()?;
        failures.lock().unwrap_or_else(PoisonError::into_inner).add(network, (self.settings().clock)())
    }

    /// The room for the bodies of all requests.
    pub(crate) fn room(&self) -> &Room {
        &self.0.room
    }
}

impl FromRef<App> for Clock {
    fn from_ref(app: &App) -> Self {
        app.settings().clock
    }
}

impl FromRef<App> for LostWithin {
    fn from_ref(app: &App) -> Self {
        Self(app.settings().lost_within)
    }
}

impl FromRef<App> for Option<Arc<dyn Channels>> {
    fn from_ref(app: &App) -> Self {
        app.ports().channels.clone()
    }
}

impl FromRef<App> for ServiceDirectory {
    fn from_ref(app: &App) -> Self {
        let ports = app.ports();
        Self::new(app.settings().account_sid, ports.accounts.clone(), ports.services.clone())
    }
}

/// A port, as an argument of a handler: `Port(users): Port<dyn Users>`.
pub(crate) struct Port<T: ?Sized>(pub(crate) Arc<T>);

impl<T, S> FromRequestParts<S> for Port<T>
where
    T: ?Sized,
    Arc<T>: FromRef<S>,
    S: Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(Arc::from_ref(state)))
    }
}

macro_rules! ports {
    ($($(#[$doc:meta])* $name:ident: $port:ty,)*) => {
        /// The ports of a deployment.
        #[derive(Clone)]
        pub struct Ports {
            $($(#[$doc])* pub $name: Arc<$port>,)*
            /// Channels and their members; `None` where they are not built: on AWS.
            pub channels: Option<Arc<dyn Channels>>,
        }

        $(impl FromRef<App> for Arc<$port> {
            fn from_ref(app: &App) -> Self {
                app.ports().$name.clone()
            }
        })*
    };
}

ports! {
    /// The account's settings.
    accounts: dyn Accounts,
    /// API keys, which also authenticate requests.
    api_keys: dyn ApiKeys,
    /// Services and their settings.
    services: dyn Services,
    /// Users' profiles.
    users: dyn Users,
    /// Users' states, which tell their reachability.
    states: dyn States,
    /// Users with their service and their state.
    snapshots: dyn UserSnapshots,
    /// Users in the order of their identities, and those who are online.
    search: dyn UserSearch,
    /// Push registrations.
    bindings: dyn Bindings,
    /// Credentials of push providers.
    credentials: dyn Credentials,
    /// Notifications and their deliveries.
    notifications: dyn Notifications,
    /// Takes events to the worker.
    events: dyn Queue<PresenceMessage>,
    /// Takes messages for the push providers to the worker.
    pushes: dyn Queue<PushMessage>,
    /// Checks and seals the key material of credentials.
    vault: dyn Vault,
    /// Makes sids and secrets.
    ids: dyn Ids,
}

impl Ports {
    /// The ports of a deployment that keeps everything in one store, without channels.
    pub fn of<S>(
        store: Arc<S>,
        events: Arc<dyn Queue<PresenceMessage>>,
        pushes: Arc<dyn Queue<PushMessage>>,
        vault: Arc<dyn Vault>,
        ids: Arc<dyn Ids>,
    ) -> Self
    where
        S: Accounts
            + ApiKeys
            + Services
            + Users
            + States
            + UserSnapshots
            + UserSearch
            + Bindings
            + Credentials
            + Notifications
            + 'static,
    {
        Self {
            accounts: store.clone(),
            api_keys: store.clone(),
            services: store.clone(),
            users: store.clone(),
            states: store.clone(),
            snapshots: store.clone(),
            search: store.clone(),
            bindings: store.clone(),
            credentials: store.clone(),
            notifications: store,
            events,
            pushes,
            vault,
            ids,
            channels: None,
        }
    }
}
