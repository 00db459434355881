//! The socket of a connection: TCP or a Unix socket, with or without TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;

use crate::tls::Tls;

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// The addresses that connections use in turn.
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
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
    /// Begins to connect; the poll tells of `token` when it is done. `turn` chooses among the addresses.
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
            Some(tls) => Some(Box::new(tls.connection().map_err(io::Error::other)?)),
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
