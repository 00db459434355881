//! The border to Python: the module `scorewire_kernel`.

mod contributions;

use std::sync::{Mutex, PoisonError};

use pyo3::buffer::{Element, PyBuffer};
use pyo3::create_exception;
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict, PyTuple};

use crate::program::onnx::{BOOL, DOUBLE, FLOAT, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32};
use crate::program::{self, Memory, Options, Port};
use crate::trees::FormName;
use crate::values::{Values, ValuesMut};

create_exception!(
    scorewire_kernel,
    UnsupportedError,
    PyValueError,
    "A graph does not run here; the message tells why."
);

/// The values of a tensor.
enum Tensor {
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// Also the whole numbers of fewer bits: programs take both.
    I64(Vec<i64>),
    Bool(Vec<bool>),
}

impl Tensor {
    fn zeros(port: &Port, rows: usize) -> PyResult<Self> {
        match port.element {
            FLOAT => zeros(port, rows).map(Self::F32),
            DOUBLE => zeros(port, rows).map(Self::F64),
            INT64 => zeros(port, rows).map(Self::I64),
            other => Err(PyValueError::new_err(format!("ONNX type {other} is not taken"))),
        }
    }

    /// The values of an array, and its rows.
    fn read(port: &Port, array: &Bound<'_, PyAny>) -> PyResult<(Self, usize)> {
        match port.element {
            FLOAT => copied(port, array).map(|(values, rows)| (Self::F32(values), rows)),
            DOUBLE => copied(port, array).map(|(values, rows)| (Self::F64(values), rows)),
            INT64 => copied(port, array).map(|(values, rows)| (Self::I64(values), rows)),
            INT32 => widened::<i32>(port, array),
            INT16 => widened::<i16>(port, array),
            INT8 => widened::<i8>(port, array),
            UINT32 => widened::<u32>(port, array),
            UINT16 => widened::<u16>(port, array),
            UINT8 => widened::<u8>(port, array),
            BOOL => {
                // PyO3 reads no booleans; NumPy has a byte for each.
                let bytes = array.call_method1("view", ("uint8",))?;
                let (values, rows) = copied::<u8>(port, &bytes)?;
                Ok((Self::Bool(values.into_iter().map(|value| value != 0).collect()), rows))
            }
            other => Err(PyValueError::new_err(format!("ONNX type {other} is not taken"))),
        }
    }

    fn values(&self) -> Values<'_> {
        match self {
            Self::F32(values) => Values::F32(values),
            Self::F64(values) => Values::F64(values),
            Self::I64(values) => Values::I64(values),
            Self::Bool(values) => Values::Bool(values),
        }
    }

    fn values_mut(&mut self) -> ValuesMut<'_> {
        match self {
            Self::F32(values) => ValuesMut::F32(values),
            Self::F64(values) => ValuesMut::F64(values),
            Self::I64(values) => ValuesMut::I64(values),
            Self::Bool(_) => unreachable!("no output has booleans"),
        }
    }

    /// An array of NumPy with the values, [rows, width].
    fn to_array<'py>(&self, py: Python<'py>, rows: usize, width: usize) -> PyResult<Bound<'py, PyAny>> {
        let (name, bytes) = match self {
            Self::F32(values) => ("float32", bytes_of(py, values, |value| value.to_ne_bytes())?),
            Self::F64(values) => ("float64", bytes_of(py, values, |value| value.to_ne_bytes())?),
            Self::I64(values) => ("int64", bytes_of(py, values, |value| value.to_ne_bytes())?),
            Self::Bool(_) => unreachable!("no output has booleans"),
        };
        let flat = py.import("numpy")?.call_method1("frombuffer", (bytes, name))?;
        flat.call_method1("reshape", (rows, width))
    }
}

/// Zeros for an output. Its size is the caller's, so that there may be no memory for it.
fn zeros<T: Clone + Default>(port: &Port, rows: usize) -> PyResult<Vec<T>> {
    let mut values = Vec::new();
    let count = rows.saturating_mul(port.width);
    let lacks = |_| PyMemoryError::new_err(format!("there is no memory for output {:?}", port.name));
    values.try_reserve_exact(count).map_err(lacks)?;
    values.resize(count, T::default());
    Ok(values)
}

fn bytes_of<'py, T: Copy, const N: usize>(
    py: Python<'py>,
    values: &[T],
    bytes: impl Fn(T) -> [u8; N],
) -> PyResult<Bound<'py, PyByteArray>> {
    PyByteArray::new_with(py, values.len() * N, |target| {
        for (place, &value) in target.as_chunks_mut::<N>().0.iter_mut().zip(values) {
            *place = bytes(value);
        }
        Ok(())
    })
}

