//! The HTTP functions over a store, without a listener.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reachability_domain::channel::ports::Channels;
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::presence::search::UserSearch;
use reachability_domain::push::message::PushMessage;
use reachability_domain::queue::Queue;
use reachability_domain::secret::Secret;
use reachability_domain::sid::{AccountSid, Sid};
use reachability_functions::app::{App, Ports, Settings};
use reachability_infra::clock;
use reachability_infra::credentials::vault::SealingVault;
use reachability_infra::ids::Uuids;
use tokio::sync::watch;

use crate::store::PushStore;

/// How long it takes in these tests until others see somebody offline whose socket was lost.
pub const LOST_WITHIN: Duration = Duration::from_secs(31);

/// The ports over a store and its queues.
pub fn ports<S: PushStore + UserSearch + Channels + 'static>(
    store: Arc<S>,
    events: Arc<dyn Queue<PresenceMessage>>,
    pushes: Arc<dyn Queue<PushMessage>>,
) -> Ports {
    let vault = Arc::new(SealingVault::new(None));
    Ports { channels: Some(store.clone()), ..Ports::of(store, events, pushes, vault, Arc::new(Uuids)) }
}

/// The settings, and the header `Authorization` of the owner.
pub fn settings() -> (Settings, String) {
    let account_sid = AccountSid::from_bits(1);
    let auth_tokens = watch::channel(Secret::new("token").into()).1;
    let authorization = format!("Basic {}", BASE64_STANDARD.encode(format!("{account_sid}:token")));
    (
        Settings {
            account_sid,
            auth_tokens,
            public_url: None,
            failed_authentications_per_minute: None,
            lost_within: LOST_WITHIN,
            clock: clock::now,
        },
        authorization,
    )
}

/// The state of the router over a store and its queues, and the header `Authorization` of its owner.
pub fn app<S: PushStore + UserSearch + Channels + 'static>(
    store: Arc<S>,
    events: Arc<dyn Queue<PresenceMessage>>,
    pushes: Arc<dyn Queue<PushMessage>>,
) -> (App, String) {
    let (settings, authorization) = settings();
    (App::new(ports(store, events, pushes), settings), authorization)
}
