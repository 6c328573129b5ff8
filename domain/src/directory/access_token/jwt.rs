//! The format of access tokens.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::TokenError;
use crate::secret::Secret;
use crate::sid::KeySid;

/// The only algorithm. That a token names its own is how others were deceived.
pub(super) const ALGORITHM: &str = "HS256";

/// The content type of the vendor's access tokens.
pub(super) const CONTENT_TYPE: &str = "twilio-fpa;v=1";

/// A token whose form is right, and that is not verified yet.
#[derive(Debug)]
pub struct AccessToken<'a> {
    /// What is signed.
    signed: &'a str,
    signature: Vec<u8>,
    key: KeySid,
    /// An object.
    pub(super) claims: Value,
}

impl<'a> AccessToken<'a> {
    /// The longest token, in bytes: many times what the vendor's libraries make.
    pub const MAX_BYTES: usize = 8_192;

    /// Reads a token, without verifying it.
    ///
    /// # Errors
    /// [`TokenError::Malformed`], [`TokenError::Header`], or [`TokenError::Issuer`] if it names no API key.
    pub fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > Self::MAX_BYTES {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
        let header = decode(header)?;
        let is = |name: &str, value: &str| header[name].as_str().is_some_and(|it| it == value);
        // `crit` names extensions that a reader must understand. There are none.
        if !is("typ", "JWT") || !is("alg", ALGORITHM) || !is("cty", CONTENT_TYPE) || header.get("crit").is_some() {
            return Err(TokenError::Header);
        }
        let claims = decode(claims)?;
        if !claims.is_object() {
            return Err(TokenError::Malformed);
        }
        let key = claims["iss"].as_str().and_then(|iss| iss.parse().ok()).ok_or(TokenError::Issuer)?;
        Ok(Self { signed, signature, key, claims })
    }

    /// The API key that the token says it was signed with.
    pub fn key(&self) -> KeySid {
        self.key
    }

    /// Compares in constant time.
    pub(super) fn check_signature(&self, secret: &Secret) -> Result<(), TokenError> {
        sign(self.signed, secret)?.verify_slice(&self.signature).map_err(|_| TokenError::Signature)
    }
}

/// Signs a text.
pub(super) fn sign(text: &str, secret: &Secret) -> Result<Hmac<Sha256>, TokenError> {
    // A key may have any length.
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).map_err(|_| TokenError::Signature)?;
    Ok(mac.chain_update(text))
}

fn decode(part: &str) -> Result<Value, TokenError> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}
