//! The reasons of the contract, as statistics count them.

/// Calls that fail are counted by the number of their reason, which is below this. The border to
/// Python checks each number.
pub(crate) const REASONS: usize = 32;

/// Why rows are refused: the number of reasons, and the place of each.
pub(crate) const ROW_REASONS: usize = 4;
pub(crate) const MISSING: usize = 0;
pub(crate) const OUT_OF_RANGE: usize = 1;
pub(crate) const UNKNOWN: usize = 2;
pub(crate) const NOT_WHOLE: usize = 3;

/// Their names in the contract, each at its place.
pub(crate) const ROW_REASON_NAMES: [&str; ROW_REASONS] = {
    let mut names = [""; ROW_REASONS];
    names[MISSING] = "MISSING_VALUE";
    names[OUT_OF_RANGE] = "NUMBER_OUT_OF_RANGE";
    names[UNKNOWN] = "UNKNOWN_TEXT";
    names[NOT_WHOLE] = "NUMBER_NOT_WHOLE";
    names
};
