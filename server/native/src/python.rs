//! The engine as Python sees it: the types of the module `scorewire_native`.
// Python calls by position, and unpacks what it gets in one place.
#![allow(clippy::too_many_arguments, clippy::type_complexity)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::coding::{Check, Coder, Column, Fold, Input, ROW_REASONS, Source, Vocabulary};
use crate::connection::Options;
use crate::control::{Command, Event, Events};
use crate::failure::{Failure, Fixed};
use crate::predict::{Limits, Predictor};
use crate::runtime::{self, Element, Frame, Names, RuntimeError, Session, Tensor};
use crate::server::{Server, Setup};
use crate::snapshot::{Origin, Output, Snapshot, Version};
use crate::statistics::{self, BOUNDS, CallCounts, Histogram, REASONS, Sums, VersionCounts};

impl From<RuntimeError> for PyErr {
    fn from(error: RuntimeError) -> Self {
        PyRuntimeError::new_err(error.0)
    }
}

/// A failure: code, reason, message, google.rpc.Status as bytes.
type FailureParts = (u32, u32, String, Vec<u8>);

fn failure((code, reason, message, status): FailureParts) -> Failure {
    Failure { code, reason, message, status: Bytes::from(status) }
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
    /// shape, bytes).
    fn run<'py>(
        &self,
        py: Python<'py>,
        names: Vec<String>,
        feeds: Vec<(String, i32, Vec<i64>, Values)>,
    ) -> PyResult<Vec<(i32, Vec<i64>, Bound<'py, PyBytes>)>> {
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
                    let room = tensor.bytes_mut();
                    if room.len() != numbers.len() {
                        let message =
                            format!("input {name:?} has {} bytes instead of {}", numbers.len(), room.len());
                        return Err(PyValueError::new_err(message));
                    }
                    room.copy_from_slice(&numbers);
                }
            }
            inputs.push(tensor);
        }
        let mut frame = Frame::new(inputs, names);
        py.detach(|| frame.run(&self.0))?;
        let answers = frame.outputs().iter();
        Ok(answers
            .map(|tensor| {
                (tensor.element().code(), tensor.shape().to_vec(), PyBytes::new(py, tensor.bytes()))
            })
            .collect())
    }
}

/// A version that may be published.
#[pyclass(frozen, name = "Version")]
struct PyVersion(Arc<Version>);

#[derive(FromPyObject)]
struct VocabularyParts(usize, bool, Vec<String>);

/// Kind (0 number, 1 coded, 2 text), position, values, whether the text is folded.
#[derive(FromPyObject)]
struct ColumnParts(u8, usize, Vec<f64>, bool);

#[derive(FromPyObject)]
struct InputParts(String, i32, Vec<ColumnParts>);

/// Whether it is a text, position, largest magnitude, vocabularies that must know it, whether it
/// may be missing, and the refusals of a missing and of a bad value.
#[derive(FromPyObject)]
struct CheckParts(bool, usize, f64, Vec<usize>, bool, Vec<u8>, Vec<u8>);

fn fold(folded: bool) -> Fold {
    if folded { Fold::AsciiLowerStrip } else { Fold::None }
}

fn coder(
    number_count: usize,
    text_count: usize,
    vocabularies: Vec<VocabularyParts>,
    inputs: Vec<InputParts>,
    checks: Vec<CheckParts>,
) -> PyResult<Coder> {
    let vocabularies = vocabularies
        .into_iter()
        .map(|VocabularyParts(text, folded, texts)| Vocabulary::new(text, fold(folded), texts))
        .collect();
    let column = |ColumnParts(kind, position, values, folded): ColumnParts| match kind {
        0 => Column::Number(position),
        1 => Column::Coded(position, values),
        _ => Column::Text(position, fold(folded)),
    };
    let inputs = inputs
        .into_iter()
        .map(|InputParts(_, code, columns)| {
            Ok(Input::new(element(code)?, columns.into_iter().map(column).collect(), number_count))
        })
        .collect::<PyResult<_>>()?;
    let checks = checks
        .into_iter()
        .map(|CheckParts(is_text, position, limit, known, missing_allowed, missing, other)| Check {
            source: if is_text { Source::Text(position, known) } else { Source::Number(position, limit) },
            missing_allowed,
            missing,
            other,
        })
        .collect();
    Ok(Coder::new(number_count, text_count, vocabularies, inputs, checks))
}

type Counts = Arc<Box<[VersionCounts]>>;

/// The engine.
#[pyclass(frozen)]
struct Engine {
    predictor: Arc<Predictor>,
    events: Arc<Events>,
    server: OnceLock<Server>,
    /// What every version that was ever made has counted, by its names.
    versions: Mutex<BTreeMap<(String, String), Counts>>,
}

