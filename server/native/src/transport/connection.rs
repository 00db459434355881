//! One connection: its handshake, its calls, its end.

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

use crate::transport::arrivals::Arrivals;
use crate::transport::connection_limits::LimitCounts;
use crate::transport::context::Peer;
use crate::transport::headers::Headers;
use crate::transport::http2::fields::{HeaderFields, InitialFields};
use crate::transport::http2::session::Http2Session;
use crate::transport::http2::state::Http2Error;
use crate::transport::quota::Quota;
use crate::transport::stream::{self, RequestBody, ResponseWriter, SharedSession};

/// What one read takes; all calls in it are answered before the next.
const READ_BYTES: usize = 1 << 16;
/// Reads after which the other connections of the thread have their turn.
const READS_PER_TURN: usize = 2;
/// Calls after which their answers leave, so that the client reads them while the next are scored.
const CALLS_PER_WRITE: usize = 16;
/// What one write gives, and what a client that does not read may have waiting before nothing more
/// is read from it.
const WRITE_BYTES: usize = 1 << 16;
/// Room that a connection keeps for its next write.
const KEPT_BYTES: usize = 1 << 14;
// Connections whose other end went away are found within 80 seconds.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The share by which gRFC A9 spreads the age of connections.
const AGE_JITTER: f64 = 0.1;
/// Time for a client to read how its calls end, when the engine does.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

thread_local! {
    /// What has been read is taken at once, so one place serves all connections of a thread.
    static READ: std::cell::RefCell<Box<[u8]>> = std::cell::RefCell::new(vec![0; READ_BYTES].into());
}

/// How far the engine is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// Clients are told to begin no more calls. Connections end with their last one, and at this time.
    Closing(Instant),
}

impl Phase {
    /// When the last connection ends; None while the engine serves.
    fn end(self) -> Option<Instant> {
        match self {
            Self::Serving => None,
            Self::Closing(end) => Some(end),
        }
    }
}

/// Waits until clients are to begin no more calls; when the last connection ends.
pub(crate) async fn closing(phase: &mut watch::Receiver<Phase>) -> Instant {
    let phase = phase.wait_for(|phase| phase.end().is_some()).await;
    // Without its sender there is no engine any more.
    phase.ok().and_then(|phase| phase.end()).unwrap_or_else(Instant::now)
}

/// What connections are told.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionOptions {
    pub max_streams: u32,
    /// Bytes of the metadata that a call begins with, as HTTP/2 counts them.
    pub max_metadata_bytes: u32,
    /// Age at which a client is told to connect anew.
    pub max_age: Option<Duration>,
    /// How calls end that are open when the engine does: the head where it was not sent, and trailers.
    pub closing_fields: (&'static InitialFields, HeaderFields),
    /// Time without a call after which it is told so, too.
    pub max_idle: Option<Duration>,
    /// Time after which a message that does not go on, and an answer that nobody takes, is given up.
    pub max_stall: Option<Duration>,
    /// Of the bytes that one connection holds.
    pub max_bytes: usize,
    pub quota: Arc<Quota>,
    pub counts: Arc<LimitCounts>,
}

/// A call that begins.
pub(crate) struct IncomingCall<'a> {
    pub headers: Headers<'a>,
    pub body: RequestBody,
    pub writer: ResponseWriter,
    /// The earliest time at which it can have come.
    pub received: Instant,
    pub peer: &'a Arc<Peer>,
}

/// A socket that says how many bytes wait to be read.
pub(crate) trait Unread {
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

/// Serves a connection to its end, on a thread whose tasks stay on it. `begin` is given calls that came
/// together, as soon as all that came with them has been read; answers that it gives at once leave in
/// few writes.
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
    // In a task of its own: what it waits for need not be looked at for every call.
    let timers = spawn_local(keep(shared.clone(), options.clone(), phase));
    let ending = ConnectionEnd { shared: Rc::clone(&shared), timers };
    let counts = Arc::clone(&options.counts);
    let mut socket_loop = SocketLoop {
        io,
        peer: Arc::new(peer),
        shared,
        begin,
        counts,
        arrivals: Arrivals::new(),
        unsent: Vec::new(),
        sent: 0,
    };
    let _ = std::future::poll_fn(|cx| socket_loop.poll(cx)).await;
    if socket_loop.shared.session().is_flooded() {
        socket_loop.counts.flooded_connections.fetch_add(1, Relaxed);
    }
    drop(ending);
    // The client reads to the end what was sent before it.
    let _ = tokio::time::timeout(KEEPALIVE_TIMEOUT, socket_loop.io.shutdown()).await;
}

/// Has all that belongs to a connection end with it, however it ends: a panic or an abort of its task
/// leaves no call that waits and no timers.
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

/// Does with a connection what time asks for; it ends the connection or is ended with it.
async fn keep(shared: Rc<SharedSession>, options: ConnectionOptions, phase: watch::Receiver<Phase>) {
    tokio::select! {
        () = attend(&shared) => {}
        () = close(&shared, &options, phase) => {}
        () = end_stalled(&shared, &options) => {}
    }
    shared.give_up();
}

