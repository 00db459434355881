//! The engine as Python sees it: the types of the module `scorewire_native`.
// Python calls by position, and unpacks what it gets in one place.
#![allow(clippy::too_many_arguments, clippy::type_complexity)]

mod bags;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use self::bags::BagParts;
use crate::bridge::events::{Command, Event, Events, Opening};
use crate::bridge::panics;
use crate::encodings::tensors::{self, Interface};
use crate::encodings::typed::{Field, Service, Slot, Table};
use crate::onnx::limit::{self, RunError};
use crate::onnx::runtime::{self, Element, Frame, Names, RuntimeError, Session, Tensor};
use crate::predict::backlog::Backlog;
use crate::predict::loading::Loading;
use crate::predict::pipeline::{Budgets, Limits, Predictor, Problem};
use crate::protocol::status::{Failure, Fixed};
use crate::routing::snapshot::{Origin, Output, Route, Shadow, Snapshot, Target, Version};
use crate::rows::coding::{
    Check, Coder, Column, Fold, Input, NumberCheck, ROW_REASON_NAMES, ROW_REASONS, Source, Vocabulary,
};
use crate::server::{Server, Setup};
use crate::statistics::{
    self, BOUNDS, CallCounts, Distribution, Histogram, METHODS, Method, REASONS, RouteCounts, RouteShards,
    Sums, VersionCounts,
};
use crate::transport::admission::{Admission, LimitCounts};
use crate::transport::connection::Options;
use crate::transport::grpc::INITIAL;
use crate::transport::quota::Quota;
use crate::transport::tls::Tls;

impl From<RuntimeError> for PyErr {
    fn from(error: RuntimeError) -> Self {
        PyRuntimeError::new_err(error.0)
    }
}

impl From<RunError> for PyErr {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Stopped => PyTimeoutError::new_err(error.to_string()),
            RunError::Failed(error) => error.into(),
        }
    }
}

/// A failure: code, reason, message, google.rpc.Status as bytes.
type FailureParts = (u32, u32, String, Vec<u8>);

fn failure((code, reason, message, status): FailureParts) -> PyResult<Failure> {
    if reason as usize >= REASONS {
        return Err(PyValueError::new_err(format!("failures of reason {reason} are not counted")));
    }
    Ok(Failure { code, reason, message, status: Bytes::from(status) })
}

/// The failures that are always the same, by name.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct FixedParts {
    malformed: FailureParts,
    too_many_in_flight: FailureParts,
    too_many_failing: FailureParts,
    expired: FailureParts,
    overloaded: FailureParts,
    run_stopped: FailureParts,
    draining: FailureParts,
    internal: FailureParts,
}

impl FixedParts {
    fn fixed(self) -> PyResult<Fixed> {
        Ok(Fixed {
            malformed: failure(self.malformed)?,
            too_many_in_flight: failure(self.too_many_in_flight)?,
            too_many_failing: failure(self.too_many_failing)?,
            expired: failure(self.expired)?,
            overloaded: failure(self.overloaded)?,
            run_stopped: failure(self.run_stopped)?,
            draining: failure(self.draining)?,
            internal: failure(self.internal)?,
        })
    }
}

/// What a connection may do, and how many there may be, by the names of the settings; 0 is no limit.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct ConnectionParts {
    max_streams: u32,
    max_metadata_bytes: u32,
    max_connection_age_seconds: f64,
    max_connection_idle_seconds: f64,
    max_connection_bytes: usize,
    max_connections: usize,
    max_connections_per_address: usize,
    max_stall_seconds: f64,
    max_stream_seconds: f64,
}

/// A time; none where it is 0.
fn time(seconds: f64) -> Option<Duration> {
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds))
}

impl ConnectionParts {
    fn max_stream(&self) -> Option<Duration> {
        time(self.max_stream_seconds)
    }

    fn options(&self, predictor: &Predictor, counts: &Arc<LimitCounts>) -> Options {
        Options {
            max_streams: self.max_streams,
            max_metadata_bytes: self.max_metadata_bytes,
            max_age: time(self.max_connection_age_seconds),
            max_idle: time(self.max_connection_idle_seconds),
            max_stall: time(self.max_stall_seconds),
            max_bytes: self.max_connection_bytes,
            cut: (&INITIAL, predictor.fixed.draining.fields().into()),
            quota: Arc::clone(&predictor.quota),
            counts: Arc::clone(counts),
        }
    }
}

