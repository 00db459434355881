//! The border to Python: the module `scorewire_native`.

mod access;
mod bags;
mod connection_parts;
mod contributions;
mod engine;
mod errors;
mod events;
mod explainer;
mod graph;
mod recording;
mod tracing;
mod version;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::bridge::panics;
use crate::encodings::methods::METHODS;
use crate::protocol::reasons::ROW_REASON_NAMES;

#[pymodule]
fn scorewire_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    panics::install_hook();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("METHODS", PyTuple::new(module.py(), METHODS.each_ref().map(|method| method.name))?)?;
    module.add("ROW_REASONS", PyTuple::new(module.py(), ROW_REASON_NAMES)?)?;
    module.add_function(wrap_pyfunction!(graph::load_runtime, module)?)?;
    module.add("UnsupportedError", module.py().get_type::<errors::UnsupportedError>())?;
    module.add_class::<graph::Graph>()?;
    module.add_class::<contributions::Contributions>()?;
    module.add_class::<recording::PySource>()?;
    module.add_class::<version::PyVersion>()?;
    module.add_class::<engine::Engine>()
}
