//! Registrations that no client could make: of earlier times, or as of another generation.

use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::device::{Address, Device};
use reachability_domain::push::ports::Bindings;
use reachability_domain::sid::CredentialSid;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;

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
        let address = Address::new(channel, &token).unwrap();
        let device = Device::new(user.service, channel, &address);
        let binding = Binding {
            sid: device.binding_sid(&user.identity),
            service_sid: user.service,
            identity: user.identity.clone(),
            channel,
            address,
            credential_sid: credential,
            endpoint: None,
            date_created: at,
            date_updated: at,
            registered_at: at,
            confirmed_at: None,
            death: None,
            version: 0,
        };
        let register = BindingCommand::Register { binding, generation };
        let service = user.service;
        let new = User::new(ids::sid(), user, None, at);
        store.apply(service, device, &register, Some(&new), clock::now()).await.unwrap();
    }
}
