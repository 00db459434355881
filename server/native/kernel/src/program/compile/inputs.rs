//! The inputs of a graph: tensors of numbers with an axis of rows.

use crate::program::compile::view::View;
use crate::program::compile::{Compiler, MOST_NUMBERS, Made, Value, check_row_dims, unsupported};
use crate::program::onnx::{self, Signature, Size};
use crate::program::plan::{Action, Kind};
use crate::program::{Port, Unsupported};

impl Compiler<'_> {
    pub(super) fn add_inputs(&mut self, signatures: &[Signature<'_>]) -> Result<Vec<Port>, Unsupported> {
        let (mut ports, mut rows) = (Vec::new(), "");
        for signature in signatures {
            let name = signature.name;
            if self.undecoded.contains_key(name) {
                continue; // old models list their constants here, too
            }
            let (kind, narrow) = match signature.element {
                onnx::FLOAT => (Kind::F32, false),
                onnx::DOUBLE => (Kind::F64, false),
                onnx::INT64 => (Kind::I64, false),
                onnx::BOOL => (Kind::Bool, false),
                onnx::INT32 | onnx::INT16 | onnx::INT8 => (Kind::I64, true),
                onnx::UINT32 | onnx::UINT16 | onnx::UINT8 => (Kind::I64, true),
                onnx::STRING => return unsupported(format!("the input {name} has texts")),
                element => return unsupported(format!("the input {name} is of type {element}")),
            };
            let dims = signature.dims.as_deref().unwrap_or_default();
            let Some((Size::Free(symbol), sizes)) = dims.split_first() else {
                return unsupported(format!("the input {name} has no axis of rows"));
            };
            if !symbol.is_empty() {
                if !rows.is_empty() && rows != *symbol {
                    return unsupported(format!("the input {name} has other rows than the other inputs"));
                }
                rows = symbol;
            }
            let sizes = sizes.iter().map(|size| match size {
                Size::Fixed(size) => Ok(*size),
                Size::Free(_) => unsupported(format!("the input {name} has no fixed width")),
            });
            let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
            let width = sizes.iter().try_fold(1_usize, |width, size| width.checked_mul(*size));
            let width = width.filter(|width| *width <= MOST_NUMBERS);
            let Some(width) = width else { return unsupported(format!("the input {name} is too wide")) };
            check_row_dims(&sizes)?;
            let source = self.add_source(kind, width, Made::Input(ports.len()))?;
            self.inputs.push(source);
            let mut view = self.whole(source, sizes);
            if narrow {
                // All steps read eight bytes for each whole number.
                let of = self.operand(&view.cells)?;
                let source = self.step(Action::Cast { kind, of }, kind, width)?;
                view = View { narrow, ..self.whole(source, view.dims) };
            }
            self.name(name, Value::Rows(view))?;
            ports.push(Port { name: name.into(), element: signature.element, width });
        }
        Ok(ports)
    }
}
