//! All providers as one: each credential has a client of its own, with its connection and its tokens, and a breaker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::breaker::Breaker;
use reachability_domain::push::credential::{Credential, Method};
use reachability_domain::push::outcome::{Fault, PushOutcome};
use reachability_domain::push::payload::Push;
use reachability_domain::push::provider::{PushProvider, Unreachable};
use reachability_domain::sid::{BindingSid, CredentialSid, ServiceSid};
use reachability_domain::time::Timestamp;
use tokio::time::timeout;
use tracing::warn;

use super::apns::{Apns, Identity};
use super::fcm::{Fcm, ServiceAccount};
use super::http::Roots;
use super::{ProviderUrls, SetupError};
use crate::credentials::seal::{Seal, SealError};

/// How long a push may take with all that belongs to it, a new token before it and another attempt after it.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How many clients are kept at most. Beyond that all are made again.
const MAX_CLIENTS: usize = 1_000;

/// Sends pushes with whatever client a credential is for.
pub struct Providers {
    seal: Arc<Seal>,
    endpoints: ProviderUrls,
    /// Read when they are first needed: it takes a while.
    roots: OnceLock<Roots>,
    /// For credentials whose secret is with SNS; `None` where there is no SNS.
    platform_applications: Option<Arc<dyn PushProvider>>,
    clock: fn() -> Timestamp,
    clients: Mutex<HashMap<CredentialSid, Arc<Client>>>,
}

/// A credential's client.
struct Client {
    /// What it was made from. For one that is used in another way there will be another client.
    from: Credential,
    sender: Sender,
    breaker: Mutex<Breaker>,
}

enum Sender {
    Apns(Box<Apns>),
    Fcm(Box<Fcm>),
    PlatformApplication(Arc<dyn PushProvider>),
    /// Nothing can be sent with it, for this reason.
    Unusable(&'static str),
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error("the credential's secret cannot be read")]
    Seal(#[from] SealError),
    #[error("the credential cannot be used")]
    Setup(#[from] SetupError),
    #[error("there are no platform applications here")]
    NoPlatformApplications,
}

impl ClientError {
    /// A word for it, which the credential's owner gets to see.
    fn reason(&self) -> &'static str {
        match self {
            Self::Seal(_) => "UnreadableSecret",
            Self::Setup(_) => "UnusableCredential",
            Self::NoPlatformApplications => "NoPlatformApplications",
        }
    }
}

impl Providers {
    /// Those at these endpoints. Servers are trusted that the machine trusts, unless there are other roots.
    pub fn new(
        seal: Arc<Seal>,
        endpoints: ProviderUrls,
        roots: Option<Roots>,
        platform_applications: Option<Arc<dyn PushProvider>>,
        clock: fn() -> Timestamp,
    ) -> Self {
        let roots = roots.map_or_else(OnceLock::new, OnceLock::from);
        Self { seal, endpoints, roots, platform_applications, clock, clients: Mutex::default() }
    }

    fn client(&self, credential: &Credential) -> Arc<Client> {
        // Making one takes a moment, and whoever needs the same one waits for it.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&credential.sid).filter(|client| client.from.is_used_like(credential)) {
            return client.clone();
        }
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        let sender = self.sender(credential).unwrap_or_else(|error| {
            warn!(credential.sid = %credential.sid, error = %ErrorChain(&error), "a credential cannot be used");
            Sender::Unusable(error.reason())
        });
        let client = Arc::new(Client { from: credential.clone(), sender, breaker: Mutex::default() });
        clients.insert(credential.sid, client.clone());
        client
    }

    fn sender(&self, credential: &Credential) -> Result<Sender, ClientError> {
        let apns = if credential.sandbox { &self.endpoints.apns_sandbox } else { &self.endpoints.apns };
        Ok(match &credential.method {
            Method::ApnsKey { key_id, team_id, topic } => {
                let pem = &self.seal.open(credential)?;
                let identity = Identity::Key { pem, key_id, team_id };
                Sender::Apns(Box::new(Apns::new(identity, topic, apns, self.roots()?, self.clock)?))
            }
            Method::ApnsCertificate { topic, .. } => {
                let identity = Identity::Certificate { pem: &self.seal.open(credential)? };
                Sender::Apns(Box::new(Apns::new(identity, topic, apns, self.roots()?, self.clock)?))
            }
            Method::ServiceAccount { project_id, client_email, private_key_id } => {
                let private_key = &self.seal.open(credential)?;
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
        let client = self.client(credential);
        let breaker = || client.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = breaker().admit((self.clock)());
        if let Err(wait) = admitted {
            return PushOutcome::unavailable("Paused", Some(wait));
        }
        let sent = async {
            match &client.sender {
                Sender::Apns(apns) => apns.push(&device.address, push).await,
                Sender::Fcm(fcm) => fcm.push(&device.address, push).await,
                Sender::PlatformApplication(applications) => applications.push(credential, device, push).await,
                Sender::Unusable(reason) => PushOutcome::rejected(reason, Fault::Credential),
            }
        };
        let outcome = timeout(TIMEOUT, sent).await.unwrap_or_else(|_| PushOutcome::unavailable("TimedOut", None));
        match &outcome {
            // Too many for this device. Others have nothing to do with it.
            PushOutcome::Unavailable { reason, .. } if reason.as_str() == "TooManyRequests" => breaker().succeeded(),
            PushOutcome::Unavailable { retry_after, .. } => breaker().failed(*retry_after, (self.clock)()),
            PushOutcome::Accepted { .. } | PushOutcome::Rejected(_) => breaker().succeeded(),
        }
        outcome
    }

    async fn binding_at(&self, endpoint: &str) -> Result<Option<(ServiceSid, BindingSid)>, Unreachable> {
        match &self.platform_applications {
            Some(applications) => applications.binding_at(endpoint).await,
            None => Ok(None),
        }
    }
}