fn element(code: i32) -> PyResult<Element> {
    Element::from_onnx(code).ok_or_else(|| PyValueError::new_err(format!("ONNX type {code} is not taken")))
}

/// Loads onnxruntime's library into the process; returns its version.
#[pyfunction]
fn load_runtime(library: PathBuf) -> PyResult<&'static str> {
    Ok(runtime::load(&library)?)
}

/// The values of one graph input.
#[derive(FromPyObject)]
enum Values {
    Texts(Vec<String>),
    Numbers(Vec<u8>),
}

/// A graph in onnxruntime.
#[pyclass(frozen)]
struct Graph(Arc<Session>);

#[pymethods]
impl Graph {
    #[new]
    fn new(py: Python<'_>, graph: &[u8], threads: i32) -> PyResult<Self> {
        Ok(Self(Arc::new(py.detach(|| Session::open(graph, threads))?)))
    }

    /// Runs the graph: inputs are (name, ONNX type, shape, bytes or texts), answers (ONNX type,
    /// shape, bytes or texts). A run that takes longer than `seconds` is stopped: `TimeoutError`.
    #[pyo3(signature = (names, feeds, seconds=None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        names: Vec<String>,
        feeds: Vec<(String, i32, Vec<i64>, Values)>,
        seconds: Option<f64>,
    ) -> PyResult<Vec<(i32, Vec<i64>, Bound<'py, PyAny>)>> {
        let input_names = feeds.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>();
        let names = Arc::new((Names::new(&input_names)?, Names::new(&names)?));
        let mut inputs = Vec::new();
        for (name, code, shape, values) in feeds {
            let mut tensor = Tensor::new(element(code)?, &shape)?;
            match values {
                Values::Texts(texts) => {
                    for (i, text) in texts.iter().enumerate() {
                        tensor.set_text(i, text.as_bytes())?;
                    }
                }
                Values::Numbers(numbers) => {
                    let length = tensor.bytes().len();
                    if length != numbers.len() {
                        let message =
                            format!("input {name:?} has {} bytes instead of {length}", numbers.len());
                        return Err(PyValueError::new_err(message));
                    }
                    if tensor.element() == Element::Bool {
                        let truths = numbers.iter().map(|&truth| truth != 0);
                        tensor.bools_mut().iter_mut().zip(truths).for_each(|(place, truth)| *place = truth);
                    } else {
                        tensor.bytes_mut().copy_from_slice(&numbers);
                    }
                }
            }
            inputs.push(tensor);
        }
        let mut frame = Frame::new(inputs, names);
        let until = seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds.max(0.0)));
        py.detach(|| limit::run(until, |stop| frame.run(&self.0, stop)))?;
        let answer = |tensor: &Tensor| {
            let values = if tensor.element() == Element::Text {
                let texts = tensor.texts()?;
                PyList::new(py, (0..tensor.count()).map(|i| texts.get(i)))?.into_any()
            } else {
                PyBytes::new(py, tensor.bytes()).into_any()
            };
            Ok((tensor.element().code(), tensor.shape().to_vec(), values))
        };
        frame.outputs().iter().map(answer).collect()
    }
}

/// A version that may be published.
#[pyclass(frozen, name = "Version")]
struct PyVersion(Arc<Version>);

#[derive(FromPyObject)]
struct VocabularyParts(usize, bool, Vec<String>);

/// Kind (number, coded or text), position, values, whether the text is folded.
#[derive(FromPyObject)]
struct ColumnParts(String, usize, Vec<f64>, bool);

/// Name, ONNX type, columns, shape of a row; where it has counts of words, the bag and which part.
#[derive(FromPyObject)]
struct InputParts(String, i32, Vec<ColumnParts>, Vec<i64>, Option<(usize, String)>);

/// Of a number: position, smallest and largest, whether it must be whole.
#[derive(FromPyObject)]
struct NumberParts(usize, f64, f64, bool);

/// Of a text: position, and the vocabularies that must know it.
#[derive(FromPyObject)]
struct TextParts(usize, Vec<usize>);

/// A number or a text, whether it may be missing, and the refusals by reason.
#[derive(FromPyObject)]
struct CheckParts(Option<NumberParts>, Option<TextParts>, bool, [Vec<u8>; ROW_REASONS]);

