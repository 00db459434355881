//! The reasons of the contract for which calls fail and rows are refused, as statistics count them.

/// The number of a reason for which calls fail is below this. The border to Python checks every number that
/// comes in.
pub(crate) const REASONS: usize = 32;

/// How many reasons there are for which a row is refused, and the index of each.
pub(crate) const ROW_REASONS: usize = 4;
pub(crate) const MISSING: usize = 0;
pub(crate) const OUT_OF_RANGE: usize = 1;
pub(crate) const UNKNOWN: usize = 2;
pub(crate) const NOT_WHOLE: usize = 3;

/// Their names in the contract, by index.
pub(crate) const ROW_REASON_NAMES: [&str; ROW_REASONS] = {
    let mut names = [""; ROW_REASONS];
    names[MISSING] = "MISSING_VALUE";
    names[OUT_OF_RANGE] = "NUMBER_OUT_OF_RANGE";
    names[UNKNOWN] = "UNKNOWN_TEXT";
    names[NOT_WHOLE] = "NUMBER_NOT_WHOLE";
    names
};
