//! Access tokens, with which apps' clients authenticate: what a token is allowed, and why it is refused. They are those of
//! the vendor: JSON Web Tokens, signed with HMAC-SHA256 and the secret of an API key.

mod jwt;
mod mint;

use std::time::Duration;

use serde_json::Value;

pub use self::jwt::AccessToken;
pub use self::mint::{NewToken, mint};
use crate::identity::UserKey;
use crate::secret::Secret;
use crate::sid::{AccountSid, CredentialSid, KeySid};
use crate::time::Timestamp;

/// The longest life of a token: the vendor's documented limit.
pub const MAX_LIFE: Duration = Duration::from_secs(86_400);

/// By how much the clocks of those who sign tokens may differ from ours. It is not added to the end of a token's life.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The user, who need not exist yet.
    pub user: UserKey,
    /// When the token ends. What it was used for ends then too, unless a new token is given.
    pub expires_at: Timestamp,
    /// The API key that signed it. When the key is deleted, what the token was used for ends.
    pub key: KeySid,
    /// The credential for the client's push registrations; `None` for the account's only one for their channel.
    pub push_credential: Option<CredentialSid>,
}

/// Why a token is refused, with the vendor's code ([`TokenError::code`]) and text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// 20101: it is not a JSON Web Token.
    #[error("Invalid Access Token")]
    Malformed,
    /// 20102: it is another kind of JSON Web Token, or is signed in another way.
    #[error("Invalid Access Token header")]
    Header,
    /// 20103: there is no such API key (any more), or it is for another account.
    #[error("Invalid Access Token issuer/subject")]
    Issuer,
    /// 20104: it has expired, or has no time of expiry.
    #[error("Access Token expired or expiration date invalid")]
    Expired,
    /// 20105: it is not valid yet.
    #[error("Access Token not yet valid")]
    NotYetValid,
    /// 20106: it has no valid identity, no grant for chat, or one for a service that does not exist.
    #[error("Invalid Access Token grants")]
    Grants,
    /// 20107: it was not signed with the API key's secret, or was changed since.
    #[error("Invalid Access Token signature")]
    Signature,
    /// 20157: its life is longer than [`MAX_LIFE`].
    #[error("Expiration Time Exceeds Maximum Time Allowed")]
    TooLong,
}

impl TokenError {
    /// The HTTP status with which it is answered.
    pub fn status(self) -> u16 {
        401
    }

    /// The number in the vendor's error catalogue.
    pub fn code(self) -> u32 {
        match self {
            Self::Malformed => 20101,
            Self::Header => 20102,
            Self::Issuer => 20103,
            Self::Expired => 20104,
            Self::NotYetValid => 20105,
            Self::Grants => 20106,
            Self::Signature => 20107,
            Self::TooLong => 20157,
        }
    }
}

impl AccessToken<'_> {
    /// Checks the token with the secret of the API key that it names ([`AccessToken::key`]). Whether the service exists is
    /// left to the caller.
    ///
    /// # Errors
    /// The first of the reasons that applies: issuer, signature, times, grants.
    pub fn verify(&self, account: AccountSid, secret: &Secret, now: Timestamp) -> Result<Grant, TokenError> {
        let claims = &self.claims;
        if claims["sub"].as_str().and_then(|sub| sub.parse().ok()) != Some(account) {
            return Err(TokenError::Issuer);
        }
        self.check_signature(secret)?;
        let expires_at = check_times(time(&claims["exp"]), time(&claims["nbf"]), time(&claims["iat"]), now)?;

        // Other grants, such as those for voice, are somebody else's. An unset member may be null.
        let grants = &claims["grants"];
        let chat = [&grants["chat"], &grants["ip_messaging"]].into_iter().find(|grant| grant.is_object());
        let chat = chat.ok_or(TokenError::Grants)?;
        let service = chat["service_sid"].as_str().and_then(|sid| sid.parse().ok());
        let identity = grants["identity"].as_str().and_then(|identity| identity.parse().ok());
        let (Some(service), Some(identity)) = (service, identity) else { return Err(TokenError::Grants) };
        let push_credential = match &chat["push_credential_sid"] {
            Value::Null => None,
            sid => Some(sid.as_str().and_then(|sid| sid.parse().ok()).ok_or(TokenError::Grants)?),
        };
        Ok(Grant { user: UserKey { service, identity }, expires_at, key: self.key(), push_credential })
    }
}

/// A claim that is a time, in seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Missing,
    Invalid,
    At(Timestamp),
}

fn time(claim: &Value) -> Time {
    match claim {
        Value::Null => Time::Missing,
        // A cast of too large a number is the largest one.
        claim => {
            claim.as_f64().map_or(Time::Invalid, |seconds| Time::At(Timestamp::from_millis((seconds * 1e3) as i64)))
        }
    }
}

/// Checks the times of a token. Returns when it ends.
fn check_times(exp: Time, nbf: Time, iat: Time, now: Timestamp) -> Result<Timestamp, TokenError> {
    let Time::At(expires_at) = exp else { return Err(TokenError::Expired) };
    if expires_at <= now {
        return Err(TokenError::Expired);
    }
    let soon = now.plus(CLOCK_SKEW);
    match nbf {
        Time::Invalid => return Err(TokenError::NotYetValid),
        Time::At(begin) if soon < begin => return Err(TokenError::NotYetValid),
        Time::At(_) | Time::Missing => {}
    }
    let issued_at = match (iat, nbf) {
        (Time::At(at), _) | (Time::Missing, Time::At(at)) => at,
        (Time::Missing, _) => now,
        (Time::Invalid, _) => return Err(TokenError::Malformed),
    };
    // One that claims to be issued in the future is no reason for a longer life.
    if issued_at.min(now).plus(MAX_LIFE).plus(CLOCK_SKEW) < expires_at {
        return Err(TokenError::TooLong);
    }
    Ok(expires_at)
}

#[cfg(test)]
mod tests;
