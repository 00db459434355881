//! The socket, the threads behind it, and their end.

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
use crate::transport::tls::Tls;

const BACKLOG: i32 = 4096;
/// When the process has no file left for a connection, it waits for one this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the server is told.
pub(crate) struct ServerOptions {
    /// HOST:PORT or [IPv6]:PORT.
    pub listen: String,
    /// The certificate, which may be replaced later.
    pub tls: Arc<Tls>,
    /// I/O threads.
    pub threads: usize,
    /// Threads for large batches.
    pub batch_threads: usize,
    /// The processors that the I/O threads are held on, in turn; none where it is empty.
    pub processors: Vec<usize>,
    pub connections: ConnectionOptions,
    pub connection_limits: Arc<ConnectionLimits>,
    /// Age at which a stream is ended.
    pub max_stream: Option<Duration>,
    /// The paths that the control plane answers.
    pub control: HashSet<String>,
}

/// A server that runs.
pub(crate) struct Server {
    port: u16,
    listening: watch::Sender<bool>,
    phase: watch::Sender<Phase>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    pool: Arc<Pool>,
    predictor: Arc<Predictor>,
    events: Arc<Events>,
    connection_limits: Arc<ConnectionLimits>,
}

impl Server {
    /// Binds and answers calls.
    ///
    /// # Errors
    /// The address cannot be bound, or a thread not be started.
    pub(crate) fn start(
        setup: ServerOptions,
        predictor: &Arc<Predictor>,
        events: &Arc<Events>,
    ) -> io::Result<Self> {
        let listeners = bind(&setup.listen)?;
        let port = listeners.first().map_or(Ok(0), |one| one.local_addr().map(|address| address.port()))?;
        let pool = Arc::new(Pool::new(setup.batch_threads, &predictor.backlog)?);
        predictor.scorer.observers.shadow.start(ShadowOptions {
            snapshot: Arc::clone(&predictor.snapshot),
            events: Arc::clone(events),
            failure_reason: predictor.scorer.errors.internal.reason,
            max_run: predictor.limits.max_run,
            worker: predictor.shadow_worker(),
        })?;
        let (phase, watched) = watch::channel(Phase::Serving);
        let (listening, still_listening) = watch::channel(true);
        let control = Arc::new(setup.control);
        let mut handles = Vec::new();
        let mut threads = Vec::new();
        for index in 0..setup.threads {
            let worker = Worker {
                index,
                predictor: Arc::clone(predictor),
                pool: Arc::clone(&pool),
                events: Arc::clone(events),
                control: Arc::clone(&control),
                max_stream: setup.max_stream,
            };
            let (sender, sockets) = mpsc::unbounded_channel();
            let open = Arc::new(AtomicUsize::new(0));
            handles.push(ThreadHandle { sockets: sender, open: Arc::clone(&open) });
            let thread = IoThread {
                worker: Arc::new(worker),
                sockets,
                open,
                tls: Arc::clone(&setup.tls),
                options: setup.connections.clone(),
                phase: watched.clone(),
            };
            let processor = setup.processors.get(index % setup.processors.len().max(1)).copied();
            let runtime = runtime()?;
            let builder = std::thread::Builder::new().name(format!("serve-{index}"));
            threads.push(builder.spawn(move || {
                hold_on(processor);
                // Connections and their calls stay on this thread, and end with this set. What it
                // waits for here is looked at for every call: a task's end costs the least.
                let run = async { spawn_local(thread.run()).await };
                let _ = runtime.block_on(arrivals::observed(LocalSet::new().run_until(run)));
                runtime.shutdown_background();
            })?);
        }
        let runtime = runtime()?;
        let taken = Arc::clone(&setup.connection_limits);
        let builder = std::thread::Builder::new().name("accept".into());
        let accepting =
            builder.spawn(move || runtime.block_on(accept(listeners, handles, taken, still_listening)))?;
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
            connection_limits: setup.connection_limits,
        })
    }

    /// The connections that are open.
    pub(crate) fn connection_limits(&self) -> &ConnectionLimits {
        &self.connection_limits
    }

    /// The port that was bound.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Runs a task in one of the threads for large batches.
    pub(crate) fn run(&self, task: impl FnOnce() + Send + 'static) {
        self.pool.run(task);
    }

    /// Takes no new connections, has clients begin no more calls, answers those that come nevertheless,
    /// and waits until the last is over, or the grace.
    pub(crate) fn stop(&self, grace: Duration) {
        let end = Instant::now() + grace;
        self.predictor.loading.give_up();
        self.listening.send_replace(false);
        // Before clients are told to leave, so that they do not come back by the same handle.
        if let Some(accepting) = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = accepting.join();
        }
        self.phase.send_replace(Phase::Closing(end));
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            // It has stopped already, and what runs now is another's.
            return;
        }
        for thread in threads {
            let _ = thread.join();
        }
        // Nobody waits for the runs any more, nor for one that a thread is about to begin.
        limit::stop_all(|| {
            self.pool.close();
            self.predictor.scorer.observers.shadow.close();
        });
        self.events.close();
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Holds this thread on a processor. Where that is not allowed it goes on without.
fn hold_on(processor: Option<usize>) {
    if let Some(processor) = processor {
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}

/// Listens on every address of a name, on one port.
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
    // A server that starts anew takes its port back from connections that are about to close; a
    // port in use stays an error.
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The way to one thread, and how many connections it has.
struct ThreadHandle {
    sockets: mpsc::UnboundedSender<(std::net::TcpStream, SocketAddr, ConnectionPermit)>,
    open: Arc<AtomicUsize>,
}

/// Hands each connection to a thread as long as it listens, and those that are complete by then.
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
            // A socket that closes resets the connections that nobody took from it.
            if let Ok(listener) = listener.into_std() {
                accept_rest(&listener, &connection_limits, &handles);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

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

/// Accepts the connections that are complete already.
fn accept_rest(listener: &TcpListener, connection_limits: &Arc<ConnectionLimits>, handles: &[ThreadHandle]) {
    loop {
        match listener.accept() {
            Ok((socket, address)) => hand_over(socket, address, connection_limits, handles),
            // This one was gone before its turn.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
    }
}

/// Hands a connection to the thread that has the fewest; one beyond a limit is closed.
fn hand_over(
    socket: std::net::TcpStream,
    address: SocketAddr,
    connection_limits: &Arc<ConnectionLimits>,
    handles: &[ThreadHandle],
) {
    let Some(permit) = connection_limits.enter(address.ip()) else { return };
    // Answers leave at once: a call must not wait for more bytes.
    let _ = socket.set_nodelay(true);
    let _ = socket.set_nonblocking(true);
    if let Some(handle) = handles.iter().min_by_key(|handle| handle.open.load(Relaxed)) {
        handle.open.fetch_add(1, Relaxed);
        let _ = handle.sockets.send((socket, address, permit));
    }
}

/// One thread that serves connections.
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
        // There are no more where the server no longer listens.
        loop {
            tokio::select! {
                socket = self.sockets.recv() => {
                    let Some((socket, address, permit)) = socket else { break };
                    connections.spawn_local(self.connection(socket, address, permit));
                }
                _ = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        // Connections end by themselves, unless their clients do not let them.
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
            let _leave = Leave(open, permit);
            let Ok(socket) = TcpStream::from_std(socket) else { return };
            let begin = |calls: &mut dyn Iterator<Item = IncomingCall<'_>>, cx: &mut Context<'_>| {
                dispatch::begin(&worker, calls, cx);
            };
            match tls {
                None => {
                    connection::serve(socket, Peer { address, certificate: None }, &options, phase, begin)
                        .await
                }
                Some(tls) => {
                    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(socket));
                    if let Ok(Ok(stream)) = handshake.await {
                        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                        let certificate = shown.map(|leaf| leaf.to_vec().into());
                        connection::serve(stream, Peer { address, certificate }, &options, phase, begin)
                            .await;
                    }
                }
            }
        }
    }
}

/// Counts a connection as gone when it is.
struct Leave(Arc<AtomicUsize>, #[allow(dead_code)] ConnectionPermit);

impl Drop for Leave {
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
