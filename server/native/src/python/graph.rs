//! Graphs that the control plane runs itself: to warm them up and prove them, and for calls that are forwarded.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::onnx::backend::Backend;
use crate::onnx::binding::{IoBinding, Names};
use crate::onnx::library;
use crate::onnx::limit;
use crate::onnx::tensor::{Element, Tensor};
use crate::python::errors::UnsupportedError;

/// The element type of an ONNX number.
pub(super) fn element(code: i32) -> PyResult<Element> {
    Element::from_onnx(code).ok_or_else(|| PyValueError::new_err(format!("ONNX type {code} is not taken")))
}

/// Loads onnxruntime's library into the process; returns its version.
#[pyfunction]
pub(super) fn load_runtime(library: PathBuf) -> PyResult<&'static str> {
    Ok(library::load(&library)?)
}

// Python unpacks these in one place.
type RunOutputs<'py> = Vec<(i32, Vec<i64>, Bound<'py, PyAny>)>;

/// The values of one graph input.
#[derive(FromPyObject)]
enum Values {
    Texts(Vec<String>),
    Numbers(Vec<u8>),
}

/// A graph, in onnxruntime or as a program of the kernel.
#[pyclass(frozen)]
pub(crate) struct Graph(pub Arc<Backend>);

#[pymethods]
impl Graph {
    /// A graph in onnxruntime.
    #[new]
    fn new(py: Python<'_>, graph: &[u8], threads: i32) -> PyResult<Self> {
        Ok(Self(Arc::new(py.detach(|| Backend::open(graph, threads))?)))
    }

    /// A graph as a program of the kernel. `UnsupportedError`: only onnxruntime can run it. A panic of the compiler
    /// becomes a `PanicException`, which the loader logs.
    #[staticmethod]
    fn compile(py: Python<'_>, graph: &[u8]) -> PyResult<Self> {
        let compiled = py.detach(|| Backend::compile(graph));
        compiled.map(|backend| Self(Arc::new(backend))).map_err(|error| UnsupportedError::new_err(error.0))
    }

    /// What runs the trees of a program, for people; "" in onnxruntime.
    fn description(&self) -> String {
        match &*self.0 {
            Backend::Program(program) => program.description(),
            Backend::Session(_) => String::new(),
        }
    }

    /// Runs the graph: inputs are (name, ONNX type, shape, bytes or texts), answers (ONNX type,
    /// shape, bytes or texts). A run that takes longer than `seconds` is stopped: `TimeoutError`.
    #[pyo3(signature = (names, feeds, seconds=None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        names: Vec<String>,
        feeds: Vec<(String, i32, Vec<i64>, Values)>,
        seconds: Option<f64>,
    ) -> PyResult<RunOutputs<'py>> {
        let input_names = feeds.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>();
        let names = Arc::new((Names::new(&input_names)?, Names::new(&names)?));
        let mut inputs = Vec::new();
        for (name, code, shape, values) in feeds {
            let mut tensor = Tensor::new(element(code)?, &shape)?;
            match values {
                Values::Texts(texts) => {
                    for (i, text) in texts.iter().enumerate() {
                        tensor.set_text(i, text.as_bytes())?;
                    }
                }
                Values::Numbers(numbers) => {
                    let length = tensor.bytes().len();
                    if length != numbers.len() {
                        let message =
                            format!("input {name:?} has {} bytes instead of {length}", numbers.len());
                        return Err(PyValueError::new_err(message));
                    }
                    if tensor.element() == Element::Bool {
                        let truths = numbers.iter().map(|&truth| truth != 0);
                        tensor.bools_mut().iter_mut().zip(truths).for_each(|(place, truth)| *place = truth);
                    } else {
                        tensor.bytes_mut().copy_from_slice(&numbers);
                    }
                }
            }
            inputs.push(tensor);
        }
        let mut binding = IoBinding::new(inputs, names);
        let until = seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds.max(0.0)));
        py.detach(|| limit::run(until, |stop| binding.run(&self.0, stop)))?;
        let answer = |tensor: &Tensor| {
            let values = if tensor.element() == Element::Text {
                let texts = tensor.texts()?;
                PyList::new(py, (0..tensor.count()).map(|i| texts.get(i)))?.into_any()
            } else {
                PyBytes::new(py, tensor.bytes()).into_any()
            };
            Ok((tensor.element().code(), tensor.shape().to_vec(), values))
        };
        binding.outputs().iter().map(answer).collect()
    }
}
