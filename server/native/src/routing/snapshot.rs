//! The immutable routing state: names to versions.

use std::any::Any;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use foldhash::fast::RandomState;

use crate::encodings::tensors::Interface;
use crate::encodings::typed::{Service, Table};
use crate::onnx::limit::{self, RunError};
use crate::onnx::runtime::{Element, Frame, Names, RuntimeError, Session, Stop, Tensor};
use crate::protocol::protobuf;
use crate::routing::split;
use crate::rows::coding::{Coder, Room, Rows};
use crate::statistics::{Method, RouteShards, VersionCounts};

/// Rows that cost more than this together leave the I/O threads.
pub const INLINE_NS: f64 = 500_000.0;
/// The most calls whose rows one run scores.
pub const MAX_JOINT_ROWS: usize = 16;

/// One output of a version, as it stands in every answer.
pub struct Output {
    name: Vec<u8>,
    pub width: usize,
    /// Whether its values are texts.
    pub texts: bool,
}

impl Output {
    pub fn new(name: &str, width: usize, texts: bool) -> Self {
        let mut head = Vec::new();
        protobuf::put_bytes_head(&mut head, 1, name.len());
        head.extend_from_slice(name.as_bytes());
        Self { name: if name.is_empty() { Vec::new() } else { head }, width, texts }
    }

    /// Its name, as the field of an Output.
    pub fn name_field(&self) -> &[u8] {
        &self.name
    }
}

/// A version that serves.
pub struct Version {
    pub model: String,
    pub version: String,
    /// The fields `model` and `version` of a PredictResponse.
    pub head: Vec<u8>,
    pub fingerprint: String,
    pub row_ns: f64,
    /// Rows of one call, where these are fewer than the server takes.
    pub max_rows: Option<u32>,
    pub coder: Coder,
    /// How typed calls are read and answered.
    pub table: Table,
    /// How tensors are.
    pub tensors: Interface,
    pub major: u64,
    pub outputs: Vec<Output>,
    /// The output whose last column is counted as the score.
    pub score_output: Option<usize>,
    pub counts: Arc<Box<[VersionCounts]>>,
    session: Arc<Session>,
    names: Arc<(Names, Names)>,
    /// Whether the graph takes one row in a run, and no more.
    row_by_row: bool,
    /// How many rows of different calls one run may score; 1 where outputs are texts.
    pub joint_rows: usize,
    frames: Box<[Mutex<Frames>]>,
    /// For each worker the place where one row of a joint run's outputs stands alone.
    rows: Box<[Mutex<Option<Frame>>]>,
}

/// Frames that a worker keeps: for one row, for two, and so on.
type Frames = [Option<Frame>; MAX_JOINT_ROWS];

impl Version {
    #[allow(clippy::too_many_arguments)] // it is made in one place, by name
    pub fn new(
        model: &str,
        version: &str,
        fingerprint: String,
        row_ns: f64,
        max_rows: Option<u32>,
        coder: Coder,
        (table, tensors, major): (Table, Interface, u64),
        outputs: Vec<Output>,
        score_output: Option<usize>,
        names: (Names, Names),
        session: Arc<Session>,
        row_by_row: bool,
        joint_rows: usize,
        counts: Arc<Box<[VersionCounts]>>,
    ) -> Self {
        let mut head = Vec::new();
        for (field, text) in [(1, model), (2, version)] {
            protobuf::put_bytes_head(&mut head, field, text.len());
            head.extend_from_slice(text.as_bytes());
        }
        let frames = counts.iter().map(|_| Mutex::default()).collect();
        let rows = counts.iter().map(|_| Mutex::default()).collect();
        let joint_rows = joint_rows.clamp(1, MAX_JOINT_ROWS);
        let names = Arc::new(names);
        let (model, version) = (model.to_owned(), version.to_owned());
        Self {
            model,
            version,
            head,
            fingerprint,
            row_ns,
            max_rows,
            coder,
            table,
            tensors,
            major,
            outputs,
            score_output,
            counts,
            session,
            names,
            row_by_row,
            joint_rows,
            frames,
            rows,
        }
    }

    /// Runs the graph over the rows that were examined, and hands its outputs to `use_outputs`. A run
    /// that must be over by a time is stopped then.
    ///
    /// # Errors
    /// The graph fails, answers with another shape than the schema's, or was stopped.
    pub fn run<T>(
        &self,
        worker: usize,
        rows: Rows<'_>,
        room: &mut Room,
        until: Option<Instant>,
        use_outputs: impl FnOnce(&Frame, &Room, Ran) -> T,
    ) -> Result<T, RunError> {
        limit::run(until, |stop| self.run_rows(worker, rows, room, stop, use_outputs))
    }

