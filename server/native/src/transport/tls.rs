//! TLS, with certificates that the control plane has checked.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// What TLS needs, as the contents of PEM files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TlsFiles<'a> {
    /// The certificate that the server shows, and those between it and its authority.
    pub chain: &'a [u8],
    pub key: &'a [u8],
    /// The authorities of clients' certificates. `None`: clients are not asked for a certificate.
    pub client_ca: Option<&'a [u8]>,
    /// The revocation lists of these authorities.
    pub client_crl: Option<&'a [u8]>,
}

/// The certificate that new connections get. Without a certificate TLS is off.
#[derive(Default)]
pub(crate) struct Tls(ArcSwapOption<ServerConfig>);

impl Tls {
    /// Shows this certificate to clients that connect from now on, and verifies theirs.
    ///
    /// # Errors
    /// `io::ErrorKind::InvalidInput`: a file cannot be read, or the key is not the key of the chain's first
    /// certificate. The former configuration stays in use.
    pub(crate) fn replace(&self, files: TlsFiles<'_>) -> io::Result<()> {
        self.0.store(Some(Arc::new(config(files)?)));
        Ok(())
    }

    /// Makes the TLS handshake with the next connection. `None`: TLS is off.
    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.0.load_full().map(TlsAcceptor::from)
    }
}

/// A TLS configuration that offers HTTP/2 only.
fn config(files: TlsFiles<'_>) -> io::Result<ServerConfig> {
    let chain = all_of::<CertificateDer<'static>>(files.chain)?;
    let key = PrivateKeyDer::from_pem_slice(files.key).map_err(invalid)?;
    let provider = Arc::new(ring::default_provider());
    let verifier = match files.client_ca {
        Some(authorities) => client_verifier(authorities, files.client_crl, &provider)?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    // The provider's cipher suites have forward secrecy and authenticated encryption, in both versions.
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .and_then(|builder| builder.with_client_cert_verifier(verifier).with_single_cert(chain, key))
        .map_err(invalid)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    if files.client_ca.is_some() {
        // A session that is resumed keeps its client's certificate and does not verify it again, even once it
        // has expired.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// Verifies the certificates of clients, which may also show none: then their calls need a token. A certificate
/// of an authority without a revocation list is not revoked. A list counts also after the time of its next update.
fn client_verifier(
    authorities: &[u8],
    revocation_lists: Option<&[u8]>,
    provider: &Arc<CryptoProvider>,
) -> io::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for authority in all_of::<CertificateDer<'static>>(authorities)? {
        roots.add(authority).map_err(invalid)?;
    }
    let lists = all_of::<CertificateRevocationListDer<'static>>(revocation_lists.unwrap_or_default())?;
    WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider))
        .with_crls(lists)
        .only_check_end_entity_revocation()
        .allow_unknown_revocation_status()
        .allow_unauthenticated()
        .build()
        .map_err(invalid)
}

/// All parts of one kind in a PEM file.
fn all_of<T: PemObject>(pem: &[u8]) -> io::Result<Vec<T>> {
    T::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(invalid)
}

fn invalid(error: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
}
