//! Contributions for Python.

use std::sync::{Mutex, PoisonError};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::contributions::{self, Term};
use crate::program::Port;
use crate::program::onnx::{DOUBLE, FLOAT};
use crate::python::{Tensor, UnsupportedError, zeros};

/// The values of an array of doubles, or of a sequence of numbers.
struct Doubles(Vec<f64>);

impl<'py> FromPyObject<'_, 'py> for Doubles {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match PyBuffer::<f64>::get(&object) {
            Ok(buffer) if buffer.is_c_contiguous() => buffer.to_vec(object.py()).map(Self),
            _ => object.extract().map(Self),
        }
    }
}

/// The items of a term.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct TermItems {
    ensemble: String,
    features: Vec<u32>,
    node_covers: Doubles,
    leaf_covers: Doubles,
    scale: f64,
    first_margin: usize,
}

/// What makes contributions.
#[pyclass(frozen)]
pub(super) struct Contributions {
    contributions: contributions::Contributions,
    /// The types and widths of the inputs.
    ports: Vec<Port>,
    /// Memory of runs that have ended.
    spare: Mutex<Vec<contributions::Memory>>,
}

#[pymethods]
impl Contributions {
    #[new]
    fn new(
        py: Python<'_>,
        graph: &[u8],
        terms: Vec<TermItems>,
        features: usize,
        margins: usize,
    ) -> PyResult<Self> {
        let given = terms.iter().map(|term| Term {
            ensemble: &term.ensemble,
            features: &term.features,
            node_covers: &term.node_covers.0,
            leaf_covers: &term.leaf_covers.0,
            scale: term.scale,
            first_margin: term.first_margin,
        });
        let given: Vec<_> = given.collect();
        let contributions = py
            .detach(|| contributions::Contributions::new(graph, &given, features, margins))
            .map_err(|error| UnsupportedError::new_err(error.to_string()))?;
        let ports = (0..).zip(contributions.widths().into_iter().zip(contributions.doubles()));
        let ports = ports.map(|(i, (width, is_double))| Port {
            name: format!("{i}"),
            element: if is_double { DOUBLE } else { FLOAT },
            width,
        });
        let ports = ports.collect();
        Ok(Self { contributions, ports, spare: Mutex::default() })
    }

    #[getter]
    fn base(&self) -> Vec<f64> {
        self.contributions.base().to_vec()
    }

    #[getter]
    fn description(&self) -> String {
        self.contributions.description()
    }

    #[getter]
    fn bytes(&self) -> usize {
        self.contributions.bytes()
    }

    fn run<'py>(
        &self,
        py: Python<'py>,
        inputs: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        if inputs.len() != self.ports.len() {
            return Err(PyValueError::new_err(format!("there are {} terms", self.ports.len())));
        }
        let mut tensors = Vec::with_capacity(inputs.len());
        let mut rows = None;
        for (port, array) in self.ports.iter().zip(&inputs) {
            let (tensor, own) = match Tensor::read(port, array) {
                // Trees over doubles take floats as well.
                Err(_) if port.element == DOUBLE => {
                    Tensor::read(&Port { element: FLOAT, ..port.clone() }, array)?
                }
                read => read?,
            };
            if *rows.get_or_insert(own) != own {
                return Err(PyValueError::new_err("the inputs have different numbers of rows"));
            }
            tensors.push(tensor);
        }
        let rows = rows.unwrap_or(0);
        let margins = self.contributions.base().len();
        let port = |name: &str, width: usize| Port { name: name.into(), element: DOUBLE, width };
        let mut sums: Vec<f64> = zeros(&port("margins", margins), rows)?;
        let mut values: Vec<f64> =
            zeros(&port("values", margins.saturating_mul(self.contributions.features())), rows)?;
        py.detach(|| {
            let inputs = tensors.iter().map(Tensor::values).collect::<Vec<_>>();
            let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            let mut memory = spare().pop().unwrap_or_default();
            let added = self.contributions.add(rows, &inputs, &mut sums, &mut values, &mut memory, &|| false);
            spare().push(memory);
            added
        })
        .map_err(|failure| PyValueError::new_err(failure.to_string()))?;
        let values = Tensor::F64(values).to_array(py, rows, margins * self.contributions.features())?;
        let shape = (rows, margins, self.contributions.features());
        Ok((Tensor::F64(sums).to_array(py, rows, margins)?, values.call_method1("reshape", shape)?))
    }
}
