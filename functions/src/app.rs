//! What all functions work with.

use std::sync::Arc;
use std::time::Duration;

use reachability_domain::ports::PushStore;
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::push::message::PushMessage;
use reachability_domain::queue::Queue;
use reachability_domain::secret::Secret;
use reachability_domain::sid::AccountSid;
use reachability_domain::time::Timestamp;
use reachability_infra::credentials::seal::Seal;
use tokio::sync::watch;

/// What handlers are given. Clones share it.
pub type App = Arc<Deployment>;

/// A deployment: its ports, its clock and its account.
pub struct Deployment {
    /// Where everything lies.
    pub store: Arc<dyn PushStore>,
    /// Where events go.
    pub queue: Arc<dyn Queue<PresenceMessage>>,
    /// Where pushes go.
    pub pushes: Arc<dyn Queue<PushMessage>>,
    /// Tells the time.
    pub clock: fn() -> Timestamp,
    /// The deployment's account.
    pub account_sid: AccountSid,
    /// The account's password, which may be replaced by another.
    pub auth_token: watch::Receiver<Secret>,
    /// Seals what is secret of credentials; `None` where none are made.
    pub seal: Option<Arc<Seal>>,
    /// Whether credentials may be platform applications of SNS.
    pub platform_applications: bool,
    /// How long a service's reachability stays off at least once it is switched off: for as long as anybody may go by an
    /// older configuration. Zero where nobody does.
    pub off_at_least: Duration,
    /// What URLs in answers begin with, without a slash at the end; `None` for what the request came to.
    pub public_url: Option<String>,
}
