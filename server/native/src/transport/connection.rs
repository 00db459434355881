//! One connection, from its first byte to its last.
//!
//! Two tasks serve a connection. The first owns the socket (`SocketLoop`). It repeats three steps, and waits
//! when no step can go on:
//!
//! 1. Write what the session has to send. While the client does not read and `WRITE_BYTES` wait to be written,
//!    nothing more is read from the client.
//! 2. Read up to `READ_BYTES` into the session.
//! 3. Begin the calls that these bytes have begun, `CALLS_PER_WRITE` at a time, and write the answers that
//!    came at once.
//!
//! After `READS_PER_TURN` reads the other connections of the thread have their turn.
//!
//! The second task waits for all that depends on time (`run_timers`): the handshake, signs of life, stalled
//! calls, the maximum age, and the end of the engine. When it finds that the connection must end, it aborts the
//! first task. When the first task ends, for whatever reason, `ConnectionEnd` ends the second, and wakes all
//! calls that are left.

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio_rustls::server::TlsStream;

use crate::transport::arrivals::{self, Arrivals};
use crate::transport::connection_limits::LimitCounts;
use crate::transport::context::Peer;
use crate::transport::headers::Headers;
use crate::transport::http2::fields::{HeaderFields, InitialFields};
use crate::transport::http2::session::Http2Session;
use crate::transport::http2::state::Http2Error;
use crate::transport::quota::Quota;
use crate::transport::stream::{self, RequestBody, ResponseWriter, SharedSession};

/// The largest read.
const READ_BYTES: usize = 1 << 16;
const READS_PER_TURN: usize = 2;
/// Calls that are begun before their answers are written, so that the client reads these while the next calls
/// are scored.
const CALLS_PER_WRITE: usize = 16;
/// The size of a write, and of the output that may wait while more is read from the client.
const WRITE_BYTES: usize = 1 << 16;
/// Capacity that a connection keeps for its next write.
const KEPT_BYTES: usize = 1 << 14;
// So a connection whose client has vanished ends within 80 seconds.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The share by which the age of connections varies (gRFC A9).
const AGE_JITTER: f64 = 0.1;
/// Time for a client to read how its calls ended, at the end of the engine.
pub(crate) const FINAL_READ_TIME: Duration = Duration::from_secs(1);
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

thread_local! {
    /// The buffer for reads. The session takes the bytes at once, so all connections of a thread share it.
    static READ_BUFFER: std::cell::RefCell<Box<[u8]>> = std::cell::RefCell::new(vec![0; READ_BYTES].into());
}

/// Whether the engine serves or closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// Clients are told to begin no more calls. A connection ends with its last call, and at this time at the
    /// latest.
    Closing(Instant),
}

impl Phase {
    /// When the last connections end; `None` while the engine serves.
    fn end(self) -> Option<Instant> {
        match self {
            Self::Serving => None,
            Self::Closing(end) => Some(end),
        }
    }
}

/// Waits until the engine closes. Returns when the last connections end.
pub(crate) async fn until_closing(phase: &mut watch::Receiver<Phase>) -> Instant {
    let phase = phase.wait_for(|phase| phase.end().is_some()).await;
    // The sender is dropped with the engine.
    phase.ok().and_then(|phase| phase.end()).unwrap_or_else(Instant::now)
}

/// The settings of connections, and what connections share.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionOptions {
    /// Open streams on one connection.
    pub max_streams: u32,
    /// The size of a call's headers, as HTTP/2 counts it.
    pub max_metadata_bytes: u32,
    /// The age at which a client is told to open another connection.
    pub max_age: Option<Duration>,
    /// The time for the calls of a connection to end, once it has that age.
    pub max_age_grace: Option<Duration>,
    /// The status of calls that are open at the end of the engine: the headers of a call that was not answered
    /// yet, and the trailers.
    pub closing_fields: (&'static InitialFields, HeaderFields),
    /// The time without a call after which a client is told to open another connection.
    pub max_idle: Option<Duration>,
    /// The time without progress after which a call ends: its client does not send the rest of a message, or
    /// does not read the response.
    pub max_stall: Option<Duration>,
    /// The quota of one connection, in bytes.
    pub max_bytes: usize,
    /// The quota of all connections.
    pub quota: Arc<Quota>,
    pub counts: Arc<LimitCounts>,
}

/// A call that has begun.
pub(crate) struct IncomingCall<'a> {
    pub headers: Headers<'a>,
    pub body: RequestBody,
    pub writer: ResponseWriter,
    /// The earliest time at which the call can have arrived.
    pub received: Instant,
    pub peer: &'a Arc<Peer>,
}

/// A socket that knows how many bytes wait to be read.
pub(crate) trait Unread {
    /// The number of bytes that wait to be read; 0 where it is not known.
    fn unread(&self) -> usize;
}

