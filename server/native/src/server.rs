//! The server: it listens, hands connections to its threads, and stops.
//!
//! One thread accepts connections. Several I/O threads serve them: a connection stays on one thread, with all
//! its calls. A pool of threads runs large batches.
//!
//! `stop` has an order:
//!
//! 1. Calls that wait for a bundle which is still loading fail.
//! 2. The listening socket closes. The connections that wait to be accepted are accepted first, since closing
//!    the socket would reset them. This comes before step 3, so that clients do not connect here again.
//! 3. Clients are told to begin no more calls. Calls that a client begins before it has read this are answered.
//! 4. Each connection ends with its last call. At the end of the grace, calls that are still open are ended, and
//!    then the connections.
//! 5. Runs of graphs are stopped, since nobody waits for them any more, and the pool and the shadow end.
//! 6. The control plane's answers are not waited for any longer.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet, spawn_local};

use crate::access::gate::Gate;
use crate::access::grant::Memo;
use crate::bridge::events::Events;
use crate::calls::{Worker, dispatch};
use crate::onnx::limit;
use crate::predict::pipeline::Predictor;
use crate::predict::pool::Pool;
use crate::predict::shadow::ShadowOptions;
use crate::transport::arrivals;
use crate::transport::connection::{
    self, ConnectionOptions, FINAL_READ_TIME, HANDSHAKE_TIMEOUT, IncomingCall, Phase,
};
use crate::transport::connection_limits::{ConnectionLimits, ConnectionPermit};
use crate::transport::context::Peer;
use crate::transport::spin::{Spin, SpinOptions};
use crate::transport::tls::Tls;

const BACKLOG: i32 = 4096;
/// The pause after a connection could not be accepted, as where the process has too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The settings of a server.
pub(crate) struct ServerOptions {
    /// HOST:PORT or [IPv6]:PORT.
    pub listen: String,
    /// The certificate. It may be replaced while the server runs.
    pub tls: Arc<Tls>,
    /// The number of I/O threads.
    pub threads: usize,
    /// The number of threads for large batches.
    pub batch_threads: usize,
    /// The processors that the I/O threads are pinned to, in turn. Empty: threads are not pinned.
    pub processors: Vec<usize>,
    /// Whether I/O threads look for events for a while before they sleep.
    pub spin: SpinOptions,
    pub connections: ConnectionOptions,
    pub connection_limits: Arc<ConnectionLimits>,
    /// Finds out who calls. `None`: everybody may call.
    pub gate: Option<Arc<Gate>>,
    /// The age at which a stream is ended.
    pub max_stream: Option<Duration>,
    /// The paths of the methods that the control plane answers.
    pub control: HashSet<String>,
}

/// A running server.
pub(crate) struct Server {
    port: u16,
    listening: watch::Sender<bool>,
    phase: watch::Sender<Phase>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    pool: Arc<Pool>,
    predictor: Arc<Predictor>,
    events: Arc<Events>,
    gate: Option<Arc<Gate>>,
    connection_limits: Arc<ConnectionLimits>,
}

