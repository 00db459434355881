//! The contributions of trees, which the control plane makes of a bundle, and runs itself to prove and measure them.

use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use scorewire_kernel::contributions::{self, Memory, Term};
use scorewire_kernel::values::Values;

use crate::python::errors::UnsupportedError;

/// A sum of trees.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct TermParts {
    /// The name of the node's output.
    ensemble: String,
    /// For each column that the trees read the caller's.
    features: Vec<u32>,
    node_covers: PyBuffer<f64>,
    leaf_covers: PyBuffer<f64>,
    scale: f64,
    first_margin: usize,
}

/// What the trees of an output contribute to its margins.
#[pyclass(frozen)]
pub(crate) struct Contributions(pub Arc<contributions::Contributions>);

#[pymethods]
impl Contributions {
    /// Of the trees of a model, for so many columns of the caller's and so many margins. `UnsupportedError`: there are
    /// no contributions of these trees.
    #[new]
    fn new(
        py: Python<'_>,
        graph: &[u8],
        terms: Vec<TermParts>,
        features: usize,
        margins: usize,
    ) -> PyResult<Self> {
        let covers = |buffer: &PyBuffer<f64>| buffer.to_vec(py);
        let mut read = Vec::new();
        for term in &terms {
            read.push((covers(&term.node_covers)?, covers(&term.leaf_covers)?));
        }
        let mut each = Vec::new();
        for (term, (node_covers, leaf_covers)) in terms.iter().zip(&read) {
            let TermParts { ensemble, features, scale, first_margin, .. } = term;
            let (scale, first_margin) = (*scale, *first_margin);
            each.push(Term { ensemble, features, node_covers, leaf_covers, scale, first_margin });
        }
        let terms = each;
        let made = py.detach(|| contributions::Contributions::new(graph, &terms, features, margins));
        made.map(|made| Self(Arc::new(made))).map_err(|error| UnsupportedError::new_err(error.0))
    }

    /// For each margin the expected sum of the trees.
    #[getter]
    fn base(&self) -> Vec<f64> {
        self.0.base().to_vec()
    }

    /// How contributions are computed, for people.
    #[getter]
    fn description(&self) -> String {
        self.0.description()
    }

    /// The margins and the contributions of rows, as bytes of doubles; each input has its values as floats or doubles,
    /// row by row.
    fn run<'py>(
        &self,
        py: Python<'py>,
        rows: usize,
        inputs: Vec<Input>,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let widths = self.0.widths();
        let wanted = widths.iter().map(|width| rows.saturating_mul(*width));
        let owned = inputs.iter().map(|input| input.read(py)).collect::<PyResult<Vec<_>>>()?;
        let values = owned.iter().map(Owned::values).collect::<Vec<_>>();
        let is_read = |(values, double): (&Values<'_>, bool)| double || matches!(values, Values::F32(_));
        if !wanted.eq(values.iter().map(Values::len)) || !values.iter().zip(self.0.doubles()).all(is_read) {
            return Err(PyValueError::new_err("the inputs are not those that the trees read"));
        }
        let margins = self.0.base().len();
        let (mut sums, mut parts) =
            (vec![0.0; rows * margins], vec![0.0; rows * margins * self.0.features()]);
        let ran =
            py.detach(|| self.0.add(rows, &values, &mut sums, &mut parts, &mut Memory::default(), &|| false));
        ran.map_err(|failure| PyValueError::new_err(failure.to_string()))?;
        let bytes = |values: &[f64]| {
            PyBytes::new_with(py, size_of_val(values), |target| {
                for (place, value) in target.as_chunks_mut::<8>().0.iter_mut().zip(values) {
                    *place = value.to_ne_bytes();
                }
                Ok(())
            })
        };
        Ok((bytes(&sums)?, bytes(&parts)?))
    }
}

#[derive(FromPyObject)]
enum Input {
    Floats(PyBuffer<f32>),
    Doubles(PyBuffer<f64>),
}

enum Owned {
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
}

impl Input {
    fn read(&self, py: Python<'_>) -> PyResult<Owned> {
        Ok(match self {
            Self::Floats(buffer) => Owned::Floats(buffer.to_vec(py)?),
            Self::Doubles(buffer) => Owned::Doubles(buffer.to_vec(py)?),
        })
    }
}

impl Owned {
    fn values(&self) -> Values<'_> {
        match self {
            Self::Floats(values) => Values::F32(values),
            Self::Doubles(values) => Values::F64(values),
        }
    }
}
