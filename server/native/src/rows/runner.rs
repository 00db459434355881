//! Runs a version's graph over the rows of one call.
//!
//! Each worker keeps one `IoBinding` for each number of rows up to `MAX_SHARED_ROWS`, so that small calls
//! allocate nothing. A binding is taken out for a run and given back after it: nobody waits for another's
//! run, and a binding whose run failed is never used again.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::onnx::backend::Backend;
use crate::onnx::binding::{IoBinding, Names};
use crate::onnx::library::GraphError;
use crate::onnx::limit::{self, RunError};
use crate::onnx::session::Stop;
use crate::onnx::tensor::{Element, Tensor};
use crate::rows::coding::{Coder, CodingScratch, Rows};
use crate::rows::output::Output;

/// The most calls whose rows one run scores.
pub(crate) const MAX_SHARED_ROWS: usize = 16;

/// What a runner is made of.
pub(crate) struct Model {
    pub backend: Arc<Backend>,
    pub input_names: Names,
    pub output_names: Names,
    pub coder: Arc<Coder>,
    pub outputs: Vec<Output>,
    /// Whether the graph takes one row in a run, and no more.
    pub row_by_row: bool,
    /// The most rows of different calls in one run. 1 where an output has texts.
    pub max_shared_rows: usize,
}

/// A version's graph, and how rows become its inputs.
pub(crate) struct GraphRunner {
    pub coder: Arc<Coder>,
    pub outputs: Vec<Output>,
    pub max_shared_rows: usize,
    backend: Arc<Backend>,
    names: Arc<(Names, Names)>,
    row_by_row: bool,
    bindings: Box<[Mutex<Bindings>]>,
    /// For each worker the outputs of one row of a microbatch.
    pub(super) rows: Box<[Mutex<Option<IoBinding>>]>,
}

/// The bindings that a worker keeps: for one row, for two, and so on.
type Bindings = [Option<IoBinding>; MAX_SHARED_ROWS];

/// When the graph ran.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunTimes {
    pub begin: Instant,
    pub end: Instant,
}

impl GraphRunner {
    /// A runner for calls of workers with an index below `workers`.
    pub(crate) fn new(model: Model, workers: usize) -> Self {
        Self {
            max_shared_rows: model.max_shared_rows.clamp(1, MAX_SHARED_ROWS),
            coder: model.coder,
            outputs: model.outputs,
            backend: model.backend,
            names: Arc::new((model.input_names, model.output_names)),
            row_by_row: model.row_by_row,
            bindings: (0..workers).map(|_| Mutex::default()).collect(),
            rows: (0..workers).map(|_| Mutex::default()).collect(),
        }
    }

    /// Runs the graph over the rows that were examined, and hands its outputs to `use_outputs`. A run that
    /// is not over at `until` is stopped.
    ///
    /// # Errors
    /// `RunError::Stopped`: the run was stopped. `RunError::Failed`: the graph failed, or an output has
    /// another shape or type than the schema says.
    pub(crate) fn run<T>(
        &self,
        worker: usize,
        rows: Rows<'_>,
        scratch: &mut CodingScratch,
        until: Option<Instant>,
        use_outputs: impl FnOnce(&IoBinding, &CodingScratch, RunTimes) -> T,
    ) -> Result<T, RunError> {
        limit::run(until, |stop| self.run_rows(worker, rows, scratch, stop, use_outputs))
    }

    /// As `run`, with a way to stop it.
    ///
    /// # Errors
    /// `GraphError`: the run was stopped, the graph failed, or an output has another shape or type than the schema says.
    pub(super) fn run_rows<T>(
        &self,
        worker: usize,
        rows: Rows<'_>,
        scratch: &mut CodingScratch,
        stop: Option<&Stop>,
        use_outputs: impl FnOnce(&IoBinding, &CodingScratch, RunTimes) -> T,
    ) -> Result<T, GraphError> {
        let kept = if scratch.errors.is_empty() { rows.count } else { scratch.kept.len() };
        if kept != 1 && self.row_by_row {
            let (binding, times) = self.run_each(kept, rows, scratch, stop)?;
            return Ok(use_outputs(&binding, scratch, times));
        }
        if kept != 1 {
            let mut binding = self.binding(kept)?;
            let times = self.run_binding(&mut binding, 0..kept, rows, scratch, stop)?;
            return Ok(use_outputs(&binding, scratch, times));
        }
        let mut binding = self.take_binding(worker, 1)?;
        let times = self.run_binding(&mut binding, 0..1, rows, scratch, stop)?;
        let used = use_outputs(&binding, scratch, times);
        self.give_back(worker, 1, binding);
        Ok(used)
    }

