//! The socket of a connection: TCP or a Unix socket, with or without TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// The addresses of one host, which connections use in turn.
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
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
        if store.add_parsable_certificates(roots).0 == 0 {
            return Err("there is no certificate of an authority to trust".to_owned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(store);
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
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket that never blocks.
pub(crate) struct Socket {
    stream: Stream,
    tls: Option<Box<ClientConnection>>,
    connected: bool,
}

impl Socket {
    /// Begins to connect; the poll tells of `token` when it is done. `turn` chooses among the addresses of a
    /// host.
    ///
    /// # Errors
    /// `io::Error`: the system refuses.
    pub(crate) fn connect(
        address: &Address,
        turn: usize,
        tls: Option<&Tls>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut stream = match address {
            Address::Tcp(addresses) => {
                let address = addresses.get(turn % addresses.len().max(1));
                let stream = TcpStream::connect(*address.ok_or(ErrorKind::AddrNotAvailable)?)?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        let tls = match tls {
            None => None,
            Some(Tls { config, name }) => {
                let connection = ClientConnection::new(Arc::clone(config), name.clone());
                Some(Box::new(connection.map_err(io::Error::other)?))
            }
        };
        registry.register(stream.source(), token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, tls, connected: false })
    }

    /// Whether the connection stands. `Ok(false)`: not yet.
    ///
    /// # Errors
    /// `io::Error`: the server cannot be reached.
    pub(crate) fn is_connected(&mut self) -> io::Result<bool> {
        if self.connected {
            return Ok(true);
        }
        let (error, peer) = match &self.stream {
            Stream::Tcp(stream) => (stream.take_error()?, stream.peer_addr().map(|_| ())),
            Stream::Unix(stream) => (stream.take_error()?, stream.peer_addr().map(|_| ())),
        };
        if let Some(error) = error {
            return Err(error);
        }
        match peer {
            Ok(()) => self.connected = true,
            Err(error) if error.kind() == ErrorKind::NotConnected => {}
            Err(error) => return Err(error),
        }
        Ok(self.connected)
    }

    /// Reads what has come. `Ok(0)`: the server has closed the connection.
    ///
    /// # Errors
    /// `io::Error`: `WouldBlock` where nothing has come, else the connection is broken.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.read(buffer),
            Some(tls) => {
                let read = rustls::Stream::new(&mut **tls, &mut self.stream).read(buffer);
                if !tls.is_handshaking() && tls.alpn_protocol() != Some(b"h2") {
                    return Err(io::Error::other("the server's TLS does not offer HTTP/2"));
                }
                read
            }
        }
    }

    /// Whether a read that does not fill the buffer has read all that came.
    pub(crate) fn reads_all_at_once(&self) -> bool {
        self.tls.is_none()
    }

    /// Writes some of the bytes.
    ///
    /// # Errors
    /// `io::Error`: `WouldBlock` where the server reads too slowly, else the connection is broken.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.write(bytes),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).write(bytes),
        }
    }

    /// Writes what TLS has kept of bytes that were written.
    ///
    /// # Errors
    /// As `write`.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => Ok(()),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).flush(),
        }
    }

    /// Takes the socket off the poll.
    pub(crate) fn deregister(&mut self, registry: &Registry) {
        // Closing the socket does the same, so that a failure changes nothing.
        let _ = registry.deregister(self.stream.source());
    }
}
