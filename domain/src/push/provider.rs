//! The port that sends pushes to providers.

use std::error::Error;

use async_trait::async_trait;

use crate::push::binding::Binding;
use crate::push::credential::Credential;
use crate::push::outage::Outage;
use crate::push::outcome::PushOutcome;
use crate::push::payload::Push;
use crate::sid::{BindingSid, ServiceSid};

/// Sends pushes to APNs, FCM or SNS, depending on the credential.
#[async_trait]
pub trait PushProvider: Send + Sync {
    /// Sends a push to a device. Retries a few times where that can help; takes some seconds at most.
    async fn push(&self, credential: &Credential, device: &Binding, push: &Push) -> PushOutcome;

    /// The current outage with this credential, as far as this process knows. After a push, the result is `None` only
    /// if the provider has answered recently.
    fn outage(&self, credential: &Credential) -> Option<Outage>;

    /// The binding that a provider knows by this name; `None` if there is none in this deployment.
    ///
    /// # Errors
    /// If the provider is unreachable.
    async fn binding_at(&self, endpoint: &str) -> Result<Option<(ServiceSid, BindingSid)>, Unreachable>;
}

/// A provider is unreachable. A retry may help.
#[derive(Debug, thiserror::Error)]
#[error("the push provider is unreachable")]
pub struct Unreachable(#[source] pub Box<dyn Error + Send + Sync>);