impl Unread for TcpStream {
    fn unread(&self) -> usize {
        rustix::io::ioctl_fionread(self).map_or(0, |count| count as usize)
    }
}

impl Unread for TlsStream<TcpStream> {
    fn unread(&self) -> usize {
        self.get_ref().0.unread()
    }
}

/// Serves a connection to its end, in a task that stays on its thread.
///
/// `begin` gets the calls that one read has begun, in groups. Their messages may have come in the same read, so
/// `begin` can answer such calls at once, and a group of answers leaves in one write.
pub(crate) async fn serve<T: AsyncRead + AsyncWrite + Unpin + Unread>(
    io: T,
    peer: Peer,
    options: &ConnectionOptions,
    phase: watch::Receiver<Phase>,
    begin: impl FnMut(&mut dyn Iterator<Item = IncomingCall<'_>>, &mut Context<'_>),
) {
    let Ok(session) = Http2Session::new(options.max_streams, options.max_metadata_bytes) else { return };
    let quota = Quota::within(&options.quota, options.max_bytes);
    let shared = Rc::new(SharedSession::new(session, quota));
    // Timers have a task of their own, so that they are not polled for every call.
    let timers = spawn_local(run_timers(shared.clone(), options.clone(), phase));
    let ending = ConnectionEnd { shared: Rc::clone(&shared), timers };
    let counts = Arc::clone(&options.counts);
    let mut socket_loop = SocketLoop {
        io,
        peer: Arc::new(peer),
        shared,
        begin,
        counts,
        arrivals: Arrivals::new(),
        output: Vec::new(),
        written: 0,
    };
    let _ = std::future::poll_fn(|cx| socket_loop.poll(cx)).await;
    if socket_loop.shared.session().is_flooded() {
        socket_loop.counts.flooded_connections.fetch_add(1, Relaxed);
    }
    drop(ending);
    // The client can still read what was sent.
    let _ = tokio::time::timeout(KEEPALIVE_TIMEOUT, socket_loop.io.shutdown()).await;
}

/// Ends what belongs to a connection when it is dropped: the timers, and all calls that wait. So a panic or an
/// abort of the connection's task leaves nothing behind.
struct ConnectionEnd {
    shared: Rc<SharedSession>,
    timers: JoinHandle<()>,
}

impl Drop for ConnectionEnd {
    fn drop(&mut self) {
        self.timers.abort();
        self.shared.session().close();
    }
}

/// Waits for all that depends on time. Ends the connection, or is aborted at its end.
async fn run_timers(shared: Rc<SharedSession>, options: ConnectionOptions, phase: watch::Receiver<Phase>) {
    tokio::select! {
        () = check_liveness(&shared) => {}
        () = shut_down(&shared, &options, phase) => {}
        () = end_stalled(&shared, &options) => {}
    }
    shared.abort();
}

/// Ends calls that make no progress. Never returns.
async fn end_stalled(shared: &SharedSession, options: &ConnectionOptions) {
    let Some(max_stall) = options.max_stall else { return std::future::pending().await };
    loop {
        tokio::time::sleep(max_stall).await;
        let ended = shared.session().end_stalled();
        options.counts.stalled_calls.fetch_add(ended, Relaxed);
        shared.wake();
    }
}

/// Returns when the connection has had no call for `max_idle`.
async fn until_idle(shared: &SharedSession, options: &ConnectionOptions) {
    let Some(max_idle) = options.max_idle else { return std::future::pending().await };
    loop {
        tokio::time::sleep(max_idle).await;
        if shared.session().is_idle() {
            options.counts.idle_connections.fetch_add(1, Relaxed);
            return;
        }
    }
}

/// Returns when the client does not send its preface in time, or does not answer a ping.
async fn check_liveness(shared: &SharedSession) {
    tokio::time::sleep(HANDSHAKE_TIMEOUT).await;
    if !shared.session().has_preface() {
        return;
    }
    loop {
        tokio::time::sleep(KEEPALIVE).await;
        shared.session().ping();
        shared.wake();
        tokio::time::sleep(KEEPALIVE_TIMEOUT).await;
        if !shared.session().is_alive() {
            return;
        }
    }
}

/// Tells the client to begin no more calls when the connection is old or idle, or the engine closes. At the end
/// of an old connection's grace, and of the engine, ends the calls that are still open. Returns when the client
/// had time to read their status.
async fn shut_down(shared: &SharedSession, options: &ConnectionOptions, mut phase: watch::Receiver<Phase>) {
    let aged = async {
        match options.max_age {
            Some(age) => tokio::time::sleep(with_jitter(age)).await,
            None => std::future::pending().await,
        }
    };
    let (reason, grace) = tokio::select! {
        _ = until_closing(&mut phase) => ("", None),
        // The reason that gRFC A9 names.
        () = aged => ("max_age", options.max_age_grace),
        () = until_idle(shared, options) => ("max_idle", None),
    };
    shared.session().shut_down(reason);
    shared.wake();
    let closed = async { tokio::time::sleep_until(until_closing(&mut phase).await.into()).await };
    match grace {
        Some(grace) => drop(tokio::time::timeout(grace, closed).await),
        None => closed.await,
    }
    shared.session().end_all(options.closing_fields.0, &options.closing_fields.1);
    shared.wake();
    tokio::time::sleep(FINAL_READ_TIME).await;
}