#[pymethods]
impl Engine {
    /// `fixed` has the failures that are always the same: malformed, too many in flight, expired,
    /// draining, internal. `bounds_ns` are those of the histograms, `threads` the I/O threads.
    #[new]
    fn new(
        max_rows: u32,
        max_in_flight: usize,
        max_message_bytes: usize,
        threads: usize,
        bounds_ns: [u64; BOUNDS],
        fixed: [FailureParts; 5],
    ) -> PyResult<Self> {
        let [malformed, too_many_in_flight, expired, draining, internal] = fixed.map(failure);
        let events = Arc::new(Events::new().map_err(|error| PyOSError::new_err(error.to_string()))?);
        let predictor = Predictor {
            snapshot: arc_swap::ArcSwap::default(),
            limits: Limits { max_rows, max_in_flight, max_message_bytes },
            fixed: Fixed { malformed, too_many_in_flight, expired, draining, internal },
            bounds: bounds_ns,
            events: Arc::clone(&events),
            counts: (0..=threads).map(|_| CallCounts::default()).collect(),
            in_flight: 0.into(),
            streams: 0.into(),
            draining: false.into(),
            refused: 0.into(),
        };
        Ok(Self {
            predictor: Arc::new(predictor),
            events,
            server: OnceLock::new(),
            versions: Mutex::default(),
        })
    }

    /// Binds and answers calls; returns the port. `tls` is the chain and the key as PEM.
    #[pyo3(signature = (listen, tls, batch_threads, processors, max_streams, max_age_seconds, control))]
    fn start(
        &self,
        py: Python<'_>,
        listen: String,
        tls: Option<(Vec<u8>, Vec<u8>)>,
        batch_threads: usize,
        processors: Vec<usize>,
        max_streams: u32,
        max_age_seconds: f64,
        control: std::collections::HashSet<String>,
    ) -> PyResult<u16> {
        let max_age = (max_age_seconds > 0.0).then(|| Duration::from_secs_f64(max_age_seconds));
        let setup = Setup {
            listen,
            tls,
            threads: self.predictor.counts.len() - 1,
            batch_threads,
            processors,
            connections: Options { max_streams, max_age },
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
        counts: (usize, usize),
        vocabularies: Vec<VocabularyParts>,
        inputs: Vec<InputParts>,
        outputs: Vec<(String, usize)>,
        checks: Vec<CheckParts>,
    ) -> PyResult<PyVersion> {
        let input_names = inputs.iter().map(|InputParts(name, ..)| name.as_str()).collect::<Vec<_>>();
        let output_names = outputs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        let graph_names = (Names::new(&input_names)?, Names::new(&output_names)?);
        let outputs = outputs.iter().map(|(name, width)| Output::new(name, *width)).collect();
        let coder = coder(counts.0, counts.1, vocabularies, inputs, checks)?;
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
            coder,
            outputs,
            graph_names,
            session,
            counts,
        ))))
    }

    /// Answers the calls that come from now on by these routes: model, version or alias or "",
    /// and what answers. `origin` comes back with what is asked about failures.
    fn publish(&self, routes: Vec<(String, String, PyRef<'_, PyVersion>)>, origin: Py<PyAny>) {
        let routes = routes.into_iter().map(|(model, name, version)| (model, name, Arc::clone(&version.0)));
        let origin: Origin = Arc::new(origin);
        self.predictor.snapshot.store(Arc::new(Snapshot::new(routes.collect(), origin)));
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
    fn finish(&self, call: u64, failed: Option<FailureParts>) {
        self.events.command(call, Command::Finish(failed.map(failure)));
    }

    /// Words the failure that was asked about.
    fn answer(&self, call: u64, words: FailureParts) {
        self.events.answer(call, failure(words));
    }

    /// Refuses new prediction calls.
    fn refuse_new_calls(&self) {
        self.predictor.draining.store(true, Relaxed);
    }

    /// How many calls were refused so.
    fn refused(&self) -> u64 {
        self.predictor.refused.load(Relaxed)
    }

    /// Lets the calls in flight end within the grace, closes, and waits for that.
    fn stop(&self, py: Python<'_>, grace_seconds: f64) {
        if let Some(server) = self.server.get() {
            py.detach(|| server.stop(Duration::from_secs_f64(grace_seconds)));
        }
    }

    /// In flight, streams, answered by method, failed by method and reason.
    fn calls(&self) -> (usize, usize, [u64; 2], [[u64; REASONS]; 2]) {
        let predictor = &self.predictor;
        let (mut answered, mut failed) = ([0; 2], [[0; REASONS]; 2]);
        for counts in &predictor.counts {
            for method in 0..2 {
                answered[method] += counts.answered[method].load(Relaxed);
                for (total, count) in failed[method].iter_mut().zip(&counts.failed[method]) {
                    *total += count.load(Relaxed);
                }
            }
        }
        (predictor.in_flight.load(Relaxed), predictor.streams.load(Relaxed), answered, failed)
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
        Event::Open { id, path } => ("open", id, path).into_pyobject(py),
        Event::Message { id, data } => ("message", id, PyBytes::new(py, &data)).into_pyobject(py),
        Event::End { id } => ("end", id, ()).into_pyobject(py),
        Event::Gone { id } => ("gone", id, ()).into_pyobject(py),
        Event::Fault { method, text } => ("fault", 0, (method, text)).into_pyobject(py),
        Event::Ask { id, origin, question } => {
            let origin = origin.as_ref().and_then(|origin| origin.downcast_ref::<Py<PyAny>>());
            let origin = origin.map(|origin| origin.clone_ref(py));
            let asked = (
                origin,
                question.model,
                question.version,
                question.schema_fingerprint,
                question.row_count,
                question.number_count,
                question.text_count,
                question.answer_bytes,
            );
            ("ask", id, asked).into_pyobject(py)
        }
    }
}

#[pymodule]
fn scorewire_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(load_runtime, module)?)?;
    module.add_class::<Graph>()?;
    module.add_class::<PyVersion>()?;
    module.add_class::<Engine>()
}
