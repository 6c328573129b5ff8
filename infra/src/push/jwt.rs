//! Signed JSON Web Tokens, which both providers require for authentication.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reachability_domain::secret::Secret;
use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::json;

/// Not the required key. The error does not contain the parser's message, which may hold parts of the key.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKey {
    /// Not PEM, or not a PKCS #8 private key.
    #[error("expected a private key: PKCS #8 in PEM")]
    Pem,
    /// A key of another kind.
    #[error("expected {expected}")]
    Kind {
        /// The required kind.
        expected: &'static str,
        /// The parser's reason.
        source: ring::error::KeyRejected,
    },
}

/// Signing failed: the operating system returned no random bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the token could not be signed")]
pub struct NotSigned;

/// Signs tokens with one key.
pub struct Signer {
    key: Key,
    key_id: String,
    random: SystemRandom,
}

enum Key {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl Signer {
    /// Signs with ES256. The PEM text must hold a P-256 key.
    ///
    /// # Errors
    /// If it does not.
    pub fn es256(pem: &Secret, key_id: &str) -> Result<Self, InvalidKey> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8(pem)?.secret_pkcs8_der(), &random)
            .map_err(|source| InvalidKey::Kind { expected: "a P-256 key", source })?;
        Ok(Self { key: Key::Es256(key), key_id: key_id.to_owned(), random })
    }

    /// Signs with RS256. The PEM text must hold an RSA key of 2048 to 4096 bits.
    ///
    /// # Errors
    /// If it does not.
    pub fn rs256(pem: &Secret, key_id: &str) -> Result<Self, InvalidKey> {
        let key = RsaKeyPair::from_pkcs8(pkcs8(pem)?.secret_pkcs8_der())
            .map_err(|source| InvalidKey::Kind { expected: "an RSA key of 2048 to 4096 bits", source })?;
        Ok(Self { key: Key::Rs256(key), key_id: key_id.to_owned(), random: SystemRandom::new() })
    }

    /// A signed token with these claims.
    ///
    /// # Errors
    /// If the operating system returns no random bytes.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, NotSigned> {
        let algorithm = match self.key {
            Key::Es256(_) => "ES256",
            Key::Rs256(_) => "RS256",
        };
        let header = json!({ "alg": algorithm, "kid": self.key_id, "typ": "JWT" });
        let claims = serde_json::to_vec(claims).map_err(|_| NotSigned)?;
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let message = format!("{}.{}", encode(header.to_string().as_bytes()), encode(&claims));
        let signature = match &self.key {
            Key::Es256(key) => encode(key.sign(&self.random, message.as_bytes()).map_err(|_| NotSigned)?.as_ref()),
            Key::Rs256(key) => encode(&rs256(key, &self.random, message.as_bytes())?),
        };
        Ok(format!("{message}.{signature}"))
    }
}

fn rs256(key: &RsaKeyPair, random: &SystemRandom, message: &[u8]) -> Result<Vec<u8>, NotSigned> {
    let public: &rsa::PublicKey = key.public();
    let mut signature = vec![0; public.modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, random, message, &mut signature).map_err(|_| NotSigned)?;
    Ok(signature)
}

fn pkcs8(pem: &Secret) -> Result<PrivatePkcs8KeyDer<'static>, InvalidKey> {
    PrivatePkcs8KeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| InvalidKey::Pem)
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use ring::signature::{ECDSA_P256_SHA256_FIXED, KeyPair, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;

    /// A new P-256 key, in PEM.
    fn p256() -> Secret {
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let base64 = base64::prelude::BASE64_STANDARD.encode(der);
        Secret::new(format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n"))
    }

    #[test]
    fn a_token_has_its_claims_and_a_valid_signature() {
        let signer = Signer::es256(&p256(), "ABC123").unwrap();
        let token = signer.sign(&json!({ "iss": "TEAM", "iat": 7 })).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = message.split_once('.').unwrap();
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let read = |text: &str| serde_json::from_slice::<Value>(&decode(text)).unwrap();
        assert_eq!(read(header), json!({ "alg": "ES256", "kid": "ABC123", "typ": "JWT" }));
        assert_eq!(read(claims), json!({ "iss": "TEAM", "iat": 7 }));
        let Key::Es256(key) = &signer.key else { unreachable!() };
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key());
        assert_eq!(public.verify(message.as_bytes(), &decode(signature)), Ok(()));
    }

    #[test]
    fn an_invalid_key_is_refused_and_not_shown() {
        let key = p256();
        let secret = key.expose().lines().nth(1).unwrap();
        for text in [
            String::new(),
            secret.to_owned(),
            // The key without its line breaks.
            key.expose().replace('\n', ""),
            key.expose().replace('\n', "\\n"),
            key.expose().replace("PRIVATE", "PUBLIC"),
            key.expose().replace("MIG", "AAA"),
            format!("-----BEGIN PRIVATE KEY-----\n{secret}"),
        ] {
            for error in [Signer::es256(&Secret::new(&text), "K"), Signer::rs256(&Secret::new(&text), "K")] {
                let error = error.unwrap_err();
                let shown = format!("{error} {error:?} {:?}", error.source());
                assert!(!shown.contains(&secret[..12]) && !shown.contains(&secret[40..52]), "{shown}");
            }
        }
        assert!(matches!(Signer::rs256(&key, "K"), Err(InvalidKey::Kind { .. })), "a key of another kind");
        assert!(!format!("{:?}", Signer::es256(&key, "K").unwrap()).contains(&secret[..12]));
    }
}
