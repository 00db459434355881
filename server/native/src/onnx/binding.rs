//! The inputs and outputs of runs of one graph.

use std::ffi::{CString, c_char};
use std::ops::Range;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use ort_sys::OrtValue;

use crate::onnx::library::{OrtError, Result, check};
use crate::onnx::session::{Session, Stop};
use crate::onnx::tensor::Tensor;

/// The names of a graph's inputs and outputs, as C strings.
pub(crate) struct Names(Vec<CString>);

impl Names {
    /// # Errors
    /// A name has a zero byte.
    pub(crate) fn new<S: AsRef<str>>(names: &[S]) -> Result<Self> {
        let convert = |name: &S| CString::new(name.as_ref());
        let names = names.iter().map(convert).collect::<std::result::Result<_, _>>();
        names.map(Self).map_err(|_| OrtError("the name of an input or output has a zero byte".into()))
    }
}

/// Inputs with the outputs that a run makes of them.
///
/// The outputs of a run are the places where the next one writes, so that runs of one shape
/// allocate nothing.
pub(crate) struct IoBinding {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    raw_inputs: Vec<*const OrtValue>,
    raw_outputs: Vec<*mut OrtValue>,
    input_names: Vec<*const c_char>,
    output_names: Vec<*const c_char>,
    names: Arc<(Names, Names)>,
}

// SAFETY: the raw pointers are to what `inputs`, `outputs` and `names` own, which are Send.
unsafe impl Send for IoBinding {}

impl IoBinding {
    /// A frame of tensors in the order of the names.
    pub(crate) fn new(inputs: Vec<Tensor>, names: Arc<(Names, Names)>) -> Self {
        let pointers = |names: &Names| names.0.iter().map(|name| name.as_ptr()).collect::<Vec<_>>();
        Self {
            raw_inputs: inputs.iter().map(|tensor| tensor.raw.cast_const()).collect(),
            inputs,
            outputs: Vec::new(),
            raw_outputs: Vec::new(),
            input_names: pointers(&names.0),
            output_names: pointers(&names.1),
            names,
        }
    }

    /// The inputs, to be filled.
    pub(crate) fn inputs_mut(&mut self) -> &mut [Tensor] {
        &mut self.inputs
    }

    /// Puts another tensor in the place of an input; the outputs must have the shapes that they had.
    pub(crate) fn set_input(&mut self, index: usize, tensor: Tensor) {
        self.raw_inputs[index] = tensor.raw.cast_const();
        self.inputs[index] = tensor;
    }

    /// A frame of outputs alone, for what was gathered from several runs.
    pub(crate) fn from_outputs(outputs: Vec<Tensor>, names: Arc<(Names, Names)>) -> Self {
        Self { outputs, ..Self::new(Vec::new(), names) }
    }

    /// What the last run made.
    pub(crate) fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// Copies some elements of the outputs of another frame to the beginning of this one's; `from`
    /// says which, by the index of the output.
    ///
    /// # Errors
    /// They are texts, and onnxruntime refuses one.
    ///
    /// # Panics
    /// As of `Tensor::copy_from`.
    pub(crate) fn copy_outputs(&mut self, other: &Self, from: impl Fn(usize) -> Range<usize>) -> Result<()> {
        let mut pairs = self.outputs.iter_mut().zip(&other.outputs).enumerate();
        pairs.try_for_each(|(i, (output, other))| output.copy_from(0, other, from(i)))
    }

    /// Runs the graph.
    ///
    /// # Errors
    /// onnxruntime refuses the inputs, the run was told to end, or an output is no tensor of plain
    /// values.
    ///
    /// # Panics
    /// There is not one name for each input.
    pub(crate) fn run(&mut self, session: &Session, stop: Option<&Stop>) -> Result<()> {
        assert_eq!(self.names.0.0.len(), self.raw_inputs.len());
        let api = session.library.api;
        let first = self.outputs.is_empty();
        if first {
            self.raw_outputs.clear();
            self.raw_outputs.resize(self.output_names.len(), null_mut());
        }
        // SAFETY: every list is as long as said; the names and tensors are owned by this frame;
        // outputs are null, to be made, or tensors of an earlier run over inputs of this shape.
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
            let made = self.raw_outputs.iter().filter(|raw| !raw.is_null());
            let made = made.map(|&raw| Tensor::adopt(session.library, raw)).collect::<Vec<_>>();
            ran?;
            self.outputs = made.into_iter().collect::<Result<Vec<_>>>()?;
            return Ok(());
        }
        ran
    }
}
