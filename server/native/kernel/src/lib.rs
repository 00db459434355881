//! Runs graphs of bundles without onnxruntime: ensembles of decision trees, and a small closed set of operators
//! around them. Explains the sums of trees by contributions of the caller's columns.
//!
//! No I/O, no threads, no clock but for the choice among forms of an ensemble. Sums are those of the libraries
//! that trained the models, in their order and precision, so that margins have the libraries' own bits.

pub mod contributions;
pub mod program;
#[cfg(feature = "python")]
mod python;
pub mod trees;
pub mod values;
