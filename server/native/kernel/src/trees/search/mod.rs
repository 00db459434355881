//! The search for the codes of values: how many of a column's thresholds are below a value.

#[cfg(target_arch = "x86_64")]
pub(crate) mod bytes;
pub(crate) mod halving;
pub(crate) mod ladder;
#[cfg(target_arch = "x86_64")]
pub(crate) mod levels;
pub(crate) mod members;
pub(crate) mod pairs;
#[cfg(target_arch = "x86_64")]
pub(crate) mod registers;
#[cfg(target_arch = "x86_64")]
pub(crate) mod table;