/// The age, up to a tenth longer or shorter at random, so that connections that began together do not end
/// together.
fn with_jitter(age: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
    age.mul_f64(1.0 - AGE_JITTER + 2.0 * AGE_JITTER * random)
}

/// The task that owns the socket, and moves bytes between the socket and the session.
struct SocketLoop<T, F> {
    io: T,
    peer: Arc<Peer>,
    shared: Rc<SharedSession>,
    begin: F,
    counts: Arc<LimitCounts>,
    arrivals: Arrivals,
    /// Bytes of the session that are to be written to the socket. The first `written` of them were.
    output: Vec<u8>,
    written: usize,
}

impl<T, F> SocketLoop<T, F>
where
    T: AsyncRead + AsyncWrite + Unpin + Unread,
    F: FnMut(&mut dyn Iterator<Item = IncomingCall<'_>>, &mut Context<'_>),
{
    /// Writes, reads and begins calls, until the connection is over.
    ///
    /// # Errors
    /// `Http2Error`: the socket fails, or the session cannot go on.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Http2Error>> {
        self.shared.set_waiting(None);
        if self.shared.is_aborted() {
            return Poll::Ready(Ok(()));
        }
        self.arrivals.mark(|| self.io.unread());
        for turn in 0.. {
            let flushed = self.poll_write(cx)?;
            if flushed.is_ready() && self.shared.session().is_over() {
                return Poll::Ready(Ok(()));
            }
            if flushed.is_pending() {
                // What the session has to send counts as output that waits.
                self.shared.session().send(&mut self.output, self.written + WRITE_BYTES)?;
                if self.output.len() - self.written >= WRITE_BYTES {
                    break;
                }
            }
            if turn == READS_PER_TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.poll_read(cx)? {
                Poll::Ready(Some(received)) => self.begin(received, cx)?,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    self.arrivals.drain();
                    break;
                }
            }
        }
        self.shared.set_waiting(Some(cx.waker()));
        Poll::Pending
    }

    /// Reads into the session. Returns the earliest time at which the bytes can have arrived; `None` where the
    /// client has closed the connection.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Instant>, Http2Error>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read)).map_err(|_| Http2Error)?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(None));
            }
            let received = self.arrivals.read(read.filled().len());
            Poll::Ready(self.shared.session().receive(read.filled()).map(|()| Some(received)))
        })
    }

    /// Begins the calls whose headers were read, in groups, and writes between the groups.
    fn begin(&mut self, received: Instant, cx: &mut Context<'_>) -> Result<(), Http2Error> {
        let blocks = self.shared.session().take_calls();
        let mut calls = blocks.iter().peekable();
        if calls.peek().is_some() {
            arrivals::mark_request();
        }
        while calls.peek().is_some() {
            let (shared, peer) = (&self.shared, &self.peer);
            let mut group = calls.by_ref().take(CALLS_PER_WRITE).filter_map(|(id, headers)| {
                // The caller may have cancelled the call in the same read.
                let open = shared.session().is_open(id);
                if headers.is_overlong() {
                    self.counts.overlong_headers.fetch_add(1, Relaxed);
                }
                open.then(|| stream::call(shared, id)).map(|(body, writer)| IncomingCall {
                    headers,
                    body,
                    writer,
                    received,
                    peer,
                })
            });
            (self.begin)(&mut group, cx);
            if calls.peek().is_some() {
                // Bytes that the socket does not take now are written later.
                let _ = self.poll_write(cx)?;
            }
        }
        drop(calls);
        self.shared.session().give_back(blocks);
        Ok(())
    }

    /// Writes all that the session has to send.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Http2Error>> {
        loop {
            while self.written < self.output.len() {
                let rest = &self.output[self.written..];
                match ready!(Pin::new(&mut self.io).poll_write(cx, rest)) {
                    Ok(count) if count > 0 => self.written += count,
                    _ => return Poll::Ready(Err(Http2Error)),
                }
            }
            self.written = 0;
            self.output.clear();
            self.shared.session().send(&mut self.output, WRITE_BYTES)?;
            if self.output.is_empty() {
                self.output.shrink_to(KEPT_BYTES);
                return Pin::new(&mut self.io).poll_flush(cx).map_err(|_| Http2Error);
            }
        }
    }
}
