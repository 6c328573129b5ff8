//! The push port: takes pushes to the providers.

use std::error::Error;

use async_trait::async_trait;

use crate::push::binding::Binding;
use crate::push::credential::Credential;
use crate::push::outage::Outage;
use crate::push::outcome::PushOutcome;
use crate::push::payload::Push;
use crate::sid::{BindingSid, ServiceSid};

/// Takes pushes to the providers: APNs, FCM, or whoever else a credential is for.
#[async_trait]
pub trait PushProvider: Send + Sync {
    /// Sends something to a device. It is tried again a few times where that can help, and takes some seconds at most.
    async fn push(&self, credential: &Credential, device: &Binding, push: &Push) -> PushOutcome;

    /// The outage that there is with this credential, as far as this process knows. After a push there is none only if the
    /// provider has answered lately.
    fn outage(&self, credential: &Credential) -> Option<Outage>;

    /// Which binding it is that a provider knows by this name; `None` if it is none of ours, or no more.
    ///
    /// # Errors
    /// If the provider cannot be asked.
    async fn binding_at(&self, endpoint: &str) -> Result<Option<(ServiceSid, BindingSid)>, Unreachable>;
}

/// A provider cannot be asked. Trying again later may help.
#[derive(Debug, thiserror::Error)]
#[error("the push provider cannot be asked")]
pub struct Unreachable(#[source] pub Box<dyn Error + Send + Sync>);
