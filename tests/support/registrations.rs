//! Registrations that no client could make: of earlier times, or as of another generation.

use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::ports::Bindings;
use reachability_domain::sid::CredentialSid;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;

use crate::contract::bindings::binding;
use crate::ids;

/// A registration that nobody has confirmed.
#[derive(Debug, Clone)]
pub struct Unconfirmed {
    /// The device's owner, who is created if there is none.
    pub user: UserKey,
    /// The device's channel.
    pub channel: Channel,
    /// The device's token.
    pub token: String,
    /// The credential for the provider.
    pub credential: Option<CredentialSid>,
    /// When the device registered.
    pub at: Timestamp,
    /// In which generation.
    pub generation: Generation,
}

impl Unconfirmed {
    /// Stores it now, and does nothing else.
    pub async fn store(self, store: &impl Bindings) {
        let Self { user, channel, token, credential, at, generation } = self;
        let user = User::new(ids::sid(), user, None, at);
        let binding = binding(&user, channel, &token, at);
        let binding = Binding { credential_sid: credential, endpoint: None, ..binding };
        let device = binding.device();
        let register = BindingCommand::Register { binding, generation };
        store.apply(user.service_sid, device, &register, Some(&user), clock::now()).await.unwrap();
    }
}
