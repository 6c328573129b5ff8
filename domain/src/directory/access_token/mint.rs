//! Making access tokens.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::Mac;
use serde_json::json;

use super::TokenError;
use super::jwt::{ALGORITHM, CONTENT_TYPE, sign};
use crate::directory::api_key::ApiKey;
use crate::identity::UserKey;
use crate::sid::{AccountSid, CredentialSid};
use crate::time::Timestamp;

/// What a new token is to say.
#[derive(Debug, Clone)]
pub struct NewToken<'a> {
    /// The account of the service and of the key.
    pub account: AccountSid,
    /// The key that signs it.
    pub key: &'a ApiKey,
    /// Who may use it.
    pub user: &'a UserKey,
    /// The credential for the client's push registrations.
    pub push_credential: Option<CredentialSid>,
    /// For how long; in whole seconds.
    pub life: Duration,
}

/// Makes a token like those of the vendor's libraries.
///
/// # Errors
/// [`TokenError::TooLong`] if its life is longer than [`MAX_LIFE`](super::MAX_LIFE).
pub fn mint(token: &NewToken<'_>, now: Timestamp) -> Result<String, TokenError> {
    if token.life > super::MAX_LIFE {
        return Err(TokenError::TooLong);
    }
    let seconds = now.as_millis().div_euclid(1_000);
    let mut chat = json!({ "service_sid": token.user.service });
    if let Some(credential) = token.push_credential {
        chat["push_credential_sid"] = json!(credential);
    }
    let header = json!({ "typ": "JWT", "alg": ALGORITHM, "cty": CONTENT_TYPE });
    let claims = json!({
        "jti": format!("{}-{seconds}", token.key.sid),
        "iss": token.key.sid,
        "sub": token.account,
        "iat": seconds,
        "exp": seconds.saturating_add_unsigned(token.life.as_secs()),
        "grants": { "identity": token.user.identity, "chat": chat },
    });
    let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{header}.{claims}");
    let signature = BASE64_URL_SAFE_NO_PAD.encode(sign(&signed, &token.key.secret)?.finalize().into_bytes());
    Ok(format!("{signed}.{signature}"))
}
