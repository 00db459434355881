//! The engine as Python holds it.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::access::gate::Gate;
use crate::access::meters::Meters;
use crate::bridge::events::{Command, Events};
use crate::bridge::panics;
use crate::counts::{self, CallSums, CountRegistry, RouteSums, VersionSums};
use crate::encodings::typed_schema::TypedService;
use crate::predict::backlog::Backlog;
use crate::predict::budget::Budgets;
use crate::predict::counting::Counting;
use crate::predict::loading::Loading;
use crate::predict::observers::Observers;
use crate::predict::pipeline::Predictor;
use crate::predict::recording::Recording;
use crate::predict::scoring::{Limits, Scorer};
use crate::predict::shadow::ShadowLane;
use crate::python::access::{self, AccessParts, PrincipalSums, TableParts};
use crate::python::connection_parts::ConnectionParts;
use crate::python::errors::{FailureParts, FixedParts, rpc_error};
use crate::python::events::event_tuple;
use crate::python::recording::{
    self, ChoiceParts, HeadParts, NameParts, PySource, RecordParts, RecordSums, RowParts, SourceParts,
};
use crate::python::tracing::{self, PyTracer, TraceParts};
use crate::python::version::{PyVersion, VersionParts, version};
use crate::routing::snapshot::{Origin, Route, Shadow, Snapshot, Target};
use crate::server::{Server, ServerOptions};
use crate::statistics::{BOUNDS, MethodCounts};
use crate::transport::connection_limits::{ConnectionLimits, LimitCounts};
use crate::transport::quota::Quota;
use crate::transport::spin::SpinOptions;
use crate::transport::tls::{Tls, TlsFiles};

/// What an engine may take, and how it counts.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct EngineParts {
    max_rows: u32,
    max_in_flight: usize,
    max_message_bytes: usize,
    max_run_seconds: f64,
    max_buffered_bytes: usize,
    /// I/O threads.
    threads: usize,
    /// Upper bounds of the histograms.
    bounds_ns: [u64; BOUNDS],
    /// `None`: predictions are not recorded.
    records: Option<RecordParts>,
    /// `None`: no call is traced.
    traces: Option<TraceParts>,
    /// `None`: everybody may call.
    access: Option<AccessParts>,
}

/// Version, weight, seed, and of what is recorded the choice.
#[derive(FromPyObject)]
struct TargetParts<'py>(PyRef<'py, PyVersion>, u32, u64, Option<ChoiceParts<'py>>);

/// Version, share, and of what is recorded the choice.
#[derive(FromPyObject)]
struct ShadowParts<'py>(PyRef<'py, PyVersion>, f64, Option<ChoiceParts<'py>>);

/// Model, name, targets, and the shadow.
#[derive(FromPyObject)]
struct RouteParts<'py>(String, String, Vec<TargetParts<'py>>, Option<ShadowParts<'py>>);

/// The threads for large batches, the processors that I/O threads are pinned to, and the longest time that an I/O
/// thread spins.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct ThreadParts {
    batch_threads: usize,
    processors: Vec<usize>,
    spin_us: u64,
}

/// The engine.
#[pyclass(frozen)]
pub(crate) struct Engine {
    predictor: Arc<Predictor>,
    events: Arc<Events>,
    tls: Arc<Tls>,
    server: OnceLock<Server>,
    limits: Arc<LimitCounts>,
    counts: CountRegistry,
    tracer: Option<PyTracer>,
    gate: Option<Arc<Gate>>,
    meters: Meters,
}

