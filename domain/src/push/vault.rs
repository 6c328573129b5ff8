//! The port that validates and seals the secrets of push credentials.

use std::error::Error;

use crate::push::channel::Channel;
use crate::push::credential::{Method, Sealed};
use crate::secret::Secret;
use crate::sid::CredentialSid;
use crate::time::Timestamp;

/// The input for a new credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    /// An APNs signing key (p8).
    ApnsKey {
        /// The key's id at Apple.
        key_id: String,
        /// The owner's team at Apple.
        team_id: String,
        /// The app's bundle id.
        topic: String,
        /// The key as PEM.
        key: Secret,
    },
    /// An APNs certificate.
    ApnsCertificate {
        /// The certificate as PEM. Some tools export it together with its key.
        certificate: Secret,
        /// Its key as PEM.
        key: Secret,
        /// The app's bundle id; `None` to use the one in the certificate.
        topic: Option<String>,
    },
    /// A service account at Google, for FCM.
    ServiceAccount {
        /// The JSON file from Google.
        json: Secret,
    },
    /// An SNS platform application. SNS keeps the secret.
    PlatformApplication {
        /// The expected channel.
        channel: Channel,
        /// The application's ARN.
        arn: String,
    },
}

/// Why the input is invalid. It never contains the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMaterial {
    /// Malformed id of an APNs signing key.
    #[error("a key's id at Apple has 10 letters and digits")]
    KeyId,
    /// Malformed team id.
    #[error("a team's id at Apple has 10 letters and digits")]
    TeamId,
    /// Malformed bundle id.
    #[error("an app's bundle id has up to 255 letters, digits, dots and hyphens, such as com.example.app")]
    Topic,
    /// A topic of pushes that are no alerts.
    #[error(
        "a topic that ends in .voip, .complication and the like is for pushes of other types: give the bundle id itself"
    )]
    TopicOfAnotherType,
    /// A certificate that does not name its app.
    #[error("the certificate's subject has no UID, so the app's bundle id is wanted")]
    NoTopic,
    /// Not an APNs signing key.
    #[error("it is not an APNs signing key: a P-256 key as PKCS #8 in PEM, which is what Apple's .p8 file has in it")]
    SigningKey,
    /// Not a certificate.
    #[error("there is no X.509 certificate in PEM in it")]
    Certificate,
    /// A certificate that is not valid yet.
    #[error("the certificate is not valid before {}", .0.to_seconds())]
    NotYetValid(Timestamp),
    /// A certificate that is no longer valid.
    #[error("the certificate ended at {}", .0.to_seconds())]
    Expired(Timestamp),
    /// Not a certificate's private key.
    #[error("there is no private key (RSA or EC, not encrypted) in PEM in it")]
    PrivateKey,
    /// The key belongs to another certificate.
    #[error("the private key is not the certificate's")]
    Mismatch,
    /// Not a JSON object; most likely a server key for FCM's legacy API.
    #[error(
        "it is not the JSON of a service account, which is wanted: Google switched off the server keys of FCM's legacy \
         API in 2024"
    )]
    ServerKey,
    /// JSON of another type.
    #[error("it is not the JSON of a service account: its type is not service_account")]
    NotServiceAccount,
    /// A missing or malformed member of a service account.
    #[error("{0} of the service account is missing or invalid")]
    Member(&'static str),
    /// Malformed ARN, or an ARN for another channel.
    #[error(
        "it is not the ARN of a platform application for this channel, such as \
         arn:aws:sns:us-east-1:123456789012:app/APNS/name"
    )]
    PlatformApplication,
}

/// Why a vault rejects the input.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The input is invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidMaterial),
    /// The deployment may use no platform applications. They exist only on AWS.
    #[error("this deployment has no platform applications")]
    NoPlatformApplications,
    /// A platform application that the deployment may not use.
    #[error(
        "this deployment may not use this platform application: the parameter PlatformApplications of its template names \
         those that it may use"
    )]
    ForeignPlatformApplication,
    /// The input is valid, but sealing failed.
    #[error(transparent)]
    Unsealable(Box<dyn Error + Send + Sync>),
}

/// Validates input for credentials and seals the secrets. Only the components that call push providers unseal them.
pub trait Vault: Send + Sync {
    /// Validates the input, and returns the authentication method and the secret sealed for this credential. The secret
    /// is `None` if SNS keeps it.
    ///
    /// # Errors
    /// See the variants of [`VaultError`].
    fn seal(
        &self,
        credential: CredentialSid,
        material: &Material,
        now: Timestamp,
    ) -> Result<(Method, Option<Sealed>), VaultError>;
}