fn fold(folded: bool) -> Fold {
    if folded { Fold::AsciiLowerStrip } else { Fold::None }
}

fn coder(
    number_count: usize,
    text_count: usize,
    vocabularies: Vec<VocabularyParts>,
    bags: Vec<BagParts>,
    inputs: Vec<InputParts>,
    checks: Vec<CheckParts>,
) -> PyResult<Coder> {
    let bags = bags.into_iter().map(bags::bag).collect::<PyResult<_>>()?;
    let vocabularies = vocabularies
        .into_iter()
        .map(|VocabularyParts(text, folded, texts)| Vocabulary::new(text, fold(folded), texts))
        .collect();
    let column = |ColumnParts(kind, position, values, folded): ColumnParts| match &*kind {
        "number" => Ok(Column::Number(position)),
        "coded" => Ok(Column::Coded(position, values)),
        "text" => Ok(Column::Text(position, fold(folded))),
        _ => Err(PyValueError::new_err(format!("columns of kind {kind} are not taken"))),
    };
    let inputs = inputs
        .into_iter()
        .map(|InputParts(_, code, columns, dims, entries)| {
            if let Some((bag, part)) = entries {
                return Ok(Input::entries(bag, bags::part(&part)?));
            }
            let columns = columns.into_iter().map(column).collect::<PyResult<_>>()?;
            Ok(Input::new(element(code)?, columns, dims, number_count))
        })
        .collect::<PyResult<_>>()?;
    let check = |CheckParts(number, text, missing_allowed, refusals): CheckParts| {
        let source = match (number, text) {
            (Some(NumberParts(position, low, high, whole)), None) => {
                Source::Number(NumberCheck { position, low, high, whole })
            }
            (None, Some(TextParts(position, known))) => Source::Text(position, known),
            _ => return Err(PyValueError::new_err("a check is of a number or of a text")),
        };
        Ok(Check { source, missing_allowed, refusals })
    };
    let checks = checks.into_iter().map(check).collect::<PyResult<_>>()?;
    Ok(Coder::new(number_count, text_count, vocabularies, bags, inputs, checks))
}

/// The major; of each feature its field's number, whether it is a text, and its position; of each
/// output its index, its field's number, whether it is repeated, and its classes' texts; and for
/// each check, by reason, the error of a prediction.
#[derive(FromPyObject)]
struct TypedParts(
    u64,
    Vec<(u32, bool, usize)>,
    Vec<(usize, u32, bool, Option<Vec<String>>)>,
    Vec<[Vec<u8>; ROW_REASONS]>,
);

/// Of each input its name, whether it has texts, the shape of a row, whether it may be left out,
/// and its first value's position in a row; of each output its name, datatype and shape of a row.
#[derive(FromPyObject)]
struct TensorParts(Vec<(String, bool, Vec<usize>, bool, usize)>, Vec<(String, String, Vec<usize>)>);

fn encodings(
    model: &str,
    version: &str,
    TypedParts(major, features, outputs, refusals): TypedParts,
    TensorParts(inputs, answers): TensorParts,
) -> (Table, Interface, u64) {
    let slot = |(number, is_text, position)| {
        (number, if is_text { Slot::Text(position) } else { Slot::Number(position) })
    };
    let output = |(output, number, repeated, labels)| Field { output, number, repeated, labels };
    let slots = features.into_iter().map(slot).collect();
    let table = Table::new(version, slots, outputs.into_iter().map(output).collect(), refusals);
    let input = |(name, texts, dims, optional, start)| tensors::Input { name, texts, dims, optional, start };
    let answer = |(name, datatype, dims)| tensors::Output { name, datatype, dims };
    let inputs = inputs.into_iter().map(input).collect();
    let interface = Interface::new((model, version), inputs, answers.into_iter().map(answer).collect());
    (table, interface, major)
}

#[pymethods]
impl PyVersion {
    /// Whether anything but this object holds the version: a snapshot, a call, a copy.
    fn in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

type Counts = Arc<Box<[VersionCounts]>>;

/// Version, weight, seed.
#[derive(FromPyObject)]
struct TargetParts<'py>(PyRef<'py, PyVersion>, u32, u64);

