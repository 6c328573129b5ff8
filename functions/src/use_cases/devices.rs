//! Registering and unregistering devices.

use reachability_domain::directory::user::User;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::ids::Ids;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::credential::Credential;
use reachability_domain::push::device::{Address, Device};
use reachability_domain::push::lifetime::Lifetime;
use reachability_domain::push::message::{Probe, ProbeCause, PushMessage};
use reachability_domain::push::ports::{Bindings, Credentials};
use reachability_domain::push::registration::Registration;
use reachability_domain::push::tag::Tag;
use reachability_domain::queue::{Queue, QueueError};
use reachability_domain::sid::{BindingSid, CredentialSid, ServiceSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::{Clock, Timestamp};

use crate::use_cases::credentials::{OnlyCredential, only_credential};
use crate::use_cases::failure::Failure;
use crate::use_cases::services::{FoundService, ServiceDirectory};

/// The ports that [`register_device`] needs.
pub(crate) struct RegisterPorts<'a> {
    pub(crate) directory: &'a ServiceDirectory,
    pub(crate) bindings: &'a dyn Bindings,
    pub(crate) credentials: &'a dyn Credentials,
    pub(crate) pushes: &'a dyn Queue<PushMessage>,
    pub(crate) ids: &'a dyn Ids,
    pub(crate) clock: Clock,
}

/// The command to register a device for a user.
pub(crate) struct RegisterDevice {
    pub(crate) service: FoundService,
    /// The user, who is created if there is none.
    pub(crate) identity: Identity,
    /// The channel through which the device is reached.
    pub(crate) channel: Channel,
    /// The device's token.
    pub(crate) address: Address,
    /// The credential for the provider; `None` for the account's only credential for the channel.
    pub(crate) credential_sid: Option<CredentialSid>,
    /// The app's own name for the device.
    pub(crate) endpoint: Option<String>,
    /// The tags of the registration. They replace those of an earlier registration.
    pub(crate) tags: Vec<Tag>,
}

/// Why a device is not registered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    /// There is no such credential, or it is for another channel.
    #[error("there is no such credential for {}", .0.as_str())]
    UnknownCredential(Channel),
    /// No credential is named, and the account has several for the channel.
    #[error("several credentials fit, and none is named")]
    SeveralCredentials,
    /// The service was deleted.
    #[error("the service was deleted")]
    NoService,
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl From<StoreError> for RegisterError {
    fn from(error: StoreError) -> Self {
        Self::Failure(error.into())
    }
}

impl From<QueueError> for RegisterError {
    fn from(error: QueueError) -> Self {
        Self::Failure(error.into())
    }
}

/// Registers a device for a user, or renews its registration. Queues a probe, which asks the provider whether the
/// registration is good, unless the provider lately said so. Returns the binding.
pub(crate) async fn register_device(
    ports: RegisterPorts<'_>,
    command: RegisterDevice,
) -> Result<Binding, RegisterError> {
    let RegisterDevice { service, identity, channel, address, credential_sid, endpoint, tags } = command;
    let credential = choose_credential(ports.credentials, channel, credential_sid).await?;
    let service = ports.directory.store(service).await?;
    let now = (ports.clock)();
    let device = Device::new(service.sid, channel, &address);
    let key = UserKey { service: service.sid, identity: identity.clone() };
    let user = User::new(ports.ids.sid(), key, Some(service.default_roles.service_user), now);
    let binding = Binding {
        sid: device.binding_sid(&identity),
        service_sid: service.sid,
        identity,
        channel,
        address,
        credential_sid: credential.as_ref().map(|credential| credential.sid),
        endpoint,
        tags,
        date_created: now,
        date_updated: now,
        registered_at: now,
        lifetime: credential.map_or(Lifetime::longest(channel), |credential| credential.lifetime()),
        confirmed_at: None,
        asked_at: None,
        learnt_with: Timestamp::default(),
        environment: None,
        death: None,
        version: 0,
    };
    let register = BindingCommand::Register { binding, generation: service.configuration.generation };
    let applied = match ports.bindings.apply(service.sid, device, &register, Some(&user), now).await {
        Err(StoreError::Missing) => return Err(RegisterError::NoService),
        applied => applied?,
    };
    let binding = applied.after.ok_or(RegisterError::NoService)?;
    if Registration::of(&binding).wants_check(now) {
        let (service, binding, cause) = (service.sid, binding.sid, ProbeCause::Registered);
        let probe = Probe { service, binding, asked_at: now, attempts: 0, due_at: None, cause };
        ports.pushes.send(&[PushMessage::Probe(probe)]).await?;
    }
    Ok(binding)
}

/// The named credential, if it fits the channel. If none is named, the account's only credential for the channel.
async fn choose_credential(
    credentials: &dyn Credentials,
    channel: Channel,
    named: Option<CredentialSid>,
) -> Result<Option<Credential>, RegisterError> {
    if let Some(sid) = named {
        let credential = credentials.credential(sid).await?;
        let credential = credential.filter(|credential| credential.channel.is(channel));
        return credential.map(Some).ok_or(RegisterError::UnknownCredential(channel));
    }
    match only_credential(credentials, channel).await? {
        OnlyCredential::None => Ok(None),
        OnlyCredential::One(credential) => Ok(Some(*credential)),
        OnlyCredential::Several => Err(RegisterError::SeveralCredentials),
    }
}

/// The command to unregister a device.
pub(crate) struct UnregisterDevice {
    pub(crate) service: ServiceSid,
    pub(crate) binding: BindingSid,
}

/// Unregisters a device. Returns whether it was registered: another request may have unregistered it, or registered it
/// for another user.
pub(crate) async fn unregister_device(
    bindings: &dyn Bindings,
    clock: Clock,
    command: UnregisterDevice,
) -> Result<bool, StoreError> {
    let UnregisterDevice { service, binding: sid } = command;
    let unregister = BindingCommand::Unregister(sid);
    let applied = bindings.apply(service, Device::of_binding(sid), &unregister, None, clock()).await?;
    Ok(applied.before.is_some_and(|binding| binding.sid == sid))
}