impl Server {
    /// Binds the address, and starts the threads that answer calls.
    ///
    /// # Errors
    /// `io::Error`: the address cannot be bound, or a thread cannot be started.
    pub(crate) fn start(
        options: ServerOptions,
        predictor: &Arc<Predictor>,
        events: &Arc<Events>,
    ) -> io::Result<Self> {
        let listeners = bind(&options.listen)?;
        let port = listeners
            .first()
            .map_or(Ok(0), |listener| listener.local_addr().map(|address| address.port()))?;
        let pool = Arc::new(Pool::new(options.batch_threads, &predictor.backlog)?);
        predictor.scorer.observers.shadow.start(ShadowOptions {
            snapshot: Arc::clone(&predictor.snapshot),
            events: Arc::clone(events),
            failure_reason: predictor.scorer.errors.internal.reason,
            max_run: predictor.scorer.limits.max_run,
            worker: predictor.shadow_worker(),
            recording: predictor.scorer.observers.recording.clone(),
        })?;
        let (phase, watched) = watch::channel(Phase::Serving);
        let (listening, still_listening) = watch::channel(true);
        let control = Arc::new(options.control);
        let mut handles = Vec::new();
        let mut threads = Vec::new();
        for index in 0..options.threads {
            let worker = Worker {
                index,
                predictor: Arc::clone(predictor),
                pool: Arc::clone(&pool),
                events: Arc::clone(events),
                control: Arc::clone(&control),
                gate: options.gate.clone(),
                max_stream: options.max_stream,
            };
            let (sender, sockets) = mpsc::unbounded_channel();
            let open = Arc::new(AtomicUsize::new(0));
            handles.push(ThreadHandle { sockets: sender, open: Arc::clone(&open) });
            let thread = IoThread {
                worker: Arc::new(worker),
                sockets,
                open,
                tls: Arc::clone(&options.tls),
                options: options.connections.clone(),
                phase: watched.clone(),
            };
            let processor = options.processors.get(index % options.processors.len().max(1)).copied();
            let spin = options.spin.clone();
            let runtime = runtime()?;
            let builder = std::thread::Builder::new().name(format!("serve-{index}"));
            threads.push(builder.spawn(move || {
                pin_to(processor);
                // Connections and their calls are tasks of this `LocalSet`, and end with it. The future that
                // the set runs is polled for every call, so it is the cheapest: one that waits for a task.
                let run = async { spawn_local(thread.run()).await };
                let _ = runtime.block_on(arrivals::observed(LocalSet::new().run_until(run), Spin::new(spin)));
                runtime.shutdown_background();
            })?);
        }
        let runtime = runtime()?;
        let limits = Arc::clone(&options.connection_limits);
        let builder = std::thread::Builder::new().name("accept".into());
        let accepting =
            builder.spawn(move || runtime.block_on(accept(listeners, handles, limits, still_listening)))?;
        let (accepting, threads) = (Mutex::new(Some(accepting)), Mutex::new(threads));
        let (predictor, events) = (Arc::clone(predictor), Arc::clone(events));
        Ok(Self {
            port,
            listening,
            phase,
            accepting,
            threads,
            pool,
            predictor,
            events,
            gate: options.gate,
            connection_limits: options.connection_limits,
        })
    }

    /// The limits on connections, which know how many are open.
    pub(crate) fn connection_limits(&self) -> &ConnectionLimits {
        &self.connection_limits
    }

    /// The port that was bound.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Runs a task on one of the threads for large batches.
    pub(crate) fn run(&self, task: impl FnOnce() + Send + 'static) {
        self.pool.run(None, task);
    }