/// Model, name, targets, and the shadow: version and share.
#[derive(FromPyObject)]
struct RouteParts<'py>(String, String, Vec<TargetParts<'py>>, Option<(PyRef<'py, PyVersion>, f64)>);

/// Model, version, route, whether it is a shadow.
type RouteKey = (String, String, String, bool);
/// Counts by the first 16 bits of the numbers.
type Buckets = Vec<(u16, u64)>;

/// The engine.
#[pyclass(frozen)]
struct Engine {
    predictor: Arc<Predictor>,
    events: Arc<Events>,
    tls: Arc<Tls>,
    server: OnceLock<Server>,
    limits: Arc<LimitCounts>,
    /// What the versions of the last snapshot have counted, by their names.
    versions: Mutex<BTreeMap<(String, String), Counts>>,
    /// What these have counted on each route.
    routes: Mutex<BTreeMap<RouteKey, Arc<RouteShards>>>,
}

#[pymethods]
impl Engine {
    /// `fixed` has the failures that are always the same; `bounds_ns` are those of the histograms,
    /// `threads` the I/O threads.
    #[new]
    fn new(
        max_rows: u32,
        max_in_flight: usize,
        max_message_bytes: usize,
        max_run_seconds: f64,
        max_buffered_bytes: usize,
        threads: usize,
        bounds_ns: [u64; BOUNDS],
        fixed: FixedParts,
    ) -> PyResult<Self> {
        let events = Arc::new(Events::new().map_err(|error| PyOSError::new_err(error.to_string()))?);
        panics::tell(&events);
        let predictor = Predictor {
            snapshot: arc_swap::ArcSwap::default(),
            limits: Limits { max_rows, max_message_bytes, max_run: Duration::from_secs_f64(max_run_seconds) },
            fixed: fixed.fixed()?,
            bounds: bounds_ns,
            events: Arc::clone(&events),
            counts: (0..threads + 2).map(|_| CallCounts::default()).collect(),
            shadow_lane: OnceLock::new(),
            budgets: Budgets::new(max_in_flight),
            quota: Quota::new(max_buffered_bytes),
            backlog: Arc::new(Backlog::new()),
            streams: 0.into(),
            loading: Loading::default(),
        };
        Ok(Self {
            predictor: Arc::new(predictor),
            events,
            tls: Arc::default(),
            server: OnceLock::new(),
            limits: Arc::default(),
            versions: Mutex::default(),
            routes: Mutex::default(),
        })
    }

    /// Shows a certificate, its chain and its key as PEM, to clients that connect from now on.
    fn use_certificate(&self, chain: &[u8], key: &[u8]) -> PyResult<()> {
        self.tls.replace(chain, key).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Binds and answers calls, over TLS where there is a certificate; returns the port.
    #[pyo3(signature = (listen, batch_threads, processors, limits, control))]
    fn start(
        &self,
        py: Python<'_>,
        listen: String,
        batch_threads: usize,
        processors: Vec<usize>,
        limits: ConnectionParts,
        control: std::collections::HashSet<String>,
    ) -> PyResult<u16> {
        let admission = Admission::new(
            limits.max_connections,
            limits.max_connections_per_address,
            Arc::clone(&self.limits),
        );
        let setup = Setup {
            listen,
            tls: Arc::clone(&self.tls),
            threads: self.predictor.batch_worker(),
            batch_threads,
            processors,
            connections: limits.options(&self.predictor, &self.limits),
            admission,
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

    /// Makes a version of a graph and of how its rows are coded.
    fn version(
        &self,
        graph: &Graph,
        names: (String, String),
        fingerprint: String,
        row_ns: f64,
        max_rows: Option<u32>,
        counts: (usize, usize),
        vocabularies: Vec<VocabularyParts>,
        bags: Vec<BagParts>,
        inputs: Vec<InputParts>,
        outputs: Vec<(String, usize, bool)>,
        score_output: Option<usize>,
        row_by_row: bool,
        joint_rows: usize,
        checks: Vec<CheckParts>,
        typed: TypedParts,
        tensors: TensorParts,
    ) -> PyResult<PyVersion> {
        let input_names = inputs.iter().map(|InputParts(name, ..)| name.as_str()).collect::<Vec<_>>();
        let output_names = outputs.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>();
        let graph_names = (Names::new(&input_names)?, Names::new(&output_names)?);
        let outputs = outputs.iter().map(|(name, width, texts)| Output::new(name, *width, *texts)).collect();
        let coder = coder(counts.0, counts.1, vocabularies, bags, inputs, checks)?;
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let shards = self.predictor.counts.len();
        let counts = versions
            .entry(names.clone())
            .or_insert_with(|| Arc::new((0..shards).map(|_| VersionCounts::default()).collect()));
        let (counts, session) = (Arc::clone(counts), Arc::clone(&graph.0));
        let (model, version) = (&names.0, &names.1);
        Ok(PyVersion(Arc::new(Version::new(
            model,
            version,
            fingerprint,
            row_ns,
            max_rows,
            coder,
            encodings(model, version, typed, tensors),
            outputs,
            score_output,
            graph_names,
            session,
            row_by_row,
            joint_rows,
            counts,
        ))))
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
        let shards = self.predictor.counts.len();
        let mut counted = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut kept, mut served) = (BTreeMap::new(), BTreeMap::new());
        let mut counts = |version: &Version, route: &str, shadow: bool| {
            let key = (version.model.clone(), version.version.clone(), route.to_owned(), shadow);
            let found = counted.remove(&key).or_else(|| kept.get(&key).cloned());
            let counts: Arc<RouteShards> =
                found.unwrap_or_else(|| Arc::new((0..shards).map(|_| RouteCounts::default()).collect()));
            kept.insert(key, Arc::clone(&counts));
            // A version that was made long before it is published counts where it began to.
            served.insert((version.model.clone(), version.version.clone()), Arc::clone(&version.counts));
            counts
        };
        let mut built = Vec::new();
        for RouteParts(model, name, targets, shadow) in routes {
            let target = |TargetParts(version, weight, seed): TargetParts<'_>| Target {
                counts: counts(&version.0, &name, false),
                version: Arc::clone(&version.0),
                weight,
                seed,
            };
            let targets = targets.into_iter().map(target).collect();
            let shadow = shadow.map(|(version, share)| Shadow {
                route: Arc::from(&*name),
                counts: counts(&version.0, &name, true),
                version: Arc::clone(&version.0),
                share,
            });
            built.push((model, name, Route { targets, shadow }));
        }
        // What a version has counted on a route that it lost stays as long as the version does.
        counted.retain(|(model, version, ..), _| served.contains_key(&(model.clone(), version.clone())));
        *self.versions.lock().unwrap_or_else(PoisonError::into_inner) = served;
        counted.append(&mut kept);
        let origin: Origin = Arc::new(origin);
        let service = |(full_name, model, major, route)| (full_name, Service { model, major }, route);
        let services = services.into_iter().map(service).collect();
        self.predictor.snapshot.store(Arc::new(Snapshot::new(built, services, origin)));
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
        self.events.command(call, Command::Finish(failed.map(failure).transpose()?));
        Ok(())
    }

    /// Words the failure that was asked about.
    fn answer(&self, call: u64, words: FailureParts) -> PyResult<()> {
        self.events.answer(call, failure(words)?);
        Ok(())
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

    /// In flight, streams, answered by method, failed by method and reason; methods are in the order of
    /// METHODS.
    fn calls(&self) -> (usize, usize, [u64; METHODS], [[u64; REASONS]; METHODS]) {
        let predictor = &self.predictor;
        let (mut answered, mut failed) = ([0; METHODS], [[0; REASONS]; METHODS]);
        for counts in &predictor.counts {
            for method in 0..METHODS {
                answered[method] += counts.answered[method].load(Relaxed);
                for (total, count) in failed[method].iter_mut().zip(&counts.failed[method]) {
                    *total += count.load(Relaxed);
                }
            }
        }
        (predictor.budgets.in_flight.used(), predictor.streams.load(Relaxed), answered, failed)
    }

    /// The bytes that calls hold, the connections that are open, and how often each limit of the
    /// transport was met.
    fn transport(&self) -> (usize, usize, [(&'static str, u64); 7]) {
        let connections = self.server.get().map_or(0, |server| server.admission().open());
        let limits = [
            ("buffered_bytes", self.predictor.quota.refused()),
            ("stall", self.limits.stalled_calls.load(Relaxed)),
            ("connections", self.limits.connections.load(Relaxed)),
            ("connections_per_address", self.limits.connections_of_address.load(Relaxed)),
            ("connection_idle", self.limits.idle_connections.load(Relaxed)),
            ("metadata_bytes", self.limits.overlong_heads.load(Relaxed)),
            ("flood", self.limits.flooded_connections.load(Relaxed)),
        ];
        (self.predictor.quota.used(), connections, limits)
    }

    /// For each version: model, version, rows, row errors by reason, decode, run, encode.
    fn version_counts(&self) -> Vec<(String, String, u64, [u64; ROW_REASONS], Sums, Sums, Sums)> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let each = |((model, version), counts): (&(String, String), &Counts)| {
            let mut row_errors = [0; ROW_REASONS];
            for shard in counts.iter() {
                for (total, count) in row_errors.iter_mut().zip(&shard.row_errors) {
                    *total += count.load(Relaxed);
                }
            }
            let rows = counts.iter().map(|shard| shard.rows.load(Relaxed)).sum();
            let sums = |pick: fn(&VersionCounts) -> &Histogram| statistics::sum(counts.iter().map(pick));
            let (decode, run, encode) = (sums(|c| &c.decode), sums(|c| &c.run), sums(|c| &c.encode));
            (model.clone(), version.clone(), rows, row_errors, decode, run, encode)
        };
        versions.iter().map(each).collect()
    }

    /// For each route: its key, calls, rows, failed by reason, row errors by reason, dropped,
    /// latency in seconds, scores.
    fn route_counts(
        &self,
    ) -> Vec<(RouteKey, u64, u64, [u64; REASONS], [u64; ROW_REASONS], u64, Buckets, Buckets)> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let each = |(key, shards): (&RouteKey, &Arc<RouteShards>)| {
            let total = |pick: &dyn Fn(&RouteCounts) -> &AtomicU64| {
                shards.iter().map(|shard| pick(shard).load(Relaxed)).sum::<u64>()
            };
            let buckets = |pick: fn(&RouteCounts) -> &Distribution| {
                let mut sums = BTreeMap::new();
                shards.iter().for_each(|shard| pick(shard).add_to(&mut sums));
                sums.into_iter().collect::<Buckets>()
            };
            (
                key.clone(),
                total(&|shard| &shard.calls),
                total(&|shard| &shard.rows),
                std::array::from_fn(|i| total(&|shard| &shard.failed[i])),
                std::array::from_fn(|i| total(&|shard| &shard.row_errors[i])),
                total(&|shard| &shard.dropped),
                buckets(|shard| &shard.latency),
                buckets(|shard| &shard.scores),
            )
        };
        routes.iter().map(each).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(server) = self.server.get() {
            server.stop(Duration::ZERO);
        }
    }
}

fn event_tuple(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        Event::Open { id, opening: Opening { path, seconds_left } } => {
            ("open", id, (path, seconds_left)).into_pyobject(py)
        }
        Event::Message { id, data } => ("message", id, PyBytes::new(py, &data)).into_pyobject(py),
        Event::End { id } => ("end", id, ()).into_pyobject(py),
        Event::Gone { id } => ("gone", id, ()).into_pyobject(py),
        Event::Fault { method, text } => ("fault", 0, (method, text)).into_pyobject(py),
        Event::Ask { id, origin, question } => {
            let origin = origin.as_ref().and_then(|origin| origin.downcast_ref::<Py<PyAny>>());
            let origin = origin.map(|origin| origin.clone_ref(py));
            let (malformed, refusal, answer_bytes) = match question.problem {
                Problem::Request => (false, None, 0),
                Problem::Malformed => (true, None, 0),
                Problem::Row(refusal) => (false, Some(PyBytes::new(py, &refusal)), 0),
                Problem::TooLong(length) => (false, None, length),
            };
            let route = (question.model, question.major, question.version, question.picked);
            let counts = (question.row_count, question.number_count, question.text_count);
            let problem = (malformed, refusal, answer_bytes);
            let method = question.method.name();
            let asked = (origin, method, route, question.schema_fingerprint, counts, problem);
            ("ask", id, asked).into_pyobject(py)
        }
    }
}

#[pymodule]
fn scorewire_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    panics::silence();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("METHODS", PyTuple::new(module.py(), Method::ALL.map(Method::name))?)?;
    module.add("ROW_REASONS", PyTuple::new(module.py(), ROW_REASON_NAMES)?)?;
    module.add_function(wrap_pyfunction!(load_runtime, module)?)?;
    module.add_class::<Graph>()?;
    module.add_class::<PyVersion>()?;
    module.add_class::<Engine>()
}
