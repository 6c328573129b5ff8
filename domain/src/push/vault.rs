//! The port of push credentials' secrets: checks what the owner gives, and seals what is secret of it.

use std::error::Error;

use crate::push::channel::Channel;
use crate::push::credential::{Method, Sealed};
use crate::secret::Secret;
use crate::sid::CredentialSid;
use crate::time::Timestamp;

/// What the owner gives to make a credential.
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
        /// The app's bundle id; `None` for the one in the certificate.
        topic: Option<String>,
    },
    /// A service account at Google, for FCM.
    ServiceAccount {
        /// The JSON that Google gives out.
        json: Secret,
    },
    /// A platform application of SNS, which keeps what is secret itself.
    PlatformApplication {
        /// For which channel it is to be.
        channel: Channel,
        /// Its ARN.
        arn: String,
    },
}

/// What is wrong with what was given. It never tells what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMaterial {
    /// The id of an APNs signing key.
    #[error("a key's id at Apple has 10 letters and digits")]
    KeyId,
    /// The id of a team at Apple.
    #[error("a team's id at Apple has 10 letters and digits")]
    TeamId,
    /// An app's name at Apple.
    #[error("an app's bundle id has up to 255 letters, digits, dots and hyphens, such as com.example.app")]
    Topic,
    /// A certificate that does not say for which app it is.
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
    /// Not a certificate's key.
    #[error("there is no private key (RSA or EC, not encrypted) in PEM in it")]
    PrivateKey,
    /// The key of another certificate.
    #[error("the private key is not the certificate's")]
    Mismatch,
    /// No JSON object; most likely a key of the API that FCM had before.
    #[error(
        "it is not the JSON of a service account, which is wanted: Google switched off the server keys of FCM's legacy \
         API in 2024"
    )]
    ServerKey,
    /// Another kind of JSON.
    #[error("it is not the JSON of a service account: its type is not service_account")]
    NotServiceAccount,
    /// A part of a service account.
    #[error("{0} of the service account is missing, or not what it should be")]
    Member(&'static str),
    /// A platform application's name.
    #[error(
        "it is not the ARN of a platform application for this channel, such as \
         arn:aws:sns:us-east-1:123456789012:app/APNS/name"
    )]
    PlatformApplication,
}

/// Why a vault does not take material.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It is not what it should be.
    #[error(transparent)]
    Invalid(#[from] InvalidMaterial),
    /// Platform applications are a part of AWS.
    #[error("this deployment has no platform applications")]
    NoPlatformApplications,
    /// It is fine, and cannot be sealed.
    #[error(transparent)]
    Unsealable(Box<dyn Error + Send + Sync>),
}

/// Checks material and seals what is secret of it. Only those that talk to push providers open it again.
pub trait Vault: Send + Sync {
    /// What is stored of material for this credential: how it lets us in, and its secret, sealed as this credential's.
    /// There is no secret where somebody else keeps it.
    ///
    /// # Errors
    /// [`VaultError`] says of each what it means.
    fn seal(
        &self,
        credential: CredentialSid,
        material: &Material,
        now: Timestamp,
    ) -> Result<(Method, Option<Sealed>), VaultError>;
}
