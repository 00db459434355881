//! The binding of input and output tensors to the runs of one graph.

use std::ffi::{CString, c_char};
use std::ops::Range;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use ort_sys::OrtValue;
use scorewire_kernel::program::Program;

use crate::onnx::backend::Backend;
use crate::onnx::library::{GraphError, Result, check};
use crate::onnx::program::Ports;
use crate::onnx::session::{Session, Stop};
use crate::onnx::tensor::Tensor;

/// The names of a graph's inputs and outputs, as C strings.
#[derive(Clone)]
pub(crate) struct Names(Vec<CString>);

impl Names {
    /// Converts names to C strings.
    ///
    /// # Errors
    /// `GraphError`: a name has a zero byte.
    pub(crate) fn new<S: AsRef<str>>(names: &[S]) -> Result<Self> {
        let convert = |name: &S| CString::new(name.as_ref());
        let names = names.iter().map(convert).collect::<std::result::Result<_, _>>();
        names.map(Self).map_err(|_| GraphError("the name of an input or output has a zero byte".into()))
    }
}

/// The inputs and outputs of a graph, for one run after the other.
///
/// The first run makes the output tensors, and each later run writes into the same tensors. So runs with inputs
/// of one shape allocate nothing.
pub(crate) struct IoBinding {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    raw_inputs: Vec<*const OrtValue>,
    raw_outputs: Vec<*mut OrtValue>,
    input_names: Vec<*const c_char>,
    output_names: Vec<*const c_char>,
    /// Where a program runs the graph: made by its first run.
    ports: Option<Ports>,
    names: Arc<(Names, Names)>,
}

// SAFETY: the raw pointers are to memory that `inputs`, `outputs` and `names` own, and these are Send.
unsafe impl Send for IoBinding {}

impl IoBinding {
    /// A binding of these inputs, in the order of the input names.
    pub(crate) fn new(inputs: Vec<Tensor>, names: Arc<(Names, Names)>) -> Self {
        let pointers = |names: &Names| names.0.iter().map(|name| name.as_ptr()).collect::<Vec<_>>();
        Self {
            raw_inputs: inputs.iter().map(|tensor| tensor.raw.cast_const()).collect(),
            inputs,
            outputs: Vec::new(),
            raw_outputs: Vec::new(),
            input_names: pointers(&names.0),
            output_names: pointers(&names.1),
            ports: None,
            names,
        }
    }

    /// The inputs, to be written before a run.
    pub(crate) fn inputs_mut(&mut self) -> &mut [Tensor] {
        &mut self.inputs
    }

    /// Replaces an input. The shapes of the outputs must not change with it.
    pub(crate) fn set_input(&mut self, index: usize, tensor: Tensor) {
        self.raw_inputs[index] = tensor.raw.cast_const();
        self.inputs[index] = tensor;
    }

    /// A binding that has only outputs, which are gathered from the runs of other bindings.
    pub(crate) fn from_outputs(outputs: Vec<Tensor>, names: Arc<(Names, Names)>) -> Self {
        Self { outputs, ..Self::new(Vec::new(), names) }
    }

    /// The outputs of the last run; no tensors before the first.
    pub(crate) fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// Copies elements of the outputs of another binding to the beginning of the outputs of this one. `from`
    /// returns the range of elements for the index of an output.
    ///
    /// # Errors
    /// `GraphError`: onnxruntime refuses a text.
    ///
    /// # Panics
    /// For an output, the element types differ, or a range does not fit into one of the two tensors.
    pub(crate) fn copy_outputs(&mut self, other: &Self, from: impl Fn(usize) -> Range<usize>) -> Result<()> {
        let mut pairs = self.outputs.iter_mut().zip(&other.outputs).enumerate();
        pairs.try_for_each(|(i, (output, other))| output.copy_from(0, other, from(i)))
    }

    /// Runs the graph; all runs of a binding are of one graph. `stop` can stop the run from another thread.
    ///
    /// # Errors
    /// `GraphError`: the inputs are refused, an operator fails, the run was stopped, or an output is not a tensor of
    /// an `Element`.
    ///
    /// # Panics
    /// The number of inputs is not the number of input names.
    pub(crate) fn run(&mut self, backend: &Backend, stop: Option<&Stop>) -> Result<()> {
        assert_eq!(self.names.0.0.len(), self.raw_inputs.len());
        match backend {
            Backend::Program(program) => self.run_program(program, stop),
            Backend::Session(session) => self.run_session(session, stop),
        }
    }

    fn run_program(&mut self, program: &Program, stop: Option<&Stop>) -> Result<()> {
        let rows = self.inputs.first().and_then(|input| input.shape().first()).copied();
        let rows = rows.and_then(|rows| usize::try_from(rows).ok());
        let rows = rows.ok_or_else(|| GraphError("the inputs have no rows".into()))?;
        let ports = match &mut self.ports {
            Some(ports) => ports,
            None => {
                let inputs = self.names.0.0.iter().zip(&self.inputs);
                let inputs = inputs.map(|(name, tensor)| (name.to_bytes(), tensor.element()));
                let output_names = self.names.1.0.iter().map(|name| name.to_bytes());
                let (ports, outputs) = Ports::bind(program, rows, inputs, output_names)?;
                self.outputs = outputs;
                self.ports.insert(ports)
            }
        };
        ports.run(program, rows, &self.inputs, &mut self.outputs, stop)
    }

    fn run_session(&mut self, session: &Session, stop: Option<&Stop>) -> Result<()> {
        let api = session.library.api;
        let first = self.outputs.is_empty();
        if first {
            self.raw_outputs.clear();
            self.raw_outputs.resize(self.output_names.len(), null_mut());
        }
        // SAFETY: every list is as long as the length that is passed with it, and this binding owns the names and
        // the tensors. Outputs are null, so that the run makes them, or tensors of an earlier run on inputs of
        // the same shapes.
        let ran = unsafe {
            check(
                api,
                (api.Run)(
                    session.raw,
                    stop.map_or(null(), |stop| stop.raw.cast_const()),
                    self.input_names.as_ptr(),
                    self.raw_inputs.as_ptr(),
                    self.raw_inputs.len(),
                    self.output_names.as_ptr(),
                    self.output_names.len(),
                    self.raw_outputs.as_mut_ptr(),
                ),
            )
        };
        if first {
            // Adopted even where the run failed, so that no output leaks.
            let made = self.raw_outputs.iter().filter(|raw| !raw.is_null());
            let outputs = made.map(|&raw| Tensor::adopt(session.library, raw)).collect::<Vec<_>>();
            ran?;
            self.outputs = outputs.into_iter().collect::<Result<Vec<_>>>()?;
            return Ok(());
        }
        ran
    }
}
