//! Runs programs of `scorewire_kernel` over tensors.

use std::cell::Cell;

use scorewire_kernel::program::{Memory, Port, Program};
use scorewire_kernel::values::{Values, ValuesMut};

use crate::onnx::library::{GraphError, Result};
use crate::onnx::session::Stop;
use crate::onnx::tensor::{Element, Tensor};

thread_local! {
    /// The memory of a thread for the runs of all programs, so that runs of one row allocate nothing. It is bounded
    /// between runs, and outlives the programs. A run takes it out and gives it back; a run that panics loses it.
    static MEMORY: Cell<Option<Box<Memory>>> = const { Cell::new(None) };
}

/// The most inputs, or outputs, whose slices are on the stack during a run.
const FEW: usize = 8;

/// How the tensors of a binding belong to the inputs and outputs of a program.
pub(super) struct Ports {
    /// For each input of the binding the index of the program's.
    inputs: Vec<usize>,
    /// For each output of the binding, and then for each tensor of `unread`, the index of the program's output.
    outputs: Vec<usize>,
    /// Outputs of the program that the binding has no name for.
    unread: Vec<Tensor>,
}

impl Ports {
    /// Finds the inputs and outputs of a binding by name, and makes the tensors of the outputs for `rows` rows.
    ///
    /// # Errors
    /// `GraphError`: the names, or the element types of the inputs, are not those of the program; or there is not
    /// enough memory.
    pub(super) fn bind<'n>(
        program: &Program,
        rows: usize,
        inputs: impl ExactSizeIterator<Item = (&'n [u8], Element)>,
        output_names: impl Iterator<Item = &'n [u8]>,
    ) -> Result<(Self, Vec<Tensor>)> {
        let mut fed = vec![false; program.inputs().len()];
        let mut ports = Self { inputs: Vec::new(), outputs: Vec::new(), unread: Vec::new() };
        for (name, element) in inputs {
            let port = find(program.inputs(), name)?;
            let wanted = program.inputs()[port].element;
            if element.code() != wanted || std::mem::replace(&mut fed[port], true) {
                let name = &program.inputs()[port].name;
                return Err(GraphError(format!(
                    "input {name:?} is not one tensor of the ONNX type {wanted}"
                )));
            }
            ports.inputs.push(port);
        }
        if fed.contains(&false) {
            return Err(GraphError("an input of the graph is missing".into()));
        }
        let tensor = |port: &Port| {
            let element = Element::from_onnx(port.element);
            let element = element.ok_or_else(|| GraphError("an output has an unknown type".into()))?;
            Tensor::new(element, &[rows as i64, port.width as i64])
        };
        let mut outputs = Vec::new();
        for name in output_names {
            let port = find(program.outputs(), name)?;
            if ports.outputs.contains(&port) {
                return Err(GraphError(format!("output {:?} is named twice", program.outputs()[port].name)));
            }
            outputs.push(tensor(&program.outputs()[port])?);
            ports.outputs.push(port);
        }
        for (i, port) in program.outputs().iter().enumerate() {
            if !ports.outputs.contains(&i) {
                ports.unread.push(tensor(port)?);
                ports.outputs.push(i);
            }
        }
        Ok((ports, outputs))
    }

    /// Runs the program over `rows` rows. `stop` can stop the run from another thread.
    ///
    /// # Errors
    /// `GraphError`: a tensor is not of `rows` rows, programs have no tensors of its type, an index is out of range,
    /// or the run was stopped.
    pub(super) fn run(
        &mut self,
        program: &Program,
        rows: usize,
        inputs: &[Tensor],
        outputs: &mut [Tensor],
        stop: Option<&Stop>,
    ) -> Result<()> {
        let (mut few_inputs, mut few_outputs) =
            ([Values::F32(&[]); FEW], std::array::from_fn::<_, FEW, _>(|_| ValuesMut::F32(&mut [])));
        let (mut many_inputs, mut many_outputs) = (Vec::new(), Vec::new());
        let read = match self.inputs.len() {
            count @ ..=FEW => &mut few_inputs[..count],
            count => {
                many_inputs.resize(count, Values::F32(&[]));
                &mut many_inputs[..]
            }
        };
        let written = match self.outputs.len() {
            count @ ..=FEW => &mut few_outputs[..count],
            count => {
                many_outputs.resize_with(count, || ValuesMut::F32(&mut []));
                &mut many_outputs[..]
            }
        };
        for (tensor, &port) in inputs.iter().zip(&self.inputs) {
            has_rows(tensor, rows, &program.inputs()[port])?;
            read[port] = values(tensor)?;
        }
        for (tensor, &port) in outputs.iter_mut().chain(&mut self.unread).zip(&self.outputs) {
            has_rows(tensor, rows, &program.outputs()[port])?;
            written[port] = values_mut(tensor)?;
        }
        let mut memory = MEMORY.take().unwrap_or_default();
        let is_stopped = || stop.is_some_and(Stop::is_stopped);
        let ran = program.run(rows, read, written, &mut memory, &is_stopped);
        MEMORY.set(Some(memory));
        ran.map_err(|failure| GraphError(failure.to_string()))
    }
}

fn find(ports: &[Port], name: &[u8]) -> Result<usize> {
    let found = ports.iter().position(|port| port.name.as_bytes() == name);
    found.ok_or_else(|| GraphError(format!("the graph has no {:?}", String::from_utf8_lossy(name))))
}

/// Checks the number of elements, which the program relies on.
fn has_rows(tensor: &Tensor, rows: usize, port: &Port) -> Result<()> {
    if rows.checked_mul(port.width) == Some(tensor.count()) {
        return Ok(());
    }
    let (found, Port { name, width, .. }) = (tensor.count(), port);
    Err(GraphError(format!("{name:?} has {found} values for {rows} rows of {width}")))
}

/// The values of a tensor of numbers or truths.
///
/// # Errors
/// `GraphError`: the kernel takes no values of this type.
pub(crate) fn values(tensor: &Tensor) -> Result<Values<'_>> {
    Ok(match tensor.element() {
        Element::F32 => Values::F32(tensor.values()),
        Element::F64 => Values::F64(tensor.values()),
        Element::I64 => Values::I64(tensor.values()),
        Element::I32 => Values::I32(tensor.values()),
        Element::I16 => Values::I16(tensor.values()),
        Element::I8 => Values::I8(tensor.values()),
        Element::U32 => Values::U32(tensor.values()),
        Element::U16 => Values::U16(tensor.values()),
        Element::U8 => Values::U8(tensor.values()),
        Element::Bool => Values::Bool(tensor.bools()?),
        Element::U64 | Element::Text => {
            return Err(GraphError("an input has a type that no program takes".into()));
        }
    })
}

fn values_mut(tensor: &mut Tensor) -> Result<ValuesMut<'_>> {
    Ok(match tensor.element() {
        Element::F32 => ValuesMut::F32(tensor.values_mut()),
        Element::F64 => ValuesMut::F64(tensor.values_mut()),
        Element::I64 => ValuesMut::I64(tensor.values_mut()),
        _ => return Err(GraphError("an output has a type that no program writes".into())),
    })
}
