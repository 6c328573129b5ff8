//! Sealing: encrypts the secret of a credential or an API key, so that only this deployment can read it, and only for that one.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reachability_domain::push::credential::{Credential, Sealed};
use reachability_domain::secret::Secret;
use reachability_domain::sid::Sid;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{Digest, SHA256, digest};
use ring::error::Unspecified;

/// Prefix of a sealed text: the format version.
const VERSION: &str = "v1:";

/// Why sealing or unsealing failed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The operating system returned no random bytes, or the secret is too long.
    #[error("the secret cannot be sealed")]
    Unsealable,
    /// The credential has no secret: SNS keeps it.
    #[error("the credential has no secret")]
    Nothing,
    /// Not an output of [`Seal::seal`].
    #[error("the sealed secret is malformed")]
    Malformed,
    /// Sealed with another key or for another owner, or modified since.
    #[error("the sealed secret does not match this deployment's key and the secret's owner")]
    WrongKey,
}

/// Seals and unseals with the deployment's key.
pub struct Seal {
    key: Digest,
}

impl Seal {
    /// Uses this key. It must be random, not a guessable password.
    pub fn new(key: &Secret) -> Self {
        Self { key: digest(&SHA256, key.expose().as_bytes()) }
    }

    /// Seals the secret of a credential or an API key.
    ///
    /// # Errors
    /// [`SealError::Unsealable`].
    pub fn seal(&self, owner: impl Sid, secret: &Secret) -> Result<Sealed, SealError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Unsealable)?;
        let mut text = secret.expose().as_bytes().to_vec();
        self.key()
            .and_then(|key| {
                key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound_to(owner), &mut text)
            })
            .map_err(|Unspecified| SealError::Unsealable)?;
        Ok(Sealed::new(format!("{VERSION}{}", STANDARD.encode([nonce.as_slice(), &text].concat()))))
    }

    /// Unseals the secret of a credential or an API key.
    ///
    /// # Errors
    /// [`SealError::Malformed`] and [`SealError::WrongKey`].
    pub fn open(&self, owner: impl Sid, sealed: &Sealed) -> Result<Secret, SealError> {
        let encoded = sealed.as_str().strip_prefix(VERSION).ok_or(SealError::Malformed)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| SealError::Malformed)?;
        let (nonce, text) = bytes.split_first_chunk().ok_or(SealError::Malformed)?;
        let mut text = text.to_vec();
        let lease = self
            .key()
            .and_then(|key| key.open_in_place(Nonce::assume_unique_for_key(*nonce), bound_to(owner), &mut text))
            .map_err(|Unspecified| SealError::WrongKey)?;
        std::str::from_utf8(lease).map(Secret::new).map_err(|_| SealError::Malformed)
    }

    /// Unseals a credential's secret.
    ///
    /// # Errors
    /// Every [`SealError`] except the first.
    pub fn open_credential(&self, credential: &Credential) -> Result<Secret, SealError> {
        self.open(credential.sid, credential.sealed.as_ref().ok_or(SealError::Nothing)?)
    }

    fn key(&self) -> Result<LessSafeKey, Unspecified> {
        UnboundKey::new(&CHACHA20_POLY1305, self.key.as_ref()).map(LessSafeKey::new)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The additional authenticated data: it binds a sealed secret to its owner. The sids of two kinds differ in their letters.
fn bound_to(owner: impl Sid) -> Aad<String> {
    Aad::from(owner.to_string())
}

#[cfg(test)]
mod tests {
    use reachability_domain::push::channel::Channel;
    use reachability_domain::push::credential::{Health, Method, RegistrationCheck};
    use reachability_domain::sid::{CredentialSid, KeySid, Sid};
    use reachability_domain::time::Timestamp;

    use super::*;

    fn credential(sid: CredentialSid, sealed: Option<Sealed>) -> Credential {
        Credential {
            sid,
            channel: Channel::Apn,
            friendly_name: None,
            sandbox: false,
            lifetime: None,
            check: RegistrationCheck::Silent,
            method: Method::PlatformApplication { arn: String::new() },
            sealed,
            health: Health::Unproven,
            outage: None,
            date_created: Timestamp::from_millis(0),
            date_updated: Timestamp::from_millis(0),
            used_since: Timestamp::from_millis(0),
            version: 0,
        }
    }

    fn seal(key: &str) -> Seal {
        Seal::new(&Secret::new(key))
    }

    #[test]
    fn a_sealed_secret_can_be_unsealed() {
        let sid = Sid::from_bits(1);
        for text in ["", "x", "-----BEGIN PRIVATE KEY-----\nü\n", &"x".repeat(40_000)] {
            let secret = Secret::new(text);
            let sealed = seal("key").seal(sid, &secret).unwrap();
            assert!(sealed.as_str().starts_with("v1:"));
            assert_ne!(sealed, seal("key").seal(sid, &secret).unwrap(), "sealing twice gives different texts");
            assert_eq!(seal("key").open_credential(&credential(sid, Some(sealed))).unwrap(), secret);
        }
    }

    #[test]
    fn unsealing_needs_the_key_and_the_credential() {
        let sid: CredentialSid = Sid::from_bits(1);
        let sealed = seal("key").seal(sid, &Secret::new("secret")).unwrap();
        let open = |key, sid: CredentialSid, text: String| seal(key).open(sid, &Sealed::new(text)).unwrap_err();
        let text = sealed.as_str().to_owned();
        assert!(matches!(open("kez", sid, text.clone()), SealError::WrongKey));
        assert!(matches!(open("key", Sid::from_bits(2), text.clone()), SealError::WrongKey));
        let other_kind = seal("key").open(KeySid::from_bits(1), &sealed);
        assert!(matches!(other_kind, Err(SealError::WrongKey)), "{other_kind:?}");
        let mut bytes = STANDARD.decode(&text[3..]).unwrap();
        for place in 0..bytes.len() {
            bytes[place] ^= 1;
            let changed = format!("v1:{}", STANDARD.encode(&bytes));
            assert!(matches!(open("key", sid, changed), SealError::WrongKey), "at {place}");
            bytes[place] ^= 1;
        }
    }

    #[test]
    fn a_text_that_was_never_sealed_is_malformed() {
        let sid = Sid::from_bits(1);
        for text in ["", "v1:", "v1:!", "v1:AAAA", "v2:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "secret"] {
            let error = seal("key").open_credential(&credential(sid, Some(Sealed::new(text.to_owned())))).unwrap_err();
            assert!(matches!(error, SealError::Malformed), "{text:?}: {error}");
        }
        assert!(matches!(seal("key").open_credential(&credential(sid, None)), Err(SealError::Nothing)));
    }

    #[test]
    fn the_key_is_not_shown() {
        assert_eq!(format!("{:?}", seal("key")), "***");
    }
}