    fn binding(&self, count: usize) -> Result<IoBinding, GraphError> {
        Ok(IoBinding::new(self.coder.tensors(count)?, self.names.clone()))
    }

    /// Takes a worker's binding for `count` rows, or creates one.
    pub(super) fn take_binding(&self, worker: usize, count: usize) -> Result<IoBinding, GraphError> {
        let kept = self.kept(worker)[count - 1].take();
        kept.map_or_else(|| self.binding(count), Ok)
    }

    pub(super) fn give_back(&self, worker: usize, count: usize, binding: IoBinding) {
        self.kept(worker)[count - 1] = Some(binding);
    }

    fn kept(&self, worker: usize) -> MutexGuard<'_, Bindings> {
        self.bindings[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the graph once for each row, and gathers the outputs.
    fn run_each(
        &self,
        kept: usize,
        rows: Rows<'_>,
        scratch: &mut CodingScratch,
        stop: Option<&Stop>,
    ) -> Result<(IoBinding, RunTimes), GraphError> {
        let mut binding = self.binding(1)?;
        let begin = Instant::now();
        let mut outputs: Vec<Tensor> = Vec::new();
        for i in 0..kept {
            self.run_binding(&mut binding, i..i + 1, rows, scratch, stop)?;
            if outputs.is_empty() {
                outputs = self.outputs_like(&binding, kept)?;
            }
            for ((all, one), output) in outputs.iter_mut().zip(binding.outputs()).zip(&self.outputs) {
                all.copy_from(i * output.width, one, 0..output.width)?;
            }
        }
        let times = RunTimes { begin, end: Instant::now() };
        Ok((IoBinding::from_outputs(outputs, self.names.clone()), times))
    }

    fn run_binding(
        &self,
        binding: &mut IoBinding,
        kept: Range<usize>,
        rows: Rows<'_>,
        scratch: &mut CodingScratch,
        stop: Option<&Stop>,
    ) -> Result<RunTimes, GraphError> {
        let count = kept.len();
        self.coder.fill(rows, kept.clone(), scratch, binding, 0)?;
        let scratch = &*scratch;
        self.coder.fill_entries(binding, kept.map(|i| (scratch, i)))?;
        self.run_filled(binding, count, stop)
    }

    /// Tensors for the outputs of `count` rows, of the types that a binding's outputs have.
    fn outputs_like(&self, binding: &IoBinding, count: usize) -> Result<Vec<Tensor>, GraphError> {
        let pairs = binding.outputs().iter().zip(&self.outputs);
        pairs
            .map(|(tensor, output)| Tensor::new(tensor.element(), &[count as i64, output.width as i64]))
            .collect()
    }

    /// A binding for the outputs of one row of another binding's.
    pub(super) fn row_like(&self, binding: &IoBinding) -> Result<IoBinding, GraphError> {
        Ok(IoBinding::from_outputs(self.outputs_like(binding, 1)?, self.names.clone()))
    }

    /// Runs the graph over inputs that are filled, and checks the outputs' shapes and types.
    pub(super) fn run_filled(
        &self,
        binding: &mut IoBinding,
        count: usize,
        stop: Option<&Stop>,
    ) -> Result<RunTimes, GraphError> {
        let begin = Instant::now();
        binding.run(&self.backend, stop)?;
        let times = RunTimes { begin, end: Instant::now() };
        for (tensor, output) in binding.outputs().iter().zip(&self.outputs) {
            let (found, wanted) = (tensor.count(), count * output.width);
            if found != wanted {
                return Err(GraphError(format!("an output has {found} values instead of {wanted}")));
            }
            if output.texts != (tensor.element() == Element::Text) {
                return Err(GraphError("an output has not the kind of the schema's".into()));
            }
        }
        Ok(times)
    }
}
