//! Which rows are refused, and why.

use crate::protocol::reasons::{MISSING, NOT_WHOLE, OUT_OF_RANGE, ROW_REASONS};

/// What one feature refuses, in schema order.
pub(crate) struct FeatureCheck {
    pub source: CheckSource,
    pub missing_allowed: bool,
    /// By reason: a RowError without its row, as bytes; empty for what is never refused.
    pub refusals: [Vec<u8>; ROW_REASONS],
}

/// What a check looks at.
pub(crate) enum CheckSource {
    Number(NumberCheck),
    /// Position of the text, and the vocabularies that must know it.
    Text(usize, Vec<usize>),
}

/// Which numbers are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NumberCheck {
    pub position: usize,
    pub low: f64,
    pub high: f64,
    pub whole: bool,
}

impl NumberCheck {
    #[inline]
    pub(crate) fn refuse(self, number: f64, missing_allowed: bool) -> Option<usize> {
        if number.is_nan() {
            (!missing_allowed).then_some(MISSING)
        } else if number < self.low || number > self.high {
            Some(OUT_OF_RANGE)
        } else {
            (self.whole && number != number.floor()).then_some(NOT_WHOLE)
        }
    }

    /// Whether it takes every number.
    pub(crate) fn free(self) -> bool {
        self.low == f64::NEG_INFINITY && self.high == f64::INFINITY && !self.whole
    }
}

/// A row that has no score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowError {
    pub row: u32,
    check: u32,
    reason: usize,
}

impl RowError {
    pub(crate) fn new(row: usize, check: usize, reason: usize) -> Self {
        Self { row: row as u32, check: check as u32, reason }
    }

    /// The index of the check that refuses the row.
    pub(crate) fn check(&self) -> usize {
        self.check as usize
    }

    /// Why, as an index to count by.
    pub(crate) fn reason(&self) -> usize {
        self.reason
    }
}
