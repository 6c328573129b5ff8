//! Certificates for tests, made while they run.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use reachability_domain::secret::Secret;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use uuid::Uuid;

/// The attribute of a certificate's subject with the app's bundle id: `UID`.
const UID: [u64; 7] = [0, 9, 2342, 19_200_300, 100, 1, 1];

/// A certificate authority that programs trust only if configured to.
pub struct Ca {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
    /// The host of its servers' certificates.
    names: &'static [&'static str],
    /// Whether they have expired.
    is_late: bool,
}

impl Ca {
    /// A new authority.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        // With the same name, a client could not tell which of two authorities issued a certificate.
        params.distinguished_name.push(DnType::CommonName, format!("tests {}", Uuid::new_v4()));
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key), names: &["127.0.0.1", "localhost"], is_late: false }
    }

    /// A new authority whose servers have expired certificates.
    pub fn late() -> Self {
        Self { is_late: true, ..Self::new() }
    }

    /// A new authority whose servers have certificates for another host.
    pub fn elsewhere() -> Self {
        Self { names: &["push.example.com"], ..Self::new() }
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Writes its own certificate to a file, for `SSL_CERT_FILE`.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.pem()).unwrap();
    }

    /// A certificate of an app: in PEM, followed by its key, and in DER, without the key.
    pub(crate) fn of_app(&self, topic: &str) -> (Secret, Vec<u8>) {
        self.of_app_with(topic, CertificateParams::default())
    }

    /// The same, but expired.
    pub(crate) fn of_app_late(&self, topic: &str) -> (Secret, Vec<u8>) {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(2020, 1, 1);
        self.of_app_with(topic, params)
    }

    fn of_app_with(&self, topic: &str, mut params: CertificateParams) -> (Secret, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CustomDnType(UID.to_vec()), topic);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (Secret::new(certificate.pem() + &key.serialize_pem()), certificate.der().to_vec())
    }

    /// The TLS configuration of a server that accepts clients with an app's certificate and clients without one.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(self.names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        if self.is_late {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let provider = Arc::new(default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.allow_unauthenticated().build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

impl Default for Ca {
    fn default() -> Self {
        Self::new()
    }
}
