//! Ensembles of decision trees, and the forms in which they are scored.
//!
//! `ensemble` is what a model says. `coded` has the same trees over codes: small whole numbers that a row's values
//! become once, by which all splits decide. `forms` are ways to score coded trees; each has its size and shape of
//! trees, its number of rows and its processors. All give the same bits. `shap` explains sums.

mod choice;
mod coded;
mod element;
pub(crate) mod ensemble;
mod forms;
mod prefetch;
mod processor;
mod sample;
mod scored;
mod scratch;
mod search;
pub(crate) mod shap;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use element::Real;
pub use forms::FormName;
pub use processor::Processor;
pub use scored::Trees;
pub(crate) use scored::{describe, memory_text};
pub use scratch::Scratch;
