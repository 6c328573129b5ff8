//! The deployment's vault: checks the input ([`material`]) and seals the secret ([`Seal`]).

use std::sync::Arc;

use reachability_domain::push::credential::{Method, Sealed};
use reachability_domain::push::vault::{Material, Vault, VaultError};
use reachability_domain::sid::CredentialSid;
use reachability_domain::time::Timestamp;

use crate::credentials::material;
use crate::credentials::seal::Seal;

/// Returned in functions that create no credentials: they have no key.
#[derive(Debug, thiserror::Error)]
#[error("there is no key to seal credentials with")]
struct NoKey;

/// Seals with the deployment's key.
#[derive(Debug)]
pub struct SealingVault {
    seal: Option<Arc<Seal>>,
    platform_applications: PlatformApplications,
}

/// The SNS platform applications that a deployment may use: ARNs, in which a star stands for any text. Policies of AWS mean the
/// same by it.
#[derive(Debug, Default)]
struct PlatformApplications(Vec<String>);

impl PlatformApplications {
    fn allow(&self, arn: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, arn))
    }
}

/// Whether a text is one that a pattern with stars stands for.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(after, &rest[at..]))
        }),
    }
}

impl SealingVault {
    /// Uses this seal; `None` where no credentials are created.
    pub fn new(seal: Option<Arc<Seal>>) -> Self {
        Self { seal, platform_applications: PlatformApplications::default() }
    }

    /// Accepts SNS platform applications with one of these ARNs too. There are commas between them, and a star stands for any
    /// text.
    #[must_use]
    pub fn with_platform_applications(self, arns: &str) -> Self {
        let arns = arns.split(',').map(str::trim).filter(|arn| !arn.is_empty());
        Self { platform_applications: PlatformApplications(arns.map(str::to_owned).collect()), ..self }
    }
}

impl Vault for SealingVault {
    fn seal(
        &self,
        credential: CredentialSid,
        material: &Material,
        now: Timestamp,
    ) -> Result<(Method, Option<Sealed>), VaultError> {
        let (method, secret) = match material {
            Material::ApnsKey { key_id, team_id, topic, key } => {
                material::apns_key(key_id, team_id, topic, key.expose())?
            }
            Material::ApnsCertificate { certificate, key, topic } => {
                material::apns_certificate(certificate.expose(), key.expose(), topic.as_deref(), now)?
            }
            Material::ServiceAccount { json } => material::service_account(json.expose())?,
            Material::PlatformApplication { .. } if self.platform_applications.0.is_empty() => {
                return Err(VaultError::NoPlatformApplications);
            }
            Material::PlatformApplication { channel, arn } => {
                let method = material::platform_application(*channel, arn)?;
                let is_allowed = self.platform_applications.allow(arn);
                return if is_allowed { Ok((method, None)) } else { Err(VaultError::ForeignPlatformApplication) };
            }
        };
        let seal = self.seal.as_ref().ok_or_else(|| VaultError::Unsealable(NoKey.into()))?;
        let sealed = seal.seal(credential, &secret).map_err(|error| VaultError::Unsealable(error.into()))?;
        Ok((method, Some(sealed)))
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::push::channel::Channel;
    use reachability_domain::push::vault::InvalidMaterial;
    use reachability_domain::secret::Secret;
    use reachability_domain::sid::Sid;
    use reachability_test_keys::p256;

    use super::*;

    fn signing_key(key: &str) -> Material {
        Material::ApnsKey {
            key_id: "ABC123DEFG".to_owned(),
            team_id: "DEF123GHIJ".to_owned(),
            topic: "com.example.app".to_owned(),
            key: Secret::new(key),
        }
    }

    fn platform_application(arn: &str) -> Material {
        Material::PlatformApplication { channel: Channel::Apn, arn: arn.to_owned() }
    }

    #[test]
    fn good_material_is_sealed_and_bad_material_refused() {
        let vault = SealingVault::new(Some(Arc::new(Seal::new(&Secret::new("key")))));
        let seal = |material: &Material| vault.seal(Sid::from_bits(1), material, Timestamp::default());
        let key = p256();
        let (method, sealed) = seal(&signing_key(&key)).unwrap();
        assert!(matches!(method, Method::ApnsKey { .. }));
        assert!(!sealed.unwrap().as_str().contains(key.lines().nth(1).unwrap()));
        assert!(matches!(seal(&signing_key("x")), Err(VaultError::Invalid(InvalidMaterial::SigningKey))));
    }

    #[test]
    fn without_a_key_nothing_is_sealed() {
        let error = SealingVault::new(None).seal(Sid::from_bits(1), &signing_key(&p256()), Timestamp::default());
        assert_eq!(error.unwrap_err().to_string(), "there is no key to seal credentials with");
    }

    #[test]
    fn platform_applications_need_no_key_where_there_are_any() {
        let arn = "arn:aws:sns:us-east-1:123456789012:app/APNS/my-app";
        let seal =
            |vault: SealingVault, arn| vault.seal(Sid::from_bits(1), &platform_application(arn), Timestamp::default());
        let error = seal(SealingVault::new(None), arn).unwrap_err();
        assert_eq!(error.to_string(), "this deployment has no platform applications");
        let with = |arns| SealingVault::new(None).with_platform_applications(arns);
        assert!(matches!(seal(with(" , "), arn), Err(VaultError::NoPlatformApplications)));
        assert_eq!(seal(with(arn), arn).unwrap(), (Method::PlatformApplication { arn: arn.to_owned() }, None));
        let error = seal(with("*"), "x").unwrap_err();
        assert!(matches!(error, VaultError::Invalid(InvalidMaterial::PlatformApplication)));
    }

    #[test]
    fn only_platform_applications_that_are_named_are_accepted() {
        let ours = "arn:aws:sns:us-east-1:123456789012:app/GCM/other,arn:aws:sns:us-east-1:123456789012:app/*/ours-*";
        let vault = SealingVault::new(None).with_platform_applications(ours);
        let seal = |arn: &str| vault.seal(Sid::from_bits(1), &platform_application(arn), Timestamp::default());
        for name in ["APNS/ours-", "APNS/ours-1", "APNS_SANDBOX/ours-ours-2"] {
            assert!(seal(&format!("arn:aws:sns:us-east-1:123456789012:app/{name}")).is_ok(), "{name}");
        }
        for arn in [
            "arn:aws:sns:us-east-1:123456789012:app/APNS/my-app",
            "arn:aws:sns:us-east-1:123456789012:app/APNS/ours",
            "arn:aws:sns:us-east-1:123456789012:app/APNS/not-ours-1",
            "arn:aws:sns:us-east-1:210987654321:app/APNS/ours-1",
            "arn:aws:sns:us-east-1:123456789012:app/APNS/other",
        ] {
            assert!(matches!(seal(arn), Err(VaultError::ForeignPlatformApplication)), "{arn}");
        }
    }
}