    fn run_rows<T>(
        &self,
        worker: usize,
        rows: Rows<'_>,
        room: &mut Room,
        stop: Option<&Stop>,
        use_outputs: impl FnOnce(&Frame, &Room, Ran) -> T,
    ) -> Result<T, RuntimeError> {
        let kept = if room.errors.is_empty() { rows.count } else { room.kept.len() };
        if kept != 1 && self.row_by_row {
            let (frame, ran) = self.run_each(kept, rows, room, stop)?;
            return Ok(use_outputs(&frame, room, ran));
        }
        if kept != 1 {
            let mut frame = Frame::new(self.coder.tensors(kept)?, self.names.clone());
            let ran = self.run_frame(&mut frame, 0..kept, rows, room, stop)?;
            return Ok(use_outputs(&frame, room, ran));
        }
        let mut frame = self.take_frame(worker, 1)?;
        let ran = self.run_frame(&mut frame, 0..1, rows, room, stop)?;
        let used = use_outputs(&frame, room, ran);
        self.give_back(worker, 1, frame);
        Ok(used)
    }

    /// A frame for so many rows, taken out, so that no one waits, and one whose run failed is never
    /// used again.
    fn take_frame(&self, worker: usize, count: usize) -> Result<Frame, RuntimeError> {
        let kept = self.frames(worker)[count - 1].take();
        kept.map_or_else(|| Ok(Frame::new(self.coder.tensors(count)?, self.names.clone())), Ok)
    }

    fn give_back(&self, worker: usize, count: usize, frame: Frame) {
        self.frames(worker)[count - 1] = Some(frame);
    }

    fn frames(&self, worker: usize) -> MutexGuard<'_, Frames> {
        self.frames[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the graph once for each row, and gathers the outputs.
    fn run_each(
        &self,
        kept: usize,
        rows: Rows<'_>,
        room: &mut Room,
        stop: Option<&Stop>,
    ) -> Result<(Frame, Ran), RuntimeError> {
        let mut frame = Frame::new(self.coder.tensors(1)?, self.names.clone());
        let begin = Instant::now();
        let mut outputs: Vec<Tensor> = Vec::new();
        for i in 0..kept {
            self.run_frame(&mut frame, i..i + 1, rows, room, stop)?;
            if outputs.is_empty() {
                let made = frame.outputs().iter().zip(&self.outputs);
                let shape = |output: &Output| [kept as i64, output.width as i64];
                let made = made.map(|(tensor, output)| Tensor::new(tensor.element(), &shape(output)));
                outputs = made.collect::<Result<_, _>>()?;
            }
            for ((all, one), output) in outputs.iter_mut().zip(frame.outputs()).zip(&self.outputs) {
                all.copy_from(i * output.width, one, 0..output.width)?;
            }
        }
        Ok((Frame::gathered(outputs, self.names.clone()), Ran { begin, end: Instant::now() }))
    }

    fn run_frame(
        &self,
        frame: &mut Frame,
        kept: Range<usize>,
        rows: Rows<'_>,
        room: &mut Room,
        stop: Option<&Stop>,
    ) -> Result<Ran, RuntimeError> {
        let count = kept.len();
        self.coder.fill(rows, kept.clone(), room, frame, 0)?;
        let room = &*room;
        self.coder.fill_entries(frame, kept.map(|i| (room, i)))?;
        self.run_filled(frame, count, stop)
    }

    /// Room for one row of a frame's outputs.
    fn row_like(&self, frame: &Frame) -> Result<Frame, RuntimeError> {
        let pairs = frame.outputs().iter().zip(&self.outputs);
        let one =
            |(tensor, output): (&Tensor, &Output)| Tensor::new(tensor.element(), &[1, output.width as i64]);
        Ok(Frame::gathered(pairs.map(one).collect::<Result<_, _>>()?, self.names.clone()))
    }

    fn run_filled(&self, frame: &mut Frame, count: usize, stop: Option<&Stop>) -> Result<Ran, RuntimeError> {
        let begin = Instant::now();
        frame.run(&self.session, stop)?;
        let ran = Ran { begin, end: Instant::now() };
        for (tensor, output) in frame.outputs().iter().zip(&self.outputs) {
            let (found, wanted) = (tensor.count(), count * output.width);
            if found != wanted {
                return Err(RuntimeError(format!("an output has {found} values instead of {wanted}")));
            }
            if output.texts != (tensor.element() == Element::Text) {
                return Err(RuntimeError("an output has not the kind of the schema's".into()));
            }
        }
        Ok(ran)
    }
}

/// Rows of different calls, scored in one run.
pub struct Joint<'a> {
    version: &'a Version,
    worker: usize,
    count: usize,
    frame: Frame,
}

