//! Rows of different calls, scored in one run of a version's graph.

use std::sync::PoisonError;

use crate::onnx::binding::IoBinding;
use crate::onnx::library::GraphError;
use crate::rows::coding::{CodingScratch, Rows};
use crate::rows::runner::{GraphRunner, RunTimes};

/// A run that is being filled with the rows of calls.
pub(crate) struct Microbatch<'a> {
    runner: &'a GraphRunner,
    worker: usize,
    count: usize,
    binding: IoBinding,
}

impl<'a> Microbatch<'a> {
    /// A run of `count` rows, at most the runner's `max_shared_rows`.
    ///
    /// # Errors
    /// `GraphError`: there is not enough memory.
    pub(crate) fn new(runner: &'a GraphRunner, worker: usize, count: usize) -> Result<Self, GraphError> {
        Ok(Self { runner, worker, count, binding: runner.take_binding(worker, count)? })
    }

    /// Puts the only row of a call at place `at`. The row was examined and has no error.
    ///
    /// # Errors
    /// `GraphError`: onnxruntime refuses a text.
    pub(crate) fn fill(
        &mut self,
        at: usize,
        rows: Rows<'_>,
        scratch: &mut CodingScratch,
    ) -> Result<(), GraphError> {
        self.runner.coder.fill(rows, 0..1, scratch, &mut self.binding, at)
    }

    /// Puts the counts of words of all calls at their places; each call has a scratch of its own.
    ///
    /// # Errors
    /// `GraphError`: there is not enough memory.
    pub(crate) fn fill_entries<'s>(
        &mut self,
        scratches: impl Iterator<Item = &'s CodingScratch> + Clone,
    ) -> Result<(), GraphError> {
        let rows = scratches.map(|scratch| (scratch, 0));
        self.runner.coder.fill_entries(&mut self.binding, rows)
    }

    /// Runs the graph, and hands the outputs of all rows to `use_outputs`.
    ///
    /// # Errors
    /// `GraphError`: as of `GraphRunner::run`. Then `use_outputs` was not called.
    pub(crate) fn run_together<T>(self, use_outputs: impl FnOnce(&IoBinding) -> T) -> Result<T, GraphError> {
        let Self { runner, worker, count, mut binding } = self;
        runner.run_filled(&mut binding, count, None)?;
        let used = use_outputs(&binding);
        runner.give_back(worker, count, binding);
        Ok(used)
    }

    /// Runs the graph, and hands each row's outputs to `use_outputs`, as if the row had been alone.
    ///
    /// # Errors
    /// `GraphError`: as of `GraphRunner::run`. Then `use_outputs` was not called.
    pub(crate) fn run(
        self,
        mut use_outputs: impl FnMut(usize, &IoBinding, RunTimes),
    ) -> Result<(), GraphError> {
        let Self { runner, worker, count, mut binding } = self;
        let times = runner.run_filled(&mut binding, count, None)?;
        let slot = || runner.rows[worker].lock().unwrap_or_else(PoisonError::into_inner);
        let kept = slot().take();
        let mut row = match kept {
            Some(row) => row,
            None => runner.row_like(&binding)?,
        };
        for at in 0..count {
            row.copy_outputs(&binding, |i| {
                let width = runner.outputs[i].width;
                at * width..(at + 1) * width
            })?;
            use_outputs(at, &row, times);
        }
        *slot() = Some(row);
        runner.give_back(worker, count, binding);
        Ok(())
    }
}