    /// Stops the server, in the order that the module describes. Returns when all its threads have ended. A
    /// second call has no effect.
    pub(crate) fn stop(&self, grace: Duration) {
        let end = Instant::now() + grace;
        self.predictor.loading.give_up();
        self.listening.send_replace(false);
        if let Some(accepting) = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = accepting.join();
        }
        self.phase.send_replace(Phase::Closing(end));
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            // Stopped already. Runs that go on now belong to another server.
            return;
        }
        for thread in threads {
            let _ = thread.join();
        }
        limit::stop_all(|| {
            self.pool.close();
            self.predictor.scorer.observers.shadow.close();
        });
        self.events.close();
        if let Some(gate) = &self.gate {
            gate.close();
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Pins this thread to a processor. Without the permission, the thread runs on any processor.
fn pin_to(processor: Option<usize>) {
    if let Some(processor) = processor {
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}

/// Listens on every address that a name resolves to, on the same port.
fn bind(listen: &str) -> io::Result<Vec<TcpListener>> {
    let mut port = 0;
    let mut listeners = Vec::new();
    for mut address in listen.to_socket_addrs()? {
        if port != 0 {
            address.set_port(port);
        }
        let listener = bind_one(address)?;
        port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A server that restarts can bind its port while connections of the former one still close. A port that
    // another process listens on is an error all the same.
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Hands connections to one I/O thread, and counts its open connections.
struct ThreadHandle {
    sockets: mpsc::UnboundedSender<(std::net::TcpStream, SocketAddr, ConnectionPermit)>,
    open: Arc<AtomicUsize>,
}

/// Accepts connections as long as the server listens, then those that are complete already, and hands each to an
/// I/O thread.
async fn accept(
    listeners: Vec<TcpListener>,
    handles: Vec<ThreadHandle>,
    connection_limits: Arc<ConnectionLimits>,
    listening: watch::Receiver<bool>,
) {
    let handles: Arc<[ThreadHandle]> = handles.into();
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let (handles, mut listening) = (Arc::clone(&handles), listening.clone());
        let connection_limits = Arc::clone(&connection_limits);
        tasks.spawn(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            tokio::select! {
                () = accept_all(&listener, &connection_limits, &handles) => {}
                _ = listening.wait_for(|listening| !listening) => {}
            }
            // Closing the socket resets the connections that were not accepted.
            if let Ok(listener) = listener.into_std() {
                accept_rest(&listener, &connection_limits, &handles);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Accepts connections, and never returns.
async fn accept_all(
    listener: &tokio::net::TcpListener,
    connection_limits: &Arc<ConnectionLimits>,
    handles: &[ThreadHandle],
) {
    loop {
        match listener.accept().await {
            Ok((socket, address)) => {
                if let Ok(socket) = socket.into_std() {
                    hand_over(socket, address, connection_limits, handles);
                }
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Accepts the connections that are complete already, without waiting for more.
fn accept_rest(listener: &TcpListener, connection_limits: &Arc<ConnectionLimits>, handles: &[ThreadHandle]) {
    loop {
        match listener.accept() {
            Ok((socket, address)) => hand_over(socket, address, connection_limits, handles),
            // The client has closed the connection before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
    }
}

/// Hands a connection to the thread with the fewest connections. A connection beyond a limit is closed.
fn hand_over(
    socket: std::net::TcpStream,
    address: SocketAddr,
    connection_limits: &Arc<ConnectionLimits>,
    handles: &[ThreadHandle],
) {
    let Some(permit) = connection_limits.enter(address.ip()) else { return };
    // Without Nagle's algorithm, which would hold small answers back.
    let _ = socket.set_nodelay(true);
    let _ = socket.set_nonblocking(true);
    if let Some(handle) = handles.iter().min_by_key(|handle| handle.open.load(Relaxed)) {
        handle.open.fetch_add(1, Relaxed);
        let _ = handle.sockets.send((socket, address, permit));
    }
}

/// An I/O thread: it serves the connections that it is handed.
struct IoThread {
    worker: Arc<Worker>,
    sockets: mpsc::UnboundedReceiver<(std::net::TcpStream, SocketAddr, ConnectionPermit)>,
    open: Arc<AtomicUsize>,
    tls: Arc<Tls>,
    options: ConnectionOptions,
    phase: watch::Receiver<Phase>,
}

impl IoThread {
    async fn run(mut self) {
        let mut connections = JoinSet::new();
        // The channel closes when the server no longer listens.
        loop {
            tokio::select! {
                socket = self.sockets.recv() => {
                    let Some((socket, address, permit)) = socket else { break };
                    connections.spawn_local(self.connection(socket, address, permit));
                }
                _ = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        // A connection ends by itself, but its client could delay the end for ever.
        let limit = connection::until_closing(&mut self.phase).await + 2 * FINAL_READ_TIME;
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout_at(limit.into(), ended).await;
    }

    fn connection(
        &self,
        socket: std::net::TcpStream,
        address: SocketAddr,
        permit: ConnectionPermit,
    ) -> impl Future<Output = ()> + 'static {
        let (worker, open) = (Arc::clone(&self.worker), Arc::clone(&self.open));
        let (tls, options, phase) = (self.tls.acceptor(), self.options.clone(), self.phase.clone());
        async move {
            let _open = OpenConnection(open, permit);
            let Ok(socket) = TcpStream::from_std(socket) else { return };
            let memo = Memo::default();
            let begin = |calls: &mut dyn Iterator<Item = IncomingCall<'_>>, cx: &mut Context<'_>| {
                dispatch::begin(&worker, &memo, calls, cx);
            };
            match tls {
                None => connection::serve(socket, Peer::new(address, None), &options, phase, begin).await,
                Some(tls) => {
                    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(socket));
                    if let Ok(Ok(stream)) = handshake.await {
                        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                        let certificate = leaf.map(|leaf| leaf.to_vec().into());
                        connection::serve(stream, Peer::new(address, certificate), &options, phase, begin)
                            .await;
                    }
                }
            }
        }
    }
}

/// Counts a connection of a thread as open until this is dropped.
struct OpenConnection(Arc<AtomicUsize>, #[allow(dead_code)] ConnectionPermit);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_wait_when_the_server_stops_are_handed_over() {
        let listeners = bind("127.0.0.1:0").unwrap();
        let address = listeners[0].local_addr().unwrap();
        let clients: Vec<_> = (0..100).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let (sockets, mut taken) = mpsc::unbounded_channel();
        let open = Arc::new(AtomicUsize::new(0));
        let (_, listening) = watch::channel(false);
        let connection_limits = ConnectionLimits::new(0, 0, Arc::default());
        runtime().unwrap().block_on(accept(
            listeners,
            vec![ThreadHandle { sockets, open }],
            connection_limits,
            listening,
        ));
        let count = std::iter::from_fn(|| taken.blocking_recv()).count();
        assert_eq!(count, clients.len());
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
