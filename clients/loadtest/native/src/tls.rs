//! TLS of connections, by rustls.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

/// Checks a server's certificate as rustls does, and also takes one that is itself among those to trust. gRPC
/// takes such a certificate, which signed itself; rustls refuses it as that of an authority.
#[derive(Debug)]
struct Verifier {
    roots: Vec<CertificateDer<'static>>,
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.inner.verify_server_cert(server, others, name, ocsp_response, now) {
            // rustls has checked its time before it finds that the certificate is that of an authority.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.roots.iter().any(|root| root == server) =>
            {
                verify_server_name(&ParsedCertificate::try_from(server)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, server, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, server, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// TLS of the connections of a run.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// Trusts `roots`, and shows the server the certificate of `identity`: its chain and its key. All are PEM.
    /// `name` is the name that the server's certificate must have.
    ///
    /// # Errors
    /// `String`: what is wrong with the certificates, the key or the name.
    pub(crate) fn new(roots: &[u8], identity: Option<(&[u8], &[u8])>, name: &str) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        let roots = CertificateDer::pem_slice_iter(roots).collect::<Result<Vec<_>, _>>();
        let roots = roots.map_err(|error| format!("the authorities to trust cannot be read: {error}"))?;
        if store.add_parsable_certificates(roots.iter().cloned()).0 == 0 {
            return Err("there is no certificate of an authority to trust".to_owned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider));
        let verifier = Verifier { roots, inner: inner.build().map_err(|error| error.to_string())? };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
                let chain = chain.map_err(|error| format!("the certificate cannot be read: {error}"))?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|error| format!("the key cannot be read: {error}"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("the certificate and the key do not go together: {error}"))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{name:?} is not the name of a host"))?;
        Ok(Self { config: Arc::new(config), name })
    }

    /// The client's side of a connection.
    ///
    /// # Errors
    /// `rustls::Error`: rustls does not take the settings.
    pub(crate) fn connection(&self) -> Result<ClientConnection, rustls::Error> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone())
    }
}
