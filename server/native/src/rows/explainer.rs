//! Explains rows: what each of the caller's columns contributes to the margins of one output.
//!
//! A second graph of the version turns rows into what its trees read, and into the contributions of linear terms. From
//! the former the kernel computes the contributions of the trees.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use scorewire_kernel::contributions::{Contributions, Memory};
use scorewire_kernel::values::Values;

use crate::onnx::binding::IoBinding;
use crate::onnx::library::GraphError;
use crate::onnx::limit::{self, RunError};
use crate::onnx::program::values;
use crate::onnx::session::Stop;
use crate::rows::coding::{CodingScratch, Rows};
use crate::rows::microbatch::Microbatch;
use crate::rows::runner::{GraphRunner, Model};

/// The most bytes of the contributions of all columns, where the caller wants few of them.
const BLOCK_BYTES: usize = 1 << 20;
/// The most bytes of memory that a thread keeps between runs.
const KEPT_BYTES: usize = 1 << 20;

thread_local! {
    /// The memory of a thread for all explanations. A run takes it out and gives it back; a run that panics loses it.
    static MEMORY: Cell<Option<Box<Memory>>> = const { Cell::new(None) };
}

/// What an explainer is made of.
pub(crate) struct Explanation {
    pub output: String,
    /// Its outputs are what trees read, and linear terms.
    pub graph: Model,
    pub trees: Arc<Contributions>,
    /// For each term of trees the output that it reads.
    pub tree_inputs: Vec<usize>,
    pub linear: Vec<LinearTerm>,
    /// For each margin what no term has.
    pub constants: Vec<f64>,
    /// The caller's columns.
    pub columns: usize,
    /// Nanoseconds that one row costs, measured when the bundle was loaded.
    pub row_ns: f64,
}

/// A linear term: the output with its contributions, and their columns, by their index among the caller's.
pub(crate) struct LinearTerm {
    pub output: usize,
    pub columns: Vec<u32>,
}

/// Explains one output of a version.
pub(crate) struct Explainer {
    pub output: String,
    pub row_ns: f64,
    columns: usize,
    constants: Vec<f64>,
    runner: GraphRunner,
    trees: Arc<Contributions>,
    /// For each term of trees the output that it reads, and whether the trees read doubles.
    tree_inputs: Vec<(usize, bool)>,
    linear: Vec<LinearTerm>,
}

/// The margins of rows, [rows, margins], and the contributions of as many columns as the caller wants.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Explained {
    pub margins: Vec<f64>,
    /// [rows, margins, columns]: of all, in schema order; or of those in `chosen`.
    pub values: Vec<f64>,
    /// The columns that `values` are of, the strongest first; empty where all columns are wanted.
    pub chosen: Vec<u32>,
    /// Nanoseconds that it took.
    pub ns: u64,
}

impl Explainer {
    /// An explainer for calls of workers with an index below `workers`.
    pub(crate) fn new(parts: Explanation, workers: usize) -> Self {
        let Explanation { output, graph, trees, tree_inputs, linear, .. } = parts;
        let Explanation { constants, columns, row_ns, .. } = parts;
        let tree_inputs = tree_inputs.into_iter().zip(trees.doubles()).collect();
        let runner = GraphRunner::new(graph, workers);
        Self { output, row_ns, columns, constants, runner, trees, tree_inputs, linear }
    }

    /// Whether rows of different calls may share a run.
    pub(crate) fn is_joint(&self) -> bool {
        self.runner.max_shared_rows > 1
    }

    /// Explains the rows that were examined and have no error, by the `top_k` strongest columns of each row and margin,
    /// or by all for 0. A run that is not over at `until` is stopped.
    ///
    /// # Errors
    /// `RunError`: as of `GraphRunner::run`.
    pub(crate) fn explain(
        &self,
        worker: usize,
        rows: Rows<'_>,
        scratch: &mut CodingScratch,
        top_k: u32,
        until: Option<Instant>,
    ) -> Result<Explained, RunError> {
        let kept = if scratch.errors.is_empty() { rows.count } else { scratch.kept.len() };
        if kept == 0 {
            return Ok(Explained::default());
        }
        let begin = Instant::now();
        let mut explained = limit::run(until, |stop| {
            let add_up = |binding: &IoBinding, _: &CodingScratch, _| self.add_up(kept, binding, top_k, stop);
            self.runner.run_rows(worker, rows, scratch, stop, add_up)?
        })?;
        explained.ns = begin.elapsed().as_nanos() as u64;
        Ok(explained)
    }

