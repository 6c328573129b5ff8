//! Authentication by HTTP Basic, with the account's sid and token or an API key's sid and secret.

use axum::http::{Extensions, HeaderMap, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reachability_domain::directory::auth_tokens::AuthTokens;
use reachability_domain::network::Network;
use reachability_domain::secret::Secret;
use reachability_domain::sid::{AccountSid, KeySid};
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::http::audit::Author;
use crate::http::error::ApiError;
use crate::http::source::Source;

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The owner of the deployment.
    Owner(OwnerKey),
}

/// What the owner authenticated with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnerKey {
    /// The account's auth token.
    AuthToken,
    /// This API key.
    ApiKey(KeySid),
}

/// Checks the credentials of a request. Wrong ones count as a failure of its address. Who sends right ones is noted for the
/// [audit](super::audit), and its connection is a known one.
pub(crate) async fn admit(app: &App, extensions: &Extensions, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let source = extensions.get::<Source>();
    match authenticate(app, headers).await {
        Ok(caller) => {
            if let Some(source) = source {
                source.know();
            }
            if let Some(author) = extensions.get::<Author>() {
                author.is(caller);
            }
            Ok(caller)
        }
        // They are checked in any case: right ones from an address with many wrong ones, such as that of a proxy, are good. A
        // request without any guesses nothing, and some clients send credentials only after such an answer.
        Err(error) if error.status == StatusCode::UNAUTHORIZED && credentials(headers).is_some() => {
            let wait = source.and_then(|source| app.count_failure(Network::of(source.address)));
            Err(wait.map_or(error, ApiError::too_many_failures))
        }
        Err(error) => Err(error),
    }
}

/// Whom the credentials of a request belong to.
pub(crate) async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let credentials = credentials(headers).ok_or_else(ApiError::unauthorized)?;
    let (name, password) = credentials.split_once(':').ok_or_else(ApiError::unauthorized)?;
    if let Ok(sid) = name.parse::<AccountSid>() {
        let settings = app.settings();
        if sid == settings.account_sid && is_one_of(&settings.auth_tokens.borrow(), password) {
            return Ok(Caller::Owner(OwnerKey::AuthToken));
        }
    } else if let Ok(sid) = name.parse::<KeySid>()
        && let Some(key) = app.ports().api_keys.key(sid).await?
        && matches(&key.secret, password)
    {
        return Ok(Caller::Owner(OwnerKey::ApiKey(sid)));
    }
    Err(ApiError::unauthorized())
}

/// The name and the password, with a colon between them.
fn credentials(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()
}

/// Compares with both tokens, so that the duration does not tell which one a guess comes close to.
fn is_one_of(tokens: &AuthTokens, password: &str) -> bool {
    let is_secondary = tokens.secondary.as_ref().is_some_and(|token| matches(token, password));
    matches(&tokens.primary, password) | is_secondary
}

/// Compares in constant time, so that the duration does not tell how much of a guess is right.
fn matches(secret: &Secret, password: &str) -> bool {
    secret.expose().as_bytes().ct_eq(password.as_bytes()).into()
}
