//! Encrypted connections.

use std::io;
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::error::Error;

/// With the certificates that the system trusts, read once.
pub(crate) fn config() -> Result<Arc<ClientConfig>, Error> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        let why = loaded.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(io::Error::other(format!("no trusted certificates: {why}")).into());
    }
    let config = trusting(roots)?;
    Ok(Arc::clone(CONFIG.get_or_init(|| config)))
}

fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Encrypts a connection to this host.
pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: String,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<S>, Error> {
    let name = ServerName::try_from(host).map_err(|error| Error::Url(error.to_string()))?;
    Ok(TlsConnector::from(config).connect(name, stream).await?)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::*;

    /// A client of a server that has a certificate for `localhost`, which the client trusts or not.
    async fn encrypted(host: &str, trusts: bool) -> Result<Vec<u8>, Error> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        roots.add(if trusts { made.cert.der().clone() } else { other.cert.der().clone() }).unwrap();

        let (near, far) = duplex(16_384);
        let serve = async {
            if let Ok(mut stream) = TlsAcceptor::from(Arc::new(server)).accept(far).await {
                stream.write_all(b"welcome").await.unwrap();
                stream.shutdown().await.unwrap();
            }
        };
        let ask = async {
            let mut stream = connect(near, host.to_owned(), trusting(roots)?).await?;
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await?;
            Ok(heard)
        };
        let ((), heard) = tokio::join!(serve, ask);
        heard
    }

    #[tokio::test]
    async fn only_a_trusted_certificate_of_the_host_is_accepted() {
        assert_eq!(encrypted("localhost", true).await.unwrap(), b"welcome");
        for (host, trusts) in [("localhost", false), ("example.com", true)] {
            let refused = encrypted(host, trusts).await;
            assert!(
                matches!(&refused, Err(Error::Io(error)) if error.to_string().contains("certificate")),
                "{refused:?}"
            );
        }
    }
}
