//! Stand-ins for Apple and Google: they speak HTTP/2 over TLS, check what they are sent as strictly as the real ones, and
//! do what networks and tired servers do when they are told to.

pub mod apple;
pub mod ca;
pub mod google;
mod wire;

pub use apple::Apple;
pub use ca::Ca;
pub use google::Google;
pub use wire::{Answer, Request};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;

/// The header and the claims of a token that this key has signed; `None` if it has not.
fn verified(jwt: &str, algorithm: &'static dyn VerificationAlgorithm, public: &[u8]) -> Option<(Value, Value)> {
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    let (message, signature) = jwt.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    UnparsedPublicKey::new(algorithm, public).verify(message.as_bytes(), &decode(signature)?).ok()?;
    Some((serde_json::from_slice(&decode(header)?).ok()?, serde_json::from_slice(&decode(claims)?).ok()?))
}
