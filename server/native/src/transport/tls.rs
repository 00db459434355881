//! TLS, with a certificate that the control plane has checked.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificate that new connections get. Without a certificate TLS is off.
#[derive(Default)]
pub(crate) struct Tls(ArcSwapOption<ServerConfig>);

impl Tls {
    /// Shows this certificate to clients that connect from now on. `chain` and `key` are the contents of PEM
    /// files.
    ///
    /// # Errors
    /// `io::ErrorKind::InvalidInput`: the chain or the key cannot be read, or the key is not the key of the
    /// chain's first certificate. The former certificate stays in use.
    pub(crate) fn replace(&self, chain: &[u8], key: &[u8]) -> io::Result<()> {
        self.0.store(Some(Arc::new(config(chain, key)?)));
        Ok(())
    }

    /// Makes the TLS handshake with the next connection. `None`: TLS is off.
    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.0.load_full().map(TlsAcceptor::from)
    }
}

/// A TLS configuration that offers HTTP/2 only.
fn config(chain: &[u8], key: &[u8]) -> io::Result<ServerConfig> {
    let invalid =
        |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(&error))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| invalid(&error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| invalid(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
