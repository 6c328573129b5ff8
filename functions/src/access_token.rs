//! Verifying the access tokens of clients, and making them for the owner.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use reachability_domain::directory::access_token::{self, AccessToken, Grant, NewToken, TokenError};
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::ports::{Accounts, ApiKeys, Services};
use reachability_domain::directory::service::ServiceRef;
use reachability_domain::identity::UserKey;
use reachability_domain::ids::{Ids, NoRandomness};
use reachability_domain::network::Network;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::sid::{AccountSid, ServiceSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use crate::app::App;
use crate::use_cases::services::ServiceDirectory;

/// Why a token was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is refused.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It is refused, and so were too many others from its address.
    #[error("too many access tokens from this address were wrong")]
    TooMany,
    /// Whether it is valid cannot be known now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Verifies a token from this network. If its service is the account's default one, which need not be stored yet, stores it:
/// what a client does next writes into it.
///
/// # Errors
/// [`VerifyError::Token`] if the token is refused, [`VerifyError::TooMany`] if it and many others from the network were not
/// signed with the secret of their key, [`VerifyError::Store`] if the store fails.
pub async fn verify(app: &App, from: Network, token: &str) -> Result<Grant, VerifyError> {
    let verified = check(app, token).await;
    match &verified {
        // What was good once is not a guess: it has expired, or its key or its service was deleted. Its client is told so,
        // however many others of its network are.
        Err(VerifyError::Token(TokenError::Malformed | TokenError::Header | TokenError::Signature)) => {
            let is_over = app.count_failure(from).is_some();
            if is_over { Err(VerifyError::TooMany) } else { verified }
        }
        _ => verified,
    }
}

async fn check(app: &App, token: &str) -> Result<Grant, VerifyError> {
    let (ports, settings) = (app.ports(), app.settings());
    let token = AccessToken::parse(token)?;
    let key = ports.api_keys.key(token.key()).await?.ok_or(TokenError::Issuer)?;
    let grant = token.verify(settings.account_sid, &key.secret, (settings.clock)())?;
    let directory: ServiceDirectory = FromRef::from_ref(app);
    let service = directory.find(ServiceRef::Sid(grant.user.service)).await?.ok_or(TokenError::Grants)?;
    directory.store(service).await?;
    Ok(grant)
}

/// The name of the API key that signs the tokens which [`mint`] makes.
pub const KEY_NAME: &str = "reachability token";

/// How many API keys are read at a time.
const KEYS_AT_ONCE: usize = 1_000;

/// The ports that [`mint`] needs.
pub struct MintPorts {
    /// The account's settings.
    pub accounts: Arc<dyn Accounts>,
    /// The API keys.
    pub api_keys: Arc<dyn ApiKeys>,
    /// The services.
    pub services: Arc<dyn Services>,
    /// Makes the key.
    pub ids: Arc<dyn Ids>,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// There is no such service.
    #[error("there is no service {0}")]
    NoService(ServiceSid),
    /// Its life would be too long.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A key cannot be made.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a token for a user, who need not exist. It is signed by the API key named [`KEY_NAME`], which is made if there is
/// none.
///
/// # Errors
/// If there is no such service, if the token's life would be too long, or if the store fails.
pub async fn mint(
    ports: MintPorts,
    account: AccountSid,
    user: &UserKey,
    life: Duration,
    now: Timestamp,
) -> Result<String, MintError> {
    let MintPorts { accounts, api_keys, services, ids } = ports;
    let directory = ServiceDirectory::new(account, accounts, services);
    if directory.find(ServiceRef::Sid(user.service)).await?.is_none() {
        return Err(MintError::NoService(user.service));
    }
    let key = match known_key(&*api_keys).await? {
        Some(key) => key,
        None => {
            let secret = ids.secret()?;
            let friendly_name = KEY_NAME.to_owned();
            let key = ApiKey { sid: ids.sid(), friendly_name, secret, date_created: now, date_updated: None };
            api_keys.create_key(&key).await?;
            key
        }
    };
    Ok(access_token::mint(&NewToken { account, key: &key, user, push_credential: None, life }, now)?)
}

async fn known_key(keys: &dyn ApiKeys) -> Result<Option<ApiKey>, StoreError> {
    let mut position = Cursor::Start;
    loop {
        let page = keys.keys(PageRequest { position, limit: KEYS_AT_ONCE }).await?;
        let last = page.items.last().map(|key| key.sid);
        if let Some(key) = page.items.into_iter().find(|key| key.friendly_name == KEY_NAME) {
            return Ok(Some(key));
        }
        match last {
            Some(last) if page.more => position = Cursor::After(last),
            _ => return Ok(None),
        }
    }
}