impl<'a> Joint<'a> {
    /// Room for so many rows, of which there are at most the version's `joint_rows`.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(version: &'a Version, worker: usize, count: usize) -> Result<Self, RuntimeError> {
        Ok(Self { version, worker, count, frame: version.take_frame(worker, count)? })
    }

    /// Puts the only row of a call to its place; it was examined, and has no error.
    ///
    /// # Errors
    /// onnxruntime refuses a text.
    pub fn fill(&mut self, at: usize, rows: Rows<'_>, room: &mut Room) -> Result<(), RuntimeError> {
        self.version.coder.fill(rows, 0..1, room, &mut self.frame, at)
    }

    /// Puts the counts of words of all calls to their places; each has its row in a room of its own.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn fill_entries<'r>(
        &mut self,
        rooms: impl Iterator<Item = &'r Room> + Clone,
    ) -> Result<(), RuntimeError> {
        self.version.coder.fill_entries(&mut self.frame, rooms.map(|room| (room, 0)))
    }

    /// Runs the graph, and hands each row's outputs, as if it had been alone, to `use_outputs`.
    ///
    /// # Errors
    /// As of `Version::run`; then no outputs have been handed over.
    pub fn run(self, mut use_outputs: impl FnMut(usize, &Frame, Ran)) -> Result<(), RuntimeError> {
        let Self { version, worker, count, mut frame } = self;
        let ran = version.run_filled(&mut frame, count, None)?;
        let slot = || version.rows[worker].lock().unwrap_or_else(PoisonError::into_inner);
        let taken = slot().take();
        let mut row = match taken {
            Some(row) => row,
            None => version.row_like(&frame)?,
        };
        for at in 0..count {
            row.copy_outputs(&frame, |i| {
                let width = version.outputs[i].width;
                at * width..(at + 1) * width
            })?;
            use_outputs(at, &row, ran);
        }
        *slot() = Some(row);
        version.give_back(worker, count, frame);
        Ok(())
    }
}

/// When the graph ran.
#[derive(Clone, Copy)]
pub struct Ran {
    pub begin: Instant,
    pub end: Instant,
}

/// Where a snapshot comes from, for the control plane to explain failures by.
pub type Origin = Arc<dyn Any + Send + Sync>;

/// A version of a split.
pub struct Target {
    pub version: Arc<Version>,
    pub weight: u32,
    pub seed: u64,
    pub counts: Arc<RouteShards>,
}

/// Where copies go, and the share of the calls that are copied.
pub struct Shadow {
    /// The name of the route that it is of.
    pub route: Arc<str>,
    pub version: Arc<Version>,
    pub share: f64,
    pub counts: Arc<RouteShards>,
}

/// What a name of a model leads to; there is at least one target.
pub struct Route {
    pub targets: Vec<Target>,
    pub shadow: Option<Shadow>,
}

impl Route {
    /// The index of the target that answers: for one key always the same, without a key at random
    /// by weight.
    #[inline]
    pub fn pick(&self, routing_key: &str) -> usize {
        if self.targets.len() == 1 {
            return 0;
        }
        let point = if routing_key.is_empty() { split::random_point() } else { split::point_of(routing_key) };
        split::pick(point, self.targets.iter().map(|target| (target.seed, target.weight)))
    }
}

/// All routes.
#[derive(Default)]
pub struct Snapshot {
    models: HashMap<String, HashMap<String, Arc<Route>, RandomState>, RandomState>,
    /// The methods of typed services by their paths.
    methods: HashMap<Vec<u8>, (Method, Arc<Service>), RandomState>,
    /// Who answers typed calls that name no version, by model and major.
    majors: HashMap<String, HashMap<u64, Arc<Route>, RandomState>, RandomState>,
    pub origin: Option<Origin>,
}

/// A typed service: its full name, what it is of, and the name of the route of calls that name no
/// version.
pub type ServiceParts = (String, Service, String);

impl Snapshot {
    /// A snapshot of (model, version or alias or "", what it leads to), and of typed services.
    pub fn new(routes: Vec<(String, String, Route)>, services: Vec<ServiceParts>, origin: Origin) -> Self {
        let mut snapshot = Self { origin: Some(origin), ..Self::default() };
        for (model, name, route) in routes {
            snapshot.models.entry(model).or_default().insert(name, Arc::new(route));
        }
        for (full_name, service, route) in services {
            if let Some(route) = snapshot.route(&service.model, &route).map(Arc::clone) {
                snapshot.majors.entry(service.model.clone()).or_default().insert(service.major, route);
            }
            let service = Arc::new(service);
            for (name, method) in [
                ("Predict", Method::TypedPredict),
                ("PredictBatch", Method::TypedPredictBatch),
                ("PredictStream", Method::TypedPredictStream),
            ] {
                let path = format!("/{full_name}/{name}");
                snapshot.methods.insert(path.into_bytes(), (method, Arc::clone(&service)));
            }
        }
        snapshot
    }

    /// The typed method of a path, if there is one.
    pub fn method(&self, path: &[u8]) -> Option<&(Method, Arc<Service>)> {
        self.methods.get(path)
    }

    /// The route of a typed call, if there is one of that name and all of it is of that major.
    pub fn major_route(&self, service: &Service, name: &str) -> Option<&Arc<Route>> {
        if name.is_empty() {
            let found = self.majors.get(&service.model).and_then(|majors| majors.get(&service.major));
            if found.is_some() {
                return found;
            }
        }
        let fits = |route: &&Arc<Route>| route.targets.iter().all(|each| each.version.major == service.major);
        self.route(&service.model, name).filter(fits)
    }

    /// The route, if there is one.
    #[inline]
    pub fn route(&self, model: &str, name: &str) -> Option<&Arc<Route>> {
        self.models.get(model)?.get(name)
    }
}
