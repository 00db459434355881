//! What a compiled program is made of: steps, each of which writes one tensor from others.
//!
//! A tensor has `width` numbers for each row, row by row. It is an input, an output, or a slot of the memory; constants
//! are tensors without rows. Steps read tensors by operands.

use std::sync::Arc;

use crate::program::arithmetic::{Binary, Comparison, Logic, Reduction, Unary};
use crate::program::onnx::Data;
use crate::trees::Trees;

/// The type of the numbers of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    F32,
    F64,
    I64,
    Bool,
}

/// Where a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Input(usize),
    Output(usize),
    /// One of the slots for its kind.
    Slot(usize),
    /// All constants of its kind.
    Constants,
}

/// Numbers that a step reads: for each row those from `begin` on, or one for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operand {
    pub place: Place,
    /// The width of the tensor; 0 for constants.
    pub stride: usize,
    pub begin: usize,
    /// Whether the number at `begin` stands for the whole row.
    pub one: bool,
}

/// Numbers that stand next to each other in a row of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub place: Place,
    pub stride: usize,
    pub begin: usize,
    pub length: usize,
}

pub(crate) struct Step {
    pub action: Action,
    /// What is written: its place, its kind and its width.
    pub place: Place,
    pub kind: Kind,
    pub width: usize,
}

impl Step {
    /// About how many numbers it computes, or reads, of a row.
    pub(crate) fn work(&self) -> usize {
        let each = match &self.action {
            Action::Chain(_, links) => links.len(),
            Action::Multiply { inner, .. } => *inner,
            Action::ArgMax { group, .. } | Action::Reduce { group, .. } => *group,
            Action::Score { trees, count, .. } => return trees.widths().0.saturating_add(*count),
            _ => 1,
        };
        self.width.saturating_mul(each)
    }
}

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Link {
    Unary(Unary),
    /// With a constant as the second number.
    With(Binary, f64),
    /// With a constant as the first number.
    After(f64, Binary),
}

/// What a step does. `kind` is that of the operands, where it is not that of the result.
pub(crate) enum Action {
    Unary(Unary, Operand),
    /// Functions, one after the other.
    Chain(Operand, Vec<Link>),
    Binary(Binary, [Operand; 2]),
    Compare {
        comparison: Comparison,
        kind: Kind,
        of: [Operand; 2],
    },
    Logic(Logic, [Operand; 2]),
    Not(Operand),
    IsNan {
        kind: Kind,
        of: Operand,
    },
    /// Where the first holds, the second, else the third.
    Choose(Operand, [Operand; 2]),
    Cast {
        kind: Kind,
        of: Operand,
    },
    /// The runs, one after the other.
    Pick(Box<[Run]>),
    /// The sums of trees over a whole tensor.
    Score {
        trees: Box<Trees>,
        /// How many trees there are.
        count: usize,
        kind: Kind,
        of: Place,
    },
    /// The product with a matrix, row by row, of `inner` rows.
    Multiply {
        of: Operand,
        inner: usize,
        matrix: Arc<Data>,
    },
    /// Of each group of so many numbers the exponentials, as shares of their sum.
    Softmax {
        of: Operand,
        group: usize,
    },
    /// Of each group of so many numbers the index of the greatest, the first or the last of several.
    ArgMax {
        kind: Kind,
        of: Operand,
        group: usize,
        last: bool,
    },
    Reduce {
        reduction: Reduction,
        of: Operand,
        group: usize,
    },
    /// The sums of each group up to each number.
    RunningSums {
        of: Operand,
        group: usize,
    },
    /// For each index a row of a table.
    LookUp {
        table: Arc<Data>,
        rows: usize,
        index: Operand,
    },
    /// For each index a number of the same row.
    Take {
        of: Operand,
        among: usize,
        index: Operand,
    },
}