#[pymethods]
impl Engine {
    /// `fixed` has the errors that are always the same.
    #[new]
    fn new(parts: EngineParts, fixed: FixedParts) -> PyResult<Self> {
        let events = Arc::new(Events::new().map_err(|error| PyOSError::new_err(error.to_string()))?);
        panics::report_to(&events);
        let max_run = Duration::from_secs_f64(parts.max_run_seconds);
        let workers = Predictor::workers(parts.threads);
        // The threads for large batches share a writer.
        let shared = parts.threads;
        let recording = parts.records.map(|records| recording::start(&records, workers, shared));
        let recording = recording.transpose()?.map(Arc::new);
        let counting = Counting {
            bounds: parts.bounds_ns,
            unrouted: (0..workers).map(|_| MethodCounts::default()).collect(),
        };
        let tracer = parts.traces.map(TraceParts::tracer);
        let predictor = Predictor {
            snapshot: Arc::default(),
            scorer: Scorer {
                errors: fixed.fixed()?,
                observers: Observers { counting, shadow: ShadowLane::default(), recording },
                limits: Limits {
                    max_rows: parts.max_rows,
                    max_message_bytes: parts.max_message_bytes,
                    max_run,
                },
                events: Arc::clone(&events),
            },
            budgets: Budgets::new(parts.max_in_flight),
            backlog: Arc::new(Backlog::new()),
            quota: Quota::new(parts.max_buffered_bytes),
            streams: 0.into(),
            loading: Loading::default(),
            tracer: tracer.as_ref().map(|tracer| Arc::clone(&tracer.tracer)),
            io_threads: parts.threads,
        };
        let gate = parts.access.map(|access| Arc::new(access.gate(&events)));
        Ok(Self {
            predictor: Arc::new(predictor),
            events,
            tls: Arc::default(),
            server: OnceLock::new(),
            limits: Arc::default(),
            counts: CountRegistry::new(workers),
            tracer,
            gate,
            meters: Meters::new(parts.threads, workers),
        })
    }

