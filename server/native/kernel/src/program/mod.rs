//! Graphs that run here: compiled once from a bundle's ONNX model, and run over rows of numbers.
//!
//! `onnx` reads a model, `compile` makes steps of its nodes, and `execute` runs them over blocks of rows. Operators are
//! of a small closed set, over numbers that each row has for itself; `compile` says for each other one that it does not
//! run here.

mod arithmetic;
mod compile;
mod execute;
mod memory;
pub(crate) mod onnx;
mod plan;
mod protobuf;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::fmt;

pub(crate) use compile::named;
pub use memory::Memory;

use crate::program::compile::Compiled;
use crate::program::execute::Block;
use crate::program::plan::{Action, Step};
use crate::trees::{self, FormName, Processor, Trees};
use crate::values::{Values, ValuesMut};

/// The most rows that are computed at once, the most bytes that their tensors in slots take, and the most numbers that
/// their steps compute: a stop waits for one step at most. A single row may need more of both.
const BLOCK_ROWS: usize = 512;
const BLOCK_BYTES: usize = 8 << 20;
const BLOCK_WORK: usize = 4 << 20;

/// What a caller asks of a program.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The form in which all trees are scored; `None` chooses by measurement.
    pub form: Option<FormName>,
    /// No more than the instructions of this kind of processor; `None` is all that this processor has.
    pub processor: Option<Processor>,
}

/// An input or an output of a program: a tensor with `width` values for each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// The number of the element type in ONNX.
    pub element: i32,
    pub width: usize,
}

/// Why a graph does not run here: a sentence without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsupported {}

/// Why a run gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The run was stopped.
    Stopped,
    /// An index that a row gives is beyond what it is taken from.
    OutOfRange,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "the run was stopped",
            Self::OutOfRange => "an index is out of range",
        })
    }
}

impl std::error::Error for Failure {}

/// A graph that is ready to run. Many threads may run it at once, each with its own memory.
pub struct Program {
    compiled: Compiled,
    block_rows: usize,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({})", self.description())
    }
}

impl Program {
    /// Compiles an ONNX model whose graph was audited. Trees are measured, which takes some milliseconds.
    ///
    /// # Errors
    /// `Unsupported`: the graph has an operator, a type or a shape that is not of the closed set.
    pub fn compile(model: &[u8], options: Options) -> Result<Self, Unsupported> {
        let compiled = compile::compile(model, options)?;
        let work = compiled.steps.iter().map(Step::work).fold(0, usize::saturating_add);
        let most = (BLOCK_BYTES / compiled.widths.bytes().max(1)).min(BLOCK_WORK / work.max(1));
        Ok(Self { compiled, block_rows: most.clamp(1, BLOCK_ROWS) })
    }

    /// The inputs, in the order of the graph.
    pub fn inputs(&self) -> &[Port] {
        &self.compiled.inputs
    }

    /// The outputs, in the order of the graph.
    pub fn outputs(&self) -> &[Port] {
        &self.compiled.outputs
    }

    /// The ensembles of trees, in the order in which they are scored.
    pub fn trees(&self) -> impl Iterator<Item = &Trees> {
        self.compiled.steps.iter().filter_map(|step| match &step.action {
            Action::Score { trees, .. } => Some(&**trees),
            _ => None,
        })
    }

    /// What scores the trees, and the memory of that, for people: "heap up to 32 rows, then slices; 1.4 MB". Of a graph
    /// without trees the number of steps.
    pub fn description(&self) -> String {
        let trees = self.trees().collect::<Vec<_>>();
        trees::describe(&trees).unwrap_or_else(|| match self.compiled.steps.len() {
            1 => "no trees, 1 step".to_string(),
            count => format!("no trees, {count} steps"),
        })
    }

    /// Runs the graph over `rows` rows. Inputs and outputs are in the order of `inputs` and `outputs`, each with
    /// `rows` x `width` values of its type; for whole numbers of fewer bits also `I64`. `is_stopped` is asked before each
    /// step of each block of rows.
    ///
    /// # Errors
    /// `Failure`: `is_stopped` said so, or an index is out of range. The outputs may be written in part.
    ///
    /// # Panics
    /// The types or lengths are others.
    pub fn run(
        &self,
        rows: usize,
        inputs: &[Values<'_>],
        outputs: &mut [ValuesMut<'_>],
        memory: &mut Memory,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        let Compiled { inputs: given, outputs: made, constants, steps, widths } = &self.compiled;
        assert_eq!(
            (inputs.len(), outputs.len()),
            (given.len(), made.len()),
            "as many tensors as the graph has"
        );
        assert!(
            inputs.iter().zip(given).all(|(values, port)| values.len() == rows * port.width)
                && outputs.iter().zip(made).all(|(values, port)| values.len() == rows * port.width),
            "the tensors have the width of the graph's, times the rows"
        );
        memory.fit(widths, rows.min(self.block_rows));
        let mut first = 0;
        while first < rows {
            let count = self.block_rows.min(rows - first);
            let mut block =
                Block { constants, inputs, outputs: &mut *outputs, memory: &mut *memory, first, rows: count };
            for step in steps {
                if is_stopped() {
                    return Err(Failure::Stopped);
                }
                block.run(step)?;
            }
            first += count;
        }
        Ok(())
    }
}
