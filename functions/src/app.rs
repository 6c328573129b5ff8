//! What all functions work with.

use std::sync::Arc;

use reachability_domain::account::Secret;
use reachability_domain::queue::Queue;
use reachability_domain::sid::AccountSid;
use reachability_domain::store::Store;
use reachability_domain::time::Timestamp;

/// What handlers are given. Clones share it.
pub type App = Arc<Deployment>;

/// A deployment: its ports, its clock and its account.
pub struct Deployment {
    /// Where everything lies.
    pub store: Arc<dyn Store>,
    /// Where events go.
    pub queue: Arc<dyn Queue>,
    /// Tells the time.
    pub clock: fn() -> Timestamp,
    /// The deployment's account.
    pub account_sid: AccountSid,
    /// The account's password.
    pub auth_token: Secret,
    /// What URLs in answers begin with, without a slash at the end; `None` for what the request came to.
    pub public_url: Option<String>,
}
