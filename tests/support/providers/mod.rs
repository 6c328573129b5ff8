//! Stand-ins for Apple and Google. They speak HTTP/2 over TLS, check requests as strictly as the real services, and
//! inject faults of networks and servers on demand.

pub mod apple;
pub mod ca;
pub mod google;
mod wire;

pub use apple::Apple;
pub use ca::Ca;
pub use google::Google;
pub use wire::{Answer, Request};

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;

/// Has a command send its pushes to these, which have certificates of the authority in this file.
pub fn send_to(command: &mut Command, authority: &Path, apple: &Apple, google: &Google) {
    command
        .env("SSL_CERT_FILE", authority)
        .env_remove("SSL_CERT_DIR")
        .env("REACHABILITY_APNS_URL", apple.url())
        .env("REACHABILITY_APNS_SANDBOX_URL", apple.sandbox_url())
        .env("REACHABILITY_FCM_URL", google.url())
        .env("REACHABILITY_FCM_TOKEN_URL", google.token_url());
}

/// The header and the claims of a token; `None` if this key has not signed it.
fn verified(jwt: &str, algorithm: &'static dyn VerificationAlgorithm, public: &[u8]) -> Option<(Value, Value)> {
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    let (message, signature) = jwt.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    UnparsedPublicKey::new(algorithm, public).verify(message.as_bytes(), &decode(signature)?).ok()?;
    Some((serde_json::from_slice(&decode(header)?).ok()?, serde_json::from_slice(&decode(claims)?).ok()?))
}