    /// Explains single rows of different calls in one run, each by as many columns as its call wants, and gives what is
    /// explained of each, in their order. All rows were examined, and none has an error.
    ///
    /// # Errors
    /// `GraphError`: the run failed, and no row was explained.
    pub(crate) fn explain_together(
        &self,
        worker: usize,
        calls: &mut [(Rows<'_>, &mut CodingScratch, u32)],
    ) -> Result<Vec<Explained>, GraphError> {
        let begin = Instant::now();
        let mut batch = Microbatch::new(&self.runner, worker, calls.len())?;
        for (at, (rows, scratch, _)) in calls.iter_mut().enumerate() {
            batch.fill(at, *rows, scratch)?;
        }
        batch.fill_entries(calls.iter().map(|(_, scratch, _)| &**scratch))?;
        let all = batch.run_together(|binding| self.add_up(calls.len(), binding, 0, None))??;
        let ns = begin.elapsed().as_nanos() as u64 / calls.len() as u64;
        let margins = all.margins.chunks_exact(self.constants.len());
        let values = all.values.chunks_exact(self.constants.len() * self.columns);
        let one = |((margins, values), (.., top_k)): ((&[f64], &[f64]), &(_, _, u32))| {
            let mut one = Explained { margins: margins.into(), ns, ..Explained::default() };
            match top_k {
                0 => one.values = values.into(),
                count => self.choose(values, *count, &mut one),
            }
            one
        };
        Ok(margins.zip(values).zip(&*calls).map(one).collect())
    }

    /// Adds the contributions of the strongest columns, of those of all columns.
    fn choose(&self, values: &[f64], top_k: u32, explained: &mut Explained) {
        let mut order = Vec::with_capacity(self.columns);
        for of_margin in values.chunks_exact(self.columns) {
            strongest(of_margin, top_k as usize, &mut order);
            explained.values.extend(order.iter().map(|&column| of_margin[column as usize]));
            explained.chosen.extend_from_slice(&order);
        }
    }

    fn add_up(
        &self,
        rows: usize,
        binding: &IoBinding,
        top_k: u32,
        stop: Option<&Stop>,
    ) -> Result<Explained, GraphError> {
        let of_row = self.constants.len() * self.columns;
        let mut explained =
            Explained { margins: vec![0.0; rows * self.constants.len()], ..Explained::default() };
        if top_k == 0 {
            explained.values = vec![0.0; rows * of_row];
            self.add(0..rows, binding, &mut explained.margins, &mut explained.values, stop)?;
            return Ok(explained);
        }
        // Of all columns there may be far more than the answer has.
        let block = (BLOCK_BYTES / (of_row * size_of::<f64>())).clamp(1, rows);
        let mut values = vec![0.0; block * of_row];
        for first in (0..rows).step_by(block) {
            let block = first..rows.min(first + block);
            let values = &mut values[..block.len() * of_row];
            values.fill(0.0);
            let margins = &mut explained.margins[block.start * self.constants.len()..];
            let margins = &mut margins[..block.len() * self.constants.len()];
            self.add(block, binding, margins, values, stop)?;
            self.choose(values, top_k, &mut explained);
        }
        Ok(explained)
    }

    /// Adds what the graph's outputs for some of the rows give to their margins and the contributions of all columns.
    fn add(
        &self,
        rows: Range<usize>,
        binding: &IoBinding,
        margins: &mut [f64],
        contributions: &mut [f64],
        stop: Option<&Stop>,
    ) -> Result<(), GraphError> {
        let (tensors, columns) = (binding.outputs(), self.columns);
        let part = |output: usize| {
            let width = self.runner.outputs[output].width;
            rows.start * width..rows.end * width
        };
        let read = |&(output, is_double): &(usize, bool)| match values(&tensors[output])? {
            Values::F32(floats) => Ok(Values::F32(&floats[part(output)])),
            Values::F64(doubles) if is_double => Ok(Values::F64(&doubles[part(output)])),
            _ => Err(GraphError("the trees do not read values of this type".into())),
        };
        let inputs = self.tree_inputs.iter().map(read).collect::<Result<Vec<Values<'_>>, _>>()?;
        let mut memory = MEMORY.take().unwrap_or_default();
        let is_stopped = || stop.is_some_and(Stop::is_stopped);
        let added = self.trees.add(rows.len(), &inputs, margins, contributions, &mut memory, &is_stopped);
        memory.release(KEPT_BYTES);
        MEMORY.set(Some(memory));
        added.map_err(|failure| GraphError(failure.to_string()))?;
        for margins in margins.chunks_exact_mut(self.constants.len()) {
            margins.iter_mut().zip(&self.constants).for_each(|(margin, constant)| *margin += constant);
        }
        for LinearTerm { output, columns: of } in &self.linear {
            tensors[*output].for_each_f64_in(part(*output), |i, value| {
                let (cell, column) = (i / of.len(), of[i % of.len()] as usize);
                margins[cell] += value;
                contributions[cell * columns + column] += value;
            })?;
        }
        Ok(())
    }
}

/// Puts the indices of the `count` contributions with the largest magnitudes in `order`, the largest first; of
/// equal ones the first. NaN has no magnitude.
pub(crate) fn strongest(values: &[f64], count: usize, order: &mut Vec<u32>) {
    let stronger = |a: &u32, b: &u32| {
        let magnitude =
            |i: &u32| Some(values[*i as usize].abs()).filter(|size| !size.is_nan()).unwrap_or(0.0);
        magnitude(b).total_cmp(&magnitude(a)).then(a.cmp(b))
    };
    order.clear();
    order.extend(0..values.len() as u32);
    if count < order.len() {
        order.select_nth_unstable_by(count, stronger);
        order.truncate(count);
    }
    order.sort_unstable_by(stronger);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_come_first_and_of_equal_ones_the_first() {
        let mut order = Vec::new();
        let values = [0.0, -3.0, 1.0, 3.0, -0.0, 2.0];
        for (count, wanted) in [(0, vec![]), (1, vec![1]), (3, vec![1, 3, 5]), (6, vec![1, 3, 5, 2, 0, 4])] {
            strongest(&values, count, &mut order);
            assert_eq!(order, wanted);
        }
        strongest(&values, 100, &mut order);
        assert_eq!(order, [1, 3, 5, 2, 0, 4]);
        strongest(&[f64::NAN, 0.0, -1.0, f64::NEG_INFINITY], 3, &mut order);
        assert_eq!(order, [3, 2, 0]);
    }
}
