//! One connection: its socket, its session of HTTP/2, and the calls on it.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;

use mio::{Registry, Token};

use crate::http2::session::{RequestFields, Session};
use crate::settings::Settings;
use crate::socket::Socket;
use crate::tally::Call;

/// About the most bytes that are written or read at a time.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// Who gets what comes on a stream of HTTP/2.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner {
    /// A unary call.
    Call(Call),
    /// The lane of a stream of messages.
    Lane(usize),
}

/// The connection is over; why.
pub(crate) struct BrokenError(pub(crate) String);

/// What a read has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// Bytes, and there may be more.
    Some,
    /// Bytes, and they were all.
    All,
    Nothing,
}

/// A connection. Without a socket, its calls wait for the next attempt to connect.
pub(crate) struct Connection {
    /// Which of the run's connections it is.
    pub(crate) index: usize,
    pub(crate) session: Session<Owner>,
    socket: Option<Socket>,
    connect_ns: u64,
    /// Whether another connection takes the new calls.
    pub(crate) is_retired: bool,
    /// Whether frames of HTTP/2 have come.
    pub(crate) has_received: bool,
    /// Whether there may be something to write.
    pub(crate) is_dirty: bool,
    outgoing: Vec<u8>,
    written: usize,
    /// The unary calls and when they time out, in the order in which they were made.
    deadlines: VecDeque<(i32, u64)>,
}

impl Connection {
    /// A connection that is made at `connect_ns`.
    ///
    /// # Errors
    /// `BrokenError`: there is no memory for the session.
    pub(crate) fn new(
        index: usize,
        fields: &Arc<RequestFields>,
        max_message_bytes: usize,
        connect_ns: u64,
    ) -> Result<Self, BrokenError> {
        let session = Session::new(Arc::clone(fields), max_message_bytes);
        Ok(Self {
            index,
            session: session.map_err(|_| BrokenError("there is no memory for a connection".to_owned()))?,
            socket: None,
            connect_ns,
            is_retired: false,
            has_received: false,
            is_dirty: false,
            outgoing: Vec::new(),
            written: 0,
            deadlines: VecDeque::new(),
        })
    }

    /// Begins to connect, if there is no socket and it is time.
    ///
    /// # Errors
    /// `BrokenError`: the system refuses.
    pub(crate) fn connect(
        &mut self,
        now_ns: u64,
        settings: &Settings,
        registry: &Registry,
        token: Token,
    ) -> Result<(), BrokenError> {
        if self.socket.is_none() && now_ns >= self.connect_ns {
            let tls = settings.tls.as_ref();
            let socket = Socket::connect(&settings.address, self.index, tls, registry, token);
            self.socket = Some(socket.map_err(|error| BrokenError(error.to_string()))?);
        }
        Ok(())
    }

    /// The socket, once the connection stands.
    fn connected(&mut self) -> Result<Option<&mut Socket>, BrokenError> {
        let Some(socket) = &mut self.socket else { return Ok(None) };
        match socket.is_connected() {
            Ok(connected) => Ok(connected.then_some(socket)),
            Err(error) => Err(BrokenError(format!("the server cannot be reached: {error}"))),
        }
    }

    /// Makes a unary call.
    ///
    /// # Errors
    /// `Call`: the session takes no more calls.
    pub(crate) fn call(&mut self, call: Call, message: bytes::Bytes) -> Result<(), Call> {
        let id = self.session.call(Owner::Call(call), message).map_err(|_| call)?;
        self.deadlines.push_back((id, call.deadline_ns));
        Ok(())
    }

    /// Takes the unary calls whose time is over.
    pub(crate) fn expire(&mut self, now_ns: u64, expired: &mut Vec<Call>) {
        while let Some((id, deadline_ns)) = self.deadlines.front().copied() {
            if deadline_ns > now_ns && self.session.is_open(id) {
                break;
            }
            self.deadlines.pop_front();
            if deadline_ns <= now_ns
                && let Some(Owner::Call(call)) = self.session.reset(id)
            {
                expired.push(call);
            }
        }
    }

    /// Reads once. Whether it succeeds or not, the session may have events.
    ///
    /// # Errors
    /// `BrokenError`: the connection is over.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Read, BrokenError> {
        let Some(socket) = self.connected()? else { return Ok(Read::Nothing) };
        let at_once = socket.reads_all_at_once();
        let length = match socket.read(buffer) {
            Ok(0) => return Err(BrokenError("the server closed the connection".to_owned())),
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => return Ok(Read::Nothing),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted) => return Ok(Read::Some),
            Err(error) => return Err(BrokenError(format!("the connection broke: {error}"))),
        };
        let received = self.session.receive(&buffer[..length]);
        received.map_err(|_| BrokenError("the server does not speak HTTP/2".to_owned()))?;
        self.has_received = true;
        Ok(if at_once && length < buffer.len() { Read::All } else { Read::Some })
    }

    /// Writes what waits to be written, as far as the server reads it. The session may have events.
    ///
    /// # Errors
    /// `BrokenError`: the connection is over.
    pub(crate) fn flush(&mut self) -> Result<(), BrokenError> {
        self.is_dirty = false;
        if self.connected()?.is_none() {
            return Ok(());
        }
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let broken = |error: std::io::Error| BrokenError(format!("the connection broke: {error}"));
        loop {
            if self.written == self.outgoing.len() {
                self.outgoing.clear();
                self.written = 0;
                let sent = self.session.send(&mut self.outgoing, CHUNK_BYTES);
                sent.map_err(|_| BrokenError("the session of HTTP/2 is over".to_owned()))?;
                if self.outgoing.is_empty() {
                    if self.session.is_over() {
                        return Err(BrokenError("the server broke the rules of HTTP/2".to_owned()));
                    }
                    break;
                }
            }
            match socket.write(&self.outgoing[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => return Ok(()),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted) => {}
                Err(error) => return Err(broken(error)),
            }
        }
        match socket.flush() {
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock) => Err(broken(error)),
            _ => Ok(()),
        }
    }

    /// Takes the connection off the poll.
    pub(crate) fn close(&mut self, registry: &Registry) {
        if let Some(mut socket) = self.socket.take() {
            socket.deregister(registry);
        }
    }
}
