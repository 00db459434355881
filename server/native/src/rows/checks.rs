//! Checks of rows: which values the schema refuses, and why.

use crate::protocol::reasons::{MISSING, NOT_WHOLE, OUT_OF_RANGE, ROW_REASONS};

/// The check of one feature.
pub(crate) struct FeatureCheck {
    pub source: CheckSource,
    pub missing_allowed: bool,
    /// For each reason the bytes of a `RowError` without the field `row`; empty for a reason that never applies.
    pub refusals: [Vec<u8>; ROW_REASONS],
}

/// The value that a check looks at.
pub(crate) enum CheckSource {
    Number(NumberCheck),
    /// The position of a text, and the vocabularies that must know it.
    Text(usize, Vec<usize>),
}

/// The numbers that a feature accepts; NaN is a missing value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NumberCheck {
    pub position: usize,
    pub low: f64,
    pub high: f64,
    pub whole: bool,
}

impl NumberCheck {
    /// The reason for which a number is refused; `None` where it is accepted.
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

    /// Whether every number is accepted.
    pub(crate) fn accepts_all(self) -> bool {
        self.low == f64::NEG_INFINITY && self.high == f64::INFINITY && !self.whole
    }
}

/// A row that is refused, and so has no score.
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

    /// The index of the reason.
    pub(crate) fn reason(&self) -> usize {
        self.reason
    }
}
