//! All providers behind one port: each credential has its own client, with a connection, tokens and a breaker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reachability_domain::breaker::{Breaker, Heard, Held, Turn};
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::credential::{Credential, Method};
use reachability_domain::push::environment::Environment;
use reachability_domain::push::outage::Outage;
use reachability_domain::push::outcome::{Fault, PushOutcome, Trouble};
use reachability_domain::push::payload::Push;
use reachability_domain::push::provider::{PushProvider, Unreachable};
use reachability_domain::push::reason::Reason;
use reachability_domain::push::throttle::{self, Throttle};
use reachability_domain::sid::{BindingSid, CredentialSid, ServiceSid, Sid};
use reachability_domain::time::Timestamp;
use tokio::time::timeout;
use tracing::{info, warn};

use super::apns::{Apns, Identity, ProviderTokens};
use super::fcm::{Fcm, ServiceAccount};
use super::http::Roots;
use super::{ProviderUrls, SetupError, unreachable};
use crate::credentials::seal::{Seal, SealError};

/// Timeout of a push, including a new token. The function on AWS must have more time than this (`template.yaml`).
const TIMEOUT: Duration = Duration::from_secs(45);

/// Maximum number of cached clients. When it is reached, clients without recent failures are dropped.
const MAX_CLIENTS: usize = 1_000;

/// Sends pushes with the client of a credential.
pub struct Providers {
    seal: Arc<Seal>,
    endpoints: ProviderUrls,
    /// Loaded on first use, since that takes a while.
    roots: OnceLock<Roots>,
    /// For credentials of SNS platform applications; `None` outside AWS.
    platform_applications: Option<Arc<dyn PushProvider>>,
    clock: fn() -> Timestamp,
    clients: Mutex<HashMap<ClientKey, Arc<Client>>>,
    /// Shared by the credentials that have the same key.
    provider_tokens: ProviderTokens,
}

/// A client is for a credential, and for one environment if its provider has several.
type ClientKey = (CredentialSid, Option<Environment>);

/// The client of a credential.
struct Client {
    /// The credential that it was created from. A changed credential gets a new client.
    from: Credential,
    sender: Sender,
    breaker: Mutex<Breaker>,
    throttle: Mutex<Throttle>,
}

impl Client {
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the outcome of a push to a device.
    fn hear(&self, device: u64, outcome: &PushOutcome, now: Timestamp) {
        let heard = match outcome {
            PushOutcome::Unavailable { reason, trouble: Trouble::Throttled, retry_after, .. } => {
                let pause = retry_after.unwrap_or(throttle::PAUSE);
                match self.throttle().throttled(device, pause, now) {
                    true => Heard::Failure { reason, retry_after: Some(pause), cause: None },
                    false => Heard::Answer,
                }
            }
            PushOutcome::Accepted { .. } | PushOutcome::Rejected(_) => {
                self.throttle().answered();
                Heard::Answer
            }
            PushOutcome::Unavailable { .. } => outcome.heard(),
        };
        let mut breaker = self.breaker();
        self.tell(breaker.heard(heard, now), now);
    }

    /// Logs an outage. The breaker is still locked, so the end is logged after the beginning.
    fn tell(&self, turn: Option<Turn>, now: Timestamp) {
        let sid = self.from.sid;
        match turn {
            Some(Turn::Begins { outage, cause }) => {
                warn!(credential.sid = %sid, reason = %outage.reason, error = cause.as_deref(), "a push provider is unavailable");
            }
            Some(Turn::Ends { outage, attempts }) => {
                let seconds = now.since(outage.since).as_secs();
                info!(credential.sid = %sid, reason = %outage.reason, seconds, failed_attempts = attempts, "a push provider is available again");
            }
            None => {}
        }
    }
}

enum Sender {
    Apns(Box<Apns>),
    Fcm(Box<Fcm>),
    PlatformApplication(Arc<dyn PushProvider>),
    /// The credential cannot be used, for this reason.
    Unusable(&'static str),
}

/// Why a client cannot be created.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error("the credential's secret cannot be read")]
    Seal(#[from] SealError),
    #[error("the credential cannot be used")]
    Setup(#[from] SetupError),
    #[error("this deployment has no platform applications")]
    NoPlatformApplications,
}

impl ClientError {
    /// The reason, as one word, for the credential's owner.
    fn reason(&self) -> &'static str {
        match self {
            Self::Seal(_) => Reason::UNREADABLE_SECRET,
            Self::Setup(_) => "UnusableCredential",
            Self::NoPlatformApplications => "NoPlatformApplications",
        }
    }
}

impl Providers {
    /// Providers at these URLs. Trusts the machine's root certificates unless `roots` is given.
    pub fn new(
        seal: Arc<Seal>,
        endpoints: ProviderUrls,
        roots: Option<Roots>,
        platform_applications: Option<Arc<dyn PushProvider>>,
        clock: fn() -> Timestamp,
    ) -> Self {
        let roots = roots.map_or_else(OnceLock::new, OnceLock::from);
        Self {
            seal,
            endpoints,
            roots,
            platform_applications,
            clock,
            clients: Mutex::default(),
            provider_tokens: ProviderTokens::default(),
        }
    }

