//! Changing a credential, and choosing one for a device.

use reachability_domain::ids::Ids;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::Credential;
use reachability_domain::push::ports::Credentials;
use reachability_domain::sid::CredentialSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Clock;

use crate::use_cases::update::{Versioned, update};

/// How many credentials are read at a time.
const READ_AT_ONCE: usize = 1_000;

struct StoredCredential<'a> {
    credentials: &'a dyn Credentials,
    sid: CredentialSid,
    clock: Clock,
}

impl Versioned for StoredCredential<'_> {
    type Record = Credential;

    async fn read(&self) -> Result<Option<Credential>, StoreError> {
        self.credentials.credential(self.sid).await
    }

    async fn replace(&mut self, credential: &mut Credential) -> Result<(), StoreError> {
        credential.date_updated = (self.clock)();
        self.credentials.replace_credential(credential).await
    }
}

/// Changes a credential that was read. Returns the changed credential, or `None` if it was deleted.
pub(crate) async fn update_credential<E: From<StoreError>>(
    credentials: &dyn Credentials,
    ids: &dyn Ids,
    clock: Clock,
    read: Credential,
    change: impl Fn(&mut Credential) -> Result<(), E> + Send + Sync,
) -> Result<Option<Credential>, E> {
    update(StoredCredential { credentials, sid: read.sid, clock }, ids, read, change).await
}

/// The credentials to choose from when a registration names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OnlyCredential {
    /// The account has none for the channel.
    None,
    /// The account has one for the channel.
    One(Box<Credential>),
    /// The account has several for the channel.
    Several,
}

/// The account's only credential for a channel.
pub(crate) async fn only_credential(
    credentials: &dyn Credentials,
    channel: Channel,
) -> Result<OnlyCredential, StoreError> {
    let mut found = OnlyCredential::None;
    let mut position = Cursor::Start;
    loop {
        let page = credentials.credentials(PageRequest { position, limit: READ_AT_ONCE }).await?;
        let last = page.items.last().map(|credential| credential.sid);
        for credential in page.items.into_iter().filter(|credential| credential.channel.is(channel)) {
            if found != OnlyCredential::None {
                return Ok(OnlyCredential::Several);
            }
            found = OnlyCredential::One(Box::new(credential));
        }
        match last {
            Some(last) if page.more => position = Cursor::After(last),
            _ => return Ok(found),
        }
    }
}