    /// Shows a certificate, its chain and its key as PEM, to clients that connect from now on. Verifies theirs by
    /// the authorities and the revocation lists of `client_ca` and `client_crl`.
    fn use_certificate(
        &self,
        chain: &[u8],
        key: &[u8],
        client_ca: Option<&[u8]>,
        client_crl: Option<&[u8]>,
    ) -> PyResult<()> {
        let replaced = self.tls.replace(TlsFiles { chain, key, client_ca, client_crl });
        replaced.map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Binds and answers calls, over TLS where there is a certificate; returns the port.
    #[pyo3(signature = (listen, threads, limits, control))]
    fn start(
        &self,
        py: Python<'_>,
        listen: String,
        threads: ThreadParts,
        limits: ConnectionParts,
        control: HashSet<String>,
    ) -> PyResult<u16> {
        let connection_limits = ConnectionLimits::new(
            limits.max_connections,
            limits.max_connections_per_address,
            Arc::clone(&self.limits),
        );
        let setup = ServerOptions {
            listen,
            tls: Arc::clone(&self.tls),
            threads: self.predictor.io_threads,
            batch_threads: threads.batch_threads,
            processors: threads.processors,
            spin: SpinOptions::new(Duration::from_micros(threads.spin_us)),
            connections: limits.options(&self.predictor, &self.limits),
            connection_limits,
            gate: self.gate.clone(),
            max_stream: limits.max_stream(),
            control,
        };
        let started = py.detach(|| Server::start(setup, &self.predictor, &self.events));
        let server = started.map_err(|error| PyOSError::new_err(error.to_string()))?;
        let port = server.port();
        if let Err(server) = self.server.set(server) {
            server.stop(Duration::ZERO);
            return Err(PyRuntimeError::new_err("the engine was started before"));
        }
        Ok(port)
    }

    /// Makes a version, which counts where versions of its name did before.
    fn version(&self, parts: VersionParts<'_>) -> PyResult<PyVersion> {
        Ok(PyVersion(Arc::new(version(parts, &self.counts)?)))
    }

    /// Answers the calls that come from now on by these routes and typed services, of which each has
    /// its full name, model, major, and the name of its route. `origin` comes back with what is
    /// asked about failures. What versions that are not among them have counted is forgotten.
    fn publish(
        &self,
        routes: Vec<RouteParts<'_>>,
        services: Vec<(String, String, u64, String)>,
        origin: Py<PyAny>,
    ) {
        let built = self.counts.publish(|counts| {
            let build = |RouteParts(model, name, targets, shadow): RouteParts<'_>| {
                let target = |TargetParts(version, weight, seed, choice): TargetParts<'_>| Target {
                    counts: counts(&version.0, &name, false),
                    version: Arc::clone(&version.0),
                    weight,
                    seed,
                    source: choice.map(ChoiceParts::source),
                };
                let targets = targets.into_iter().map(target).collect();
                let shadow = shadow.map(|ShadowParts(version, share, choice)| Shadow {
                    route: Arc::from(&*name),
                    counts: counts(&version.0, &name, true),
                    version: Arc::clone(&version.0),
                    share,
                    source: choice.map(ChoiceParts::source),
                });
                let name_of_route = Arc::from(&*name);
                (model, name, Route { name: name_of_route, targets, shadow })
            };
            routes.into_iter().map(build).collect()
        });
        let origin: Origin = Arc::new(origin);
        let service = |(full_name, model, major, route)| (full_name, TypedService { model, major }, route);
        let services = services.into_iter().map(service).collect();
        self.predictor.snapshot.store(Arc::new(Snapshot::new(built, services, origin)));
    }

    /// Defines a source of records.
    fn define(&self, parts: SourceParts) -> PyResult<PySource> {
        let defined = self.recording()?.recorder().define(parts.source()?);
        let defined = defined.map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(PySource(Arc::new(defined)))
    }

    /// The writers of what Python answers, and of the copies that a shadow scores there. Each is for one thread.
    fn python_writers(&self) -> PyResult<(usize, usize)> {
        Ok(self.recording()?.python_writers().into())
    }

    /// The sequence number of the next record of one of Python's writers.
    fn peek(&self, writer: usize) -> PyResult<u64> {
        Ok(self.recording()?.python_lane(writer).ok_or_else(not_python)?.peek())
    }

    /// Records a prediction with one of Python's writers.
    fn record(&self, writer: usize, head: HeadParts<'_>, rows: RowParts, names: NameParts) -> PyResult<()> {
        let recording = self.recording()?;
        let lane = recording.python_lane(writer).ok_or_else(not_python)?;
        recording::record(recording, lane, head, rows, &names)
    }

    /// Counts a prediction of one of Python's writers that the policy leaves out.
    fn leave_out(&self, writer: usize, rows: u32) -> PyResult<()> {
        self.recording()?.python_lane(writer).ok_or_else(not_python)?.sampled_out(rows);
        Ok(())
    }

    /// What became of the rows so far: offered, sampled out, dropped by cause, buffered, spooled, and why the
    /// spool cannot be written. `None` where predictions are not recorded.
    fn record_counts(&self) -> Option<RecordSums> {
        self.predictor.scorer.observers.recording.as_ref().map(|recording| recording::sums(recording))
    }

    /// Writes what is in the rings, and closes the spool. Predictions that are answered later are dropped.
    fn close_records(&self, py: Python<'_>) {
        if let Some(recording) = &self.predictor.scorer.observers.recording {
            py.detach(|| recording.recorder().close());
        }
    }

    /// What became of the spans so far: sampled, dropped, waiting; and the calls and messages that the limit by
    /// second left out. `None` where no call is traced.
    fn trace_counts(&self) -> Option<[u64; 4]> {
        self.tracer.as_ref().map(|tracer| tracer.tracer.counts())
    }

    /// Takes the oldest traced calls that have ended: their spans as fields of a `ScopeSpans`, how many calls there
    /// are, and how many spans.
    fn take_traces<'py>(&self, py: Python<'py>, most: usize) -> (Bound<'py, PyBytes>, usize, usize) {
        match &self.tracer {
            Some(tracer) => tracing::take(py, tracer, most),
            None => (PyBytes::new(py, &[]), 0, 0),
        }
    }

    /// A file descriptor that is readable while there are events.
    fn fileno(&self) -> i32 {
        self.events.file_descriptor()
    }

    /// All events since the last time: (kind, call, ...).
    fn take_events<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        self.events.take().into_iter().map(|event| event_tuple(py, event)).collect()
    }

    /// Asks for the next message of a control call.
    fn want(&self, call: u64) {
        self.events.command(call, Command::Want);
    }

    /// Sends a message to the caller of a control call.
    fn send(&self, call: u64, data: Vec<u8>) {
        self.events.command(call, Command::Send(Bytes::from(data)));
    }

    /// Ends a control call, well or with a failure.
    #[pyo3(signature = (call, failed=None))]
    fn finish(&self, call: u64, failed: Option<FailureParts>) -> PyResult<()> {
        self.events.command(call, Command::Finish(failed.map(rpc_error).transpose()?));
        Ok(())
    }

    /// Words the failure that was asked about.
    fn answer(&self, call: u64, words: FailureParts) -> PyResult<()> {
        self.events.answer(call, rpc_error(words)?);
        Ok(())
    }

    /// Lets callers in by this table from now on.
    fn use_access(&self, parts: TableParts) -> PyResult<()> {
        self.gate()?.use_table(parts.table(&self.meters));
        Ok(())
    }

    /// Answers whether a credential is valid: the name of its principal and the seconds until it ends, or `None`.
    #[pyo3(signature = (number, found))]
    fn verified(&self, number: u64, found: Option<(String, Option<f64>)>) -> PyResult<()> {
        self.gate()?.verified(number, found.as_ref().map(|(name, left)| (&**name, *left)));
        Ok(())
    }

    /// Takes the rows of a message that Python answers. Gives the seconds to wait if there are none left.
    fn charge_rows(&self, name: &str, rows: u32) -> PyResult<Option<f64>> {
        Ok(access::charge_rows(&self.gate()?.table(), name, rows))
    }

    /// Counts a message of a principal that Python has refused for a missing right.
    fn count_denied(&self, name: &str) -> PyResult<()> {
        access::count_denied(&self.gate()?.table(), name);
        Ok(())
    }

    /// For each principal of the table: its name, its calls and rows, and its refused calls by cause.
    fn principal_counts(&self) -> Vec<PrincipalSums> {
        self.gate.as_ref().map(|gate| access::principal_sums(&gate.table())).unwrap_or_default()
    }

    /// How many calls were refused for their credentials, and streams ended, by cause.
    fn refused_counts(&self) -> Vec<(&'static str, u64)> {
        self.gate.as_ref().map(|gate| gate.refusals.read()).unwrap_or_default()
    }

    /// Calls something in one of the threads for large batches; not at all once the engine is closed.
    fn run(&self, task: Py<PyAny>) -> PyResult<()> {
        let Some(server) = self.server.get() else {
            return Err(PyRuntimeError::new_err("the engine was not started"));
        };
        server.run(move || {
            Python::attach(|py| {
                if let Err(error) = task.call0(py) {
                    error.write_unraisable(py, None);
                }
            });
        });
        Ok(())
    }

    /// Has predictions wait while the first bundles are loaded, or lets them go on.
    fn set_loading(&self, on: bool) {
        self.predictor.loading.set(on);
    }

    /// Has clients begin no more calls, answers those that come nevertheless, and waits for their end
    /// or that of the grace.
    fn stop(&self, py: Python<'_>, grace_seconds: f64) {
        if let Some(server) = self.server.get() {
            py.detach(|| server.stop(Duration::from_secs_f64(grace_seconds)));
        }
    }

    /// In flight, streams, and the calls for which no version was found: answered, failed by reason and
    /// durations, for each method in the order of METHODS.
    fn calls(&self) -> (usize, usize, Vec<CallSums>) {
        let predictor = &self.predictor;
        let unrouted = counts::of_calls(predictor.scorer.observers.counting.unrouted.iter());
        (predictor.budgets.in_flight.used(), predictor.streams.load(Relaxed), unrouted)
    }

    /// The bytes that calls hold, the connections that are open, and how often each limit of the
    /// transport was met.
    fn transport(&self) -> (usize, usize, [(&'static str, u64); 7]) {
        let connections = self.server.get().map_or(0, |server| server.connection_limits().open());
        let limits = [
            ("buffered_bytes", self.predictor.quota.refused()),
            ("stall", self.limits.stalled_calls.load(Relaxed)),
            ("connections", self.limits.connections.load(Relaxed)),
            ("connections_per_address", self.limits.connections_of_address.load(Relaxed)),
            ("connection_idle", self.limits.idle_connections.load(Relaxed)),
            ("metadata_bytes", self.limits.overlong_headers.load(Relaxed)),
            ("flood", self.limits.flooded_connections.load(Relaxed)),
        ];
        (self.predictor.quota.used(), connections, limits)
    }

    /// For each version: model, version, calls as of `calls`, rows, row errors by reason, decode, run, encode.
    fn version_counts(&self) -> Vec<VersionSums> {
        self.counts.of_versions()
    }

    /// For each route: its key, calls, rows, failed by reason, row errors by reason, dropped,
    /// latency in seconds, scores.
    fn route_counts(&self) -> Vec<RouteSums> {
        self.counts.of_routes()
    }
}

fn not_python() -> PyErr {
    PyValueError::new_err("another thread uses this writer")
}

impl Engine {
    fn gate(&self) -> PyResult<&Gate> {
        self.gate.as_deref().ok_or_else(|| PyRuntimeError::new_err("the engine was made without access"))
    }

    fn recording(&self) -> PyResult<&Recording> {
        let recording = self.predictor.scorer.observers.recording.as_deref();
        recording.ok_or_else(|| PyRuntimeError::new_err("the engine was made without records"))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(server) = self.server.get() {
            server.stop(Duration::ZERO);
        }
        if let Some(recording) = &self.predictor.scorer.observers.recording {
            recording.recorder().close();
        }
    }
}
