//! Bit-sliced forms: many rows at once, one bit for each.
//!
//! Each distinct comparison of the ensemble is one vector with a bit for each row, computed once for a block of rows:
//! codes of a column become bit planes, and thresholds are asked of those by halves of four bits. A tree is a few
//! operations over these vectors. They give the bits of each row's index among the tree's leaves; the leaves' values
//! are then looked up and added in the order of the trees.
//!
//! `plan` decides what is computed, `evaluate` computes it in vectors of any width (`lanes`).

mod comparisons;
mod evaluate;
mod lanes;
mod plan;
#[cfg(target_arch = "x86_64")]
pub(crate) mod slices;
#[cfg(target_arch = "x86_64")]
mod wide;
pub(crate) mod words;

use std::ops::RangeInclusive;

use crate::trees::coded::{self, Codings, Column, Question};
use crate::trees::search::members::Members;

/// For how many rows in a call these forms are meant.
const ROWS: RangeInclusive<usize> = 48..=usize::MAX;

/// Rows whose values are coded at once.
const CHUNK: usize = 64;

/// Finds the codes of a column, those of thresholds by a search of type `T`.
enum ColumnCoder<T> {
    Thresholds(T),
    Set(Members),
}

impl<T> ColumnCoder<T> {
    /// The coders of all columns.
    fn all(codings: &Codings<'_>, search: impl Fn(&[f64]) -> T) -> Vec<Self> {
        let columns = &codings.coded(coded::MOST_IN_BARE_BYTE).columns;
        let coder = |column: &Column| match &column.question {
            Question::Thresholds(thresholds) => Self::Thresholds(search(thresholds)),
            Question::Set(members) => Self::Set(Members::new(members)),
        };
        columns.iter().map(coder).collect()
    }

    /// The bytes that coders hold, given those of a search.
    fn bytes(coders: &[Self], search: impl Fn(&T) -> usize) -> usize {
        let each = coders.iter().map(|coder| match coder {
            Self::Thresholds(thresholds) => search(thresholds),
            Self::Set(members) => members.bytes(),
        });
        size_of_val(coders) + each.sum::<usize>()
    }
}