/// The values of an array, and its rows.
fn copied<T: Element>(port: &Port, array: &Bound<'_, PyAny>) -> PyResult<(Vec<T>, usize)> {
    let wrong = |what: String| PyValueError::new_err(format!("input {:?} {what}", port.name));
    let buffer = PyBuffer::<T>::get(array).map_err(|error| wrong(format!("is not taken: {error}")))?;
    let rows = match buffer.shape() {
        [rows] if port.width == 1 => *rows,
        [rows, width] if *width == port.width => *rows,
        other => return Err(wrong(format!("has the shape {other:?} instead of [rows, {}]", port.width))),
    };
    if !buffer.is_c_contiguous() {
        return Err(wrong("is not C-contiguous".into()));
    }
    Ok((buffer.to_vec(array.py())?, rows))
}

/// The same of whole numbers of fewer bits.
fn widened<T: Element + Into<i64>>(port: &Port, array: &Bound<'_, PyAny>) -> PyResult<(Tensor, usize)> {
    let (values, rows) = copied::<T>(port, array)?;
    Ok((Tensor::I64(values.into_iter().map(Into::into).collect()), rows))
}

/// A graph that is ready to run.
#[pyclass(frozen)]
struct Program {
    program: program::Program,
    /// Memory of runs that have ended.
    spare: Mutex<Vec<Memory>>,
}

#[pymethods]
impl Program {
    #[new]
    #[pyo3(signature = (graph, form=None))]
    fn new(py: Python<'_>, graph: &[u8], form: Option<&str>) -> PyResult<Self> {
        let form = form.map(str::parse).transpose().map_err(PyValueError::new_err::<String>)?;
        let program = py
            .detach(|| program::Program::compile(graph, Options { form, ..Options::default() }))
            .map_err(|error| UnsupportedError::new_err(error.to_string()))?;
        Ok(Self { program, spare: Mutex::default() })
    }

    #[getter]
    fn inputs(&self) -> Vec<(String, i32, usize)> {
        self.program.inputs().iter().map(parts).collect()
    }

    #[getter]
    fn outputs(&self) -> Vec<(String, i32, usize)> {
        self.program.outputs().iter().map(parts).collect()
    }

    #[getter]
    fn description(&self) -> String {
        self.program.description()
    }

    fn run<'py>(
        &self,
        py: Python<'py>,
        names: Vec<String>,
        feeds: &Bound<'py, PyDict>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let (inputs, rows) = self.read(feeds)?;
        let ports = self.program.outputs();
        let asked = names
            .iter()
            .map(|name| {
                let place = ports.iter().position(|port| port.name == *name);
                place.ok_or_else(|| PyValueError::new_err(format!("no output has the name {name:?}")))
            })
            .collect::<PyResult<Vec<_>>>()?;
        let mut outputs = ports.iter().map(|port| Tensor::zeros(port, rows)).collect::<PyResult<Vec<_>>>()?;
        py.detach(|| {
            let values = inputs.iter().map(Tensor::values).collect::<Vec<_>>();
            let mut places = outputs.iter_mut().map(Tensor::values_mut).collect::<Vec<_>>();
            let mut memory = self.spare().pop().unwrap_or_default();
            let ran = self.program.run(rows, &values, &mut places, &mut memory, &|| false);
            self.spare().push(memory);
            ran
        })
        .map_err(|failure| PyValueError::new_err(failure.to_string()))?;
        asked.into_iter().map(|place| outputs[place].to_array(py, rows, ports[place].width)).collect()
    }
}

impl Program {
    /// The inputs in the order of the graph, and their number of rows.
    fn read(&self, feeds: &Bound<'_, PyDict>) -> PyResult<(Vec<Tensor>, usize)> {
        let ports = self.program.inputs();
        for name in feeds.keys() {
            let name = name.extract::<String>()?;
            if ports.iter().all(|port| port.name != name) {
                return Err(PyValueError::new_err(format!("no input has the name {name:?}")));
            }
        }
        let mut tensors = Vec::with_capacity(ports.len());
        let mut rows = None;
        for port in ports {
            let array = feeds
                .get_item(&port.name)?
                .ok_or_else(|| PyValueError::new_err(format!("input {:?} is missing", port.name)))?;
            let (tensor, own) = Tensor::read(port, &array)?;
            if *rows.get_or_insert(own) != own {
                return Err(PyValueError::new_err("the inputs have different numbers of rows"));
            }
            tensors.push(tensor);
        }
        Ok((tensors, rows.unwrap_or(0)))
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<Memory>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parts(port: &Port) -> (String, i32, usize) {
    (port.name.clone(), port.element, port.width)
}

#[pymodule]
fn scorewire_kernel(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("FORMS", PyTuple::new(py, FormName::ALL.map(|form| form.to_string()))?)?;
    module.add("UnsupportedError", py.get_type::<UnsupportedError>())?;
    module.add_class::<contributions::Contributions>()?;
    module.add_class::<Program>()
}