    fn client(&self, credential: &Credential, environment: Option<Environment>) -> Arc<Client> {
        let key = (credential.sid, environment);
        // Creating a client takes a moment; others that need the same one wait for it.
        let mut clients = self.clients();
        if let Some(client) = clients.get(&key).filter(|client| client.from.is_used_like(credential)) {
            return client.clone();
        }
        if clients.len() >= MAX_CLIENTS {
            // Dropping a breaker drops its outage, which would then be reported again.
            clients.retain(|_, client| client.breaker().is_in_trouble());
        }
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        let sender = self.sender(credential, environment).unwrap_or_else(|error| {
            warn!(credential.sid = %credential.sid, error = %ErrorChain(&error), "a credential cannot be used");
            Sender::Unusable(error.reason())
        });
        let client = Arc::new(Client {
            from: credential.clone(),
            sender,
            breaker: Mutex::default(),
            throttle: Mutex::default(),
        });
        let before = clients.insert(key, client.clone());
        if let Some(outage) = before.and_then(|before| before.breaker().outage().cloned()) {
            // Answers to the new credential do not apply to the old one, so its outage ends here.
            info!(credential.sid = %credential.sid, reason = %outage.reason, "a credential was replaced whose push provider was unavailable");
        }
        client
    }

    /// How many providers are held back, by credential: their breakers are open.
    pub fn open_breakers(&self) -> usize {
        self.clients().values().filter(|client| client.breaker().is_open()).count()
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<ClientKey, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self, credential: &Credential, environment: Option<Environment>) -> Result<Sender, ClientError> {
        let is_sandbox = environment == Some(Environment::Sandbox);
        Ok(match &credential.method {
            Method::ApnsKey { key_id, team_id, topic } => {
                let pem = &self.seal.open_credential(credential)?;
                let identity = Identity::Key { pem, key_id, team_id };
                Sender::Apns(Box::new(self.apns(identity, topic, is_sandbox)?))
            }
            Method::ApnsCertificate { topic, .. } => {
                let identity = Identity::Certificate { pem: &self.seal.open_credential(credential)? };
                Sender::Apns(Box::new(self.apns(identity, topic, is_sandbox)?))
            }
            Method::ServiceAccount { project_id, client_email, private_key_id } => {
                let private_key = &self.seal.open_credential(credential)?;
                let account = ServiceAccount { project_id, client_email, private_key_id, private_key };
                let ProviderUrls { fcm, fcm_token, .. } = &self.endpoints;
                Sender::Fcm(Box::new(Fcm::new(account, fcm, fcm_token, self.roots()?, self.clock)?))
            }
            Method::PlatformApplication { .. } => {
                let applications = self.platform_applications.clone().ok_or(ClientError::NoPlatformApplications)?;
                Sender::PlatformApplication(applications)
            }
        })
    }

    fn apns(&self, identity: Identity<'_>, topic: &str, is_sandbox: bool) -> Result<Apns, SetupError> {
        let url = if is_sandbox { &self.endpoints.apns_sandbox } else { &self.endpoints.apns };
        Apns::sharing(&self.provider_tokens, identity, topic, url, self.roots()?, self.clock)
    }

    fn roots(&self) -> Result<&Roots, SetupError> {
        if let Some(roots) = self.roots.get() {
            return Ok(roots);
        }
        let roots = Roots::native()?;
        Ok(self.roots.get_or_init(|| roots))
    }
}

#[async_trait]
impl PushProvider for Providers {
    async fn push(&self, credential: &Credential, device: &Binding, push: &Push) -> PushOutcome {
        // Apple would only refuse it.
        if credential.method.expires_at().is_some_and(|at| at <= (self.clock)()) {
            return PushOutcome::rejected(Reason::CERTIFICATE_EXPIRED, Fault::Credential);
        }
        let client = self.client(credential, credential.environment_of(device.environment));
        // The upper half of the sid is the device's hash.
        let number = u64::try_from(device.sid.bits() >> 64).unwrap_or_default();
        {
            let now = (self.clock)();
            if let Err(wait) = client.throttle().admit(number, now) {
                return PushOutcome::throttled(Reason::DEVICE_THROTTLED, Some(wait));
            }
            let mut breaker = client.breaker();
            if let Err(Held { wait, reason, .. }) = breaker.admit(now) {
                client.tell(breaker.begin(now), now);
                let trouble = Trouble::NotSent;
                return PushOutcome::Unavailable { reason, trouble, retry_after: Some(wait), cause: None };
            }
        }
        let sent = async {
            match &client.sender {
                Sender::Apns(apns) => apns.push(&device.address, push).await,
                Sender::Fcm(fcm) => fcm.push(&device.address, push).await,
                Sender::PlatformApplication(applications) => applications.push(credential, device, push).await,
                Sender::Unusable(reason) => PushOutcome::rejected(reason, Fault::Credential),
            }
        };
        let outcome = timeout(TIMEOUT, sent).await;
        let late = |_| unreachable("TimedOut", Trouble::Unanswered, "no answer in time".to_owned());
        let outcome = outcome.unwrap_or_else(late);
        client.hear(number, &outcome, (self.clock)());
        outcome
    }

    fn outage(&self, credential: &Credential) -> Option<Outage> {
        // That of its own environment stands for both.
        let key = (credential.sid, credential.environment());
        let client = self.clients().get(&key).filter(|it| it.from.is_used_like(credential)).cloned();
        client.and_then(|client| client.breaker().outage().cloned())
    }

    async fn binding_at(&self, endpoint: &str) -> Result<Option<(ServiceSid, BindingSid)>, Unreachable> {
        match &self.platform_applications {
            Some(applications) => applications.binding_at(endpoint).await,
            None => Ok(None),
        }
    }
}