/// Ends calls that do not go on; never ends itself.
async fn end_stalled(shared: &SharedSession, options: &ConnectionOptions) {
    let Some(max_stall) = options.max_stall else { return std::future::pending().await };
    loop {
        tokio::time::sleep(max_stall).await;
        let ended = shared.session().end_stalled();
        options.counts.stalled_calls.fetch_add(ended, Relaxed);
        shared.wake();
    }
}

/// Ends when the connection has had no call for some time.
async fn idle(shared: &SharedSession, options: &ConnectionOptions) {
    let Some(max_idle) = options.max_idle else { return std::future::pending().await };
    loop {
        tokio::time::sleep(max_idle).await;
        if shared.session().is_idle() {
            options.counts.idle_connections.fetch_add(1, Relaxed);
            return;
        }
    }
}

/// Ends when the client does not greet, or no longer gives signs of life.
async fn attend(shared: &SharedSession) {
    tokio::time::sleep(HANDSHAKE_TIMEOUT).await;
    if !shared.session().is_greeted() {
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

/// Tells the client, in due course, to begin no more calls. Ends some time after the engine's end, when
/// the calls that were still open have been told.
async fn close(shared: &SharedSession, options: &ConnectionOptions, mut phase: watch::Receiver<Phase>) {
    let aged = async {
        match options.max_age {
            Some(age) => tokio::time::sleep(spread(age)).await,
            None => std::future::pending().await,
        }
    };
    let reason = tokio::select! {
        _ = closing(&mut phase) => "",
        // As gRFC A9 has it.
        () = aged => "max_age",
        () = idle(shared, options) => "max_idle",
    };
    shared.session().shut_down(reason);
    shared.wake();
    tokio::time::sleep_until(closing(&mut phase).await.into()).await;
    shared.session().end_all(options.closing_fields.0, &options.closing_fields.1);
    shared.wake();
    tokio::time::sleep(LAST_WORDS).await;
}

/// An age up to a tenth longer or shorter, at random: connections that began together do not end
/// together.
fn spread(age: Duration) -> Duration {
    let drawn = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
    age.mul_f64(1.0 - AGE_JITTER + 2.0 * AGE_JITTER * drawn)
}

/// The socket and the session behind it.
struct SocketLoop<T, F> {
    io: T,
    peer: Arc<Peer>,
    shared: Rc<SharedSession>,
    begin: F,
    counts: Arc<LimitCounts>,
    arrivals: Arrivals,
    /// What was to be written, and how much of it was.
    unsent: Vec<u8>,
    sent: usize,
}

impl<T, F> SocketLoop<T, F>
where
    T: AsyncRead + AsyncWrite + Unpin + Unread,
    F: FnMut(&mut dyn Iterator<Item = IncomingCall<'_>>, &mut Context<'_>),
{
    /// Reads, answers and writes, until the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Http2Error>> {
        self.shared.set_idle(None);
        if self.shared.is_given_up() {
            return Poll::Ready(Ok(()));
        }
        self.arrivals.mark(|| self.io.unread());
        for turn in 0.. {
            let written = self.poll_write(cx)?;
            if written.is_ready() && self.shared.session().is_over() {
                return Poll::Ready(Ok(()));
            }
            if written.is_pending() {
                // What the session has counts against what may wait.
                self.shared.session().send(&mut self.unsent, self.sent + WRITE_BYTES)?;
                if self.unsent.len() - self.sent >= WRITE_BYTES {
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
        self.shared.set_idle(Some(cx.waker()));
        Poll::Pending
    }

    /// Takes what is there, and says since when it may have been; None at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Instant>, Http2Error>> {
        READ.with_borrow_mut(|room| {
            let mut read = ReadBuf::new(room);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read)).map_err(|_| Http2Error)?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(None));
            }
            let received = self.arrivals.read(read.filled().len());
            Poll::Ready(self.shared.session().receive(read.filled()).map(|()| Some(received)))
        })
    }

    /// Begins the calls that have been read.
    fn begin(&mut self, received: Instant, cx: &mut Context<'_>) -> Result<(), Http2Error> {
        let begun = self.shared.session().begun();
        let mut calls = begun.iter().peekable();
        while calls.peek().is_some() {
            let (shared, peer) = (&self.shared, &self.peer);
            let mut together = calls.by_ref().take(CALLS_PER_WRITE).filter_map(|(id, headers)| {
                // A caller may be gone already.
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
            (self.begin)(&mut together, cx);
            if calls.peek().is_some() {
                // What cannot be written yet is written later.
                let _ = self.poll_write(cx)?;
            }
        }
        drop(calls);
        self.shared.session().give_back(begun);
        Ok(())
    }

    /// Writes all that the session has.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Http2Error>> {
        loop {
            while self.sent < self.unsent.len() {
                let rest = &self.unsent[self.sent..];
                match ready!(Pin::new(&mut self.io).poll_write(cx, rest)) {
                    Ok(count) if count > 0 => self.sent += count,
                    _ => return Poll::Ready(Err(Http2Error)),
                }
            }
            self.sent = 0;
            self.unsent.clear();
            self.shared.session().send(&mut self.unsent, WRITE_BYTES)?;
            if self.unsent.is_empty() {
                self.unsent.shrink_to(KEPT_BYTES);
                return Pin::new(&mut self.io).poll_flush(cx).map_err(|_| Http2Error);
            }
        }
    }
}
